//! Removals that a source task holds: which keys they are of.

use std::sync::Arc;

use sealift_store::Source;
use sealift_terms::{BucketName, ChangeKind, ObjectKey};

use super::SiteOperations;
use crate::{admin::ObjectRow, sources::open_source};

/// A source with held removals: what is not in it any more is held.
pub(super) struct Holding(Arc<dyn Source>);

impl SiteOperations {
    /// The source of a bucket, if removals of it are held now. Only a running agent
    /// holds any.
    pub(super) fn holding(&self, bucket: &BucketName) -> Option<Holding> {
        let live = self.live.as_ref()?;
        let sources = live.sources();
        let status = sources.iter().find(|source| source.bucket == *bucket)?;
        status.held?;
        let config = self.site.current();
        let source = config.sources.iter().find(|s| s.bucket == *bucket)?;
        let opened = open_source(&self.site, source);
        opened.ok().map(Holding)
    }
}

impl Holding {
    /// Whether the removal of this key is held. One that cannot be looked at is not
    /// known to be gone.
    async fn of(&self, key: &ObjectKey) -> bool {
        matches!(self.0.look(key).await, Ok(None))
    }

    /// Says so in the row of a key's latest version.
    pub(super) async fn tell(&self, row: &mut ObjectRow) {
        row.removal_held = row.latest && row.kind == ChangeKind::Put && self.of(&row.key).await;
    }
}
