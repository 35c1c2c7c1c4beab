//! What a store answers in place of what was asked, and what that means.

use std::{io, time::Duration};

use hyper::{
    HeaderMap, StatusCode,
    header::{DATE, RETRY_AFTER},
    http::response::Parts,
};
use sealift_outside::{CredentialsError, HttpError, behind, told};
use sealift_terms::{Reason, Timestamp};

use super::{facts::http_date, xml};
use crate::StoreError;

/// Why there is no answer that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum S3Error {
    /// The store is not reached, or the connection was lost.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// There is nobody to ask as.
    #[error("there are no credentials")]
    Credentials(#[from] CredentialsError),
    /// The store answered with an error.
    #[error("it answered {status}{code}{told}", code = words(code), told = behind(told))]
    Answered {
        /// The HTTP status.
        status: u16,
        /// The error's code; empty where the answer has none, as that of a HEAD.
        code: String,
        /// What it said, in one bounded line.
        told: String,
        /// How long it asks to wait.
        after: Option<Duration>,
    },
    /// The store answered something else than was asked.
    #[error("its answer has another shape: {what}")]
    Shape {
        /// What is wrong with it.
        what: &'static str,
    },
}

/// How far apart the clocks of both may be: signatures of S3, Azure and Google are good for that.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(15 * 60);
/// What is said where they are further.
const CLOCKS_APART: &str = "the clocks are apart";

/// Azure: a policy of the container keeps what is there as it is.
const IMMUTABLE: &str = "BlobImmutableDueToPolicy";

fn words(code: &str) -> String {
    match code {
        "" => String::new(),
        code => format!(" {code}"),
    }
}

impl S3Error {
    /// The error that an answer is.
    pub(crate) fn of(head: &Parts, body: &[u8]) -> Self {
        let (code, message) = xml::error(body).unwrap_or_default();
        let mut told_line = match message.is_empty() {
            true => told(body),
            false => told(message.as_bytes()),
        };
        let is_elsewhere = head.status.is_redirection() || code == "AuthorizationHeaderMalformed";
        if let Some(region) = region(&head.headers, body).filter(|_| is_elsewhere) {
            told_line += &format!("; the bucket is in {region}: write that as its region");
        }
        Self::Answered {
            status: head.status.as_u16(),
            code: told(code.as_bytes()),
            told: told_line,
            after: asked_to_wait(&head.headers),
        }
    }

    /// With how far its clock is from ours, where that may be why it believes nobody: an answer to
    /// a HEAD says no more than that it does not, and Azure no more in its code.
    pub(crate) fn with_clock(mut self, head: &Parts, now: Timestamp) -> Self {
        if let Self::Answered { code, told, .. } = &mut self
            && matches!(
                head.status,
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
            )
            && matches!(code.as_str(), "" | "AuthenticationFailed")
            && let Some(theirs) = date(&head.headers)
        {
            let (ours, theirs) = (now.as_secs(), theirs.as_secs());
            if ours.abs_diff(theirs) > CLOCKS_APART_MAX.as_secs() {
                *told += &format!("; {CLOCKS_APART}: ours is {} s ahead", ours - theirs);
            }
        }
        self
    }

    /// How long the service asks to wait before the next try.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answered { after, .. } => *after,
            _ => None,
        }
    }

    /// Whether a signature is refused for the time that it was made at.
    fn is_skewed(&self) -> bool {
        matches!(self, Self::Answered { code, told, .. }
            if code == "RequestTimeTooSkewed" || told.contains(CLOCKS_APART)
                // Azure's, and what it says of a shared access signature's times is another matter.
                || (code == "AuthenticationFailed" && told.contains("Request date header too old")))
    }

    /// Whether the service failed, whatever its answer says of what was asked.
    fn is_of_service(&self) -> bool {
        matches!(self, Self::Answered { status: 500.., .. })
    }

    /// With the code that its header tells, where its body tells none.
    pub(crate) fn with_code(mut self, told_code: Option<&str>) -> Self {
        if let (Self::Answered { code, .. }, Some(told_code)) = (&mut self, told_code)
            && code.is_empty()
        {
            *code = told(told_code.as_bytes());
        }
        self
    }

    /// Whether the same request may be answered otherwise a little later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Http(
                HttpError::Connect { .. } | HttpError::Http { .. } | HttpError::Late { .. },
            ) => true,
            Self::Answered { status, code, .. } => {
                matches!(status, 429 | 500 | 502 | 503 | 504) || is_throttling(code)
            }
            _ => false,
        }
    }

    /// Whether the store asks for fewer requests.
    fn is_throttled(&self) -> bool {
        matches!(self, Self::Answered { status, code, .. }
            if matches!(status, 429 | 503) || is_throttling(code))
    }

    /// Whether there is no such key, or version of it.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Answered { status: 404, code, .. }
            if matches!(code.as_str(), "" | "NoSuchKey" | "NoSuchVersion" | "NotFound" | "BlobNotFound"
                | "ResourceNotFound"))
    }

    /// Whether an answer to a HEAD says less than that to a GET would.
    pub(crate) fn says_little(&self) -> bool {
        matches!(self, Self::Answered { status: 400 | 403 | 404, code, .. } if code.is_empty())
    }

    /// Whether credentials may be what is wrong.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self, Self::Answered { status, code, .. }
            if matches!(status, 401 | 403) || matches!(code.as_str(), "AccessDenied" | "AccessDeniedException"))
    }

    /// Whether the store let it be asked, and answers to what was asked.
    pub(crate) fn is_of_the_matter(&self) -> bool {
        let Self::Answered { status, code, .. } = self else {
            return false;
        };
        match status {
            // Of a wrong credential as well.
            400 => matches!(code.as_str(), "InvalidRequest" | "InvalidArgument"),
            404 => !is_no_bucket(code),
            status => matches!(status, 405 | 409 | 412 | 501),
        }
    }

    /// As the failure of a bucket or container, which that it does not answer does not make an
    /// object that is gone.
    pub(crate) fn of_place(self, name: &str) -> StoreError {
        match self.of_source(name) {
            StoreError::SourceGone => StoreError::SourceUnavailable {
                path: name.to_owned(),
                source: io::ErrorKind::NotFound.into(),
            },
            error => error,
        }
    }

    /// As the failure of a source, at `what`.
    pub(crate) fn of_source(self, what: &str) -> StoreError {
        let Self::Answered {
            status, code, told, ..
        } = &self
        else {
            return self.unavailable(what);
        };
        let refused = |reason| StoreError::SourceRefused {
            reason,
            evidence: self.to_string(),
        };
        let says = |words: &[&str]| words.iter().any(|words| told.contains(words));
        let is_of_kms = code.starts_with("KMS.")
            || code.starts_with("KeyVault")
            || says(&["kms:", "KMS key", "KMS master key"]);
        match code.as_str() {
            _ if is_of_kms && self.is_throttled() => refused(Reason::SrcKmsThrottled),
            "KMS.ThrottlingException" => refused(Reason::SrcKmsThrottled),
            _ if is_of_kms && matches!(status, 400 | 403) => refused(Reason::SrcKmsDecryptDenied),
            _ if self.is_of_service() => self.unavailable(what),
            _ if self.is_skewed() => refused(Reason::ClockSkew),
            "InvalidObjectState" => StoreError::SourceUnsupported {
                evidence: format!("{self}; restore it from its archive class first"),
            },
            "BlobArchived" | "BlobBeingRehydrated" => StoreError::SourceUnsupported {
                evidence: format!("{self}; bring it back from its archive tier first"),
            },
            "BlobUsesCustomerSpecifiedEncryption"
            | "ResourceIsEncryptedWithCustomerEncryptionKey" => StoreError::SourceUnsupported {
                evidence: format!("{self}: only who wrote it can read it"),
            },
            "InvalidRequest" if says(&["Server Side Encryption"]) => {
                StoreError::SourceUnsupported {
                    evidence: format!(
                        "{self}: it is encrypted under a key of its writer's (SSE-C): only who has that can read it"
                    ),
                }
            }
            code if is_no_bucket(code) => self.unavailable(what),
            _ if self.is_missing() || *status == 405 => StoreError::SourceGone,
            _ if matches!(status, 409 | 412) => StoreError::SourceChanged {
                evidence: self.to_string(),
            },
            "InvalidRange" => StoreError::SourceChanged {
                evidence: self.to_string(),
            },
            _ if self.is_denied() => StoreError::SourceDenied {
                path: what.to_owned(),
                source: io::Error::other(self),
            },
            _ => self.unavailable(what),
        }
    }

    /// Whether something is there that should not be, or is not as it should be.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Answered { status: 409 | 412, code, .. } if code != IMMUTABLE)
    }

    /// Whether there is no such upload: it was completed, or given up.
    pub(crate) fn is_no_upload(&self) -> bool {
        matches!(self, Self::Answered { code, .. } if code == "NoSuchUpload")
    }

    /// As the failure of a store at one of its files. `denied` is what is refused then.
    pub(crate) fn of_store(self, name: &str, denied: Reason) -> StoreError {
        let reason = match &self {
            Self::Answered { code, .. } if is_no_bucket(code) && !self.is_of_service() => {
                Reason::DstBucketMissing
            }
            Self::Answered {
                status, code, told, ..
            } => match code.as_str() {
                _ if self.is_skewed() => Reason::ClockSkew,
                // MinIO; and what stores of one's own say of a quota.
                "XMinioStorageFull" | "QuotaExceeded" | "InsufficientCapacity" => {
                    Reason::DstStoreFull
                }
                _ if *status == 507 => Reason::DstStoreFull,
                // A bucket with a retention of its own for whatever is put into it.
                "InvalidRequest" if told.contains("Object Lock") => denied,
                IMMUTABLE => denied,
                _ if self.is_denied() && !self.is_of_service() => denied,
                _ => Reason::DstStoreUnavailable,
            },
            _ => Reason::DstStoreUnavailable,
        };
        StoreError::StoreRefused {
            reason,
            name: name.to_owned(),
            source: io::Error::other(self),
        }
    }

    fn unavailable(self, what: &str) -> StoreError {
        StoreError::SourceUnavailable {
            path: what.to_owned(),
            source: io::Error::other(self),
        }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// In which region the bucket is, where an answer tells.
fn region(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let region = header(headers, "x-amz-bucket-region").map(str::to_owned);
    let region = region.or_else(|| xml::region(body))?;
    Some(told(region.as_bytes()))
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(header(headers, DATE.as_str())?)
}

/// In seconds, or until a time that is held against the answer's own (RFC 9110, section 10.2.3).
fn asked_to_wait(headers: &HeaderMap) -> Option<Duration> {
    let told = header(headers, RETRY_AFTER.as_str())?;
    let secs = match told.parse() {
        Ok(secs) => secs,
        Err(_) => http_date(told)?.as_secs() - date(headers)?.as_secs(),
    };
    Some(Duration::from_secs(u64::try_from(secs).ok()?))
}

fn is_no_bucket(code: &str) -> bool {
    matches!(
        code,
        "NoSuchBucket" | "ContainerNotFound" | "ContainerBeingDeleted"
    )
}

fn is_throttling(code: &str) -> bool {
    matches!(
        code,
        "SlowDown"
            | "SlowDownRead"
            | "Throttling"
            | "ThrottlingException"
            | "TooManyRequests"
            | "RequestLimitExceeded"
            | "RequestTimeout"
            | "ServiceUnavailable"
            | "KMS.ThrottlingException"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(status: u16, code: &str, told: &str) -> Reason {
        let error = S3Error::Answered {
            status,
            code: code.to_owned(),
            told: told.to_owned(),
            after: None,
        };
        error.of_source("key").reason()
    }

    #[test]
    fn every_answer_has_its_reason() {
        for (status, code, told, wanted) in [
            (403, "AccessDenied", "Access Denied", Reason::SrcGetDenied),
            (403, "", "", Reason::SrcGetDenied),
            (
                403,
                "InvalidAccessKeyId",
                "no such key",
                Reason::SrcGetDenied,
            ),
            (403, "SignatureDoesNotMatch", "", Reason::SrcGetDenied),
            (
                403,
                "AccessDenied",
                "User: x is not authorized to perform: kms:Decrypt on this resource",
                Reason::SrcKmsDecryptDenied,
            ),
            (
                400,
                "KMS.DisabledException",
                "is disabled.",
                Reason::SrcKmsDecryptDenied,
            ),
            (
                503,
                "KMS.ThrottlingException",
                "Rate exceeded",
                Reason::SrcKmsThrottled,
            ),
            (
                400,
                "KMS.ThrottlingException",
                "Rate exceeded",
                Reason::SrcKmsThrottled,
            ),
            (403, "RequestTimeTooSkewed", "too large", Reason::ClockSkew),
            (
                403,
                "InvalidObjectState",
                "storage class",
                Reason::SkippedUnreadable,
            ),
            (404, "NoSuchVersion", "", Reason::SrcObjectGone),
            // A queue of SQS says so.
            (400, "AccessDeniedException", "", Reason::SrcGetDenied),
            (404, "", "", Reason::SrcObjectGone),
            (405, "MethodNotAllowed", "", Reason::SrcObjectGone),
            (404, "NoSuchBucket", "", Reason::SrcUnavailable),
            (412, "PreconditionFailed", "", Reason::SrcObjectChanged),
            (416, "InvalidRange", "", Reason::SrcObjectChanged),
            (503, "SlowDown", "", Reason::SrcUnavailable),
            (404, "BlobNotFound", "", Reason::SrcObjectGone),
            (404, "ContainerNotFound", "", Reason::SrcUnavailable),
            (412, "ConditionNotMet", "", Reason::SrcObjectChanged),
            (409, "BlobArchived", "", Reason::SkippedUnreadable),
            (
                400,
                "ResourceIsEncryptedWithCustomerEncryptionKey",
                "The resource is encrypted with a customer encryption key.",
                Reason::SkippedUnreadable,
            ),
            (
                403,
                "AccessDenied",
                "Permission denied on Cloud KMS key. Please ensure that your service account may use it.",
                Reason::SrcKmsDecryptDenied,
            ),
            (503, "ServerBusy", "", Reason::SrcUnavailable),
            (403, "AuthenticationFailed", "", Reason::SrcGetDenied),
            (
                403,
                "KeyVaultEncryptionKeyNotFound",
                "",
                Reason::SrcKmsDecryptDenied,
            ),
            (301, "PermanentRedirect", "", Reason::SrcUnavailable),
            (
                400,
                "InvalidRequest",
                "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.",
                Reason::SkippedUnreadable,
            ),
            (400, "InvalidRequest", "another", Reason::SrcUnavailable),
            (
                403,
                "AuthenticationFailed",
                "Server failed to authenticate the request. Request date header too old: 'Fri, 27 Nov 2020'",
                Reason::ClockSkew,
            ),
            // Whatever it says, it is the service that failed.
            (500, "NoSuchKey", "", Reason::SrcUnavailable),
            (500, "AccessDenied", "", Reason::SrcUnavailable),
            (500, "InvalidObjectState", "", Reason::SrcUnavailable),
            (503, "PreconditionFailed", "", Reason::SrcUnavailable),
            (502, "RequestTimeTooSkewed", "", Reason::SrcUnavailable),
            (418, "Surprise", "", Reason::SrcUnavailable),
        ] {
            assert_eq!(reason(status, code, told), wanted, "{status} {code}");
        }
    }

    #[test]
    fn how_long_to_wait_is_told_in_seconds_or_until_a_time() {
        let date = "Fri, 27 Nov 2026 03:56:07 GMT";
        for (told, after) in [
            ("7", Some(7)),
            ("Fri, 27 Nov 2026 03:57:07 GMT", Some(60)),
            ("Fri, 27 Nov 2026 03:55:07 GMT", None),
            ("-1", None),
            ("soon", None),
        ] {
            let answer = hyper::Response::builder().status(503).header("date", date);
            let answer = answer.header("retry-after", told).body(()).unwrap();
            let error = S3Error::of(&answer.into_parts().0, b"");
            assert_eq!(
                error.retry_after(),
                after.map(Duration::from_secs),
                "{told}"
            );
        }
    }

    #[test]
    fn what_is_wrong_with_a_store_has_its_reason_too() {
        let object_lock = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters";
        for (status, code, told, wanted) in [
            (404, "NoSuchBucket", "", Reason::DstBucketMissing),
            (500, "NoSuchBucket", "", Reason::DstStoreUnavailable),
            (403, "AccessDenied", "", Reason::DstPutDenied),
            (500, "AccessDenied", "", Reason::DstStoreUnavailable),
            (400, "InvalidRequest", object_lock, Reason::DstPutDenied),
            (409, "BlobImmutableDueToPolicy", "", Reason::DstPutDenied),
            (
                400,
                "InvalidRequest",
                "another",
                Reason::DstStoreUnavailable,
            ),
            (403, "RequestTimeTooSkewed", "", Reason::ClockSkew),
            (507, "XMinioStorageFull", "", Reason::DstStoreFull),
        ] {
            let error = S3Error::Answered {
                status,
                code: code.to_owned(),
                told: told.to_owned(),
                after: None,
            };
            let found = error.of_store("file", Reason::DstPutDenied).reason();
            assert_eq!(found, wanted, "{status} {code}");
        }
    }
}
