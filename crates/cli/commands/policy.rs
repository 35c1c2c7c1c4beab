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
    #[arg(long, value_name = "ARN", default_value = PRINCIPAL)]
    principal: String,
    /// Prints what S3's own replication to this bucket needs instead, with --principal as its role
    #[arg(long, value_name = "BUCKET")]
    replication_to: Option<String>,
}

impl Policy {
    pub(crate) fn run(&self, global: &Global) -> Outcome {
        let config = global.load()?;
        let (policies, missing) = match &self.replication_to {
            Some(bucket) => (
                replication_policies(&config, &self.principal, bucket),
                "source that is a bucket of AWS S3",
            ),
            None => (
                aws_policies(&config, &self.principal),
                "bucket with a key of AWS KMS (key = \"aws-kms/…\"), and no source or store in a bucket or a container",
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
