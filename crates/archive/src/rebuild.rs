//! A catalog made anew from the store and the keys alone.

use std::collections::HashMap;

use sealift_keys::{KeyError, KeyRecord};
use sealift_ledger::{
    Commit, Location, MarkKind, NewMark, NewVersion, Outcome, PackState, VersionKind,
};
use sealift_seal::{
    Expected, Found, Header, Inspected, Mark, Meta, Scanner, Tail, pack::EntryKind,
};
use sealift_store::{StoreEntry, StoreError, StoreName};
use sealift_terms::{AuditKind, AuditRecord, Epoch, Order, RecordId, Region};
use tokio::sync::mpsc;

use crate::{
    ArchiveError, ArchiveParts, Finding, Result,
    archive::Core,
    finding::in_words,
    holding::HoldSaid,
    layers::OpenLayers,
    limits::PAGE_ROWS,
    listing::Listing,
    packs::PACKS,
    read::StoredObject,
    records::{RECORDS, row},
    staging::OBJECTS,
    verify::Sink,
};

/// Versions taken over in one transaction.
const BATCH_MAX: usize = 500;
/// A key record's file.
const RECORD_FILE_BYTES_MAX: u64 = 32 * 1024;

/// What a rebuild found.
#[derive(Debug, Clone, Copy, Default)]
pub struct RebuildReport {
    /// Versions with content, and delete markers.
    pub versions: u64,
    /// Other marks: tags, purges and holds.
    pub marks: u64,
    /// Key records.
    pub records: u64,
    /// What could not be taken over.
    pub findings: u64,
}

/// Forgets what the catalog says and makes it anew from the store: packs, files
/// and key records. Of two finds of one version the highest sequence stays, what
/// was purged stays away, and a new epoch begins. On record as an act of `actor`;
/// what cannot be taken over goes to `sink`.
///
/// Until it is done the catalog says that it is not whole, and
/// [`Archive::open`](crate::Archive::open) refuses it: what was cut off begins anew.
///
/// # Errors
/// What store or catalog say, and a key that cannot be used now. What is damaged is a
/// finding, not an error.
pub async fn rebuild(parts: ArchiveParts, actor: &str, sink: Sink<'_>) -> Result<RebuildReport> {
    let (commits, _) = mpsc::channel(1);
    let (recorded, _) = mpsc::channel(1);
    let core = Core::new(parts, commits, recorded);
    let mut work = Rebuild {
        core: &core,
        sink,
        report: RebuildReport::default(),
        records: HashMap::new(),
        batch: Commit::default(),
    };
    work.read_records().await?;
    core.catalog
        .begin_rebuild(Epoch::random(&*core.rng))
        .await?;
    work.put_records().await?;
    // Records that rest in packs are needed by the objects beside them.
    let mut packs = Listing::new(&*core.store, &[PACKS]);
    while let Some(pack) = packs.next().await? {
        let tail = match packs.peek().await? {
            Some(_) => Tail::Closed,
            None => Tail::Open,
        };
        work.take_pack(&pack, tail).await?;
    }
    let mut files = Listing::new(&*core.store, &[OBJECTS]);
    while let Some(file) = files.next().await? {
        work.take_file(&file).await?;
    }
    work.finish(actor).await
}

/// What META says of an object or a delete marker; `None` for another mark.
pub(crate) fn version_of(
    meta: &Meta,
    header: &Header,
    location: Location,
    region: &Region,
) -> Option<NewVersion> {
    let kind = match meta.mark {
        None => VersionKind::Object,
        Some(Mark::DeleteMarker) => VersionKind::DeleteMarker,
        Some(Mark::Tags | Mark::Purge | Mark::Hold) => return None,
    };
    Some(NewVersion {
        name: meta.name(),
        order: order_of(meta, region),
        kind,
        facts: meta.facts(),
        checksum: meta.checksum.clone(),
        object_uid: header.uid,
        record: header.record,
        second_record: header.second,
        location,
        sequence: meta.sequence.unwrap_or(0),
        replaces: None,
        terms: None,
    })
}

/// An object sealed by someone who gave no order is older than any that has one.
pub(crate) fn order_of(meta: &Meta, region: &Region) -> Order {
    meta.order.clone().unwrap_or_else(|| Order {
        clock: 0,
        region: region.clone(),
        change: 0,
    })
}

struct Rebuild<'a> {
    core: &'a Core,
    sink: Sink<'a>,
    report: RebuildReport,
    records: HashMap<RecordId, KeyRecord>,
    batch: Commit,
}

impl Rebuild<'_> {
    fn found(&mut self, finding: Finding) {
        tracing::warn!(%finding, "not taken over");
        self.report.findings += 1;
        (self.sink)(finding);
    }

    fn record(&self, id: RecordId) -> Result<&KeyRecord> {
        self.records.get(&id).ok_or(ArchiveError::RecordMissing(id))
    }

    /// Both copies: the catalog's serves where the store's is damaged, and the other way
    /// round. A catalog that cannot be read at all is an error: its copies may be needed.
    async fn read_records(&mut self) -> Result<()> {
        match self.read_catalog_records().await {
            Err(ArchiveError::Ledger(error)) if error.is_damage() => {
                let (file, cause) = ("the catalog".to_owned(), in_words(&error));
                self.found(Finding::FileDamaged { file, cause });
            }
            read => read?,
        }
        let mut files = Listing::new(&*self.core.store, &[RECORDS]);
        while let Some(entry) = files.next().await? {
            match self.read_record(&entry).await {
                Ok(record) => drop(self.records.insert(record.id, record)),
                Err(error) => {
                    let cause = in_words(&error);
                    let file = entry.name.to_string();
                    self.found(Finding::FileDamaged { file, cause });
                }
            }
        }
        Ok(())
    }

    async fn read_catalog_records(&mut self) -> Result<()> {
        let mut after = None;
        loop {
            let page = self.core.catalog.records(after, PAGE_ROWS).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.id);
            for row in page {
                match KeyRecord::from_json(row.json.as_bytes()) {
                    Ok(record) => drop(self.records.insert(record.id, record)),
                    Err(error) => self.found(Finding::RecordDiffers {
                        record: row.id,
                        cause: format!("the catalog's copy: {}", in_words(&error)),
                    }),
                }
            }
        }
    }

    async fn read_record(&self, entry: &StoreEntry) -> Result<KeyRecord> {
        let len = usize::try_from(entry.len.min(RECORD_FILE_BYTES_MAX)).unwrap_or(0);
        let mut bytes = vec![0; len];
        let file = self.core.store.open(&entry.name).await?;
        file.read_exact_at(&mut bytes, 0)?;
        Ok(KeyRecord::parse_file(&bytes)?)
    }

    async fn put_records(&mut self) -> Result<()> {
        let rows: Vec<_> = self.records.values().map(row).collect();
        for page in rows.chunks(PAGE_ROWS) {
            self.core.catalog.put_records(page.to_vec()).await?;
        }
        Ok(())
    }

    async fn take_pack(&mut self, entry: &StoreEntry, tail: Tail) -> Result<()> {
        let file = entry.name.to_string();
        let stored = StoredObject(self.core.store.open(&entry.name).await?);
        let mut scanner = Scanner::new(stored, entry.len, tail);
        let mut end = entry.len;
        while let Some(found) = scanner.next()? {
            match found {
                Found::Entry {
                    kind: EntryKind::Record,
                    body,
                    ..
                } => self.take_record(&file, body).await?,
                Found::Entry {
                    kind: EntryKind::Object | EntryKind::Mark,
                    body_offset,
                    body,
                } => {
                    let location = Location {
                        file: file.clone(),
                        offset: body_offset,
                        length: body.len() as u64,
                    };
                    let inspected = Inspected::new(body, body.len() as u64, &Expected::unlisted());
                    self.take_object(inspected, location).await?;
                }
                Found::Damage { range, damage } => {
                    self.found(Finding::in_pack(&file, &range, in_words(&damage)));
                }
                Found::Dropped { range } => end = range.start,
            }
        }
        self.batch.packs.push(PackState {
            file,
            synced_bytes: end,
            closed: true,
        });
        Ok(())
    }

    async fn take_record(&mut self, file: &str, body: &[u8]) -> Result<()> {
        match KeyRecord::from_json(body) {
            Ok(record) => {
                self.core.catalog.put_records(vec![row(&record)]).await?;
                self.records.insert(record.id, record);
            }
            Err(error) => self.found(Finding::FileDamaged {
                file: file.to_owned(),
                cause: in_words(&error),
            }),
        }
        Ok(())
    }

    async fn take_file(&mut self, entry: &StoreEntry) -> Result<()> {
        let location = Location {
            file: entry.name.to_string(),
            offset: 0,
            length: entry.len,
        };
        let stored = StoredObject(self.core.store.open(&entry.name).await?);
        let inspected = Inspected::new(stored, entry.len, &Expected::unlisted());
        self.take_object(inspected, location).await
    }

    async fn take_object<R: sealift_seal::ReadAt>(
        &mut self,
        inspected: std::result::Result<Inspected<R>, sealift_seal::SealError>,
        location: Location,
    ) -> Result<()> {
        let file = location.file.clone();
        match self.open(inspected, location).await {
            Ok(()) => self.flush(BATCH_MAX).await,
            Err(error) if !is_about_the_object(&error) => Err(error),
            Err(error) => {
                let cause = in_words(&error);
                self.found(Finding::FileDamaged { file, cause });
                Ok(())
            }
        }
    }

    async fn open<R: sealift_seal::ReadAt>(
        &mut self,
        inspected: std::result::Result<Inspected<R>, sealift_seal::SealError>,
        location: Location,
    ) -> Result<()> {
        let inspected = inspected?;
        let records = inspected.header().records();
        // The only one who can know the bucket here; a wrong one does not unwrap,
        // and META has to name the same.
        let bucket = self.record(records.first)?.bucket.clone();
        let ring = &self.core.ring;
        let first = ring.open(self.record(records.first)?, &bucket).await?;
        let second = match records.second {
            None => None,
            Some(second) => Some(ring.open(self.record(second)?, &bucket).await?),
        };
        let open = OpenLayers::new(first, second);
        let opened = inspected.open(open.keys())?;
        let (meta, header) = (opened.meta(), opened.header());
        if meta.bucket != bucket {
            return Err(ArchiveError::Misuse(
                "its META names another bucket than its record",
            ));
        }
        let place = location.clone();
        match version_of(meta, header, location, &self.core.region) {
            Some(version) => self.batch.versions.push(version),
            None => self.batch.marks.push(NewMark {
                name: meta.name(),
                order: order_of(meta, &self.core.region),
                kind: match meta.mark {
                    Some(Mark::Purge) => MarkKind::Purge,
                    Some(Mark::Hold) => MarkKind::Hold(HoldSaid::of_mark(meta)?.notes()),
                    _ => MarkKind::Tags(meta.tags.clone()),
                },
                object_uid: header.uid,
                record: header.record,
                second_record: header.second,
                location: place,
                sequence: meta.sequence.unwrap_or(0),
            }),
        }
        Ok(())
    }

    /// Hands the batch to the catalog once it is large enough.
    async fn flush(&mut self, at_least: usize) -> Result<()> {
        if self.batch.versions.len() + self.batch.marks.len() < at_least {
            return Ok(());
        }
        let mut batch = std::mem::take(&mut self.batch);
        batch.at = self.core.clock.now();
        self.report.marks += batch.marks.len() as u64;
        let files = batch.versions.iter();
        let files: Vec<_> = files.map(|version| version.location.file.clone()).collect();
        let outcomes = self.core.catalog.restore(batch).await?;
        for (file, outcome) in files.iter().zip(&outcomes) {
            // Its purge is durable, and no row leads to it any more.
            if matches!(outcome, Outcome::Purged) && file.starts_with(OBJECTS) {
                let file = StoreName::new(file).map_err(StoreError::from)?;
                self.core.store.remove(&file).await?;
            }
        }
        let stored = |outcome: &&Outcome| matches!(outcome, Outcome::Stored(_));
        self.report.versions += outcomes.iter().filter(stored).count() as u64;
        Ok(())
    }

    async fn finish(mut self, actor: &str) -> Result<RebuildReport> {
        self.flush(0).await?;
        self.report.records = self.records.len() as u64;
        let now = self.core.clock.now();
        let audit = AuditRecord::new(now, AuditKind::CatalogRebuilt, actor)
            .with("versions", self.report.versions)
            .with("marks", self.report.marks)
            .with("records", self.report.records)
            .with("findings", self.report.findings);
        self.core.catalog.end_rebuild(vec![audit]).await?;
        Ok(self.report)
    }
}

/// Whether an error is about what was found. A key that cannot be used now is not: what
/// rests under it would be missing from a catalog that passes for whole.
fn is_about_the_object(error: &ArchiveError) -> bool {
    match error {
        ArchiveError::Key(error) => !matches!(
            error,
            KeyError::NotUsable { .. }
                | KeyError::AccessDenied { .. }
                | KeyError::ForeignProvider { .. }
                | KeyError::Throttled { .. }
                | KeyError::Unavailable { .. }
                | KeyError::Audit(_)
        ),
        ArchiveError::Seal(_) | ArchiveError::RecordMissing(_) | ArchiveError::Misuse(_) => true,
        _ => false,
    }
}
