//! How a command ends: one number for each sort of outcome.

use serde::{Deserialize, Serialize};

/// The exit codes of every command. Scripts rely on them: add, never renumber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
#[non_exhaustive]
pub enum Exit {
    /// Done.
    Done,
    /// An error of no other sort.
    Error,
    /// The command line cannot be understood.
    Usage,
    /// Some of it was done.
    Partly,
    /// Something is not what it should be.
    VerificationFailed,
    /// Not now: the same command can succeed later.
    TryAgain,
    /// What was named does not exist.
    NotFound,
    /// An identity or a key was refused.
    Refused,
    /// The configuration cannot work.
    BadConfiguration,
    /// Interrupted by a person.
    Cancelled,
}

const CODES: [(Exit, u8); 10] = [
    (Exit::Done, 0),
    (Exit::Error, 1),
    (Exit::Usage, 2),
    (Exit::Partly, 3),
    (Exit::VerificationFailed, 4),
    (Exit::TryAgain, 5),
    (Exit::NotFound, 10),
    (Exit::Refused, 12),
    (Exit::BadConfiguration, 78),
    (Exit::Cancelled, 130),
];

impl Exit {
    /// The number given to the shell.
    #[must_use]
    pub fn code(self) -> u8 {
        CODES
            .iter()
            .find(|(exit, _)| *exit == self)
            .map_or(1, |(_, code)| *code)
    }
}

impl From<Exit> for u8 {
    fn from(exit: Exit) -> Self {
        exit.code()
    }
}

impl TryFrom<u8> for Exit {
    type Error = String;
    fn try_from(code: u8) -> Result<Self, String> {
        CODES
            .iter()
            .find(|(_, known)| *known == code)
            .map(|(exit, _)| *exit)
            .ok_or_else(|| format!("no outcome has the code {code}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_the_documented_ones() {
        let codes: Vec<u8> = CODES.iter().map(|(exit, _)| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 10, 12, 78, 130]);
        for (exit, code) in CODES {
            assert_eq!(Exit::try_from(code).unwrap(), exit);
        }
        assert!(Exit::try_from(77).is_err());
    }
}
