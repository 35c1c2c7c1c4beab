//! Whatever needs a key is found before the key is destroyed.

use std::fs;

use sealift_keys::KeyProvider;

use super::site::{Site, offer, part_of, send};
use crate::Needs;

#[tokio::test(flavor = "multi_thread")]
async fn objects_copies_of_records_and_unfinished_uploads_are_counted_by_version() {
    let site = Site::new();
    let running = site.open().await;
    let key = site.keystore.list().remove(0).id;
    let needs = async |version: Option<&str>| running.archive.needs(&key, version).await.unwrap();
    assert!(needs(None).await.is_nothing());
    running.store("k", "v1", 1, b"content").await;
    let one = Needs {
        records: 1,
        objects: 1,
        copies: 1,
        ..Needs::default()
    };
    assert_eq!(needs(Some("1")).await, one);
    assert_eq!(needs(None).await, one);
    assert!(needs(Some("2")).await.is_nothing());

    site.keystore.rotate(key.as_str()).unwrap();
    running.archive.ring().recheck();
    let plain = vec![7; 3 << 20];
    let upload = running.upload(offer("large", "v1", 2, plain.len())).await;
    let first = upload.missing()[0];
    assert!(part_of(&upload, first, &plain).len() < plain.len());
    send(&upload, first, &plain).await.unwrap();
    let two = needs(Some("2")).await;
    assert_eq!((two.uploads, two.records, two.copies), (1, 1, 1), "{two}");
    assert_eq!(needs(Some("1")).await, one);
    assert_eq!(site.keystore.kind(), sealift_keys::ProviderKind::Local);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_the_catalog_does_not_know_counts_and_one_that_cannot_be_read_does_too() {
    let site = Site::new();
    let running = site.open().await;
    running.store("k", "v1", 1, b"content").await;
    let key = site.keystore.list().remove(0).id;
    let file = site.files_in("store/records").remove(0);
    let whole = fs::read(&file).unwrap();
    // Known to the catalog: its row speaks for the damaged copy.
    fs::write(&file, "damaged").unwrap();
    let needs = running.archive.needs(&key, None).await.unwrap();
    assert_eq!((needs.copies, needs.unreadable, needs.records), (0, 0, 1));
    // Nobody knows what this one was.
    let strange = file.with_file_name(format!("{}.json", "ab".repeat(16)));
    fs::write(&strange, "damaged").unwrap();
    let other = sealift_terms::KeyId::new("key-other").unwrap();
    let needs = running.archive.needs(&other, None).await.unwrap();
    assert_eq!((needs.unreadable, needs.records), (1, 0));
    assert!(!needs.is_nothing() && needs.to_string().contains("cannot be read"));
    fs::remove_file(strange).unwrap();
    assert!(
        running
            .archive
            .needs(&other, None)
            .await
            .unwrap()
            .is_nothing()
    );
    fs::write(&file, whole).unwrap();
}
