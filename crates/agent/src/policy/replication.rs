//! The other set: what the provider's own replication needs of the same buckets, for those who keep
//! it beside sealift or before it.

use sealift_store::S3Settings;
use serde_json::{Map, Value, json};

use super::{
    statements::{Policy, allowed, granted, partition},
    through::{any_key, bucket_arn, through_s3},
    trust::taken_by,
};
use crate::config::{Config, SourceFrom};

/// What S3 reads of a bucket that it replicates.
const OF_BUCKET: [&str; 2] = ["s3:GetReplicationConfiguration", "s3:ListBucket"];
/// And of its objects; the last two of those under Object Lock.
const OF_OBJECTS: [&str; 5] = [
    "s3:GetObjectVersionForReplication",
    "s3:GetObjectVersionAcl",
    "s3:GetObjectVersionTagging",
    "s3:GetObjectRetention",
    "s3:GetObjectLegalHold",
];
/// What it writes to the other bucket.
const WRITTEN: [&str; 3] = [
    "s3:ReplicateObject",
    "s3:ReplicateDelete",
    "s3:ReplicateTags",
];
/// That the owner of the other bucket allows beside that, if replicas are to be its own.
const OWNED: &str = "s3:ObjectOwnerOverrideToBucketOwner";
const OF_DESTINATION: [&str; 3] = [
    "s3:ListBucket",
    "s3:GetBucketVersioning",
    "s3:PutBucketVersioning",
];

/// What `sealift policy --replication-to BUCKET` prints: the role's halves and the other bucket's,
/// for each source that is a bucket of S3. Nothing where none is.
#[must_use]
pub fn replication_policies(config: &Config, role: &str, destination: &str) -> Option<Value> {
    let mut all = Map::new();
    for source in &config.sources {
        if let SourceFrom::S3(bucket) = &source.from
            && bucket.settings.is_of_aws()
        {
            let policies = of_bucket(&bucket.settings, role, destination);
            all.insert(bucket.settings.bucket.to_string(), policies);
        }
    }
    (!all.is_empty()).then(|| json!({ "replication": all }))
}

fn of_bucket(settings: &S3Settings, role: &str, destination: &str) -> Value {
    let arn = bucket_arn(settings);
    let there = format!(
        "arn:{}:s3:::{destination}",
        partition(settings.region.as_str())
    );
    let below_there = format!("{there}/*");
    let mut trust = Policy::default();
    let mut taken = taken_by("s3.amazonaws.com", &["sts:AssumeRole"]);
    let condition = json!({ "ArnEquals": { "aws:SourceArn": arn } });
    taken.insert("Condition".to_owned(), condition);
    trust.add("TakenByS3", taken);
    let mut of_role = Policy::default();
    of_role.add("ReadBucket", allowed(&OF_BUCKET, arn.as_str()));
    of_role.add("ReadObjects", allowed(&OF_OBJECTS, format!("{arn}/*")));
    of_role.add("Replicate", allowed(&WRITTEN, below_there.as_str()));
    if settings
        .kms_keys
        .as_ref()
        .is_none_or(|keys| !keys.is_empty())
    {
        let keys = settings.kms_keys.as_ref();
        let keys = keys.map_or_else(|| any_key(settings).into(), |keys| json!(keys));
        of_role.add("OpenObjects", through_s3(settings, &["kms:Decrypt"], keys));
    }
    let mut at_destination = Policy::default();
    let written: Vec<&str> = WRITTEN.into_iter().chain([OWNED]).collect();
    let objects = granted(allowed(&written, below_there), role);
    at_destination.add("ReplicaObjects", objects);
    let bucket = granted(allowed(&OF_DESTINATION, there), role);
    at_destination.add("ReplicaBucket", bucket);
    json!({
        "trust_policy": trust.printed(),
        "iam_policy": of_role.printed(),
        "destination_bucket_policy": at_destination.printed(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::example_with;

    #[test]
    fn the_providers_own_role_reads_here_and_writes_there() {
        let config = example_with(
            "[[source]]\nbucket = \"photos\"\n[source.s3]\nregion = \"eu-west-1\"\n\
             credentials_file = \"c\"\n",
        );
        let role = "arn:aws:iam::111122223333:role/replication";
        let printed = replication_policies(&config, role, "photos-us").unwrap();
        let of = &printed["replication"]["photos"];
        let may = |policy: &str, action: &str, resource: &str| {
            let statements = of[policy]["Statement"].as_array().unwrap().iter();
            statements.clone().any(|one| {
                let mut actions = one["Action"].as_array().unwrap().iter();
                one["Resource"] == resource && actions.any(|found| found == action)
            })
        };
        for (action, resource) in [
            ("s3:GetReplicationConfiguration", "arn:aws:s3:::photos"),
            ("s3:GetObjectVersionForReplication", "arn:aws:s3:::photos/*"),
            ("s3:ReplicateObject", "arn:aws:s3:::photos-us/*"),
            ("s3:ReplicateDelete", "arn:aws:s3:::photos-us/*"),
            ("s3:ReplicateTags", "arn:aws:s3:::photos-us/*"),
        ] {
            assert!(may("iam_policy", action, resource), "{action}");
        }
        let there = "destination_bucket_policy";
        assert!(may(there, "s3:ReplicateObject", "arn:aws:s3:::photos-us/*"));
        assert!(may(
            there,
            "s3:GetBucketVersioning",
            "arn:aws:s3:::photos-us"
        ));
        for statement in of[there]["Statement"].as_array().unwrap() {
            assert_eq!(statement["Principal"]["AWS"], role);
        }
        let taken = &of["trust_policy"]["Statement"][0];
        assert_eq!(taken["Principal"]["Service"], "s3.amazonaws.com");
        assert_eq!(
            taken["Condition"]["ArnEquals"]["aws:SourceArn"],
            "arn:aws:s3:::photos"
        );
    }
}
