//! `sealift retry`.

use clap::Args;
use sealift_agent::{
    Exit,
    admin::{self, Request, Retried},
};
use sealift_terms::{PeerName, Reason};

use super::{ask, object::prefix, rows};
use crate::{
    cli::Global,
    output::{self, Outcome},
};

#[derive(Debug, Args)]
pub(crate) struct Retry {
    /// BUCKET, BUCKET/PREFIX or BUCKET/KEY; everything without it
    prefix: Option<String>,
    /// Only to this peer
    #[arg(long)]
    peer: Option<PeerName>,
    /// Only what waits or was given up for this reason
    #[arg(long)]
    reason: Option<Reason>,
    /// Replicate what was held back as it is much at once: removals of keys, and purges of versions
    /// that were permanently deleted
    #[arg(long)]
    accept_deletes: bool,
}

impl Retry {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        let (bucket, prefix) = prefix(self.prefix.as_deref())?;
        let request = Request::Retry(admin::Retry {
            bucket,
            prefix,
            peer: self.peer.clone(),
            reason: self.reason,
            accept_deletes: self.accept_deletes,
        });
        let (_site, answers) = ask(global, request).await?;
        rows(answers, |retried: Retried| {
            let mut line = output::counted(retried.transfers, "transfer is", "transfers are");
            line.push_str(" tried now");
            if self.accept_deletes && retried.accepted == 0 {
                line.push_str("; no removals are held");
            } else if self.accept_deletes {
                let removals = output::counted(retried.removals, "removal", "removals");
                let sources = output::counted(retried.accepted, "source", "sources");
                line.push_str(&format!("; {removals} in {sources} accepted"));
            }
            output::row(global.json, &retried, line)
        })
        .await?;
        Ok(Exit::Done)
    }
}
