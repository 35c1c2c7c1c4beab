//! Reading: listings, and objects opened.

use std::{fmt, io, ops::Range, sync::Arc};

use sealift_ledger::{ListVersions, ListedVersion, VersionKind, VersionPage, VersionRow};
use sealift_seal::{Expected, Inspected, Meta, Opened, RangeReader, ReadAt, Section};
use sealift_store::{StoreError, StoreFile, StoreName, StoreObject};
use sealift_terms::{
    AuditKind, AuditRecord, Boxed, BucketName, ObjectKey, PartSize, VersionId, VersionName,
};

use crate::{Archive, ArchiveError, Result, archive::Core, layers::tell_records};

/// A published file as `seal` reads it.
#[derive(Debug, Clone)]
pub(crate) struct StoredObject(pub(crate) Arc<dyn StoreObject>);

impl ReadAt for StoredObject {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.0
            .read_exact_at(bytes, offset)
            .map_err(io::Error::other)
    }
}

/// A staged file as `seal` reads it.
pub(crate) struct StagedBytes<'a>(pub(crate) &'a dyn StoreFile);

impl ReadAt for StagedBytes<'_> {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.0
            .read_exact_at(bytes, offset)
            .map_err(io::Error::other)
    }
}

/// A version, opened: header, footer and META are good and the ones the catalog
/// knows. Its plaintext is opened as it is read; reading blocks.
pub struct ObjectReader {
    row: VersionRow,
    opened: Opened<Section<StoredObject>>,
}

impl fmt::Debug for ObjectReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectReader({})", self.row.name)
    }
}

impl ObjectReader {
    /// What the catalog knows of it.
    #[must_use]
    pub fn row(&self) -> &VersionRow {
        &self.row
    }

    /// What was sealed with it.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        self.opened.meta()
    }

    /// Bytes of plaintext.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.opened.size()
    }

    /// How it is cut.
    #[must_use]
    pub fn part_size(&self) -> PartSize {
        self.opened.header().part_size
    }

    /// Reads a range and hands it to `sink` in runs, in order. Every run is
    /// authentic; after an error what came before is not the whole answer.
    ///
    /// # Errors
    /// [`ArchiveError::Seal`].
    pub fn read_range(
        &self,
        range: Range<u64>,
        sink: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<()> {
        Ok(self.opened.read_range(range, sink)?)
    }

    /// Reads a range run by run.
    ///
    /// # Errors
    /// [`ArchiveError::Seal`] when it is not within the object.
    pub fn range(&self, range: Range<u64>) -> Result<ObjectRange<'_>> {
        Ok(ObjectRange(self.opened.range(range)?))
    }

    /// Opens every chunk.
    ///
    /// # Errors
    /// The first thing found to be wrong.
    pub fn verify(&self) -> Result<()> {
        Ok(self.opened.verify()?)
    }
}

/// A range of an object, read run by run.
#[derive(Debug)]
pub struct ObjectRange<'a>(RangeReader<'a, Section<StoredObject>>);

impl ObjectRange<'_> {
    /// The next run of plaintext, never empty; `None` at the end.
    ///
    /// # Errors
    /// [`ArchiveError::Seal`]; nothing more comes then.
    pub fn next_run(&mut self) -> Result<Option<&[u8]>> {
        Ok(self.0.next_run()?)
    }
}

impl Archive {
    /// Lists versions of a bucket.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn list(&self, list: &ListVersions) -> Result<VersionPage> {
        Ok(self.core.catalog.versions(list).await?)
    }

    /// The same versions, and of each what a listing tells.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn listed(&self, list: &ListVersions) -> Result<VersionPage<ListedVersion>> {
        Ok(self.core.catalog.listed(list).await?)
    }

    /// What the catalog knows of one version, or of the latest one.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`].
    pub async fn find(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        version: Option<&VersionId>,
    ) -> Result<VersionRow> {
        let row = match version {
            None => self.core.catalog.latest(bucket, key).await?,
            Some(version) => {
                let name = VersionName {
                    bucket: bucket.clone(),
                    key: key.clone(),
                    version: version.clone(),
                };
                self.core.catalog.known(&name).await?
            }
        };
        row.ok_or_else(|| ArchiveError::NotFound {
            bucket: bucket.clone(),
            key: key.clone(),
            version: version.map(ToString::to_string),
        })
    }

    /// Opens one version, or the latest one, for `actor`; that goes on record.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`], [`ArchiveError::DeleteMarker`], a key that
    /// cannot be used, or what is wrong with the stored bytes.
    pub fn open_object<'a>(
        &'a self,
        actor: &'a str,
        bucket: &'a BucketName,
        key: &'a ObjectKey,
        version: Option<&'a VersionId>,
    ) -> Boxed<'a, Result<ObjectReader>> {
        Box::pin(async move {
            let row = self.find(bucket, key, version).await?;
            let core = &self.core;
            let record = AuditRecord::new(core.clock.now(), AuditKind::ObjectOpened, actor)
                .with("bucket", bucket)
                .with("key", key)
                .with("version", &row.name.version);
            core.audit.record(tell_records(record, row.records()))?;
            let (name, location) = (row.name.clone(), row.location.clone());
            let opened = core.open_row(row).await;
            if let Err(ArchiveError::Store(StoreError::NoSuchFile { .. })) = &opened
                && let Some(row) = core.catalog.known(&name).await?
                && row.location != location
            {
                // Its pack was compacted since the catalog was asked.
                return core.open_row(row).await;
            }
            opened
        })
    }
}

impl Core {
    /// Opens what a row names. The catalog's uid and records are held against the
    /// header before any key is asked for.
    pub(crate) async fn open_row(&self, row: VersionRow) -> Result<ObjectReader> {
        if row.kind == VersionKind::DeleteMarker {
            return Err(ArchiveError::DeleteMarker(Box::new(row.name)));
        }
        if row.quarantined {
            return Err(ArchiveError::Quarantined(Box::new(row.name)));
        }
        let expected = Expected::version(row.object_uid, row.records(), row.name.clone());
        let inspected = self.inspect(&row.location, &expected).await?;
        let open = self.open_layers(row.records(), &row.name.bucket).await?;
        let opened = inspected.open(open.keys())?;
        Ok(ObjectReader { row, opened })
    }

    pub(crate) async fn inspect(
        &self,
        location: &sealift_ledger::Location,
        expected: &Expected,
    ) -> Result<Inspected<Section<StoredObject>>> {
        let name = StoreName::new(&location.file).map_err(StoreError::from)?;
        let stored = StoredObject(self.store.open(&name).await?);
        let section = Section::new(stored, location.offset, location.length);
        Ok(Inspected::new(section, location.length, expected)?)
    }
}
