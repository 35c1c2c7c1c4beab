//! The same store where the bucket speaks as Google's does.

use super::*;
use crate::GCS_STORE_ACTIONS;

#[tokio::test]
async fn a_bucket_of_google_passes_the_suite() {
    let sites = Mutex::new(Vec::new());
    conformance::store(|| async {
        let site = Site::google();
        let store = site.open().await;
        sites.lock().push(site);
        store
    })
    .await;
}

#[tokio::test]
async fn whatever_step_is_the_last_one_the_next_process_gets_there_too() {
    for action in [
        "s3:PutObject",
        "s3:PutObject (part)",
        "s3:PutObject (complete)",
    ] {
        for is_done in [false, true] {
            cut_off::gets_there(Site::google(), action, is_done).await;
        }
    }
}

#[tokio::test]
async fn what_was_published_and_not_acknowledged_is_replaced_by_its_generation() {
    let site = Site::google();
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
async fn two_agents_never_write_one_bucket_of_google() {
    let times = LeaseTimes {
        good_for: Duration::from_millis(1500),
        // As if its process stood still.
        renewed: Duration::from_secs(3600),
    };
    let site = Site::google();
    let first = site.open_at(&site.dir, times).await;
    first.begin(true).await.unwrap();
    let second = site.open_at(&site.dir.join("other"), times).await;
    assert!(second.remove(&name("objects/ab/1")).await.is_err());
    second.begin(true).await.unwrap();
    assert_eq!(second.epoch(), Some(2));
    let fenced = first.remove(&name("objects/ab/2")).await.unwrap_err();
    assert!(matches!(fenced, StoreError::StoreLeased { .. }), "{fenced}");
}

#[tokio::test]
async fn every_right_is_tried_by_the_name_that_google_has_for_it() {
    let site = Site::google();
    let probes = site.open().await.check().await;
    assert!(
        probes.iter().all(|probe| probe.outcome.is_ok()),
        "{probes:?}"
    );
    for action in GCS_STORE_ACTIONS {
        assert!(
            probes.iter().any(|probe| probe.action == action),
            "{action}"
        );
    }
}
