//! Makes changes of differences, applies the rules, and records them durably.

use std::sync::Arc;

use sealift_ledger::{Journal, KnownKey, NewChange};
use sealift_store::{Listed, Source, StoreError};
use sealift_terms::{
    BucketName, Change, ChangeKind, Clock, ObjectFacts, ObjectKey, VersionId, VersionName,
};
use tokio::sync::watch;

use super::version;
use crate::{Orders, Rules, SenderError, WorkSignal};

/// Earlier transfers of a key that are looked at for a version id already used.
const TRANSFERS_OF_KEY_MAX: usize = 1000;
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
}

impl Recorder {
    /// Takes a version that the journal does not know.
    pub(super) async fn put(
        &mut self,
        listed: Listed,
        known: Option<&KnownKey>,
    ) -> Result<(), SenderError> {
        let order = self.orders.next();
        let Listed {
            key,
            version,
            facts,
            ..
        } = listed;
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
        let source_region = Some(self.orders.region().clone());
        let facts = ObjectFacts {
            source_region,
            ..facts
        };
        let name = VersionName {
            bucket: self.bucket.clone(),
            key,
            version,
        };
        self.push(Change {
            name,
            order,
            kind: ChangeKind::Put,
            facts,
        })
        .await
    }

    /// Takes a key that vanished, if it really did: a scan is not one moment.
    /// Says whether a delete marker was made.
    pub(super) async fn vanished(&mut self, key: &ObjectKey) -> Result<bool, SenderError> {
        if !self.is_gone(key).await? {
            return Ok(false);
        }
        let order = self.orders.next();
        let version = match self.source.delete_marker(key).await? {
            Some(own) if !self.was_sent(key, &own).await? => own,
            _ => version::delete_marker(&order).map_err(StoreError::from)?,
        };
        let source_region = Some(self.orders.region().clone());
        let facts = ObjectFacts {
            source_region,
            ..ObjectFacts::default()
        };
        let name = VersionName {
            bucket: self.bucket.clone(),
            key: key.clone(),
            version,
        };
        self.push(Change {
            name,
            order,
            kind: ChangeKind::DeleteMarker,
            facts,
        })
        .await?;
        Ok(true)
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

    async fn push(&mut self, change: Change) -> Result<(), SenderError> {
        let destinations = self
            .rules
            .borrow()
            .destinations(&change.name.bucket, &change.name.key);
        self.batch.push(NewChange {
            change,
            destinations,
        });
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
                    let mut destinations = rules.destinations(&self.bucket, &known.key);
                    destinations.retain(|destination| destination.peer == peer);
                    if !destinations.is_empty()
                        && let Some(change) = self.again(known).await?
                    {
                        self.batch.push(NewChange {
                            change,
                            destinations,
                        });
                    }
                }
                self.flush().await?;
            }
        }
        Ok(())
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
