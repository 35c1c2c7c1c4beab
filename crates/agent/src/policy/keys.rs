//! What keys of AWS KMS have to allow: those of buckets, each for one bucket's context alone, and
//! the one that wrapped the root key.

use std::collections::BTreeMap;

use sealift_host::OsDisk;
use sealift_keys::{AWS_KMS_OPERATIONS, KeyName, ProviderKind, WrappedRoot};
use serde_json::{Map, Value, json};

use super::{
    Asked,
    statements::{Policy, account_of, allowed, granted, partition, root_of},
};
use crate::config::{Bucket, Config, RootKeySource};

/// Stands where the configuration does not know an account.
const ANY_ACCOUNT: &str = "*";

/// The policies of keys, by their names.
#[derive(Debug, Default)]
pub(super) struct KeyPolicies(BTreeMap<String, Policy>);

impl KeyPolicies {
    /// Adds a statement to the policy of a key. Each begins with one for the account it is in:
    /// KMS takes no policy that lets nobody change it again.
    pub(super) fn add(
        &mut self,
        key: &str,
        asked: &Asked<'_>,
        words: &str,
        statement: Map<String, Value>,
    ) {
        let policy = self.0.entry(key.to_owned()).or_insert_with(|| {
            let account = account_of(key).or(account_of(asked.principal));
            let root = root_of(account, partition(asked.region(key)));
            let mut policy = Policy::default();
            policy.add("Administer", granted(allowed(&["kms:*"], "*"), &root));
            policy
        });
        let mut statement = granted(statement, asked.principal);
        // The key that the policy is of.
        statement.insert("Resource".to_owned(), "*".into());
        policy.add(words, statement);
    }

    pub(super) fn printed(self) -> Map<String, Value> {
        let policies = self.0.into_iter();
        policies
            .map(|(key, policy)| (key, policy.printed()))
            .collect()
    }
}

/// What the role may do with keys, and their own policies.
///
/// The role may describe each key, and use it for one bucket's context alone: a key that
/// serves two buckets has a statement for each.
pub(super) fn policies(asked: &Asked<'_>, of_role: &mut Policy, of_keys: &mut KeyPolicies) {
    let config = asked.config;
    let Some(service) = config.key_services.aws_kms.as_ref() else {
        return;
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
        let describing = operations(|operation| operation == "DescribeKey");
        let using = operations(|operation| operation != "DescribeKey");
        let for_bucket = json!({ "StringEquals": {
            "kms:EncryptionContext:sealift:bucket": bucket.name,
            "kms:EncryptionContext:sealift:region": config.site.region,
        }});
        for (word, operations, condition) in [
            ("Describe", describing, None),
            ("Use", using, Some(for_bucket)),
        ] {
            let mut statement = allowed(&operations, resource(key, region));
            if let Some(condition) = condition {
                statement.insert("Condition".to_owned(), condition);
            }
            let words = format!("{word} {}", bucket.name);
            of_keys.add(key, asked, &words, statement.clone());
            of_role.add(&words, by_its_alias(statement, key));
        }
    }
    if let Some((key, statement)) = of_root_key(config, region) {
        of_keys.add(&key, asked, "OpenRootKey", statement.clone());
        of_role.add("OpenRootKey", by_its_alias(statement, &key));
    }
}

/// The root key of the keystore, where AWS KMS wrapped it: opened at every start, and nothing
/// else. Making another one takes `GenerateDataKey` and `DescribeKey` for that once.
fn of_root_key(config: &Config, region: &str) -> Option<(String, Map<String, Value>)> {
    let RootKeySource::WrappedFile(path) = &config.root_key else {
        return None;
    };
    let root = WrappedRoot::read(&OsDisk, path).ok()?;
    let (ProviderKind::AwsKms, cmk, _) = root.wrapped_by() else {
        return None;
    };
    let key = cmk.to_string();
    let mut statement = allowed(&["kms:Decrypt"], resource(&key, region));
    let condition = json!({ "StringEquals": {
        "kms:EncryptionContext:sealift:keystore": root.id().to_string(),
        "kms:EncryptionContext:sealift:region": config.site.region,
    }});
    statement.insert("Condition".to_owned(), condition);
    Some((key, statement))
}

fn operations(is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let operations = AWS_KMS_OPERATIONS.into_iter();
    operations
        .filter(|operation| is_wanted(operation))
        .map(|operation| format!("kms:{operation}"))
        .collect()
}

/// The key as a policy of a role names it: an alias is held by its condition.
fn resource(key: &str, region: &str) -> String {
    let partition = partition(region);
    match (key, alias(key)) {
        (arn, None) if arn.starts_with("arn:") => arn.to_owned(),
        (id, None) => format!("arn:{partition}:kms:{region}:{ANY_ACCOUNT}:key/{id}"),
        (key, Some(_)) => {
            let account = account_of(key).unwrap_or(ANY_ACCOUNT);
            format!("arn:{partition}:kms:{region}:{account}:key/*")
        }
    }
}

/// The alias that a key is named by.
fn alias(key: &str) -> Option<&str> {
    let name = key.rsplit(':').next().unwrap_or(key);
    name.starts_with("alias/").then_some(name)
}

/// Policies know keys by their ids alone: one that is named by an alias is any that has it.
fn by_its_alias(mut statement: Map<String, Value>, key: &str) -> Map<String, Value> {
    if let Some(alias) = alias(key) {
        let condition = statement.entry("Condition").or_insert_with(|| json!({}));
        condition["ForAnyValue:StringEquals"] = json!({ "kms:ResourceAliases": alias });
    }
    statement
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::{aws_policies, policy::example_with};

    const ROLE: &str = "arn:aws:iam::111122223333:role/sealift";
    const THEIRS: &str = "arn:aws:kms:eu-central-1:444455556666:key/4b1f";

    /// Two layers in one bucket, and another one under one of their keys.
    fn printed() -> Value {
        let text = format!(
            "[keys.aws_kms]\nregion = \"eu-central-1\"\ncredentials_from = \"instance\"\n\
             [[bucket]]\nname = \"a-b\"\nkey = \"aws-kms/alias/ours\"\nsecond_key = \"aws-kms/{THEIRS}\"\n\
             [[bucket]]\nname = \"ab\"\nkey = \"aws-kms/alias/ours\"\n"
        );
        let config = example_with(&text);
        aws_policies(&config, ROLE).unwrap()
    }

    fn statements(policy: &Value) -> &Vec<Value> {
        policy["Statement"].as_array().unwrap()
    }

    #[test]
    fn with_two_layers_no_policy_has_a_sid_twice() {
        let printed = printed();
        let of_keys = printed["key_policies"].as_object().unwrap();
        assert_eq!(of_keys.len(), 2);
        for policy in of_keys.values().chain([&printed["iam_policy"]]) {
            let sids = statements(policy).iter();
            let sids: std::collections::BTreeSet<_> =
                sids.map(|one| one["Sid"].as_str().unwrap()).collect();
            assert_eq!(sids.len(), statements(policy).len(), "{policy}");
            let is_allowed = |sid: &&&str| sid.chars().all(|c| c.is_ascii_alphanumeric());
            assert!(sids.iter().all(|sid| is_allowed(&sid)));
        }
    }

    #[test]
    fn a_keys_policy_leaves_it_to_the_account_that_it_is_in() {
        let printed = printed();
        for (key, account) in [("alias/ours", "111122223333"), (THEIRS, "444455556666")] {
            let first = &statements(&printed["key_policies"][key])[0];
            let root = format!("arn:aws:iam::{account}:root");
            assert_eq!(first["Principal"]["AWS"], root.as_str());
            assert_eq!(first["Action"][0], "kms:*");
        }
    }

    #[test]
    fn a_key_that_is_named_by_an_alias_is_held_by_it() {
        let printed = printed();
        let of_alias = statements(&printed["iam_policy"]).iter().find(|one| {
            one["Condition"]["ForAnyValue:StringEquals"]["kms:ResourceAliases"] == "alias/ours"
        });
        let resource = &of_alias.unwrap()["Resource"];
        assert_eq!(*resource, "arn:aws:kms:eu-central-1:*:key/*");
        let with_alias = super::resource("arn:aws:kms:eu-west-1:444455556666:alias/x", "eu-west-1");
        assert_eq!(with_alias, "arn:aws:kms:eu-west-1:444455556666:key/*");
    }
}
