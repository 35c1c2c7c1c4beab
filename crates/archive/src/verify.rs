//! Examining an archive: catalog against store, and every sealed byte.

mod one;

use sealift_keys::KeyRecord;
use sealift_ledger::{FileRow, ListVersions, RecordRow, VersionKind, VersionRow};
use sealift_seal::{Expected, Found, Scanner, Tail};
use sealift_store::{StoreEntry, StoreError, StoreName, blocking};
use sealift_terms::{Boxed, BucketName, Checksum, RecordId};
use sealift_wire::checksum::Crc64;

use crate::{
    Archive, ArchiveError, Finding, Result,
    archive::{Core, in_words as checksum_in_words},
    finding::in_words,
    limits::PAGE_ROWS,
    listing::Listing,
    packs::PACKS,
    quarantine,
    read::StoredObject,
    records,
    staging::OBJECTS,
};

/// How thoroughly to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The catalog's files against those in the store, and key records.
    Shallow,
    /// Every sealed byte opened as well.
    Deep,
}

/// What an examination covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerifySummary {
    /// Files compared.
    pub files: u64,
    /// Key records compared.
    pub records: u64,
    /// Versions opened.
    pub versions: u64,
    /// Bytes of plaintext opened.
    pub bytes: u64,
    /// Files that the catalog does not know: never acknowledged, no damage.
    pub orphans: u64,
    /// Findings that are damage.
    pub damaged: u64,
}

/// Takes each finding as it comes.
pub type Sink<'a> = &'a mut (dyn FnMut(Finding) + Send);

struct Examination<'a> {
    core: &'a Core,
    sink: Sink<'a>,
    summary: VerifySummary,
}

impl Archive {
    /// Examines the archive; findings go to `sink` as they come.
    ///
    /// # Errors
    /// What keeps it from being examined: a key that cannot be used, a catalog
    /// that does not answer. Damage is a finding.
    pub fn verify<'a>(&'a self, depth: Depth, sink: Sink<'a>) -> Boxed<'a, Result<VerifySummary>> {
        Box::pin(async move {
            let mut work = Examination {
                core: &self.core,
                sink,
                summary: VerifySummary::default(),
            };
            work.files(depth).await?;
            work.records().await?;
            if depth == Depth::Deep {
                for bucket in self.core.catalog.buckets().await? {
                    work.versions(bucket.bucket).await?;
                }
            }
            Ok(work.summary)
        })
    }
}

impl Examination<'_> {
    fn found(&mut self, finding: Finding) {
        match finding {
            Finding::Orphan { .. } => self.summary.orphans += 1,
            _ => self.summary.damaged += 1,
        }
        (self.sink)(finding);
    }

    /// Merges both listings by name.
    async fn files(&mut self, depth: Depth) -> Result<()> {
        let mut stored = Listing::new(&*self.core.store, &[OBJECTS, PACKS]);
        let mut after: Option<String> = None;
        loop {
            let page = self.core.catalog.files(after.as_deref(), PAGE_ROWS).await?;
            let Some(last) = page.last() else {
                break;
            };
            after = Some(last.file.clone());
            for row in page {
                while let Some(orphan) = stored.next_if(|name| name < row.file.as_str()).await? {
                    self.orphan(&orphan);
                }
                let entry = stored.next_if(|name| name == row.file).await?;
                self.file(&row, entry, depth).await?;
            }
        }
        while let Some(orphan) = stored.next().await? {
            self.orphan(&orphan);
        }
        Ok(())
    }

    fn orphan(&mut self, entry: &StoreEntry) {
        self.found(Finding::Orphan {
            file: entry.name.to_string(),
            bytes: entry.len,
        });
    }

    async fn file(&mut self, row: &FileRow, entry: Option<StoreEntry>, depth: Depth) -> Result<()> {
        self.summary.files += 1;
        let file = row.file.clone();
        match entry {
            None if row.objects > 0 => self.found(Finding::FileMissing {
                file,
                objects: row.objects,
            }),
            None => {}
            Some(entry) if entry.len < row.synced_bytes => self.found(Finding::FileShort {
                file,
                found: entry.len,
                expected: row.synced_bytes,
            }),
            // Given up before anything of it was durable: there is nothing in it.
            Some(_) if row.synced_bytes == 0 => {}
            Some(entry) if depth == Depth::Deep && file.starts_with(PACKS) => {
                self.pack(entry.name, row.synced_bytes).await?;
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Every entry's CRC, dead entries too.
    async fn pack(&mut self, name: StoreName, synced: u64) -> Result<()> {
        let stored = StoredObject(self.core.store.open(&name).await?);
        let file = name.to_string();
        let calls = self.core.store.calls();
        let scanned = blocking(calls, move || -> Result<Vec<Finding>> {
            let mut scanner = Scanner::new(stored, synced, Tail::Closed);
            let mut findings = Vec::new();
            while let Some(found) = scanner.next()? {
                if let Found::Damage { range, damage } = found {
                    findings.push(Finding::in_pack(&file, &range, in_words(&damage)));
                }
            }
            Ok(findings)
        });
        let mut findings = scanned.await.map_err(|_| ArchiveError::Closed)??;
        if !findings.is_empty() {
            let known = self.core.quarantined_in(name.as_str()).await?;
            findings.retain(|finding| !quarantine::covers(&known, finding));
        }
        findings.into_iter().for_each(|finding| self.found(finding));
        Ok(())
    }

    async fn records(&mut self) -> Result<()> {
        let mut after = None;
        loop {
            let page = self.core.catalog.records(after, PAGE_ROWS).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.id);
            for row in page {
                self.summary.records += 1;
                if let Some(cause) = self.core.record_differs(&row).await {
                    let record = row.id;
                    self.found(Finding::RecordDiffers { record, cause });
                }
            }
        }
    }

    async fn versions(&mut self, bucket: BucketName) -> Result<()> {
        let mut list = ListVersions {
            bucket,
            prefix: String::new(),
            all: true,
            after: None,
            limit: PAGE_ROWS,
        };
        loop {
            let page = self.core.catalog.versions(&list).await?;
            for row in page.rows {
                self.version(row).await?;
            }
            list.after = page.next;
            if list.after.is_none() {
                return Ok(());
            }
        }
    }

    async fn version(&mut self, row: VersionRow) -> Result<()> {
        let (name, file) = (row.name.clone(), row.location.file.clone());
        self.summary.versions += 1;
        self.summary.bytes += row.facts.size;
        match self.core.open_and_verify(row).await {
            Ok(()) => Ok(()),
            Err(error) if is_about_the_object(&error) => {
                let cause = in_words(&error);
                self.found(Finding::ObjectDamaged { name, file, cause });
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether an error is about one object and not about the archive's surroundings.
fn is_about_the_object(error: &ArchiveError) -> bool {
    match error {
        ArchiveError::Key(error) => error.is_about_the_record(),
        ArchiveError::Seal(_)
        | ArchiveError::RecordMissing(_)
        | ArchiveError::Quarantined(_)
        | ArchiveError::ChecksumMismatch { .. } => true,
        ArchiveError::Store(error) => matches!(
            error,
            StoreError::NoSuchFile { .. } | StoreError::StoreFailed { .. } | StoreError::Name(_)
        ),
        _ => false,
    }
}

impl Core {
    /// How the catalog's copy of a record differs from the store's.
    pub(crate) async fn record_differs(&self, row: &RecordRow) -> Option<String> {
        let ours = match KeyRecord::from_json(row.json.as_bytes()) {
            Ok(ours) => ours,
            Err(error) => return Some(format!("the catalog's copy: {}", in_words(&error))),
        };
        match self.stored_record(row.id).await {
            Ok(theirs) if theirs == ours => None,
            Ok(_) => Some("the copies in catalog and store differ".to_owned()),
            Err(error) => Some(format!("the store's copy: {}", in_words(&error))),
        }
    }

    pub(crate) async fn stored_record(&self, id: RecordId) -> Result<KeyRecord> {
        let file = self.store.open(&records::file_name(id)?).await?;
        let len = usize::try_from(file.len()?.min(64 * 1024)).unwrap_or(0);
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(KeyRecord::parse_file(&bytes)?)
    }

    /// Opens every chunk of a version and compares its checksum.
    pub(crate) async fn open_and_verify(&self, row: VersionRow) -> Result<()> {
        if row.quarantined {
            return Err(ArchiveError::Quarantined(Box::new(row.name)));
        }
        if row.kind == VersionKind::DeleteMarker {
            let expected = Expected::version(row.object_uid, row.records(), row.name.clone());
            let inspected = self.inspect(&row.location, &expected).await?;
            let open = self.open_layers(row.records(), &row.name.bucket).await?;
            return Ok(inspected.open(open.keys())?.verify()?);
        }
        let reader = self.open_row(row).await?;
        let checked = blocking(self.store.calls(), move || {
            let mut crc = Crc64::new();
            reader.read_range(0..reader.size(), |run| {
                crc.update(run);
                Ok(())
            })?;
            let (sealed, known) = (Checksum::crc64nvme(crc.value()), &reader.row().checksum);
            match known {
                Some(known) if known.algorithm() == sealed.algorithm() && *known != sealed => {
                    Err(ArchiveError::ChecksumMismatch {
                        what: "the sealed object".to_owned(),
                        announced: checksum_in_words(Some(known)),
                        arrived: sealed.to_string(),
                    })
                }
                _ => Ok(()),
            }
        });
        checked.await.map_err(|_| ArchiveError::Closed)?
    }
}
