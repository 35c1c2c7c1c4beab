//! Which key may make which call: the one place in which a call is held against the rows of
//! the configuration.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use s3s::{
    S3Error, S3ErrorCode, S3Result,
    access::{S3Access, S3AccessContext},
    auth::{S3Auth, SecretKey},
    path::S3Path,
};
use sealift_archive::Lease;
use sealift_identity::AccessRight;
use sealift_terms::{AccessKeyId, BucketName};

use crate::core::Core;

/// What is known of a request, for whoever counts it.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    /// The call, once its signature was good.
    pub(crate) call: OnceLock<String>,
    /// Bytes of memory that its body takes.
    pub(crate) memory: OnceLock<usize>,
    /// Held to the end of the answer.
    lease: OnceLock<Lease>,
}

impl Noted {
    /// Takes the memory for a body, once it is known that whoever sends it may make the call.
    ///
    /// # Errors
    /// `SlowDown`: there is none for now.
    pub(crate) async fn take_room(&self, core: &Core) -> S3Result<()> {
        match self.memory.get() {
            None | Some(0) => {}
            Some(bytes) => drop(self.lease.set(core.lease(*bytes).await?)),
        }
        Ok(())
    }
}

/// Hands `s3s` the secrets of access keys.
pub(crate) struct Secrets(pub(crate) Arc<Core>);

#[async_trait]
impl S3Auth for Secrets {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let settings = self.0.settings.load();
        let secret = settings.secrets.get(access_key);
        match secret {
            Some(secret) => Ok(secret.expose().into()),
            None => Err(S3ErrorCode::InvalidAccessKeyId.into()),
        }
    }
}

/// Holds calls against the rows.
pub(crate) struct Rights(pub(crate) Arc<Core>);

/// The right that a call takes; none where there is no answer for it here.
fn right_of(name: &str) -> Option<AccessRight> {
    let right = match name {
        "GetObject" | "HeadObject" | "GetObjectTagging" | "GetObjectAttributes" => AccessRight::Get,
        "ListBuckets"
        | "CreateBucket"
        | "HeadBucket"
        | "GetBucketLocation"
        | "GetBucketVersioning"
        | "ListObjects"
        | "ListObjectsV2"
        | "ListObjectVersions"
        | "ListMultipartUploads" => AccessRight::List,
        "PutObject"
        | "CopyObject"
        | "CreateMultipartUpload"
        | "UploadPart"
        | "UploadPartCopy"
        | "CompleteMultipartUpload"
        | "AbortMultipartUpload"
        | "ListParts"
        | "PutObjectTagging"
        | "DeleteObjectTagging" => AccessRight::Put,
        "DeleteObject" | "DeleteObjects" => AccessRight::Delete,
        _ => return None,
    };
    Some(right)
}

#[async_trait]
impl S3Access for Rights {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let call = cx.s3_op().name().to_owned();
        let bucket = match cx.s3_path() {
            S3Path::Root => None,
            S3Path::Bucket { bucket } | S3Path::Object { bucket, .. } => Some(bucket.to_string()),
        };
        let id = cx.credentials().map(|known| known.access_key.clone());
        let noted = cx.extensions_mut().get::<Arc<Noted>>().cloned();
        if let Some(noted) = &noted {
            let _ = noted.call.set(call.clone());
        }
        let denied = || S3Error::from(S3ErrorCode::AccessDenied);
        let id: AccessKeyId = id.and_then(|id| id.parse().ok()).ok_or_else(denied)?;
        match right_of(&call) {
            Some(right) => self.hold(&id, &call, right, bucket.as_deref())?,
            None => {
                let what = format!("{call} is not implemented here");
                return Err(S3Error::with_message(S3ErrorCode::NotImplemented, what));
            }
        }
        match noted {
            Some(noted) => noted.take_room(&self.0).await,
            None => Ok(()),
        }
    }
}

impl Rights {
    fn hold(
        &self,
        id: &AccessKeyId,
        call: &str,
        right: AccessRight,
        bucket: Option<&str>,
    ) -> S3Result<()> {
        let bucket: Option<BucketName> = match bucket.map(str::parse) {
            None => None,
            Some(Ok(bucket)) => Some(bucket),
            // No row names it, and nothing is in it.
            Some(Err(_)) => return Err(S3ErrorCode::AccessDenied.into()),
        };
        let settings = self.0.settings.load();
        let decision = settings.rows.allows(id, right, bucket.as_ref());
        if decision.is_allowed() {
            tracing::debug!(call, "{decision}");
            return Ok(());
        }
        self.0.deny(id, call, &decision);
        let told = decision.to_string();
        Err(S3Error::with_message(S3ErrorCode::AccessDenied, told))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_takes_a_right_or_is_refused() {
        for (call, right) in [
            ("GetObject", Some(AccessRight::Get)),
            ("GetObjectTagging", Some(AccessRight::Get)),
            ("ListObjectVersions", Some(AccessRight::List)),
            ("ListBuckets", Some(AccessRight::List)),
            ("PutObject", Some(AccessRight::Put)),
            ("CreateMultipartUpload", Some(AccessRight::Put)),
            ("UploadPartCopy", Some(AccessRight::Put)),
            ("DeleteObjects", Some(AccessRight::Delete)),
            ("PutBucketVersioning", None),
            ("WriteGetObjectResponse", None),
            ("DeleteBucket", None),
            ("PutObjectAcl", None),
            ("PutObjectRetention", None),
            ("GetObjectAcl", None),
            ("GetBucketPolicy", None),
            ("SelectObjectContent", None),
            ("a call of tomorrow", None),
        ] {
            assert_eq!(right_of(call), right, "{call}");
        }
    }
}
