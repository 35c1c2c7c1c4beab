//! Whether a transfer may leave: the last look before it does. A purge is looked at twice.

use std::{collections::BTreeMap, sync::Arc};

use sealift_ledger::{Journal, Transfer};
use sealift_store::Source;
use sealift_terms::{BucketName, ChangeKind, Reason, VersionName};
use sealift_wire::Refusal;

use super::{prepare::refusal, shared::Shared};
use crate::{Coverage, Rules, changes::version};

/// Withdraws what is on its way, cannot be there yet, and no rule in force sends any more.
pub(super) async fn withdraw(shared: &Shared) {
    let departing = shared.departing();
    let offers: Vec<_> = {
        let offers = shared.offers.lock();
        let machine = shared.machine.lock();
        let open = offers
            .iter()
            .filter(|(offer, _)| machine.can_be_withdrawn(**offer));
        open.map(|(offer, sending)| (*offer, sending.clone()))
            .collect()
    };
    for (offer, sending) in offers {
        let sources = &shared.settings.sources;
        if let Err(refusal) = departing.hold_rules(&sending.transfer, sources).await {
            shared.take_back(offer, &refusal);
        }
    }
}

/// What a transfer is held against.
#[derive(Clone)]
pub(super) struct Departing {
    /// The rules in force.
    pub(super) rules: Arc<Rules>,
    /// Where it is recorded.
    pub(super) journal: Arc<dyn Journal>,
    /// Whether the peer takes purges at all.
    pub(super) takes_purges: bool,
}

impl Departing {
    /// Refuses one that no rule in force sends, whatever did so when it was recorded; a purge
    /// also while its version is at the source.
    pub(super) async fn hold(
        &self,
        transfer: &Transfer,
        sources: &BTreeMap<BucketName, Arc<dyn Source>>,
    ) -> Result<(), Refusal> {
        self.hold_rules(transfer, sources).await?;
        match transfer.change.kind {
            ChangeKind::Purge => self.hold_purge(transfer, sources).await,
            _ => Ok(()),
        }
    }

    /// Refuses one that other rules than these, which came meanwhile, do not send.
    pub(super) async fn hold_again(
        &self,
        shared: &Shared,
        transfer: &Transfer,
    ) -> Result<(), Refusal> {
        if Arc::ptr_eq(&self.rules, &shared.settings.rules.borrow()) {
            return Ok(());
        }
        let (now, sources) = (shared.departing(), &shared.settings.sources);
        now.hold_rules(transfer, sources).await
    }

    /// Refuses one that no rule in force sends.
    pub(super) async fn hold_rules(
        &self,
        transfer: &Transfer,
        sources: &BTreeMap<BucketName, Arc<dyn Source>>,
    ) -> Result<(), Refusal> {
        let coverage = Coverage {
            rules: &self.rules,
            journal: &*self.journal,
            source: sources.get(&transfer.change.name.bucket).map(|s| &**s),
        };
        match coverage.leaves_out_one(transfer).await {
            Ok(None) => Ok(()),
            Ok(Some(skip)) => Err(Refusal::new(skip.reason, skip.evidence)),
            Err(error) => Err(Refusal::new(error.reason(), error.evidence())),
        }
    }

    async fn hold_purge(
        &self,
        transfer: &Transfer,
        sources: &BTreeMap<BucketName, Arc<dyn Source>>,
    ) -> Result<(), Refusal> {
        let VersionName {
            bucket,
            key,
            version,
        } = &transfer.change.name;
        let stays = |evidence: &str| Err(Refusal::new(Reason::SkippedPurge, evidence.to_owned()));
        if !self.takes_purges {
            let evidence = "the peer runs a sealift that takes no purges".to_owned();
            return Err(Refusal::new(Reason::PeerProtocolMismatch, evidence));
        }
        let Some(source) = sources.get(bucket) else {
            let evidence = format!("no source for bucket {bucket}");
            return Err(Refusal::new(Reason::SrcUnavailable, evidence));
        };
        if let Some(ordered) = source.ordered() {
            let purges = ordered.purges(vec![transfer.change.name.clone()]).await;
            return match purges.map_err(|error| refusal(&error))?.is_empty() {
                true => stays("the archive says no more that it was purged"),
                false => Ok(()),
            };
        }
        let versions = source.versions_of(key).await;
        let own = version::of_source(version);
        match (versions.map_err(|error| refusal(&error))?, own) {
            (Some(versions), Ok(own)) if !versions.contains(&own) => Ok(()),
            (Some(_), _) => stays("the source has it again"),
            (None, _) => stays("the source cannot say that it has it no more"),
        }
    }
}
