//! `sealift retry`.

use clap::Args;
use sealift_agent::{
    Exit,
    admin::{self, Count, Request},
};
use sealift_terms::PeerName;

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
    /// Replicate the removal of most of a source, which was held back
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
            accept_deletes: self.accept_deletes,
        });
        let (_site, answers) = ask(global, request).await?;
        rows(answers, |count: Count| {
            let line = format!(
                "{} transfers, {}, are tried now",
                count.objects,
                output::bytes(count.bytes)
            );
            output::row(global.json, &count, line)
        })
        .await?;
        Ok(Exit::Done)
    }
}
