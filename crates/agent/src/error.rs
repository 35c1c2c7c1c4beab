//! What can go wrong in the agent, and how a command that meets it ends.

mod hints;

use std::{error::Error as StdError, io, path::PathBuf};

use sealift_archive::ArchiveError;
use sealift_host::LockError;
use sealift_identity::IdentityError;
use sealift_keys::KeyError;
use sealift_ledger::{Flaw, LedgerError};
use sealift_terms::Reason;
use serde::{Deserialize, Serialize};

use crate::{Exit, config::ConfigError};
use hints::{CATALOG_HINT, identity_hint, io_hint, not_found_hint, refused_hint};
pub(crate) use hints::{
    ENROL_AGAIN, JOURNAL_HINT, SENT_FROM_HERE, SOURCE_HERE, database_hint, of_key, with_key,
};

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
    #[error("{}", identity_headline(.0))]
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
    /// The catalog is not there, and what it was of is.
    #[error("{} is lost", path.display())]
    CatalogLost {
        /// Where it was.
        path: PathBuf,
        /// What says that there was one.
        #[source]
        source: crate::site::Remnant,
    },
    /// A database of the site cannot be opened.
    #[error("the {which} cannot be opened")]
    Database {
        /// `catalog` or `journal`.
        which: &'static str,
        /// Why.
        #[source]
        source: LedgerError,
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
    /// The caller's: only a running agent can do that.
    #[error("{what}")]
    Stopped {
        /// What is in the way.
        what: String,
    },
    /// The operator's: a running agent cannot take that up.
    #[error("restart needed: {what}")]
    RestartNeeded {
        /// What cannot be taken up, and why.
        what: String,
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
    /// Whoever read the output has read enough, as `head` does.
    #[error("the reader of the output is gone")]
    ReaderGone,
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
            Self::Config(_) | Self::Unready(_) | Self::RestartNeeded { .. } => {
                Exit::BadConfiguration
            }
            Self::Locked(LockError::Held { .. }) | Self::TryAgain { .. } | Self::Stopped { .. } => {
                Exit::TryAgain
            }
            Self::NotFound { .. } => Exit::NotFound,
            Self::Request { .. } => Exit::Usage,
            Self::Forbidden { .. } | Self::Refused { .. } => Exit::Refused,
            Self::Verification { .. }
            | Self::AuditLog(_)
            | Self::CatalogUnfinished(_)
            | Self::CatalogLost { .. } => Exit::VerificationFailed,
            Self::Partly { .. } => Exit::Partly,
            Self::Cancelled | Self::ReaderGone => Exit::Cancelled,
            Self::Remote(_, exit) => *exit,
            Self::Keys(error) => key_exit(error),
            Self::Identity(error) => identity_exit(error),
            Self::Locked(_)
            | Self::Io { .. }
            | Self::Database { .. }
            | Self::Failed { .. }
            | Self::Answer(_) => Exit::Error,
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
            Self::Io { source, .. } => io_hint(source.kind()),
            Self::RestartNeeded { .. } => {
                "start the agent again; without that it takes up certificates, trust bundles, grants, \
                 buckets and rules"
            }
            Self::Stopped { .. } => "start it with `sealift up`",
            Self::Forbidden { .. } => "run the command as the agent's user",
            Self::NotFound { what } => not_found_hint(what),
            Self::Request { .. } => "give what is allowed; `--help` behind a command tells more",
            Self::Verification { .. } => {
                "see the lines above; `sealift explain BUCKET/KEY` tells more"
            }
            Self::CatalogUnfinished(_) => "finish it with `sealift verify --rebuild-catalog`",
            Self::AuditLog(_) => {
                "leave the data directory as it is, and compare it with an older copy of catalog.db"
            }
            Self::CatalogLost { .. } => CATALOG_HINT,
            Self::Database { which, source } => database_hint(which, source),
            Self::Keys(error) => return Some(of_key(error)),
            Self::Identity(error) => identity_hint(error),
            Self::Refused { source, .. } => refused_hint(&**source),
            Self::Partly { .. } => "see the lines above, then run it again",
            Self::TryAgain { reason: None, .. } => "wait a little, then run it again",
            Self::Failed { .. } => {
                "see the cause; `sealift check` looks at everything that this site needs"
            }
            Self::Answer(_) => "use the same version of sealift as the agent's",
            Self::TryAgain {
                reason: Some(reason),
                ..
            } => reason.remedy(),
            Self::Remote(failure, _) => return failure.hint.clone(),
            // There is nothing to be done about them.
            Self::Cancelled | Self::ReaderGone => return None,
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
        let what = self.to_string();
        while let Some(cause) = next {
            let told = cause.to_string();
            // Some errors are told in the words of their cause.
            if told != what {
                causes.push(told);
            }
            next = cause.source();
        }
        Failure {
            what,
            causes,
            hint: self.hint(),
        }
    }

    /// The error with its causes, for a log.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        let failure = self.failure();
        let told = std::iter::once(failure.what).chain(failure.causes);
        told.collect::<Vec<_>>().join(": ")
    }
}

/// What the caller asked for that cannot be says so itself; the rest is about files.
fn identity_headline(error: &IdentityError) -> String {
    match error {
        IdentityError::BadName { .. }
        | IdentityError::Lifetime { .. }
        | IdentityError::PassphraseTooShort { .. }
        | IdentityError::UnknownRegion { .. }
        | IdentityError::AuthorityExists { .. }
        | IdentityError::BackupNotOpened
        | IdentityError::Passphrase { .. } => error.to_string(),
        _ => "the identity cannot be used".to_owned(),
    }
}

fn key_exit(error: &KeyError) -> Exit {
    match error {
        KeyError::KeystoreIo { .. } | KeyError::KeystoreExists { .. } | KeyError::KeystoreFull => {
            Exit::Error
        }
        KeyError::Throttled { .. }
        | KeyError::Unavailable { .. }
        | KeyError::ReplicaBehind { .. } => Exit::TryAgain,
        KeyError::RootKeyAway { source, .. } => key_exit(source),
        KeyError::Missing { .. } | KeyError::VersionMissing { .. } | KeyError::NoReplica { .. } => {
            Exit::NotFound
        }
        _ => Exit::Refused,
    }
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
            (Error::Stopped { what: what() }, 5),
            (Error::RestartNeeded { what: what() }, 78),
            (Error::failed("sealing")(denied()), 1),
            (Error::io("read", "/f")(denied()), 1),
            (Error::Answer(what()), 1),
            (Error::Cancelled, 130),
            (Error::ReaderGone, 130),
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
    fn every_error_says_what_to_do() {
        let what = || "x".to_owned();
        let io_error = |kind: io::ErrorKind| Error::io("write", "/f")(kind.into());
        let region = sealift_terms::Region::new("eu-west").unwrap();
        for error in [
            io_error(io::ErrorKind::NotFound),
            io_error(io::ErrorKind::AlreadyExists),
            io_error(io::ErrorKind::NotADirectory),
            io_error(io::ErrorKind::StorageFull),
            io_error(io::ErrorKind::TimedOut),
            Error::refused("the passphrase file")(denied()),
            Error::failed("sealing")(denied()),
            Error::Partly { what: what() },
            Error::Stopped { what: what() },
            Error::RestartNeeded { what: what() },
            Error::Identity(IdentityError::UnknownRegion { region }),
            Error::Identity(IdentityError::BackupNotOpened),
            Error::Keys(KeyError::RootKey { what: "short" }),
            Error::Keys(KeyError::Missing { key: what() }),
            Error::TryAgain {
                what: what(),
                reason: None,
            },
        ] {
            let failure = error.failure();
            assert!(failure.hint.is_some(), "{failure:?}");
            assert!(!failure.causes.contains(&failure.what), "{failure:?}");
        }
        let peer = Error::NotFound {
            what: "peer nope at this site".to_owned(),
        };
        assert!(peer.hint().unwrap().contains("[[peer]]"));
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
