//! Batches of a journal in a log, and what they queued.

use std::collections::{BTreeMap, BTreeSet};

use sealift_terms::{
    BatchId, PeerName, Reason, Receipt, Status, Timestamp, TransferId, VersionName, limits,
};

use super::journal_state::JournalState;
use crate::{
    Batch, BatchCounts, BatchState, Batched, Enlist, Transfer,
    batches::{Mark, NEVER, cancelled, paused},
};

/// Batches, and whose the transfers are that they queued.
#[derive(Default)]
pub(super) struct Batches {
    rows: BTreeMap<BatchId, BatchRow>,
    queued: BTreeMap<(BatchId, TransferId), Queued>,
    last: u64,
}

struct BatchRow {
    what: String,
    state: BatchState,
    begun_at: Timestamp,
    changed_at: Timestamp,
}

#[derive(Clone)]
struct Queued {
    mark: Mark,
    /// None where there was no transfer.
    before: Option<Before>,
    /// What became of it, where that is past.
    outcome: Option<Outcome>,
}

type Outcome = (Status, Option<Reason>, Option<String>);

/// How a transfer stood.
#[derive(Clone)]
struct Before {
    status: Status,
    reason: Option<Reason>,
    evidence: Option<String>,
    attempts: u32,
    updated_at: Timestamp,
    receipt: Option<Receipt>,
}

impl Before {
    fn of(row: &Transfer) -> Self {
        Self {
            status: row.status,
            reason: row.reason,
            evidence: row.evidence.clone(),
            attempts: row.attempts,
            updated_at: row.updated_at,
            receipt: row.receipt.clone(),
        }
    }

    fn of_nothing(batch: BatchId, now: Timestamp) -> Self {
        Self {
            status: Status::Skipped,
            reason: Some(Reason::BatchCancelled),
            evidence: Some(cancelled(batch)),
            attempts: 0,
            updated_at: now,
            receipt: None,
        }
    }

    fn put_back(self, row: &mut Transfer) {
        (row.status, row.reason, row.evidence) = (self.status, self.reason, self.evidence);
        (row.attempts, row.updated_at) = (self.attempts, self.updated_at);
        (row.next_try, row.receipt) = (self.updated_at, self.receipt);
        row.of_batch = false;
    }
}

impl Batches {
    fn state(&self, batch: BatchId) -> Option<BatchState> {
        self.rows.get(&batch).map(|row| row.state)
    }

    /// The batches whose own a transfer is.
    fn owners(&self, id: TransferId) -> impl Iterator<Item = BatchId> {
        let own = self.queued.iter();
        let own = own.filter(move |((_, of), queued)| *of == id && queued.mark == Mark::Own);
        own.map(|((batch, _), _)| *batch)
    }

    /// As SQLite's `wanted`.
    fn wanted(&self, id: TransferId) -> Option<BatchState> {
        self.owners(id).filter_map(|batch| self.state(batch)).min()
    }

    fn mark(&mut self, id: TransferId, mark: Mark) {
        for ((_, of), queued) in &mut self.queued {
            if *of == id && queued.mark == Mark::Own {
                queued.mark = mark;
            }
        }
    }

    /// As SQLite's.
    fn keep_outcome(&mut self, row: &Transfer) {
        for ((_, of), queued) in &mut self.queued {
            if *of == row.id && matches!(queued.mark, Mark::Own | Mark::Owed) {
                queued.mark = Mark::Past;
                queued.outcome = Some((row.status, row.reason, row.evidence.clone()));
            }
        }
    }

    pub(super) fn forget_transfer(&mut self, id: TransferId) {
        self.queued.retain(|(_, of), _| *of != id);
    }
}

impl JournalState {
    pub(super) fn begin_batch(&mut self, what: String, at: Timestamp) -> Option<BatchId> {
        if self.batches.rows.len() >= limits::BATCHES_MAX {
            let is_over = |batch: &&BatchId| {
                let mut queued = self.batches.queued.iter();
                !queued.any(|((of, id), queued)| {
                    let row = self.transfers.get(id);
                    let waits = row.is_some_and(|row| row.status == Status::Pending);
                    of == *batch && !matches!(queued.mark, Mark::TakenBack | Mark::Past) && waits
                })
            };
            let oldest = self.batches.rows.keys().find(is_over).copied()?;
            self.batches.rows.remove(&oldest);
            self.batches.queued.retain(|(of, _), _| *of != oldest);
        }
        self.batches.last += 1;
        let id = BatchId(self.batches.last);
        let row = BatchRow {
            what,
            state: BatchState::Running,
            begun_at: at,
            changed_at: at,
        };
        self.batches.rows.insert(id, row);
        Some(id)
    }

    pub(super) fn enlist(
        &mut self,
        batch: BatchId,
        what: Enlist,
        at: Timestamp,
    ) -> Option<BatchState> {
        let state = self.batches.state(batch)?;
        if state == BatchState::Cancelled {
            return Some(state);
        }
        for (peer, name) in &what.versions {
            for id in self.of_version(peer, name) {
                self.queue(batch, id, at);
            }
        }
        for new in what.new {
            let before = self.last_transfer;
            for id in self.record(new, at) {
                if id.0 > before {
                    let queued = Queued {
                        mark: Mark::Own,
                        before: None,
                        outcome: None,
                    };
                    self.batches.queued.insert((batch, id), queued);
                    if let Some(row) = self.transfers.get_mut(&id) {
                        row.of_batch = true;
                    }
                    self.hold_if_paused(id);
                } else {
                    self.queue(batch, id, at);
                }
            }
        }
        Some(state)
    }

    fn of_version(&self, peer: &PeerName, name: &VersionName) -> Vec<TransferId> {
        let rows = self.transfers.values().filter(|row| {
            row.peer == *peer && row.change.name == *name && row.change.kind.is_version()
        });
        rows.map(|row| row.id).collect()
    }

    fn queue(&mut self, batch: BatchId, id: TransferId, at: Timestamp) {
        let Some(row) = self.transfers.get_mut(&id) else {
            return;
        };
        if row.status == Status::Pending {
            let owner = self.batches.owners(id).next();
            let of_owner = owner.and_then(|owner| self.batches.queued.get(&(owner, id)).cloned());
            let queued = of_owner.unwrap_or(Queued {
                mark: Mark::Owed,
                before: None,
                outcome: None,
            });
            self.batches.queued.entry((batch, id)).or_insert(queued);
        } else {
            self.batches.keep_outcome(row);
            let queued = Queued {
                mark: Mark::Own,
                before: Some(Before::of(row)),
                outcome: None,
            };
            self.batches.queued.insert((batch, id), queued);
        }
        row.of_batch |= row.status != Status::Pending;
        row.status = Status::Pending;
        (row.next_try, row.updated_at, row.attempts) = (at, at, 0);
        (row.reason, row.evidence, row.receipt) = (None, None, None);
        self.hold_if_paused(id);
    }

    /// Holds back what waits for batches that are paused alone.
    pub(super) fn hold_if_paused(&mut self, id: TransferId) {
        let is_paused = |batch: &BatchId| self.batches.state(*batch) == Some(BatchState::Paused);
        let by = self.batches.owners(id).filter(is_paused).max();
        if self.batches.wanted(id) == Some(BatchState::Paused)
            && let (Some(by), Some(row)) = (by, self.transfers.get_mut(&id))
            && row.status == Status::Pending
        {
            row.next_try = NEVER;
            (row.reason, row.evidence) = (Some(Reason::BatchPaused), Some(paused(by)));
        }
    }

    pub(super) fn set_batch(&mut self, batch: BatchId, to: BatchState, at: Timestamp) -> bool {
        let row = self.batches.rows.get_mut(&batch);
        let Some(row) = row.filter(|row| row.state != BatchState::Cancelled) else {
            return false;
        };
        (row.state, row.changed_at) = (to, at);
        true
    }

    /// Whether something of a cancelled batch is to be put back that is not leased.
    pub(super) fn is_loose(&self, leased: &BTreeSet<TransferId>) -> bool {
        let mut queued = self.batches.queued.iter();
        queued.any(|((batch, id), queued)| {
            queued.mark == Mark::Own
                && self.batches.state(*batch) == Some(BatchState::Cancelled)
                && !leased.contains(id)
        })
    }

    /// Brings what batches queued in line with them.
    pub(super) fn align_batches(&mut self, leased: &BTreeSet<TransferId>, now: Timestamp) {
        let own = self.batches.queued.iter();
        let own = own.filter(|(_, queued)| queued.mark == Mark::Own);
        let own: Vec<_> = own.map(|(place, _)| *place).collect();
        for (batch, id) in own {
            let Some(row) = self.transfers.get_mut(&id) else {
                continue;
            };
            let is_pending = row.status == Status::Pending;
            match self.batches.state(batch) {
                Some(BatchState::Cancelled) => {
                    let others = self.batches.owners(id).any(|other| other != batch);
                    let place = self.batches.queued.get_mut(&(batch, id));
                    let Some(queued) = place else { continue };
                    if !is_pending {
                        self.batches.keep_outcome(row);
                    } else if others {
                        queued.mark = Mark::TakenBack;
                        self.hold_if_paused(id);
                    } else if !leased.contains(&id) {
                        queued.mark = Mark::TakenBack;
                        let before = queued.before.clone();
                        let before = before.unwrap_or_else(|| Before::of_nothing(batch, now));
                        before.put_back(row);
                    }
                }
                _ if !is_pending => {}
                _ if self.batches.wanted(id) == Some(BatchState::Running) => {
                    if row.reason == Some(Reason::BatchPaused) {
                        (row.next_try, row.reason, row.evidence) = (now, None, None);
                    }
                }
                _ => self.hold_if_paused(id),
            }
        }
    }

    /// As SQLite's `disown`: of what would be meant without batches.
    pub(super) fn disown(&mut self, is_meant: impl Fn(&Transfer) -> bool, now: Timestamp) {
        let ids: BTreeSet<_> = self.batches.queued.keys().map(|(_, id)| *id).collect();
        for id in ids {
            if let Some(row) = self.transfers.get(&id)
                && row.status != Status::Pending
                && is_meant(row)
            {
                self.batches.keep_outcome(row);
            }
            let owner = self.batches.owners(id).next();
            let of_owner = owner.and_then(|owner| self.batches.queued.get(&(owner, id)));
            let (Some(owner), Some(queued), Some(row)) = (owner, of_owner, self.transfers.get(&id))
            else {
                continue;
            };
            let mut stood = row.clone();
            if row.status == Status::Pending {
                let before = queued.before.clone();
                let before = before.unwrap_or_else(|| Before::of_nothing(owner, now));
                before.put_back(&mut stood);
            }
            if is_meant(&stood) {
                self.batches.mark(id, Mark::Owed);
                self.transfers.insert(id, stood);
            }
        }
    }

    pub(super) fn batch(&self, id: BatchId) -> Option<Batch> {
        let row = self.batches.rows.get(&id)?;
        let mut counts = BatchCounts::default();
        for one in self.batched(id) {
            counts.add(one.standing, 1, one.transfer.change.facts.size);
        }
        Some(Batch {
            id,
            what: row.what.clone(),
            state: row.state,
            begun_at: row.begun_at,
            changed_at: row.changed_at,
            counts,
        })
    }

    pub(super) fn paused_batches(&self) -> u64 {
        let rows = self.batches.rows.values();
        let paused = rows.filter(|row| row.state == BatchState::Paused);
        paused.count() as u64
    }

    pub(super) fn every_batch(&self) -> Vec<Batch> {
        let ids = self.batches.rows.keys().rev();
        ids.filter_map(|id| self.batch(*id)).collect()
    }

    pub(super) fn batched(&self, batch: BatchId) -> Vec<Batched> {
        let queued = self.batches.queued.iter();
        let queued = queued.filter(|((of, _), _)| *of == batch);
        let told = queued.filter_map(|((_, id), queued)| {
            let mut transfer = self.transfers.get(id)?.clone();
            if let Some((status, reason, evidence)) = queued.outcome.clone() {
                (transfer.status, transfer.reason, transfer.evidence) = (status, reason, evidence);
            }
            let standing = queued.mark.standing(transfer.status, transfer.reason);
            Some(Batched { transfer, standing })
        });
        told.collect()
    }
}
