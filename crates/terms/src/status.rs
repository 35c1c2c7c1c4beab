//! How a transfer stands.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::NameError;

/// The status of an object at one destination. The sender's journal backs every
/// one but `Replica`, which the receiver's catalog backs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// To be sent; a reason says what it waits for, if it waits.
    Pending,
    /// Durable at the destination: a receipt says so.
    Completed,
    /// Given up until a rule, grant or key changes or someone retries; a reason says why.
    Failed,
    /// What rests sealed: a copy that came from elsewhere, or what was written at the S3
    /// endpoint of the site.
    Replica,
    /// Not to be sent; a reason says why.
    Skipped,
}

impl Status {
    /// Every status, in the order of reports.
    pub const ALL: [Self; 5] = [
        Self::Pending,
        Self::Completed,
        Self::Failed,
        Self::Replica,
        Self::Skipped,
    ];

    /// The word used in reports and files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Replica => "REPLICA",
            Self::Skipped => "SKIPPED",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Status {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| {
                NameError::new(
                    "status",
                    text,
                    "PENDING, COMPLETED, FAILED, REPLICA or SKIPPED",
                )
            })
    }
}
