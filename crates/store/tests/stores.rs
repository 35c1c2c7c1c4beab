//! Every store passes the suite; faults and throttles are wrappers around one.
#![allow(clippy::unwrap_used, reason = "a failure is what a test reports")]

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sealift_host::OsDisk;
use sealift_store::{
    Call, DirectoryStore, Faulty, MemoryStore, Store, StoreError, StoreName, Throttled, conformance,
};
use sealift_terms::{
    Disk, DiskFile,
    world::{DiskEntry, Open, Room},
};

/// A disk that counts the directories it read.
#[derive(Debug, Default)]
struct Counting(AtomicUsize);

impl Disk for Counting {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        OsDisk.open(path, how)
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        OsDisk.create_dir_all(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove_file(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        OsDisk.sync_dir(path)
    }
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        OsDisk.read_dir(path)
    }
    fn room(&self, path: &Path) -> io::Result<Room> {
        OsDisk.room(path)
    }
}

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

#[tokio::test]
async fn a_listing_page_by_page_reads_each_folder_once_or_twice() {
    const FOLDERS: usize = 40;
    let temp = tempfile::tempdir().unwrap();
    let disk = Arc::new(Counting::default());
    let (staging, root) = (temp.path().join("staging"), temp.path().join("store"));
    let store = DirectoryStore::new(disk.clone(), staging, &root).unwrap();
    let mut written = Vec::new();
    for folder in 0..FOLDERS {
        std::fs::create_dir_all(root.join(format!("objects/{folder:02}"))).unwrap();
        for file in 0..25 {
            let name = format!("objects/{folder:02}/{file:02}");
            std::fs::write(root.join(&name), b"x").unwrap();
            written.push(name);
        }
    }
    let (mut listed, mut pages) = (Vec::new(), 0);
    let mut after = None;
    loop {
        let page = store.list("objects/", after.as_ref(), 90).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.name.clone());
        listed.extend(page.into_iter().map(|entry| entry.name.to_string()));
        pages += 1;
    }
    assert_eq!(listed, written);
    // The store, its objects and the folder where the page begins, for every page; and
    // every folder.
    let read = disk.0.load(Ordering::Relaxed);
    assert!(
        read <= 3 * (pages + 1) + FOLDERS,
        "{read} for {pages} pages"
    );
}

#[tokio::test]
async fn a_store_that_was_deleted_takes_nothing_until_it_is_there_again_even_if_empty() {
    let temp = tempfile::tempdir().unwrap();
    let store = directory(&temp);
    let at = temp.path().join("store");
    for round in 0..2 {
        let file = store.create(&name("objects/ab/x")).await.unwrap();
        file.write_at(b"x", 0).await.unwrap();
        file.sync().await.unwrap();
        if round > 0 {
            std::fs::remove_dir_all(&at).unwrap();
            let published = store.publish(&[name("objects/ab/x")]).await;
            assert!(matches!(published, Err(StoreError::StoreMissing { .. })));
            let appended = store.append(&name("packs/new")).await;
            assert!(matches!(appended, Err(StoreError::StoreMissing { .. })));
            assert!(!at.exists(), "it was made anew");
            std::fs::create_dir(&at).unwrap();
            std::fs::write(at.join(".sealift-store"), "").unwrap();
        }
        store.publish(&[name("objects/ab/x")]).await.unwrap();
        let pack = store.append(&name("packs/p")).await.unwrap();
        pack.write_at(b"p", 0).await.unwrap();
        pack.sync().await.unwrap();
        assert!(at.join("objects/ab/x").exists() && at.join("packs/p").exists());
    }
}
