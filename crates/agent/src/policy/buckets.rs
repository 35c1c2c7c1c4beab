//! What a source or a store that is a bucket has to be allowed, and what its own policy allows and
//! denies: where it is of another account than the agent, both halves have to be there.

use std::collections::BTreeMap;

use sealift_outside::Words;
use sealift_store::{
    BucketSettings, S3_FRONT_ACTIONS, S3_SOURCE_ACTIONS, S3_STORE_ACTIONS, S3Settings,
};
use serde_json::{Map, Value, json};

use super::{
    Asked,
    keys::KeyPolicies,
    queues::QueuePolicies,
    statements::{Policy, allowed, granted},
    through::{any_key, below, bucket_arn, through_s3},
};
use crate::config::SourceFrom;

/// The policies of buckets, by their names.
#[derive(Debug, Default)]
pub(super) struct BucketPolicies(BTreeMap<String, Policy>);

impl BucketPolicies {
    /// Each denies what comes in the clear first, unless the agent itself comes so: to a loopback
    /// address, where the store is on the same machine.
    fn of(&mut self, settings: &S3Settings) -> &mut Policy {
        self.0
            .entry(settings.bucket.to_string())
            .or_insert_with(|| {
                let mut policy = Policy::default();
                if settings.endpoint.is_tls() {
                    policy.add("DenyInTheClear", over_tls_alone(settings));
                }
                policy
            })
    }

    /// Actions on a bucket, and those on its objects: to the role and by the bucket.
    fn allow(
        &mut self,
        asked: &Asked<'_>,
        of_role: &mut Policy,
        word: &str,
        (settings, actions): (&S3Settings, &[&str]),
    ) {
        let (of_bucket, of_objects): (Vec<&str>, Vec<&str>) =
            actions.iter().partition(|action| is_of_bucket(action));
        for (what, actions, on) in [
            ("bucket", of_bucket, bucket_arn(settings)),
            ("objects", of_objects, below(settings)),
        ] {
            let (words, statement) = (format!("{word} {what}"), allowed(&actions, on));
            let policy = self.of(settings);
            policy.add(&words, granted(statement.clone(), asked.principal));
            of_role.add(&format!("{words} {}", settings.bucket), statement);
        }
    }

    pub(super) fn printed(self) -> Map<String, Value> {
        let policies = self.0.into_iter();
        policies
            .map(|(bucket, policy)| (bucket, policy.printed()))
            .collect()
    }
}

/// Adds what buckets need: to the policies of the role, of their own, and of queues and keys.
pub(super) fn policies(
    asked: &Asked<'_>,
    of_role: &mut Policy,
    of_buckets: &mut BucketPolicies,
    (of_queues, of_keys): (&mut QueuePolicies, &mut KeyPolicies),
) {
    for source in &asked.config.sources {
        let SourceFrom::S3(bucket) = &source.from else {
            continue;
        };
        let settings = &bucket.settings;
        of_buckets.allow(asked, of_role, "Read", (settings, &S3_SOURCE_ACTIONS));
        if source.front.is_some() {
            of_buckets.allow(asked, of_role, "PassOn", (settings, &S3_FRONT_ACTIONS));
        }
        of_queues.add(asked, settings, of_role);
        let operations = match source.front.is_some() {
            true => &["kms:Decrypt", "kms:GenerateDataKey"][..],
            false => &["kms:Decrypt"],
        };
        opening(asked, settings, operations, (of_role, of_keys));
    }
    if let Some(bucket) = &asked.config.store
        && let BucketSettings::S3(settings) = &bucket.settings
        && settings.words == Words::Aws
    {
        of_buckets.allow(asked, of_role, "Store", (settings, &S3_STORE_ACTIONS));
        // Under which key it encrypts is the bucket's own matter; parts are read again to be
        // put together.
        let operations = ["kms:Decrypt", "kms:GenerateDataKey"];
        opening(asked, settings, &operations, (of_role, of_keys));
    }
}

/// Whether an action is one on a bucket, and not on the objects in it.
fn is_of_bucket(action: &str) -> bool {
    action.starts_with("s3:ListBucket") || action.starts_with("s3:GetBucket")
}

/// The keys under which the store encrypts objects: those that are named, or any of its region.
/// A named one has a policy of its own, too, as it may be of another account.
fn opening(
    asked: &Asked<'_>,
    settings: &S3Settings,
    operations: &[&str],
    (of_role, of_keys): (&mut Policy, &mut KeyPolicies),
) {
    let words = format!("OpenIn {}", settings.bucket);
    match &settings.kms_keys {
        Some(keys) if keys.is_empty() => {}
        Some(keys) => {
            of_role.add(&words, through_s3(settings, operations, json!(keys)));
            for key in keys {
                let statement = through_s3(settings, operations, "*");
                of_keys.add(key, asked, &words, statement);
            }
        }
        None if settings.is_of_aws() => {
            of_role.add(&words, through_s3(settings, operations, any_key(settings)));
        }
        None => {}
    }
}

/// Who asks in the clear is refused by the bucket, whoever it is.
fn over_tls_alone(settings: &S3Settings) -> Map<String, Value> {
    let arn = bucket_arn(settings);
    Map::from_iter([
        ("Effect".to_owned(), "Deny".into()),
        ("Principal".to_owned(), "*".into()),
        ("Action".to_owned(), "s3:*".into()),
        ("Resource".to_owned(), json!([arn, format!("{arn}/*")])),
        (
            "Condition".to_owned(),
            json!({ "Bool": { "aws:SecureTransport": "false" } }),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use crate::{aws_policies, policy::example_with};

    #[test]
    fn a_store_is_written_below_its_prefix_with_the_actions_that_are_asked_for() {
        let config = example_with(
            "[store.s3]\nregion = \"eu-west-1\"\nbucket = \"sealed\"\nprefix = \"site-b/\"\n\
             credentials_file = \"c\"\n",
        );
        let printed = aws_policies(&config, "arn:role").unwrap();
        let statements = printed["iam_policy"]["Statement"].as_array().unwrap();
        let of = |n: usize| {
            (
                &statements[n]["Resource"],
                statements[n]["Action"].to_string(),
            )
        };
        let (bucket, actions) = of(0);
        assert_eq!(bucket, "arn:aws:s3:::sealed");
        let wanted =
            r#"["s3:GetBucketVersioning","s3:ListBucket","s3:ListBucketMultipartUploads"]"#;
        assert_eq!(actions, wanted);
        let (objects, actions) = of(1);
        assert_eq!(objects, "arn:aws:s3:::sealed/site-b/*");
        let wanted = r#"["s3:GetObject","s3:PutObject","s3:DeleteObject","s3:AbortMultipartUpload","s3:ListMultipartUploadParts"]"#;
        assert_eq!(actions, wanted);
        let denied = &printed["bucket_policies"]["sealed"]["Statement"][0];
        assert_eq!(denied["Condition"]["Bool"]["aws:SecureTransport"], "false");
    }

    #[test]
    fn a_store_that_is_reached_in_the_clear_on_this_machine_does_not_lock_the_agent_out() {
        let config = example_with(
            "[store.s3]\nregion = \"eu-west-1\"\nbucket = \"sealed\"\n\
             endpoint = \"http://127.0.0.1:9000\"\ncredentials_file = \"c\"\n",
        );
        let printed = aws_policies(&config, "arn:role").unwrap();
        let policy = &printed["bucket_policies"]["sealed"];
        assert_eq!(policy["Statement"][0]["Effect"], "Allow");
        assert!(!policy.to_string().contains("SecureTransport"));
    }

    #[test]
    fn a_bucket_is_read_below_its_prefix_with_the_actions_that_are_asked_for() {
        let config = example_with(
            "[[source]]\nbucket = \"photos\"\n[source.s3]\nregion = \"eu-west-1\"\nprefix = \"in/\"\n\
             credentials_file = \"c\"\nkms_keys = [\"arn:aws:kms:eu-west-1:444455556666:key/k\"]\n\
             queue_url = \"https://sqs.eu-west-1.amazonaws.com/111122223333/events\"\n",
        );
        let printed = aws_policies(&config, "arn:role").unwrap();
        let statements = printed["iam_policy"]["Statement"].as_array().unwrap();
        let resources: Vec<_> = statements.iter().map(|one| &one["Resource"]).collect();
        assert_eq!(resources[0], "arn:aws:s3:::photos");
        assert_eq!(resources[1], "arn:aws:s3:::photos/in/*");
        assert_eq!(resources[2], "arn:aws:sqs:eu-west-1:111122223333:events");
        let key = "arn:aws:kms:eu-west-1:444455556666:key/k";
        assert_eq!(resources[3][0], key);
        assert_eq!(statements[1]["Action"][0], "s3:GetObjectVersion");
        let denied = &printed["bucket_policies"]["photos"]["Statement"][0];
        assert_eq!(denied["Condition"]["Bool"]["aws:SecureTransport"], "false");
    }

    #[test]
    fn in_front_of_a_source_the_role_may_what_applications_do_as_well() {
        let config = example_with(
            "[[source]]\nbucket = \"photos\"\nfronted = true\n[source.s3]\n\
             region = \"eu-west-1\"\nprefix = \"in/\"\ncredentials_file = \"c\"\n\
             [endpoint]\nlisten = \"127.0.0.1:9000\"\n[[endpoint.key]]\nid = \"app\"\n\
             secret_file = \"s\"\nbuckets = [\"photos\"]\nrights = [\"put\"]\n",
        );
        let printed = aws_policies(&config, "arn:role").unwrap();
        let statements = printed["iam_policy"]["Statement"].as_array().unwrap();
        let may = |action: &str, resource: &str| {
            statements.iter().any(|one| {
                let actions = one["Action"].as_array().unwrap();
                one["Resource"] == resource && actions.iter().any(|found| found == action)
            })
        };
        assert!(may("s3:PutObject", "arn:aws:s3:::photos/in/*"));
        assert!(may("s3:ListBucket", "arn:aws:s3:::photos"));
        assert!(!may("s3:PutObject", "arn:aws:s3:::photos"));
    }

    const ROLE: &str = "arn:aws:iam::111122223333:role/sealift";
    /// A source and a store, neither of which is of the agent's account as far as anyone knows.
    const BOTH: &str = "[[source]]\nbucket = \"photos\"\n[source.s3]\nregion = \"eu-west-1\"\n\
        prefix = \"in/\"\ncredentials_from = \"instance\"\nKEYS\
        queue_url = \"https://sqs.eu-west-1.amazonaws.com/444455556666/events\"\n\
        [store.s3]\nregion = \"eu-west-1\"\nbucket = \"sealed\"\ncredentials_file = \"c\"\n";

    fn printed(keys: &str) -> serde_json::Value {
        let config = example_with(&BOTH.replace("KEYS", keys));
        aws_policies(&config, ROLE).unwrap()
    }

    fn statements(policy: &serde_json::Value) -> &[serde_json::Value] {
        policy["Statement"].as_array().unwrap()
    }

    /// The statements that are about this resource, apart from what they call themselves and
    /// whom they are for.
    fn about(policy: &serde_json::Value, resource: &str) -> Vec<(String, String)> {
        let found = statements(policy).iter();
        let found = found.filter(|one| one["Resource"] == resource && one["Effect"] == "Allow");
        found
            .map(|one| (one["Action"].to_string(), one["Condition"].to_string()))
            .collect()
    }

    #[test]
    fn each_owner_has_a_half_and_both_say_the_same() {
        let key = "arn:aws:kms:eu-west-1:777788889999:key/k";
        let printed = printed(&format!("kms_keys = [\"{key}\"]\n"));
        let of_role = &printed["iam_policy"];
        let queue = "arn:aws:sqs:eu-west-1:444455556666:events";
        for (half, resource) in [
            (&printed["bucket_policies"]["photos"], "arn:aws:s3:::photos"),
            (
                &printed["bucket_policies"]["photos"],
                "arn:aws:s3:::photos/in/*",
            ),
            (&printed["bucket_policies"]["sealed"], "arn:aws:s3:::sealed"),
            (
                &printed["bucket_policies"]["sealed"],
                "arn:aws:s3:::sealed/*",
            ),
        ] {
            assert!(!about(half, resource).is_empty(), "{resource}");
            assert_eq!(about(half, resource), about(of_role, resource));
        }
        let of_queue = &printed["queue_policies"][queue];
        let [told, taken] = statements(of_queue) else {
            panic!("{of_queue}");
        };
        assert_eq!(told["Principal"]["Service"], "s3.amazonaws.com");
        assert_eq!(
            told["Condition"]["ArnEquals"]["aws:SourceArn"],
            "arn:aws:s3:::photos"
        );
        assert_eq!(taken["Principal"]["AWS"], ROLE);
        assert_eq!(about(of_queue, queue)[1..], about(of_role, queue)[..]);
        let [owner, opened] = statements(&printed["key_policies"][key]) else {
            panic!("{printed}");
        };
        assert_eq!(owner["Principal"]["AWS"], "arn:aws:iam::777788889999:root");
        assert_eq!(opened["Principal"]["AWS"], ROLE);
        let via = &opened["Condition"]["StringEquals"]["kms:ViaService"];
        assert_eq!(*via, "s3.eu-west-1.amazonaws.com");
        let taken = &statements(&printed["trust_policy"])[0];
        assert_eq!(taken["Principal"]["Service"], "ec2.amazonaws.com");
    }

    #[test]
    fn where_no_key_is_named_any_may_be_used_through_s3_alone_and_none_where_none_is_selected() {
        let used = |printed: &serde_json::Value| {
            let found = statements(&printed["iam_policy"]).iter();
            let found = found.filter(|one| one["Action"].to_string().contains("kms:"));
            found.cloned().collect::<Vec<_>>()
        };
        let [of_source, of_store] = &used(&printed(""))[..] else {
            panic!("two buckets");
        };
        for (statement, bucket, operations) in [
            (of_source, "photos", "[\"kms:Decrypt\"]"),
            (
                of_store,
                "sealed",
                "[\"kms:Decrypt\",\"kms:GenerateDataKey\"]",
            ),
        ] {
            assert_eq!(statement["Action"].to_string(), operations);
            assert_eq!(statement["Resource"], "arn:aws:kms:eu-west-1:*:key/*");
            let condition = &statement["Condition"];
            let via = &condition["StringEquals"]["kms:ViaService"];
            assert_eq!(*via, "s3.eu-west-1.amazonaws.com");
            let context = &condition["StringLike"]["kms:EncryptionContext:aws:s3:arn"];
            assert_eq!(context[0], format!("arn:aws:s3:::{bucket}"));
        }
        assert_eq!(used(&printed("kms_keys = []\n")).len(), 1);
    }
}
