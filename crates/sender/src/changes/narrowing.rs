//! What waits and no rule in force sends any more: it is left out at once, and says so.

use sealift_ledger::{ListTransfers, Settlement, TransferOutcome};
use sealift_terms::{BucketName, Status, Timestamp};

use crate::{Coverage, SenderError};

/// Transfers held against the rules in one step.
const PAGE_TRANSFERS: usize = 500;

/// A way through what of a bucket waits, or was given up.
pub(super) struct Narrowing {
    lists: Vec<ListTransfers>,
}

impl Narrowing {
    pub(super) fn of(bucket: &BucketName) -> Self {
        let list = |status| ListTransfers {
            status: Some(status),
            bucket: Some(bucket.clone()),
            limit: PAGE_TRANSFERS,
            ..ListTransfers::default()
        };
        let lists = [Status::Pending, Status::Failed].map(list).into();
        Self { lists }
    }

    /// Leaves out what of the next page goes nowhere by the rules in force. What is on its way
    /// meanwhile is written down as it ends. False at the end of the way.
    pub(super) async fn step(
        &mut self,
        coverage: Coverage<'_>,
        at: Timestamp,
    ) -> Result<bool, SenderError> {
        let Some(list) = self.lists.last_mut() else {
            return Ok(false);
        };
        let page = coverage.journal.transfers(list).await?;
        match page.last() {
            Some(last) => list.after = Some(last.id),
            None => drop(self.lists.pop()),
        }
        let skips = coverage.leaves_out(&page).await?;
        let left_out = page.iter().zip(skips).filter_map(|(transfer, skip)| {
            let skip = skip?;
            let (reason, evidence) = (skip.reason, skip.evidence);
            Some(Settlement {
                id: transfer.id,
                at,
                outcome: TransferOutcome::Skipped { reason, evidence },
            })
        });
        let left_out: Vec<_> = left_out.collect();
        if !left_out.is_empty() {
            coverage.journal.settle(left_out).await?;
        }
        Ok(true)
    }
}
