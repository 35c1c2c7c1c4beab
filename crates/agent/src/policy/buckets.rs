//! What a source or a store that is a bucket has to be allowed, and what its own policy
//! denies.

use sealift_outside::Words;
use sealift_store::{
    BucketSettings, EventQueue, S3_FRONT_ACTIONS, S3_SOURCE_ACTIONS, S3_STORE_ACTIONS, S3Settings,
};
use serde_json::{Map, Value, json};

use super::statements::{Policy, allowed};
use crate::config::{Config, SourceFrom};

/// The policies of buckets; what the role needs is added to its own.
pub(super) fn policies(config: &Config, of_role: &mut Policy) -> Map<String, Value> {
    let mut of_buckets = Map::new();
    for source in &config.sources {
        let SourceFrom::S3(bucket) = &source.from else {
            continue;
        };
        let settings = &bucket.settings;
        on_bucket(of_role, "Read", settings, &S3_SOURCE_ACTIONS);
        if source.front.is_some() {
            on_bucket(of_role, "PassOn", settings, &S3_FRONT_ACTIONS);
        }
        if let Some((words, statement)) = settings.queue.as_ref().and_then(taking) {
            of_role.add(&words, statement);
        }
        opening(of_role, settings, source.front.is_some());
        of_buckets.insert(settings.bucket.to_string(), over_tls_alone(settings));
    }
    if let Some(bucket) = &config.store
        && let BucketSettings::S3(settings) = &bucket.settings
        && settings.words == Words::Aws
    {
        on_bucket(of_role, "Store", settings, &S3_STORE_ACTIONS);
        of_buckets.insert(settings.bucket.to_string(), over_tls_alone(settings));
    }
    of_buckets
}

fn arn(settings: &S3Settings) -> String {
    format!("arn:aws:s3:::{}", settings.bucket)
}

/// Whether an action is one on a bucket, and not on the objects in it.
fn is_of_bucket(action: &str) -> bool {
    action.starts_with("s3:ListBucket") || action.starts_with("s3:GetBucket")
}

/// Actions on the bucket, and those on its objects.
fn on_bucket(of_role: &mut Policy, word: &str, settings: &S3Settings, actions: &[&str]) {
    let (of_bucket, of_objects): (Vec<&str>, Vec<&str>) =
        actions.iter().partition(|action| is_of_bucket(action));
    let (arn, name) = (arn(settings), &settings.bucket);
    let below = format!("{arn}/{}*", settings.prefix);
    of_role.add(&format!("{word} bucket {name}"), allowed(&of_bucket, arn));
    of_role.add(
        &format!("{word} objects {name}"),
        allowed(&of_objects, below),
    );
}

/// `https://HOST/ACCOUNT/NAME` is `arn:aws:sqs:REGION:ACCOUNT:NAME`.
fn taking(queue: &EventQueue) -> Option<(String, Map<String, Value>)> {
    let mut parts = queue.url.rsplit('/');
    let (name, account) = (parts.next()?, parts.next()?);
    let arn = format!("arn:aws:sqs:{}:{account}:{name}", queue.region);
    let statement = allowed(&["sqs:ReceiveMessage", "sqs:DeleteMessage"], arn);
    Some((format!("Take {name}"), statement))
}

/// The keys under which objects are that are sent, and written where the endpoint is in front.
fn opening(of_role: &mut Policy, settings: &S3Settings, is_fronted: bool) {
    let Some(keys) = settings.kms_keys.as_ref().filter(|keys| !keys.is_empty()) else {
        return;
    };
    let actions = match is_fronted {
        true => &["kms:Decrypt", "kms:GenerateDataKey"][..],
        false => &["kms:Decrypt"],
    };
    let words = format!("Open {}", settings.bucket);
    of_role.add(&words, allowed(actions, json!(keys)));
}

/// Who asks in the clear is refused by the bucket, whoever it is.
fn over_tls_alone(settings: &S3Settings) -> Value {
    let arn = arn(settings);
    let statement = json!({
        "Effect": "Deny", "Principal": "*", "Action": "s3:*",
        "Resource": [arn, format!("{arn}/*")],
        "Condition": { "Bool": { "aws:SecureTransport": "false" } },
    });
    let mut policy = Policy::default();
    if let Value::Object(statement) = statement {
        policy.add("DenyInTheClear", statement);
    }
    policy.printed()
}

#[cfg(test)]
mod tests {
    use crate::{
        aws_policies,
        config::{Config, Source, Template},
    };

    #[test]
    fn a_store_is_written_below_its_prefix_with_the_actions_that_are_asked_for() {
        let text = format!(
            "{}\n[store.s3]\nregion = \"eu-west-1\"\nbucket = \"sealed\"\nprefix = \"site-b/\"\n\
             credentials_file = \"c\"\n",
            Template::example().render()
        );
        let config = Config::check(&Source {
            path: "/etc/sealift/sealift.toml".into(),
            text,
            overrides: Vec::new(),
        });
        let printed = aws_policies(&config.unwrap(), "arn:role").unwrap();
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
    fn a_bucket_is_read_below_its_prefix_with_the_actions_that_are_asked_for() {
        let text = format!(
            "{}\n[[source]]\nbucket = \"photos\"\n[source.s3]\nregion = \"eu-west-1\"\nprefix = \"in/\"\n\
             credentials_file = \"c\"\nkms_keys = [\"arn:key\"]\n\
             queue_url = \"https://sqs.eu-west-1.amazonaws.com/111122223333/events\"\n",
            Template::example().render()
        );
        let config = Config::check(&Source {
            path: "/etc/sealift/sealift.toml".into(),
            text,
            overrides: Vec::new(),
        });
        let printed = aws_policies(&config.unwrap(), "arn:role").unwrap();
        let statements = printed["iam_policy"]["Statement"].as_array().unwrap();
        let resources: Vec<_> = statements.iter().map(|one| &one["Resource"]).collect();
        assert_eq!(resources[0], "arn:aws:s3:::photos");
        assert_eq!(resources[1], "arn:aws:s3:::photos/in/*");
        assert_eq!(resources[2], "arn:aws:sqs:eu-west-1:111122223333:events");
        assert_eq!(resources[3][0], "arn:key");
        assert_eq!(statements[1]["Action"][0], "s3:GetObjectVersion");
        let denied = &printed["bucket_policies"]["photos"]["Statement"][0];
        assert_eq!(denied["Condition"]["Bool"]["aws:SecureTransport"], "false");
    }

    #[test]
    fn in_front_of_a_source_the_role_may_what_applications_do_as_well() {
        let text = format!(
            "{}\n[[source]]\nbucket = \"photos\"\nfronted = true\n[source.s3]\n\
             region = \"eu-west-1\"\nprefix = \"in/\"\ncredentials_file = \"c\"\n\
             [endpoint]\nlisten = \"127.0.0.1:9000\"\n[[endpoint.key]]\nid = \"app\"\n\
             secret_file = \"s\"\nbuckets = [\"photos\"]\nrights = [\"put\"]\n",
            Template::example().render()
        );
        let config = Config::check(&Source {
            path: "/etc/sealift/sealift.toml".into(),
            text,
            overrides: Vec::new(),
        });
        let printed = aws_policies(&config.unwrap(), "arn:role").unwrap();
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
}
