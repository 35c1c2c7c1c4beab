//! `sealift endpoint`: access keys for the applications that come to the S3 endpoint, and which
//! buckets take writes.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use sealift_agent::{
    Exit, World,
    admin::{self, PromotedRow, Request},
    new_access_secret,
};
use sealift_terms::{AccessKeyId, BucketName};
use serde_json::json;

use crate::{
    cli::Global,
    commands::{ask, block_on, rows},
    output::{self, Outcome},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Endpoint {
    /// Make an access key: its secret, and the lines of the configuration for it
    Key(Key),
    /// Take writes to a bucket of replicas; without one, show which buckets take them
    Promote(Promote),
    /// Take no more writes to a bucket
    Demote(Demote),
}

#[derive(Debug, Args)]
pub(crate) struct Promote {
    /// The bucket
    bucket: Option<BucketName>,
}

#[derive(Debug, Args)]
pub(crate) struct Demote {
    /// The bucket
    bucket: BucketName,
}

#[derive(Debug, Args)]
pub(crate) struct Key {
    /// Its id, as the application has it: 3 to 128 letters, digits, '-', '_' and '.'
    #[arg(long)]
    id: AccessKeyId,
    /// The file that its secret is written to, readable by its owner alone; ID.secret without it
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A bucket that it is for; may be given several times
    #[arg(long = "bucket", value_name = "BUCKET", required = true)]
    buckets: Vec<BucketName>,
}

impl Endpoint {
    pub(crate) fn run(&self, global: &Global) -> Outcome {
        match self {
            Self::Key(key) => key.run(global),
            Self::Promote(promote) => promoted(global, promote.bucket.clone(), false),
            Self::Demote(demote) => promoted(global, Some(demote.bucket.clone()), true),
        }
    }
}

/// Changes what takes writes, and shows it.
fn promoted(global: &Global, bucket: Option<BucketName>, demote: bool) -> Outcome {
    block_on(async {
        let request = Request::Promote(admin::Promote { bucket, demote });
        let (_site, answers) = ask(global, request).await?;
        let mut open = 0_usize;
        rows(answers, |row: PromotedRow| {
            open += 1;
            let (bucket, since, by) = (&row.bucket, row.since, &row.by);
            let line = format!("promoted  {bucket}  since {since}  by {by}");
            output::row(global.json, &row, line)
        })
        .await?;
        if open == 0 && !global.json {
            output::print("no bucket takes writes")?;
        }
        Ok(Exit::Done)
    })
}

impl Key {
    fn run(&self, global: &Global) -> Outcome {
        let named = || PathBuf::from(format!("{}.secret", self.id));
        let file = self.out.clone().unwrap_or_else(named);
        new_access_secret(&file, &World::real())?;
        let lines = self.lines(&file.display().to_string());
        output::row(
            global.json,
            &json!({"id": self.id, "secret_file": file, "configuration": lines}),
            format!(
                "The secret of access key {} is in {}: give both to the application.\n\
                 Add to the configuration, with rights as it needs them, and `sealift reload`:\n\n\
                 {lines}",
                self.id,
                file.display()
            ),
        )?;
        Ok(Exit::Done)
    }

    /// What the configuration says of it.
    fn lines(&self, file: &str) -> String {
        let buckets: Vec<_> = self
            .buckets
            .iter()
            .map(|name| format!("\"{name}\""))
            .collect();
        let file = file.replace('\\', "\\\\").replace('"', "\\\"");
        format!(
            "[[endpoint.key]]\nid = \"{}\"\nsecret_file = \"{file}\"\nbuckets = [{}]\n\
             rights = [\"get\", \"list\"]",
            self.id,
            buckets.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_those_of_a_key() {
        let key = Key {
            id: AccessKeyId::new("app").unwrap(),
            out: None,
            buckets: ["photos", "more"]
                .map(|name| BucketName::new(name).unwrap())
                .to_vec(),
        };
        let lines = key.lines("a \"secret\"");
        assert!(
            lines.contains("secret_file = \"a \\\"secret\\\"\""),
            "{lines}"
        );
        assert!(
            lines.contains("buckets = [\"photos\", \"more\"]"),
            "{lines}"
        );
    }
}
