//! What of a followed source is still to be sent from it.

use std::{collections::BTreeSet, sync::Arc};

use sealift_ledger::{Journal, LedgerError};
use sealift_terms::{BucketName, ChangeKind, Epoch, PeerName, Status, VersionName};

use crate::Rules;

/// Transfers of one version that are looked at: a put, a marker and its tags, to 64 peers each.
/// One with more is taken for awaited.
const STANDINGS_MAX: usize = 256;

/// What of a source that is followed is still to be sent by the rules in force.
pub struct Awaited {
    journal: Arc<dyn Journal>,
    rules: Arc<Rules>,
    epoch: Epoch,
}

impl Awaited {
    /// As `journal` has it; `epoch` is the life of the source's catalog.
    #[must_use]
    pub fn new(journal: Arc<dyn Journal>, rules: Arc<Rules>, epoch: Epoch) -> Self {
        Self {
            journal,
            rules,
            epoch,
        }
    }

    /// Whether a version that was committed as `sequence` is not there yet where it is sent to:
    /// it was not recorded yet by these rules, or its transfer is `PENDING` or `FAILED`.
    ///
    /// # Errors
    /// What the journal says.
    pub async fn is_awaited(&self, name: &VersionName, sequence: u64) -> Result<bool, LedgerError> {
        let peers = self.rules.peers_of(&name.bucket);
        if peers.is_empty() {
            return Ok(false);
        }
        if !self.is_recorded(&name.bucket, sequence).await? {
            return Ok(true);
        }
        self.is_under_way(name, &peers).await
    }

    async fn is_recorded(&self, bucket: &BucketName, sequence: u64) -> Result<bool, LedgerError> {
        let followed = self.journal.followed(bucket).await?;
        Ok(followed.is_some_and(|to| {
            to.epoch == self.epoch
                && to.rules == self.rules.digest(bucket)
                && sequence <= to.sequence
        }))
    }

    async fn is_under_way(
        &self,
        name: &VersionName,
        peers: &BTreeSet<PeerName>,
    ) -> Result<bool, LedgerError> {
        let version = name.version.as_str();
        let asked = self
            .journal
            .standings(&name.bucket, &name.key, version, STANDINGS_MAX);
        let found = asked.await?;
        Ok(found.len() == STANDINGS_MAX
            || found.iter().any(|one| {
                one.version == name.version
                    && one.kind != ChangeKind::Purge
                    && peers.contains(&one.peer)
                    && matches!(one.status, Status::Pending | Status::Failed)
            }))
    }
}
