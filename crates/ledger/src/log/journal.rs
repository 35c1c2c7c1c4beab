//! The journal in a log file.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use sealift_terms::{
    BatchId, BucketName, ChangeKind, Disk, ObjectKey, PeerName, Reason, RuleName, Status,
    Timestamp, TransferId, VersionName,
};

use super::{
    journal_state::{Command, JournalState},
    keeper::Keeper,
};
use crate::{
    Batch, BatchState, Batched, Count, Enlist, Followed, HighWater, Intent, IntentCount, Journal,
    KnownCounts, KnownKey, ListTransfers, NewChange, PeerMemory, Requeue, Result, SentVersion,
    Settlement, Touched, Transfer, TransferStanding, UnsupportedName,
};

/// A [`Journal`] in one log file.
pub struct LogJournal(Keeper<JournalState>);

impl LogJournal {
    /// Opens or makes the journal at `path`.
    ///
    /// # Errors
    /// [`LedgerError`](crate::LedgerError): what the disk says, or what is in the file.
    pub fn open(disk: Arc<dyn Disk>, path: &Path) -> Result<Self> {
        let keeper = Keeper::open(disk, path, JournalState::default(), None)?;
        Ok(Self(keeper))
    }
}

impl LogJournal {
    /// What was leased when its batch was cancelled, and is not any more, stands as before.
    async fn align_batches(&self, now: Timestamp) -> Result<()> {
        let leased = self.0.with(|state| {
            let leased = state.leases.clone();
            state.is_loose(&leased).then_some(leased)
        });
        match leased {
            Some(leased) => self
                .0
                .call(Command::AlignBatches(now, leased))
                .await
                .map(drop),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Journal for LogJournal {
    async fn record(&self, changes: Vec<NewChange>, at: Timestamp) -> Result<Vec<TransferId>> {
        Ok(self.0.call(Command::Record(changes, at)).await?.ids)
    }

    async fn lease(&self, peer: &PeerName, limit: usize, now: Timestamp) -> Result<Vec<Transfer>> {
        self.align_batches(now).await?;
        Ok(self.0.with(|state| {
            let due = state.transfers.values().filter(|row| {
                row.status == Status::Pending
                    && row.peer == *peer
                    && row.next_try <= now
                    && !state.leases.contains(&row.id)
            });
            let mut due: Vec<Transfer> = due.cloned().collect();
            due.sort_by_key(|row| (row.next_try, row.id));
            due.truncate(limit);
            state.leases.extend(due.iter().map(|row| row.id));
            due
        }))
    }

    fn release(&self, ids: &[TransferId]) {
        self.0.with(|state| {
            for id in ids {
                state.leases.remove(id);
            }
        });
    }

    async fn next_due(&self, peer: &PeerName, now: Timestamp) -> Result<Option<Timestamp>> {
        Ok(self.0.with(|state| {
            let rows = state.transfers.values();
            let rows = rows.filter(|row| {
                let is_held = row.reason.is_some_and(Reason::is_held_back);
                row.status == Status::Pending && row.peer == *peer && !is_held
            });
            rows.map(|row| row.next_try).filter(|due| *due > now).min()
        }))
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<()> {
        let now = settlements.last().map(|settlement| settlement.at);
        self.0.call(Command::Settle(settlements)).await?;
        match now {
            Some(now) => self.align_batches(now).await,
            None => Ok(()),
        }
    }

    async fn requeue(&self, which: Requeue, now: Timestamp) -> Result<u64> {
        Ok(self.0.call(Command::Requeue(which, now)).await?.rows)
    }

    async fn begin_batch(&self, what: &str, at: Timestamp) -> Result<Option<BatchId>> {
        let command = Command::BeginBatch(what.to_owned(), at);
        Ok(self.0.call(command).await?.batch)
    }

    async fn enlist(
        &self,
        batch: BatchId,
        what: Enlist,
        at: Timestamp,
    ) -> Result<Option<BatchState>> {
        let command = Command::Enlist(batch, what, at);
        Ok(self.0.call(command).await?.state)
    }

    async fn set_batch(&self, batch: BatchId, to: BatchState, at: Timestamp) -> Result<bool> {
        let leased = self.0.with(|state| state.leases.clone());
        let command = Command::SetBatch(batch, to, at, leased);
        Ok(self.0.call(command).await?.rows > 0)
    }

    async fn batch(&self, batch: BatchId) -> Result<Option<Batch>> {
        Ok(self.0.with(|state| state.batch(batch)))
    }

    async fn batches(&self) -> Result<Vec<Batch>> {
        Ok(self.0.with(|state| state.every_batch()))
    }

    async fn paused_batches(&self) -> Result<u64> {
        Ok(self.0.with(|state| state.paused_batches()))
    }

    async fn batched(
        &self,
        batch: BatchId,
        after: Option<TransferId>,
        limit: usize,
    ) -> Result<Vec<Batched>> {
        Ok(self.0.with(|state| {
            let behind = state.batched(batch).into_iter();
            let behind = behind.filter(|one| after.is_none_or(|after| one.transfer.id > after));
            behind.take(limit).collect()
        }))
    }

    async fn batched_one(&self, batch: BatchId, id: TransferId) -> Result<Option<Batched>> {
        let found = self.0.with(|state| state.batched(batch));
        Ok(found.into_iter().find(|one| one.transfer.id == id))
    }

    async fn transfer(&self, id: TransferId) -> Result<Option<Transfer>> {
        Ok(self.0.with(|state| state.transfers.get(&id).cloned()))
    }

    async fn transfers_of(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        limit: usize,
    ) -> Result<Vec<Transfer>> {
        Ok(self.0.with(|state| {
            let is_of = |name: &VersionName| name.bucket == *bucket && name.key == *key;
            let rows = state.transfers.values().rev();
            let rows = rows.filter(|row| is_of(&row.change.name));
            rows.take(limit).cloned().collect()
        }))
    }

    async fn standings(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        version: &str,
        limit: usize,
    ) -> Result<Vec<TransferStanding>> {
        Ok(self.0.with(|state| {
            let is_of = |name: &VersionName| {
                let is_key = name.bucket == *bucket && name.key == *key;
                is_key && name.version.as_str().starts_with(version)
            };
            let rows = state.transfers.values().rev();
            let rows = rows.filter(|row| is_of(&row.change.name));
            let told = rows.map(|row| TransferStanding {
                peer: row.peer.clone(),
                version: row.change.name.version.clone(),
                kind: row.change.kind,
                status: row.status,
                reason: row.reason,
            });
            told.take(limit).collect()
        }))
    }

    async fn transfers(&self, list: &ListTransfers) -> Result<Vec<Transfer>> {
        let fits = |row: &&Transfer| {
            list.after.is_none_or(|after| row.id > after)
                && list.status.is_none_or(|status| row.status == status)
                && list.rule.as_ref().is_none_or(|rule| row.rule == *rule)
                && list.peer.as_ref().is_none_or(|peer| row.peer == *peer)
                && list
                    .bucket
                    .as_ref()
                    .is_none_or(|bucket| row.change.name.bucket == *bucket)
        };
        Ok(self.0.with(|state| {
            let rows = state.transfers.values().filter(fits);
            rows.take(list.limit).cloned().collect()
        }))
    }

    async fn counts(&self) -> Result<Vec<Count>> {
        Ok(self.0.with(|state| state.counts()))
    }

    async fn known_page(
        &self,
        bucket: &BucketName,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<KnownKey>> {
        Ok(self.0.with(|state| {
            let known = known_after(state, bucket, after);
            known.take(limit).cloned().collect()
        }))
    }

    async fn known(&self, bucket: &BucketName, key: &ObjectKey) -> Result<Option<KnownKey>> {
        let place = (bucket.clone(), key.clone());
        Ok(self.0.with(|state| state.known.get(&place).cloned()))
    }

    async fn known_counts(&self, bucket: &BucketName) -> Result<KnownCounts> {
        Ok(self.0.with(|state| {
            let mut counts = KnownCounts::default();
            for known in known_after(state, bucket, None) {
                match known.deleted {
                    true => counts.deleted += 1,
                    false => counts.live += 1,
                }
            }
            counts
        }))
    }

    async fn unsent_page(
        &self,
        bucket: &BucketName,
        peer: &PeerName,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<KnownKey>> {
        Ok(self.0.with(|state| {
            let was_sent = |known: &KnownKey| {
                state.transfers.values().any(|row| {
                    let name = &row.change.name;
                    row.peer == *peer
                        && (&name.bucket, &name.key, &name.version)
                            == (bucket, &known.key, &known.version)
                })
            };
            let known = known_after(state, bucket, after);
            let unsent = known.filter(|known| !known.deleted && !was_sent(known));
            unsent.take(limit).cloned().collect()
        }))
    }

    async fn unremoved_page(
        &self,
        bucket: &BucketName,
        peer: &PeerName,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<KnownKey>> {
        Ok(self.0.with(|state| {
            let is_live_there = |known: &KnownKey| {
                let rows = state.transfers.values().filter(|row| {
                    let change = &row.change;
                    let is_of_key = (&change.name.bucket, &change.name.key) == (bucket, &known.key);
                    row.peer == *peer && is_of_key && change.kind.is_version() && row.goes()
                });
                let last = rows.max_by_key(|row| &row.change.order);
                last.is_some_and(|row| row.change.kind == ChangeKind::Put)
            };
            let known = known_after(state, bucket, after);
            let unremoved = known.filter(|known| known.deleted && is_live_there(known));
            unremoved.take(limit).cloned().collect()
        }))
    }

    async fn sent_page(
        &self,
        bucket: &BucketName,
        after: Option<&SentVersion>,
        limit: usize,
    ) -> Result<Vec<SentVersion>> {
        let place = |sent: &SentVersion| {
            let SentVersion {
                key, peer, version, ..
            } = sent;
            (key.clone(), peer.clone(), version.clone(), sent.kind)
        };
        let after = after.map(place);
        Ok(self.0.with(|state| {
            let sent = state.sent(bucket).into_iter();
            let sent = sent.filter(|sent| after.as_ref().is_none_or(|after| place(sent) > *after));
            sent.take(limit).collect()
        }))
    }

    async fn is_scanned(&self, bucket: &BucketName) -> Result<bool> {
        Ok(self.0.with(|state| state.scanned.contains(bucket)))
    }

    async fn mark_scanned(&self, bucket: &BucketName) -> Result<()> {
        self.0
            .call(Command::Scanned(bucket.clone()))
            .await
            .map(drop)
    }

    async fn followed(&self, bucket: &BucketName) -> Result<Option<Followed>> {
        Ok(self.0.with(|state| state.followed.get(bucket).copied()))
    }

    async fn set_followed(&self, bucket: &BucketName, to: Followed) -> Result<()> {
        let followed = Command::Followed(bucket.clone(), to);
        self.0.call(followed).await.map(drop)
    }

    async fn intend(
        &self,
        bucket: &BucketName,
        keys: Vec<ObjectKey>,
        touched: Touched,
        at: Timestamp,
    ) -> Result<Vec<u64>> {
        let command = Command::Intend(bucket.clone(), keys, touched, at);
        Ok(self.0.call(command).await?.intents)
    }

    async fn intents(&self, bucket: &BucketName, after: u64, limit: usize) -> Result<Vec<Intent>> {
        Ok(self.0.with(|state| {
            let later = state.intents.range(after.saturating_add(1)..);
            let own = later.filter(|(_, (of, _))| of == bucket);
            own.take(limit)
                .map(|(_, (_, intent))| intent.clone())
                .collect()
        }))
    }

    async fn intent_count(&self, bucket: &BucketName) -> Result<IntentCount> {
        Ok(self.0.with(|state| {
            let mut own = state.intents.values().filter(|(of, _)| of == bucket);
            let oldest = own.next().map(|(_, intent)| intent.at);
            let intents = u64::from(oldest.is_some()) + own.count() as u64;
            IntentCount { intents, oldest }
        }))
    }

    async fn forget_intents(&self, ids: Vec<u64>) -> Result<()> {
        self.0.call(Command::ForgetIntents(ids)).await.map(drop)
    }

    async fn replace_unsupported(
        &self,
        bucket: &BucketName,
        names: Vec<UnsupportedName>,
    ) -> Result<()> {
        let command = Command::Unsupported(bucket.clone(), names);
        self.0.call(command).await.map(drop)
    }

    async fn unsupported(&self, bucket: &BucketName) -> Result<Vec<UnsupportedName>> {
        let names = self.0.with(|state| state.unsupported.get(bucket).cloned());
        Ok(names.unwrap_or_default())
    }

    async fn high_water(&self) -> Result<HighWater> {
        Ok(self.0.with(|state| state.high_water))
    }

    async fn peer(&self, peer: &PeerName) -> Result<Option<PeerMemory>> {
        Ok(self.0.with(|state| state.peers.get(peer).copied()))
    }

    async fn remember_peer(&self, peer: &PeerName, memory: PeerMemory) -> Result<()> {
        let command = Command::Peer(peer.clone(), memory);
        self.0.call(command).await.map(drop)
    }

    async fn probe(&self) -> Result<()> {
        self.0.call(Command::Probe).await.map(drop)
    }

    async fn last_received(&self, peer: &PeerName) -> Result<Option<VersionName>> {
        Ok(self.0.with(|state| {
            let rows = state.transfers.values().filter(|row| {
                row.peer == *peer
                    && row.status == Status::Completed
                    // Tags are of a version that was there before them.
                    && row.change.kind != ChangeKind::Tags
            });
            let received =
                rows.filter_map(|row| Some((row.receipt.as_ref()?.sequence, row.id, row)));
            let last = received.max_by_key(|(sequence, id, _)| (*sequence, *id));
            last.map(|(_, _, row)| row.change.name.clone())
        }))
    }

    async fn fold(&self, before: Timestamp, keep: Vec<RuleName>, limit: usize) -> Result<u64> {
        let command = Command::Fold(before, keep, limit);
        Ok(self.0.call(command).await?.rows)
    }
}

/// The known keys of a bucket behind `after`, by the bytes of their names.
fn known_after<'a>(
    state: &'a JournalState,
    bucket: &'a BucketName,
    after: Option<&'a ObjectKey>,
) -> impl Iterator<Item = &'a KnownKey> {
    let known = state.known.iter();
    let known =
        known.filter(move |((of, key), _)| of == bucket && after.is_none_or(|after| key > after));
    known.map(|(_, known)| known)
}
