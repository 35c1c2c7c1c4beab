//! Tags that changed behind a version: they follow without its bytes.

use std::collections::{BTreeMap, BTreeSet};

use sealift_ledger::{Destination, NewChange, Transfer};
use sealift_store::StoreError;
use sealift_terms::{
    Change, ChangeKind, ObjectFacts, ObjectKey, Status, Timestamp, VersionId, VersionName,
};

use super::{SourceTask, recorder::Recorder, version};
use crate::{SenderError, Tagged, rules::Kind};

impl SourceTask {
    /// Records tags that changed. Those that cannot be read now are tried with the next scan;
    /// those that may not be are named, and keep no others waiting.
    pub(super) async fn follow_tags(&mut self) -> Result<(), SenderError> {
        while let Some((key, version)) = self.tagged.first().cloned() {
            match self.recorder.tagged(&key, version.clone()).await {
                Err(SenderError::Source(error @ StoreError::SourceDenied { .. })) => {
                    self.recorder.tags_denied(&key, &error);
                    self.put_off((key, version)).await?;
                }
                told => told?,
            }
            self.recorder.flush().await?;
            self.tagged.pop_first();
        }
        Ok(())
    }
}

impl Recorder {
    /// Takes the tags that a version has now, for those to whom it was or will be sent. One
    /// that goes nowhere yet brings its tags along when it does.
    pub(super) async fn tagged(
        &mut self,
        key: &ObjectKey,
        named: Option<VersionId>,
    ) -> Result<(), SenderError> {
        let known = self.journal.known(&self.bucket, key).await?;
        let known = known.map(|known| known.version);
        let latest = known.as_ref();
        let latest = latest.and_then(|latest| version::of_source(latest).ok());
        let named = match named {
            Some(told) => Some(self.called(key, told).await?),
            None => None,
        };
        let Some(own) = named.or(latest) else {
            return Ok(());
        };
        let mut to = self.sent_to(key, &own, known).await?;
        to.retain(|_, destinations| !destinations.is_empty());
        if to.is_empty() {
            return Ok(());
        }
        let tags = match self.source.tags_of_all(&[(key.clone(), own)]).await.pop() {
            Some(Ok(tags)) => tags,
            None | Some(Err(StoreError::SourceGone)) => return Ok(()),
            Some(Err(error)) => return Err(error.into()),
        };
        for (version, destinations) in to {
            let change = Change {
                name: VersionName {
                    bucket: self.bucket.clone(),
                    key: key.clone(),
                    version,
                },
                order: self.orders.next(),
                kind: ChangeKind::Tags,
                facts: ObjectFacts {
                    tags: tags.clone(),
                    ..ObjectFacts::default()
                },
            };
            self.add_to(NewChange {
                change,
                destinations,
                held_until: None,
                ahead: false,
            })
            .await?;
        }
        Ok(())
    }

    /// Takes the tags of a version again whose change was left out, unless a later one goes.
    pub(super) async fn tag_after_all(&mut self, left_out: &Transfer) -> Result<(), SenderError> {
        let change = &left_out.change;
        let rows = self.rows_of(&change.name.key).await?;
        let goes = rows.iter().any(|row| {
            let is_of_it = row.change.name == change.name && row.peer == left_out.peer;
            let is_later = row.change.order > change.order && row.status != Status::Skipped;
            is_of_it && is_later && row.change.kind == ChangeKind::Tags
        });
        if goes {
            return Ok(());
        }
        let own = version::of_source(&change.name.version).map_err(StoreError::from)?;
        self.tagged(&change.name.key, Some(own)).await
    }

    /// The source's own id of the version that its store calls so.
    async fn called(&self, key: &ObjectKey, told: VersionId) -> Result<VersionId, SenderError> {
        if told.as_str() != version::NULL {
            return Ok(told);
        }
        let known = self.journal.known(&self.bucket, key).await?;
        let rows = self.rows_of(key).await?;
        let known = known.map(|known| known.version);
        let sent = rows.into_iter().map(|row| row.change.name.version);
        let mut own = known.into_iter().chain(sent);
        let own = own.find(version::is_null);
        let own = own.map(|own| version::of_source(&own));
        Ok(own.transpose().map_err(StoreError::from)?.unwrap_or(told))
    }

    /// As [`Self::tagged`], of whichever version was the latest some time after `at`: the last
    /// of those that were recorded by then, and all that came since.
    pub(super) async fn tagged_since(
        &mut self,
        key: &ObjectKey,
        at: Timestamp,
    ) -> Result<(), SenderError> {
        let rows = self.rows_of(key).await?;
        let known = self.journal.known(&self.bucket, key).await?;
        let puts = rows.iter().map(|row| &row.change);
        let puts = puts.filter(|change| change.kind == ChangeKind::Put);
        let (since, before): (Vec<_>, Vec<_>) = puts.partition(|change| change.order.time() >= at);
        let last = before.into_iter().max_by_key(|change| &change.order);
        let versions = since.into_iter().chain(last);
        let versions = versions.map(|change| change.name.version.clone());
        let versions = versions.chain(known.map(|known| known.version));
        let own: Result<BTreeSet<_>, _> = versions
            .map(|version| version::of_source(&version))
            .collect();
        for version in own.map_err(StoreError::from)? {
            self.tagged(key, Some(version)).await?;
        }
        Ok(())
    }

    /// Says of a key that tags of it changed, and may not be looked at.
    pub(super) fn tags_denied(&mut self, key: &ObjectKey, error: &StoreError) {
        tracing::warn!(%key, reason = %error.reason(), "its tags are not sent: {error}");
        self.name_unreadable(key, format!("its tags changed: {error}"));
    }

    /// Under which ids a version was sent to whom, or will be. `latest` is that of its key, as
    /// the journal has it.
    async fn sent_to(
        &self,
        key: &ObjectKey,
        own: &VersionId,
        latest: Option<VersionId>,
    ) -> Result<BTreeMap<VersionId, Vec<Destination>>, SenderError> {
        let sent = self.rows_of(key).await?;
        let is_sent = |transfer: &&Transfer| {
            let is_version = version::is_version_of(&transfer.change.name.version, own);
            let is_put = transfer.change.kind == ChangeKind::Put;
            is_put && is_version && transfer.goes()
        };
        let sent: Vec<_> = sent.iter().filter(is_sent).collect();
        let behind = sent.iter().map(|transfer| transfer.peer.clone()).collect();
        let rules = self.rules.borrow().clone();
        let (kind, behind) = (Kind::new(ChangeKind::Tags), Tagged::Behind(&behind));
        let wanted = rules.destinations(&self.bucket, key, kind, behind);
        // A version that came again was sent under more than one id.
        let mut to: BTreeMap<VersionId, Vec<Destination>> = BTreeMap::new();
        for transfer in sent {
            let destination = wanted.iter().find(|to| to.peer == transfer.peer);
            let left_out = || {
                let change = Change {
                    kind: ChangeKind::Tags,
                    ..transfer.change.clone()
                };
                let skip = rules.leave_out(&change, &transfer.peer, behind)?;
                Some(Destination {
                    rule: transfer.rule.clone(),
                    peer: transfer.peer.clone(),
                    skip: Some(skip),
                })
            };
            // Where no rule sends it any more it is on record, and goes once one does.
            if let Some(destination) = destination.cloned().or_else(left_out) {
                let version = transfer.change.name.version.clone();
                to.entry(version).or_default().push(destination);
            }
        }
        if let (true, Some(latest)) = (to.is_empty(), latest)
            && version::is_version_of(&latest, own)
        {
            // What was sent long ago has no rows any more; the latest is where its rule has it.
            let destinations = wanted.into_iter().filter(|to| to.skip.is_none());
            to.insert(latest, destinations.collect());
        }
        Ok(to)
    }
}
