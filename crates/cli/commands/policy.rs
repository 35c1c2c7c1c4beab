//! `sealift policy`.

use clap::Args;
use sealift_agent::{Error, Exit, aws_policies, replication_policies};

use crate::{
    cli::Global,
    output::{self, Outcome},
};

/// Stands in policies where no principal is given.
const PRINCIPAL: &str = "arn:aws:iam::ACCOUNT:role/ROLE";

#[derive(Debug, Args)]
pub(crate) struct Policy {
    /// The ARN of the agent's role or user, for the policies of buckets, queues and keys
    #[arg(long, value_name = "ARN", default_value = PRINCIPAL, value_parser = principal)]
    principal: String,
    /// Prints what S3's own replication to this bucket needs instead, with --principal as its role
    #[arg(long, value_name = "BUCKET")]
    replication_to: Option<String>,
}

/// The ARN of who asks. AWS refuses a policy with a principal that is none.
fn principal(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let is_one = match parts[..] {
        ["arn", partition, "iam" | "sts", "", account, who] => {
            let words = [partition, account]
                .into_iter()
                .all(|word| word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
            let (sort, name) = who.split_once('/').unwrap_or((who, ""));
            let named = matches!(sort, "role" | "user" | "assumed-role" | "federated-user");
            let is_clean = !name
                .chars()
                .any(|c| c.is_whitespace() || c.is_control() || c == '*');
            words
                && is_clean
                && !partition.is_empty()
                && ((named && !name.is_empty()) || who == "root")
        }
        _ => false,
    };
    match is_one {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "it is no ARN of a role or a user, as in {PRINCIPAL}"
        )),
    }
}

impl Policy {
    pub(crate) fn run(&self, global: &Global) -> Outcome {
        let config = global.load()?;
        let (policies, missing) = match &self.replication_to {
            Some(bucket) => (
                replication_policies(&config, &self.principal, bucket),
                "policy to print: no source is a bucket of AWS S3",
            ),
            None => (
                aws_policies(&config, &self.principal),
                "policy to print: no bucket has a key of AWS KMS (key = \"aws-kms/…\"), and no source and no store is a bucket or a container",
            ),
        };
        let policies = policies.ok_or_else(|| Error::NotFound {
            what: missing.to_owned(),
        })?;
        let pretty = serde_json::to_string_pretty(&policies);
        let pretty = pretty.map_err(Error::failed("writing the policies"))?;
        output::row(global.json, &policies, pretty)?;
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_is_a_role_or_a_user() {
        for good in [
            PRINCIPAL,
            "arn:aws:iam::111122223333:role/path/sealift",
            "arn:aws-cn:iam::111122223333:user/u",
            "arn:aws:sts::111122223333:assumed-role/r/session",
            "arn:aws:iam:::user/minio",
            "arn:aws:iam::111122223333:root",
        ] {
            assert_eq!(principal(good).as_deref(), Ok(good));
        }
        for bad in [
            "nonsense",
            "",
            "*",
            "arn:aws:iam::111122223333",
            "arn:aws:iam::111122223333:role/",
            "arn:aws:iam::111122223333:role/*",
            "arn:aws:s3:::bucket/role",
            "arn:aws:iam::1 2:role/r",
            "arn::iam::1:role/r",
        ] {
            assert!(principal(bad).is_err(), "{bad}");
        }
    }
}
