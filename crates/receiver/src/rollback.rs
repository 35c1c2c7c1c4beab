//! A site that came back with an older copy of its data learns of it from those
//! who sent to it: it begins a new epoch, so that all of them notice.

use std::time::Duration;

use sealift_archive::ArchiveError;
use sealift_identity::Action;
use sealift_terms::{AuditKind, AuditRecord, BucketName, Epoch, Identity, VersionName};

use crate::{Door, question::Answer};

/// A new epoch makes every sender offer everything again: no peer's word brings it
/// about more often than this.
const RENEWED_EVERY: Duration = Duration::from_secs(3600);

/// What a peer remembers of this site.
pub(crate) struct Remembered {
    pub(crate) epoch: Epoch,
    pub(crate) sequence: u64,
    pub(crate) last: Option<VersionName>,
}

impl Door {
    /// Holds what a peer remembers against what is here.
    pub(crate) async fn compare(&self, identity: &Identity, theirs: &Remembered) -> Answer {
        let here = self.archive().site();
        let standing = |epoch, renewed| Answer::Standing { epoch, renewed };
        // Another epoch tells by itself that something may be lost.
        if theirs.epoch != here.epoch || !self.may_send(identity, theirs.last.as_ref()) {
            return standing(here.epoch, false);
        }
        let Some(evidence) = self.lost(theirs, here.sequence).await else {
            return standing(here.epoch, false);
        };
        match self.renew(identity, &evidence).await {
            Ok(epoch) => standing(epoch, epoch != here.epoch),
            Err(error) => {
                tracing::error!(%error, evidence, "no new epoch can begin");
                standing(here.epoch, false)
            }
        }
    }

    /// Whether a peer may send at all, and what it names.
    fn may_send(&self, identity: &Identity, last: Option<&VersionName>) -> bool {
        let may = |bucket: &BucketName| {
            let decision = self.grants().allows(identity, Action::Replicate, bucket);
            decision.is_allowed()
        };
        match last {
            Some(last) => may(&last.bucket),
            None => self.archive().buckets().iter().any(may),
        }
    }

    /// What of that which was acknowledged is not here.
    async fn lost(&self, theirs: &Remembered, sequence: u64) -> Option<String> {
        if theirs.sequence > sequence {
            let known = theirs.sequence;
            return Some(format!(
                "commit {known} was acknowledged, here it is {sequence}"
            ));
        }
        // Others may have brought the sequence as far again.
        let last = theirs.last.as_ref()?;
        match self.archive().knows(last).await {
            Ok(false) => Some(format!("{last} was acknowledged and is not here")),
            Ok(true) => None,
            Err(error) => {
                tracing::warn!(%error, "it cannot be told whether something was lost");
                None
            }
        }
    }

    /// Begins a new epoch, on record.
    async fn renew(&self, identity: &Identity, evidence: &str) -> Result<Epoch, ArchiveError> {
        let now = self.now();
        let here = self.archive().site();
        let mut last = self.renewed().lock().await;
        if last.is_some_and(|last| now.since(last) < RENEWED_EVERY) {
            tracing::error!(
                peer = %identity, evidence,
                "something is lost again, shortly after a new epoch began"
            );
            return Ok(here.epoch);
        }
        let record = AuditRecord::new(now, AuditKind::ReplicaRolledBack, identity.as_str())
            .with("evidence", evidence)
            .with("epoch_known", here.epoch)
            .with("sequence", here.sequence);
        let epoch = self.archive().renew_epoch(record).await?;
        *last = Some(now);
        tracing::error!(
            peer = %identity, evidence,
            "this site came back with an older copy of its data: a new epoch begins, and its senders refill it"
        );
        Ok(epoch)
    }
}
