//! Keys that were removed while no rule sent that, and live at a peer: a rule that sends it now
//! makes up for it. They count among what vanishes, so that many of them wait for somebody.

use sealift_ledger::{KnownKey, Requeue};
use sealift_terms::{
    Change, ChangeKind, ObjectFacts, ObjectKey, PeerName, Reason, Status, VersionName,
};

use super::{
    SourceTask,
    gone::{Gone, LOOKED_AT_ONCE},
    recorder::Recorder,
    version,
};
use crate::{Rules, SenderError, rules::Kind};

/// Keys in one step.
const PAGE_KEYS: usize = 500;

impl SourceTask {
    /// How many there are, once after rules changed.
    pub(super) async fn count_unremoved(&mut self) -> Result<(), SenderError> {
        self.owed.unremoved = 0;
        if self.owed.removals {
            let rules = self.recorder.rules.borrow().clone();
            for peer in rules.peers_of(&self.recorder.bucket) {
                let (mut after, mut count) = (None, 0);
                while let Some(keys) = self.recorder.unremoved(&rules, &peer, &mut after).await? {
                    count += keys.len() as u64;
                }
                // Each peer is measured by itself: the one that would lose most counts.
                self.owed.unremoved = self.owed.unremoved.max(count);
            }
        }
        Ok(())
    }

    /// Sends their delete markers, unless removals are held.
    pub(super) async fn remove_after_all(&mut self) -> Result<(), SenderError> {
        if !self.owed.removals || self.handle.is_holding() {
            return Ok(());
        }
        if self.owed.unremoved == 0 {
            // None when they were counted, before the scan.
            self.owed.removals = false;
            return Ok(());
        }
        let rules = self.recorder.rules.borrow().clone();
        for peer in rules.peers_of(&self.recorder.bucket) {
            let mut after = None;
            while let Some(keys) = self.recorder.unremoved(&rules, &peer, &mut after).await? {
                for keys in keys.chunks(LOOKED_AT_ONCE) {
                    self.recorder.remove_at(&peer, keys.to_vec()).await?;
                }
                self.recorder.flush().await?;
                self.take_written_meanwhile().await?;
            }
        }
        self.owed.unremoved = 0;
        self.owed.removals = false;
        Ok(())
    }
}

impl Recorder {
    /// Those of a page whose delete markers the rules send to a peer; none behind the last.
    async fn unremoved(
        &self,
        rules: &Rules,
        peer: &PeerName,
        after: &mut Option<ObjectKey>,
    ) -> Result<Option<Vec<KnownKey>>, SenderError> {
        let page = self
            .journal
            .unremoved_page(&self.bucket, peer, after.as_ref(), PAGE_KEYS)
            .await?;
        let Some(last) = page.last() else {
            return Ok(None);
        };
        *after = Some(last.key.clone());
        let is_sent = |known: &KnownKey| {
            let origin = &known.order.region;
            let rule = rules.remove((&self.bucket, &known.key), peer, origin);
            rule.is_some()
        };
        Ok(Some(page.into_iter().filter(is_sent).collect()))
    }

    /// Sends the delete markers of those that really are gone: the one that a rule left out, or
    /// one that was never recorded for the peer.
    async fn remove_at(&mut self, peer: &PeerName, keys: Vec<KnownKey>) -> Result<(), SenderError> {
        for Gone { known, own } in self.gone_of(keys).await? {
            let name = VersionName {
                bucket: self.bucket.clone(),
                key: known.key,
                version: known.version,
            };
            let rows = self.rows_of(&name.key).await?;
            let mut rows = rows.iter();
            let row = rows.find(|row| row.peer == *peer && row.change.name == name);
            if let Some(row) = row {
                let is_left_out =
                    row.status == Status::Skipped && row.reason == Some(Reason::SkippedFiltered);
                if is_left_out {
                    self.send_version(peer.clone(), name).await?;
                }
                continue;
            }
            let own = own.filter(|own| version::is_version_of(&name.version, &own.version));
            let change = Change {
                name,
                facts: ObjectFacts {
                    last_modified: own.and_then(|own| own.modified),
                    source_region: Some(known.order.region.clone()),
                    ..ObjectFacts::default()
                },
                order: known.order,
                kind: ChangeKind::DeleteMarker,
            };
            let kind = Kind::new(ChangeKind::DeleteMarker);
            self.add(change, kind, Some(peer.clone()));
        }
        Ok(())
    }

    /// Queues what a rule left out.
    pub(super) async fn send_version(
        &self,
        peer: PeerName,
        name: VersionName,
    ) -> Result<(), SenderError> {
        let which = Requeue::Version { peer, name };
        self.journal.requeue(which, self.clock.now()).await?;
        self.work.wake();
        Ok(())
    }
}
