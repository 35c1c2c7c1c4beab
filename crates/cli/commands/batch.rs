//! `sealift batch`: the same for many objects or records, with a report, and to be gone
//! on with after an interruption.

mod adopt;
mod group;
mod manifest;
mod queued;
mod replicate;
mod report;
mod reseal;
mod status;
mod summary;

use clap::Subcommand;

use super::keys::rewrap::Rewrap;
use crate::{cli::Global, output::Outcome};

#[derive(Debug, Subcommand)]
pub(crate) enum Batch {
    /// Wrap key records anew under another key or version; no object is touched
    Rewrap(Rewrap),
    /// Seal versions anew: another data key, wrapped by the key that the bucket has now
    Reseal(reseal::Reseal),
    /// Seal plaintext that was found, in a directory or among the files of the store
    Adopt(adopt::Adopt),
    /// Send versions again, or after all, whatever became of them before
    Replicate(replicate::Replicate),
    /// The batches of replication that are under way
    List(queued::List),
    /// Hold back what a batch of replication queued, until it is resumed
    Pause(queued::Pause),
    /// Let a batch of replication go on that was paused
    Resume(queued::Resume),
    /// Take back what a batch of replication queued and is not sent yet
    Cancel(queued::Cancel),
    /// How far a batch has come, by its number or by the report that it writes
    Status(status::Status),
}

impl Batch {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        match self {
            Self::Rewrap(rewrap) => rewrap.run(global).await,
            Self::Reseal(reseal) => reseal.run(global).await,
            Self::Adopt(adopt) => adopt.run(global).await,
            Self::Replicate(replicate) => replicate.run(global).await,
            Self::List(list) => list.run(global).await,
            Self::Pause(pause) => pause.run(global).await,
            Self::Resume(resume) => resume.run(global).await,
            Self::Cancel(cancel) => cancel.run(global).await,
            Self::Status(status) => status.run(global).await,
        }
    }
}
