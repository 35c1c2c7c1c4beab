//! What a source says the tags of versions are now: for rules that are not in force yet, and
//! for what of a batch is meant.

use std::{collections::BTreeMap, sync::Arc};

use sealift_ledger::Transfer;
use sealift_sender::tags_now;
use sealift_store::Source;
use sealift_terms::{BucketName, ChangeKind, ObjectKey, VersionId};

use super::SiteOperations;
use crate::{
    Error,
    config::{Config, SourceFrom},
    sources::open_source,
};

type Tags = BTreeMap<String, String>;

impl SiteOperations {
    /// The source of a bucket in the first of these configurations that has one.
    pub(super) fn source_of(
        &self,
        bucket: &BucketName,
        configs: &[&Config],
    ) -> Result<Option<Arc<dyn Source>>, Error> {
        let mut sources = configs.iter().flat_map(|config| &config.sources);
        let source = sources.find(|source| source.bucket == *bucket);
        source
            .map(|source| open_source(&self.site, source))
            .transpose()
    }

    /// Refuses to tell objects apart by tags that none of them has.
    pub(super) fn hold_tags(&self, bucket: &BucketName) -> Result<(), Error> {
        let config = self.site.current();
        let mut sources = config.sources.iter();
        let source = sources.find(|source| source.bucket == *bucket);
        let untagged = |kind: &str| {
            Err(Error::Request {
                what: "--tag",
                found: format!("bucket {bucket}, which is {kind} here"),
                allowed: "a bucket of S3, of Azure or of this archive: files have no tags, nor has Google".to_owned(),
            })
        };
        match source.map(|source| &source.from) {
            Some(SourceFrom::Directory(_)) => untagged("a directory"),
            Some(SourceFrom::Gcs(_)) => untagged("one of Google"),
            Some(SourceFrom::S3(_) | SourceFrom::Azure(_) | SourceFrom::Archive) => Ok(()),
            None => Err(Error::NotFound {
                what: format!("a [[source]] of bucket {bucket}, which would tell its tags"),
            }),
        }
    }

    /// Refuses to compare tags with those of a source that has none, or none of its own.
    pub(super) fn hold_own_tags(&self, bucket: &BucketName) -> Result<(), Error> {
        let config = self.site.current();
        let mut sources = config.sources.iter();
        let source = sources.find(|source| source.bucket == *bucket);
        let untold = |kind: &str| {
            Err(Error::Request {
                what: "--tags-only",
                found: format!("bucket {bucket}, which is {kind} here"),
                allowed: "a bucket of S3 or of Azure".to_owned(),
            })
        };
        match source.map(|source| &source.from) {
            Some(SourceFrom::Directory(_)) => untold("a directory: files have no tags"),
            Some(SourceFrom::Gcs(_)) => untold("one of Google: it has no tags"),
            Some(SourceFrom::Archive) => {
                untold("an archive: its tags have an order, and the later ones hold at both ends")
            }
            Some(SourceFrom::S3(_) | SourceFrom::Azure(_)) => Ok(()),
            None => Err(Error::NotFound {
                what: format!("a [[source]] of bucket {bucket}, which would tell its tags"),
            }),
        }
    }

    /// Those of these transfers of one bucket whose versions have all of these tags now.
    pub(super) async fn with_tags(
        &self,
        bucket: &BucketName,
        wanted: &Tags,
        transfers: Vec<Transfer>,
    ) -> Result<Vec<Transfer>, Error> {
        let Some(source) = self.source_of(bucket, &[&self.site.current()])? else {
            return Ok(Vec::new());
        };
        // A delete marker has none.
        let mut transfers = transfers;
        transfers.retain(|transfer| transfer.change.kind == ChangeKind::Put);
        let names = transfers.iter().map(|transfer| &transfer.change.name);
        let names: Vec<_> = names.map(|name| (&name.key, &name.version)).collect();
        let tags = tags_of(&*source, names.clone()).await?;
        let has_them = |name: &(&ObjectKey, &VersionId)| {
            let tags = tags.get(name);
            let has = |tags: &Tags| {
                let mut wanted = wanted.iter();
                wanted.all(|(tag, value)| tags.get(tag) == Some(value))
            };
            tags.is_some_and(has)
        };
        let mut found: Vec<_> = names.iter().map(has_them).collect();
        found.reverse();
        transfers.retain(|_| found.pop().unwrap_or_default());
        Ok(transfers)
    }
}

/// The tags that versions have now; without those that are gone, or may not be looked at.
pub(super) async fn tags_of<'a>(
    source: &dyn Source,
    mut versions: Vec<(&'a ObjectKey, &'a VersionId)>,
) -> Result<BTreeMap<(&'a ObjectKey, &'a VersionId), Tags>, Error> {
    // Each is asked for once, however many destinations it has.
    versions.sort_unstable();
    versions.dedup();
    if versions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let told = tags_now(source, &versions).await;
    let told = told.map_err(|error| Error::TryAgain {
        what: error.evidence(),
        reason: Some(error.reason()),
    })?;
    let told = versions.into_iter().zip(told);
    Ok(told
        .filter_map(|(name, tags)| Some((name, tags?)))
        .collect())
}
