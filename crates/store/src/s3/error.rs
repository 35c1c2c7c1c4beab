//! What a store answers in place of what was asked, and what that means.

use std::io;

use hyper::http::response::Parts;
use sealift_outside::{CredentialsError, HttpError, behind, told};
use sealift_terms::Reason;

use super::xml;
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
    },
    /// The store answered something else than was asked.
    #[error("its answer has another shape: {what}")]
    Shape {
        /// What is wrong with it.
        what: &'static str,
    },
}

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
        Self::Answered {
            status: head.status.as_u16(),
            code: told(code.as_bytes()),
            told: match message.is_empty() {
                true => told(body),
                false => told(message.as_bytes()),
            },
        }
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
        matches!(self, Self::Answered { status: 400 | 403, code, .. } if code.is_empty())
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
            "RequestTimeTooSkewed" => refused(Reason::ClockSkew),
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
            "NoSuchBucket" | "ContainerNotFound" | "ContainerBeingDeleted" => {
                self.unavailable(what)
            }
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
        matches!(
            self,
            Self::Answered {
                status: 409 | 412,
                ..
            }
        )
    }

    /// Whether there is no such upload: it was completed, or given up.
    pub(crate) fn is_no_upload(&self) -> bool {
        matches!(self, Self::Answered { code, .. } if code == "NoSuchUpload")
    }

    /// As the failure of a store at one of its files. `denied` is what is refused then.
    pub(crate) fn of_store(self, name: &str, denied: Reason) -> StoreError {
        let reason = match &self {
            Self::Answered { code, .. } if is_no_bucket(code) => Reason::DstBucketMissing,
            Self::Answered { status, code, .. } => match code.as_str() {
                "RequestTimeTooSkewed" => Reason::ClockSkew,
                // MinIO; and what stores of one's own say of a quota.
                "XMinioStorageFull" | "QuotaExceeded" | "InsufficientCapacity" => {
                    Reason::DstStoreFull
                }
                _ if *status == 507 => Reason::DstStoreFull,
                _ if self.is_denied() => denied,
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
            (418, "Surprise", "", Reason::SrcUnavailable),
        ] {
            assert_eq!(reason(status, code, told), wanted, "{status} {code}");
        }
    }
}
