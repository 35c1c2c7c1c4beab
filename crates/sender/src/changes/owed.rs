//! What a task owes to rules that changed.

use super::{SourceTask, narrowing::Narrowing};
use crate::{Coverage, SenderError};

/// What is still to be done, and how much of it there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owed {
    /// What waits is to be held against the rules.
    narrowing: bool,
    /// What they send and was never recorded, or left out, is to be sent.
    backfill: bool,
    /// What was removed while no rule sent that is to be removed.
    pub(super) removals: bool,
    /// Keys that are so, and live at a peer.
    pub(super) unremoved: u64,
}

impl Owed {
    pub(super) fn all() -> Self {
        Self {
            narrowing: true,
            backfill: true,
            removals: true,
            unremoved: 0,
        }
    }
}

impl SourceTask {
    /// What waits does so no longer than this takes, whatever a scan does.
    pub(super) async fn rules_changed(&mut self) {
        self.owed = Owed::all();
        if let Err(error) = self.narrow().await {
            self.report(Err(error), false);
        }
    }

    /// Makes up for rules that changed, behind a scan.
    pub(super) async fn make_up(&mut self) -> Result<(), SenderError> {
        self.narrow().await?;
        if self.owed.backfill {
            self.recorder.misses = false;
            self.backfill().await?;
            // Anew with the next scan for what may not be read now.
            self.owed.backfill = self.recorder.misses;
        }
        self.remove_after_all().await
    }

    /// Leaves out what waits and no rule in force sends, once after they changed.
    async fn narrow(&mut self) -> Result<(), SenderError> {
        if !self.owed.narrowing {
            return Ok(());
        }
        let rules = self.recorder.rules.borrow().clone();
        let mut narrowing = Narrowing::of(&self.recorder.bucket);
        loop {
            let coverage = Coverage {
                rules: &rules,
                journal: &*self.recorder.journal,
                source: Some(&*self.recorder.source),
            };
            let now = self.recorder.clock.now();
            if !narrowing.step(coverage, now).await? {
                break;
            }
            self.take_written_meanwhile().await?;
        }
        self.owed.narrowing = false;
        Ok(())
    }

    /// Makes up for new rules. A long way through all keys does not keep applications waiting
    /// that write meanwhile.
    async fn backfill(&mut self) -> Result<(), SenderError> {
        let rules = self.recorder.rules.borrow().clone();
        for peer in rules.peers_of(&self.recorder.bucket) {
            let mut after = None;
            loop {
                after = self.recorder.backfill(&rules, &peer, after).await?;
                if after.is_none() {
                    break;
                }
                self.take_written_meanwhile().await?;
            }
            self.recorder.send_after_all(&rules, &peer).await?;
        }
        Ok(())
    }
}
