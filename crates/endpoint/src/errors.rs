//! Failures, as S3 tells them.

use hyper::{HeaderMap, StatusCode, header::HeaderValue};
use s3s::{S3Error, S3ErrorCode};
use sealift_archive::{ArchiveError, in_words};
use sealift_ledger::VersionRow;
use sealift_terms::{AuditUnavailable, BucketName, Reason, Timestamp};

/// What a write to a bucket of replicas is told.
pub(crate) fn read_only(bucket: &BucketName) -> S3Error {
    let told = format!(
        "bucket {bucket} holds replicas: they are read here and written in the region that they \
         come from; an operator opens it for writing with `sealift endpoint promote {bucket}`"
    );
    S3Error::with_message(S3ErrorCode::AccessDenied, told)
}

/// Why a request is refused before it is a call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("it is not signed")]
    Unsigned,
    #[error(
        "it is signed in another way than AWS4-HMAC-SHA256: have its client sign with version 4 (signature_version = s3v4)"
    )]
    OtherSignature,
    #[error("it is a form, which is not taken here")]
    Form,
    #[error("it cannot be understood: {0}")]
    Malformed(&'static str),
    #[error("it is dated {dated}, and here it is {here}: set both clocks")]
    Skewed { dated: Timestamp, here: Timestamp },
    #[error("it ended at {ended}, and here it is {here}")]
    Expired { ended: Timestamp, here: Timestamp },
    #[error("it is good for longer than 7 days")]
    TooLong,
    #[error("its signature does not cover the header {header}")]
    NotCovered { header: String },
    #[error("its access key is not known here")]
    UnknownKey,
    #[error("its signature is not that of its access key's secret")]
    WrongSignature,
    #[error("its body is longer than its call takes here")]
    LongBody,
}

impl Refused {
    /// A short fixed word, by which refusals are counted.
    pub(crate) fn cause(&self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::OtherSignature => "other_signature",
            Self::Form => "form",
            Self::Malformed(_) => "malformed",
            Self::Skewed { .. } => "skewed",
            Self::Expired { .. } => "expired",
            Self::TooLong => "too_long",
            Self::NotCovered { .. } => "not_covered",
            Self::UnknownKey => "unknown_key",
            Self::WrongSignature => "wrong_signature",
            Self::LongBody => "long_body",
        }
    }

    /// The reason code on record.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Skewed { .. } => Reason::ClockSkew,
            Self::Unsigned | Self::UnknownKey | Self::WrongSignature => Reason::PeerIdentityRefused,
            _ => Reason::PolicyDenied,
        }
    }

    fn code(&self) -> S3ErrorCode {
        match self {
            Self::Unsigned | Self::Expired { .. } | Self::NotCovered { .. } => {
                S3ErrorCode::AccessDenied
            }
            Self::LongBody => S3ErrorCode::EntityTooLarge,
            Self::OtherSignature | Self::TooLong => S3ErrorCode::InvalidRequest,
            Self::Form => S3ErrorCode::NotImplemented,
            Self::Malformed(_) => S3ErrorCode::AuthorizationHeaderMalformed,
            Self::Skewed { .. } => S3ErrorCode::RequestTimeTooSkewed,
            Self::UnknownKey => S3ErrorCode::InvalidAccessKeyId,
            Self::WrongSignature => S3ErrorCode::SignatureDoesNotMatch,
        }
    }

    /// As whoever asked is told.
    pub(crate) fn told(&self) -> S3Error {
        S3Error::with_message(self.code(), format!("the request is refused: {self}"))
    }
}

/// Why an archive does not give what was asked for.
pub(crate) fn of_archive(error: &ArchiveError) -> S3Error {
    let (code, status) = match error {
        ArchiveError::BucketMissing { .. } => (S3ErrorCode::NoSuchBucket, None),
        ArchiveError::NotFound { version: None, .. } => (S3ErrorCode::NoSuchKey, None),
        ArchiveError::NotFound { .. } => (S3ErrorCode::NoSuchVersion, None),
        error => of_reason(error.reason()),
    };
    let message = match error {
        ArchiveError::NotFound { .. }
        | ArchiveError::BucketMissing { .. }
        | ArchiveError::ClockAhead { .. }
        | ArchiveError::Retained { .. }
        | ArchiveError::TooManyUploads { .. }
        | ArchiveError::TooManyAssemblies { .. } => error.to_string(),
        // What is said of keys is meant for whoever is to read.
        ArchiveError::Key(_) => format!("{}: {}", error.reason(), in_words(error)),
        error => format!("{}: what happened is in the agent's log", error.reason()),
    };
    let mut told = S3Error::with_message(code, message);
    if let Some(status) = status {
        told.set_status_code(status);
    }
    told
}

/// Keys that cannot be used are told as S3 does of objects under SSE-KMS.
fn of_reason(reason: Reason) -> (S3ErrorCode, Option<StatusCode>) {
    let kms = |code: &'static str| {
        let code = S3ErrorCode::Custom(code.into());
        (code, Some(StatusCode::BAD_REQUEST))
    };
    match reason {
        Reason::DstKmsKeyDisabled => kms("KMS.DisabledException"),
        Reason::DstKmsKeyPendingDeletion => kms("KMS.KMSInvalidStateException"),
        Reason::DstKmsKeyMissing => kms("KMS.NotFoundException"),
        Reason::DstKmsAccessDenied | Reason::DstRetained => (S3ErrorCode::AccessDenied, None),
        Reason::DstKmsThrottled => (S3ErrorCode::SlowDown, None),
        Reason::DstQuotaExceeded => (S3ErrorCode::SlowDown, None),
        Reason::DstObjectTooLarge => (S3ErrorCode::EntityTooLarge, None),
        Reason::DstStoreFull => {
            let full = S3ErrorCode::Custom("InsufficientStorage".into());
            (full, Some(StatusCode::INSUFFICIENT_STORAGE))
        }
        Reason::ClockSkew => (S3ErrorCode::ServiceUnavailable, None),
        Reason::DstKmsUnavailable | Reason::AuditUnavailable | Reason::DstStoreUnavailable => {
            (S3ErrorCode::ServiceUnavailable, None)
        }
        _ => (S3ErrorCode::InternalError, None),
    }
}

/// What cannot be put on record is not done.
pub(crate) fn off_record(error: &AuditUnavailable) -> S3Error {
    tracing::error!("refused, as it cannot be put on record: {error}");
    let (code, _) = of_reason(Reason::AuditUnavailable);
    let told = "what happened is in the agent's log";
    S3Error::with_message(code, format!("{}: {told}", Reason::AuditUnavailable))
}

/// Too much is under way.
pub(crate) fn slow_down() -> S3Error {
    S3Error::with_message(
        S3ErrorCode::SlowDown,
        "so much is under way here that there is no room for more: try again later",
    )
}

/// An argument that cannot be.
pub(crate) fn invalid(what: &'static str) -> S3Error {
    S3Error::with_message(S3ErrorCode::InvalidArgument, what)
}

/// What is told of a delete marker: the latest version of a key, or one that was named.
pub(crate) fn marker(row: &VersionRow, is_named: bool) -> S3Error {
    let mut error = match is_named {
        true => S3Error::with_message(
            S3ErrorCode::MethodNotAllowed,
            "this version is a delete marker",
        ),
        false => S3Error::with_message(S3ErrorCode::NoSuchKey, "the key was removed"),
    };
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-delete-marker", HeaderValue::from_static("true"));
    if let Ok(version) = row.name.version.as_str().parse() {
        headers.insert("x-amz-version-id", version);
    }
    error.set_headers(headers);
    error
}
