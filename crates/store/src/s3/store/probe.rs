//! Tries each of the actions that a store needs, so that a check can name what is missing.

use sealift_terms::limits::S3_PROBE_TIME_MAX;

use super::{
    super::probe::Probe,
    S3Store,
    bucket::{Bucket, If, Outcome},
    versioning::Versioning,
};
use crate::StoreError;

/// The actions that a store asks for: what a policy has to allow.
pub const S3_STORE_ACTIONS: [&str; 8] = [
    "s3:GetBucketVersioning",
    "s3:ListBucket",
    "s3:ListBucketMultipartUploads",
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
];

/// What is written to try; no name of a file begins so.
pub(super) const TRIED: &str = ".sealift-check";

impl S3Store {
    /// Tries each action once; what cannot be tried for what failed before it is left out.
    pub async fn check(&self) -> Vec<Probe> {
        let bucket = &*self.inner.bucket;
        let mut probes = Vec::new();
        let trying = try_all(bucket, &self.inner.versioning, &mut probes);
        if tokio::time::timeout(S3_PROBE_TIME_MAX, trying)
            .await
            .is_err()
        {
            probes.push(Probe {
                action: "the bucket's answer",
                outcome: Err(self.inner.failed_as(bucket.name(), "it takes too long")),
            });
        }
        probes
    }
}

async fn try_all(bucket: &Bucket, wanted: &Versioning, probes: &mut Vec<Probe>) {
    let mut tried = |action, outcome| probes.push(Probe { action, outcome });
    let versioning = bucket.versioning().await;
    let told = versioning.and_then(|state| wanted.told(bucket, &state));
    tried("s3:GetBucketVersioning", told);
    let listed = bucket.list("", None, 1).await;
    tried(
        "s3:ListBucket",
        listed.map(|_| "it can be listed".to_owned()),
    );
    let uploads = bucket.uploads("").await;
    let told = |uploads: Vec<_>| format!("{} uploads are open", uploads.len());
    tried("s3:ListBucketMultipartUploads", uploads.map(told));
    try_file(bucket, &mut tried).await;
    try_upload(bucket, &mut tried).await;
}

async fn try_file(
    bucket: &Bucket,
    tried: &mut impl FnMut(&'static str, Result<String, StoreError>),
) {
    // Left by a check that was cut off.
    let removed = bucket.delete(TRIED).await;
    let put = bucket.put(TRIED, TRIED.as_bytes(), &If::Absent).await;
    let is_put = put.is_ok();
    tried("s3:PutObject", put.map(|_| "it can be written".to_owned()));
    if is_put {
        let again = bucket.put(TRIED, TRIED.as_bytes(), &If::Absent).await;
        tried(
            "If-None-Match",
            again.and_then(|outcome| match outcome {
                Outcome::Conflict => Ok("it is held: two agents never write one bucket".to_owned()),
                Outcome::Done(_) | Outcome::NoUpload => Err(StoreError::StoreFailed {
                    name: bucket.name().to_owned(),
                    source: std::io::Error::other(
                        "it was ignored: this store cannot tell two agents that write it apart",
                    ),
                }),
            }),
        );
        let got = bucket.get(TRIED).await;
        tried("s3:GetObject", got.map(|_| "it can be read".to_owned()));
    }
    let removed = removed.and(bucket.delete(TRIED).await);
    tried(
        "s3:DeleteObject",
        removed.map(|()| "files can be deleted".to_owned()),
    );
}

async fn try_upload(
    bucket: &Bucket,
    tried: &mut impl FnMut(&'static str, Result<String, StoreError>),
) {
    // That it may not be begun was told: it takes what putting takes.
    let Ok(id) = bucket.begin_upload(TRIED).await else {
        return;
    };
    let parts = bucket.parts(TRIED, &id).await;
    tried(
        "s3:ListMultipartUploadParts",
        parts.map(|_| "parts can be listed".to_owned()),
    );
    let aborted = bucket.abort(TRIED, &id).await;
    tried(
        "s3:AbortMultipartUpload",
        aborted.map(|()| "uploads can be given up".to_owned()),
    );
}
