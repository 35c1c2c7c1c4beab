//! What a change of the configuration would do.

use std::path::PathBuf;

use sealift_terms::{BucketName, ObjectKey, PeerName, RuleName, VersionId};
use serde::{Deserialize, Serialize};

use super::Check;

/// Which configuration to hold against the one that is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    /// The file, and what is given beside it.
    pub of: Check,
    /// Name every object, too.
    pub objects: bool,
}

/// What is told of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PlanRow {
    /// A section that differs.
    Section(PlanSection),
    /// A rule that differs.
    Rule(PlanRule),
    /// An object that would go elsewhere than now.
    Object(PlanObject),
    /// The same of all objects of a rule and a destination, in numbers.
    Way(PlanWay),
    /// All of it. Always the last row.
    Summary(PlanSummary),
}

/// A section that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanSection {
    /// Its name.
    pub section: String,
    /// Whether only a new start takes it up.
    pub needs_restart: bool,
}

/// A rule that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRule {
    /// The rule.
    pub rule: RuleName,
    /// What is said of it: `added`, `removed`, or each setting with both values.
    pub differs: Vec<String>,
}

/// What would become of an object at a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PlanChange {
    /// It would be sent: it is not there yet.
    Sent,
    /// A rule would cover it and leave it out, as it was there before.
    LeftOut,
    /// What comes of it later would be sent by another rule.
    Moved,
    /// Neither it nor what comes of it later would be sent there any more. What is there stays.
    Ended,
    /// It was removed while no rule sent that, and would be removed there, too.
    Removed,
}

impl PlanChange {
    /// The word it is written as.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::LeftOut => "left-out",
            Self::Moved => "moved",
            Self::Ended => "ended",
            Self::Removed => "removed",
        }
    }
}

/// An object that would go elsewhere than now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanObject {
    /// Its bucket.
    pub bucket: BucketName,
    /// Its key.
    pub key: ObjectKey,
    /// Its latest version.
    pub version: VersionId,
    /// Bytes of plaintext.
    pub size: u64,
    /// The rule: of what ends the one that was.
    pub rule: RuleName,
    /// The destination.
    pub peer: PeerName,
    /// What would become of it.
    pub change: PlanChange,
}

/// Objects of a rule that would go elsewhere than now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanWay {
    /// The rule: of what ends the one that was.
    pub rule: RuleName,
    /// The destination.
    pub peer: PeerName,
    /// What would become of them.
    pub change: PlanChange,
    /// How many.
    pub objects: u64,
    /// Bytes of plaintext.
    pub bytes: u64,
}

/// All of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanSummary {
    /// Whether anything differs.
    pub differs: bool,
    /// Whether only a new start takes all of it up.
    pub needs_restart: bool,
    /// The file that the agent runs on.
    pub running_file: PathBuf,
}
