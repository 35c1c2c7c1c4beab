//! Keys that S3 uses in the name of whoever asks it, for what it has encrypted under them: held to
//! one bucket of one region's S3.

use serde_json::{Map, Value, json};

use super::statements::{allowed, partition};
use sealift_store::S3Settings;

/// These operations on keys, as far as S3 asks for one bucket's sake. The context is the bucket,
/// where it has a bucket key, or the object.
pub(super) fn through_s3(
    settings: &S3Settings,
    operations: &[&str],
    keys: impl Into<Value>,
) -> Map<String, Value> {
    let mut statement = allowed(operations, keys);
    let condition = json!({
        "StringEquals": { "kms:ViaService": service(settings) },
        "StringLike": { "kms:EncryptionContext:aws:s3:arn": [
            bucket_arn(settings),
            below(settings),
        ]},
    });
    statement.insert("Condition".to_owned(), condition);
    statement
}

/// Any key of the bucket's region, where none is named.
pub(super) fn any_key(settings: &S3Settings) -> String {
    let region = settings.region.as_str();
    format!("arn:{}:kms:{region}:*:key/*", partition(region))
}

/// What a bucket is in policies.
pub(super) fn bucket_arn(settings: &S3Settings) -> String {
    let partition = partition(settings.region.as_str());
    format!("arn:{partition}:s3:::{}", settings.bucket)
}

/// The objects in it that are of the source, or of the store.
pub(super) fn below(settings: &S3Settings) -> String {
    format!("{}/{}*", bucket_arn(settings), settings.prefix)
}

fn service(settings: &S3Settings) -> String {
    let usual = S3Settings::usual_endpoint(&settings.region);
    usual.trim_start_matches("https://").to_owned()
}
