//! A site in a temporary directory, with which the tests act.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use sealift_host::{OsClock, OsDisk, OsRng};
use sealift_keys::{KEYSTORE_FILE, LocalKeystore, RecordRing, RootSecret};
use sealift_ledger::{
    AuditLog, ListVersions, VersionRow,
    sqlite::{NewSite, SqliteCatalog},
};
use sealift_store::{DirectoryStore, Faults, Faulty};
use sealift_terms::{
    Audit, AuditKind, AuditRecord, AuditUnavailable, BucketName, Change, ChangeKind, Checksum,
    Clock, Epoch, Identity, ObjectFacts, ObjectKey, Order, PartIndex, PartSize, Receipt, Region,
    Rng, SessionFacts, SiteId, Timestamp, VersionId, VersionName, limits,
};
use sealift_wire::checksum::crc64;

use crate::{
    Archive, ArchiveError, ArchiveParts, Begin, BucketKey, Buckets, Budget, Depth, Finding, Offer,
    SiteFacts, Upload,
};

pub(super) const CMK: &str = "alias/photos";
/// The key of the outer layer, of a site that seals in two.
pub(super) const OUTER_CMK: &str = "alias/photos-outer";
/// The smallest part size: objects of many parts stay small.
pub(super) const PART: usize = 64 * 1024;

pub(super) struct Site {
    pub(super) dir: tempfile::TempDir,
    pub(super) keystore: Arc<LocalKeystore>,
    pub(super) audit: Arc<Log>,
    pub(super) budget: Budget,
    pub(super) files_max: usize,
    /// The keys of the bucket.
    pub(super) keys: BucketKey,
    /// The audit log that is written with the catalog's commits.
    leaves: Mutex<Option<Arc<dyn AuditLog>>>,
}

/// An archive that runs, and the store's faults.
pub(super) struct Running {
    pub(super) archive: Arc<Archive>,
    pub(super) faults: Arc<Faults>,
}

#[derive(Default)]
pub(super) struct Log(pub(super) Mutex<Vec<AuditRecord>>);

impl Audit for Log {
    fn record(&self, record: AuditRecord) -> Result<(), AuditUnavailable> {
        self.0.lock().push(record);
        Ok(())
    }
}

impl Log {
    pub(super) fn has(&self, kind: AuditKind) -> bool {
        self.0.lock().iter().any(|record| record.kind == kind)
    }
}

pub(super) fn bucket() -> BucketName {
    BucketName::new("photos").unwrap()
}

pub(super) fn region() -> Region {
    Region::new("eu-west").unwrap()
}

/// Bytes that repeat nowhere, for `seed`.
pub(super) fn plain(seed: u8, len: usize) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as u8
    };
    (0..len).map(|_| next()).collect()
}

pub(super) fn name(key: &str, version: &str) -> VersionName {
    VersionName {
        bucket: bucket(),
        key: ObjectKey::new(key).unwrap(),
        version: VersionId::new(version).unwrap(),
    }
}

pub(super) fn session() -> SessionFacts {
    let identity = |name: &str| format!("spiffe://t/region/r/agent/{name}").parse().unwrap();
    SessionFacts {
        tls_version: "TLSv1.3".into(),
        cipher_suite: "TLS13_AES_256_GCM_SHA384".into(),
        group: "X25519MLKEM768".into(),
        sender: identity("a"),
        sender_serial: "01".into(),
        receiver: identity("b"),
        receiver_serial: "02".into(),
    }
}

pub(super) fn origin() -> Identity {
    session().sender
}

/// An offer of `size` bytes whose order is `clock` milliseconds.
pub(super) fn offer(key: &str, version: &str, clock: u64, size: usize) -> Offer {
    let mut metadata = BTreeMap::new();
    metadata.insert("owner".to_owned(), "a secret of the user's own".to_owned());
    Offer {
        change: Change {
            name: name(key, version),
            order: Order {
                clock: clock << 16,
                region: Region::new("us-east").unwrap(),
                change: clock,
            },
            kind: ChangeKind::Put,
            facts: ObjectFacts {
                size: size as u64,
                content_type: Some("text/plain".into()),
                metadata,
                ..ObjectFacts::default()
            },
        },
        part_size: PartSize::MIN,
        checksum: None,
        session: session().into(),
        origin: origin(),
        any_cut: false,
        data_follows: false,
        reseals: None,
        written: None,
    }
}

impl Site {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let secret = RootSecret::generate(&OsRng);
        let path = dir.path().join(KEYSTORE_FILE);
        let (disk, clock, rng) = (Arc::new(OsDisk), Arc::new(OsClock), Arc::new(OsRng));
        let keystore = LocalKeystore::create(disk, clock, rng, &path, secret).unwrap();
        keystore
            .create_key(Some(CMK.parse().unwrap()), region())
            .unwrap();
        Self {
            dir,
            keystore: Arc::new(keystore),
            audit: Arc::default(),
            budget: Budget::new(8 << 20),
            files_max: limits::UPLOAD_FILES_MAX,
            keys: BucketKey::shared(CMK),
            leaves: Mutex::default(),
        }
    }

    /// A site whose bucket is sealed in two layers.
    pub(super) fn in_two_layers() -> Self {
        let mut site = Self::new();
        let alias = Some(OUTER_CMK.parse().unwrap());
        site.keystore.create_key(alias, region()).unwrap();
        site.keys.second = Some(OUTER_CMK.to_owned());
        site
    }

    pub(super) fn parts(&self) -> (ArchiveParts, Arc<Faults>) {
        self.parts_at(Arc::new(OsClock))
    }

    pub(super) fn parts_at(&self, clock: Arc<dyn Clock>) -> (ArchiveParts, Arc<Faults>) {
        let at = |name: &str| self.dir.path().join(name);
        let disk = Arc::new(OsDisk);
        let store = Faulty::new(DirectoryStore::new(disk, at("staging"), at("store")).unwrap());
        let faults = store.faults();
        let new = NewSite {
            site: SiteId::random(&OsRng),
            epoch: Epoch::random(&OsRng),
        };
        let facts = Arc::new(SiteFacts::new(self.keystore.facts_key()));
        let catalog = SqliteCatalog::open(&at("catalog.db"), facts, new).unwrap();
        *self.leaves.lock() = Some(catalog.audit());
        let rng: Arc<dyn Rng> = Arc::new(OsRng);
        let ring = RecordRing::new(
            self.keystore.clone(),
            region(),
            clock.clone(),
            rng.clone(),
            self.audit.clone(),
        );
        let parts = ArchiveParts {
            store: Arc::new(store),
            catalog: Arc::new(catalog),
            ring: Arc::new(ring),
            buckets: Buckets::from([(bucket(), self.keys.clone())]),
            region: region(),
            clock,
            rng,
            audit: self.audit.clone(),
            budget: self.budget.clone(),
            files_max: self.files_max,
        };
        (parts, faults)
    }

    pub(super) async fn open(&self) -> Running {
        self.open_at(Arc::new(OsClock)).await
    }

    pub(super) async fn open_at(&self, clock: Arc<dyn Clock>) -> Running {
        let (parts, faults) = self.parts_at(clock);
        let archive = Arc::new(Archive::open(parts).await.unwrap());
        Running { archive, faults }
    }

    /// Whether a commit has put a record of this kind into the audit log.
    pub(super) async fn has_leaf(&self, kind: &str) -> bool {
        let log = self.leaves.lock().clone().unwrap();
        let leaves = log.leaves(0, 1000).await.unwrap();
        let kind = format!("\"kind\":\"{kind}\"");
        leaves.iter().any(|leaf| leaf.json.contains(&kind))
    }

    /// Whether a record that a commit has put into the audit log has this detail.
    pub(super) async fn has_detail(&self, name: &str, value: &str) -> bool {
        let log = self.leaves.lock().clone().unwrap();
        let leaves = log.leaves(0, 1000).await.unwrap();
        let detail = format!("\"{name}\":\"{value}\"");
        leaves.iter().any(|leaf| leaf.json.contains(&detail))
    }

    /// Every file below the data directory.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(self.dir.path(), &mut found);
        found
    }

    pub(super) fn lose_catalog(&self) {
        for path in self.files() {
            if path.to_string_lossy().contains("catalog.db") {
                fs::remove_file(path).unwrap();
            }
        }
    }

    pub(super) fn files_in(&self, folder: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(&self.dir.path().join(folder), &mut found);
        found
    }
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else {
            found.push(path);
        }
    }
}

impl Running {
    pub(super) async fn upload(&self, offer: Offer) -> Box<Upload> {
        match self.archive.begin(offer).await.unwrap() {
            Begin::Upload(upload) => upload,
            other => panic!("expected an upload, found {other:?}"),
        }
    }

    /// Sends a whole object.
    pub(super) async fn put(&self, offer: Offer, plain: &[u8]) -> Result<Receipt, ArchiveError> {
        let upload = match self.archive.begin(offer).await? {
            Begin::Upload(upload) => upload,
            other => panic!("expected an upload, found {other:?}"),
        };
        for index in upload.missing() {
            send(&upload, index, plain).await?;
        }
        let checksum = Checksum::crc64nvme(crc64(plain));
        self.archive.commit(upload, Some(checksum)).await
    }

    pub(super) async fn store(&self, key: &str, version: &str, clock: u64, plain: &[u8]) {
        self.put(offer(key, version, clock, plain.len()), plain)
            .await
            .unwrap();
    }

    /// Reads the latest or one version back.
    pub(super) async fn read(
        &self,
        key: &str,
        version: Option<&str>,
    ) -> Result<Vec<u8>, ArchiveError> {
        let version = version.map(|version| VersionId::new(version).unwrap());
        let key = ObjectKey::new(key).unwrap();
        let reader = self
            .archive
            .open_object("test", &bucket(), &key, version.as_ref())
            .await?;
        let mut bytes = Vec::new();
        reader.read_range(0..reader.size(), |run| {
            bytes.extend_from_slice(run);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// What an examination of every sealed byte finds.
    pub(super) async fn verify_deep(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        let mut sink = |finding| found.push(finding);
        let verified = self.archive.verify(Depth::Deep, &mut sink).await;
        verified.unwrap();
        found
    }

    pub(super) async fn listing(&self) -> Vec<VersionRow> {
        let list = ListVersions {
            bucket: bucket(),
            prefix: String::new(),
            all: true,
            after: None,
            limit: 1000,
        };
        self.archive.list(&list).await.unwrap().rows
    }
}

/// Sends one part in uneven cuts.
pub(super) async fn send(
    upload: &Upload,
    index: PartIndex,
    plain: &[u8],
) -> Result<(), ArchiveError> {
    let bytes = part_of(upload, index, plain);
    let mut writer = upload.part(index, bytes.len() as u32).await?;
    for piece in bytes.chunks(10_007) {
        writer.write(piece).await?;
    }
    writer.finish(crc64(bytes)).await
}

pub(super) fn part_of<'a>(upload: &Upload, index: PartIndex, plain: &'a [u8]) -> &'a [u8] {
    let size = upload.part_size().bytes() as usize;
    let from = index.0 as usize * size;
    &plain[from..plain.len().min(from + size)]
}

/// A clock that a test moves.
#[derive(Debug)]
pub(super) struct HandClock(pub(super) Mutex<Timestamp>);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.lock()
    }
    fn monotonic(&self) -> std::time::Duration {
        self.0.lock().since(Timestamp::from_millis(0))
    }
}
