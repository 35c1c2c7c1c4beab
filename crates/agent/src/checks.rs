//! Named checks: each passes, or says what to do.

use serde::{Deserialize, Serialize};

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It holds.
    Pass,
    /// It could not be looked at.
    Skip,
    /// It works, and should be better.
    Warn,
    /// It cannot work.
    Fail,
}

/// One line of `check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckLine {
    /// What was looked at.
    pub check: String,
    /// How it went.
    pub outcome: Outcome,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl CheckLine {
    /// It holds.
    pub fn pass(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(check, Outcome::Pass, found, None)
    }

    /// It could not be looked at, and why.
    pub fn skip(check: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(check, Outcome::Skip, why, None)
    }

    /// It works, and should be better.
    pub fn warn(
        check: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(check, Outcome::Warn, found, Some(remedy.into()))
    }

    /// It cannot work.
    pub fn fail(
        check: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(check, Outcome::Fail, found, Some(remedy.into()))
    }

    fn new(
        check: impl Into<String>,
        outcome: Outcome,
        found: impl Into<String>,
        remedy: Option<String>,
    ) -> Self {
        Self {
            check: check.into(),
            outcome,
            found: found.into(),
            remedy,
        }
    }
}
