//! The journal in SQLite.

use std::{collections::HashSet, path::Path, sync::Arc};

use async_trait::async_trait;
use parking_lot::Mutex;
use rusqlite::{ToSql, params};
use sealift_terms::{
    BatchId, BucketName, ObjectKey, PeerName, RuleName, Timestamp, TransferId, VersionName,
};

use super::{
    batches,
    columns::{Columns, all, change, first, int, limit},
    database::{check_integrity, open_writer},
    intents,
    journal_align::Loose,
    journal_rows::{
        KNOWN, STANDING, TRANSFER, after_key, counts, due, known_key, known_page, sent_page,
        standing, transfer, unremoved_page, unsent_page,
    },
    journal_state::{JournalState, SCHEMA, read_meta, status_code},
    journal_write::{
        SealedChange, SealedSettlement, fold, foldable, record, replace_unsupported, settle,
    },
    readers::Readers,
    requeue::requeue,
    sealing::Sealing,
    writer::Writer,
};
use crate::{
    Batch, BatchState, Batched, Count, Enlist, FactsSealer, Followed, HighWater, Intent,
    IntentCount, Journal, KnownCounts, KnownKey, ListTransfers, NewChange, PeerMemory, Requeue,
    Result, SentVersion, Settlement, Touched, Transfer, TransferOutcome, TransferStanding,
    UnsupportedName,
};

/// A [`Journal`] in one SQLite file. Leases are held in memory: one process at a
/// time uses the file, which the lock on the data directory sees to.
pub struct SqliteJournal {
    pub(super) writer: Writer<JournalState>,
    pub(super) readers: Arc<Readers>,
    sealing: Sealing,
    leases: Arc<Mutex<HashSet<u64>>>,
    pub(super) loose: Loose,
}

impl SqliteJournal {
    /// Opens or makes the journal at `path`.
    ///
    /// # Errors
    /// [`LedgerError`](crate::LedgerError) when it is damaged, another's, newer than this program, or
    /// cannot be opened.
    pub fn open(path: &Path, sealer: Arc<dyn FactsSealer>) -> Result<Self> {
        let db = open_writer(path, &SCHEMA)?;
        let leases = Arc::new(Mutex::new(HashSet::new()));
        let state = JournalState::load(&db, Arc::clone(&leases))?;
        let loose = Loose::load(&db)?;
        Ok(Self {
            writer: Writer::start("journal", db, state)?,
            readers: Readers::new(path.to_owned()),
            sealing: Sealing(sealer),
            leases,
            loose,
        })
    }

    /// Examines the whole file, whatever its size.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`](crate::LedgerError::Damaged) with the first finding.
    pub async fn check_integrity(&self) -> Result<()> {
        let path = self.readers.path().clone();
        self.readers
            .page(move |db| check_integrity(db, &path, u64::MAX))
            .await
    }

    /// Seals the facts of changes, on the caller's thread.
    fn sealed(&self, changes: Vec<NewChange>) -> Result<Vec<SealedChange>> {
        let each = changes.into_iter().map(|new| {
            let change = &new.change;
            let facts = match new.destinations.is_empty() {
                true => Vec::new(),
                false => self
                    .sealing
                    .seal("transfer facts", &change.name, &change.facts)?,
            };
            Ok(SealedChange { new, facts })
        });
        each.collect()
    }

    async fn transfers_where(
        &self,
        condition: String,
        values: Vec<Box<dyn ToSql + Send>>,
    ) -> Result<Vec<Transfer>> {
        let sealing = self.sealing.clone();
        self.readers
            .page(move |db| {
                let sql = format!("{TRANSFER} WHERE {condition}");
                let values = rusqlite::params_from_iter(values);
                all(db, &sql, values, |row| transfer(db, row, &sealing))
            })
            .await
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn record(&self, changes: Vec<NewChange>, at: Timestamp) -> Result<Vec<TransferId>> {
        let sealed = self.sealed(changes)?;
        // The rows come back to be freed here: the writer's time is everyone's.
        let (ids, _) = self
            .writer
            .call(move |db, state| Ok((record(db, state, &sealed, at)?, sealed)))
            .await?;
        Ok(ids)
    }

    async fn lease(&self, peer: &PeerName, rows: usize, now: Timestamp) -> Result<Vec<Transfer>> {
        self.align_loose(now).await?;
        let (peer, sealing) = (peer.clone(), self.sealing.clone());
        let leases = Arc::clone(&self.leases);
        self.readers
            .page(move |db| {
                // The lock is held while reading: a row whose lease ends has its
                // outcome committed before, so it is either still leased here or
                // no longer pending.
                let mut leases = leases.lock();
                let leased = due(db, &sealing, (&peer, rows, now), &leases)?;
                leases.extend(leased.iter().map(|transfer| transfer.id.0));
                Ok(leased)
            })
            .await
    }

    fn release(&self, ids: &[TransferId]) {
        let mut leases = self.leases.lock();
        for id in ids {
            leases.remove(&id.0);
        }
    }

    async fn next_due(&self, peer: &PeerName, now: Timestamp) -> Result<Option<Timestamp>> {
        self.readers.point(|db| {
            let found = first(
                db,
                "SELECT min(next_try) FROM transfers
                 WHERE status = 0 AND peer = ?1 AND next_try > ?2
                     AND coalesce(reason, '') NOT IN ('PurgeHeld', 'BatchPaused')",
                params![peer.as_str(), now.as_millis()],
                |row| Columns::new("transfers", row).value::<Option<i64>>(),
            )?;
            Ok(found.flatten().map(Timestamp::from_millis))
        })
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<()> {
        let now = settlements.last().map(|settlement| settlement.at);
        let mut sealed = Vec::with_capacity(settlements.len());
        for settlement in settlements {
            let checksum = match &settlement.outcome {
                TransferOutcome::Completed(receipt) => {
                    let checksum = &receipt.checksum;
                    let sealed = self
                        .sealing
                        .seal("receipt checksum", &receipt.name, checksum)?;
                    Some(sealed)
                }
                _ => None,
            };
            sealed.push(SealedSettlement {
                settlement,
                checksum,
            });
        }
        let _rows = self
            .writer
            .call(move |db, state| {
                settle(db, state, &sealed)?;
                Ok(sealed)
            })
            .await?;
        match now {
            Some(now) => self.align_loose(now).await,
            None => Ok(()),
        }
    }

    async fn requeue(&self, which: Requeue, now: Timestamp) -> Result<u64> {
        self.writer
            .call(move |db, state| requeue(db, state, &which, now))
            .await
    }

    async fn begin_batch(&self, what: &str, at: Timestamp) -> Result<Option<BatchId>> {
        let what = what.to_owned();
        self.writer
            .call(move |db, _| batches::begin(db, &what, at))
            .await
    }

    async fn enlist(
        &self,
        batch: BatchId,
        what: Enlist,
        at: Timestamp,
    ) -> Result<Option<BatchState>> {
        let (versions, new) = (what.versions, self.sealed(what.new)?);
        self.writer
            .call(move |db, state| batches::enlist(db, state, batch, (&versions, &new), at))
            .await
    }

    async fn set_batch(&self, batch: BatchId, to: BatchState, at: Timestamp) -> Result<bool> {
        let is_set = self
            .writer
            .call(move |db, state| batches::set(db, state, batch, to, at))
            .await?;
        if is_set {
            // Should nobody wait any more, what is left is found as after a stop.
            self.loose.stopped();
            self.align(batch, at).await?;
        }
        Ok(is_set)
    }

    async fn batch(&self, batch: BatchId) -> Result<Option<Batch>> {
        self.readers.page(move |db| batches::one(db, batch)).await
    }

    async fn batches(&self) -> Result<Vec<Batch>> {
        self.readers.page(batches::every).await
    }

    async fn paused_batches(&self) -> Result<u64> {
        self.readers.point(batches::paused_count)
    }

    async fn batched(
        &self,
        batch: BatchId,
        after: Option<TransferId>,
        rows: usize,
    ) -> Result<Vec<Batched>> {
        let after = int("transfer number", after.map_or(0, |id| id.0))?;
        let sealing = self.sealing.clone();
        self.readers
            .page(move |db| batches::page(db, &sealing, batch, (after, i64::MAX, limit(rows))))
            .await
    }

    async fn batched_one(&self, batch: BatchId, id: TransferId) -> Result<Option<Batched>> {
        let id = int("transfer number", id.0)?;
        let found = self
            .readers
            .point(|db| batches::page(db, &self.sealing, batch, (id - 1, id, 1)))?;
        Ok(found.into_iter().next())
    }

    async fn transfer(&self, id: TransferId) -> Result<Option<Transfer>> {
        self.readers.point(|db| {
            let sql = format!("{TRANSFER} WHERE id = ?1");
            let id = int("transfer number", id.0)?;
            first(db, &sql, [id], |row| transfer(db, row, &self.sealing))
        })
    }

    async fn transfers_of(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        rows: usize,
    ) -> Result<Vec<Transfer>> {
        let values: Vec<Box<dyn ToSql + Send>> = vec![
            Box::new(bucket.as_str().to_owned()),
            Box::new(key.as_str().to_owned()),
            Box::new(limit(rows)),
        ];
        let condition = "bucket = ?1 AND key = ?2 ORDER BY id DESC LIMIT ?3";
        self.transfers_where(condition.to_owned(), values).await
    }

    async fn standings(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        version: &str,
        rows: usize,
    ) -> Result<Vec<TransferStanding>> {
        // The index of changes has the version: of others no row is read.
        let sql = format!(
            "SELECT {STANDING} FROM transfers INDEXED BY transfers_change
             WHERE bucket = ?1 AND key = ?2 AND substr(version, 1, length(?3)) = ?3
             ORDER BY id DESC LIMIT ?4"
        );
        self.readers.point(|db| {
            let of = params![bucket.as_str(), key.as_str(), version, limit(rows)];
            all(db, &sql, of, standing)
        })
    }

    async fn transfers(&self, list: &ListTransfers) -> Result<Vec<Transfer>> {
        let after = list.after.map_or(0, |id| id.0);
        let mut values: Vec<Box<dyn ToSql + Send>> = vec![
            Box::new(int("transfer number", after)?),
            Box::new(limit(list.limit)),
        ];
        let mut condition = String::from("id > ?1");
        if let Some(status) = list.status {
            // Written out, so that the partial indexes serve.
            condition.push_str(&format!(" AND status = {}", status_code(status)));
        }
        let mut equal = |column: &str, value: Option<&str>| {
            if let Some(value) = value {
                values.push(Box::new(value.to_owned()));
                condition.push_str(&format!(" AND {column} = ?{}", values.len()));
            }
        };
        equal("rule", list.rule.as_ref().map(AsRef::as_ref));
        equal("peer", list.peer.as_ref().map(AsRef::as_ref));
        equal("bucket", list.bucket.as_ref().map(AsRef::as_ref));
        condition.push_str(" ORDER BY id LIMIT ?2");
        self.transfers_where(condition, values).await
    }

    async fn counts(&self) -> Result<Vec<Count>> {
        self.readers.page(counts).await
    }

    async fn known_page(
        &self,
        bucket: &BucketName,
        after: Option<&ObjectKey>,
        rows: usize,
    ) -> Result<Vec<KnownKey>> {
        let (bucket, after) = (bucket.clone(), after_key(after));
        self.readers
            .page(move |db| known_page(db, &bucket, &after, limit(rows)))
            .await
    }

    async fn known(&self, bucket: &BucketName, key: &ObjectKey) -> Result<Option<KnownKey>> {
        self.readers.point(|db| {
            let sql = format!("SELECT {KNOWN} FROM known WHERE bucket = ?1 AND key = ?2");
            first(db, &sql, [bucket.as_str(), key.as_str()], known_key)
        })
    }

    async fn known_counts(&self, bucket: &BucketName) -> Result<KnownCounts> {
        let bucket = bucket.clone();
        self.readers
            .page(move |db| {
                let sql = "SELECT count(*), coalesce(sum(deleted), 0) FROM known WHERE bucket = ?1";
                let counts = first(db, sql, [bucket.as_str()], |row| {
                    let mut columns = Columns::new("known", row);
                    let (keys, deleted) = (columns.uint()?, columns.uint()?);
                    Ok(KnownCounts {
                        live: keys - deleted,
                        deleted,
                    })
                })?;
                Ok(counts.unwrap_or_default())
            })
            .await
    }

    async fn unsent_page(
        &self,
        bucket: &BucketName,
        peer: &PeerName,
        after: Option<&ObjectKey>,
        rows: usize,
    ) -> Result<Vec<KnownKey>> {
        let (bucket, peer, after) = (bucket.clone(), peer.clone(), after_key(after));
        self.readers
            .page(move |db| unsent_page(db, (&bucket, &peer), &after, limit(rows)))
            .await
    }

    async fn unremoved_page(
        &self,
        bucket: &BucketName,
        peer: &PeerName,
        after: Option<&ObjectKey>,
        rows: usize,
    ) -> Result<Vec<KnownKey>> {
        let (bucket, peer, after) = (bucket.clone(), peer.clone(), after_key(after));
        self.readers
            .page(move |db| unremoved_page(db, (&bucket, &peer), &after, limit(rows)))
            .await
    }

    async fn sent_page(
        &self,
        bucket: &BucketName,
        after: Option<&SentVersion>,
        rows: usize,
    ) -> Result<Vec<SentVersion>> {
        let (bucket, after) = (bucket.clone(), after.cloned());
        self.readers
            .page(move |db| sent_page(db, &bucket, after.as_ref(), limit(rows)))
            .await
    }

    async fn is_scanned(&self, bucket: &BucketName) -> Result<bool> {
        self.readers.point(|db| {
            let sql = "SELECT 1 FROM scanned WHERE bucket = ?1";
            let found = first(db, sql, [bucket.as_str()], |row| {
                Columns::new("scanned", row).value::<i64>()
            })?;
            Ok(found.is_some())
        })
    }

    async fn mark_scanned(&self, bucket: &BucketName) -> Result<()> {
        let bucket = bucket.clone();
        self.writer
            .call(move |db, _| {
                let sql = "INSERT INTO scanned VALUES (?1) ON CONFLICT DO NOTHING";
                change(db, sql, [bucket.as_str()]).map(drop)
            })
            .await
    }

    async fn followed(&self, bucket: &BucketName) -> Result<Option<Followed>> {
        self.readers.point(|db| {
            let sql = "SELECT epoch, sequence, rules FROM followed WHERE bucket = ?1";
            first(db, sql, [bucket.as_str()], |row| {
                let mut columns = Columns::new("followed", row);
                Ok(Followed {
                    epoch: sealift_terms::Epoch(columns.bytes()?),
                    sequence: columns.uint()?,
                    rules: columns.value::<i64>()?.cast_unsigned(),
                })
            })
        })
    }

    async fn set_followed(&self, bucket: &BucketName, to: Followed) -> Result<()> {
        let bucket = bucket.clone();
        self.writer
            .call(move |db, _| {
                let values = params![
                    bucket.as_str(),
                    to.epoch.0,
                    int("sequence", to.sequence)?,
                    to.rules.cast_signed(),
                ];
                let sql = "INSERT OR REPLACE INTO followed VALUES (?1, ?2, ?3, ?4)";
                change(db, sql, values).map(drop)
            })
            .await
    }

    async fn intend(
        &self,
        bucket: &BucketName,
        keys: Vec<ObjectKey>,
        touched: Touched,
        at: Timestamp,
    ) -> Result<Vec<u64>> {
        let bucket = bucket.clone();
        self.writer
            .call(move |db, _| intents::intend(db, &bucket, &keys, &touched, at))
            .await
    }

    async fn intents(&self, bucket: &BucketName, after: u64, rows: usize) -> Result<Vec<Intent>> {
        let bucket = bucket.clone();
        self.readers
            .page(move |db| intents::intents(db, &bucket, after, rows))
            .await
    }

    async fn intent_count(&self, bucket: &BucketName) -> Result<IntentCount> {
        let bucket = bucket.clone();
        self.readers
            .page(move |db| intents::count(db, &bucket))
            .await
    }

    async fn forget_intents(&self, ids: Vec<u64>) -> Result<()> {
        self.writer
            .call(move |db, _| intents::forget(db, &ids))
            .await
    }

    async fn replace_unsupported(
        &self,
        bucket: &BucketName,
        names: Vec<UnsupportedName>,
    ) -> Result<()> {
        let bucket = bucket.clone();
        self.writer
            .call(move |db, _| replace_unsupported(db, &bucket, &names))
            .await
    }

    async fn unsupported(&self, bucket: &BucketName) -> Result<Vec<UnsupportedName>> {
        let bucket = bucket.clone();
        self.readers
            .page(move |db| {
                let sql = "SELECT name, reason, evidence FROM unsupported WHERE bucket = ?1
                           ORDER BY name";
                all(db, sql, [bucket.as_str()], |row| {
                    let mut columns = Columns::new("unsupported", row);
                    Ok(UnsupportedName {
                        name: columns.value()?,
                        reason: columns.name()?,
                        evidence: columns.value()?,
                    })
                })
            })
            .await
    }

    async fn last_received(&self, peer: &PeerName) -> Result<Option<VersionName>> {
        let peer = peer.clone();
        self.readers
            .page(move |db| {
                // Tags are of a version that was there before them.
                let sql = "SELECT t.bucket, t.key, t.version FROM receipts r
                           JOIN transfers t ON t.id = r.transfer
                           WHERE t.peer = ?1 AND t.status = 1 AND t.kind < 2
                           ORDER BY r.sequence DESC, t.id DESC LIMIT 1";
                first(db, sql, [peer.as_str()], |row| {
                    let mut columns = Columns::new("transfers", row);
                    Ok(VersionName {
                        bucket: columns.name()?,
                        key: columns.name()?,
                        version: columns.name()?,
                    })
                })
            })
            .await
    }

    async fn high_water(&self) -> Result<HighWater> {
        Ok(self.readers.point(read_meta)?.0)
    }

    async fn peer(&self, peer: &PeerName) -> Result<Option<PeerMemory>> {
        self.readers.point(|db| {
            let sql = "SELECT site, epoch, sequence, policy, seen_at FROM peers WHERE peer = ?1";
            first(db, sql, [peer.as_str()], |row| {
                let mut columns = Columns::new("peers", row);
                Ok(PeerMemory {
                    site: sealift_terms::SiteId(columns.bytes()?),
                    epoch: sealift_terms::Epoch(columns.bytes()?),
                    sequence: columns.uint()?,
                    policy: columns.value::<Option<i64>>()?.map(i64::cast_unsigned),
                    seen_at: columns.time()?,
                })
            })
        })
    }

    async fn remember_peer(&self, peer: &PeerName, memory: PeerMemory) -> Result<()> {
        let peer = peer.clone();
        self.writer
            .call(move |db, _| {
                let values = params![
                    peer.as_str(),
                    memory.site.0,
                    memory.epoch.0,
                    int("sequence", memory.sequence)?,
                    memory.seen_at.as_millis(),
                    memory.policy.map(u64::cast_signed),
                ];
                let sql =
                    "INSERT OR REPLACE INTO peers (peer, site, epoch, sequence, seen_at, policy)
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
                change(db, sql, values).map(drop)
            })
            .await
    }

    async fn probe(&self) -> Result<()> {
        self.writer
            .call(|db, _| change(db, "UPDATE meta SET change = change", []).map(drop))
            .await
    }

    async fn fold(&self, before: Timestamp, keep: Vec<RuleName>, rows: usize) -> Result<u64> {
        let ids = self
            .readers
            .page(move |db| foldable(db, before, &keep, rows))
            .await?;
        if ids.is_empty() {
            return Ok(0);
        }
        self.writer
            .call(move |db, state| fold(db, state, &ids, before))
            .await
    }
}
