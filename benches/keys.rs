//! What keys cost: for each small object, and for a bucket of a million objects whose key
//! changes.
//!
//! `cargo xtask bench keys` prints µs an object for the look-up of its key record and the
//! derivation of its data key (everything that keys add to an object when a bucket key
//! serves it), and the seconds in which all key records of a bucket are wrapped anew: a
//! catalog of a million versions under the 8,760 records of a year, made here. Store and
//! catalog are on tmpfs; `--disk` puts them where temporary files are.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{path::Path, sync::Arc, time::Instant};

use sealift_archive::{Archive, ArchiveParts, BucketKey, Buckets, Budget, Rewrap, SiteFacts};
use sealift_host::{OsClock, OsDisk, OsRng};
use sealift_keys::{
    EncryptionContext, KEYSTORE_FILE, KeyProvider, KeyRecord, LocalKeystore, RecordKind,
    RecordRing, RootSecret,
};
use sealift_ledger::{
    Catalog, Commit, Location, NewVersion, RecordRow, VersionKind,
    sqlite::{NewSite, SqliteCatalog},
};
use sealift_seal::{Header, ObjectSealer, RecordKey};
use sealift_store::{DirectoryStore, Store, StoreName};
use sealift_terms::{
    Audit, AuditRecord, AuditUnavailable, BucketName, Checksum, Clock, Epoch, ObjectFacts,
    ObjectKey, ObjectUid, Order, PartSize, RecordId, Region, Rng, SiteId, VersionId, VersionName,
    limits,
};

const RECORDS: usize = 8_760;
const OBJECTS: usize = 1_000_000;
const DERIVED: usize = 200_000;

/// Counts what is put on record; writing it is the audit log's own cost.
#[derive(Default)]
struct Uncounted;

impl Audit for Uncounted {
    fn record(&self, _record: AuditRecord) -> Result<(), AuditUnavailable> {
        Ok(())
    }
}

fn bucket() -> BucketName {
    BucketName::new("photos").unwrap()
}

fn region() -> Region {
    Region::new("eu-west").unwrap()
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    // `cargo test --all-targets` starts this as well; only `cargo bench` says so.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let place = match std::env::args().any(|argument| argument == "--disk") {
        true => tempfile::tempdir().unwrap(),
        false => tempfile::tempdir_in("/dev/shm").unwrap(),
    };
    let keystore = keystore(place.path());
    let ring = Arc::new(RecordRing::new(
        keystore.clone(),
        region(),
        Arc::new(OsClock),
        Arc::new(OsRng),
        Arc::new(Uncounted),
    ));
    for_each_object(&ring).await;
    rewrapping(place.path(), &keystore, ring).await;
}

fn keystore(dir: &Path) -> Arc<LocalKeystore> {
    let (disk, clock, rng) = (Arc::new(OsDisk), Arc::new(OsClock), Arc::new(OsRng));
    let secret = RootSecret::generate(&OsRng);
    let path = dir.join(KEYSTORE_FILE);
    let keystore = LocalKeystore::create(disk, clock, rng, &path, secret).unwrap();
    for alias in ["alias/old", "alias/new"] {
        keystore
            .create_key(Some(alias.parse().unwrap()), region())
            .unwrap();
    }
    Arc::new(keystore)
}

/// The key record of its bucket, and its data key and header tag.
async fn for_each_object(ring: &RecordRing) {
    let begun = Instant::now();
    let mut tags = 0_u64;
    for _ in 0..DERIVED {
        let open = ring.current(&bucket(), "alias/old").await.unwrap();
        let header = Header {
            part_size: PartSize::DEFAULT,
            uid: ObjectUid::random(&OsRng),
            record: open.record().id,
            second: None,
        };
        let sealer = ObjectSealer::new(open.key(), header).unwrap();
        tags += u64::from(sealer.header_bytes()[64]);
    }
    let each = begun.elapsed().as_secs_f64() * 1e6 / DERIVED as f64;
    let counters = ring.counters();
    println!(
        "keys of a small object: {each:.2} µs (record looked up, data key and header tag derived; \
         wanted below 10); {} calls to the provider for {DERIVED} objects [{}]",
        counters.calls_made,
        tags % 10
    );
}

async fn rewrapping(dir: &Path, keystore: &Arc<LocalKeystore>, ring: Arc<RecordRing>) {
    let disk = Arc::new(OsDisk);
    let store: Arc<dyn Store> =
        Arc::new(DirectoryStore::new(disk, dir.join("staging"), dir.join("store")).unwrap());
    let new = NewSite {
        site: SiteId::random(&OsRng),
        epoch: Epoch::random(&OsRng),
    };
    let facts = Arc::new(SiteFacts::new(keystore.facts_key()));
    let catalog: Arc<dyn Catalog> =
        Arc::new(SqliteCatalog::open(&dir.join("catalog.db"), facts, new).unwrap());
    let begun = Instant::now();
    let records = records(keystore, &*store).await;
    versions(&*catalog, &records).await;
    eprintln!("made in {:.1} s", begun.elapsed().as_secs_f64());

    let rng: Arc<dyn Rng> = Arc::new(OsRng);
    let archive = Archive::open(ArchiveParts {
        store,
        catalog,
        ring,
        buckets: Buckets::from([(bucket(), BucketKey::shared("alias/old"))]),
        region: region(),
        clock: Arc::new(OsClock),
        rng,
        audit: Arc::new(Uncounted),
        budget: Budget::new(limits::MEMORY_BUDGET_BYTES),
        files_max: limits::UPLOAD_FILES_MAX,
    })
    .await
    .unwrap();
    let wanted = Rewrap {
        bucket: Some(bucket()),
        from: None,
        to: "alias/new".to_owned(),
        dry_run: false,
    };
    let begun = Instant::now();
    let mut sink = |found: sealift_archive::RewrapFinding| panic!("{}", found.cause);
    let done = archive.rewrap(&wanted, &mut sink).await.unwrap();
    let took = begun.elapsed().as_secs_f64();
    assert_eq!(done.records, RECORDS as u64);
    println!(
        "a bucket of {OBJECTS} objects rewrapped in {took:.2} s: {} records, {:.0} µs each",
        done.records,
        took * 1e6 / done.records as f64
    );
    archive.close().await;
}

/// A year of one receiver, with its copies in the store.
async fn records(keystore: &LocalKeystore, store: &dyn Store) -> Vec<KeyRecord> {
    let mut records = Vec::with_capacity(RECORDS);
    let mut names = Vec::new();
    for _ in 0..RECORDS {
        let id = RecordId::random(&OsRng);
        let key = RecordKey::random(&OsRng);
        let context = EncryptionContext::bucket(&bucket(), &region(), id);
        let wrapped = keystore.wrap("alias/old", &key, &context).await.unwrap();
        let record = KeyRecord {
            id,
            kind: RecordKind::Bucket,
            bucket: bucket(),
            object: None,
            region: region(),
            provider: keystore.kind(),
            cmk: wrapped.cmk,
            cmk_version: wrapped.cmk_version,
            wrapped: wrapped.bytes,
            created: OsClock.now(),
        };
        let name = StoreName::new(format!("records/{id}.json")).unwrap();
        let file = store.create(&name).await.unwrap();
        file.write_at(&record.encode_file(), 0).await.unwrap();
        file.sync().await.unwrap();
        names.push(name);
        records.push(record);
    }
    for names in names.chunks(500) {
        store.publish(names).await.unwrap();
    }
    records
}

async fn versions(catalog: &dyn Catalog, records: &[KeyRecord]) {
    let rows = records.iter().map(|record| RecordRow {
        id: record.id,
        bucket: record.bucket.clone(),
        cmk: record.cmk.clone(),
        cmk_version: record.cmk_version.clone(),
        json: record.to_json(),
    });
    catalog.put_records(rows.collect()).await.unwrap();
    let each = OBJECTS.div_ceil(records.len());
    for first in (0..OBJECTS).step_by(2_000) {
        let versions = (first..OBJECTS.min(first + 2_000)).map(|n| version(n, &records[n / each]));
        let commit = Commit {
            at: OsClock.now(),
            versions: versions.collect(),
            ..Commit::default()
        };
        catalog.commit(commit).await.unwrap();
    }
}

fn version(n: usize, record: &KeyRecord) -> NewVersion {
    NewVersion {
        name: VersionName {
            bucket: bucket(),
            key: ObjectKey::new(format!("2026/{:03}/{n:07}.jpg", n / 10_000)).unwrap(),
            version: VersionId::new("v1").unwrap(),
        },
        order: Order {
            clock: n as u64,
            region: region(),
            change: n as u64,
        },
        kind: VersionKind::Object,
        facts: ObjectFacts {
            size: 4096,
            ..ObjectFacts::default()
        },
        checksum: Some(Checksum::crc64nvme(n as u64)),
        object_uid: ObjectUid::random(&OsRng),
        record: record.id,
        second_record: None,
        location: Location {
            file: format!("packs/{}", n / 10_000),
            offset: (n % 10_000) as u64 * 4_700,
            length: 4_650,
        },
        sequence: n as u64 + 1,
        replaces: None,
        terms: None,
    }
}
