//! As a store.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use sealift_fake_kms::Trouble;
use sealift_host::{OsDisk, OsRng};
use sealift_terms::Reason;

use super::*;
use crate::{
    BucketStore, Cut, LeaseTimes, Machine, Store, StoreError, StoreFile, StoreName, conformance,
};

const UNIT: u64 = 6 << 20;
const HEAD: u64 = 96;
/// Three units and a rest: four parts and the end.
const LARGE: u64 = HEAD + 3 * UNIT + 1000;

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

fn cut() -> Cut {
    Cut {
        head: HEAD,
        unit: UNIT,
        count: 4,
    }
}

struct Site {
    stage: Stage,
    data: PathBuf,
}

impl Site {
    fn new(is_tls: bool) -> Self {
        let stage = Stage::new(false, is_tls);
        let data = stage.dir.path().join("data");
        fs::create_dir(&data).unwrap();
        Self { stage, data }
    }

    fn server(&self) -> &FakeAzure {
        &self.stage.server
    }

    async fn open(&self) -> BucketStore {
        let mut settings = self.stage.settings();
        settings.prefix = "sealed/".to_owned();
        let times = LeaseTimes::default();
        let store = open(settings, self.stage.tls(), &self.data, times).await;
        store.begin(true).await.unwrap();
        store
    }
}

async fn open(
    settings: AzureSettings,
    tls: Option<Arc<ClientConfig>>,
    data: &std::path::Path,
    times: LeaseTimes,
) -> BucketStore {
    let machine = Machine {
        disk: Arc::new(OsDisk),
        clock: Arc::new(OsClock),
        rng: Arc::new(OsRng),
    };
    let staging = data.join("staging");
    let store = BucketStore::new(settings, tls, machine, data, &staging, times);
    store.await.unwrap()
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
    let mut at = 0;
    for piece in bytes.chunks(1 << 20) {
        file.write_at(piece, at).await.unwrap();
        at += piece.len() as u64;
    }
    file.sync().await.unwrap();
    file.settled(units);
    file
}

async fn is_stored(store: &BucketStore, name: &StoreName, bytes: &[u8]) {
    let object = store.open(name).await.unwrap();
    assert_eq!(object.len().unwrap(), bytes.len() as u64);
    let mut read = vec![0; bytes.len()];
    object.read_exact_at(&mut read, 0).unwrap();
    assert!(read == bytes, "{name} is another");
}

fn sent(server: &FakeAzure, call: &str) -> usize {
    let asked = server.asked();
    asked.iter().filter(|asked| *asked == call).count()
}

#[tokio::test]
async fn passes_the_conformance_suite_over_tls_and_on_loopback() {
    for is_tls in [true, false] {
        conformance::store(|| async {
            // Each one is empty, and its server lives as long as the test.
            let site: &'static Site = Box::leak(Box::new(Site::new(is_tls)));
            site.open().await
        })
        .await;
    }
}

#[tokio::test]
async fn after_a_restart_only_what_is_missing_is_sent() {
    let site = Site::new(false);
    let (file_name, mut bytes) = (name("objects/ab/1.slf"), content(LARGE));
    let store = site.open().await;
    let file = stage(&store, &file_name, &bytes, &[0, 1]).await;
    for _ in 0..2000 {
        let note = site.data.join(format!("s3/uploads/{file_name}"));
        if fs::read_to_string(note).is_ok_and(|note| note.lines().count() == 3) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop((file, store));
    assert_eq!(sent(site.server(), "PutBlock"), 2);
    let store = site.open().await;
    let file = store.reopen(&file_name).await.unwrap();
    file.cut(cut());
    // One that is there is written anew meanwhile.
    let at = (HEAD + 77) as usize;
    bytes[at] ^= 1;
    file.write_at(&bytes[at..=at], at as u64).await.unwrap();
    file.sync().await.unwrap();
    file.settled(&[0, 1]);
    store
        .publish(std::slice::from_ref(&file_name))
        .await
        .unwrap();
    assert_eq!(sent(site.server(), "PutBlock"), 3);
    is_stored(&store, &file_name, &bytes).await;
}

/// Every step of a large file, a small one and a pack fails or ends without an answer, for
/// good; whoever begins again gets there.
#[tokio::test]
async fn whatever_step_is_the_last_one_the_next_process_gets_there() {
    for call in [
        "PutBlob",
        "PutBlock",
        "PutBlockList",
        "GetBlockList",
        "ListBlobs",
    ] {
        for is_done in [false, true] {
            let site = Site::new(false);
            let store = site.open().await;
            let (large, small) = (name("objects/ab/1.slf"), name("objects/ab/2.slf"));
            let bytes = content(LARGE);
            let file = stage(&store, &large, &bytes, &[]).await;
            let other = store.create(&small).await.unwrap();
            other.write_at(b"small", 0).await.unwrap();
            other.sync().await.unwrap();
            match is_done {
                true => site.server().lose_answers(call, 5),
                false => site.server().fail(call, 5),
            }
            if let Err(error) = store.publish(&[large.clone(), small.clone()]).await {
                assert!(error.leaves_it_whole(), "{call}: {error:?}");
                assert_eq!(error.reason(), Reason::DstStoreUnavailable);
            }
            drop((file, other, store));
            site.server().fail(call, 0);
            let store = site.open().await;
            for entry in store.staged().await.unwrap() {
                let file = store.reopen(&entry.name).await.unwrap();
                file.cut(cut());
                file.sync().await.unwrap();
                store.publish(&[entry.name]).await.unwrap();
            }
            is_stored(&store, &large, &bytes).await;
            is_stored(&store, &small, b"small").await;
        }
    }
}

#[tokio::test]
async fn blocks_that_vanished_are_sent_anew() {
    let site = Site::new(false);
    let (file_name, bytes) = (name("objects/ab/1.slf"), content(LARGE));
    for restarts in [false, true] {
        let mut store = site.open().await;
        let mut file = stage(&store, &file_name, &bytes, &[0, 1]).await;
        file.prepare().await.unwrap();
        site.server().drop_blocks();
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
async fn a_lease_that_stands_still_is_taken_and_its_holder_writes_no_more() {
    let site = Site::new(false);
    let times = LeaseTimes {
        good_for: Duration::from_millis(1500),
        // As if its process stood still.
        renewed: Duration::from_secs(3600),
    };
    let settings = site.stage.settings();
    let first = open(settings.clone(), None, &site.data, times).await;
    first.begin(true).await.unwrap();
    let second = open(settings, None, &site.data.join("other"), times).await;
    assert!(matches!(first.epoch(), Some(1)));
    second.begin(true).await.unwrap();
    assert_eq!(second.epoch(), Some(2));
    let fenced = first.remove(&name("objects/ab/2")).await.unwrap_err();
    assert!(matches!(fenced, StoreError::StoreLeased { .. }), "{fenced}");
}

#[tokio::test]
async fn trouble_has_its_reason_and_what_is_denied_is_named() {
    let site = Site::new(false);
    let store = site.open().await;
    let file = name("objects/ab/1");
    let put = async |file: &StoreName| {
        store.discard(file).await?;
        let staged = store.create(file).await?;
        staged.write_at(b"x", 0).await?;
        staged.sync().await?;
        store.publish(std::slice::from_ref(file)).await
    };
    site.server().trouble(Trouble::ThrottledFor(3));
    put(&file).await.unwrap();
    site.server().trouble(Trouble::Unreachable);
    let failed = put(&name("objects/ab/2")).await.unwrap_err();
    assert_eq!(failed.reason(), Reason::DstStoreUnavailable, "{failed}");
    site.server().trouble(Trouble::None);
    site.server().deny("DeleteBlob", true);
    let denied = store.remove(&file).await.unwrap_err();
    assert_eq!(denied.reason(), Reason::DstDeleteDenied);
    site.server().deny("PutBlob", true);
    let denied = put(&name("objects/ab/3")).await.unwrap_err();
    assert_eq!(denied.reason(), Reason::DstPutDenied);
    let probes = store.check().await;
    let failed = probes.iter().filter(|probe| probe.outcome.is_err());
    let failed: BTreeSet<_> = failed.map(|probe| probe.action).collect();
    // Nothing was put, so there is nothing to be deleted that would be denied.
    assert!(failed.contains(AZURE_STORE_ACTIONS[1]), "{probes:?}");
    site.server().deny("PutBlob", false);
    site.server().deny("DeleteBlob", false);
    let probes = store.check().await;
    assert!(
        probes.iter().all(|probe| probe.outcome.is_ok()),
        "{probes:?}"
    );
    let mut settings = site.stage.settings();
    settings.container = BucketName::new("nowhere").unwrap();
    let nowhere = open(
        settings,
        None,
        &site.data.join("other"),
        LeaseTimes::default(),
    )
    .await;
    let missing = nowhere.begin(true).await.unwrap_err();
    assert_eq!(missing.reason(), Reason::DstBucketMissing, "{missing}");
}

#[tokio::test]
async fn content_rests_in_the_tier_that_is_wanted_and_the_lease_in_the_usual_one() {
    let site = Site::new(false);
    let mut settings = site.stage.settings();
    settings.access_tier = Some("Cool".to_owned());
    let store = open(settings, None, &site.data, LeaseTimes::default()).await;
    store.begin(true).await.unwrap();
    let large = name("objects/ab/1.slf");
    let file = stage(&store, &large, &content(LARGE), &[0, 1]).await;
    file.prepare().await.unwrap();
    store.publish(std::slice::from_ref(&large)).await.unwrap();
    for file in ["packs/1", "records/1"] {
        let file = store.append(&name(file)).await.unwrap();
        file.write_at(b"one", 0).await.unwrap();
        file.sync().await.unwrap();
    }
    let names = site.server().names();
    for (file, wanted) in [
        ("objects/ab/1.slf", Some("Cool")),
        ("packs/1", Some("Cool")),
        ("records/1", None),
        (".sealift-store", None),
    ] {
        assert!(names.iter().any(|name| name == file), "{names:?}");
        let tier = site.server().header(file, "x-ms-access-tier");
        assert_eq!(tier.as_deref(), wanted, "{file}");
    }
}

#[tokio::test]
async fn a_listing_goes_on_where_it_ended_and_one_that_did_not_end_there_begins_anew() {
    let site = Site::new(false);
    let store = site.open().await;
    for n in 0..30 {
        let bytes = sealift_fake_kms::AzurePut::default();
        site.server()
            .put(&format!("sealed/packs/{n:02}.slp"), bytes);
    }
    site.server().asked();
    let (mut after, mut found) = (None, Vec::new());
    loop {
        let page = store.list("packs/", after.as_ref(), 7).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.name.clone());
        found.extend(page.into_iter().map(|entry| entry.name.to_string()));
    }
    assert_eq!(found.len(), 30);
    assert!(found.is_sorted());
    // Five pages, and at the end one that begins anew and finds nothing more.
    assert!(sent(site.server(), "ListBlobs") <= 11);
    let behind = Some(name("packs/27.slp"));
    let rest = store.list("packs/", behind.as_ref(), 7).await.unwrap();
    assert_eq!(rest.len(), 2);
}

/// A rebuild would take what such a listing leaves out for not there.
#[tokio::test]
async fn a_listing_that_does_not_get_on_is_an_error() {
    let site = Site::new(false);
    let store = site.open().await;
    let blob = "<Blob><Name>sealed/packs/1</Name><Properties><Content-Length>1</Content-Length></Properties></Blob>";
    for blobs in [blob, ""] {
        let body = format!(
            "<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>m</NextMarker></EnumerationResults>"
        );
        site.server().answer_with("ListBlobs", 200, &[], &body);
        let error = store.list("packs/", None, 99).await.unwrap_err();
        assert_eq!(error.reason(), Reason::DstStoreUnavailable, "{error}");
    }
}

/// What nothing may replace holds no lease, and that is no other agent's doing.
#[tokio::test]
async fn a_container_that_keeps_what_is_there_by_a_policy_says_so() {
    let site = Site::new(false);
    let error = "<Error><Code>BlobImmutableDueToPolicy</Code><Message>no</Message></Error>";
    site.server().answer_with("PutBlob", 409, &[], error);
    let times = LeaseTimes::default();
    let store = open(site.stage.settings(), None, &site.data, times).await;
    let refused = store.begin(true).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::DstPutDenied, "{refused}");
}
