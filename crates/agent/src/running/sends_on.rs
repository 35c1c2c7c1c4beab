//! What this site still sends on of its own archive: those versions do not expire.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use sealift_archive::SentOn;
use sealift_ledger::{LedgerError, VersionRow};
use sealift_sender::{Awaited, Rules};
use sealift_terms::BucketName;

use crate::{config::SourceFrom, site::Site};

/// The buckets of the archive that are sources, and how far they were sent.
pub(super) struct SendsOn {
    buckets: BTreeSet<BucketName>,
    awaited: Awaited,
}

impl SendsOn {
    pub(super) fn new(site: &Site, rules: Arc<Rules>) -> Self {
        let config = site.current();
        let sources = config.sources.iter();
        let of_archive = sources.filter(|source| matches!(source.from, SourceFrom::Archive));
        Self {
            buckets: of_archive.map(|source| source.bucket.clone()).collect(),
            awaited: Awaited::new(site.journal.clone(), rules, site.row().epoch),
        }
    }
}

#[async_trait]
impl SentOn for SendsOn {
    async fn awaits(&self, row: &VersionRow) -> Result<bool, LedgerError> {
        if !self.buckets.contains(&row.name.bucket) {
            return Ok(false);
        }
        self.awaited.is_awaited(&row.name, row.sequence).await
    }
}
