//! The audit log in the catalog's log file.

use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use sealift_terms::{Audit, AuditRecord, AuditUnavailable, Timestamp, limits};

use super::{
    catalog_state::{Act, CatalogState},
    keeper::Keeper,
};
use crate::{
    AuditLog, AuditVerdict, Flaw, Leaf, Refusal, Result, TreeHead,
    merkle::{Frontier, leaf_hash},
    refusals::Refusals,
};

/// How long records that nobody waits for may wait for company.
const NOTES_WAIT: Duration = Duration::from_millis(20);
/// How long they wait after a write failed before they are tried alone.
const NOTES_RETRY: Duration = Duration::from_secs(1);

/// The [`AuditLog`] of a [`LogCatalog`](super::LogCatalog).
pub struct LogAudit {
    keeper: Keeper<CatalogState>,
    refusals: Mutex<Refusals>,
}

impl LogAudit {
    pub(super) fn new(keeper: Keeper<CatalogState>) -> Self {
        let refusals = Mutex::default();
        Self { keeper, refusals }
    }
}

impl Audit for LogAudit {
    fn record(&self, record: AuditRecord) -> std::result::Result<(), AuditUnavailable> {
        let begins = self.keeper.with(|state| {
            takes_notes(state)?;
            state.notes.push(record);
            Ok(!std::mem::replace(&mut state.is_noting, true))
        });
        if begins.map_err(|cause| AuditUnavailable { cause })? {
            tokio::spawn(write_notes(self.keeper.clone()));
        }
        Ok(())
    }
}

fn takes_notes(state: &CatalogState) -> std::result::Result<(), String> {
    let most = limits::AUDIT_QUEUE_MAX;
    match &state.failed {
        Some(cause) => Err(cause.clone()),
        None if state.notes.len() >= most => Err(format!("{most} records wait to be written")),
        None => Ok(()),
    }
}

/// Writes what waits until nothing does.
async fn write_notes(keeper: Keeper<CatalogState>) {
    loop {
        let failed = keeper.with(|state| state.failed.is_some());
        tokio::time::sleep(if failed { NOTES_RETRY } else { NOTES_WAIT }).await;
        // What cannot be written now is tried again.
        let _ = keeper.call(Act::Note.into()).await;
        let is_done = keeper.with(|state| {
            state.is_noting = !state.notes.is_empty();
            !state.is_noting
        });
        if is_done || keeper.is_abandoned() {
            return;
        }
    }
}

#[async_trait]
impl AuditLog for LogAudit {
    fn refused(&self, refusal: Refusal) -> std::result::Result<(), AuditUnavailable> {
        let record = self.refusals.lock().count(refusal);
        record.map_or(Ok(()), |record| self.record(record))
    }

    fn settle_refusals(&self, now: Timestamp) -> std::result::Result<(), AuditUnavailable> {
        let records = self.refusals.lock().settle(now);
        records
            .into_iter()
            .try_for_each(|record| self.record(record))
    }

    fn ready(&self) -> std::result::Result<(), AuditUnavailable> {
        let taken = self.keeper.with(|state| takes_notes(state));
        taken.map_err(|cause| AuditUnavailable { cause })
    }

    async fn flush(&self) -> Result<()> {
        self.keeper.call(Act::Note.into()).await.map(drop)
    }

    async fn head(&self) -> Result<TreeHead> {
        Ok(self.keeper.with(|state| state.frontier.head()))
    }

    async fn leaves(&self, index: u64, limit: usize) -> Result<Vec<Leaf>> {
        Ok(self.keeper.with(|state| {
            let leaves = state.leaves.iter().filter(|leaf| leaf.index >= index);
            leaves.take(limit).cloned().collect()
        }))
    }

    async fn verify(&self) -> Result<AuditVerdict> {
        Ok(self.keeper.with(|state| {
            let (mut frontier, mut flaws) = (Frontier::default(), Vec::new());
            for leaf in &state.leaves {
                let hash = leaf_hash(leaf.json.as_bytes());
                if hash != leaf.hash {
                    flaws.push(Flaw::LeafAltered { index: leaf.index });
                }
                frontier.push(hash);
            }
            let head = frontier.head();
            if head != state.frontier.head() {
                let stored = state.frontier.size();
                flaws.push(Flaw::HeadDiffers { stored });
            }
            AuditVerdict { head, flaws }
        }))
    }
}
