//! Makes changes of differences, applies the rules, and records them durably.

use std::sync::Arc;

use sealift_ledger::{Destination, Journal, KnownKey, ListTransfers, NewChange, Requeue};
use sealift_store::{Earlier, History, Listed, Removed, Skipped, Source, StoreError};
use sealift_terms::{
    BucketName, Change, ChangeKind, Clock, ObjectFacts, ObjectKey, Order, PeerName, Reason, Status,
    Timestamp, VersionId, VersionName,
    limits::{self, TRANSFERS_OF_KEY_MAX},
};
use tokio::sync::watch;

use super::version;
use crate::{Orders, Rules, SenderError, WorkSignal, rules::Kind};

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
    /// When the source was first looked at, until it was scanned from end to end: what is older
    /// than that was there before.
    pub(super) first_scan: Option<Timestamp>,
    /// What the scan under way left out of keys that it has.
    pub(super) left_out: Vec<Skipped>,
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
        self.earlier(&key, history, known).await?;
        let order = self.orders.next();
        let used = match known {
            Some(_) => self.was_sent(&key, &version).await?,
            None => false,
        };
        let version = if used {
            version::returned(&version, &order)
        } else {
            Ok(version)
        };
        let version = version.map_err(StoreError::from)?;
        self.change(key, version, order, Some(facts)).await
    }

    /// Takes a key that vanished, if it really did: a scan is not one moment.
    /// Says whether a delete marker was made.
    pub(super) async fn vanished(&mut self, key: &ObjectKey) -> Result<bool, SenderError> {
        if !self.is_gone(key).await? {
            return Ok(false);
        }
        let known = self.journal.known(&self.bucket, key).await?;
        let own = match self.source.removed(key).await? {
            Some(removed) => {
                self.earlier(key, removed.history, known.as_ref()).await?;
                Some(removed.version)
            }
            None => None,
        };
        let order = self.orders.next();
        let version = match own {
            Some(own) if !self.was_sent(key, &own).await? => own,
            _ => version::delete_marker(&order).map_err(StoreError::from)?,
        };
        // It happens now, whenever the first scan is.
        let first_scan = self.first_scan.take();
        let taken = self.change(key.clone(), version, order, None).await;
        self.first_scan = first_scan;
        taken.map(|()| true)
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
            history,
        } = removed;
        self.earlier(&key, history, known).await?;
        let order = self.orders.next();
        if self.was_sent(&key, &version).await? {
            return Ok(());
        }
        self.change(key, version, order, None).await
    }

    /// Takes the versions of a key that came since the journal last knew it, below its latest
    /// one: the oldest first.
    async fn earlier(
        &mut self,
        key: &ObjectKey,
        history: History,
        known: Option<&KnownKey>,
    ) -> Result<(), SenderError> {
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
        for Earlier { version, facts } in earlier.into_iter().rev() {
            // The one that is known may be gone from the source.
            if known.is_some() && self.was_sent(key, &version).await? {
                continue;
            }
            let order = self.orders.next();
            self.change(key.clone(), version, order, facts).await?;
        }
        Ok(())
    }

    /// There are more versions of a key than are sent.
    fn leave_out(&mut self, key: &ObjectKey) {
        let max = limits::VERSIONS_OF_KEY_MAX;
        tracing::warn!(bucket = %self.bucket, %key, max, "its oldest versions are left out");
        if self.left_out.len() < limits::UNSUPPORTED_NAMES_MAX {
            self.left_out.push(Skipped {
                name: key.to_string(),
                reason: Reason::SkippedUnreadable,
                evidence: format!("of more than {max} versions the oldest are not sent"),
                hides: None,
            });
        }
    }

    /// Takes a version, or a delete marker where there are no facts.
    async fn change(
        &mut self,
        key: ObjectKey,
        version: VersionId,
        order: Order,
        facts: Option<ObjectFacts>,
    ) -> Result<(), SenderError> {
        let kind = match facts {
            Some(_) => ChangeKind::Put,
            None => ChangeKind::DeleteMarker,
        };
        let facts = ObjectFacts {
            source_region: Some(self.orders.region().clone()),
            ..facts.unwrap_or_default()
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

    /// Whether a key that is known as live is not there any more.
    pub(super) async fn is_gone(&self, key: &ObjectKey) -> Result<bool, SenderError> {
        let known = self.journal.known(&self.bucket, key).await?;
        Ok(known.is_some_and(|known| !known.deleted) && self.look(key).await?.is_none())
    }

    /// Looks at one key; what is no object counts as not there.
    pub(super) async fn look(&self, key: &ObjectKey) -> Result<Option<Listed>, SenderError> {
        match self.source.look(key).await {
            Err(StoreError::SourceUnsupported { .. }) => Ok(None),
            looked => Ok(looked?),
        }
    }

    async fn was_sent(&self, key: &ObjectKey, version: &VersionId) -> Result<bool, SenderError> {
        let earlier = self
            .journal
            .transfers_of(&self.bucket, key, TRANSFERS_OF_KEY_MAX)
            .await?;
        Ok(earlier
            .iter()
            .any(|transfer| transfer.change.name.version == *version))
    }

    async fn push(&mut self, change: Change, existed: bool) -> Result<(), SenderError> {
        let (name, kind) = (&change.name, change.kind);
        let kind = Kind {
            change: kind,
            existed,
        };
        let rules = self.rules.borrow().clone();
        let destinations = rules.destinations(&name.bucket, &name.key, kind);
        self.add(NewChange {
            change,
            destinations,
            held_until: None,
        })
        .await
    }

    pub(super) async fn add(&mut self, new: NewChange) -> Result<(), SenderError> {
        self.batch.push(new);
        if self.batch.len() >= BATCH_CHANGES {
            self.flush().await?;
        }
        Ok(())
    }

    /// Records what waits. Returns when it is durable.
    pub(super) async fn flush(&mut self) -> Result<(), SenderError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        self.journal.record(batch, self.clock.now()).await?;
        self.work.wake();
        Ok(())
    }

    /// Makes up for what a new rule or a new peer has missed: the latest version
    /// of every known key that it selects.
    pub(super) async fn backfill(&mut self) -> Result<(), SenderError> {
        let rules = self.rules.borrow().clone();
        for peer in rules.peers_of(&self.bucket) {
            let mut after: Option<ObjectKey> = None;
            loop {
                let unsent = self
                    .journal
                    .unsent_page(&self.bucket, &peer, after.as_ref(), BATCH_CHANGES)
                    .await?;
                let Some(last) = unsent.last() else { break };
                after = Some(last.key.clone());
                for known in unsent {
                    let destinations = existing_to(&rules, &self.bucket, &known.key, &peer);
                    if !destinations.is_empty()
                        && let Some(change) = self.again(known).await?
                    {
                        self.batch.push(NewChange {
                            change,
                            destinations,
                            held_until: None,
                        });
                    }
                }
                self.flush().await?;
            }
            self.send_after_all(&rules, &peer).await?;
        }
        Ok(())
    }

    /// Queues what an earlier rule left out because it was there before, and a rule in force
    /// sends.
    async fn send_after_all(&self, rules: &Rules, peer: &PeerName) -> Result<(), SenderError> {
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
            for transfer in page {
                let name = transfer.change.name;
                let is_left_out = transfer.change.kind == ChangeKind::Put
                    && transfer.reason == Some(Reason::SkippedFiltered);
                let to = existing_to(rules, &self.bucket, &name.key, peer);
                let is_sent = to.iter().any(|destination| destination.skip.is_none());
                if !is_left_out || !is_sent {
                    continue;
                }
                let known = self.journal.known(&self.bucket, &name.key).await?;
                if known.is_some_and(|known| !known.deleted && known.version == name.version) {
                    let peer = peer.clone();
                    let which = Requeue::Version { peer, name };
                    self.journal.requeue(which, self.clock.now()).await?;
                    self.work.wake();
                }
            }
        }
    }

    /// The change that made a known version, if the source still has it.
    async fn again(&self, known: KnownKey) -> Result<Option<Change>, SenderError> {
        let Some(listed) = self.look(&known.key).await? else {
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

/// Where what was there before goes, of one peer.
fn existing_to(
    rules: &Rules,
    bucket: &BucketName,
    key: &ObjectKey,
    peer: &PeerName,
) -> Vec<Destination> {
    let mut destinations = rules.destinations(bucket, key, Kind::existing());
    destinations.retain(|destination| destination.peer == *peer);
    destinations
}
