//! Which buckets applications may write to here: those that an operator promoted.
//!
//! A bucket without such a note is read-only, so that a catalog that was made anew from the
//! store, and knows of no promotion, takes no writes until somebody says so again.

use std::collections::BTreeMap;

use sealift_ledger::Note;
use sealift_terms::{BucketName, Timestamp, limits::PROMOTED_MAX};
use serde::{Deserialize, Serialize};

use crate::{Archive, ArchiveError, Result, archive::Core};

const PREFIX: &str = "promoted\u{1}";

/// That a bucket was promoted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promotion {
    /// Since when.
    pub since: Timestamp,
    /// Who did it.
    pub by: String,
}

/// The promoted buckets of a site.
pub type Promotions = BTreeMap<BucketName, Promotion>;

impl Archive {
    /// The buckets that are promoted.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn promotions(&self) -> Result<Promotions> {
        self.core.promotions().await
    }

    /// Lets applications write to a bucket: returns when that is durable. One that is
    /// promoted already stays as it is.
    ///
    /// # Errors
    /// [`ArchiveError::BucketMissing`]; what the catalog says.
    pub async fn promote(&self, bucket: &BucketName, by: &str) -> Result<Promotions> {
        self.core.key_of(bucket)?;
        let mut all = self.promotions().await?;
        if all.contains_key(bucket) {
            return Ok(all);
        }
        if all.len() >= PROMOTED_MAX {
            return Err(ArchiveError::Misuse("no more buckets can be promoted"));
        }
        let promotion = Promotion {
            since: self.core.clock.now(),
            by: by.to_owned(),
        };
        let json = serde_json::to_vec(&promotion).unwrap_or_default();
        let note = Note::kept(format!("{PREFIX}{bucket}"), json);
        self.core.catalog.put_notes(vec![note]).await?;
        all.insert(bucket.clone(), promotion);
        self.core.watch_promoted(&all);
        Ok(all)
    }

    /// Takes that back: returns when it is durable.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn demote(&self, bucket: &BucketName) -> Result<Promotions> {
        let note = Note::forgotten(format!("{PREFIX}{bucket}"));
        self.core.catalog.put_notes(vec![note]).await?;
        let all = self.promotions().await?;
        self.core.watch_promoted(&all);
        Ok(all)
    }
}

impl Core {
    pub(crate) async fn promotions(&self) -> Result<Promotions> {
        let notes = self.catalog.notes(PREFIX, None, PROMOTED_MAX).await?;
        let parse = |note: Note| {
            let bucket = note.name.strip_prefix(PREFIX)?.parse().ok()?;
            let promotion = serde_json::from_slice(&note.bytes?).ok()?;
            Some((bucket, promotion))
        };
        Ok(notes.into_iter().filter_map(parse).collect())
    }

    pub(crate) fn watch_promoted(&self, all: &Promotions) {
        self.conflicts.set_promoted(all.keys().cloned().collect());
    }
}
