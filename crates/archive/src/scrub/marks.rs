//! Marks: tags, purges and holds, which only a rebuild reads.

use std::sync::Arc;

use sealift_ledger::{MarkKind, MarkRow};
use sealift_seal::Expected;
use sealift_terms::{
    AuditKind, AuditRecord, Change, ChangeKind, ObjectFacts, PartSize, SessionFacts,
};

use super::{PAGE_ROWS, Scrubber, Sink, fault::Fault, state::Stage};
use crate::{Finding, Offer, Result, Upload, archive::Core, finding::in_words};

impl Scrubber {
    /// Opens every mark. They are few: after a restart they are looked at from the first.
    pub(super) async fn marks(&mut self, sink: Sink<'_>) -> Result<u64> {
        let page = self
            .core
            .catalog
            .marks(self.mark.as_ref(), PAGE_ROWS)
            .await?;
        let Some(last) = page.last() else {
            self.mark = None;
            self.state.stage = Stage::Idle;
            return Ok(0);
        };
        let last = last.clone();
        let mut bytes = 0;
        for mark in page {
            bytes += mark.location.length;
            self.state.scrubbed.versions += 1;
            let Err(error) = self.core.look_at_mark(&mark).await else {
                continue;
            };
            match Fault::of(&error) {
                Fault::Surroundings => return Err(error),
                Fault::Key => self.state.scrubbed.skipped += 1,
                Fault::Object | Fault::Entry => {
                    self.core.store.probe().await?;
                    let now = self.core.catalog.marks_of(&mark.name).await?;
                    if !now.contains(&mark) {
                        continue;
                    }
                    let finding = self.core.repair_mark(&mark, &in_words(&error)).await?;
                    self.found(&finding, sink);
                }
            }
        }
        self.mark = Some(last);
        Ok(bytes)
    }
}

impl Core {
    async fn look_at_mark(&self, mark: &MarkRow) -> Result<()> {
        let expected = Expected::version(mark.object_uid, mark.records(), mark.name.clone());
        let inspected = self.inspect(&mark.location, &expected).await?;
        let open = self.open_layers(mark.records(), &mark.name.bucket).await?;
        inspected.open(open.keys())?.verify()?;
        self.look_at_entry(&mark.location).await
    }

    /// Tags and holds are sealed anew from the catalog, which has them. What was written stays
    /// where it is, and of two marks the one with the higher sequence holds.
    async fn repair_mark(
        self: &std::sync::Arc<Self>,
        mark: &MarkRow,
        cause: &str,
    ) -> Result<Finding> {
        let row = self.catalog.known(&mark.name).await?;
        let session = row
            .and_then(|row| row.receipt)
            .map(|receipt| receipt.session);
        let is_repaired = match (&mark.kind, session) {
            (MarkKind::Tags(tags), Some(session)) => {
                let offer = tags_again(mark, tags.clone(), session);
                let upload = Upload::begin(self.clone(), offer).await?;
                upload.commit(None).await.is_ok()
            }
            (MarkKind::Hold(_), _) => self.mark_hold_again(mark).await.is_ok(),
            _ => false,
        };
        let cause = match is_repaired {
            true => format!("its mark: {cause}; sealed anew"),
            false => format!("its mark: {cause}; the catalog still has what it says"),
        };
        tracing::error!(version = %mark.name, file = mark.location.file, cause, "a mark is damaged");
        let record = AuditRecord::new(self.clock.now(), AuditKind::ObjectDamaged, "agent")
            .with("bucket", &mark.name.bucket)
            .with("key", &mark.name.key)
            .with("version", &mark.name.version)
            .with("file", &mark.location.file)
            .with("finding", &cause);
        self.audit.record(record)?;
        Ok(Finding::ObjectDamaged {
            name: mark.name.clone(),
            file: mark.location.file.clone(),
            cause,
        })
    }
}

/// The tags of a mark, to be sealed anew.
pub(crate) fn tags_again(
    mark: &MarkRow,
    tags: std::collections::BTreeMap<String, String>,
    session: Arc<SessionFacts>,
) -> Offer {
    Offer {
        change: Change {
            name: mark.name.clone(),
            order: mark.order.clone(),
            kind: ChangeKind::Tags,
            facts: ObjectFacts {
                tags,
                ..ObjectFacts::default()
            },
        },
        part_size: PartSize::DEFAULT,
        checksum: None,
        origin: session.sender.clone(),
        session,
        any_cut: false,
        data_follows: true,
        reseals: None,
        written: None,
    }
}
