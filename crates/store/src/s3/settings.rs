//! What a bucket as a source is made of.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf};

use sealift_outside::{CredentialsFrom, Endpoint, Words};
use sealift_terms::{BucketName, ObjectFacts, Reason, Region};

use super::facts::{KMS, SSE, SSE_KEY};
use crate::StoreError;

/// Where a bucket is, as whom it is asked, and what of it is a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Settings {
    /// The service; with hosts of their own for buckets, the bucket's.
    pub endpoint: Endpoint,
    /// The service's name of its region: a signature is for one.
    pub region: Region,
    /// The bucket's name there.
    pub bucket: BucketName,
    /// Whether the bucket is in the path of its URLs, and not in their host.
    pub path_style: bool,
    /// Only keys that begin so. It stays part of each key.
    pub prefix: String,
    /// Whose words are spoken: AWS's, or those of Google's XML API.
    pub words: Words,
    /// Whose credentials sign.
    pub credentials: CredentialsFrom,
    /// The keys of a key service under which objects may be that are sent; any without it.
    pub kms_keys: Option<BTreeSet<String>>,
    /// Whether whoever asks pays for it, which has to be said with each request of a bucket that
    /// wants that.
    pub requester_pays: bool,
    /// Whether a bucket that is a store has to keep versions. A source has to anyway.
    pub requires_versioning: bool,
    /// In which class of the service what a store writes rests; in the bucket's own without it.
    pub storage_class: Option<String>,
    /// Where the store tells of changes.
    pub webhook: Option<Webhook>,
    /// A queue of changes.
    pub queue: Option<EventQueue>,
}

/// Where a store posts its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// An address on loopback.
    pub listen: SocketAddr,
    /// The file with the token that every request has to show.
    pub token_file: PathBuf,
}

/// A queue of SQS that a bucket's events go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventQueue {
    /// The queue's URL.
    pub url: String,
    /// The service in it.
    pub endpoint: Endpoint,
    /// The service's name of its region.
    pub region: Region,
}

impl S3Settings {
    /// Where a region's service is, unless it is reached by a way of its own.
    #[must_use]
    pub fn usual_endpoint(region: &Region) -> String {
        let domain = match region.as_str().starts_with("cn-") {
            true => "amazonaws.com.cn",
            false => "amazonaws.com",
        };
        format!("https://s3.{region}.{domain}")
    }

    /// Whether it is S3 itself, and not what speaks as it does.
    #[must_use]
    pub fn is_of_aws(&self) -> bool {
        let endpoint = self.endpoint.to_string();
        self.words == Words::Aws
            && [".amazonaws.com", ".amazonaws.com.cn"]
                .iter()
                .any(|domain| endpoint.ends_with(domain))
    }

    /// Refuses an object under a key that is not named.
    pub(super) fn hold_key(&self, facts: &ObjectFacts) -> Result<(), StoreError> {
        let is_kms = facts
            .system
            .get(SSE)
            .is_some_and(|sse| sse.starts_with(KMS));
        let Some(selected) = self.kms_keys.as_ref().filter(|_| is_kms) else {
            return Ok(());
        };
        let key = facts
            .system
            .get(SSE_KEY)
            .map_or("the store's own key", |key| key);
        match selected.contains(key) {
            true => Ok(()),
            false => Err(StoreError::SourceRefused {
                reason: Reason::SkippedKmsNotSelected,
                evidence: format!("it is encrypted under {key}, which kms_keys does not name"),
            }),
        }
    }
}
