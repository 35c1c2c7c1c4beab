//! The scrub: every sealed byte that counts is opened again, in small steps.
//!
//! ```text
//!  records: both copies ─▶ versions: entry, header, META, every chunk ─▶ marks
//!                 │ the good copy             │ quarantine                 │ sealed anew
//!                 ▼ over the bad one          ▼ until it comes again       ▼ from the catalog
//! ```
//!
//! Who runs it decides how fast steps follow each other, and asks the sending sites
//! for what was put into quarantine.

mod fault;
mod marks;
mod records;
mod state;

use std::{collections::VecDeque, sync::Arc};

use sealift_ledger::{DamagedVersion, ListVersions, MarkRow, VersionKind, VersionRow};
use sealift_seal::pack::{ENTRY_HEAD_BYTES, check_entry};
use sealift_store::{StoreError, StoreName, blocking};
use sealift_terms::{AuditKind, AuditRecord, Boxed, Checksum};
use sealift_wire::checksum::{CRC64_EMPTY, Crc64, combine};

use crate::{
    Archive, ArchiveError, Finding, ObjectReader, Result, archive::Core, finding::in_words,
    packs::PACKS,
};

use fault::Fault;
pub(crate) use marks::tags_again;
pub use state::{ScrubState, Scrubbed};
use state::{Stage, Within};

/// Plaintext opened in one step of a large object.
const SLICE_BYTES: u64 = 8 << 20;
/// Small objects are looked at in one step until they come to this much.
const STEP_BYTES: u64 = 1 << 20;
/// Rows asked of the catalog at once.
const PAGE_ROWS: usize = 200;

/// A scrub that goes on where the last one ended.
pub struct Scrubber {
    core: Arc<Core>,
    state: ScrubState,
    page: VecDeque<VersionRow>,
    large: Option<Arc<ObjectReader>>,
    /// The mark that was looked at last.
    mark: Option<MarkRow>,
}

/// Takes each finding as it comes.
type Sink<'a> = &'a mut (dyn FnMut(&Finding) + Send);

impl Archive {
    /// A scrub, with what is remembered of its place.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn scrubber(&self) -> Result<Scrubber> {
        Ok(Scrubber {
            core: self.core.clone(),
            state: self.scrub_state().await?,
            page: VecDeque::new(),
            large: None,
            mark: None,
        })
    }

    /// How the scrub stood when it was last written down.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn scrub_state(&self) -> Result<ScrubState> {
        let state = self.core.catalog.scrub_state().await?;
        // One that cannot be read is one that begins anew.
        let read = |state: String| serde_json::from_str(&state).ok();
        Ok(state.and_then(read).unwrap_or_default())
    }
}

impl Scrubber {
    /// How it stands.
    #[must_use]
    pub fn state(&self) -> &ScrubState {
        &self.state
    }

    /// Begins a pass.
    pub fn begin(&mut self) {
        self.page.clear();
        self.large = None;
        self.mark = None;
        self.state.begin(self.core.clock.now());
    }

    /// Writes down how far it has come.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn save(&self) -> Result<()> {
        let state = serde_json::to_string(&self.state).unwrap_or_default();
        Ok(self.core.catalog.put_scrub_state(state).await?)
    }

    /// Does one step of the pass under way; gives the sealed bytes it read.
    ///
    /// # Errors
    /// What keeps it from looking: a store or catalog that does not answer. The
    /// step is done again then. Damage is no error.
    pub fn step<'a>(&'a mut self, sink: Sink<'a>) -> Boxed<'a, Result<u64>> {
        Box::pin(async move {
            let bytes = match self.state.stage {
                Stage::Idle => return Ok(0),
                Stage::Records => self.records(sink).await?,
                Stage::Versions => self.versions(sink).await?,
                Stage::Marks => self.marks(sink).await?,
            };
            self.state.scrubbed.bytes += bytes;
            if !self.state.is_under_way() {
                self.finish().await?;
            }
            Ok(bytes)
        })
    }

    async fn finish(&mut self) -> Result<()> {
        self.state.finished = Some(self.core.clock.now());
        let scrubbed = self.state.scrubbed;
        let record = AuditRecord::new(self.core.clock.now(), AuditKind::ScrubFinished, "agent")
            .with("records", scrubbed.records)
            .with("versions", scrubbed.versions)
            .with("bytes", scrubbed.bytes)
            .with("findings", scrubbed.findings)
            .with("skipped", scrubbed.skipped);
        self.core.audit.record(record)?;
        self.save().await
    }

    fn found(&mut self, finding: &Finding, sink: Sink<'_>) {
        self.state.scrubbed.findings += 1;
        sink(finding);
    }

    async fn versions(&mut self, sink: Sink<'_>) -> Result<u64> {
        let mut bytes = 0;
        while bytes < STEP_BYTES {
            let Some(row) = self.next_row().await? else {
                self.state.stage = Stage::Marks;
                break;
            };
            let is_large = row.kind == VersionKind::Object && row.facts.size > SLICE_BYTES;
            let looked = match row.quarantined {
                true => Ok(true),
                false if is_large => self.slice(&row).await,
                false => self.core.look_at(&row).await.map(|()| true),
            };
            bytes += match is_large {
                true => SLICE_BYTES.min(row.location.length),
                false => row.location.length,
            };
            let is_done = match looked {
                Ok(is_done) => is_done,
                Err(error) => self.judge(&row, error, sink).await?,
            };
            if !is_done {
                break;
            }
            self.page.pop_front();
            self.large = None;
            self.state.pass(&row);
            self.state.scrubbed.versions += 1;
        }
        Ok(bytes)
    }

    /// The version to look at.
    async fn next_row(&mut self) -> Result<Option<VersionRow>> {
        while self.page.is_empty() {
            let Some(bucket) = self.state.bucket.clone() else {
                if !self.next_bucket().await? {
                    return Ok(None);
                }
                continue;
            };
            let list = ListVersions {
                bucket,
                prefix: String::new(),
                all: true,
                after: self.state.cursor(),
                limit: PAGE_ROWS,
            };
            self.page = self.core.catalog.versions(&list).await?.rows.into();
            if self.page.is_empty() && !self.next_bucket().await? {
                return Ok(None);
            }
        }
        Ok(self.page.front().cloned())
    }

    /// Goes on with the next bucket, if there is one.
    async fn next_bucket(&mut self) -> Result<bool> {
        let at = self.state.bucket.as_ref();
        let buckets = self.core.catalog.buckets().await?.into_iter();
        let mut buckets = buckets.map(|count| count.bucket);
        let Some(next) = buckets.find(|bucket| at.is_none_or(|at| bucket > at)) else {
            return Ok(false);
        };
        self.state.bucket = Some(next);
        (self.state.passed, self.state.within) = (None, None);
        Ok(true)
    }

    /// Opens one slice of a large object. Whether it was the last.
    async fn slice(&mut self, row: &VersionRow) -> Result<bool> {
        let reader = match &self.large {
            Some(reader) if reader.row().object_uid == row.object_uid => reader.clone(),
            _ => {
                let reader = Arc::new(self.core.open_row(row.clone()).await?);
                self.large.insert(reader).clone()
            }
        };
        let begun = self.state.within.filter(|w| w.uid == row.object_uid);
        let Within { at, crc64, .. } = begun.unwrap_or(Within {
            uid: row.object_uid,
            at: 0,
            crc64: CRC64_EMPTY,
        });
        let size = reader.size();
        let end = at.saturating_add(SLICE_BYTES).min(size);
        let opening = blocking(self.core.store.calls(), move || -> Result<u64> {
            let mut crc = Crc64::new();
            reader.read_range(at..end, |run| {
                crc.update(run);
                Ok(())
            })?;
            Ok(crc.value())
        });
        let opened = opening.await.map_err(|_| ArchiveError::Closed)??;
        let crc64 = combine(crc64, opened, end.saturating_sub(at));
        if end < size {
            let uid = row.object_uid;
            self.state.within = Some(Within {
                uid,
                at: end,
                crc64,
            });
            return Ok(false);
        }
        let (sealed, known) = (Checksum::crc64nvme(crc64), row.checksum.as_ref());
        match known.filter(|known| known.algorithm() == sealed.algorithm()) {
            Some(known) if *known != sealed => Err(ArchiveError::ChecksumMismatch {
                what: "the sealed object".to_owned(),
                announced: known.to_string(),
                arrived: sealed.to_string(),
            }),
            _ => Ok(true),
        }
    }

    /// What an error means for the version that was looked at. Whether the scrub is
    /// done with it.
    async fn judge(
        &mut self,
        row: &VersionRow,
        error: ArchiveError,
        sink: Sink<'_>,
    ) -> Result<bool> {
        match Fault::of(&error) {
            Fault::Surroundings => return Err(error),
            Fault::Key => {
                self.state.scrubbed.skipped += 1;
                return Ok(true);
            }
            Fault::Object | Fault::Entry => {}
        }
        // Before anything is called missing: the store itself is there.
        self.core.store.probe().await?;
        let Some(now) = self.core.catalog.known(&row.name).await? else {
            return Ok(true);
        };
        if now.object_uid != row.object_uid {
            return Ok(true);
        }
        if now.location != row.location {
            // Its pack was compacted since the page was read.
            self.large = None;
            if let Some(front) = self.page.front_mut() {
                *front = now;
            }
            return Ok(false);
        }
        let cause = in_words(&error);
        let finding = match Fault::of(&error) {
            Fault::Entry => {
                self.core.report_rescue(row, &cause)?;
                self.core.rescue(row).await?;
                let begins = row.location.offset;
                let head = begins.saturating_sub(ENTRY_HEAD_BYTES as u64)..begins;
                Finding::in_pack(&row.location.file, &head, cause)
            }
            _ => {
                self.core.put_in_quarantine(row, &cause).await?;
                Finding::ObjectDamaged {
                    name: row.name.clone(),
                    file: row.location.file.clone(),
                    cause,
                }
            }
        };
        self.found(&finding, sink);
        Ok(true)
    }
}

impl Core {
    /// Opens a small object whole, then looks at the entry around it.
    async fn look_at(&self, row: &VersionRow) -> Result<()> {
        self.open_and_verify(row.clone()).await?;
        self.look_at_entry(&row.location).await
    }

    /// Without a whole entry around it an object opens, and a rebuild would miss it.
    pub(crate) async fn look_at_entry(&self, location: &sealift_ledger::Location) -> Result<()> {
        if !location.file.starts_with(PACKS) {
            return Ok(());
        }
        let length = usize::try_from(location.length).unwrap_or(usize::MAX);
        let _lease = self.budget.take(length).await;
        let name = StoreName::new(&location.file).map_err(StoreError::from)?;
        let file = self.store.open(&name).await?;
        let mut head = [0; ENTRY_HEAD_BYTES];
        let begins = location.offset.checked_sub(ENTRY_HEAD_BYTES as u64);
        let begins = begins.ok_or(ArchiveError::Misuse("an entry without room for its head"))?;
        file.read_exact_at(&mut head, begins)?;
        let mut body = vec![0; length.min(sealift_terms::limits::PACK_ENTRY_BYTES_MAX as usize)];
        file.read_exact_at(&mut body, location.offset)?;
        check_entry(&head, &body)?;
        Ok(())
    }

    async fn put_in_quarantine(&self, row: &VersionRow, cause: &str) -> Result<()> {
        let damage = DamagedVersion {
            name: row.name.clone(),
            object_uid: row.object_uid,
            cause: cause.to_owned(),
        };
        let now = self.clock.now();
        let record = AuditRecord::new(now, AuditKind::ObjectDamaged, "agent")
            .with("bucket", &row.name.bucket)
            .with("key", &row.name.key)
            .with("version", &row.name.version)
            .with("uid", row.object_uid)
            .with("file", &row.location.file)
            .with("finding", cause)
            .with("quarantined", true);
        self.catalog
            .quarantine(vec![damage], vec![record], now)
            .await?;
        Ok(())
    }

    fn report_rescue(&self, row: &VersionRow, cause: &str) -> Result<()> {
        let record = AuditRecord::new(self.clock.now(), AuditKind::ObjectDamaged, "agent")
            .with("bucket", &row.name.bucket)
            .with("key", &row.name.key)
            .with("version", &row.name.version)
            .with("file", &row.location.file)
            .with("finding", cause)
            .with("copied", true);
        Ok(self.audit.record(record)?)
    }
}
