//! A process that ends between any two steps, and one that comes after it.

use super::*;

#[tokio::test]
async fn after_a_restart_only_what_is_missing_is_sent() {
    let site = Site::new();
    let (file_name, bytes) = (name("objects/ab/1.slf"), content(LARGE));
    let store = site.open().await;
    let file = stage(&store, &file_name, &bytes, &[0, 1]).await;
    until(|| store.requests().contains(&("UploadPart", 2))).await;
    // The answers came, too.
    until(|| {
        std::fs::read_to_string(site.dir.join(format!("s3/uploads/{file_name}")))
            .is_ok_and(|note| note.lines().count() == 3)
    })
    .await;
    drop(file);
    drop(store);
    site.server().asked();
    let store = site.open().await;
    assert_eq!(store.staged().await.unwrap().len(), 1);
    assert_eq!(
        site.server().open_uploads().len(),
        1,
        "a sweep leaves it alone"
    );
    let file = store.reopen(&file_name).await.unwrap();
    file.cut(cut());
    file.sync().await.unwrap();
    file.settled(&[0, 1]);
    file.prepare().await.unwrap();
    assert_eq!(sent_parts(site.server()), 2);
    file.sync().await.unwrap();
    store
        .publish(std::slice::from_ref(&file_name))
        .await
        .unwrap();
    is_stored(&store, &file_name, &bytes).await;
    drop(file);
    assert_eq!(site.left(), [""; 0]);
}

#[tokio::test]
async fn a_part_that_is_written_anew_after_a_restart_is_sent_anew() {
    let site = Site::new();
    let (file_name, mut bytes) = (name("objects/ab/1.slf"), content(LARGE));
    let store = site.open().await;
    let file = stage(&store, &file_name, &bytes, &[0, 1, 2]).await;
    file.prepare().await.unwrap();
    drop(file);
    drop(store);
    site.server().asked();
    let store = site.open().await;
    let file = store.reopen(&file_name).await.unwrap();
    file.cut(cut());
    let at = (HEAD + UNIT + 77) as usize;
    bytes[at] ^= 1;
    file.write_at(&bytes[at..=at], at as u64).await.unwrap();
    file.sync().await.unwrap();
    file.settled(&[0, 1, 2]);
    store
        .publish(std::slice::from_ref(&file_name))
        .await
        .unwrap();
    assert_eq!(sent_parts(site.server()), 1);
    is_stored(&store, &file_name, &bytes).await;
}

/// Every step of a large file, a small one and a pack fails or ends without an answer, for
/// good; whoever begins again gets there, and what was acknowledged is there all the time.
#[tokio::test]
async fn whatever_step_is_the_last_one_the_next_process_gets_there() {
    for action in [
        "s3:PutObject",
        "s3:PutObject (part)",
        "s3:PutObject (complete)",
        "s3:ListMultipartUploadParts",
        "s3:ListBucketMultipartUploads",
    ] {
        for is_done in [false, true] {
            gets_there(Site::new(), action, is_done).await;
        }
    }
}

pub(super) async fn gets_there(site: Site, action: &str, is_done: bool) {
    let store = site.open().await;
    let (large, small) = (name("objects/ab/1.slf"), name("objects/ab/2.slf"));
    let bytes = content(LARGE);
    let file = stage(&store, &large, &bytes, &[]).await;
    let other = store.create(&small).await.unwrap();
    other.write_at(b"small", 0).await.unwrap();
    other.sync().await.unwrap();
    match is_done {
        true => site.server().lose_answers(action, 5),
        false => site.server().fail(action, 5),
    }
    let names = [large.clone(), small.clone()];
    let published = store.publish(&names).await;
    if let Err(error) = &published {
        assert!(error.leaves_it_whole(), "{action}: {error:?}");
        assert_eq!(error.reason(), Reason::DstStoreUnavailable);
    }
    drop((file, other, store));
    site.server().fail(action, 0);
    let store = site.open().await;
    for entry in store.staged().await.unwrap() {
        let file = store.reopen(&entry.name).await.unwrap();
        file.cut(cut());
        file.sync().await.unwrap();
        store.publish(&[entry.name]).await.unwrap();
    }
    is_stored(&store, &large, &bytes).await;
    is_stored(&store, &small, b"small").await;
    assert!(
        site.server().open_uploads().is_empty(),
        "{action} {is_done}"
    );
    assert_eq!(site.left(), [""; 0], "{action} {is_done}");
}

#[tokio::test]
async fn an_upload_that_a_lifecycle_rule_ended_is_begun_anew() {
    let site = Site::new();
    let (file_name, bytes) = (name("objects/ab/1.slf"), content(LARGE));
    for restarts in [false, true] {
        let mut store = site.open().await;
        let mut file = stage(&store, &file_name, &bytes, &[0, 1]).await;
        file.prepare().await.unwrap();
        site.server().abort_uploads();
        if restarts {
            drop((file, store));
            store = site.open().await;
            file = store.reopen(&file_name).await.unwrap();
            file.cut(cut());
            file.sync().await.unwrap();
        }
        store
            .publish(std::slice::from_ref(&file_name))
            .await
            .unwrap();
        is_stored(&store, &file_name, &bytes).await;
        store.remove(&file_name).await.unwrap();
        drop(file);
    }
}

#[tokio::test]
async fn what_was_published_and_not_acknowledged_is_replaced_by_what_is_published_now() {
    let site = Site::new();
    let store = site.open().await;
    for (file_name, len) in [("objects/ab/1.slf", LARGE), ("objects/ab/2.slf", 5000)] {
        let file_name = name(file_name);
        let mut bytes = content(len);
        for _ in 0..2 {
            let file = stage(&store, &file_name, &bytes, &[]).await;
            store
                .publish(std::slice::from_ref(&file_name))
                .await
                .unwrap();
            is_stored(&store, &file_name, &bytes).await;
            drop(file);
            // Another META behind the same parts.
            *bytes.last_mut().unwrap() ^= 1;
        }
    }
}

#[tokio::test]
async fn an_end_that_is_written_anew_after_a_try_that_failed_is_the_one_that_counts() {
    let site = Site::new();
    let store = site.open().await;
    let (file_name, mut bytes) = (name("objects/ab/1.slf"), content(LARGE));
    let file = stage(&store, &file_name, &bytes, &[0, 1, 2]).await;
    file.prepare().await.unwrap();
    site.server().fail("s3:PutObject (complete)", 5);
    let names = std::slice::from_ref(&file_name);
    assert!(store.publish(names).await.is_err());
    // A longer META, under another salt.
    let end = LARGE as usize - 500;
    bytes.truncate(end);
    bytes.extend([7; 900]);
    file.write_at(&bytes[end..], end as u64).await.unwrap();
    file.prepare().await.unwrap();
    file.sync().await.unwrap();
    store.publish(names).await.unwrap();
    is_stored(&store, &file_name, &bytes).await;
    assert_eq!(sent_parts(site.server()), 5);
}

#[tokio::test]
async fn uploads_that_nobody_knows_of_are_given_up_at_the_start_and_by_a_discard() {
    let site = Site::new();
    let (file_name, bytes) = (name("objects/ab/1.slf"), content(LARGE));
    let store = site.open().await;
    let file = stage(&store, &file_name, &bytes, &[0]).await;
    file.prepare().await.unwrap();
    assert_eq!(site.server().open_uploads(), ["sealed/objects/ab/1.slf"]);
    drop(file);
    store.discard(&file_name).await.unwrap();
    assert!(site.server().open_uploads().is_empty());
    assert_eq!(site.left(), [""; 0]);
    let file = stage(&store, &file_name, &bytes, &[0]).await;
    file.prepare().await.unwrap();
    drop((file, store));
    // Its machine is lost, and what was staged there.
    std::fs::remove_dir_all(site.dir.join("staging")).unwrap();
    site.open().await;
    assert!(site.server().open_uploads().is_empty());
}
