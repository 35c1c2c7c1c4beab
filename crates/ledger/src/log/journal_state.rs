//! What a journal keeps, and what changes it.

use std::collections::{BTreeMap, BTreeSet};

use sealift_terms::{
    BatchId, BucketName, Change, ChangeKind, ObjectKey, Order, PeerName, Reason, RuleName, Status,
    Timestamp, TransferId, VersionName, limits,
};
use serde::{Deserialize, Serialize};

use super::{batches::Batches, keeper::Kept};
use crate::{
    BatchState, Count, Enlist, Followed, HighWater, Intent, KnownKey, LedgerError, NewChange,
    PeerMemory, PurgeSent, Requeue, Result, SentVersion, Settlement, Touched, Transfer,
    TransferOutcome, UnsupportedName, held_back,
};

#[derive(Serialize, Deserialize)]
pub(super) enum Command {
    Record(Vec<NewChange>, Timestamp),
    Settle(Vec<Settlement>),
    Requeue(Requeue, Timestamp),
    Unsupported(BucketName, Vec<UnsupportedName>),
    Peer(PeerName, PeerMemory),
    Scanned(BucketName),
    Followed(BucketName, Followed),
    Fold(Timestamp, Vec<RuleName>, usize),
    /// Changes nothing: says whether anything can be written.
    Probe,
    Intend(BucketName, Vec<ObjectKey>, Touched, Timestamp),
    ForgetIntents(Vec<u64>),
    BeginBatch(String, Timestamp),
    Enlist(BatchId, Enlist, Timestamp),
    /// With what is leased now: leases are not in the log.
    SetBatch(BatchId, BatchState, Timestamp, BTreeSet<TransferId>),
    /// As that, without a change of a batch.
    AlignBatches(Timestamp, BTreeSet<TransferId>),
}

/// What a command did.
#[derive(Default)]
pub(super) struct Done {
    pub(super) ids: Vec<TransferId>,
    pub(super) rows: u64,
    pub(super) intents: Vec<u64>,
    pub(super) batch: Option<BatchId>,
    pub(super) state: Option<BatchState>,
}

/// One transfer per change and peer: tags differ by their order, the rest by kind.
type Which = (VersionName, PeerName, u8, Option<Order>);

#[derive(Default)]
pub(super) struct JournalState {
    pub(super) high_water: HighWater,
    pub(super) known: BTreeMap<(BucketName, ObjectKey), KnownKey>,
    pub(super) transfers: BTreeMap<TransferId, Transfer>,
    pub(super) unsupported: BTreeMap<BucketName, Vec<UnsupportedName>>,
    pub(super) peers: BTreeMap<PeerName, PeerMemory>,
    pub(super) scanned: BTreeSet<BucketName>,
    pub(super) followed: BTreeMap<BucketName, Followed>,
    pub(super) intents: BTreeMap<u64, (BucketName, Intent)>,
    last_intent: u64,
    /// In memory only: they end with the process.
    pub(super) leases: BTreeSet<TransferId>,
    pub(super) last_transfer: u64,
    pub(super) batches: Batches,
    by_change: BTreeMap<Which, TransferId>,
    folded: BTreeMap<(RuleName, PeerName, Status), u64>,
}

impl Kept for JournalState {
    type Command = Command;
    type Answer = Done;

    fn check(&mut self, command: &mut Command) -> Result<()> {
        let Command::Settle(settlements) = command else {
            return Ok(());
        };
        for settlement in settlements {
            let name = match &settlement.outcome {
                TransferOutcome::Completed(receipt) => Some(&receipt.name),
                _ => None,
            };
            let found = self.transfers.get(&settlement.id);
            let fits = |row: &&Transfer| name.is_none_or(|name| row.change.name == *name);
            if found.filter(fits).is_none() {
                return Err(LedgerError::NoSuchTransfer {
                    id: settlement.id,
                    name: name.cloned(),
                });
            }
        }
        Ok(())
    }

    fn apply(&mut self, command: Command) -> Done {
        let mut done = Done::default();
        match command {
            Command::Record(changes, at) => {
                done.ids = changes
                    .into_iter()
                    .flat_map(|new| self.record(new, at))
                    .collect();
            }
            Command::Settle(settlements) => {
                settlements.into_iter().for_each(|one| self.settle(one));
            }
            Command::Requeue(which, now) => done.rows = self.requeue(&which, now),
            Command::Unsupported(bucket, mut names) => {
                names.truncate(limits::UNSUPPORTED_NAMES_MAX);
                self.unsupported.insert(bucket, names);
            }
            Command::Peer(peer, memory) => drop(self.peers.insert(peer, memory)),
            Command::Scanned(bucket) => drop(self.scanned.insert(bucket)),
            Command::Followed(bucket, to) => drop(self.followed.insert(bucket, to)),
            Command::Probe => {}
            Command::Intend(bucket, keys, touched, at) => {
                let each = keys.into_iter();
                let each = each.map(|key| self.intend(&bucket, key, touched.clone(), at));
                done.intents = each.collect();
            }
            Command::ForgetIntents(ids) => {
                ids.iter().for_each(|id| drop(self.intents.remove(id)));
            }
            Command::Fold(before, keep, rows) => done.rows = self.fold(before, &keep, rows),
            Command::BeginBatch(what, at) => done.batch = self.begin_batch(what, at),
            Command::Enlist(batch, what, at) => done.state = self.enlist(batch, what, at),
            Command::SetBatch(batch, to, at, leased) => {
                done.rows = u64::from(self.set_batch(batch, to, at));
                self.align_batches(&leased, at);
            }
            Command::AlignBatches(at, leased) => self.align_batches(&leased, at),
        }
        done
    }
}

impl JournalState {
    fn intend(
        &mut self,
        bucket: &BucketName,
        key: ObjectKey,
        touched: Touched,
        at: Timestamp,
    ) -> u64 {
        self.last_intent += 1;
        let id = self.last_intent;
        let intent = Intent {
            id,
            key,
            at,
            touched,
        };
        self.intents.insert(id, (bucket.clone(), intent));
        id
    }

    pub(super) fn record(&mut self, new: NewChange, at: Timestamp) -> Vec<TransferId> {
        let due = new.due(at);
        let change = new.change;
        let high = &mut self.high_water;
        high.clock = high.clock.max(change.order.clock);
        high.change = high.change.max(change.order.change);
        if change.kind.is_version() {
            let place = (change.name.bucket.clone(), change.name.key.clone());
            let known = self.known.get(&place);
            if known.is_none_or(|known| change.order > known.order) {
                let known = KnownKey {
                    key: change.name.key.clone(),
                    version: change.name.version.clone(),
                    order: change.order.clone(),
                    deleted: change.kind == ChangeKind::DeleteMarker,
                    size: change.facts.size,
                };
                self.known.insert(place, known);
            }
        }
        let mut ids = Vec::new();
        for to in new.destinations {
            let of_tags = (change.kind == ChangeKind::Tags).then(|| change.order.clone());
            let kind = change.kind as u8;
            let which = (change.name.clone(), to.peer.clone(), kind, of_tags);
            let held = new.held_until.filter(|until| *until > at);
            let (reason, evidence) = match (to.skip.clone(), held.map(held_back)) {
                (Some(skip), _) => (Some(skip.reason), Some(skip.evidence)),
                (None, Some((reason, evidence))) => (Some(reason), Some(evidence)),
                (None, None) => (None, None),
            };
            let skip = to.skip;
            if let Some(id) = self.by_change.get(&which) {
                ids.push(*id);
                if change.kind == ChangeKind::Purge
                    && skip.is_none()
                    && let Some(row) = self.transfers.get_mut(id)
                    && matches!(row.status, Status::Failed | Status::Skipped)
                {
                    (row.status, row.rule) = (Status::Pending, to.rule);
                    row.change.order = change.order.clone();
                    (row.reason, row.evidence, row.attempts) = (reason, evidence, 0);
                    (row.next_try, row.updated_at) = (due, at);
                }
                continue;
            }
            self.last_transfer += 1;
            let id = TransferId(self.last_transfer);
            let transfer = Transfer {
                id,
                rule: to.rule,
                peer: to.peer,
                change: change.clone(),
                status: skip.as_ref().map_or(Status::Pending, |_| Status::Skipped),
                reason,
                evidence,
                attempts: 0,
                next_try: due,
                recorded_at: at,
                updated_at: at,
                receipt: None,
                was_there: false,
                of_batch: false,
            };
            self.by_change.insert(which, id);
            self.transfers.insert(id, transfer);
            ids.push(id);
        }
        ids
    }

    fn settle(&mut self, settlement: Settlement) {
        self.leases.remove(&settlement.id);
        let Some(row) = self.transfers.get_mut(&settlement.id) else {
            return;
        };
        if row.status == Status::Completed {
            return;
        }
        row.updated_at = settlement.at;
        let mut failed = |status, reason, evidence, next_try, attempts| {
            (row.status, row.next_try) = (status, next_try);
            (row.reason, row.evidence) = (Some(reason), Some(evidence));
            row.attempts += attempts;
        };
        let at = settlement.at;
        match settlement.outcome {
            TransferOutcome::Completed(receipt) => {
                (row.status, row.receipt) = (Status::Completed, Some(*receipt));
                row.was_there = true;
                (row.reason, row.evidence) = (None, None);
            }
            TransferOutcome::Deferred {
                reason,
                evidence,
                next_try,
            } => failed(Status::Pending, reason, evidence, next_try, 1),
            TransferOutcome::Failed { reason, evidence } => {
                failed(Status::Failed, reason, evidence, at, 1);
            }
            TransferOutcome::Skipped { reason, evidence } => {
                failed(Status::Skipped, reason, evidence, at, 0);
            }
        }
        self.hold_if_paused(settlement.id);
    }

    fn requeue(&mut self, which: &Requeue, now: Timestamp) -> u64 {
        self.disown(|row| is_meant(which, row), now);
        let mut queued = 0;
        let meant = self.transfers.values_mut();
        for row in meant.filter(|row| is_meant(which, row)) {
            row.of_batch &= row.status == Status::Pending;
            row.status = Status::Pending;
            (row.next_try, row.updated_at, row.attempts) = (now, now, 0);
            row.receipt = None;
            if let Requeue::Version { .. } | Requeue::LeftOut(_) = which {
                (row.reason, row.evidence) = (None, None);
            }
            if let Requeue::Damaged { .. } = which {
                row.reason = Some(Reason::DstObjectDamaged);
                row.evidence = Some("the peer has found its copy damaged".to_owned());
            }
            queued += 1;
        }
        queued
    }

    fn fold(&mut self, before: Timestamp, keep: &[RuleName], rows: usize) -> u64 {
        let folds = |row: &&Transfer| {
            let settled = matches!(row.status, Status::Completed | Status::Skipped);
            settled && row.updated_at < before && self.is_past(row) && !self.is_kept(row, keep)
        };
        let gone = self.transfers.values().filter(folds).take(rows);
        let gone: Vec<TransferId> = gone.map(|row| row.id).collect();
        for id in &gone {
            let Some(row) = self.transfers.remove(id) else {
                continue;
            };
            self.by_change.retain(|_, of| of != id);
            self.batches.forget_transfer(*id);
            let place = (row.rule, row.peer, row.status);
            *self.folded.entry(place).or_default() += 1;
        }
        gone.len() as u64
    }

    /// Whether one that takes the place of a settled row is done; of a deleted key, whether it
    /// is of no use to who lost what it had.
    fn is_past(&self, row: &Transfer) -> bool {
        let name = &row.change.name;
        let of_key = self.transfers.values().filter(|other| {
            let same = &other.change.name;
            (&same.bucket, &same.key, &other.peer) == (&name.bucket, &name.key, &row.peer)
                && other.status == Status::Completed
        });
        let mut done = of_key.map(|other| &other.change);
        if done.clone().any(|one| takes_the_place_of(one, &row.change)) {
            return true;
        }
        let known = self.known.get(&(name.bucket.clone(), name.key.clone()));
        known.is_some_and(|known| known.deleted)
            && (!row.goes()
                || row.change.kind == ChangeKind::Purge
                || done.any(|one| one.kind == ChangeKind::Purge && one.name == *name))
    }

    /// Whether a row of one of these rules is needed to find out what to purge.
    fn is_kept(&self, row: &Transfer, keep: &[RuleName]) -> bool {
        if row.status != Status::Completed || !keep.contains(&row.rule) {
            return false;
        }
        let mut of_version = self
            .transfers
            .values()
            .filter(|other| (&other.change.name, &other.peer) == (&row.change.name, &row.peer));
        match row.change.kind {
            ChangeKind::Tags => false,
            ChangeKind::Purge => of_version.any(|other| other.change.kind.is_version()),
            ChangeKind::Put | ChangeKind::DeleteMarker => !of_version.any(|other| {
                other.change.kind == ChangeKind::Purge && other.status == Status::Completed
            }),
        }
    }

    /// What of a bucket is done, puts and delete markers, with how its purge stands.
    pub(super) fn sent(&self, bucket: &BucketName) -> BTreeSet<SentVersion> {
        let rows = self.transfers.values().filter(|row| {
            row.change.name.bucket == *bucket
                && row.change.kind.is_version()
                && row.status == Status::Completed
        });
        let sent = rows.map(|row| {
            let name = &row.change.name;
            let purge = (
                name.clone(),
                row.peer.clone(),
                ChangeKind::Purge as u8,
                None,
            );
            let purge = self.by_change.get(&purge);
            let purge = purge.and_then(|id| self.transfers.get(id));
            SentVersion {
                key: name.key.clone(),
                peer: row.peer.clone(),
                version: name.version.clone(),
                kind: row.change.kind,
                purge: purge.map(|purge| PurgeSent {
                    status: purge.status,
                    updated_at: purge.updated_at,
                }),
            }
        });
        sent.collect()
    }

    pub(super) fn counts(&self) -> Vec<Count> {
        let mut counts: BTreeMap<(RuleName, PeerName, Status), Count> = BTreeMap::new();
        let empty = |(rule, peer, status): &(RuleName, PeerName, Status)| Count {
            rule: rule.clone(),
            peer: peer.clone(),
            status: *status,
            objects: 0,
            bytes: 0,
            folded_objects: 0,
            oldest: None,
            is_expected: false,
        };
        for row in self.transfers.values() {
            let place = (row.rule.clone(), row.peer.clone(), row.status);
            let count = counts.entry(place.clone()).or_insert_with(|| empty(&place));
            count.objects += 1;
            count.bytes += row.change.facts.size;
            let is_held = row.reason.is_some_and(Reason::is_held_back);
            count.is_expected |= row.status == Status::Pending && !is_held;
            if row.is_owed() && !is_held {
                let oldest = count.oldest.unwrap_or(row.recorded_at);
                count.oldest = Some(oldest.min(row.recorded_at));
            }
        }
        for (place, folded) in &self.folded {
            let count = counts.entry(place.clone()).or_insert_with(|| empty(place));
            count.folded_objects = *folded;
        }
        counts.into_values().collect()
    }
}

fn is_meant(which: &Requeue, row: &Transfer) -> bool {
    // What is held back comes no earlier.
    let is_held = row.status == Status::Pending && row.reason.is_some_and(Reason::is_held_back);
    let is_open = matches!(row.status, Status::Pending | Status::Failed) && !is_held;
    let (name, of) = (&row.change.name, &row.peer);
    match which {
        Requeue::All => is_open,
        Requeue::Rule(rule) => is_open && row.rule == *rule,
        Requeue::Peer(peer) => is_open && of == peer,
        Requeue::Keys {
            bucket,
            prefix,
            exact,
        } => {
            let fits = match exact {
                true => name.key.as_str() == prefix,
                false => name.key.as_str().starts_with(prefix.as_str()),
            };
            is_open && name.bucket == *bucket && fits
        }
        Requeue::Failed(peer) => {
            let is_to = peer.as_ref().is_none_or(|peer| of == peer);
            row.status == Status::Failed && is_to
        }
        Requeue::Damaged {
            peer,
            name: damaged,
        } => {
            matches!(row.status, Status::Completed | Status::Failed)
                && of == peer
                && name == damaged
                && row.change.kind.is_version()
        }
        Requeue::Version { peer, name: wanted } => {
            of == peer && name == wanted && row.change.kind.is_version()
        }
        Requeue::LeftOut(id) => row.status == Status::Skipped && row.id == *id,
        Requeue::CompletedAfter { peer, sequence } => {
            let later = row.receipt.as_ref().is_some_and(|r| r.sequence > *sequence);
            row.status == Status::Completed && of == peer && later
        }
    }
}

/// Whether nothing of a change has to be sent again to who has the later one. Tags are of one
/// version, and bring no content.
fn takes_the_place_of(later: &Change, change: &Change) -> bool {
    let is_tags = |of: &Change| of.kind == ChangeKind::Tags;
    let tags_alike = is_tags(later) && is_tags(change) && later.name == change.name;
    later.order > change.order && (later.kind.is_version() || tags_alike)
}
