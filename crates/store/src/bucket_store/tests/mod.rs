//! A bucket as a store, against the store of `tests/fake-kms`.

mod cut_off;
mod google;
mod leases;
mod trouble;
mod written;

use std::{collections::BTreeMap, path::PathBuf};

use sealift_fake_kms::FakeS3;
use sealift_host::{OsClock, OsDisk, OsRng};

use parking_lot::Mutex;
use sealift_terms::Reason;

use super::*;
use crate::s3::tests::Stage;
use crate::{Cut, conformance};

const MIB: u64 = 1 << 20;
/// A unit that is a part of its own.
const UNIT: u64 = 6 * MIB;
const HEAD: u64 = 96;

/// A receiver's machine and the bucket that it writes.
struct Site {
    stage: Stage,
    dir: PathBuf,
    /// Another bucket than the one that is there.
    bucket: Option<&'static str>,
    /// In which class what is written is to rest.
    class: Option<String>,
}

impl Site {
    fn new() -> Self {
        Self::over(false)
    }

    fn over(is_tls: bool) -> Self {
        Self::at(Stage::new(is_tls))
    }

    /// The same with a bucket that speaks as Google's does.
    fn google() -> Self {
        Self::at(Stage::google(false))
    }

    fn at(stage: Stage) -> Self {
        // A bucket that keeps no versions, as one for sealed objects.
        stage.server.set_versioning("");
        let dir = stage.dir.path().join("data");
        std::fs::create_dir(&dir).unwrap();
        Self {
            stage,
            dir,
            bucket: None,
            class: None,
        }
    }

    fn server(&self) -> &FakeS3 {
        &self.stage.server
    }

    async fn open_at(&self, dir: &Path, times: LeaseTimes) -> BucketStore {
        let machine = Machine {
            disk: Arc::new(OsDisk),
            clock: Arc::new(OsClock),
            rng: Arc::new(OsRng),
        };
        let mut settings = self.stage.settings();
        settings.prefix = "sealed/".to_owned();
        if self.stage.server.is_google() {
            settings.words = sealift_outside::Words::Google;
        }
        if let Some(bucket) = self.bucket {
            settings.bucket = sealift_terms::BucketName::new(bucket).unwrap();
        }
        settings.storage_class.clone_from(&self.class);
        let (tls, staging) = (self.stage.tls(), dir.join("staging"));
        BucketStore::new(settings, tls, machine, dir, &staging, times)
            .await
            .unwrap()
    }

    async fn open(&self) -> BucketStore {
        let store = self.open_at(&self.dir, LeaseTimes::default()).await;
        store.begin(true).await.unwrap();
        store
    }

    /// Files below the data directory: staged ones, and notes.
    fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        let mut folders = vec![self.dir.join("staging"), self.dir.join("s3/uploads")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => left.push(path.display().to_string()),
                }
            }
        }
        left
    }
}

fn name(name: &str) -> StoreName {
    StoreName::new(name).unwrap()
}

/// Bytes of which each says where it is.
fn content(len: u64) -> Vec<u8> {
    (0..len / 8 + 1)
        .flat_map(|word| (word.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes())
        .take(usize::try_from(len).unwrap())
        .collect()
}

/// Three units and a rest: four parts and the end.
const LARGE: u64 = HEAD + 3 * UNIT + 1000;

fn cut() -> Cut {
    Cut {
        head: HEAD,
        unit: UNIT,
        count: 4,
    }
}

async fn write(file: &dyn StoreFile, bytes: &[u8], from: u64) {
    let mut at = from;
    for piece in bytes.chunks(MIB as usize) {
        file.write_at(piece, at).await.unwrap();
        at += piece.len() as u64;
    }
}

/// A staged file of `bytes`, of which these units are settled.
async fn stage(
    store: &BucketStore,
    name: &StoreName,
    bytes: &[u8],
    units: &[u32],
) -> Arc<dyn StoreFile> {
    let file = store.create(name).await.unwrap();
    file.cut(cut());
    write(&*file, bytes, 0).await;
    file.sync().await.unwrap();
    file.settled(units);
    file
}

fn sent_parts(server: &FakeS3) -> usize {
    let asked = server.asked();
    asked
        .iter()
        .filter(|action| *action == "s3:PutObject (part)")
        .count()
}

async fn until(what: impl Fn() -> bool) {
    for _ in 0..1000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come to that");
}

async fn is_stored(store: &BucketStore, name: &StoreName, bytes: &[u8]) {
    let object = store.open(name).await.unwrap();
    assert_eq!(object.len().unwrap(), bytes.len() as u64);
    let mut read = vec![0; bytes.len()];
    object.read_exact_at(&mut read, 0).unwrap();
    assert!(read == bytes, "{name}");
}

#[tokio::test]
async fn a_bucket_passes_the_suite_over_tls_and_on_loopback() {
    for is_tls in [true, false] {
        let sites = Mutex::new(Vec::new());
        conformance::store(|| async {
            let site = Site::over(is_tls);
            let store = site.open().await;
            sites.lock().push(site);
            store
        })
        .await;
    }
}

#[tokio::test]
async fn parts_are_sent_as_soon_as_they_are_settled_and_make_one_file() {
    let site = Site::new();
    let store = site.open().await;
    let (file_name, bytes) = (name("objects/ab/1.slf"), content(LARGE));
    let file = stage(&store, &file_name, &bytes, &[2, 0]).await;
    until(|| store.requests().contains(&("UploadPart", 2))).await;
    assert!(
        !site
            .server()
            .keys()
            .contains(&format!("sealed/{file_name}"))
    );
    file.settled(&[1, 3]);
    file.prepare().await.unwrap();
    // The last part waits for the end of the file, and there is nothing left to send.
    assert_eq!(sent_parts(site.server()), 4);
    file.sync().await.unwrap();
    store
        .publish(std::slice::from_ref(&file_name))
        .await
        .unwrap();
    drop(file);
    is_stored(&store, &file_name, &bytes).await;
    assert_eq!(
        site.server().bytes("sealed/objects/ab/1.slf").unwrap(),
        bytes
    );
    assert!(site.server().open_uploads().is_empty());
    assert_eq!(site.left(), [""; 0]);
    let requests: BTreeMap<_, _> = store.requests().into_iter().collect();
    assert_eq!(
        (
            requests["CreateMultipartUpload"],
            requests["CompleteMultipartUpload"]
        ),
        (1, 1)
    );
}

#[tokio::test]
async fn a_small_file_is_one_request_under_a_condition() {
    let site = Site::new();
    let store = site.open().await;
    let before: BTreeMap<_, _> = store.requests().into_iter().collect();
    let file_name = name("objects/ab/2.slf");
    let file = store.create(&file_name).await.unwrap();
    file.write_at(b"small", 0).await.unwrap();
    file.prepare().await.unwrap();
    file.sync().await.unwrap();
    store
        .publish(std::slice::from_ref(&file_name))
        .await
        .unwrap();
    let after: BTreeMap<_, _> = store.requests().into_iter().collect();
    let more: u64 = after.values().sum::<u64>() - before.values().sum::<u64>();
    assert_eq!((more, after["PutObject"] - before["PutObject"]), (1, 1));
}

#[tokio::test]
async fn a_record_is_written_over_the_one_that_is_there() {
    let site = Site::new();
    let store = site.open().await;
    let record = name("records/ab.json");
    for text in [&b"one"[..], b"one", b"another"] {
        let file = store.create(&record).await.unwrap();
        file.write_at(text, 0).await.unwrap();
        file.sync().await.unwrap();
        drop(file);
        store.publish(std::slice::from_ref(&record)).await.unwrap();
        is_stored(&store, &record, text).await;
    }
}

#[tokio::test]
async fn a_pack_is_one_request_for_each_sync_and_all_or_nothing() {
    let site = Site::new();
    let store = site.open().await;
    let pack_name = name("packs/1.slp");
    let pack = store.append(&pack_name).await.unwrap();
    write(&*pack, &content(3 * MIB), 0).await;
    assert_eq!(site.server().bytes("sealed/packs/1.slp"), None);
    pack.sync().await.unwrap();
    assert_eq!(
        site.server().bytes("sealed/packs/1.slp").unwrap(),
        content(3 * MIB)
    );
    drop(pack);
    until(|| site.left().is_empty()).await;
    is_stored(&store, &pack_name, &content(3 * MIB)).await;
    // Opened once more, it is what the bucket has.
    let again = store.append(&pack_name).await.unwrap();
    assert_eq!(again.len().unwrap(), 3 * MIB);
    let requests: BTreeMap<_, _> = store.requests().into_iter().collect();
    // The lease is the other.
    assert_eq!(requests["PutObject"], 2);
}

#[tokio::test]
async fn a_file_is_read_through_in_few_requests_and_a_piece_of_it_in_a_short_one() {
    let site = Site::new();
    let store = site.open().await;
    let (file_name, bytes) = (name("objects/ab/3.slf"), content(LARGE));
    let file = stage(&store, &file_name, &bytes, &[]).await;
    store
        .publish(std::slice::from_ref(&file_name))
        .await
        .unwrap();
    drop(file);
    let gets = || {
        let requests: BTreeMap<_, _> = store.requests().into_iter().collect();
        requests["GetObject"]
    };
    let before = gets();
    let object = store.open(&file_name).await.unwrap();
    // As a reader of sealed objects does: the head, the end, then all of it.
    let mut piece = vec![0; 16_400];
    for offset in [0, LARGE - 32, LARGE - 900] {
        let len = 32.min(piece.len());
        object.read_exact_at(&mut piece[..len], offset).unwrap();
    }
    let mut at = HEAD;
    while at < LARGE {
        let len = (LARGE - at).min(16_400);
        let piece = &mut piece[..usize::try_from(len).unwrap()];
        object.read_exact_at(piece, at).unwrap();
        assert!(*piece == bytes[usize::try_from(at).unwrap()..][..piece.len()]);
        at += len;
    }
    let asked = gets() - before;
    assert!(asked <= 3 + 4 + LARGE / (2 * MIB) + 1, "{asked}");
}
