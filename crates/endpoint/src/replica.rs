//! The calls of S3 that replicas answer.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use hyper::StatusCode;
use s3s::{
    Body, S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result,
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, Bucket, BucketLocationConstraint,
        BucketVersioningStatus, Checksum, ChecksumMode, ChecksumType, CompleteMultipartUploadInput,
        CompleteMultipartUploadOutput, CopyObjectInput, CopyObjectOutput, CreateBucketInput,
        CreateBucketOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput,
        DeleteObjectInput, DeleteObjectOutput, DeleteObjectTaggingInput, DeleteObjectTaggingOutput,
        DeleteObjectsInput, DeleteObjectsOutput, GetBucketLocationInput, GetBucketLocationOutput,
        GetBucketVersioningInput, GetBucketVersioningOutput, GetObjectAttributesInput,
        GetObjectAttributesOutput, GetObjectInput, GetObjectOutput, GetObjectTaggingInput,
        GetObjectTaggingOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput,
        HeadObjectOutput, ListBucketsInput, ListBucketsOutput, ListMultipartUploadsInput,
        ListMultipartUploadsOutput, ListObjectVersionsInput, ListObjectVersionsOutput,
        ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output,
        ListPartsInput, ListPartsOutput, ObjectAttributes, PutObjectInput, PutObjectOutput,
        PutObjectTaggingInput, PutObjectTaggingOutput, StorageClass, Timestamp, TimestampFormat,
        UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
    },
};
use sealift_identity::AccessRight;
use sealift_ledger::{VersionKind, VersionRow};
use sealift_terms::{AccessKeyId, ObjectKey, VersionId};

use crate::{
    core::{Core, actor},
    errors::{invalid, marker, of_archive},
    facts::{crc64nvme, etag, modified, s3_size, s3_time, system, tags},
    fresh::tags_of_set,
    listings, multipart,
    reading::{Reading, bytes_held},
    wanted::{Conditions, range, tell_instead},
    writes::{self, Target},
};

/// What is archived here, behind the calls of S3. Access was checked when these come.
pub(crate) struct Replica(pub(crate) Arc<Core>);

impl Replica {
    /// A version that is an object, and held to these conditions.
    async fn find(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        conditions: Conditions,
    ) -> S3Result<VersionRow> {
        let bucket = self.0.hold_bucket(bucket).await?;
        let key = ObjectKey::new(key).map_err(|_| S3Error::from(S3ErrorCode::NoSuchKey))?;
        let version = version.filter(|version| !version.is_empty());
        let version = version.map(VersionId::new).transpose();
        let version = version.map_err(|_| invalid("a version id of no such form is here"))?;
        let row = self.0.archive.find(&bucket, &key, version.as_ref()).await;
        let row = row.map_err(|error| of_archive(&error))?;
        if row.kind == VersionKind::DeleteMarker {
            return Err(marker(&row, version.is_some()));
        }
        conditions.hold(&row)?;
        Ok(row)
    }
}

impl Replica {
    /// Gives a version these tags; its id.
    async fn tag(
        &self,
        target: &Target,
        version: Option<&str>,
        tags: BTreeMap<String, String>,
    ) -> S3Result<String> {
        let (bucket, key) = (target.bucket.as_str(), target.key.as_str());
        let conditions = Conditions::default();
        let row = self.find(bucket, key, version, conditions).await?;
        writes::tag(&self.0, target, &row, tags).await
    }
}

/// Whether the checksum of the whole content is to be told.
fn wants_checksum(mode: Option<&ChecksumMode>) -> bool {
    mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED)
}

fn full_object() -> ChecksumType {
    ChecksumType::from_static(ChecksumType::FULL_OBJECT)
}

/// `expires` as the source has it; left out where it is no time.
fn expires(row: &VersionRow) -> Option<Timestamp> {
    let text = system(row, "expires")?;
    Timestamp::parse(TimestampFormat::HttpDate, &text).ok()
}

fn version_of(row: &VersionRow) -> Option<String> {
    Some(row.name.version.to_string())
}

fn tag_count(row: &VersionRow) -> Option<i32> {
    let count = i32::try_from(row.facts.tags.len()).ok();
    count.filter(|count| *count > 0)
}

/// The media type that S3 says of what has none.
fn content_type(row: &VersionRow) -> Option<String> {
    let known = row.facts.content_type.clone();
    Some(known.unwrap_or_else(|| "binary/octet-stream".to_owned()))
}

/// Everything about an object but its content.
fn head(row: &VersionRow, is_whole: bool, mode: Option<&ChecksumMode>) -> GetObjectOutput {
    let checksum = crc64nvme(row).filter(|_| is_whole && wants_checksum(mode));
    GetObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        cache_control: system(row, "cache-control"),
        content_disposition: system(row, "content-disposition"),
        content_encoding: system(row, "content-encoding"),
        content_language: system(row, "content-language"),
        content_length: Some(s3_size(row.facts.size)),
        content_type: content_type(row).and_then(|text| text.parse().ok()),
        checksum_type: checksum.is_some().then(full_object),
        checksum_crc64nvme: checksum,
        e_tag: Some(etag(row)),
        expires: expires(row),
        last_modified: Some(s3_time(modified(row))),
        metadata: Some(row.facts.metadata.clone().into_iter().collect()),
        tag_count: tag_count(row),
        version_id: version_of(row),
        ..GetObjectOutput::default()
    }
}

#[async_trait]
impl S3 for Replica {
    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let id = signer(&request)?;
        let input = request.input;
        let conditions = Conditions {
            is: input.if_match,
            is_not: input.if_none_match,
            newer_than: input.if_modified_since,
            not_newer_than: input.if_unmodified_since,
        };
        let version = input.version_id.as_deref();
        let row = self
            .find(&input.bucket, &input.key, version, conditions)
            .await?;
        let size = row.facts.size;
        let part = range(input.range, input.part_number, size)?;
        let mut output = head(&row, part.is_none(), input.checksum_mode.as_ref());
        tell_instead!(output, input);
        let bytes = part.clone().unwrap_or(0..size);
        if part.is_some() {
            let last = bytes.end.saturating_sub(1);
            output.content_range = Some(format!("bytes {}-{last}/{size}", bytes.start));
        }
        output.content_length = Some(s3_size(bytes.end - bytes.start));
        output.replication_status = self.0.standing(&row).await;
        let lease = self.0.lease(bytes_held(&bytes)).await?;
        let name = &row.name;
        let opened = self
            .0
            .archive
            .open_object(&actor(&id), &name.bucket, &name.key, Some(&name.version))
            .await;
        let reader = opened.map_err(|error| self.0.failed(name, &error))?;
        let reading = Reading::new(self.0.clone(), reader, bytes, lease);
        output.body = Some(Body::http_body_unsync(reading).into());
        Ok(S3Response::new(output))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        let conditions = Conditions {
            is: input.if_match,
            is_not: input.if_none_match,
            newer_than: input.if_modified_since,
            not_newer_than: input.if_unmodified_since,
        };
        let version = input.version_id.as_deref();
        let row = self
            .find(&input.bucket, &input.key, version, conditions)
            .await?;
        let size = row.facts.size;
        let part = range(input.range, input.part_number, size)?;
        let mut told = head(&row, part.is_none(), input.checksum_mode.as_ref());
        tell_instead!(told, input);
        let content_range = part.as_ref().map(|bytes| {
            let last = bytes.end.saturating_sub(1);
            format!("bytes {}-{last}/{size}", bytes.start)
        });
        let length = part.map_or(size, |bytes| bytes.end - bytes.start);
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: told.accept_ranges,
            cache_control: told.cache_control,
            content_disposition: told.content_disposition,
            content_encoding: told.content_encoding,
            content_language: told.content_language,
            content_length: Some(s3_size(length)),
            content_range,
            content_type: told.content_type,
            checksum_crc64nvme: told.checksum_crc64nvme,
            checksum_type: told.checksum_type,
            e_tag: told.e_tag,
            expires: told.expires,
            last_modified: told.last_modified,
            metadata: told.metadata,
            replication_status: self.0.standing(&row).await,
            version_id: told.version_id,
            ..HeadObjectOutput::default()
        }))
    }

    async fn get_object_tagging(
        &self,
        request: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<S3Response<GetObjectTaggingOutput>> {
        let input = request.input;
        let version = input.version_id.as_deref();
        let conditions = Conditions::default();
        let row = self
            .find(&input.bucket, &input.key, version, conditions)
            .await?;
        Ok(S3Response::new(GetObjectTaggingOutput {
            tag_set: tags(&row),
            version_id: version_of(&row),
        }))
    }

    async fn get_object_attributes(
        &self,
        request: S3Request<GetObjectAttributesInput>,
    ) -> S3Result<S3Response<GetObjectAttributesOutput>> {
        let input = request.input;
        let version = input.version_id.as_deref();
        let conditions = Conditions::default();
        let row = &self
            .find(&input.bucket, &input.key, version, conditions)
            .await?;
        let wanted = |word: &'static str| {
            // One header has many, or there are many headers.
            let asked = input.object_attributes.iter();
            let mut asked = asked.flat_map(|one| one.as_str().split(','));
            asked.any(|attribute| attribute.trim() == word)
        };
        let checksum = crc64nvme(row).filter(|_| wanted(ObjectAttributes::CHECKSUM));
        Ok(S3Response::new(GetObjectAttributesOutput {
            checksum: checksum.map(|sum| Checksum {
                checksum_crc64nvme: Some(sum),
                checksum_type: Some(full_object()),
                ..Checksum::default()
            }),
            e_tag: wanted(ObjectAttributes::ETAG).then(|| etag(row)),
            object_size: wanted(ObjectAttributes::OBJECT_SIZE).then(|| s3_size(row.facts.size)),
            storage_class: wanted(ObjectAttributes::STORAGE_CLASS)
                .then(|| StorageClass::from_static(StorageClass::STANDARD)),
            last_modified: Some(s3_time(modified(row))),
            version_id: version_of(row),
            ..GetObjectAttributesOutput::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let bucket = self.0.hold_bucket(&request.input.bucket).await?;
        let listed = listings::objects_v2(&self.0, bucket, request.input).await?;
        Ok(S3Response::new(listed))
    }

    async fn list_objects(
        &self,
        request: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let bucket = self.0.hold_bucket(&request.input.bucket).await?;
        let listed = listings::objects(&self.0, bucket, request.input).await?;
        Ok(S3Response::new(listed))
    }

    async fn list_object_versions(
        &self,
        request: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        let bucket = self.0.hold_bucket(&request.input.bucket).await?;
        let listed = listings::versions(&self.0, bucket, request.input).await?;
        Ok(S3Response::new(listed))
    }

    /// Those that the key may list. When a bucket was made is not known here: clients that
    /// insist on a time get the beginning of all of them.
    async fn list_buckets(
        &self,
        request: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let id = signer(&request)?;
        let settings = self.0.settings.load_full();
        let prefix = request.input.prefix.unwrap_or_default();
        let buckets = self.0.buckets().await?.into_iter().filter(|bucket| {
            let decision = settings.rows.allows(&id, AccessRight::List, Some(bucket));
            decision.is_allowed() && bucket.as_str().starts_with(&prefix)
        });
        let told = buckets.map(|bucket| Bucket {
            name: Some(bucket.to_string()),
            creation_date: Some(s3_time(sealift_terms::Timestamp::from_secs(0))),
            bucket_region: Some(self.0.region.to_string()),
        });
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(told.collect()),
            ..ListBucketsOutput::default()
        }))
    }

    async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.0.hold_bucket(&request.input.bucket).await?;
        Ok(S3Response::new(HeadBucketOutput {
            bucket_region: Some(self.0.region.to_string()),
            ..HeadBucketOutput::default()
        }))
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.0.hold_bucket(&request.input.bucket).await?;
        let region = BucketLocationConstraint::from(self.0.region.to_string());
        Ok(S3Response::new(GetBucketLocationOutput {
            location_constraint: Some(region),
        }))
    }

    /// Buckets come from the configuration: one that is there is there already.
    async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        match self.0.hold_bucket(&request.input.bucket).await {
            Ok(_) => Err(S3ErrorCode::BucketAlreadyOwnedByYou.into()),
            Err(_) => Err(S3Error::with_message(
                S3ErrorCode::AccessDenied,
                "buckets come from the configuration of the site",
            )),
        }
    }

    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let id = signer(&request)?;
        writes::put(&self.0, &id, request)
            .await
            .map(S3Response::new)
    }

    async fn copy_object(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        let id = signer(&request)?;
        writes::copy(&self.0, &id, request)
            .await
            .map(S3Response::new)
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let id = signer(&request)?;
        let deleted = writes::delete(&self.0, &id, request).await?;
        Ok(S3Response::with_status(deleted, StatusCode::NO_CONTENT))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let id = signer(&request)?;
        writes::delete_all(&self.0, &id, request)
            .await
            .map(S3Response::new)
    }

    async fn put_object_tagging(
        &self,
        request: S3Request<PutObjectTaggingInput>,
    ) -> S3Result<S3Response<PutObjectTaggingOutput>> {
        let id = signer(&request)?;
        let input = request.input;
        let target = Target::new(&self.0, &id, &input.bucket, &input.key)?;
        let tags = tags_of_set(input.tagging.tag_set)?;
        let version = input.version_id.as_deref();
        let version = self.tag(&target, version, tags).await?;
        Ok(S3Response::new(PutObjectTaggingOutput {
            version_id: Some(version),
        }))
    }

    async fn delete_object_tagging(
        &self,
        request: S3Request<DeleteObjectTaggingInput>,
    ) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
        let id = signer(&request)?;
        let input = request.input;
        let target = Target::new(&self.0, &id, &input.bucket, &input.key)?;
        let version = input.version_id.as_deref();
        let version = self.tag(&target, version, BTreeMap::new()).await?;
        let output = DeleteObjectTaggingOutput {
            version_id: Some(version),
        };
        Ok(S3Response::with_status(output, StatusCode::NO_CONTENT))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let id = signer(&request)?;
        multipart::create(&self.0, &id, request)
            .await
            .map(S3Response::new)
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let id = signer(&request)?;
        multipart::upload(&self.0, &id, request)
            .await
            .map(S3Response::new)
    }

    async fn upload_part_copy(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let id = signer(&request)?;
        multipart::copy_part(&self.0, &id, request)
            .await
            .map(S3Response::new)
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let id = signer(&request)?;
        multipart::complete(&self.0, &id, request)
            .await
            .map(S3Response::new)
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let id = signer(&request)?;
        multipart::abort(&self.0, &id, request.input).await?;
        let output = AbortMultipartUploadOutput::default();
        Ok(S3Response::with_status(output, StatusCode::NO_CONTENT))
    }

    async fn list_parts(
        &self,
        request: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        let id = signer(&request)?;
        multipart::parts(&self.0, &id, request.input)
            .await
            .map(S3Response::new)
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        multipart::uploads(&self.0, request.input)
            .await
            .map(S3Response::new)
    }

    async fn get_bucket_versioning(
        &self,
        request: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        self.0.hold_bucket(&request.input.bucket).await?;
        let enabled = BucketVersioningStatus::from_static(BucketVersioningStatus::ENABLED);
        Ok(S3Response::new(GetBucketVersioningOutput {
            status: Some(enabled),
            ..GetBucketVersioningOutput::default()
        }))
    }
}

/// Whose key signed a request.
fn signer<T>(request: &S3Request<T>) -> S3Result<AccessKeyId> {
    let known = request.credentials.as_ref();
    let id = known.and_then(|known| known.access_key.parse().ok());
    id.ok_or_else(|| S3ErrorCode::AccessDenied.into())
}
