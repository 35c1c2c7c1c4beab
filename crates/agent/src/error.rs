//! What can go wrong in the agent, and how a command that meets it ends.

use std::{error::Error as StdError, io, path::PathBuf};

use sealift_archive::ArchiveError;
use sealift_host::LockError;
use sealift_identity::IdentityError;
use sealift_keys::KeyError;
use sealift_ledger::Flaw;
use sealift_terms::Reason;
use serde::{Deserialize, Serialize};

use crate::{Exit, config::ConfigError};

/// An error of the agent. Each variant says whose matter it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operator's: the configuration cannot work.
    #[error("the configuration cannot work")]
    Config(#[from] ConfigError),
    /// The operator's: checks that need no peer say that it cannot work.
    #[error("the agent cannot work")]
    Unready(Vec<crate::CheckLine>),
    /// Another process has the data directory, and it has no socket to speak to.
    #[error("the data directory cannot be used now")]
    Locked(#[source] LockError),
    /// The operating system refused something.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried, as in `read`.
        doing: &'static str,
        /// The file, directory or socket.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The caller's: no such thing.
    #[error("there is no {what}")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// The caller's: the request cannot be understood.
    #[error("{what}: found {found}; allowed is {allowed}")]
    Request {
        /// Which part of the request.
        what: &'static str,
        /// What was found.
        found: String,
        /// What is allowed.
        allowed: String,
    },
    /// The caller's: this user may not.
    #[error("{who} may not use this agent's socket")]
    Forbidden {
        /// Who asked.
        who: String,
    },
    /// A key or the keystore cannot be used.
    #[error("the keys cannot be used")]
    Keys(#[from] KeyError),
    /// A certificate, an authority or a trust bundle cannot be used.
    #[error("the identity cannot be used")]
    Identity(#[from] IdentityError),
    /// An identity or a key was refused.
    #[error("{what} was refused")]
    Refused {
        /// What was refused.
        what: String,
        /// By whom and why.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Something is not what it should be.
    #[error("verification failed: {what}")]
    Verification {
        /// What differs.
        what: String,
    },
    /// The audit log is not what was written into it.
    #[error("the audit log is not whole")]
    AuditLog(#[source] Flaw),
    /// The catalog is not whole: making it anew was cut off.
    #[error("the catalog cannot be used")]
    CatalogUnfinished(#[source] ArchiveError),
    /// Some of it was done.
    #[error("done in part: {what}")]
    Partly {
        /// What was not done.
        what: String,
    },
    /// Not now.
    #[error("{what}")]
    TryAgain {
        /// What is in the way.
        what: String,
        /// The reason code, when there is one.
        reason: Option<Reason>,
    },
    /// A part of the agent failed.
    #[error("{doing} failed")]
    Failed {
        /// What was done.
        doing: &'static str,
        /// What the part said.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The running agent's answer cannot be understood.
    #[error("the agent's answer cannot be understood: {0}")]
    Answer(String),
    /// What the running agent said of its own failure.
    #[error("{}", .0.what)]
    Remote(Failure, Exit),
    /// Whoever asked is gone, or a person interrupted.
    #[error("cancelled")]
    Cancelled,
}

/// An error as it is told to people and programs: what happened, why, what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What happened.
    pub what: String,
    /// Why, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Error {
    /// An error of the operating system, for `map_err`.
    pub fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }

    /// A failure of a part of the agent, for `map_err`.
    pub fn failed<E>(doing: &'static str) -> impl FnOnce(E) -> Self
    where
        E: StdError + Send + Sync + 'static,
    {
        move |source| Self::Failed {
            doing,
            source: Box::new(source),
        }
    }

    /// A refusal of an identity or a key, for `map_err`.
    pub fn refused<E>(what: impl Into<String>) -> impl FnOnce(E) -> Self
    where
        E: StdError + Send + Sync + 'static,
    {
        let what = what.into();
        move |source| Self::Refused {
            what,
            source: Box::new(source),
        }
    }

    /// How a command that met this error ends. The only place that decides it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Unready(_) => Exit::BadConfiguration,
            Self::Locked(LockError::Held { .. }) | Self::TryAgain { .. } => Exit::TryAgain,
            Self::NotFound { .. } => Exit::NotFound,
            Self::Request { .. } => Exit::Usage,
            Self::Forbidden { .. } | Self::Refused { .. } => Exit::Refused,
            Self::Verification { .. } | Self::AuditLog(_) | Self::CatalogUnfinished(_) => {
                Exit::VerificationFailed
            }
            Self::Partly { .. } => Exit::Partly,
            Self::Cancelled => Exit::Cancelled,
            Self::Remote(_, exit) => *exit,
            Self::Keys(error) => key_exit(error),
            Self::Identity(error) => identity_exit(error),
            Self::Locked(_) | Self::Io { .. } | Self::Failed { .. } | Self::Answer(_) => {
                Exit::Error
            }
        }
    }

    /// What to do about it, when there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Config(_) | Self::Unready(_) => "correct that, then run `sealift check`",
            Self::Locked(LockError::Held { .. }) => {
                "an agent or another command works there; wait for it, or look with `sealift status`"
            }
            Self::Locked(_) => "run as the user that owns the data directory",
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run as the user that owns it"
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "make room, then run it again"
            }
            Self::Forbidden { .. } => "run the command as the agent's user",
            Self::NotFound { .. } => "list what there is with `sealift ls`",
            Self::Request { .. } => "see `sealift help`",
            Self::Verification { .. } => {
                "see the lines above; `sealift explain BUCKET/KEY` tells more"
            }
            Self::CatalogUnfinished(_) => "finish it with `sealift verify --rebuild-catalog`",
            Self::AuditLog(_) => {
                "leave the data directory as it is, and compare it with an older copy of catalog.db"
            }
            Self::Keys(error) => key_hint(error)?,
            Self::Answer(_) => "use the same version of sealift as the agent's",
            Self::TryAgain {
                reason: Some(reason),
                ..
            } => reason.remedy(),
            Self::Remote(failure, _) => return failure.hint.clone(),
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// The error as it is told.
    #[must_use]
    pub fn failure(&self) -> Failure {
        if let Self::Remote(failure, _) = self {
            return failure.clone();
        }
        let mut causes = Vec::new();
        let mut next = self.source();
        if let Self::Unready(lines) = self {
            let told = |line: &crate::CheckLine| {
                let remedy = line.remedy.as_deref().unwrap_or_default();
                format!("{}: {}; {remedy}", line.check, line.found)
            };
            causes.extend(lines.iter().map(told));
        }
        if let Self::Config(error) = self {
            // One cause for each refusal.
            causes.extend(error.to_string().lines().map(str::to_owned));
            next = None;
        }
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        Failure {
            what: self.to_string(),
            causes,
            hint: self.hint(),
        }
    }
}

fn key_exit(error: &KeyError) -> Exit {
    match error {
        KeyError::KeystoreIo { .. } | KeyError::KeystoreExists { .. } => Exit::Error,
        KeyError::Throttled { .. } | KeyError::Unavailable { .. } => Exit::TryAgain,
        KeyError::Missing { .. } | KeyError::VersionMissing { .. } => Exit::NotFound,
        _ => Exit::Refused,
    }
}

fn key_hint(error: &KeyError) -> Option<&'static str> {
    Some(match error {
        KeyError::Missing { .. } => "list what there is with `sealift keys list`",
        KeyError::AliasTaken { .. } => {
            "choose another alias; `sealift keys rotate` gives the same key a new version"
        }
        KeyError::KeystoreNotAuthentic { .. } | KeyError::KeystoreFormat { .. } => {
            "give the root key or passphrase that it was made with; a keystore that is damaged is \
             moved elsewhere and comes back with `sealift keys restore`"
        }
        KeyError::BackupForeign { .. } | KeyError::BackupDiffers { .. } => {
            "move this keystore elsewhere and run `sealift keys restore` again, if the backup is the \
             one to go on with: what was sealed under the other one will not open"
        }
        error => error.reason_of_state()?.remedy(),
    })
}

fn identity_exit(error: &IdentityError) -> Exit {
    match error {
        IdentityError::File { .. } | IdentityError::AuthorityExists { .. } => Exit::Error,
        IdentityError::UnknownRegion { .. } => Exit::NotFound,
        IdentityError::BadName { .. }
        | IdentityError::Lifetime { .. }
        | IdentityError::PassphraseTooShort { .. } => Exit::Usage,
        _ => Exit::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied() -> io::Error {
        io::ErrorKind::PermissionDenied.into()
    }

    #[test]
    fn every_error_ends_with_its_documented_code() {
        let what = || "x".to_owned();
        let held = LockError::Held {
            dir: "/d".into(),
            pid: None,
        };
        let config = ConfigError {
            path: "/c".into(),
            refusals: Vec::new(),
        };
        let reason = Some(Reason::DstStoreFull);
        for (error, code) in [
            (Error::Config(config), 78),
            (Error::Locked(held), 5),
            (Error::NotFound { what: what() }, 10),
            (Error::Forbidden { who: what() }, 12),
            (Error::refused("key")(denied()), 12),
            (Error::Verification { what: what() }, 4),
            (Error::CatalogUnfinished(ArchiveError::CatalogUnfinished), 4),
            (Error::Partly { what: what() }, 3),
            (
                Error::TryAgain {
                    what: what(),
                    reason,
                },
                5,
            ),
            (Error::failed("sealing")(denied()), 1),
            (Error::io("read", "/f")(denied()), 1),
            (Error::Answer(what()), 1),
            (Error::Cancelled, 130),
        ] {
            assert_eq!(error.exit().code(), code, "{error}");
        }
    }

    #[test]
    fn a_failure_tells_what_happened_its_causes_and_what_to_do() {
        let failure = Error::io("read", "/f")(denied()).failure();
        assert_eq!(failure.what, "cannot read /f");
        assert_eq!(failure.causes, ["permission denied"]);
        assert!(failure.hint.unwrap().contains("owns"));
    }

    #[test]
    fn what_the_running_agent_said_is_told_unchanged() {
        let failure = Error::NotFound {
            what: "object b/k".to_owned(),
        }
        .failure();
        let remote = Error::Remote(failure.clone(), Exit::NotFound);
        assert_eq!(remote.failure(), failure);
        assert_eq!(remote.exit(), Exit::NotFound);
    }
}
