//! Tries each of the actions that applications ask for through the endpoint in front of a source,
//! on a key that is not there: nothing is changed, and no version is made.

use hyper::Method;

use super::{
    Probe, S3_FRONT_ACTIONS, S3Front, client::Ask, error::S3Error, storing_xml::upload_id,
};
use crate::{StoreError, bucket_store::TRIED};

/// Of a key that is not there this version is not there either; a name that every store reads.
const VERSION: &str = "null";
const NO_TAGS: &str = "<Tagging><TagSet></TagSet></Tagging>";
/// The SHA-256 of that, which S3 wants with it.
const NO_TAGS_SHA256: &str = "gzVSYInjasGUp84MGSBgAI9DuiWjWcPtlvOz7tu4XZg=";

impl S3Front {
    /// Tries each action once; what cannot be tried for what failed before it is left out.
    pub async fn probe(&self) -> Vec<Probe> {
        let place = self.bucket();
        let probing = async |probes: &mut Vec<Probe>| self.probe_all(probes).await;
        Probe::in_time("the bucket's answer", place, probing).await
    }

    async fn probe_all(&self, probes: &mut Vec<Probe>) {
        let key = format!("{}{TRIED}", self.prefix());
        for action in S3_FRONT_ACTIONS {
            if let Some(ask) = asked(action, &key) {
                let outcome = self.client.may(&ask).await;
                probes.push(Probe { action, outcome });
            }
        }
        self.probe_deletion(&key, probes).await;
        self.probe_upload(&key, probes).await;
    }

    /// Under a condition that nothing meets. A store that knows no such condition leaves a delete
    /// marker, which is taken away.
    async fn probe_deletion(&self, key: &str, probes: &mut Vec<Probe>) {
        let delete = || Ask::new(Method::DELETE, Some(key));
        let ask = delete().header("if-match", "\"sealift\"".to_owned());
        let outcome = match self.client.whole(&ask).await {
            Ok(answer) => {
                let marker = answer.headers().get("x-amz-version-id");
                match marker.and_then(|marker| marker.to_str().ok()) {
                    Some(marker) => self.client.may(&delete().query("versionId", marker)).await,
                    None => Ok("it may be asked".to_owned()),
                }
            }
            Err(error) => self.answered(error),
        };
        probes.push(Probe {
            action: "s3:DeleteObject",
            outcome,
        });
    }

    /// Begins an upload, which is no object yet, and gives it up.
    async fn probe_upload(&self, key: &str, probes: &mut Vec<Probe>) {
        let begin = Ask::new(Method::POST, Some(key)).query("uploads", "");
        let begun = self.client.whole(&begin).await;
        let begun = begun.and_then(|answer| upload_id(answer.body()));
        let (outcome, id) = match begun {
            Ok(id) => (Ok("an upload can be begun".to_owned()), Some(id)),
            Err(error) => (self.answered(error), None),
        };
        probes.push(Probe {
            action: "s3:PutObject",
            outcome,
        });
        let Some(id) = id else {
            return;
        };
        for (action, method) in [
            ("s3:ListMultipartUploadParts", Method::GET),
            ("s3:AbortMultipartUpload", Method::DELETE),
        ] {
            let ask = Ask::new(method, Some(key)).query("uploadId", &id);
            let outcome = self.client.may(&ask).await;
            probes.push(Probe { action, outcome });
        }
    }

    fn answered(&self, error: S3Error) -> Result<String, StoreError> {
        match error.is_of_the_matter() {
            true => Ok(format!("it may be asked: {error}")),
            false => Err(self.client.of_bucket(error)),
        }
    }
}

/// What tries an action by itself; none for those that are tried together.
fn asked<'a>(action: &str, key: &'a str) -> Option<Ask<'a>> {
    let of_bucket = || Ask::new(Method::GET, None);
    let of_key = |method| Ask::new(method, Some(key));
    let versioned = |ask: Ask<'a>| ask.query("versionId", VERSION);
    let attributes = || {
        let ask = of_key(Method::GET).query("attributes", "");
        ask.header("x-amz-object-attributes", "ETag".to_owned())
    };
    let tags = |method: Method| match method == Method::PUT {
        true => {
            let ask = of_key(method).query("tagging", "").body(NO_TAGS.as_bytes());
            ask.header("x-amz-checksum-sha256", NO_TAGS_SHA256.to_owned())
        }
        false => of_key(method).query("tagging", ""),
    };
    Some(match action {
        "s3:GetBucketLocation" => of_bucket().query("location", ""),
        "s3:ListBucket" => of_bucket().query("list-type", "2").query("max-keys", "1"),
        "s3:ListBucketMultipartUploads" => {
            of_bucket().query("uploads", "").query("max-uploads", "1")
        }
        "s3:GetObject" => of_key(Method::GET),
        "s3:GetObjectTagging" => tags(Method::GET),
        "s3:GetObjectAttributes" => attributes(),
        "s3:GetObjectVersionAttributes" => versioned(attributes()),
        "s3:PutObjectTagging" => tags(Method::PUT),
        "s3:PutObjectVersionTagging" => versioned(tags(Method::PUT)),
        "s3:DeleteObjectTagging" => tags(Method::DELETE),
        "s3:DeleteObjectVersionTagging" => versioned(tags(Method::DELETE)),
        "s3:DeleteObjectVersion" => versioned(of_key(Method::DELETE)),
        _ => return None,
    })
}
