//! Makes changes of differences, applies the rules, and records them durably.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sealift_ledger::{Journal, KnownKey, ListTransfers, NewChange, Transfer};
use sealift_store::{Earlier, History, Listed, Removed, Skipped, Source, StoreError};
use sealift_terms::{
    BucketName, Change, ChangeKind, Clock, ObjectFacts, ObjectKey, Order, PeerName, Reason, Status,
    Timestamp, VersionId, VersionName,
    limits::{self, TRANSFERS_OF_KEY_MAX},
};
use tokio::sync::watch;

use super::{
    gone::{Gone, look},
    returning,
    tagging::{Untold, with_tags_or_denied},
    version,
};
use crate::{Coverage, Orders, Rules, SenderError, Tagged, WorkSignal, rules::Kind};

/// Changes recorded in one step.
const BATCH_CHANGES: usize = 500;

/// The changes of one source on their way into the journal.
pub(super) struct Recorder {
    pub(super) bucket: BucketName,
    pub(super) source: Arc<dyn Source>,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) orders: Arc<Orders>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rules: watch::Receiver<Arc<Rules>>,
    pub(super) work: WorkSignal,
    pub(super) batch: Vec<NewChange>,
    /// Those of the batch that go where their tags say, which nobody has asked for yet.
    pub(super) untold: Vec<Untold>,
    /// Whether what is recorded goes before what waits already.
    pub(super) goes_ahead: bool,
    /// When the source was first looked at, until it was scanned from end to end: what is older
    /// than that was there before.
    pub(super) first_scan: Option<Timestamp>,
    /// What was left out of keys that are there, by their names, until that is in the journal.
    pub(super) left_out: BTreeMap<String, Skipped>,
    /// Whether some of it was for rules to send that are made up for.
    pub(super) misses: bool,
    /// While keys are looked at that were written: those whose tags a rule asks for, and may
    /// not be looked at.
    pub(super) denied: Option<BTreeSet<ObjectKey>>,
}

impl Recorder {
    /// Takes a version that the journal does not know, and those that came before it.
    pub(super) async fn put(
        &mut self,
        listed: Listed,
        known: Option<&KnownKey>,
    ) -> Result<(), SenderError> {
        let Listed {
            key,
            version,
            facts,
            history,
            ..
        } = listed;
        let is_newer = self.earlier(&key, history, known).await?;
        let order = self.orders.next();
        let made = self.source.made(&version, &facts);
        let known = known.filter(|_| !is_newer);
        let version = if self.is_used(&key, (&version, made), known).await? {
            version::returned(&version, &order)
        } else {
            Ok(version)
        };
        let version = version.map_err(StoreError::from)?;
        self.change(key, version, order, (ChangeKind::Put, facts))
            .await
    }

    /// Takes a key that is gone, with a delete marker.
    pub(super) async fn vanished(&mut self, gone: Gone) -> Result<(), SenderError> {
        let Gone { known, own } = gone;
        let key = &known.key;
        let own = match own {
            Some(removed) => {
                let is_newer = self.earlier(key, removed.history, Some(&known)).await?;
                let known = Some(&known).filter(|_| !is_newer);
                let own = (&removed.version, removed.modified);
                let is_used = self.is_used(key, own, known).await?;
                (!is_used).then_some((removed.version, removed.modified))
            }
            None => None,
        };
        let order = self.orders.next();
        let (version, modified) = match own {
            Some(own) => own,
            None => (
                version::delete_marker(&order).map_err(StoreError::from)?,
                None,
            ),
        };
        // It happens now, whenever the first scan is.
        let first_scan = self.first_scan.take();
        let taken = self.marker(known.key, version, order, modified).await;
        self.first_scan = first_scan;
        taken
    }

    /// Takes a key whose delete marker the journal does not know, and what came before that:
    /// nothing of it is live here, so nothing is lost by it.
    pub(super) async fn removed(
        &mut self,
        removed: Removed,
        known: Option<&KnownKey>,
    ) -> Result<(), SenderError> {
        let Removed {
            key,
            version,
            modified,
            history,
        } = removed;
        let is_newer = self.earlier(&key, history, known).await?;
        let known = known.filter(|_| !is_newer);
        if self.is_used(&key, (&version, modified), known).await? {
            return Ok(());
        }
        let order = self.orders.next();
        self.marker(key, version, order, modified).await
    }

    /// Takes the versions of a key that came since the journal last knew it, below its latest
    /// one: the oldest first. Says whether the one that the journal knows is among those below.
    async fn earlier(
        &mut self,
        key: &ObjectKey,
        history: History,
        known: Option<&KnownKey>,
    ) -> Result<bool, SenderError> {
        let of_known = |history: &History| {
            let known = known?;
            let mut earlier = history.earlier.iter();
            earlier.position(|earlier| version::is_version_of(&known.version, &earlier.version))
        };
        let mut history = history;
        let mut at = of_known(&history);
        if at.is_none() && history.more {
            history = self.source.history(key).await?;
            at = of_known(&history);
            if at.is_none() && history.more {
                self.leave_out(key);
            }
        }
        let History { mut earlier, .. } = history;
        earlier.truncate(at.unwrap_or(earlier.len()));
        for one in earlier.into_iter().rev() {
            let Earlier {
                version,
                facts,
                modified,
            } = one;
            // The one that is known may be gone from the source.
            if known.is_some() && self.was_sent(key, &version).await? {
                continue;
            }
            let order = self.orders.next();
            match facts {
                Some(facts) => {
                    let put = (ChangeKind::Put, facts);
                    self.change(key.clone(), version, order, put).await?;
                }
                None => self.marker(key.clone(), version, order, modified).await?,
            }
        }
        Ok(at.is_some())
    }

    /// Takes a delete marker that the source has, with the time that it has there: whoever
    /// lists the replica tells from it where it stands among the versions.
    async fn marker(
        &mut self,
        key: ObjectKey,
        version: VersionId,
        order: Order,
        modified: Option<Timestamp>,
    ) -> Result<(), SenderError> {
        let facts = ObjectFacts {
            last_modified: modified,
            ..ObjectFacts::default()
        };
        self.change(key, version, order, (ChangeKind::DeleteMarker, facts))
            .await
    }

    /// There are more versions of a key than are sent.
    fn leave_out(&mut self, key: &ObjectKey) {
        let max = limits::VERSIONS_OF_KEY_MAX;
        tracing::warn!(bucket = %self.bucket, %key, max, "its oldest versions are left out");
        let evidence = format!("of more than {max} versions the oldest are not sent");
        self.name_unreadable(key, evidence);
    }

    /// Names a key of which something is not sent, as it may not be read.
    pub(super) fn name_unreadable(&mut self, key: &ObjectKey, evidence: String) {
        if self.left_out.len() < limits::UNSUPPORTED_NAMES_MAX {
            let skipped = Skipped {
                name: key.to_string(),
                reason: Reason::SkippedUnreadable,
                evidence,
                hides: None,
            };
            let name = skipped.name.clone();
            self.left_out.entry(name).or_insert(skipped);
        }
    }

    async fn change(
        &mut self,
        key: ObjectKey,
        version: VersionId,
        order: Order,
        (kind, facts): (ChangeKind, ObjectFacts),
    ) -> Result<(), SenderError> {
        let facts = ObjectFacts {
            source_region: Some(self.orders.region().clone()),
            ..facts
        };
        let existed = self.first_scan.is_some_and(|began| {
            let modified = facts.last_modified;
            modified.is_none_or(|modified| modified < began)
        });
        let name = VersionName {
            bucket: self.bucket.clone(),
            key,
            version,
        };
        let change = Change {
            name,
            order,
            kind,
            facts,
        };
        self.push(change, existed).await
    }

    /// Whether a version that is the latest again, now that the known one is gone, was recorded
    /// under its own id before: the peers have it below the known one, and keep it there.
    async fn is_used(
        &self,
        key: &ObjectKey,
        (version, made): (&VersionId, Option<Timestamp>),
        known: Option<&KnownKey>,
    ) -> Result<bool, SenderError> {
        let Some(known) = known else {
            return Ok(false);
        };
        let rows = self.rows_of(key).await?;
        if has_version(&rows, version) {
            return Ok(true);
        }
        let of_known = rows
            .iter()
            .find(|row| row.change.kind.is_version() && row.change.name.version == known.version);
        let of_known = of_known.and_then(|row| row.change.facts.last_modified);
        let is_of_store = self.source.keeps_versions() && !version::is_made_here(&known.version);
        let of_store = is_of_store.then_some(of_known);
        let now = self.clock.now();
        Ok(returning::was_there(made, known, of_store, now))
    }

    async fn was_sent(&self, key: &ObjectKey, version: &VersionId) -> Result<bool, SenderError> {
        Ok(has_version(&self.rows_of(key).await?, version))
    }

    pub(super) async fn rows_of(&self, key: &ObjectKey) -> Result<Vec<Transfer>, SenderError> {
        let rows = self
            .journal
            .transfers_of(&self.bucket, key, TRANSFERS_OF_KEY_MAX);
        Ok(rows.await?)
    }

    async fn push(&mut self, change: Change, existed: bool) -> Result<(), SenderError> {
        let kind = Kind {
            change: change.kind,
            existed,
        };
        self.add(change, kind, None);
        self.flush_full().await
    }

    /// Takes a change of which it is known where it goes.
    pub(super) async fn add_to(&mut self, new: NewChange) -> Result<(), SenderError> {
        self.batch.push(new);
        self.flush_full().await
    }

    async fn flush_full(&mut self) -> Result<(), SenderError> {
        if self.batch.len() >= BATCH_CHANGES {
            self.flush().await?;
        }
        Ok(())
    }

    /// Takes a change into the batch, for one peer or for all that the rules name.
    pub(super) fn add(&mut self, change: Change, kind: Kind, only: Option<PeerName>) {
        let rules = self.rules.borrow().clone();
        let (bucket, key) = (&change.name.bucket, &change.name.key);
        let mut destinations = Vec::new();
        if rules.ask_tags_of(bucket, key) {
            let at = self.batch.len();
            self.untold.push(Untold { at, kind, only });
        } else {
            let tagged = Tagged::With(&change.facts.tags);
            destinations = rules.destinations(bucket, key, kind, tagged);
            destinations.retain(|to| only.as_ref().is_none_or(|only| to.peer == *only));
        }
        self.batch.push(NewChange {
            change,
            destinations,
            held_until: None,
            ahead: self.goes_ahead,
        });
    }

    /// Records what waits. Returns when it is durable.
    pub(super) async fn flush(&mut self) -> Result<(), SenderError> {
        if let Err(error) = self.tell_tags().await {
            // What nobody could tell of is never recorded as going nowhere.
            self.drop_batch();
            return Err(error);
        }
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        self.journal.record(batch, self.clock.now()).await?;
        self.work.wake();
        Ok(())
    }

    /// Forgets what was not recorded: the next scan finds it again.
    pub(super) fn drop_batch(&mut self) {
        self.batch.clear();
        self.untold.clear();
    }

    /// Makes up for what a new rule or a new peer has missed, for some of its keys: the latest
    /// version of every known key that it selects. Which was the last; none at the end.
    pub(super) async fn backfill(
        &mut self,
        rules: &Rules,
        peer: &PeerName,
        after: Option<ObjectKey>,
    ) -> Result<Option<ObjectKey>, SenderError> {
        let unsent = self
            .journal
            .unsent_page(&self.bucket, peer, after.as_ref(), BATCH_CHANGES)
            .await?;
        let last = unsent.last().map(|last| last.key.clone());
        for known in unsent {
            if !rules.name_it(&self.bucket, &known.key, peer) {
                continue;
            }
            let key = known.key.clone();
            match self.again(known).await {
                Ok(Some(change)) => self.add(change, Kind::existing(), Some(peer.clone())),
                Ok(None) => {}
                Err(SenderError::Source(error @ StoreError::SourceDenied { .. })) => {
                    self.name_unreadable(&key, format!("a rule asks for it: {error}"));
                    self.misses = true;
                }
                Err(error) => return Err(error),
            }
        }
        self.flush().await?;
        Ok(last)
    }

    /// Queues what an earlier rule left out, and a rule in force sends, of keys that live: what
    /// was there before it, what waited when rules changed, and tags behind either.
    pub(super) async fn send_after_all(
        &mut self,
        rules: &Rules,
        peer: &PeerName,
    ) -> Result<(), SenderError> {
        let mut list = ListTransfers {
            status: Some(Status::Skipped),
            peer: Some(peer.clone()),
            bucket: Some(self.bucket.clone()),
            limit: BATCH_CHANGES,
            ..ListTransfers::default()
        };
        loop {
            let page = self.journal.transfers(&list).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            list.after = Some(last.id);
            let (mut left_out, mut behind) = (Vec::new(), Vec::new());
            for transfer in page {
                let (name, kind) = (&transfer.change.name, transfer.change.kind);
                let is_left_out = transfer.reason == Some(Reason::SkippedFiltered)
                    && rules.name_it(&self.bucket, &name.key, peer);
                if !is_left_out || !self.is_there(name).await? {
                    continue;
                }
                match kind {
                    ChangeKind::Put => left_out.push(transfer.change),
                    _ => behind.push(transfer),
                }
            }
            let mut denied = Vec::new();
            let tagged = with_tags_or_denied(&*self.source, rules, left_out, &mut denied).await?;
            for (key, error) in denied {
                self.rule_asks_in_vain(&key, &error);
            }
            for change in tagged {
                let (key, tagged) = (&change.name.key, Tagged::With(&change.facts.tags));
                let to = rules.destinations(&self.bucket, key, Kind::existing(), tagged);
                if to.iter().any(|to| to.peer == *peer && to.skip.is_none()) {
                    self.send_version(peer.clone(), change.name).await?;
                }
            }
            // What these come behind goes by now.
            for transfer in behind {
                self.send_behind(rules, transfer).await?;
            }
            self.flush().await?;
        }
    }

    /// Whether a version is still there, as far as is known: the latest of a key that lives,
    /// or an older one of a source that keeps those.
    async fn is_there(&self, name: &VersionName) -> Result<bool, SenderError> {
        let known = self.journal.known(&self.bucket, &name.key).await?;
        let keeps = self.source.keeps_versions();
        Ok(known.is_some_and(|known| !known.deleted && (keeps || known.version == name.version)))
    }

    /// Sends what has no content of its own and was left out, if the rules do: an older delete
    /// marker, or the tags that a version has now.
    async fn send_behind(&mut self, rules: &Rules, transfer: Transfer) -> Result<(), SenderError> {
        let coverage = Coverage {
            rules,
            journal: &*self.journal,
            source: Some(&*self.source),
        };
        if coverage.leaves_out_one(&transfer).await?.is_some() {
            return Ok(());
        }
        if transfer.change.kind == ChangeKind::Tags {
            return self.tag_after_all(&transfer).await;
        }
        // A marker that nothing goes before says nothing there.
        let rows = self.rows_of(&transfer.change.name.key).await?;
        let goes_before = |row: &Transfer| {
            let goes = row.peer == transfer.peer && row.goes();
            let is_put = row.change.kind == ChangeKind::Put;
            goes && is_put && row.change.order < transfer.change.order
        };
        match rows.iter().any(goes_before) {
            true => self.send_version(transfer.peer, transfer.change.name).await,
            false => Ok(()),
        }
    }

    /// The change that made a known version, if the source still has it.
    async fn again(&self, known: KnownKey) -> Result<Option<Change>, SenderError> {
        let Some(listed) = look(&*self.source, &known.key).await? else {
            return Ok(None);
        };
        if !version::is_version_of(&known.version, &listed.version) {
            return Ok(None);
        }
        let source_region = Some(self.orders.region().clone());
        let facts = ObjectFacts {
            source_region,
            ..listed.facts
        };
        let KnownKey {
            key,
            version,
            order,
            ..
        } = known;
        let name = VersionName {
            bucket: self.bucket.clone(),
            key,
            version,
        };
        Ok(Some(Change {
            name,
            order,
            kind: ChangeKind::Put,
            facts,
        }))
    }
}

fn has_version(rows: &[Transfer], version: &VersionId) -> bool {
    let mut names = rows.iter().map(|row| &row.change.name);
    names.any(|name| name.version == *version)
}
