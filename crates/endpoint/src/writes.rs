//! The calls of S3 that change one object: put, copied, removed, tagged.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use s3s::{
    S3Error, S3ErrorCode, S3Request, S3Result,
    dto::{
        Checksum, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource,
        DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput,
        DeletedObject, ETag, Error as FailedKey, MetadataDirective, ObjectIdentifier,
        PutObjectInput, PutObjectOutput, TaggingDirective,
    },
};
use sealift_archive::{ArchiveError, ObjectReader, ObjectWriter, Upload};
use sealift_identity::AccessRight;
use sealift_ledger::{VersionKind, VersionRow};
use sealift_terms::{
    AccessKeyId, BucketName, ObjectFacts, ObjectKey, Receipt, VersionId,
    limits::{ENDPOINT_LISTED_MAX, PIECE_BYTES_MAX},
};
use tokio::{
    sync::OwnedMutexGuard,
    task::{JoinHandle, spawn_blocking},
};

use crate::{
    core::{Core, actor},
    errors::{invalid, of_archive},
    facts::{etag_of, s3_time},
    fresh::{hold_wishes, not_implemented, said},
    incoming::{Held, room, take, write},
    purges::{named, was_marker},
    reading::{PIECE_BYTES, bytes_held, open},
    sums::Sums,
    wanted::{Conditions, WriteConditions, of_copied},
};

/// Keys that are removed at once, of many: they become durable together.
const REMOVED_AT_ONCE: usize = 64;

/// Where something is written, and by whom.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) actor: String,
    pub(crate) bucket: BucketName,
    pub(crate) key: ObjectKey,
}

impl Target {
    pub(crate) fn new(core: &Core, id: &AccessKeyId, bucket: &str, key: &str) -> S3Result<Self> {
        Ok(Self {
            actor: actor(id),
            bucket: core.writable(bucket)?,
            key: self::key(key)?,
        })
    }
}

/// A key under which something may be written.
fn key(text: &str) -> S3Result<ObjectKey> {
    let refused = |_| S3Error::from(S3ErrorCode::KeyTooLongError);
    ObjectKey::new(text).map_err(refused)
}

/// The length that a request says of its content.
pub(crate) fn length(said: Option<i64>) -> S3Result<u64> {
    let length = said.and_then(|length| u64::try_from(length).ok());
    let length = length.ok_or_else(|| S3Error::from(S3ErrorCode::MissingContentLength))?;
    match length <= PIECE_BYTES_MAX {
        true => Ok(length),
        false => Err(S3ErrorCode::EntityTooLarge.into()),
    }
}

pub(crate) fn held_of<T>(request: &S3Request<T>) -> Held {
    request
        .extensions
        .get::<Held>()
        .cloned()
        .unwrap_or_default()
}

/// The entity tag of what was stored.
pub(crate) fn etag(receipt: &Receipt) -> ETag {
    etag_of(
        &receipt.name.version,
        receipt.size,
        receipt.checksum.as_ref(),
    )
}

/// What a task came to; one that did not come to its end is a fault of ours.
pub(crate) async fn ended<T>(task: JoinHandle<T>) -> S3Result<T> {
    let lost = |_| S3ErrorCode::InternalError.into();
    task.await.map_err(lost)
}

impl Core {
    /// Commits an object that is whole, if the conditions hold when it is its turn. It goes
    /// on when the application is gone: nobody else may have their turn before it is durable.
    pub(crate) async fn commit(
        self: &Arc<Self>,
        target: &Target,
        upload: Box<Upload>,
        conditions: &WriteConditions,
    ) -> S3Result<Receipt> {
        let (core, target) = (self.clone(), target.clone());
        let conditions = conditions.clone();
        let committing = tokio::spawn(async move {
            let _turn = core.turn(&target, &conditions).await?;
            let committed = core.archive.commit_ordered(upload, None).await;
            committed.map_err(|error| core.not_written(&target, &error))
        });
        ended(committing).await?
    }

    /// Puts a delete marker on a key, in the same way.
    async fn remove(
        self: &Arc<Self>,
        target: Target,
        conditions: WriteConditions,
    ) -> S3Result<Receipt> {
        let core = self.clone();
        let removing = tokio::spawn(async move {
            let _turn = core.turn(&target, &conditions).await?;
            let Target { actor, bucket, key } = &target;
            let put = core.archive.put_delete_marker(actor, bucket, key).await;
            put.map_err(|error| core.not_written(&target, &error))
        });
        ended(removing).await?
    }

    /// Waits for the turn of a write, and holds its conditions then.
    pub(crate) async fn turn(
        &self,
        target: &Target,
        conditions: &WriteConditions,
    ) -> S3Result<Option<OwnedMutexGuard<()>>> {
        let turn = self.locks.of(&target.bucket, &target.key).await;
        self.hold_conditions(target, conditions).await?;
        // It may have been taken back while the content came.
        self.hold_promoted(&target.bucket)?;
        Ok(turn)
    }

    /// Whether a write may go on as things stand.
    pub(crate) async fn hold_conditions(
        &self,
        target: &Target,
        conditions: &WriteConditions,
    ) -> S3Result<()> {
        if conditions.is_none() {
            return Ok(());
        }
        let latest = self.latest(&target.bucket, &target.key).await?;
        conditions.hold(latest.as_ref())
    }

    /// The latest version of a key, where it is an object.
    async fn latest(&self, bucket: &BucketName, key: &ObjectKey) -> S3Result<Option<VersionRow>> {
        match self.archive.find(bucket, key, None).await {
            Ok(row) => Ok(Some(row).filter(|row| row.kind == VersionKind::Object)),
            Err(ArchiveError::NotFound { .. }) => Ok(None),
            Err(error) => Err(of_archive(&error)),
        }
    }

    pub(crate) async fn begin(
        &self,
        target: &Target,
        facts: ObjectFacts,
    ) -> S3Result<ObjectWriter> {
        let begun = self
            .archive
            .begin_put(&target.actor, &target.bucket, &target.key, facts);
        begun
            .await
            .map_err(|error| self.not_written(target, &error))
    }

    /// Why content that came to its end is no object.
    pub(crate) fn not_finished(&self, target: &Target, error: &ArchiveError) -> S3Error {
        match error {
            ArchiveError::PartsMissing { .. } => S3ErrorCode::IncompleteBody.into(),
            error => self.not_written(target, error),
        }
    }

    pub(crate) fn not_written(&self, target: &Target, error: &ArchiveError) -> S3Error {
        let (bucket, key) = (&target.bucket, &target.key);
        let found = sealift_archive::in_words(error);
        tracing::warn!(%bucket, %key, reason = %error.reason(), "not written: {found}");
        of_archive(error)
    }
}

pub(crate) async fn put(
    core: &Arc<Core>,
    id: &AccessKeyId,
    mut request: S3Request<PutObjectInput>,
) -> S3Result<PutObjectOutput> {
    hold_wishes(&request.headers)?;
    let held = held_of(&request);
    let _room = room(core, &request.headers).await?;
    let sums = Sums::of(&request.headers, request.trailing_headers.take())?;
    let input = request.input;
    let target = Target::new(core, id, &input.bucket, &input.key)?;
    let conditions = WriteConditions::new(input.if_match, input.if_none_match)?;
    core.hold_conditions(&target, &conditions).await?;
    let facts = said!(input).facts(length(input.content_length)?)?;
    let mut writer = core.begin(&target, facts).await?;
    let found = take(input.body, &held, &mut writer, sums).await?;
    let upload = finished(core, &target, writer).await?;
    let receipt = core.commit(&target, upload, &conditions).await?;
    core.tally.written(receipt.size);
    Ok(PutObjectOutput {
        checksum_crc32: found.checksum_crc32,
        checksum_crc32c: found.checksum_crc32c,
        checksum_crc64nvme: found.checksum_crc64nvme,
        checksum_sha1: found.checksum_sha1,
        checksum_sha256: found.checksum_sha256,
        e_tag: Some(etag(&receipt)),
        version_id: Some(receipt.name.version.to_string()),
        ..PutObjectOutput::default()
    })
}

/// The upload of content that came to its end.
pub(crate) async fn finished(
    core: &Core,
    target: &Target,
    writer: ObjectWriter,
) -> S3Result<Box<Upload>> {
    let finished = writer.finish().await;
    finished.map_err(|error| core.not_finished(target, &error))
}

/// A version that something is copied from, opened.
pub(crate) struct Copied {
    pub(crate) reader: Arc<ObjectReader>,
}

impl Copied {
    /// Opens what is to be copied, for whoever may read it.
    pub(crate) async fn open(
        core: &Core,
        id: &AccessKeyId,
        source: &CopySource,
        conditions: Conditions,
    ) -> S3Result<Self> {
        let CopySource::Bucket {
            bucket,
            key,
            version_id,
        } = source
        else {
            return Err(not_implemented("access points are not known here"));
        };
        let bucket = core.hold_bucket(bucket).await?;
        core.hold_right(id, "CopyObject", AccessRight::Get, &bucket)?;
        if core.fronts.load().contains_key(&bucket) {
            let told = "what is in front of its source is not copied into a bucket of replicas";
            return Err(not_implemented(told));
        }
        let key = self::key(key)?;
        let version = version_id.as_deref().map(VersionId::new).transpose();
        let version = version.map_err(|_| invalid("a version id of no such form is here"))?;
        let row = core.archive.find(&bucket, &key, version.as_ref()).await;
        let row = row.map_err(|error| of_archive(&error))?;
        if row.kind == VersionKind::DeleteMarker {
            return Err(crate::errors::marker(&row, version.is_some()));
        }
        // What would be left out of an answer is refused here (RFC 9110 has no 304 for it).
        conditions
            .hold(&row)
            .map_err(|_| S3Error::from(S3ErrorCode::PreconditionFailed))?;
        let name = &row.name;
        let opened = core
            .archive
            .open_object(&actor(id), &name.bucket, &name.key, Some(&name.version))
            .await;
        let reader = opened.map_err(|error| core.failed(name, &error))?;
        Ok(Self {
            reader: Arc::new(reader),
        })
    }

    /// Writes a range of it, opened one piece ahead.
    pub(crate) async fn take(
        &self,
        core: &Core,
        range: Range<u64>,
        writer: &mut ObjectWriter,
    ) -> S3Result<()> {
        let _lease = core.lease(bytes_held(&range)).await?;
        let mut rest = range;
        let mut next = self.next(&mut rest);
        while let Some(piece) = next {
            let bytes = ended(piece)
                .await?
                .map_err(|error| core.failed(&self.reader.row().name, &error))?;
            next = self.next(&mut rest);
            write(writer, &bytes).await?;
        }
        Ok(())
    }

    fn next(
        &self,
        rest: &mut Range<u64>,
    ) -> Option<JoinHandle<sealift_archive::Result<bytes::Bytes>>> {
        if rest.is_empty() {
            return None;
        }
        let end = (rest.start / PIECE_BYTES + 1).saturating_mul(PIECE_BYTES);
        let piece = rest.start..end.min(rest.end);
        rest.start = piece.end;
        let reader = self.reader.clone();
        Some(spawn_blocking(move || open(&reader, piece)))
    }
}

pub(crate) async fn copy(
    core: &Arc<Core>,
    id: &AccessKeyId,
    request: S3Request<CopyObjectInput>,
) -> S3Result<CopyObjectOutput> {
    hold_wishes(&request.headers)?;
    if request.headers.contains_key("if-match") || request.headers.contains_key("if-none-match") {
        return Err(not_implemented(
            "a copy has no conditions on what is there before it",
        ));
    }
    let input = request.input;
    let target = Target::new(core, id, &input.bucket, &input.key)?;
    let conditions = of_copied!(input);
    let copied = Copied::open(core, id, &input.copy_source, conditions).await?;
    let row = copied.reader.row();
    let size = row.facts.size;
    if size > PIECE_BYTES_MAX {
        return Err(S3Error::with_message(
            S3ErrorCode::InvalidRequest,
            "what is larger than 5 GiB is copied in parts",
        ));
    }
    let (described, tagged) = (&input.metadata_directive, &input.tagging_directive);
    let says_anew = described.as_ref().map(MetadataDirective::as_str);
    let says_anew = says_anew == Some(MetadataDirective::REPLACE);
    let tags_anew = tagged.as_ref().map(TaggingDirective::as_str);
    let tags_anew = tags_anew == Some(TaggingDirective::REPLACE);
    if !says_anew && !tags_anew {
        hold_apart(&target, row, &input.copy_source)?;
    }
    let said = said!(input).facts(size)?;
    let known = &row.facts;
    let (described, tagged) = (pick(says_anew, &said, known), pick(tags_anew, &said, known));
    let facts = ObjectFacts {
        size,
        content_type: described.content_type.clone(),
        metadata: described.metadata.clone(),
        system: described.system.clone(),
        tags: tagged.tags.clone(),
        ..ObjectFacts::default()
    };
    let mut writer = core.begin(&target, facts).await?;
    copied.take(core, 0..size, &mut writer).await?;
    let upload = finished(core, &target, writer).await?;
    let receipt = core
        .commit(&target, upload, &WriteConditions::default())
        .await?;
    core.tally.written(receipt.size);
    Ok(CopyObjectOutput {
        copy_source_version_id: Some(row.name.version.to_string()),
        version_id: Some(receipt.name.version.to_string()),
        copy_object_result: Some(CopyObjectResult {
            e_tag: Some(etag(&receipt)),
            last_modified: Some(s3_time(receipt.stored_at)),
            ..CopyObjectResult::default()
        }),
        ..CopyObjectOutput::default()
    })
}

/// Refuses to copy the latest version of an object onto itself, where nothing is said anew.
fn hold_apart(target: &Target, row: &VersionRow, source: &CopySource) -> S3Result<()> {
    let is_itself = row.name.bucket == target.bucket && row.name.key == target.key;
    let is_named = matches!(
        source,
        CopySource::Bucket {
            version_id: Some(_),
            ..
        }
    );
    match is_itself && !is_named {
        true => Err(S3Error::with_message(
            S3ErrorCode::InvalidRequest,
            "an object is copied onto itself only with other metadata or tags",
        )),
        false => Ok(()),
    }
}

fn pick<'a>(anew: bool, said: &'a ObjectFacts, known: &'a ObjectFacts) -> &'a ObjectFacts {
    match anew {
        true => said,
        false => known,
    }
}

pub(crate) async fn delete(
    core: &Arc<Core>,
    id: &AccessKeyId,
    request: S3Request<DeleteObjectInput>,
) -> S3Result<DeleteObjectOutput> {
    hold_wishes(&request.headers)?;
    let input = request.input;
    if input.if_match_last_modified_time.is_some() || input.if_match_size.is_some() {
        return Err(not_implemented(
            "of conditions on a removal, If-Match alone is taken here",
        ));
    }
    let target = Target::new(core, id, &input.bucket, &input.key)?;
    let conditions = WriteConditions::new(input.if_match, None)?;
    if let Some(version) = named(input.version_id.as_deref()) {
        let purged = core.purge(id, target, version, conditions).await?;
        return Ok(DeleteObjectOutput {
            delete_marker: was_marker(purged.as_ref()),
            version_id: Some(version.to_owned()),
            ..DeleteObjectOutput::default()
        });
    }
    let receipt = core.remove(target, conditions).await?;
    Ok(DeleteObjectOutput {
        delete_marker: Some(true),
        version_id: Some(receipt.name.version.to_string()),
        ..DeleteObjectOutput::default()
    })
}

pub(crate) async fn delete_all(
    core: &Arc<Core>,
    id: &AccessKeyId,
    request: S3Request<DeleteObjectsInput>,
) -> S3Result<DeleteObjectsOutput> {
    hold_wishes(&request.headers)?;
    let input = request.input;
    let objects = input.delete.objects;
    if objects.len() > ENDPOINT_LISTED_MAX {
        return Err(S3ErrorCode::MalformedXML.into());
    }
    core.writable(&input.bucket)?;
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for some in objects.chunks(REMOVED_AT_ONCE) {
        let removing = some.iter().map(|object| {
            let (core, id) = (core.clone(), id.clone());
            let (bucket, object) = (input.bucket.clone(), object.clone());
            tokio::spawn(async move { delete_one(&core, &id, &bucket, &object).await })
        });
        let removing: Vec<_> = removing.collect();
        for (object, removed) in some.iter().zip(removing) {
            let lost = |_| Err(S3ErrorCode::InternalError.into());
            match removed.await.unwrap_or_else(lost) {
                Ok(gone) => deleted.push(gone),
                Err(error) => errors.push(FailedKey {
                    code: Some(error.code().as_str().to_owned()),
                    key: Some(object.key.clone()),
                    message: error.message().map(ToOwned::to_owned),
                    version_id: object.version_id.clone(),
                }),
            }
        }
    }
    let is_quiet = input.delete.quiet.unwrap_or(false);
    Ok(DeleteObjectsOutput {
        deleted: (!is_quiet).then_some(deleted),
        errors: (!errors.is_empty()).then_some(errors),
        ..DeleteObjectsOutput::default()
    })
}

async fn delete_one(
    core: &Arc<Core>,
    id: &AccessKeyId,
    bucket: &str,
    object: &ObjectIdentifier,
) -> S3Result<DeletedObject> {
    if object.last_modified_time.is_some() || object.size.is_some() || object.e_tag.is_some() {
        return Err(not_implemented(
            "conditions on one of many removals are not taken here",
        ));
    }
    let target = Target::new(core, id, bucket, &object.key)?;
    if let Some(version) = named(object.version_id.as_deref()) {
        let none = WriteConditions::default();
        let purged = core.purge(id, target, version, none).await?;
        let is_marker = was_marker(purged.as_ref());
        return Ok(DeletedObject {
            delete_marker: is_marker,
            delete_marker_version_id: is_marker.map(|_| version.to_owned()),
            key: Some(object.key.clone()),
            version_id: Some(version.to_owned()),
        });
    }
    let receipt = core.remove(target, WriteConditions::default()).await?;
    Ok(DeletedObject {
        delete_marker: Some(true),
        delete_marker_version_id: Some(receipt.name.version.to_string()),
        key: Some(object.key.clone()),
        ..DeletedObject::default()
    })
}

/// Gives a version these tags; the version.
pub(crate) async fn tag(
    core: &Core,
    target: &Target,
    row: &VersionRow,
    tags: BTreeMap<String, String>,
) -> S3Result<String> {
    core.hold_promoted(&target.bucket)?;
    let put = core.archive.put_tags(&target.actor, row, tags).await;
    put.map_err(|error| core.not_written(target, &error))?;
    Ok(row.name.version.to_string())
}

/// Whether a checksum was found that a piece keeps.
pub(crate) fn kept_sums(found: &Checksum) -> BTreeMap<String, String> {
    let kinds = crate::sums::Kind::ALL.into_iter();
    let kept =
        kinds.filter_map(|kind| Some((kind.word().to_owned(), kind.of_sums(found)?.clone())));
    kept.collect()
}
