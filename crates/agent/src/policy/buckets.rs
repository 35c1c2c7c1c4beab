//! What a source or a store that is a bucket has to be allowed, and what its own policy
//! denies.

use sealift_outside::Words;
use sealift_store::{
    BucketSettings, EventQueue, S3_FRONT_ACTIONS, S3_SOURCE_ACTIONS, S3_STORE_ACTIONS, S3Settings,
};
use serde_json::{Map, Value, json};

use super::VERSION;
use crate::config::{Config, SourceFrom};

/// The policies of buckets; what the role needs is added to its statements.
pub(super) fn policies(config: &Config, of_role: &mut Vec<Value>) -> Map<String, Value> {
    let mut of_buckets = Map::new();
    for source in &config.sources {
        let SourceFrom::S3(bucket) = &source.from else {
            continue;
        };
        let settings = &bucket.settings;
        of_role.extend(reading(settings));
        if source.front.is_some() {
            of_role.extend(passing_on(settings));
        }
        of_role.extend(settings.queue.as_ref().and_then(taking));
        of_role.extend(opening(settings, source.front.is_some()));
        of_buckets.insert(settings.bucket.to_string(), over_tls_alone(settings));
    }
    if let Some(bucket) = &config.store
        && let BucketSettings::S3(settings) = &bucket.settings
        && settings.words == Words::Aws
    {
        of_role.extend(storing(settings));
        of_buckets.insert(settings.bucket.to_string(), over_tls_alone(settings));
    }
    of_buckets
}

fn arn(settings: &S3Settings) -> String {
    format!("arn:aws:s3:::{}", settings.bucket)
}

/// As [`reading`], for a store.
fn storing(settings: &S3Settings) -> [Value; 2] {
    let of_bucket =
        |action: &str| action.starts_with("s3:ListBucket") || action == "s3:GetBucketVersioning";
    let (of_bucket, of_objects): (Vec<&str>, Vec<&str>) = S3_STORE_ACTIONS
        .into_iter()
        .partition(|action| of_bucket(action));
    allowed(settings, &of_bucket, &of_objects)
}

/// Actions on the bucket, and those on its objects.
fn reading(settings: &S3Settings) -> [Value; 2] {
    let (of_objects, of_bucket): (Vec<&str>, Vec<&str>) = S3_SOURCE_ACTIONS
        .into_iter()
        .partition(|action| action.starts_with("s3:GetObject"));
    allowed(settings, &of_bucket, &of_objects)
}

/// As [`reading`], for what applications do through the endpoint in front of it.
fn passing_on(settings: &S3Settings) -> [Value; 2] {
    let of_bucket =
        |action: &str| action.starts_with("s3:ListBucket") || action == "s3:GetBucketLocation";
    let (of_bucket, of_objects): (Vec<&str>, Vec<&str>) = S3_FRONT_ACTIONS
        .into_iter()
        .partition(|action| of_bucket(action));
    allowed(settings, &of_bucket, &of_objects)
}

fn allowed(settings: &S3Settings, of_bucket: &[&str], of_objects: &[&str]) -> [Value; 2] {
    [
        json!({ "Effect": "Allow", "Action": of_bucket, "Resource": arn(settings) }),
        json!({
            "Effect": "Allow", "Action": of_objects,
            "Resource": format!("{}/{}*", arn(settings), settings.prefix),
        }),
    ]
}

/// `https://HOST/ACCOUNT/NAME` is `arn:aws:sqs:REGION:ACCOUNT:NAME`.
fn taking(queue: &EventQueue) -> Option<Value> {
    let mut parts = queue.url.rsplit('/');
    let (name, account) = (parts.next()?, parts.next()?);
    Some(json!({
        "Effect": "Allow", "Action": ["sqs:ReceiveMessage", "sqs:DeleteMessage"],
        "Resource": format!("arn:aws:sqs:{}:{account}:{name}", queue.region),
    }))
}

/// The keys under which objects are that are sent, and written where the endpoint is in front.
fn opening(settings: &S3Settings, is_fronted: bool) -> Option<Value> {
    let keys = settings.kms_keys.as_ref().filter(|keys| !keys.is_empty())?;
    let actions = match is_fronted {
        true => vec!["kms:Decrypt", "kms:GenerateDataKey"],
        false => vec!["kms:Decrypt"],
    };
    Some(json!({ "Effect": "Allow", "Action": actions, "Resource": keys }))
}

/// Who asks in the clear is refused by the bucket, whoever it is.
fn over_tls_alone(settings: &S3Settings) -> Value {
    let arn = arn(settings);
    json!({ "Version": VERSION, "Statement": [{
        "Sid": "DenyInTheClear", "Effect": "Deny", "Principal": "*", "Action": "s3:*",
        "Resource": [arn, format!("{arn}/*")],
        "Condition": { "Bool": { "aws:SecureTransport": "false" } },
    }]})
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
