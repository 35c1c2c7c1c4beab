//! The changes of one source: found by scans and hints, recorded in the journal.

pub(crate) mod awaited;
pub(crate) mod following;
mod fronted;
mod gone;
mod hints;
mod leaving;
mod merge;
mod naming;
mod narrowing;
mod owed;
mod passing;
mod purging;
mod recorder;
pub(crate) mod refilling;
mod retagging;
mod returning;
pub(crate) mod tagging;
mod unremoved;
mod vanishing;
pub(crate) mod version;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use sealift_ledger::{Journal, KnownKey};
use sealift_store::{Hint, Listed, Recorded, Source, StoreError, Watch};
use sealift_terms::{Boxed, BucketName, Clock, ObjectKey, Reason, Timestamp, VersionId, limits};
use tokio::{sync::watch, time::Instant};

use crate::{
    Held, Orders, Rules, SenderError, SourceHandle, WorkSignal, front::FrontHandle, stopped,
};
use fronted::Fronted;
use gone::LOOKED_AT_ONCE;
use hints::{next_hints, waiting_hints};
use leaving::{Burst, Leaving};
use merge::{Difference, Merge};
use owed::Owed;
use purging::{Purging, tell_held};
use recorder::Recorder;
use vanishing::Vanishing;

/// How often a source that cannot be watched is scanned.
const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// The shortest time between two scans that were asked for.
const SCAN_GAP: Duration = Duration::from_secs(1);
/// Keys that a source looks at together.
const LOOKED_AT_TOGETHER_MAX: usize = 64;
/// Vanished keys held in memory by one scan; more need a second one.
const VANISHED_HELD_MAX: usize = 10_000;
/// Versions whose changed tags are held in memory until they can be read.
const TAGGED_HELD_MAX: usize = 10_000;
/// How long the first scan waits for the watch to stand.
const WATCH_STANDS: Duration = Duration::from_secs(1);

/// What a source's task is made of.
#[derive(Debug, Clone)]
pub struct SourceSettings {
    /// The bucket that the source is.
    pub bucket: BucketName,
    /// How often it is scanned.
    pub scan_interval: Duration,
}

/// The task of one source.
pub struct SourceTask {
    recorder: Recorder,
    handle: SourceHandle,
    interval: Duration,
    vanishing: Vanishing,
    leaving: Leaving,
    fronted: Fronted,
    owed: Owed,
    /// What is gone for good is meant to be, although it is much.
    accepts_purges: bool,
    /// Versions whose tags changed, until that is recorded.
    tagged: BTreeSet<(ObjectKey, Option<VersionId>)>,
    /// Some were too many: whoever told of them has to do so again.
    lost_tags: bool,
}

impl SourceTask {
    /// Makes the task; [`run`](Self::run) is its life.
    #[must_use]
    pub fn new(
        settings: SourceSettings,
        source: Arc<dyn Source>,
        journal: Arc<dyn Journal>,
        orders: Arc<Orders>,
        clock: Arc<dyn Clock>,
        rules: watch::Receiver<Arc<Rules>>,
        work: WorkSignal,
    ) -> (Self, SourceHandle) {
        let SourceSettings {
            bucket,
            scan_interval,
        } = settings;
        let (front, written) = FrontHandle::new(
            bucket.clone(),
            journal.clone(),
            clock.clone(),
            rules.clone(),
        );
        let handle = SourceHandle::new(bucket.clone(), source.clone()).fronted(front.clone());
        let batch = Vec::new();
        let recorder = Recorder {
            bucket,
            source,
            journal,
            orders,
            clock,
            rules,
            work,
            batch,
            goes_ahead: false,
            untold: Vec::new(),
            first_scan: None,
            left_out: BTreeMap::new(),
            denied: None,
            misses: false,
        };
        let task = Self {
            recorder,
            handle: handle.clone(),
            interval: scan_interval
                .clamp(SCAN_GAP, limits::SCAN_INTERVAL_DEFAULT.max(scan_interval)),
            vanishing: Vanishing::default(),
            leaving: Leaving::default(),
            fronted: Fronted::new(front, written),
            owed: Owed::all(),
            accepts_purges: false,
            tagged: BTreeSet::new(),
            lost_tags: false,
        };
        (task, handle)
    }

    /// Scans and takes hints until `stop` turns true, which is heard between two
    /// scans. What fails is reported by the handle, and tried again with the next
    /// scan. May be aborted at any time: what was recorded is durable, and the rest
    /// is found again.
    pub fn run(mut self, mut stop: watch::Receiver<bool>) -> Boxed<'static, ()> {
        Box::pin(async move {
            self.look_back().await;
            let mut watch = self.watch();
            let mut rules = self.recorder.rules.clone();
            rules.mark_unchanged();
            let mut last_scan: Option<Instant> = None;
            // Once the watch stands it says so, and the first scan misses nothing.
            let mut next_scan = Instant::now()
                + if watch.is_some() {
                    WATCH_STANDS
                } else {
                    Duration::ZERO
                };
            loop {
                let judged = self.leaving.due(&self.vanishing);
                // What is leaving right now would be counted in part only.
                let scanned = judged.map_or(next_scan, |judged| next_scan.max(judged));
                tokio::select! {
                    () = stopped(&mut stop) => return,
                    () = at(judged) => {
                        let wants_scan = match self.judge_with(waiting_hints(&mut watch)).await {
                            Ok(wants_scan) => wants_scan,
                            Err(error) => { self.report(Err(error), false); true }
                        };
                        if wants_scan {
                                next_scan = next_scan.min(soon(last_scan));
                            }
                        }
                    () = tokio::time::sleep_until(scanned) => {
                        let scanned = self.full_scan().await;
                        self.report(scanned, true);
                        if watch.is_none() {
                            watch = self.watch();
                        }
                        last_scan = Some(Instant::now());
                        next_scan = Instant::now() + self.interval;
                    }
                    hints = next_hints(&mut watch) => {
                        let wants_scan = match self.take(hints).await {
                            Ok(wants_scan) => wants_scan,
                            Err(error) => { self.report(Err(error), false); true }
                        };
                        if wants_scan {
                            next_scan = next_scan.min(soon(last_scan));
                        }
                    }
                    written = self.fronted.next() => {
                        if let Err(error) = self.take_and_settle(written).await {
                            self.report(Err(error), false);
                            next_scan = next_scan.min(soon(last_scan));
                        }
                    }
                    () = self.handle.asked() => next_scan = Instant::now(),
                    Ok(()) = rules.changed() => {
                        self.rules_changed().await;
                        next_scan = Instant::now();
                    }
                }
            }
        })
    }

    /// Takes up what an earlier process left.
    async fn look_back(&mut self) {
        let (journal, bucket) = (&self.recorder.journal, &self.recorder.bucket);
        // Until the first scan, deletes are held against what was known before.
        if let Ok(known) = journal.known_counts(bucket).await {
            self.vanishing = Vanishing::new(known.live);
        }
        // Hints come before the first scan is over, and are of what was there as well.
        if let Ok(false) = journal.is_scanned(bucket).await {
            self.recorder.first_scan = Some(self.recorder.clock.now());
        }
        // What was being written when that ended does not wait for a scan.
        if let Err(error) = self.settle_leftovers().await {
            self.report(Err(error), false);
        }
    }

    fn watch(&mut self) -> Option<Watch> {
        match self.recorder.source.watch() {
            Ok(watch) => Some(watch),
            Err(error) => {
                self.poll(error.to_string());
                None
            }
        }
    }

    fn poll(&mut self, why: String) {
        self.interval = self.interval.min(POLL_INTERVAL);
        self.handle.update(|state| state.polling = Some(why));
    }

    /// Takes hints; says whether a scan is wanted.
    async fn take(&mut self, hints: Vec<Hint>) -> Result<bool, SenderError> {
        let mut wants_scan = false;
        let mut keys: BTreeSet<ObjectKey> = BTreeSet::new();
        let mut prefixes: BTreeSet<String> = BTreeSet::new();
        let mut waiting = Vec::new();
        for hint in hints {
            match hint {
                Hint::Changed(key) => drop(keys.insert(key)),
                Hint::Tagged(key, version) if self.tagged.len() < TAGGED_HELD_MAX => {
                    self.tagged.insert((key, version));
                }
                Hint::Tagged(key, _) => {
                    tracing::error!(%key, "too many tags changed at once: those of this one are not sent");
                    self.lost_tags = true;
                }
                Hint::Beneath(prefix) => drop(prefixes.insert(prefix)),
                Hint::Rescan => wants_scan = true,
                Hint::Poll(why) => {
                    self.poll(why);
                    wants_scan = true;
                }
                Hint::Recorded(recorded) => waiting.push(recorded),
            }
        }
        self.look_at(keys).await?;
        self.follow_tags().await?;
        for prefix in prefixes {
            self.scan(&prefix, false).await?;
        }
        self.name_left_out().await?;
        wants_scan |= self.fronted.missed_meanwhile().is_err();
        if !waiting.is_empty() && !std::mem::take(&mut self.lost_tags) {
            waiting.iter().for_each(Recorded::tell);
        }
        Ok(wants_scan)
    }

    /// Looks at keys that were hinted at: they have settled.
    async fn look_at(&mut self, keys: BTreeSet<ObjectKey>) -> Result<(), SenderError> {
        let keys: Vec<_> = keys.into_iter().collect();
        for keys in keys.chunks(LOOKED_AT_TOGETHER_MAX) {
            let looked = self.recorder.source.look_at_all(keys).await;
            for (key, looked) in keys.iter().zip(looked) {
                self.looked_at(key, looked).await?;
            }
        }
        self.recorder.flush().await
    }

    async fn looked_at(
        &mut self,
        key: &ObjectKey,
        looked: Result<Option<Listed>, StoreError>,
    ) -> Result<(), SenderError> {
        let (journal, bucket) = (&self.recorder.journal, &self.recorder.bucket);
        let known = journal.known(bucket, key).await?;
        match looked {
            Ok(Some(listed)) => {
                let is_known = known.as_ref().is_some_and(|known| {
                    !known.deleted && version::is_version_of(&known.version, &listed.version)
                });
                if !is_known {
                    self.put(listed, known.as_ref()).await?;
                }
            }
            // What is no object counts as not there.
            Ok(None) | Err(StoreError::SourceUnsupported { .. }) => {
                if known.is_some_and(|known| !known.deleted) {
                    self.leaves(key.clone());
                }
            }
            // It is there and may not be looked at: no reason to keep the others waiting.
            Err(StoreError::SourceDenied { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn put(&mut self, listed: Listed, known: Option<&KnownKey>) -> Result<(), SenderError> {
        // What is held was measured already.
        if known.is_none_or(|known| known.deleted) && !self.handle.is_holding() {
            self.vanishing.came();
        }
        self.recorder.put(listed, known).await
    }

    fn leaves(&mut self, key: ObjectKey) {
        if self.leaving.add(key, Instant::now()) {
            self.vanishing.burst();
        }
    }

    /// Judges what was seen leaving, unless hints that wait say that more does: of a burst
    /// a task that was held up for a while would judge the beginning alone. Says whether a
    /// scan is wanted.
    async fn judge_with(&mut self, hints: Vec<Hint>) -> Result<bool, SenderError> {
        let wants_scan = self.take(hints).await?;
        match self.leaving.due(&self.vanishing) {
            Some(due) if due <= Instant::now() => Ok(self.judge().await? || wants_scan),
            _ => Ok(wants_scan),
        }
    }

    /// Deletes what was seen leaving, or holds all of it. Says whether only a scan
    /// can tell how much that is.
    async fn judge(&mut self) -> Result<bool, SenderError> {
        let Burst::Keys(keys) = self.leaving.take() else {
            return Ok(true);
        };
        let keys: Vec<_> = keys.into_iter().collect();
        let count = self.recorder.count_gone(&keys).await?;
        if count > 0 && !self.vanishing.allows(count) {
            self.hold(count, self.vanishing.live());
            return Ok(false);
        }
        self.delete(&keys).await?;
        self.recorder.flush().await?;
        Ok(false)
    }

    /// Scans everything, and makes up for new rules.
    async fn full_scan(&mut self) -> Result<(), SenderError> {
        self.recorder.left_out.clear();
        let settled = self.settle_for_scan().await;
        if settled.is_err() {
            self.recorder.drop_batch();
        }
        self.scan_all().await?;
        // What was written just before is listed once it has settled.
        if self.recorder.first_scan.is_some() && self.recorder.source.settling() == 0 {
            let (journal, bucket) = (&self.recorder.journal, &self.recorder.bucket);
            journal.mark_scanned(bucket).await?;
            self.recorder.first_scan = None;
        }
        // What nobody could look at for who wrote it kept nothing else waiting.
        settled.and(self.fronted.missed_meanwhile())
    }

    async fn scan_all(&mut self) -> Result<(), SenderError> {
        // As long as something is held it is held against what there was before.
        if !self.handle.is_holding() {
            self.count_live().await?;
        }
        self.count_unremoved().await?;
        // The scan sees what was seen leaving, too.
        self.leaving.take();
        let accepts = self.handle.take_accepted();
        if let Err(error) = self.scan("", accepts).await {
            self.handle.give_back(accepts);
            return Err(error);
        }
        let followed = self.follow_tags().await;
        if followed.is_err() {
            self.recorder.drop_batch();
        }
        let made_up = self.make_up().await;
        self.name_left_out().await?;
        made_up.and(followed)
    }

    async fn count_live(&mut self) -> Result<(), SenderError> {
        let (journal, bucket) = (&self.recorder.journal, &self.recorder.bucket);
        let live = journal.known_counts(bucket).await?.live;
        self.vanishing = Vanishing::new(live);
        Ok(())
    }

    /// Scans the keys with a prefix: records what is new, then what vanished. What
    /// vanished from a part of the source is judged with what else leaves.
    async fn scan(&mut self, prefix: &str, accepts: bool) -> Result<(), SenderError> {
        let (source, journal) = (self.recorder.source.clone(), self.recorder.journal.clone());
        let bucket = self.recorder.bucket.clone();
        self.fronted.scan_begins();
        let mut merge = Merge::begin(&*source, &*journal, &bucket, prefix).await?;
        if prefix.is_empty() {
            merge.purging = Purging::begin(&self.recorder);
        }
        let (mut vanished, mut count) = (Vec::new(), 0_u64);
        while let Some(difference) = merge.next().await? {
            // A long scan does not keep applications waiting that write meanwhile.
            self.take_written_meanwhile().await?;
            // What was looked at for them is recorded as it is: the listing is from before.
            let key = difference.key();
            let is_old = key.is_some_and(|key| self.fronted.is_newer(key));
            match difference {
                _ if is_old => {}
                Difference::Page => {}
                Difference::Put(listed, known) => {
                    self.put(*listed, known.as_deref()).await?;
                }
                Difference::Removed(removed, known) => {
                    self.recorder.removed(*removed, known.as_deref()).await?;
                }
                Difference::Vanished(known) if !prefix.is_empty() => self.leaves(known.key),
                Difference::Vanished(known) => {
                    count += 1;
                    if vanished.len() < VANISHED_HELD_MAX {
                        vanished.push(known.key);
                    }
                }
            }
        }
        self.recorder.flush().await?;
        if !prefix.is_empty() {
            return Ok(());
        }
        let (mut skipped, seen) = (std::mem::take(&mut merge.skipped), merge.seen);
        let purging = merge.purging.take();
        let left_out = std::mem::take(&mut self.recorder.left_out);
        skipped.extend(left_out.into_values());
        self.names(skipped, seen).await?;
        let (gone, vanishing) = (
            count + self.owed.unremoved,
            self.vanishing.beside(self.owed.unremoved),
        );
        if !accepts && !vanishing.allows(gone) {
            self.hold(gone, vanishing.live());
            return Ok(());
        }
        self.vanishing = vanishing;
        self.vanishing.note(self.owed.unremoved);
        match count > vanished.len() as u64 {
            true => self.delete_by_scan().await?,
            false => self.delete(&vanished).await?,
        }
        self.recorder.flush().await?;
        self.handle.update(|state| state.held = None);
        if accepts {
            // What is left is all there is to be measured against.
            self.count_live().await?;
        }
        self.purge(purging, accepts).await
    }

    /// Records purges of what is gone for good, or holds all of them.
    async fn purge(&mut self, purging: Option<Purging>, accepts: bool) -> Result<(), SenderError> {
        let accepts = accepts || std::mem::take(&mut self.accepts_purges);
        let held = purging.as_ref().and_then(Purging::held);
        let held = held.filter(|_| !accepts);
        tell_held(&self.handle, &self.recorder.bucket, held);
        if held.is_some() {
            return Ok(());
        }
        if let Some(purging) = purging {
            self.accepts_purges = accepts && purging.is_cut();
            purging.record(&mut self.recorder).await?;
            if self.accepts_purges {
                self.handle.scan();
            }
        }
        Ok(())
    }

    /// Makes delete markers for more keys than are held in memory.
    async fn delete_by_scan(&mut self) -> Result<(), SenderError> {
        let (source, journal) = (self.recorder.source.clone(), self.recorder.journal.clone());
        let bucket = self.recorder.bucket.clone();
        let mut merge = Merge::begin(&*source, &*journal, &bucket, "").await?;
        let mut vanished = Vec::with_capacity(LOOKED_AT_ONCE);
        while let Some(difference) = merge.next().await? {
            if let Difference::Vanished(known) = difference {
                vanished.push(known.key);
            }
            if vanished.len() == LOOKED_AT_ONCE {
                self.delete(&vanished).await?;
                vanished.clear();
            }
        }
        self.delete(&vanished).await
    }

    /// Makes delete markers for those of these keys that are gone.
    async fn delete(&mut self, keys: &[ObjectKey]) -> Result<(), SenderError> {
        for keys in keys.chunks(LOOKED_AT_ONCE) {
            for gone in self.recorder.gone(keys).await? {
                self.recorder.vanished(gone).await?;
                self.vanishing.note(1);
            }
        }
        Ok(())
    }

    fn hold(&self, vanished: u64, of: u64) {
        let held = Held { vanished, of };
        let mut before = None;
        self.handle
            .update(|state| before = state.held.replace(held));
        if before != Some(held) {
            tracing::warn!(
                bucket = %self.recorder.bucket, vanished = held.vanished, of = held.of,
                "removals are held: run `sealift retry --accept-deletes` if they are meant"
            );
        }
    }

    fn report(&mut self, done: Result<(), SenderError>, scanned: bool) {
        self.recorder.drop_batch();
        let now: Timestamp = self.recorder.clock.now();
        self.handle.update(|state| match done {
            Ok(()) => {
                (state.reason, state.evidence) = (None, None);
                if scanned {
                    state.scanned = Some(now);
                    state.failed_scans = 0;
                }
            }
            Err(error) => {
                state.failed_scans += u64::from(scanned);
                (state.reason, state.evidence) = (Some(error.reason()), Some(error.evidence()));
            }
        });
    }
}

/// Whether something was left out for what a rule says, and other rules may send it.
pub(crate) fn is_left_out(reason: Reason) -> bool {
    matches!(reason, Reason::SkippedFiltered | Reason::SkippedReplica)
}

/// Waits until then, if ever.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// A scan that was asked for comes soon, but not right behind another.
fn soon(last_scan: Option<Instant>) -> Instant {
    last_scan.map_or_else(Instant::now, |last| last + SCAN_GAP)
}
