use std::fs;

use sealift_terms::{AuditKind, limits};

use super::site::*;
use crate::ArchiveError;

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_comes_back_as_it_went_in_and_leaves_nothing_behind() {
    let site = Site::new();
    let running = site.open().await;
    let bytes = plain(7, 1000);
    let photos = bucket();
    let opened = running.archive.try_canary("tester", &photos, &bytes).await;
    assert_eq!(opened.unwrap(), bytes);
    assert!(running.listing().await.is_empty());
    assert!(site.files_in("store/canary").is_empty());
    assert!(site.files_in("staging").is_empty());
    assert!(site.audit.has(AuditKind::CanaryTried));
    let found = running.verify_deep().await;
    assert!(found.is_empty(), "{found:?}");
    let long = vec![0; limits::CANARY_BYTES_MAX + 1];
    let refused = running.archive.try_canary("tester", &bucket(), &long).await;
    assert!(matches!(refused, Err(ArchiveError::TooLarge { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_fails_as_an_object_would() {
    let site = Site::new();
    let running = site.open().await;
    site.keystore.disable(CMK).unwrap();
    let tried = running.archive.try_canary("tester", &bucket(), b"x").await;
    assert!(matches!(tried, Err(ArchiveError::Key(_))), "{tried:?}");
    assert!(site.files_in("store/canary").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_a_crash_left_behind_is_removed_at_the_next_start() {
    let site = Site::new();
    let running = site.open().await;
    running.archive.close().await;
    let folder = site.dir.path().join("store/canary");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("left-behind"), b"x").unwrap();
    assert_eq!(site.files_in("store/canary").len(), 1);
    drop(running);
    site.open().await;
    assert!(site.files_in("store/canary").is_empty());
}
