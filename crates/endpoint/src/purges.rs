//! The removal of one version, for good: by applications that have the right to it.

use std::sync::Arc;

use s3s::S3Result;
use sealift_archive::ArchiveError;
use sealift_identity::AccessRight;
use sealift_ledger::{VersionKind, VersionRow};
use sealift_terms::{AccessKeyId, VersionId};

use crate::{
    core::Core,
    errors::{invalid, of_archive},
    fresh::not_implemented,
    wanted::WriteConditions,
    writes::{Target, ended},
};

impl Core {
    /// Purges a version, in the same way. One that is not here, or not any more, is gone.
    pub(crate) async fn purge(
        self: &Arc<Self>,
        id: &AccessKeyId,
        target: Target,
        version: &str,
        conditions: WriteConditions,
    ) -> S3Result<Option<VersionRow>> {
        if !conditions.is_none() {
            return Err(not_implemented(
                "the removal of a version has no conditions here",
            ));
        }
        self.hold_right(
            id,
            "DeleteObjectVersion",
            AccessRight::Purge,
            &target.bucket,
        )?;
        let version = VersionId::new(version);
        let version = version.map_err(|_| invalid("a version id of no such form is here"))?;
        let core = self.clone();
        let purging = tokio::spawn(async move {
            let _turn = core.turn(&target, &conditions).await?;
            let Target { actor, bucket, key } = &target;
            let row = match core.archive.find(bucket, key, Some(&version)).await {
                Ok(row) => row,
                Err(ArchiveError::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(of_archive(&error)),
            };
            let purged = core.archive.purge(actor, &row).await;
            purged.map_err(|error| core.not_written(&target, &error))?;
            Ok(Some(row))
        });
        ended(purging).await?
    }
}

/// The version that a removal names, if it names one.
pub(crate) fn named(version: Option<&str>) -> Option<&str> {
    version.filter(|version| !version.is_empty())
}

/// Whether what was purged was a delete marker; said only if it was.
pub(crate) fn was_marker(purged: Option<&VersionRow>) -> Option<bool> {
    purged
        .is_some_and(|row| row.kind == VersionKind::DeleteMarker)
        .then_some(true)
}
