//! The calls of S3 for objects that come in parts.

use std::{collections::BTreeMap, sync::Arc};

use s3s::{
    S3Error, S3ErrorCode, S3Request, S3Result,
    dto::{
        AbortMultipartUploadInput, ChecksumType, CompleteMultipartUploadInput,
        CompleteMultipartUploadOutput, CompletedPart, CopyPartResult, CreateMultipartUploadInput,
        CreateMultipartUploadOutput, ETag, ListMultipartUploadsInput, ListMultipartUploadsOutput,
        ListPartsInput, ListPartsOutput, MultipartUpload, Part, Range as S3Range, StorageClass,
        UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
    },
};
use sealift_archive::{Assembly, NewPiece, Piece};
use sealift_terms::{
    AccessKeyId, ObjectKey, ObjectUid, Receipt,
    limits::{ENDPOINT_LISTED_MAX, OBJECT_BYTES_MAX, PIECE_BYTES_MIN, PIECE_NUMBER_MAX},
};
use tokio::{sync::mpsc, task::spawn_blocking};

use crate::{
    core::Core,
    errors::{invalid, of_archive},
    facts::{s3_size, s3_time},
    fresh::{hold_wishes, not_implemented, said},
    incoming::{room, take, write},
    reading::{PIECE_BYTES, bytes_held},
    sums::{Kind, Sums},
    wanted::{WriteConditions, of_copied, range},
    writes::{Copied, Target, ended, etag, finished, held_of, kept_sums, length},
};

/// What an assembly remembers: the kind of checksums that its parts have.
const ALGORITHM: &str = "algorithm";

/// The entity tag of a part: of its sealing, as it is no MD5 either.
fn part_etag(uid: ObjectUid) -> ETag {
    ETag::Strong(format!("sealift-{uid}"))
}

fn no_such_upload() -> S3Error {
    S3ErrorCode::NoSuchUpload.into()
}

fn of_id(text: &str) -> S3Result<ObjectUid> {
    text.parse().map_err(|_| no_such_upload())
}

fn number_of(number: i32) -> S3Result<u32> {
    let number = u32::try_from(number).ok();
    let number = number.filter(|number| (1..=PIECE_NUMBER_MAX).contains(number));
    number.ok_or_else(|| invalid("parts have numbers from 1 to 10,000"))
}

impl Core {
    async fn assembly(&self, target: &Target, id: &str) -> S3Result<Assembly> {
        let id = of_id(id)?;
        let found = self.archive.assembly(&target.bucket, &target.key, id).await;
        let found = found.map_err(|error| of_archive(&error))?;
        found.ok_or_else(no_such_upload)
    }
}

pub(crate) async fn create(
    core: &Core,
    id: &AccessKeyId,
    request: S3Request<CreateMultipartUploadInput>,
) -> S3Result<CreateMultipartUploadOutput> {
    hold_wishes(&request.headers)?;
    let input = request.input;
    let target = Target::new(core, id, &input.bucket, &input.key)?;
    let facts = said!(input).facts(0)?;
    let algorithm = input.checksum_algorithm.as_ref();
    let kind = algorithm.map(|word| Kind::of(word.as_str()));
    let kind = kind.map(|kind| kind.ok_or_else(|| invalid("no such checksum is known here")));
    let wishes = match kind.transpose()? {
        Some(kind) => BTreeMap::from([(ALGORITHM.to_owned(), kind.word().to_owned())]),
        None => BTreeMap::new(),
    };
    let begun =
        core.archive
            .begin_assembly(&target.actor, &target.bucket, &target.key, facts, wishes);
    let begun = begun
        .await
        .map_err(|error| core.not_written(&target, &error))?;
    Ok(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        checksum_algorithm: input.checksum_algorithm,
        checksum_type: input.checksum_type,
        upload_id: Some(begun.id.to_string()),
        ..CreateMultipartUploadOutput::default()
    })
}

async fn begin_part(
    core: &Core,
    target: &Target,
    assembly: &Assembly,
    number: i32,
    size: u64,
) -> S3Result<NewPiece> {
    let begun = core.archive.begin_piece(assembly, number_of(number)?, size);
    begun
        .await
        .map_err(|error| core.not_written(target, &error))
}

pub(crate) async fn upload(
    core: &Core,
    id: &AccessKeyId,
    mut request: S3Request<UploadPartInput>,
) -> S3Result<UploadPartOutput> {
    hold_wishes(&request.headers)?;
    let held = held_of(&request);
    let _room = room(core, &request.headers).await?;
    let mut sums = Sums::of(&request.headers, request.trailing_headers.take())?;
    let input = request.input;
    let target = Target::new(core, id, &input.bucket, &input.key)?;
    let assembly = core.assembly(&target, &input.upload_id).await?;
    let algorithm = assembly.wishes.get(ALGORITHM);
    if let Some(kind) = algorithm.and_then(|word| Kind::of(word)) {
        sums.count(kind);
    }
    let size = length(input.content_length)?;
    let mut piece = begin_part(core, &target, &assembly, input.part_number, size).await?;
    let found = take(input.body, &held, &mut piece.writer, sums).await?;
    let kept = core.archive.keep_piece(piece, kept_sums(&found)).await;
    let kept = kept.map_err(|error| core.not_finished(&target, &error))?;
    core.tally.written(kept.size);
    Ok(UploadPartOutput {
        checksum_crc32: found.checksum_crc32,
        checksum_crc32c: found.checksum_crc32c,
        checksum_crc64nvme: found.checksum_crc64nvme,
        checksum_sha1: found.checksum_sha1,
        checksum_sha256: found.checksum_sha256,
        e_tag: Some(part_etag(kept.uid)),
        ..UploadPartOutput::default()
    })
}

pub(crate) async fn copy_part(
    core: &Core,
    id: &AccessKeyId,
    request: S3Request<UploadPartCopyInput>,
) -> S3Result<UploadPartCopyOutput> {
    hold_wishes(&request.headers)?;
    let input = request.input;
    let target = Target::new(core, id, &input.bucket, &input.key)?;
    let assembly = core.assembly(&target, &input.upload_id).await?;
    let conditions = of_copied!(input);
    let copied = Copied::open(core, id, &input.copy_source, conditions).await?;
    let size = copied.reader.size();
    let wanted = input.copy_source_range.as_deref().map(S3Range::parse);
    let wanted = wanted
        .transpose()
        .map_err(|_| invalid("no range of bytes"))?;
    let bytes = range(wanted, None, size)?.unwrap_or(0..size);
    let len = length(Some(s3_size(bytes.end - bytes.start)))?;
    let mut piece = begin_part(core, &target, &assembly, input.part_number, len).await?;
    copied.take(core, bytes, &mut piece.writer).await?;
    let kept = core.archive.keep_piece(piece, BTreeMap::new()).await;
    let kept = kept.map_err(|error| core.not_written(&target, &error))?;
    core.tally.written(kept.size);
    Ok(UploadPartCopyOutput {
        copy_source_version_id: Some(copied.reader.row().name.version.to_string()),
        copy_part_result: Some(CopyPartResult {
            e_tag: Some(part_etag(kept.uid)),
            last_modified: Some(s3_time(kept.came_at)),
            ..CopyPartResult::default()
        }),
        ..UploadPartCopyOutput::default()
    })
}

pub(crate) async fn abort(
    core: &Core,
    id: &AccessKeyId,
    input: AbortMultipartUploadInput,
) -> S3Result<()> {
    let target = Target::new(core, id, &input.bucket, &input.key)?;
    let assembly = core.assembly(&target, &input.upload_id).await?;
    let ended = core.archive.end_assembly(&assembly).await;
    ended.map_err(|error| core.not_written(&target, &error))
}

/// What is to be put together, held against what is here.
struct Complete {
    target: Target,
    assembly: Assembly,
    pieces: Vec<Piece>,
    size: u64,
    conditions: WriteConditions,
    /// Checksums of the whole that are to be held.
    sums: Sums,
}

pub(crate) async fn complete(
    core: &Arc<Core>,
    id: &AccessKeyId,
    request: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<CompleteMultipartUploadOutput> {
    hold_wishes(&request.headers)?;
    let is_composite = request.input.checksum_type.as_ref();
    let is_composite = is_composite.is_some_and(|is| is.as_str() == ChecksumType::COMPOSITE);
    let sums = match is_composite {
        // Every part was held to its own already.
        true => Sums::default(),
        false => Sums::of(&request.headers, None)?,
    };
    let input = request.input;
    let target = Target::new(core, id, &input.bucket, &input.key)?;
    let conditions = WriteConditions::new(input.if_match, input.if_none_match)?;
    core.hold_conditions(&target, &conditions).await?;
    let assembly = core.assembly(&target, &input.upload_id).await?;
    let listed = input.multipart_upload.and_then(|upload| upload.parts);
    let pieces = chosen(core, &assembly, listed.unwrap_or_default()).await?;
    let size = pieces.iter().map(|piece| piece.size).sum();
    let announced = input
        .mpu_object_size
        .and_then(|size| u64::try_from(size).ok());
    if size > OBJECT_BYTES_MAX || announced.is_some_and(|announced| announced != size) {
        return Err(S3ErrorCode::InvalidRequest.into());
    }
    let complete = Complete {
        target,
        assembly,
        pieces,
        size,
        conditions,
        sums,
    };
    let (bucket, key, core) = (input.bucket, input.key, core.clone());
    // It takes as long as the object is large: the application is kept company meanwhile.
    let put_together = async move {
        let receipt = put_together(&core, complete).await?;
        Ok(CompleteMultipartUploadOutput {
            bucket: Some(bucket.clone()),
            key: Some(key.clone()),
            location: Some(format!("/{bucket}/{key}")),
            e_tag: Some(etag(&receipt)),
            version_id: Some(receipt.name.version.to_string()),
            ..CompleteMultipartUploadOutput::default()
        })
    };
    Ok(CompleteMultipartUploadOutput {
        future: Some(Box::pin(put_together)),
        ..CompleteMultipartUploadOutput::default()
    })
}

/// The pieces that a list names, in its sequence.
async fn chosen(
    core: &Core,
    assembly: &Assembly,
    listed: Vec<CompletedPart>,
) -> S3Result<Vec<Piece>> {
    if listed.is_empty() {
        return Err(S3ErrorCode::MalformedXML.into());
    }
    let most = PIECE_NUMBER_MAX as usize;
    let here = core.archive.pieces(assembly.id, 0, most).await;
    let here = here.map_err(|error| of_archive(&error))?;
    let mut here: BTreeMap<u32, Piece> = here.into_iter().map(|it| (it.number, it)).collect();
    // Told before anything else is wrong with them, as S3 does.
    let numbers = || listed.iter().map(|part| part.part_number);
    if numbers()
        .zip(numbers().skip(1))
        .any(|(one, next)| one >= next)
    {
        return Err(S3ErrorCode::InvalidPartOrder.into());
    }
    let mut pieces = Vec::with_capacity(listed.len());
    let last = listed.len() - 1;
    for (at, part) in listed.into_iter().enumerate() {
        let number = number_of(part.part_number.unwrap_or(0))?;
        let piece = here.remove(&number);
        let piece = piece.filter(|piece| is_meant(piece, &part));
        let piece = piece.ok_or_else(|| S3Error::from(S3ErrorCode::InvalidPart))?;
        if at < last && piece.size < PIECE_BYTES_MIN {
            return Err(S3ErrorCode::EntityTooSmall.into());
        }
        pieces.push(piece);
    }
    Ok(pieces)
}

/// Whether a piece is the one that a list names: by its entity tag, and its checksums where
/// the list has some.
fn is_meant(piece: &Piece, part: &CompletedPart) -> bool {
    let tag = part.e_tag.as_ref().map(ETag::value);
    let own = part_etag(piece.uid);
    let said = [
        (Kind::Crc32, &part.checksum_crc32),
        (Kind::Crc32c, &part.checksum_crc32c),
        (Kind::Crc64Nvme, &part.checksum_crc64nvme),
        (Kind::Sha1, &part.checksum_sha1),
        (Kind::Sha256, &part.checksum_sha256),
    ];
    let mut said = said
        .into_iter()
        .filter_map(|(kind, said)| Some((kind, said.as_ref()?)));
    tag == Some(own.value()) && said.all(|(kind, said)| piece.facts.get(kind.word()) == Some(said))
}

async fn put_together(core: &Arc<Core>, complete: Complete) -> S3Result<Receipt> {
    let Complete {
        target,
        assembly,
        pieces,
        size,
        conditions,
        mut sums,
    } = complete;
    let mut facts = assembly.facts.clone();
    facts.size = size;
    let mut writer = core.begin(&target, facts).await?;
    for piece in &pieces {
        let opened = core.archive.open_piece(&assembly, piece).await;
        let reader = opened.map_err(|error| core.not_written(&target, &error))?;
        let _lease = core.lease(bytes_held(&(0..piece.size))).await?;
        let (runs, mut taken) = mpsc::channel::<Vec<u8>>(1);
        let reading = spawn_blocking(move || {
            let mut held = Vec::new();
            let send = |bytes: Vec<u8>| {
                let gone = |_| std::io::Error::other("nobody takes it");
                runs.blocking_send(bytes).map_err(gone)
            };
            reader.read(|run| {
                held.extend_from_slice(run);
                match held.len() as u64 >= PIECE_BYTES {
                    true => send(std::mem::take(&mut held)),
                    false => Ok(()),
                }
            })?;
            // If nobody takes it, nobody is told.
            let _ = send(held);
            Ok(())
        });
        while let Some(bytes) = taken.recv().await {
            sums.update(&bytes);
            write(&mut writer, &bytes).await?;
        }
        let read: sealift_archive::Result<()> = ended(reading).await?;
        read.map_err(|error| core.not_written(&target, &error))?;
    }
    sums.hold()?;
    let upload = finished(core, &target, writer).await?;
    let receipt = core.commit(&target, upload, &conditions).await?;
    if let Err(error) = core.archive.end_assembly(&assembly).await {
        // The object is there. What is left goes in its time.
        tracing::warn!(id = %assembly.id, %error, "parts of an object that is whole were not removed");
    }
    Ok(receipt)
}

pub(crate) async fn parts(
    core: &Core,
    id: &AccessKeyId,
    input: ListPartsInput,
) -> S3Result<ListPartsOutput> {
    let target = Target::new(core, id, &input.bucket, &input.key)?;
    let assembly = core.assembly(&target, &input.upload_id).await?;
    let limit = most(input.max_parts)?;
    let above = input.part_number_marker.unwrap_or(0);
    let after = u32::try_from(above).map_err(|_| invalid("no part number"))?;
    let found = core.archive.pieces(assembly.id, after, limit + 1).await;
    let mut found = found.map_err(|error| of_archive(&error))?;
    let is_truncated = found.len() > limit;
    found.truncate(limit);
    let last = found.last().map_or(above, number);
    let part = |piece: &Piece| Part {
        checksum_crc32: piece.facts.get(Kind::Crc32.word()).cloned(),
        checksum_crc32c: piece.facts.get(Kind::Crc32c.word()).cloned(),
        checksum_crc64nvme: piece.facts.get(Kind::Crc64Nvme.word()).cloned(),
        checksum_sha1: piece.facts.get(Kind::Sha1.word()).cloned(),
        checksum_sha256: piece.facts.get(Kind::Sha256.word()).cloned(),
        e_tag: Some(part_etag(piece.uid)),
        last_modified: Some(s3_time(piece.came_at)),
        part_number: Some(number(piece)),
        size: Some(s3_size(piece.size)),
    };
    Ok(ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        is_truncated: Some(is_truncated),
        max_parts: Some(i32::try_from(limit).unwrap_or(i32::MAX)),
        part_number_marker: Some(above),
        next_part_number_marker: Some(last),
        parts: Some(found.iter().map(part).collect()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        ..ListPartsOutput::default()
    })
}

fn number(piece: &Piece) -> i32 {
    i32::try_from(piece.number).unwrap_or(i32::MAX)
}

/// How many are listed at once.
fn most(wanted: Option<i32>) -> S3Result<usize> {
    let wanted = usize::try_from(wanted.unwrap_or(i32::MAX)).ok();
    let wanted = wanted.ok_or_else(|| invalid("less than none cannot be listed"))?;
    Ok(wanted.min(ENDPOINT_LISTED_MAX))
}

pub(crate) async fn uploads(
    core: &Core,
    input: ListMultipartUploadsInput,
) -> S3Result<ListMultipartUploadsOutput> {
    let bucket = core.hold_bucket(&input.bucket).await?;
    if input.delimiter.is_some() || input.encoding_type.is_some() {
        return Err(not_implemented(
            "unfinished uploads are listed one by one, and as they are",
        ));
    }
    let limit = most(input.max_uploads)?;
    let marker = input.key_marker.as_deref().filter(|key| !key.is_empty());
    let marker = marker.map(ObjectKey::new).transpose();
    let marker = marker.map_err(|_| invalid("no key"))?;
    let id = input.upload_id_marker.as_deref().map(of_id).transpose()?;
    let prefix = input.prefix.clone().unwrap_or_default();
    // There are never more than a page holds.
    let after = marker.as_ref().map(|key| (key, id));
    let found = core
        .archive
        .assemblies(&bucket, after, ENDPOINT_LISTED_MAX + 1);
    let found = found.await.map_err(|error| of_archive(&error))?;
    let mut found: Vec<Assembly> = found
        .into_iter()
        .filter(|assembly| assembly.key.as_str().starts_with(&prefix))
        .collect();
    let is_truncated = found.len() > limit;
    found.truncate(limit);
    let last = found.last();
    let uploads = found.iter().map(|assembly| MultipartUpload {
        initiated: Some(s3_time(assembly.begun_at)),
        key: Some(assembly.key.to_string()),
        upload_id: Some(assembly.id.to_string()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        ..MultipartUpload::default()
    });
    Ok(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        is_truncated: Some(is_truncated),
        key_marker: input.key_marker,
        upload_id_marker: input.upload_id_marker,
        max_uploads: Some(i32::try_from(limit).unwrap_or(i32::MAX)),
        next_key_marker: last.map(|assembly| assembly.key.to_string()),
        next_upload_id_marker: last.map(|assembly| assembly.id.to_string()),
        prefix: input.prefix,
        uploads: Some(uploads.collect()),
        ..ListMultipartUploadsOutput::default()
    })
}
