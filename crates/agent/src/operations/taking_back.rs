//! `batch list, status, pause, resume, cancel`: what was queued is held back, goes on, or is
//! taken back, whether the command that queued it waits for it or not.

use sealift_ledger::BatchState;
use sealift_terms::{BatchId, limits::BATCHES_MAX};

use super::{PAGE_ROWS, SiteOperations, replicating::batched_row};
use crate::{
    Error,
    admin::{Actor, Answer, BatchAct, BatchRow, Batches},
};

impl SiteOperations {
    pub(super) async fn batches(
        &self,
        batches: Batches,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        let id = match batches.act {
            BatchAct::List => {
                for batch in self.site.journal.batches().await? {
                    answer.row(&BatchRow::from(batch)).await?;
                }
                return Ok(());
            }
            BatchAct::Objects(id) => return self.of_batch(id, answer).await,
            BatchAct::Show(id) => id,
            BatchAct::Begin { what } => self.begin_batch(&what).await?,
            BatchAct::Pause(id) => self.set_batch(id, BatchState::Paused, actor).await?,
            BatchAct::Resume(id) => self.set_batch(id, BatchState::Running, actor).await?,
            BatchAct::Cancel(id) => self.set_batch(id, BatchState::Cancelled, actor).await?,
        };
        answer.row(&self.batch(id).await?).await
    }

    async fn batch(&self, id: BatchId) -> Result<BatchRow, Error> {
        let batch = self.site.journal.batch(id).await?;
        batch.map(BatchRow::from).ok_or_else(|| Error::NotFound {
            what: format!("batch {id} at this site"),
        })
    }

    /// On record is what it queues.
    async fn begin_batch(&self, what: &str) -> Result<BatchId, Error> {
        let now = self.site.world.clock.now();
        let begun = self.site.journal.begin_batch(what, now).await?;
        begun.ok_or_else(|| Error::Request {
            what: "batches",
            found: format!("{BATCHES_MAX} of which something is to be sent"),
            allowed: "fewer: wait, or cancel one (`sealift batch list`, `sealift batch cancel ID`)"
                .to_owned(),
        })
    }

    async fn set_batch(
        &self,
        id: BatchId,
        to: BatchState,
        actor: &Actor,
    ) -> Result<BatchId, Error> {
        let batch = self.batch(id).await?;
        let command = match to {
            BatchState::Paused => "batch pause",
            BatchState::Running => "batch resume",
            BatchState::Cancelled => "batch cancel",
        };
        if batch.state == BatchState::Cancelled && to != BatchState::Cancelled {
            return Err(Error::Request {
                what: "batch",
                found: format!("{id}, which is cancelled"),
                allowed: "one that is not: `sealift batch replicate` begins another".to_owned(),
            });
        }
        self.audit_durable().await?;
        self.record(actor, command, &[("batch", id.to_string())])?;
        let now = self.site.world.clock.now();
        self.site.journal.set_batch(id, to, now).await?;
        if let Some(live) = self.live.as_deref() {
            live.wake();
        }
        Ok(id)
    }

    async fn of_batch(&self, id: BatchId, answer: &Answer) -> Result<(), Error> {
        self.batch(id).await?;
        let mut after = None;
        loop {
            let page = self.site.journal.batched(id, after, PAGE_ROWS).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.transfer.id);
            for batched in page {
                answer.row(&batched_row(batched)).await?;
            }
        }
    }
}
