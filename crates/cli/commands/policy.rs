//! `sealift policy`.

use clap::Args;
use sealift_agent::{Error, Exit, aws_policies};

use crate::{
    cli::Global,
    output::{self, Outcome},
};

/// Stands in the policies of keys where no principal is given.
const PRINCIPAL: &str = "arn:aws:iam::ACCOUNT:role/ROLE";

#[derive(Debug, Args)]
pub(crate) struct Policy {
    /// The ARN of the agent's role or user, for the policies of keys
    #[arg(long, value_name = "ARN", default_value = PRINCIPAL)]
    principal: String,
}

impl Policy {
    pub(crate) fn run(&self, global: &Global) -> Outcome {
        let config = global.load()?;
        let policies = aws_policies(&config, &self.principal).ok_or_else(|| Error::NotFound {
            what: "bucket with a key of AWS KMS (key = \"aws-kms/…\"), and no source or store in a bucket or a container"
                .to_owned(),
        })?;
        let pretty = serde_json::to_string_pretty(&policies);
        let pretty = pretty.map_err(Error::failed("writing the policies"))?;
        output::row(global.json, &policies, pretty)?;
        Ok(Exit::Done)
    }
}
