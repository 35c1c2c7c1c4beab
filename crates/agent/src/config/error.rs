//! Why a configuration is refused: where, what was found, what is allowed, what to do.

use std::{fmt, path::PathBuf};

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A line of the file, counted from 1.
    Line(usize),
    /// The file as a whole.
    File,
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
}

impl Place {
    /// The line, counted from 1; 0 for what is in none.
    pub(super) fn line(&self) -> u32 {
        match self {
            Self::Line(line) => u32::try_from(*line).unwrap_or(u32::MAX),
            Self::File | Self::Environment(_) | Self::Flag(_) => 0,
        }
    }
}

/// One setting that cannot work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Where it stands.
    pub place: Place,
    /// Which setting, as in `peer.identity`.
    pub setting: String,
    /// What was found.
    pub found: String,
    /// What is allowed.
    pub allowed: String,
    /// What to do.
    pub remedy: String,
}

/// A configuration with at least one setting that cannot work. All of them are
/// told at once, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it; never empty.
    pub refusals: Vec<Refusal>,
}

impl ConfigError {
    /// An error about the file as a whole.
    pub(crate) fn file(path: PathBuf, found: String, allowed: &str, remedy: &str) -> Self {
        let refusal = Refusal {
            place: Place::File,
            setting: "configuration".to_owned(),
            found,
            allowed: allowed.to_owned(),
            remedy: remedy.to_owned(),
        };
        Self {
            path,
            refusals: vec![refusal],
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, refusal) in self.refusals.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            match &refusal.place {
                Place::Line(line) => write!(f, "{}:{line}", self.path.display())?,
                Place::File => write!(f, "{}", self.path.display())?,
                Place::Environment(name) => write!(f, "environment variable {name}")?,
                Place::Flag(name) => write!(f, "flag {name}")?,
            }
            write!(
                f,
                ": {}: found {}; allowed is {}; {}",
                refusal.setting, refusal.found, refusal.allowed, refusal.remedy
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
