//! Buckets in front of their source: what an application asks of them goes on to the source's
//! store, under the source's own credentials, and what it writes is a change in the sender's
//! journal at once.
//!
//! ```text
//!  application ─▶ gate, s3s ─▶ calls ──▶ passing ─────────────────────▶ the source's store
//!                 signature    which,    head and content, as they come
//!                              rights         │ writes
//!                                             ▼
//!                              writing: intent, durable ─▶ PUT ─▶ outcome ─▶ the sender
//!                                                                 (its receipts, if waited for)
//!                              recording: who, what, what came of it ─▶ the audit log
//! ```
//!
//! A store is asked nothing but the calls of a table, each with the parameters and headers that
//! are known for it: two who read a request differently must not agree on it by accident.

mod answer;
mod calls;
mod content;
mod headers;
mod passing;
mod recording;
mod removing;
mod writing;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use hyper::{HeaderMap, Method, Uri, http::Extensions};
use s3s::{Body, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, route::S3Route};
use sealift_store::S3Front;
use sealift_terms::{AccessKeyId, Boxed, BucketName, ObjectKey, Status, VersionId, percent};

use crate::{access::Noted, core::Core, fresh::not_implemented};
use calls::Call;
pub(crate) use recording::Reads;

/// A bucket in front of its source.
#[derive(Clone)]
pub struct Front {
    /// The source's store.
    pub store: S3Front,
    /// The journal of its sender.
    pub changes: Arc<dyn Changes>,
    /// How long the answer to a write waits for its replicas, where it does.
    pub synchronous: Option<Duration>,
}

/// Buckets in front of their sources, by their names here.
pub type Fronts = BTreeMap<BucketName, Front>;

/// The journal of whoever sends a bucket, as far as it is told of writes.
#[async_trait]
pub trait Changes: Send + Sync {
    /// Remembers that these keys are about to be written, or that tags of a version of them are:
    /// durable when it returns. One for each.
    ///
    /// # Errors
    /// Why not: nothing may be written then.
    async fn intend(
        &self,
        keys: Vec<ObjectKey>,
        tags: Option<OfTags>,
    ) -> Result<Vec<Box<dyn Intent>>, String>;

    /// How a version stands on its way to all its destinations, in one look by its key; none
    /// where it has none. Without one it is the latest version.
    ///
    /// # Errors
    /// Why that cannot be told.
    async fn standing(
        &self,
        key: &ObjectKey,
        version: Option<&VersionId>,
        is_latest: bool,
    ) -> Result<Option<Status>, String>;
}

/// That the tags of a version are about to be others; of the latest where none is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfTags(pub Option<VersionId>);

/// A key that is about to be written. One that is dropped is looked at later.
pub trait Intent: Send {
    /// Says what became of it, at once. What comes back waits for the replicas of it, so long at
    /// most, where somebody wants that.
    fn became(self: Box<Self>, outcome: Outcome, time_max: Duration) -> Boxed<'static, Replicas>;
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is there, as this version where the store told of one.
    Written(Option<VersionId>),
    /// The tags of a version are others; of the latest where none is told.
    Tagged(Option<VersionId>),
    /// Nobody knows whether it is there.
    Unknown,
    /// The store did not do it.
    Nothing,
}

/// How the replicas of a write stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replicas {
    /// Every destination has it.
    Durable,
    /// One has not, for what this says.
    Pending(String),
}

/// What a request is about, by its path.
struct Place {
    bucket: String,
    key: Option<String>,
}

impl Place {
    fn of(uri: &Uri) -> Option<Self> {
        let path = uri.path().strip_prefix('/')?;
        let path = percent::decode(path)?;
        let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
        Some(Self {
            bucket: bucket.to_owned(),
            key: (!key.is_empty()).then(|| key.to_owned()),
        })
    }
}

/// What stands before the calls that `s3s` knows, for buckets in front of their sources.
pub(crate) struct Fronted(pub(crate) Arc<Core>);

impl Fronted {
    fn front(&self, uri: &Uri) -> Option<(BucketName, Front, Option<String>)> {
        let Place { bucket, key } = Place::of(uri)?;
        let bucket: BucketName = bucket.parse().ok()?;
        let front = self.0.fronts.load().get(&bucket)?.clone();
        Some((bucket, front, key))
    }
}

/// A call that may be made, and what it is about.
struct Asked {
    core: Arc<Core>,
    id: AccessKeyId,
    call: Call,
    bucket: BucketName,
    front: Front,
    key: Option<String>,
    query: Vec<(String, String)>,
    request: S3Request<Body>,
}

#[async_trait]
impl S3Route for Fronted {
    fn is_match(&self, _: &Method, uri: &Uri, _: &HeaderMap, _: &mut Extensions) -> bool {
        !self.0.fronts.load().is_empty() && self.front(uri).is_some()
    }

    /// By whom it is signed; the rights are held when it is known which call it is.
    async fn check_access(&self, request: &mut S3Request<Body>) -> S3Result<()> {
        match request.credentials {
            Some(_) => Ok(()),
            None => Err(S3ErrorCode::AccessDenied.into()),
        }
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let asked = self.asked(request)?;
        if asked.call == Call::Makes {
            return Err(S3ErrorCode::BucketAlreadyOwnedByYou.into());
        }
        asked.hold_prefix()?;
        if let Some(noted) = asked.request.extensions.get::<Arc<Noted>>().cloned() {
            noted.take_room(&self.0).await?;
        }
        match asked.call {
            Call::Reads(..) | Call::Prepares(_) | Call::Makes => asked.passed_through().await,
            Call::Writes(..) | Call::Tags(_) | Call::RemovesMany => asked.written().await,
        }
    }
}

impl Fronted {
    fn asked(&self, request: S3Request<Body>) -> S3Result<Asked> {
        let missing = || S3Error::from(S3ErrorCode::NoSuchBucket);
        let (bucket, front, key) = self.front(&request.uri).ok_or_else(missing)?;
        let core = self.0.clone();
        let unreadable = || S3Error::from(S3ErrorCode::InvalidURI);
        let query = calls::query(request.uri.query().unwrap_or_default());
        let query = query.ok_or_else(unreadable)?;
        let call = calls::call(&request.method, key.is_some(), &query, &request.headers);
        let name = call.map_or("none", Call::name);
        if let Some(noted) = request.extensions.get::<Arc<Noted>>() {
            let _ = noted.call.set(name.to_owned());
        }
        let denied = || S3Error::from(S3ErrorCode::AccessDenied);
        let signer = request.credentials.as_ref();
        let id: Option<AccessKeyId> = signer.and_then(|signer| signer.access_key.parse().ok());
        let id = id.ok_or_else(denied)?;
        let told = "it is no call that is passed on to the source of this bucket";
        let call = call.ok_or_else(|| not_implemented(told))?;
        core.hold_right(&id, name, call.right(), &bucket)?;
        Ok(Asked {
            core,
            id,
            call,
            bucket,
            front,
            key,
            query,
            request,
        })
    }
}

impl Asked {
    /// Refuses what is not of the source: keys and listings that do not begin as it does.
    fn hold_prefix(&self) -> S3Result<()> {
        let prefix = self.front.store.prefix();
        let lists = matches!(
            self.call.name(),
            "ListObjects" | "ListObjectsV2" | "ListObjectVersions" | "ListMultipartUploads"
        );
        let begins = |text: &str| text.starts_with(prefix);
        let wanted = self.query.iter().find(|(name, _)| name == "prefix");
        let is_within = match (&self.key, lists) {
            (Some(key), _) => begins(key),
            (None, true) => begins(wanted.map_or("", |(_, prefix)| prefix)),
            (None, false) => true,
        };
        match is_within {
            true => Ok(()),
            false => Err(S3Error::with_message(
                S3ErrorCode::AccessDenied,
                format!(
                    "of bucket {} only what begins with {prefix:?} is here",
                    self.bucket
                ),
            )),
        }
    }

    fn object_key(&self) -> S3Result<ObjectKey> {
        let key = self.key.as_deref().unwrap_or_default();
        ObjectKey::new(key).map_err(|_| S3ErrorCode::KeyTooLongError.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_apart_as_it_was_signed() {
        let of = |path: &str| {
            let place = Place::of(&path.parse().unwrap()).unwrap();
            (place.bucket, place.key.unwrap_or_default())
        };
        let pair = |bucket: &str, key: &str| (bucket.to_owned(), key.to_owned());
        assert_eq!(of("/photos"), pair("photos", ""));
        assert_eq!(of("/photos/"), pair("photos", ""));
        assert_eq!(of("/photos/a/b%20c"), pair("photos", "a/b c"));
        assert_eq!(of("/photos/a+b"), pair("photos", "a+b"));
        assert_eq!(of("/photos%2Fa"), pair("photos", "a"));
        assert_eq!(of("/photos//a"), pair("photos", "/a"));
        assert!(Place::of(&"/photos/%zz".parse().unwrap()).is_none());
    }
}
