//! A policy of AWS that statements are added to, and whose account something is in.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// The version of the policy language.
const VERSION: &str = "2012-10-17";
/// Stands where nobody told an account.
const ACCOUNT: &str = "ACCOUNT";

/// Statements, each with a `Sid` of its own: AWS refuses a policy in which two have the same.
#[derive(Debug, Default)]
pub(super) struct Policy {
    statements: Vec<Value>,
    sids: BTreeSet<String>,
}

impl Policy {
    /// Adds a statement. Of `words` letters and digits become its `Sid`, with a number behind
    /// them where another one has those.
    pub(super) fn add(&mut self, words: &str, mut statement: Map<String, Value>) {
        let letters: String = words.chars().filter(char::is_ascii_alphanumeric).collect();
        let mut sid = letters.clone();
        let mut number = 1_usize;
        while !self.sids.insert(sid.clone()) {
            number += 1;
            sid = format!("{letters}{number}");
        }
        statement.insert("Sid".to_owned(), sid.into());
        self.statements.push(Value::Object(statement));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    pub(super) fn printed(self) -> Value {
        json!({ "Version": VERSION, "Statement": self.statements })
    }
}

/// What is allowed: `{"Effect": "Allow", …}` with these actions on this.
pub(super) fn allowed(
    actions: &[impl AsRef<str>],
    resource: impl Into<Value>,
) -> Map<String, Value> {
    let actions: Vec<&str> = actions.iter().map(AsRef::as_ref).collect();
    Map::from_iter([
        ("Effect".to_owned(), "Allow".into()),
        ("Action".to_owned(), json!(actions)),
        ("Resource".to_owned(), resource.into()),
    ])
}

/// The same in the policy of what it is about: there it says to whom.
pub(super) fn granted(mut statement: Map<String, Value>, principal: &str) -> Map<String, Value> {
    statement.insert("Principal".to_owned(), json!({ "AWS": principal }));
    statement
}

/// The account of an ARN, where it has one.
pub(super) fn account_of(arn: &str) -> Option<&str> {
    let mut parts = arn.strip_prefix("arn:")?.split(':');
    parts.nth(3).filter(|account| !account.is_empty())
}

/// Who administers what is in an account: all whom its own policies let.
pub(super) fn root_of(account: Option<&str>, partition: &str) -> String {
    format!("arn:{partition}:iam::{}:root", account.unwrap_or(ACCOUNT))
}

/// The part of AWS that a region is in, as ARNs begin with it.
pub(super) fn partition(region: &str) -> &'static str {
    match region.split('-').next() {
        Some("cn") => "aws-cn",
        Some("us") if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_statements_have_the_same_sid() {
        let mut policy = Policy::default();
        for words in ["Use ab", "Use a-b", "Use ab2", "Use a.b"] {
            policy.add(words, allowed(&["kms:Decrypt"], "*"));
        }
        let printed = policy.printed();
        let statements = printed["Statement"].as_array().unwrap();
        let sids: Vec<_> = statements.iter().map(|one| &one["Sid"]).collect();
        assert_eq!(sids, ["Useab", "Useab2", "Useab22", "Useab3"]);
    }

    #[test]
    fn an_arn_tells_its_account_and_a_region_its_partition() {
        let key = "arn:aws:kms:eu-west-1:111122223333:key/4b1f";
        assert_eq!(account_of(key), Some("111122223333"));
        let role = "arn:aws-cn:iam::444455556666:role/agent";
        assert_eq!(account_of(role), Some("444455556666"));
        assert_eq!(account_of("arn:aws:s3:::photos"), None);
        assert_eq!(account_of("alias/photos"), None);
        assert_eq!(root_of(None, "aws"), "arn:aws:iam::ACCOUNT:root");
        let partitions = ["eu-west-1", "us-east-1", "us-gov-west-1", "cn-north-1"];
        assert_eq!(
            partitions.map(partition),
            ["aws", "aws", "aws-us-gov", "aws-cn"]
        );
    }
}
