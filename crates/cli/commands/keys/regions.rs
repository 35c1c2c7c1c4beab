//! `sealift keys replicate, promote, drop-replica, diff`: keys of several regions.

use clap::Args;
use sealift_agent::{
    Error, Exit,
    admin::{KeyDiffRow, Keys as Act, Request},
};
use sealift_terms::{KeyNote, Region};

use super::super::{ask, rows};
use crate::{
    cli::Global,
    output::{self, Outcome, Table},
};

/// The property that says that a region could not be asked.
const REACHED: &str = "reached";

#[derive(Debug, Args)]
pub(crate) struct Replicate {
    /// Id or alias
    key: String,
    /// The region; a peer of the configuration is in it
    #[arg(long, value_name = "REGION")]
    to: Region,
}

#[derive(Debug, Args)]
pub(crate) struct Promote {
    /// Id or alias
    key: String,
    /// Do not ask the primary that was: it is gone for good
    #[arg(long, requires = "reason")]
    without_primary: bool,
    /// Why it is not asked
    #[arg(long, value_name = "TEXT", requires = "without_primary")]
    reason: Option<KeyNote>,
}

#[derive(Debug, Args)]
pub(crate) struct DropReplica {
    /// Id or alias
    key: String,
    /// Its region
    #[arg(long, value_name = "REGION")]
    of: Region,
    /// Why it will not come back
    #[arg(long, value_name = "TEXT")]
    reason: KeyNote,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// Id or alias
    key: String,
    /// The region to compare with; every one that has the key without it
    #[arg(long, value_name = "REGION")]
    with: Option<Region>,
}

impl Replicate {
    pub(super) fn act(&self) -> Act {
        Act::Replicate {
            key: self.key.clone(),
            to: self.to.clone(),
        }
    }
}

impl Promote {
    pub(super) fn act(&self) -> Act {
        Act::Promote {
            key: self.key.clone(),
            without_primary: self.reason.clone(),
        }
    }
}

impl DropReplica {
    pub(super) fn act(&self) -> Act {
        Act::DropReplica {
            key: self.key.clone(),
            of: self.of.clone(),
            reason: self.reason.clone(),
        }
    }
}

impl Diff {
    /// Ends with 4 when something differs that ought to be the same, and with 5 when a region
    /// could not be asked.
    pub(super) async fn run(&self, global: &Global) -> Outcome {
        let (key, with) = (self.key.clone(), self.with.clone());
        let (_site, answers) = ask(global, Request::Keys(Act::Diff { key, with })).await?;
        let head = ["REGION", "PROPERTY", "HERE", "THERE", ""];
        let mut table = Table::new(&head, &[]);
        let (mut drifted, mut unreached) = (false, false);
        rows(answers, |row: KeyDiffRow| {
            drifted |= row.shared;
            unreached |= row.property == REACHED;
            if global.json {
                return output::row(true, &row, "");
            }
            let said = if row.shared {
                "ought to be the same"
            } else {
                ""
            };
            table.row([
                row.region.to_string(),
                row.property,
                row.here,
                row.there,
                said.to_owned(),
            ]);
            Ok::<(), Error>(())
        })
        .await?;
        match (global.json, table.is_empty()) {
            (true, _) => {}
            (false, true) => output::print("no difference")?,
            (false, false) => table.print()?,
        }
        Ok(match (drifted, unreached) {
            (true, _) => Exit::VerificationFailed,
            (false, true) => Exit::TryAgain,
            (false, false) => Exit::Done,
        })
    }
}
