//! A request on its way to the store: head and content, as they came.

use http_body_util::{BodyExt, Limited};
use hyper::{HeaderMap, header::HeaderValue};
use s3s::{Body, S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use sealift_archive::Lease;
use sealift_identity::AccessRight;
use sealift_outside::Payload;
use sealift_store::Passed;
use sealift_terms::{
    BucketName, ObjectKey,
    limits::ENDPOINT_LIST_BYTES_MAX,
    percent::{decode, encode, encode_path},
};

use super::{
    Asked, Call, Front, answer,
    content::{Content, Spoilt},
    headers,
    recording::{Named, ReadOf},
    removing::Removals,
};
use crate::{
    core::actor,
    errors::invalid,
    fresh::not_implemented,
    incoming::{of_stream, room},
    sums::Sums,
    writes::{held_of, length},
};

/// Content up to this is taken whole before it goes on: it can then be sent again over another
/// connection.
const WHOLE_BYTES_MAX: u64 = 64 << 10;
/// What content, or an answer, holds on its way through: what connections on both sides buffer.
pub(super) const PASSING_BYTES: usize = 512 << 10;
/// How a version stands.
const REPLICATION: &str = "x-amz-replication-status";
/// Content whose hash is not in the signature.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// The same where it comes in chunks, with checksums behind it.
const UNSIGNED_BEHIND: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
/// The hash of a body, as its signature has it.
const HASH: &str = "x-amz-content-sha256";

/// What goes on, with what it holds meanwhile.
pub(super) struct Onward {
    pub(super) passed: Passed,
    /// Bytes of content.
    pub(super) length: u64,
    pub(super) spoilt: Spoilt,
    /// What many removals name.
    pub(super) named: Vec<Named>,
    pub(super) leases: Vec<Lease>,
}

/// An object that is asked for.
struct OfObject {
    key: ObjectKey,
    is_latest: bool,
}

fn is_good(response: &S3Response<Body>) -> bool {
    response.status.is_none_or(|status| status.is_success())
}

impl Front {
    /// The version that an answer tells of.
    fn version_told(&self, headers: &HeaderMap) -> Option<String> {
        self.store.version_of(headers).map(|id| id.to_string())
    }
}

impl OfObject {
    /// Says in the answer how the version stands. What the store says of its own replicas is
    /// not that.
    async fn tell(&self, front: &Front, response: &mut S3Response<Body>) {
        response.headers.remove(REPLICATION);
        if !is_good(response) {
            return;
        }
        let version = front.store.version_of(&response.headers);
        let standing = front
            .changes
            .standing(&self.key, version.as_ref(), self.is_latest);
        match standing.await {
            Ok(Some(status)) => {
                let status = HeaderValue::from_static(status.as_str());
                response.headers.insert(REPLICATION, status);
            }
            Ok(None) => {}
            // What is read does not depend on it.
            Err(told) => tracing::warn!(key = %self.key, "how it stands cannot be told: {told}"),
        }
    }
}

impl Asked {
    /// Asks the store, and gives back what it answers.
    pub(super) async fn passed_through(self) -> S3Result<S3Response<Body>> {
        let (core, front, bucket, call) = (
            self.core.clone(),
            self.front.clone(),
            self.bucket.clone(),
            self.call,
        );
        let asked = self.of_object();
        let mut read = self.read_of();
        let onward = self.onward().await?;
        let made = front.store.pass(onward.passed).await;
        let made = made.map_err(|error| answer::unreached(&bucket, &error, &onward.spoilt))?;
        if call.has_content() {
            core.tally.written(onward.length);
        }
        let given = answer::given(&core, &front, &bucket, call, made, onward.leases).await;
        let mut response = given?;
        if let (Some(read), true) = (&mut read, is_good(&response)) {
            read.version = front.version_told(&response.headers);
            core.record_read(read)?;
        }
        if let Some(asked) = asked {
            asked.tell(&front, &mut response).await;
        }
        Ok(response)
    }

    /// What goes on record of a call that reads an object.
    fn read_of(&self) -> Option<ReadOf> {
        (self.call.name() == "GetObject").then(|| ReadOf {
            actor: actor(&self.id),
            call: self.call.name(),
            bucket: self.bucket.clone(),
            key: self.key.clone().unwrap_or_default(),
            version: None,
        })
    }

    /// The object that is asked for, where it is one.
    fn of_object(&self) -> Option<OfObject> {
        let is_object = matches!(self.call.name(), "GetObject" | "HeadObject");
        let key = self.object_key().ok().filter(|_| is_object)?;
        let names_version = self.query.iter().any(|(name, _)| name == "versionId");
        Some(OfObject {
            key,
            is_latest: !names_version,
        })
    }

    /// What goes on to the store.
    pub(super) async fn onward(mut self) -> S3Result<Onward> {
        let mut onward = headers::onward(&self.request.headers)?;
        let copied = self.copied_from()?;
        let copies = copied.is_some();
        onward.extend(copied.map(|source| ("x-amz-copy-source".to_owned(), source)));
        let mut leases = Vec::new();
        let (mut length_of, mut spoilt, mut named) = (0, Spoilt::default(), Vec::new());
        let body = match self.call {
            call if call.has_content() => {
                leases.extend(room(&self.core, &self.request.headers).await?);
                leases.push(self.core.lease(PASSING_BYTES).await?);
                let content = content(&mut self.request)?;
                length_of = content.0;
                spoilt = content.1.spoilt();
                behind(&mut onward, &content.1, content.0);
                payload(&self.request.headers, content.1).await?
            }
            // A body of these would say nothing.
            Call::Reads(..) => Payload::default(),
            _ if copies => Payload::default(),
            Call::RemovesMany => {
                let list = whole_and_sound(&mut self.request).await?;
                let removals = Removals::of(&list, self.front.store.prefix())?;
                removals.sum_up(&mut onward);
                named = removals.named;
                removals.body.into()
            }
            _ => whole(&mut self.request).await?.into(),
        };
        onward.remove(HASH);
        Ok(Onward {
            passed: Passed {
                method: self.request.method,
                key: self.key,
                query: self.query,
                headers: onward,
                body,
                once: !matches!(self.call, Call::Reads(..)),
            },
            length: length_of,
            spoilt,
            named,
            leases,
        })
    }

    /// Where something is copied from, as the store knows that, for whoever may read it.
    fn copied_from(&self) -> S3Result<Option<String>> {
        if !matches!(self.call.name(), "CopyObject" | "UploadPartCopy") {
            return Ok(None);
        }
        let value = self.request.headers.get("x-amz-copy-source");
        let text = value.and_then(|value| value.to_str().ok());
        let text = text.ok_or_else(|| invalid("x-amz-copy-source is none"))?;
        let (path, version) = match text.split_once("?versionId=") {
            Some((path, version)) => (path, Some(version)),
            None => (text, None),
        };
        let none = || invalid("x-amz-copy-source is no bucket and key");
        let path = decode(path).ok_or_else(none)?;
        let path = path.strip_prefix('/').unwrap_or(&path);
        if path.starts_with("arn:") {
            return Err(not_implemented("access points are not known here"));
        }
        let (bucket, key) = path.split_once('/').ok_or_else(none)?;
        let bucket: BucketName = bucket.parse().map_err(|_| none())?;
        let right = AccessRight::Get;
        self.core
            .hold_right(&self.id, self.call.name(), right, &bucket)?;
        let fronts = self.core.fronts.load();
        let from = fronts.get(&bucket);
        let from = from.filter(|from| from.store.is_beside(&self.front.store));
        let from = from.ok_or_else(|| {
            not_implemented("what is copied has to be in front of a bucket of the same store")
        })?;
        if !key.starts_with(from.store.prefix()) {
            return Err(S3ErrorCode::AccessDenied.into());
        }
        let version = version.map(|id| decode(id).unwrap_or_else(|| id.to_owned()));
        self.core.record_read(&ReadOf {
            actor: actor(&self.id),
            call: self.call.name(),
            bucket,
            key: key.to_owned(),
            version: version.clone(),
        })?;
        let version = version.map(|version| format!("?versionId={}", encode(&version)));
        Ok(Some(format!(
            "/{}/{}{}",
            from.store.bucket(),
            encode_path(key),
            version.unwrap_or_default()
        )))
    }
}

/// The content of a request, and its length.
fn content(request: &mut S3Request<Body>) -> S3Result<(u64, Content)> {
    let said = |name: &str| {
        let value = request.headers.get(name)?.to_str().ok()?;
        value.parse::<i64>().ok()
    };
    let said = said("x-amz-decoded-content-length").or_else(|| said("content-length"));
    let length = length(said)?;
    let held = held_of(request);
    let sums = Sums::of(&request.headers, request.trailing_headers.take())?;
    let behind = sums.behind();
    let body = std::mem::take(&mut request.input);
    Ok((length, Content::new(body, held, sums, length, behind)))
}

/// Says of content that has its checksums behind it that it comes so.
fn behind(onward: &mut std::collections::BTreeMap<String, String>, content: &Content, length: u64) {
    let Some(trailer) = content.trailer() else {
        return;
    };
    onward.insert("x-amz-trailer".to_owned(), trailer);
    onward.insert(
        "x-amz-decoded-content-length".to_owned(),
        length.to_string(),
    );
    let encoding = onward.entry("content-encoding".to_owned());
    encoding
        .and_modify(|other| other.insert_str(0, "aws-chunked,"))
        .or_insert_with(|| "aws-chunked".to_owned());
}

/// Content as the body of a request: whole where it is little.
async fn payload(headers: &HeaderMap, content: Content) -> S3Result<Payload> {
    let is_behind = content.trailer().is_some();
    let said = headers.get(HASH).and_then(|value| value.to_str().ok());
    let is_hash = |text: &&str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let hash = match said.filter(is_hash) {
        _ if is_behind => UNSIGNED_BEHIND,
        // The store holds it against what came, too.
        Some(hash) => hash,
        None => UNSIGNED,
    };
    let length = content.length();
    if length > WHOLE_BYTES_MAX {
        return Ok(Payload::passing(Box::pin(content), length).hashed(hash));
    }
    let spoilt = content.spoilt();
    match content.collect().await {
        Ok(collected) => Ok(Payload::from(collected.to_bytes()).hashed(hash)),
        Err(_) => {
            let lost = || S3Error::from(S3ErrorCode::InternalError);
            Err(spoilt.take().unwrap_or_else(lost))
        }
    }
}

/// A body that is no content.
async fn whole(request: &mut S3Request<Body>) -> S3Result<bytes::Bytes> {
    let body = std::mem::take(&mut request.input);
    let body = Limited::new(body, ENDPOINT_LIST_BYTES_MAX);
    let collected = body.collect().await.map_err(|error| of_stream(&*error))?;
    Ok(collected.to_bytes())
}

/// The same, held against the checksums that are said of it. They do not go on.
async fn whole_and_sound(request: &mut S3Request<Body>) -> S3Result<bytes::Bytes> {
    let bytes = whole(request).await?;
    let mut sums = Sums::of(&request.headers, request.trailing_headers.take())?;
    sums.update(&bytes);
    sums.hold()?;
    Ok(bytes)
}
