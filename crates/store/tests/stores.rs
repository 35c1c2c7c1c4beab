//! Every store passes the suite; faults and throttles are wrappers around one.
#![allow(clippy::unwrap_used, reason = "a failure is what a test reports")]

use std::{io, sync::Arc, time::Duration};

use sealift_host::OsDisk;
use sealift_store::{
    Call, DirectoryStore, Faulty, MemoryStore, Store, StoreError, StoreName, Throttled, conformance,
};

fn name(name: &str) -> StoreName {
    StoreName::new(name).unwrap()
}

fn directory(temp: &tempfile::TempDir) -> DirectoryStore {
    let disk = Arc::new(OsDisk);
    DirectoryStore::new(disk, temp.path().join("staging"), temp.path().join("store")).unwrap()
}

#[tokio::test]
async fn a_directory_store_passes_the_suite() {
    // Kept until the end: each store has a directory of its own.
    let temps = parking_lot::Mutex::new(Vec::new());
    conformance::store(|| async {
        let temp = tempfile::tempdir().unwrap();
        let store = directory(&temp);
        temps.lock().push(temp);
        store
    })
    .await;
}

#[tokio::test]
async fn a_memory_store_passes_the_suite() {
    conformance::store(|| async { MemoryStore::new() }).await;
}

#[tokio::test]
async fn the_wrappers_pass_the_suite_while_they_do_nothing() {
    conformance::store(|| async {
        Throttled::new(
            Faulty::new(MemoryStore::new()),
            Duration::ZERO,
            Duration::ZERO,
        )
    })
    .await;
}

#[tokio::test]
async fn a_file_whose_sync_failed_is_never_believed_again() {
    let temp = tempfile::tempdir().unwrap();
    let store = Faulty::new(directory(&temp));
    let file = store.create(&name("a")).await.unwrap();
    file.write_at(b"x", 0).await.unwrap();
    store.faults().fail(Call::Sync, 0, io::ErrorKind::Other);
    assert!(file.sync().await.is_err());
    store.faults().heal();
    assert!(matches!(
        file.sync().await,
        Err(StoreError::Abandoned { .. })
    ));
    assert!(matches!(
        store.publish(&[name("a")]).await,
        Err(StoreError::NotSynced { .. })
    ));
}

#[tokio::test]
async fn the_nth_call_fails_and_says_why() {
    let store = Faulty::new(MemoryStore::new());
    store
        .faults()
        .fail(Call::Write, 2, io::ErrorKind::StorageFull);
    let file = store.create(&name("a")).await.unwrap();
    file.write_at(b"1", 0).await.unwrap();
    file.write_at(b"2", 1).await.unwrap();
    let third = file.write_at(b"3", 2).await;
    assert!(matches!(third, Err(StoreError::StoreFull { .. })));
    assert_eq!(
        third.unwrap_err().reason(),
        sealift_terms::Reason::DstStoreFull
    );
}

#[tokio::test]
async fn staged_files_of_an_earlier_process_are_not_published_unsynced() {
    let temp = tempfile::tempdir().unwrap();
    directory(&temp)
        .create(&name("o/1"))
        .await
        .unwrap()
        .write_at(b"abc", 0)
        .await
        .unwrap();
    let store = directory(&temp);
    let file = store.reopen(&name("o/1")).await.unwrap();
    assert!(matches!(
        store.publish(&[name("o/1")]).await,
        Err(StoreError::NotSynced { .. })
    ));
    file.sync().await.unwrap();
    store.publish(&[name("o/1")]).await.unwrap();
    assert_eq!(store.open(&name("o/1")).await.unwrap().len().unwrap(), 3);
}
