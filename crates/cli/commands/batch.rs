//! `sealift batch`: the same for many objects or records, with a report, and to be gone
//! on with after an interruption.

mod group;
mod manifest;
mod replicate;
mod report;
mod reseal;

use clap::Subcommand;

use super::keys::rewrap::Rewrap;
use crate::{cli::Global, output::Outcome};

#[derive(Debug, Subcommand)]
pub(crate) enum Batch {
    /// Wrap key records anew under another key or version; no object is touched
    Rewrap(Rewrap),
    /// Seal versions anew: another data key, wrapped by the key that the bucket has now
    Reseal(reseal::Reseal),
    /// Send versions again, or after all, whatever became of them before
    Replicate(replicate::Replicate),
}

impl Batch {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        match self {
            Self::Rewrap(rewrap) => rewrap.run(global).await,
            Self::Reseal(reseal) => reseal.run(global).await,
            Self::Replicate(replicate) => replicate.run(global).await,
        }
    }
}
