//! Writes: an intent in the sender's journal, then the store, then what became of it. The store
//! is asked by a task of its own, which goes on when the application is gone: what is under way
//! comes to an outcome that the journal hears of.

use std::{sync::Arc, time::Duration};

use hyper::{HeaderMap, StatusCode};
use s3s::{Body, S3Error, S3ErrorCode, S3Response, S3Result};
use sealift_archive::Lease;
use sealift_identity::AccessRight;
use sealift_outside::HttpError;
use sealift_store::{Made, S3Error as StoreFault};
use sealift_terms::{AccessKeyId, BucketName, VersionId};
use tokio::time::{Instant, timeout_at};

use super::{
    Asked, Boxed, Call, Front, Intent, OfTags, Outcome, Replicas,
    answer::{self, Whole},
    passing::Onward,
    recording::{Act, Came, Named},
};
use crate::{core::Core, writes::ended};

/// How much longer an answer waits for the word why it has waited in vain.
const SAYS_WHY: Duration = Duration::from_secs(1);
/// The version of what was written.
const VERSION: &str = "x-amz-version-id";

/// What a task has to write something.
struct Writing {
    core: Arc<Core>,
    front: Front,
    act: Act,
    /// Whether a version is named, which is then removed for good, or has other tags.
    named: Option<String>,
    onward: Onward,
    intents: Vec<Box<dyn Intent>>,
}

/// What a task found.
struct Written {
    outcome: S3Result<Whole>,
    /// The replicas of each key, to be waited for.
    replicas: Vec<Boxed<'static, Replicas>>,
    _leases: Vec<Lease>,
}

impl Asked {
    /// Writes, and answers when the store did, or when the replicas are durable.
    pub(super) async fn written(self) -> S3Result<S3Response<Body>> {
        let (core, front, bucket, call, id) = (
            self.core.clone(),
            self.front.clone(),
            self.bucket.clone(),
            self.call,
            self.id.clone(),
        );
        let key = match call {
            Call::RemovesMany => None,
            _ => Some(self.object_key()?),
        };
        let named = self.query.iter().find(|(name, _)| name == "versionId");
        let named = named.map(|(_, version)| version.clone());
        if call.name() == "DeleteObject" && named.is_some() {
            hold_purge(&core, &id, &bucket)?;
        }
        core.hold_record()?;
        let mut onward = self.onward().await?;
        let version = named.clone();
        let all = match key {
            Some(key) => vec![Named { key, version }],
            None => std::mem::take(&mut onward.named),
        };
        if call == Call::RemovesMany && all.iter().any(|one| one.version.is_some()) {
            hold_purge(&core, &id, &bucket)?;
        }
        let keys = all.iter().map(|one| one.key.clone()).collect();
        let tags = matches!(call, Call::Tags(_)).then(|| OfTags(version_of(named.as_deref())));
        let intents = front.changes.intend(keys, tags).await;
        let intents = intents.map_err(|told| unrecorded(&bucket, &told))?;
        let synchronous = front.synchronous;
        let writing = Writing {
            core,
            front,
            act: Act {
                id,
                call,
                bucket: bucket.clone(),
                named: all,
            },
            named,
            onward,
            intents,
        };
        let Written {
            outcome, replicas, ..
        } = ended(tokio::spawn(writing.write())).await?;
        let whole = outcome?;
        if let Some(time_max) = synchronous.filter(|_| whole.status.is_success()) {
            // Each of them says why by then; many of them together take no longer.
            let deadline = Instant::now() + time_max + SAYS_WHY;
            for replicas in replicas {
                let late = || Replicas::Pending("too many keys wait for theirs".to_owned());
                let replicas = timeout_at(deadline, replicas).await;
                if let Replicas::Pending(told) = replicas.unwrap_or_else(|_| late()) {
                    return Err(pending(&bucket, &whole, &told));
                }
            }
        }
        Ok(whole.answered())
    }
}

impl Writing {
    async fn write(self) -> Written {
        let Onward {
            passed,
            length,
            spoilt,
            leases,
            ..
        } = self.onward;
        let made = self.front.store.pass(passed).await;
        let (bucket, call) = (&self.act.bucket, self.act.call);
        let status = made.as_ref().ok().map(|made| made.status());
        let (outcome, became) = match made {
            Err(error) => {
                let became = after(&error);
                let told = answer::unreached(bucket, &error, &spoilt);
                (Err(told), became)
            }
            Ok(made) => {
                let refused =
                    matches!(&made, Made::Refused { status, .. } if status.is_client_error());
                let whole = answer::whole(&self.front, bucket, made).await;
                let became = match &whole {
                    _ if refused => Outcome::Nothing,
                    Ok(whole) if whole.status.is_success() && !whole.is_error() => {
                        written(call, self.named.as_deref(), &whole.headers)
                    }
                    _ => Outcome::Unknown,
                };
                (whole, became)
            }
        };
        let came = Came {
            outcome: &became,
            status: status.map(|status| status.as_u16()),
            body: outcome.as_ref().map_or(&[], Whole::body),
        };
        let recorded = self.core.record_act(&self.act, &came);
        let outcome = recorded.and(outcome);
        if call.has_content() && matches!(became, Outcome::Written(_)) {
            self.core.tally.written(length);
        }
        let intents = self.intents.into_iter();
        let time_max = self.front.synchronous.unwrap_or_default();
        let replicas = intents.map(|intent| intent.became(became.clone(), time_max));
        Written {
            outcome,
            replicas: replicas.collect(),
            _leases: leases,
        }
    }
}

/// What a write came to that the store did.
fn written(call: Call, named: Option<&str>, headers: &HeaderMap) -> Outcome {
    let told = headers.get(VERSION).and_then(|value| value.to_str().ok());
    let told = told.and_then(|text| VersionId::new(text).ok());
    match call {
        Call::Tags(_) => Outcome::Tagged(told.or(version_of(named))),
        // What is told is the version that is gone.
        _ if named.is_some() => Outcome::Written(None),
        _ => Outcome::Written(told),
    }
}

/// The version that a request names.
fn version_of(named: Option<&str>) -> Option<VersionId> {
    named.and_then(|text| VersionId::new(text).ok())
}

/// What may have become of a write that has no answer.
fn after(error: &StoreFault) -> Outcome {
    match error {
        StoreFault::Http(
            HttpError::Connect { .. } | HttpError::Handshake { .. } | HttpError::InTheClear { .. },
        )
        | StoreFault::Credentials(_)
        | StoreFault::Answered { .. } => Outcome::Nothing,
        _ => Outcome::Unknown,
    }
}

/// A version goes for good by those alone who may do that.
fn hold_purge(core: &Core, id: &AccessKeyId, bucket: &BucketName) -> S3Result<()> {
    core.hold_right(id, "DeleteObjectVersion", AccessRight::Purge, bucket)
}

/// Nothing was written, as it could not be remembered before.
fn unrecorded(bucket: &BucketName, told: &str) -> S3Error {
    tracing::error!(%bucket, "a write is refused, as the journal does not take it: {told}");
    S3Error::with_message(
        S3ErrorCode::ServiceUnavailable,
        "nothing was written: the agent's journal cannot take it",
    )
}

/// It is written, and not everywhere yet. No client tries again by itself what is answered
/// so: that would make another version of the same.
fn pending(bucket: &BucketName, whole: &Whole, told: &str) -> S3Error {
    let version = whole.headers.get(VERSION);
    let as_version = version.and_then(|value| value.to_str().ok());
    let as_version =
        as_version.map_or_else(String::new, |version| format!(" as version {version}"));
    tracing::warn!(%bucket, "a write is answered without its replica: {told}");
    let mut error = S3Error::with_message(
        S3ErrorCode::Custom("ReplicationPending".into()),
        format!(
            "it is written{as_version}, and its replica is not durable yet: {told}; the agent \
             goes on with it, and nothing has to be written again"
        ),
    );
    error.set_status_code(StatusCode::CONFLICT);
    let mut headers = HeaderMap::new();
    for name in [VERSION, "etag", "x-amz-delete-marker"] {
        if let Some(value) = whole.headers.get(name) {
            headers.insert(name, value.clone());
        }
    }
    error.set_headers(headers);
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_store_says_of_a_write_becomes_its_outcome() {
        let mut headers = HeaderMap::new();
        headers.insert(VERSION, "v1".parse().unwrap());
        let version = Some(VersionId::new("v1").unwrap());
        let put = Call::Writes("PutObject", AccessRight::Put);
        let of = |named, headers: &HeaderMap| written(put, named, headers);
        assert_eq!(of(None, &headers), Outcome::Written(version.clone()));
        assert_eq!(of(None, &HeaderMap::new()), Outcome::Written(None));
        assert_eq!(of(Some("v1"), &headers), Outcome::Written(None));
        let tags = Call::Tags("PutObjectTagging");
        assert_eq!(
            written(tags, Some("v1"), &HeaderMap::new()),
            Outcome::Tagged(version)
        );
    }

    #[test]
    fn only_what_never_reached_the_store_is_known_to_be_nothing() {
        let connect = HttpError::Connect {
            address: "s3".to_owned(),
            source: std::io::ErrorKind::ConnectionRefused.into(),
        };
        assert_eq!(after(&StoreFault::Http(connect)), Outcome::Nothing);
        let late = HttpError::Late {
            address: "s3".to_owned(),
            time: std::time::Duration::from_secs(1),
        };
        assert_eq!(after(&StoreFault::Http(late)), Outcome::Unknown);
        let shape = StoreFault::Shape { what: "it" };
        assert_eq!(after(&shape), Outcome::Unknown);
    }
}
