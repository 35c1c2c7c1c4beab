//! `batch adopt`: plaintext that was found becomes sealed versions of a bucket.
//!
//! ```text
//!   file ─▶ sealed as it is read ─▶ durable ─▶ opened again, beside the file read again:
//!                                              the same, byte by byte ─▶ may the file go
//! ```
//!
//! A file's version id is made from what the file system says of it, as a directory source's is:
//! a batch that was broken off finds what it has done.

use std::{error::Error as StdError, io, sync::Arc};

use sealift_archive::{ArchiveError, ObjectReader};
use sealift_ledger::{VersionKind, VersionRow};
use sealift_store::{DirectorySource, Listed, Skipped, Source, SourceObject, StoreError};
use sealift_terms::{AuditKind, AuditRecord, Checksum, ObjectKey, Reason, VersionId, VersionName};
use sealift_wire::checksum::Crc64;

use super::{PAGE_ROWS, SiteOperations, failing::in_words};
use crate::{
    Error,
    admin::{Actor, Adopt, AdoptAct, AdoptFiles, AdoptResult, AdoptRow, Answer},
    site::plaintext,
};

/// Plaintext that is held at once.
const PIECE_BYTES: u64 = 1 << 20;
/// What one comparison may hold: a piece of the file and one of what is sealed.
const COMPARING_BYTES: usize = 4 << 20;
/// What sealed objects, and packs, begin with.
const SEALED: [&[u8; 8]; 2] = [b"\x89SLF\r\n\x1a\n", b"\x89SLP\r\n\x1a\n"];

/// A batch of one directory.
struct Finds<'a> {
    operations: &'a SiteOperations,
    source: DirectorySource,
    place: plaintext::Place,
    adopt: &'a Adopt,
    actor: &'a Actor,
}

/// A file that may be adopted.
struct Seen {
    listed: Listed,
    /// The version that it is to be.
    name: VersionName,
    object: Arc<dyn SourceObject>,
    /// Whether that version is here already.
    is_here: bool,
}

/// Why a file is not adopted.
struct Refused {
    reason: Reason,
    evidence: String,
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self {
            reason: error.reason(),
            evidence: in_words(&error),
        }
    }
}

impl From<ArchiveError> for Refused {
    fn from(error: ArchiveError) -> Self {
        Self {
            reason: error.reason(),
            evidence: in_words(&error),
        }
    }
}

fn refused<T>(reason: Reason, evidence: impl Into<String>) -> Result<T, Refused> {
    let evidence = evidence.into();
    Err(Refused { reason, evidence })
}

/// Whether the operating system does not let it be read.
fn is_denied(error: &StoreError) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        let of_system = error.downcast_ref::<io::Error>();
        if of_system.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
            return true;
        }
        cause = error.source();
    }
    false
}

impl SiteOperations {
    pub(super) async fn adopt(
        &self,
        adopt: Adopt,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        let config = self.site.current();
        if !config
            .buckets
            .iter()
            .any(|known| known.name == adopt.bucket)
        {
            return Err(Error::NotFound {
                what: format!("bucket {} at this site", adopt.bucket),
            });
        }
        let place = plaintext::hold(&config, &adopt.from)?;
        let finds = Finds {
            operations: self,
            source: DirectorySource::awaited(&adopt.from, Arc::clone(&self.site.world.clock)),
            place,
            adopt: &adopt,
            actor,
        };
        match &adopt.act {
            AdoptAct::List => finds.list(answer).await,
            AdoptAct::Plan(files) => {
                for file in &files.files {
                    answer.row(&finds.plan(file, files).await).await?;
                }
                Ok(())
            }
            AdoptAct::Seal(files) => {
                if files.remove {
                    plaintext::hold_removal(&config, &adopt.from)?;
                }
                self.audit_durable().await?;
                let details = [
                    ("bucket", adopt.bucket.to_string()),
                    ("from", adopt.from.display().to_string()),
                    ("files", files.files.len().to_string()),
                    ("remove", files.remove.to_string()),
                ];
                self.record(actor, "batch adopt", &details)?;
                for file in &files.files {
                    answer.row(&finds.seal(file, files).await).await?;
                }
                Ok(())
            }
        }
    }
}

impl Finds<'_> {
    async fn list(&self, answer: &Answer) -> Result<(), Error> {
        let unreadable = |error: StoreError| self.unreadable(&error);
        let mut scan = self.source.scan("").await.map_err(unreadable)?;
        loop {
            let page = scan.page(PAGE_ROWS).await.map_err(unreadable)?;
            for listed in page.objects {
                if self.place.is_of_store(listed.key.as_str()) {
                    continue;
                }
                answer.row(&self.found(&listed)).await?;
            }
            for skipped in page.skipped {
                if !self.place.is_of_store(&skipped.name) {
                    answer.row(&self.left_out(skipped)).await?;
                }
            }
            if page.last {
                return Ok(());
            }
        }
    }

    /// A running agent has given up all other files, whoever may read them otherwise.
    fn unreadable(&self, error: &StoreError) -> Error {
        let found = in_words(error);
        if self.operations.live.is_some() && is_denied(error) {
            return Error::Request {
                what: "--from",
                found: format!(
                    "{found}: a running agent reads its data directory and its sources alone"
                ),
                allowed: "a folder of DATA_DIR/store, or any directory once the agent is stopped"
                    .to_owned(),
            };
        }
        Error::TryAgain {
            what: found,
            reason: Some(error.reason()),
        }
    }

    fn row(&self, file: &str, result: AdoptResult) -> AdoptRow {
        AdoptRow {
            bucket: self.adopt.bucket.clone(),
            key: format!("{}{file}", self.adopt.prefix),
            version: None,
            file: file.to_owned(),
            result,
            size: 0,
            removed: false,
            object_uid: None,
            record: None,
            own_records: 0,
            reason: None,
            evidence: None,
        }
    }

    fn found(&self, listed: &Listed) -> AdoptRow {
        AdoptRow {
            version: Some(listed.version.clone()),
            size: listed.facts.size,
            ..self.row(listed.key.as_str(), AdoptResult::Found)
        }
    }

    /// What is no object stays where it is, and is named.
    fn left_out(&self, skipped: Skipped) -> AdoptRow {
        AdoptRow {
            reason: Some(skipped.reason),
            evidence: Some(skipped.evidence),
            ..self.row(&skipped.name, AdoptResult::Failed)
        }
    }

    fn failed(&self, file: &ObjectKey, why: Refused) -> AdoptRow {
        AdoptRow {
            reason: Some(why.reason),
            evidence: Some(why.evidence),
            ..self.row(file.as_str(), AdoptResult::Failed)
        }
    }

    async fn plan(&self, file: &ObjectKey, files: &AdoptFiles) -> AdoptRow {
        match self.look(file, files).await {
            Ok(Seen { listed, name, .. }) => {
                let config = self.operations.site.current();
                let mut buckets = config.buckets.iter();
                let bucket = buckets.find(|known| known.name == name.bucket);
                let own = bucket.filter(|bucket| !bucket.bucket_keys);
                AdoptRow {
                    result: AdoptResult::Planned,
                    own_records: own.map_or(0, |bucket| bucket.keys().count() as u64),
                    ..self.found(&listed)
                }
            }
            Err(why) => self.failed(file, why),
        }
    }

    /// Looks at a file, and at what there is of its key.
    async fn look(&self, file: &ObjectKey, files: &AdoptFiles) -> Result<Seen, Refused> {
        if self.place.is_of_store(file.as_str()) {
            return refused(Reason::PolicyDenied, "it is one of the store's own files");
        }
        let Some(listed) = self.source.look(file).await? else {
            return refused(Reason::SrcObjectGone, "there is no such file");
        };
        let key = ObjectKey::new(format!("{}{file}", self.adopt.prefix));
        let key = key.map_err(StoreError::from)?;
        let name = VersionName {
            bucket: self.adopt.bucket.clone(),
            key,
            version: listed.version.clone(),
        };
        let archive = &self.operations.site.archive;
        let find = async |version: Option<&VersionId>| match archive
            .find(&name.bucket, &name.key, version)
            .await
        {
            Ok(row) => Ok(Some(row)),
            Err(ArchiveError::NotFound { .. }) => Ok(None),
            Err(error) => Err(Refused::from(error)),
        };
        let here = find(Some(&name.version)).await?;
        let latest = find(None).await?;
        let is_other = latest.is_some_and(|row| row.kind == VersionKind::Object);
        if here.is_none() && is_other && !files.over_existing {
            let evidence =
                "the key is there already; with --over-existing it becomes its latest version";
            return refused(Reason::PolicyDenied, evidence);
        }
        let object = self.source.open(file, &listed.version).await?;
        hold_plain(&*object).await?;
        Ok(Seen {
            listed,
            name,
            object,
            is_here: here.is_some(),
        })
    }

    async fn seal(&self, file: &ObjectKey, files: &AdoptFiles) -> AdoptRow {
        match self.sealed(file, files).await {
            Ok(row) => row,
            Err(why) => self.failed(file, why),
        }
    }

    async fn sealed(&self, file: &ObjectKey, files: &AdoptFiles) -> Result<AdoptRow, Refused> {
        let Seen {
            listed,
            name,
            object,
            is_here,
        } = self.look(file, files).await?;
        if !is_here {
            self.seal_anew(&*object, &name).await?;
        }
        // Whoever sealed it: what counts is what is read back.
        let row = self.read_back(&object, &name).await?;
        let mut told = AdoptRow {
            object_uid: Some(row.object_uid),
            record: Some(row.record),
            result: AdoptResult::Adopted,
            ..self.found(&listed)
        };
        if files.remove {
            drop(object);
            // It stays sealed whatever becomes of the file.
            match self.remove(file, &name).await {
                Ok(()) => told.removed = true,
                Err(why) => {
                    let evidence = format!("sealed, and the file is not removed: {}", why.evidence);
                    return refused(why.reason, evidence);
                }
            }
        }
        Ok(told)
    }

    async fn seal_anew(
        &self,
        object: &dyn SourceObject,
        name: &VersionName,
    ) -> Result<(), Refused> {
        let (archive, facts) = (&self.operations.site.archive, object.facts().clone());
        let size = facts.size;
        let actor = self.actor.to_string();
        let writer = archive.begin_adopted(&actor, name.clone(), facts).await;
        let (mut writer, mut crc, mut at) = (writer?, Crc64::new(), 0);
        while at < size {
            let mut bytes = vec![0; (size - at).min(PIECE_BYTES) as usize];
            object.read_exact_at(&mut bytes, at).await?;
            crc.update(&bytes);
            writer.write(&bytes).await?;
            at += bytes.len() as u64;
        }
        object.finish().await?;
        let upload = writer.finish().await?;
        let checksum = Checksum::crc64nvme(crc.value());
        archive.commit_adopted(upload, checksum).await?;
        Ok(())
    }

    /// Opens what is sealed and compares it with the file, both read now.
    async fn read_back(
        &self,
        object: &Arc<dyn SourceObject>,
        name: &VersionName,
    ) -> Result<VersionRow, Refused> {
        let site = &self.operations.site;
        let _lease = site.budget.take(COMPARING_BYTES).await;
        let (actor, version) = (self.actor.to_string(), Some(&name.version));
        let opened = site
            .archive
            .open_object(&actor, &name.bucket, &name.key, version);
        let reader = Arc::new(opened.await?);
        let size = reader.size();
        let differs = || {
            let evidence = "what is sealed under its version id is not what the file holds";
            refused(Reason::ChecksumMismatch, evidence)
        };
        if object.facts().size != size {
            return differs();
        }
        let mut at = 0;
        while at < size {
            let end = size.min(at + PIECE_BYTES);
            let mut bytes = vec![0; (end - at) as usize];
            object.read_exact_at(&mut bytes, at).await?;
            if opened_range(reader.clone(), at, end).await? != bytes {
                return differs();
            }
            at = end;
        }
        object.finish().await?;
        Ok(reader.row().clone())
    }

    async fn remove(&self, file: &ObjectKey, name: &VersionName) -> Result<(), Refused> {
        self.source.remove(file, &name.version).await?;
        let site = &self.operations.site;
        let record = AuditRecord::new(
            site.world.clock.now(),
            AuditKind::PlaintextRemoved,
            self.actor.to_string(),
        )
        .with("bucket", &name.bucket)
        .with("key", &name.key)
        .with("version", &name.version)
        .with("file", self.adopt.from.join(file.as_str()).display());
        site.record(record).map_err(|error| Refused {
            reason: Reason::AuditUnavailable,
            evidence: in_words(&error),
        })
    }
}

/// Refuses what is sealed already.
async fn hold_plain(object: &dyn SourceObject) -> Result<(), Refused> {
    let mut head = vec![0; object.facts().size.min(8) as usize];
    object.read_exact_at(&mut head, 0).await?;
    if SEALED.iter().any(|magic| head == *magic) {
        let evidence = "it begins as a sealed object or a pack does: it is no plaintext";
        return refused(Reason::SkippedUnreadable, evidence);
    }
    Ok(())
}

/// Opens a range, on a thread that may block.
async fn opened_range(reader: Arc<ObjectReader>, from: u64, to: u64) -> Result<Vec<u8>, Refused> {
    let opened = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::with_capacity((to - from) as usize);
        let read = reader.read_range(from..to, |run| {
            bytes.extend_from_slice(run);
            Ok(())
        });
        read.map(|()| bytes)
    });
    match opened.await {
        Ok(opened) => Ok(opened?),
        Err(error) => refused(Reason::DstStoreUnavailable, error.to_string()),
    }
}
