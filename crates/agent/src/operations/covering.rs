//! What of transfers the rules in force send: a batch offers nothing else.

use std::{collections::BTreeMap, sync::Arc};

use sealift_ledger::{Skip, Transfer};
use sealift_sender::{Coverage, Rules, SenderError};
use sealift_store::Source;
use sealift_terms::{BucketName, Status};

use super::SiteOperations;
use crate::{Error, running::rules_of};

/// The rules in force, and the sources that are asked for one command.
pub(super) struct Covering<'a> {
    pub(super) site: &'a SiteOperations,
    pub(super) rules: Rules,
    sources: BTreeMap<BucketName, Option<Arc<dyn Source>>>,
}

impl<'a> Covering<'a> {
    pub(super) fn new(site: &'a SiteOperations) -> Self {
        Self {
            site,
            rules: rules_of(&site.site.current()),
            sources: BTreeMap::new(),
        }
    }

    /// Transfers, each with why no rule in force sends it, if none does. What was left out
    /// before stays so unless `takes_skipped`.
    pub(super) async fn held(
        &mut self,
        transfers: Vec<Transfer>,
        takes_skipped: bool,
    ) -> Result<Vec<(Transfer, Option<Skip>)>, Error> {
        let mut held = Vec::with_capacity(transfers.len());
        for of_bucket in transfers.chunk_by(|a, b| a.change.name.bucket == b.change.name.bucket) {
            let Some(first) = of_bucket.first() else {
                continue;
            };
            let source = self.source(&first.change.name.bucket)?;
            let coverage = Coverage {
                rules: &self.rules,
                journal: &*self.site.site.journal,
                source: source.as_deref(),
            };
            let skips = coverage.leaves_out(of_bucket).await;
            held.extend(skips.map_err(not_now)?);
        }
        let held = transfers.into_iter().zip(held);
        let before = |transfer: &Transfer| {
            let is_taken = takes_skipped || transfer.status != Status::Skipped;
            transfer.reason.filter(|_| !is_taken).map(|reason| Skip {
                reason,
                evidence: transfer.evidence.clone().unwrap_or_default(),
            })
        };
        Ok(held
            .map(|(transfer, skip)| {
                let skip = before(&transfer).or(skip);
                (transfer, skip)
            })
            .collect())
    }

    pub(super) fn source(&mut self, bucket: &BucketName) -> Result<Option<Arc<dyn Source>>, Error> {
        if let Some(source) = self.sources.get(bucket) {
            return Ok(source.clone());
        }
        let source = self.site.source_of(bucket, &[&self.site.site.current()])?;
        self.sources.insert(bucket.clone(), source.clone());
        Ok(source)
    }
}

/// What a source or the journal does not answer now may be asked again.
pub(super) fn not_now(error: SenderError) -> Error {
    Error::TryAgain {
        what: error.evidence(),
        reason: Some(error.reason()),
    }
}
