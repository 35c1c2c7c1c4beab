//! The least that AWS, Azure and Google have to allow for the keys, buckets and containers of a
//! configuration: a policy for the agent's role, and one for each key and each bucket; a role
//! for each container, and for each bucket of Google.

mod azure;
mod buckets;
mod google;

use sealift_host::OsDisk;
use sealift_keys::{AWS_KMS_OPERATIONS, KeyName, ProviderKind, WrappedRoot};
use serde_json::{Map, Value, json};

use crate::config::{Bucket, Config, RootKeySource};

/// Stands where the configuration does not know an account.
const ANY_ACCOUNT: &str = "*";

/// What `sealift policy` prints, or nothing where no bucket has a key of AWS KMS, and no
/// source and no store is a bucket or a container.
///
/// The role may describe each key, and use it for one bucket's context alone: a key that
/// serves two buckets has a statement for each.
#[must_use]
pub fn aws_policies(config: &Config, principal: &str) -> Option<Value> {
    let (mut of_role, of_keys) = of_keys(config, principal);
    let of_buckets = buckets::policies(config, &mut of_role);
    let of_azure = azure::roles(config);
    let mut all = Map::new();
    if !of_role.is_empty() {
        let of_role = json!({ "Version": VERSION, "Statement": of_role });
        all.insert("iam_policy".to_owned(), of_role);
        all.insert("key_policies".to_owned(), of_keys.into());
        all.insert("bucket_policies".to_owned(), of_buckets.into());
    }
    if !of_azure.is_empty() {
        all.insert("azure_roles".to_owned(), of_azure.into());
    }
    let of_google = google::roles(config);
    if !of_google.is_empty() {
        all.insert("google_roles".to_owned(), of_google.into());
    }
    (!all.is_empty()).then_some(Value::Object(all))
}

/// The root key of the keystore, where AWS KMS wrapped it: opened at every start, and nothing
/// else. Making another one takes `GenerateDataKey` and `DescribeKey` for that once.
fn of_root_key(config: &Config) -> Option<(String, Map<String, Value>)> {
    let RootKeySource::WrappedFile(path) = &config.root_key else {
        return None;
    };
    let root = WrappedRoot::read(&OsDisk, path).ok()?;
    let (ProviderKind::AwsKms, cmk, _) = root.wrapped_by() else {
        return None;
    };
    let statement = json!({
        "Sid": "OpenRootKey",
        "Effect": "Allow",
        "Action": ["kms:Decrypt"],
        "Condition": { "StringEquals": {
            "kms:EncryptionContext:sealift:keystore": root.id().to_string(),
            "kms:EncryptionContext:sealift:region": config.site.region,
        }},
    });
    let Value::Object(statement) = statement else {
        return None;
    };
    Some((cmk.to_string(), statement))
}

/// The statements of a role that uses keys, and the policies of those.
fn of_keys(config: &Config, principal: &str) -> (Vec<Value>, Map<String, Value>) {
    let (mut of_role, mut of_keys) = (Vec::new(), Map::new());
    let Some(service) = config.key_services.aws_kms.as_ref() else {
        return (of_role, of_keys);
    };
    let region = service.aws_region.as_str();
    let named = config.buckets.iter().flat_map(|bucket| {
        let keys = bucket.keys();
        keys.map(move |(_, key)| (bucket, KeyName::parse(&key.name)))
    });
    let mut buckets: Vec<(&Bucket, &str)> = named
        .filter(|(_, name)| name.provider == ProviderKind::AwsKms)
        .map(|(bucket, name)| (bucket, name.key))
        .collect();
    buckets.sort_by_key(|(bucket, key)| (*key, bucket.name.clone()));
    for (bucket, key) in buckets {
        for (operation, with_context) in statements() {
            let conditions = conditions(config, bucket, with_context);
            let mut statement = allow(bucket, &operation, &conditions);
            statement.insert("Resource".to_owned(), resource(key, region).into());
            if let Some(alias) = key.strip_prefix("alias/") {
                let condition = statement.entry("Condition").or_insert_with(|| json!({}));
                condition["ForAnyValue:StringEquals"] =
                    json!({ "kms:ResourceAliases": format!("alias/{alias}") });
            }
            of_role.push(Value::Object(statement));
            let mut statement = allow(bucket, &operation, &conditions);
            statement.insert("Principal".to_owned(), json!({ "AWS": principal }));
            statement.insert("Resource".to_owned(), "*".into());
            add_to(&mut of_keys, key, Value::Object(statement));
        }
    }
    if let Some((key, mut statement)) = of_root_key(config) {
        statement.insert("Resource".to_owned(), resource(&key, region).into());
        of_role.push(Value::Object(statement.clone()));
        statement.insert("Resource".to_owned(), "*".into());
        statement.insert("Principal".to_owned(), json!({ "AWS": principal }));
        add_to(&mut of_keys, &key, Value::Object(statement));
    }
    (of_role, of_keys)
}

/// Adds a statement to the policy of a key.
fn add_to(of_keys: &mut Map<String, Value>, key: &str, statement: Value) {
    let policy = of_keys
        .entry(key)
        .or_insert_with(|| json!({ "Version": VERSION, "Statement": [] }));
    if let Some(statements) = policy["Statement"].as_array_mut() {
        statements.push(statement);
    }
}

/// The version of the policy language.
const VERSION: &str = "2012-10-17";

/// Operations by whether they are asked with a context.
fn statements() -> [(Vec<String>, bool); 2] {
    let (describing, using): (Vec<&str>, Vec<&str>) = AWS_KMS_OPERATIONS
        .into_iter()
        .partition(|operation| *operation == "DescribeKey");
    let named = |operations: Vec<&str>| {
        operations
            .iter()
            .map(|name| format!("kms:{name}"))
            .collect()
    };
    [(named(describing), false), (named(using), true)]
}

fn conditions(config: &Config, bucket: &Bucket, with_context: bool) -> Option<Value> {
    with_context.then(|| {
        json!({ "StringEquals": {
            "kms:EncryptionContext:sealift:bucket": bucket.name,
            "kms:EncryptionContext:sealift:region": config.site.region,
        }})
    })
}

fn allow(bucket: &Bucket, operations: &[String], condition: &Option<Value>) -> Map<String, Value> {
    let word = if condition.is_some() {
        "Use"
    } else {
        "Describe"
    };
    let letters = bucket
        .name
        .as_str()
        .chars()
        .filter(char::is_ascii_alphanumeric);
    let mut statement = Map::new();
    statement.insert(
        "Sid".to_owned(),
        format!("{word}{}", letters.collect::<String>()).into(),
    );
    statement.insert("Effect".to_owned(), "Allow".into());
    statement.insert("Action".to_owned(), json!(operations));
    if let Some(condition) = condition {
        statement.insert("Condition".to_owned(), condition.clone());
    }
    statement
}

/// The key as a policy of a role names it: an alias is held by its condition.
fn resource(key: &str, region: &str) -> String {
    match key {
        arn if arn.starts_with("arn:") => arn.to_owned(),
        alias if alias.starts_with("alias/") => format!("arn:aws:kms:{region}:{ANY_ACCOUNT}:key/*"),
        id => format!("arn:aws:kms:{region}:{ANY_ACCOUNT}:key/{id}"),
    }
}
