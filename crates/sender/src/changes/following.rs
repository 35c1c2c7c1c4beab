//! The changes of a source that has ordered them itself: followed as it commits them, and
//! found by a listing of what was committed since, recorded in the journal as they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use sealift_ledger::{Followed, Journal, ListTransfers, NewChange, Requeue, Transfer};
use sealift_store::{After, Committed, CommittedTo, Ordered, OrderedSource, Source};
use sealift_terms::{Boxed, BucketName, Change, ChangeKind, Clock, PeerName, Status};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::{
    SCAN_GAP, SourceSettings, at,
    narrowing::Narrowing,
    passing::Passing,
    tagging::{goes_to, with_tags},
};
use crate::{Coverage, Rules, SenderError, SourceHandle, WorkSignal, stopped};

/// Versions listed, and changes recorded, in one step.
const PAGE_VERSIONS: usize = 500;
/// Messages about commits taken at once.
const TAKEN_MAX: usize = 16;
/// Between two notes of how far it was followed: what was recorded since the last one is
/// looked at again after a crash, and not recorded twice.
const NOTED_EVERY: Duration = Duration::from_secs(1);

/// The task of a source that is followed.
pub struct FollowTask {
    pub(super) bucket: BucketName,
    source: Arc<dyn Source>,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rules: watch::Receiver<Arc<Rules>>,
    work: WorkSignal,
    pub(super) handle: SourceHandle,
    interval: Duration,
    noted: Option<Instant>,
    /// Whether all that was committed before the next message is recorded. Not so after a
    /// listing that failed: what it was for may lie below the commits that come meanwhile.
    is_caught_up: bool,
    pub(super) passing: Passing,
}

impl FollowTask {
    /// Makes the task; [`run`](Self::run) is its life.
    #[must_use]
    pub fn new(
        settings: SourceSettings,
        source: Arc<dyn Source>,
        journal: Arc<dyn Journal>,
        clock: Arc<dyn Clock>,
        rules: watch::Receiver<Arc<Rules>>,
        work: WorkSignal,
    ) -> (Self, SourceHandle) {
        let SourceSettings {
            bucket,
            scan_interval,
        } = settings;
        let handle = SourceHandle::new(bucket.clone(), source.clone());
        let task = Self {
            bucket,
            source,
            journal,
            clock,
            rules,
            work,
            handle: handle.clone(),
            interval: scan_interval.max(SCAN_GAP),
            noted: None,
            is_caught_up: false,
            passing: Passing::default(),
        };
        (task, handle)
    }

    /// Follows the source until `stop` turns true. What fails is reported by the handle and
    /// tried again. May be aborted at any time: what was recorded is durable, and the rest is
    /// found again.
    pub fn run(mut self, mut stop: watch::Receiver<bool>) -> Boxed<'static, ()> {
        Box::pin(async move {
            let (source, mut rules) = (self.source.clone(), self.rules.clone());
            loop {
                let Some(ordered) = source.ordered() else {
                    return;
                };
                // Followed first, so that nothing is missed between the two.
                let mut commits = ordered.follow();
                rules.mark_unchanged();
                let caught_up = match self.catch_up(ordered, &mut commits).await {
                    Ok(()) => self.pass_purges_on(ordered).await,
                    failed => failed,
                };
                let next = match caught_up {
                    Ok(()) => self.interval,
                    Err(_) => SCAN_GAP,
                };
                self.report(caught_up);
                let next = Instant::now() + next;
                loop {
                    let mut taken = Vec::new();
                    tokio::select! {
                        () = stopped(&mut stop) => return,
                        count = commits.recv_many(&mut taken, TAKEN_MAX) => {
                            if count == 0 {
                                // It could not tell us everything: a listing does.
                                break;
                            }
                            if let Err(error) = self.take(ordered, taken).await {
                                self.report(Err(error));
                                tokio::time::sleep(SCAN_GAP).await;
                                break;
                            }
                        }
                        () = at(self.passing.due()) => {
                            let passed = self.pass_purges_on(ordered).await;
                            self.report(passed);
                        }
                        () = tokio::time::sleep_until(next) => break,
                        () = self.handle.asked() => break,
                        Ok(()) = rules.changed() => break,
                    }
                }
            }
        })
    }

    /// Records what was committed since it was last followed; all of it when the rules are
    /// others by now, or the source is.
    async fn catch_up(
        &mut self,
        source: &dyn OrderedSource,
        commits: &mut mpsc::Receiver<Committed>,
    ) -> Result<(), SenderError> {
        self.is_caught_up = false;
        let rules = self.rules.borrow().clone();
        let digest = rules.digest(&self.bucket);
        let until = source.committed_to();
        let followed = self.journal.followed(&self.bucket).await?;
        let is_other = followed.is_none_or(|followed| followed.rules != digest);
        if is_other {
            self.narrow(&rules).await?;
        }
        // A catalog that came back from an older copy gives the same numbers again.
        let same_life =
            followed.filter(|to| to.epoch == until.epoch && to.sequence <= until.sequence);
        let (mut after, mut seen): (Option<After>, u64) = (None, 0);
        loop {
            let page = source.versions(after.as_ref(), PAGE_VERSIONS).await?;
            let Some(last) = page.last().map(|last| &last.change) else {
                break;
            };
            after = Some(After {
                key: last.name.key.clone(),
                order: last.order.clone(),
                version: last.name.version.clone(),
            });
            seen += page.len() as u64;
            let mut new = Vec::new();
            for version in page {
                let old = same_life.is_some_and(|followed| version.sequence <= followed.sequence);
                let is_done = old && followed.is_some_and(|followed| followed.rules == digest);
                if !is_done || version.tags_order.is_some() {
                    let existed = old || followed.is_none();
                    self.add(&mut new, version, &rules, existed).await?;
                }
            }
            self.record(new).await?;
            // What is committed meanwhile waits for nobody.
            let mut taken = Vec::new();
            while let Ok(committed) = commits.try_recv() {
                taken.push(committed);
            }
            self.record_committed(source, taken).await?;
        }
        if is_other {
            self.send_after_all(&rules).await?;
        }
        self.note(until, digest).await?;
        self.is_caught_up = true;
        self.handle.update(|state| state.objects = seen);
        Ok(())
    }

    /// Records what a commit brought, and notes it once nothing below it is missing.
    async fn take(
        &mut self,
        source: &dyn OrderedSource,
        taken: Vec<Committed>,
    ) -> Result<(), SenderError> {
        let to = taken.iter().rev().find_map(|committed| committed.sequence);
        self.record_committed(source, taken).await?;
        let is_due = self
            .noted
            .is_none_or(|noted| noted.elapsed() >= NOTED_EVERY);
        if let Some(sequence) = to.filter(|_| is_due && self.is_caught_up) {
            let digest = self.rules.borrow().digest(&self.bucket);
            let followed = self.journal.followed(&self.bucket).await?;
            // Other rules are for a listing to make up for.
            if followed.is_some_and(|followed| followed.rules == digest) {
                let epoch = source.committed_to().epoch;
                self.note(CommittedTo { epoch, sequence }, digest).await?;
            }
        }
        Ok(())
    }

    async fn record_committed(
        &mut self,
        source: &dyn OrderedSource,
        taken: Vec<Committed>,
    ) -> Result<(), SenderError> {
        let rules = self.rules.borrow().clone();
        for Committed { names, .. } in taken {
            let (mut new, told) = (Vec::new(), names.len());
            let there = source.of_names(names).await?;
            if there.len() < told && rules.purge(&self.bucket) {
                self.passing.look_soon();
            }
            for version in there {
                self.add(&mut new, version, &rules, false).await?;
            }
            self.record(new).await?;
        }
        Ok(())
    }

    /// A version, and its tags where they changed behind it.
    async fn add(
        &self,
        to: &mut Vec<NewChange>,
        version: Ordered,
        rules: &Rules,
        existed: bool,
    ) -> Result<(), SenderError> {
        let Ordered {
            change, tags_order, ..
        } = version;
        let tags = tags_order.map(|order| Change {
            order,
            kind: ChangeKind::Tags,
            ..change.clone()
        });
        for change in [Some(change), tags].into_iter().flatten() {
            let behind = self.behind(&change, rules, to).await?;
            let destinations = rules.of_change(&change, existed, &behind);
            to.push(NewChange {
                change,
                destinations,
                held_until: None,
                ahead: false,
            });
        }
        Ok(())
    }

    /// Where that goes which a change comes behind, if its rules ask for tags.
    async fn behind(
        &self,
        change: &Change,
        rules: &Rules,
        before: &[NewChange],
    ) -> Result<BTreeSet<PeerName>, SenderError> {
        let asks = rules.ask_tags_of(&change.name.bucket, &change.name.key);
        match asks && change.kind != ChangeKind::Put {
            true => goes_to(&*self.journal, change, before).await,
            false => Ok(BTreeSet::new()),
        }
    }

    pub(super) async fn record(&self, new: Vec<NewChange>) -> Result<(), SenderError> {
        if new.is_empty() {
            return Ok(());
        }
        self.journal.record(new, self.clock.now()).await?;
        self.work.wake();
        Ok(())
    }

    /// Leaves out what waits and no rule in force sends.
    async fn narrow(&self, rules: &Rules) -> Result<(), SenderError> {
        let coverage = Coverage {
            rules,
            journal: &*self.journal,
            source: Some(&*self.source),
        };
        let mut narrowing = Narrowing::of(&self.bucket);
        while narrowing.step(coverage, self.clock.now()).await? {}
        Ok(())
    }

    /// Queues what earlier rules left out, and those in force send.
    async fn send_after_all(&self, rules: &Rules) -> Result<(), SenderError> {
        let mut list = ListTransfers {
            status: Some(Status::Skipped),
            bucket: Some(self.bucket.clone()),
            limit: PAGE_VERSIONS,
            ..ListTransfers::default()
        };
        loop {
            let page = self.journal.transfers(&list).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            list.after = Some(last.id);
            let left_out = page.into_iter().filter(|transfer| {
                let reason = transfer.reason;
                reason.is_some_and(super::is_left_out)
            });
            self.send_of_page(rules, left_out.collect()).await?;
        }
    }

    /// Queues those of a page that the rules in force send, by the tags that they have now.
    /// Changes of tags go where their version does.
    async fn send_of_page(&self, rules: &Rules, page: Vec<Transfer>) -> Result<(), SenderError> {
        let all = page.iter().map(|transfer| &transfer.change);
        let puts = all.filter(|change| change.kind == ChangeKind::Put);
        let puts = puts.cloned();
        let now = with_tags(&*self.source, rules, puts.collect()).await?;
        let tags: BTreeMap<_, _> = now
            .into_iter()
            .map(|change| (change.name, change.facts.tags))
            .collect();
        for transfer in page {
            let (peer, mut change) = (transfer.peer, transfer.change);
            let is_tags = change.kind == ChangeKind::Tags;
            if change.kind == ChangeKind::Put {
                let Some(now) = tags.get(&change.name) else {
                    continue;
                };
                change.facts.tags = now.clone();
            }
            let behind = match is_tags {
                true => goes_to(&*self.journal, &change, &[]).await?,
                false => self.behind(&change, rules, &[]).await?,
            };
            let is_behind = !is_tags || behind.contains(&peer);
            let to = rules.of_change(&change, !is_tags, &behind);
            if is_behind && to.iter().any(|to| to.peer == peer && to.skip.is_none()) {
                let which = Requeue::LeftOut(transfer.id);
                self.journal.requeue(which, self.clock.now()).await?;
                self.work.wake();
            }
        }
        Ok(())
    }

    async fn note(&mut self, to: CommittedTo, rules: u64) -> Result<(), SenderError> {
        let CommittedTo { epoch, sequence } = to;
        let followed = Followed {
            epoch,
            sequence,
            rules,
        };
        self.journal.set_followed(&self.bucket, followed).await?;
        self.noted = Some(Instant::now());
        Ok(())
    }

    fn report(&self, done: Result<(), SenderError>) {
        let now = self.clock.now();
        self.handle.update(|state| match done {
            Ok(()) => {
                (state.reason, state.evidence) = (None, None);
                state.scanned = Some(now);
            }
            Err(error) => {
                (state.reason, state.evidence) = (Some(error.reason()), Some(error.evidence()));
            }
        });
    }
}
