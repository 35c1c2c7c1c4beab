//! Who may take on the agent's role: the service of AWS that gives its credentials to the machine
//! or the container. A file has those of a user, whom no role is needed for.

use sealift_outside::{ContainerCredentials, CredentialsFrom, Words};
use sealift_store::BucketSettings;
use serde_json::{Map, Value, json};

use super::{
    Asked,
    statements::{Policy, account_of},
};
use crate::config::SourceFrom;

/// The role's trust policy; none where all credentials are in files.
pub(super) fn policy(asked: &Asked<'_>) -> Option<Value> {
    let from: Vec<_> = all(asked).collect();
    let mut policy = Policy::default();
    let is_of_machine = |from: &&CredentialsFrom| matches!(from, CredentialsFrom::Instance);
    if from.iter().any(is_of_machine) {
        policy.add(
            "TakenByMachine",
            taken_by("ec2.amazonaws.com", &["sts:AssumeRole"]),
        );
    }
    let of_container = from.iter().find_map(|from| match from {
        CredentialsFrom::Container(container) => Some(container),
        _ => None,
    });
    if let Some(container) = of_container {
        let (words, statement) = by_container(container, account_of(asked.principal));
        policy.add(words, statement);
    }
    (!policy.is_empty()).then(|| policy.printed())
}

/// A pod of EKS shows a token, a task of ECS has none.
fn by_container(
    container: &ContainerCredentials,
    account: Option<&str>,
) -> (&'static str, Map<String, Value>) {
    if container.token_file().is_some() {
        let actions = ["sts:AssumeRole", "sts:TagSession"];
        return ("TakenByPod", taken_by("pods.eks.amazonaws.com", &actions));
    }
    let mut statement = taken_by("ecs-tasks.amazonaws.com", &["sts:AssumeRole"]);
    if let Some(account) = account {
        let condition = json!({ "StringEquals": { "aws:SourceAccount": account } });
        statement.insert("Condition".to_owned(), condition);
    }
    ("TakenByTask", statement)
}

/// A service that may take on a role.
pub(super) fn taken_by(service: &str, actions: &[&str]) -> Map<String, Value> {
    Map::from_iter([
        ("Effect".to_owned(), "Allow".into()),
        ("Principal".to_owned(), json!({ "Service": service })),
        ("Action".to_owned(), json!(actions)),
    ])
}

/// Where all credentials for AWS come from.
fn all<'a>(asked: &Asked<'a>) -> impl Iterator<Item = &'a CredentialsFrom> {
    let config = asked.config;
    let of_sources = config
        .sources
        .iter()
        .filter_map(|source| match &source.from {
            SourceFrom::S3(bucket) => Some(&bucket.settings.credentials),
            _ => None,
        });
    let of_store = config
        .store
        .iter()
        .filter_map(|store| match &store.settings {
            BucketSettings::S3(settings) if settings.words == Words::Aws => {
                Some(&settings.credentials)
            }
            _ => None,
        });
    let of_keys = config.key_services.aws_kms.iter();
    let of_keys = of_keys.map(|service| &service.credentials);
    of_sources.chain(of_store).chain(of_keys)
}
