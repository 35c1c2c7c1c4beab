//! Whether a purge may leave: the last look before it does.

use std::{collections::BTreeMap, sync::Arc};

use sealift_ledger::Transfer;
use sealift_store::Source;
use sealift_terms::{BucketName, Reason, VersionName};
use sealift_wire::Refusal;

use super::prepare::refusal;
use crate::{Rules, changes::version};

/// What a purge is held against.
#[derive(Debug, Clone)]
pub(super) struct Purges {
    /// The rules in force.
    pub(super) rules: Arc<Rules>,
    /// Whether the peer takes purges at all.
    pub(super) are_taken: bool,
}

impl Purges {
    /// Refuses one that its rule does not send any more, or whose version is at the source.
    pub(super) async fn hold(
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
        if self.rules.purge_of(bucket, key, &transfer.peer).is_none() {
            return stays("no rule sends version deletes of it there any more");
        }
        if !self.are_taken {
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
