//! The two copies of every key record.

use std::sync::Arc;

use sealift_keys::KeyRecord;
use sealift_ledger::RecordRow;
use sealift_seal::Expected;
use sealift_terms::{AuditKind, AuditRecord, BucketName, RecordId};

use super::{PAGE_ROWS, Scrubber, Sink, state::Stage};
use crate::{Finding, Result, archive::Core, layers::OpenLayers, records};

impl Scrubber {
    /// Compares a page of records; of two copies that differ the good one is written
    /// over the other.
    pub(super) async fn records(&mut self, sink: Sink<'_>) -> Result<u64> {
        let page = self
            .core
            .catalog
            .records(self.state.record, PAGE_ROWS)
            .await?;
        let Some(last) = page.last() else {
            self.state.stage = Stage::Versions;
            return Ok(0);
        };
        let (last, mut bytes) = (last.id, 0);
        for row in &page {
            bytes += row.json.len() as u64;
            if self.core.record_differs(row).await.is_none() {
                continue;
            }
            self.core.store.probe().await?;
            let Some(cause) = self.core.look_again(row.id).await? else {
                continue;
            };
            tracing::error!(record = %row.id, cause, "a key record is damaged");
            let record = row.id;
            self.found(&Finding::RecordDiffers { record, cause }, sink);
        }
        // Only now: a page that was not looked at to its end is looked at again.
        self.state.record = Some(last);
        self.state.scrubbed.records += page.len() as u64;
        Ok(bytes)
    }
}

impl Core {
    /// Looks at a record whose copies seemed to differ, while nobody wraps it anew, and
    /// repairs it. `None` when they are the same.
    async fn look_again(&self, id: RecordId) -> Result<Option<String>> {
        let _alone = self.changing_records.lock().await;
        let Some(row) = self.catalog.record(id).await? else {
            return Ok(None);
        };
        let Some(cause) = self.record_differs(&row).await else {
            return Ok(None);
        };
        Ok(Some(match self.repair_record(&row, &cause).await? {
            Some(from) => format!("{cause}; written anew from {from}"),
            None => format!("{cause}; neither copy opens what is sealed under it"),
        }))
    }

    /// Says which copy was good, if one was; the other is like it now.
    async fn repair_record(&self, row: &RecordRow, cause: &str) -> Result<Option<&'static str>> {
        let ours = KeyRecord::from_json(row.json.as_bytes()).ok();
        let theirs = self.stored_record(row.id).await.ok();
        let theirs = theirs.filter(|record| record.id == row.id);
        for (candidate, from) in [(&ours, "the catalog"), (&theirs, "the store")] {
            let Some(candidate) = candidate else { continue };
            if candidate.id != row.id || !self.opens(candidate, &row.bucket).await? {
                continue;
            }
            let record = AuditRecord::new(self.clock.now(), AuditKind::RecordRepaired, "agent")
                .with("record", row.id)
                .with("finding", cause)
                .with("from", from);
            self.audit.record(record)?;
            records::write_file(&*self.store, candidate).await?;
            self.catalog
                .put_records(vec![records::row(candidate)])
                .await?;
            return Ok(Some(from));
        }
        let record = AuditRecord::new(self.clock.now(), AuditKind::ObjectDamaged, "agent")
            .with("record", row.id)
            .with("finding", cause);
        self.audit.record(record)?;
        Ok(None)
    }

    /// Whether a record unwraps, and to a key that opens what is sealed under it, where
    /// something of that can be read.
    async fn opens(&self, record: &KeyRecord, bucket: &BucketName) -> Result<bool> {
        let Ok(open) = self.ring.open_anew(record, bucket).await else {
            return Ok(false);
        };
        let Some(row) = self.catalog.version_under(record.id).await? else {
            return Ok(true);
        };
        let records = row.records();
        let other = match records.second {
            Some(second) if second == record.id => Some(records.first),
            second => second,
        };
        let other = match other {
            None => None,
            Some(other) => match self.open_record(other, bucket).await {
                Ok(other) => Some(other),
                // What is missing or damaged speaks for no copy and against none.
                Err(_) => return Ok(true),
            },
        };
        let open = Arc::new(open);
        let open = match other {
            Some(first) if records.first != record.id => OpenLayers::new(first, Some(open)),
            second => OpenLayers::new(open, second),
        };
        let expected = Expected::version(row.object_uid, records, row.name);
        Ok(match self.inspect(&row.location, &expected).await {
            Ok(inspected) => inspected.open(open.keys()).is_ok(),
            Err(_) => true,
        })
    }
}
