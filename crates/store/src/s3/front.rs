//! A bucket that is asked for others: what an application wants of it goes on to the store,
//! signed as its source is, and what the store answers comes back as it is.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::{HeaderMap, Method, StatusCode};
use sealift_outside::{Answer, Payload};
use sealift_terms::{
    VersionId,
    limits::{FRONT_COMPLETED_WITHIN, S3_TIME_MAX},
};

use super::{
    S3Source,
    client::{Ask, S3Client},
    error::S3Error,
    version, xml,
};

/// The actions that applications ask for beside what a source does: what a policy has to allow.
pub const S3_FRONT_ACTIONS: [&str; 16] = [
    "s3:GetBucketLocation",
    "s3:ListBucket",
    "s3:ListBucketMultipartUploads",
    "s3:AbortMultipartUpload",
    "s3:DeleteObject",
    "s3:DeleteObjectTagging",
    "s3:DeleteObjectVersion",
    "s3:DeleteObjectVersionTagging",
    "s3:GetObject",
    "s3:GetObjectAttributes",
    "s3:GetObjectTagging",
    "s3:GetObjectVersionAttributes",
    "s3:ListMultipartUploadParts",
    "s3:PutObject",
    "s3:PutObjectTagging",
    "s3:PutObjectVersionTagging",
];

/// Codes by which a store refuses whoever signed, and not what was asked.
const OF_CREDENTIALS: [&str; 9] = [
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "MissingSecurityHeader",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
];

/// The way to a source's store for those who are not its sender.
#[derive(Clone)]
pub struct S3Front {
    pub(super) client: Arc<S3Client>,
}

impl fmt::Debug for S3Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Front({:?})", self.client)
    }
}

/// What is asked for somebody else.
#[derive(Debug)]
pub struct Passed {
    /// The method.
    pub method: Method,
    /// Of which key; none for the bucket itself.
    pub key: Option<String>,
    /// Names and values, not encoded.
    pub query: Vec<(String, String)>,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body. What is passed on carries what the signature says of it.
    pub body: Payload,
    /// Whether it must not be asked twice.
    pub once: bool,
}

/// What the store made of it.
#[derive(Debug)]
pub enum Made {
    /// What was asked for; its body is still to be taken.
    Answered(Answer),
    /// It is not done, for a reason that is for whoever wanted it.
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// The headers.
        headers: HeaderMap,
        /// The body, as it came.
        body: Bytes,
        /// The error's code; empty where the answer has none, as that of a HEAD.
        code: String,
        /// What it says of it, in one bounded line.
        told: String,
    },
}

impl Made {
    /// The HTTP status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Answered(answer) => answer.head.status,
            Self::Refused { status, .. } => *status,
        }
    }
}

impl S3Source {
    /// The way to its store for others.
    #[must_use]
    pub fn front(&self) -> S3Front {
        S3Front {
            client: self.client.clone(),
        }
    }
}

impl S3Front {
    /// The bucket's name at the store.
    #[must_use]
    pub fn bucket(&self) -> &str {
        self.client.settings.bucket.as_str()
    }

    /// Only keys that begin so are of the source.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.client.settings.prefix
    }

    /// Whether the store of both is the same, asked as the same.
    #[must_use]
    pub fn is_beside(&self, other: &Self) -> bool {
        let (one, other) = (&self.client.settings, &other.client.settings);
        (&one.credentials, &one.region) == (&other.credentials, &other.region)
            && (one.path_style, &one.endpoint) == (other.path_style, &other.endpoint)
    }

    /// The id of the version that an answer is about, as the source has it.
    #[must_use]
    pub fn version_of(&self, headers: &HeaderMap) -> Option<VersionId> {
        let told = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let version = told("x-amz-version-id").unwrap_or_default();
        version::of(version, told("etag").unwrap_or_default()).ok()
    }

    /// Asks the store. Nothing is tried again: whoever asked does that.
    ///
    /// # Errors
    /// The store is not reached, answers something else than S3, or knows nobody of this name.
    pub async fn pass(&self, asked: Passed) -> Result<Made, S3Error> {
        let query: Vec<_> = asked
            .query
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let headers = asked.headers.iter();
        let headers: Vec<_> = headers
            .map(|(name, value)| (name.as_str(), value))
            .collect();
        let mut ask = Ask::new(asked.method.clone(), asked.key.as_deref()).body(asked.body);
        for (name, value) in query {
            ask = ask.query(name, value);
        }
        for (name, value) in headers {
            ask = ask.header(name, value.clone());
        }
        let is_list = asked.method == Method::POST;
        let answer = match asked.once {
            true => self.client.begin_once(&ask, time(is_list)).await?,
            false => self.client.begin_any(&ask).await?,
        };
        let status = answer.head.status;
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(Made::Answered(answer));
        }
        if status.is_redirection() {
            let what = "it sends elsewhere: its region or its endpoint is another one";
            return Err(S3Error::Shape { what });
        }
        self.refused(answer, asked.method == Method::HEAD).await
    }

    async fn refused(&self, answer: Answer, is_head: bool) -> Result<Made, S3Error> {
        let head = answer.head.clone();
        let body = match is_head {
            true => Bytes::new(),
            false => answer.whole().await?.into_body(),
        };
        let (code, _) = xml::error(&body).unwrap_or_default();
        let error = S3Error::of(&head, &body);
        if error.is_denied() {
            self.client.doubt();
        }
        if OF_CREDENTIALS.contains(&code.as_str()) {
            return Err(error);
        }
        let told = match error {
            S3Error::Answered { told, .. } => told,
            _ => String::new(),
        };
        Ok(Made::Refused {
            status: head.status,
            headers: head.headers,
            body,
            code,
            told,
        })
    }
}

/// How long it may take until there is the head of an answer, beside the time for the body.
/// What puts an object together, or removes many, takes longer than others.
fn time(is_list: bool) -> Duration {
    match is_list {
        true => FRONT_COMPLETED_WITHIN,
        false => S3_TIME_MAX,
    }
}
