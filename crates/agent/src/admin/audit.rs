//! Asking for the audit log.

use serde::{Deserialize, Serialize};

/// What is to be read of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum ReadAudit {
    /// The last leaves; each as its canonical JSON.
    Tail {
        /// At most so many.
        leaves: u64,
    },
    /// Leaves from this one on; each as its canonical JSON.
    From {
        /// The first of them.
        index: u64,
    },
    /// Computes the whole log again; an [`AuditReport`].
    Verify,
}

/// What an examination of the audit log found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditReport {
    /// Leaves.
    pub leaves: u64,
    /// The root hash over them, hex.
    pub root: String,
    /// What is wrong, first found first; empty when the log is whole.
    pub flaws: Vec<String>,
}
