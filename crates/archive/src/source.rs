//! A bucket of this archive as a source: what came from one region goes on to the next.

use std::{io, sync::Arc};

use async_trait::async_trait;
use sealift_ledger::{ListVersions, Standing, VersionCursor, VersionKind, VersionRow};
use sealift_store::{
    After, Committed, CommittedTo, Hint, Listed, Ordered, OrderedSource, Page, Scan, Source,
    SourceObject, StoreError, TagsTold, Watch, blocking,
};
use sealift_terms::{
    BucketName, Change, ChangeKind, Checksum, ChecksumAlgorithm, ObjectFacts, ObjectKey, Reason,
    VersionId, VersionName, world::Calls,
};
use tokio::sync::mpsc;

use crate::{Archive, ArchiveError, ObjectReader};

/// Who opens what is sent on, in the audit log.
const ACTOR: &str = "sender";

/// A bucket of an archive. What is read of it is opened under the local key, chunk by chunk,
/// each opening on record; whoever takes it seals it anew.
#[derive(Debug, Clone)]
pub struct ArchiveSource {
    archive: Arc<Archive>,
    bucket: BucketName,
}

impl ArchiveSource {
    /// The source that `bucket` is.
    #[must_use]
    pub fn new(archive: Arc<Archive>, bucket: BucketName) -> Self {
        Self { archive, bucket }
    }

    async fn list(&self, list: ListVersions) -> Result<Vec<VersionRow>, StoreError> {
        let page = self.archive.list(&list).await;
        Ok(page.map_err(|error| refused(&error))?.rows)
    }

    async fn open_version(
        &self,
        key: &ObjectKey,
        version: &VersionId,
    ) -> Result<ArchiveObject, StoreError> {
        let archive = &self.archive;
        let opened = archive.open_object(ACTOR, &self.bucket, key, Some(version));
        let reader = opened.await.map_err(|error| refused(&error))?;
        Ok(ArchiveObject {
            reader: Arc::new(reader),
            calls: archive.core.store.calls(),
        })
    }
}

/// Why an archive does not give a version, in a source's words.
fn refused(error: &ArchiveError) -> StoreError {
    let reason = match error {
        ArchiveError::NotFound { .. } | ArchiveError::DeleteMarker(_) => {
            return StoreError::SourceGone;
        }
        error => match error.reason() {
            Reason::DstKmsThrottled => Reason::SrcKmsThrottled,
            Reason::DstKmsKeyMissing
            | Reason::DstKmsKeyDisabled
            | Reason::DstKmsKeyPendingDeletion
            | Reason::DstKmsAccessDenied => Reason::SrcKmsDecryptDenied,
            Reason::AuditUnavailable => Reason::AuditUnavailable,
            // Damage too: it is sent once it was repaired.
            _ => Reason::SrcUnavailable,
        },
    };
    let mut evidence = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        evidence = format!("{evidence}: {error}");
        cause = error.source();
    }
    StoreError::SourceRefused { reason, evidence }
}

fn listed(row: VersionRow) -> Listed {
    Listed {
        key: row.name.key,
        version: row.name.version,
        facts: row.facts,
        settled: true,
        history: sealift_store::History::default(),
    }
}

fn ordered(row: VersionRow) -> Ordered {
    let kind = match row.kind {
        VersionKind::Object => ChangeKind::Put,
        VersionKind::DeleteMarker => ChangeKind::DeleteMarker,
    };
    Ordered {
        change: Change {
            name: row.name,
            order: row.order,
            kind,
            facts: row.facts,
        },
        tags_order: row.tags_order,
        sequence: row.sequence,
    }
}

#[async_trait]
impl Source for ArchiveSource {
    async fn scan(&self, prefix: &str) -> Result<Box<dyn Scan>, StoreError> {
        Ok(Box::new(ArchiveScan {
            source: self.clone(),
            prefix: prefix.to_owned(),
            after: None,
        }))
    }

    async fn look(&self, key: &ObjectKey) -> Result<Option<Listed>, StoreError> {
        match self.archive.find(&self.bucket, key, None).await {
            Ok(row) if row.kind == VersionKind::Object => Ok(Some(listed(row))),
            Ok(_) | Err(ArchiveError::NotFound { .. }) => Ok(None),
            Err(error) => Err(refused(&error)),
        }
    }

    async fn open(
        &self,
        key: &ObjectKey,
        version: &VersionId,
    ) -> Result<Arc<dyn SourceObject>, StoreError> {
        Ok(Arc::new(self.open_version(key, version).await?))
    }

    async fn tags_of_all(&self, versions: &[(ObjectKey, VersionId)]) -> Vec<TagsTold> {
        let mut told = Vec::with_capacity(versions.len());
        for (key, version) in versions {
            let found = self.archive.find(&self.bucket, key, Some(version)).await;
            let found = found.map(|row| row.facts.tags);
            told.push(found.map_err(|error| refused(&error)));
        }
        told
    }

    fn keeps_versions(&self) -> bool {
        true
    }

    fn ordered(&self) -> Option<&dyn OrderedSource> {
        Some(self)
    }

    fn watch(&self) -> Result<Watch, StoreError> {
        // Nobody who follows asks for this; whoever does not, polls.
        let (sender, hints) = mpsc::channel(1);
        let why = "an archive is followed, and not watched".to_owned();
        let _ = sender.try_send(Hint::Poll(why));
        Ok(Watch { hints })
    }
}

#[async_trait]
impl OrderedSource for ArchiveSource {
    fn committed_to(&self) -> CommittedTo {
        let site = self.archive.core.catalog.site();
        CommittedTo {
            epoch: site.epoch,
            sequence: site.sequence,
        }
    }

    async fn versions(
        &self,
        after: Option<&After>,
        limit: usize,
    ) -> Result<Vec<Ordered>, StoreError> {
        let list = ListVersions {
            bucket: self.bucket.clone(),
            prefix: String::new(),
            all: true,
            after: after.map(|after| VersionCursor {
                key: after.key.clone(),
                version: Some((after.order.clone(), after.version.clone())),
            }),
            limit,
        };
        Ok(self.list(list).await?.into_iter().map(ordered).collect())
    }

    async fn of_names(&self, names: Vec<VersionName>) -> Result<Vec<Ordered>, StoreError> {
        let standing = self.archive.core.catalog.standing(names).await;
        let standing = standing.map_err(|error| refused(&error.into()))?;
        let known = standing.into_iter().filter_map(|standing| match standing {
            Standing::Known(row) => Some(ordered(*row)),
            Standing::Unknown | Standing::Purged => None,
        });
        Ok(known.collect())
    }

    async fn purges(&self, names: Vec<VersionName>) -> Result<Vec<Change>, StoreError> {
        let purges = self.archive.core.purges_of(names).await;
        purges.map_err(|error| refused(&error))
    }

    fn follow(&self) -> mpsc::Receiver<Committed> {
        self.archive.core.followers.add(&self.bucket)
    }
}

/// The latest versions, delete markers left out.
struct ArchiveScan {
    source: ArchiveSource,
    prefix: String,
    after: Option<ObjectKey>,
}

#[async_trait]
impl Scan for ArchiveScan {
    async fn page(&mut self, limit: usize) -> Result<Page, StoreError> {
        let list = ListVersions {
            bucket: self.source.bucket.clone(),
            prefix: self.prefix.clone(),
            all: false,
            after: self
                .after
                .take()
                .map(|key| VersionCursor { key, version: None }),
            limit,
        };
        let rows = self.source.list(list).await?;
        let last = rows.len() < limit;
        self.after = rows.last().map(|row| row.name.key.clone());
        let live = rows
            .into_iter()
            .filter(|row| row.kind == VersionKind::Object);
        Ok(Page {
            objects: live.map(listed).collect(),
            last,
            ..Page::default()
        })
    }
}

/// One version, opened under the local key.
#[derive(Debug)]
struct ArchiveObject {
    reader: Arc<ObjectReader>,
    calls: Calls,
}

#[async_trait]
impl SourceObject for ArchiveObject {
    fn facts(&self) -> &ObjectFacts {
        &self.reader.row().facts
    }

    fn checksum(&self) -> Option<Checksum> {
        let known = self.reader.row().checksum.clone();
        // The only one that senders compute.
        known.filter(|known| known.algorithm() == ChecksumAlgorithm::Crc64Nvme)
    }

    async fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), StoreError> {
        let (reader, wanted) = (self.reader.clone(), bytes.len());
        if offset.saturating_add(wanted as u64) > reader.size() {
            let evidence = format!(
                "{} bytes, of which {wanted} are wanted at {offset}",
                reader.size()
            );
            return Err(StoreError::SourceChanged { evidence });
        }
        if wanted == 0 {
            return Ok(());
        }
        let read = blocking(self.calls, move || open_range(&reader, offset, wanted)).await;
        let read = read.map_err(|error| refused_range(io::Error::other(error)))?;
        let read = read.map_err(|error| refused(&error))?;
        if read.len() != wanted {
            let evidence = format!("{} bytes of {wanted} at {offset}", read.len());
            return Err(StoreError::SourceChanged { evidence });
        }
        bytes.copy_from_slice(&read);
        Ok(())
    }

    /// What is sealed does not change.
    async fn finish(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

fn refused_range(source: io::Error) -> StoreError {
    StoreError::SourceUnavailable {
        path: "archive".to_owned(),
        source,
    }
}

/// Blocks: for a thread that may.
fn open_range(reader: &ObjectReader, offset: u64, wanted: usize) -> crate::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(wanted);
    let mut runs = reader.range(offset..offset.saturating_add(wanted as u64))?;
    while let Some(run) = runs.next_run()? {
        bytes.extend_from_slice(run);
    }
    Ok(bytes)
}
