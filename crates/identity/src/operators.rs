//! What the users of this machine may ask an agent to do: deny by default, one row of
//! configuration for everything that is allowed. The agent's own user and the superuser
//! are not in it: they can read its keys.

use std::{fmt, str::FromStr};

use sealift_terms::{BucketName, limits};
use serde::{Deserialize, Serialize};

use crate::error::IdentityError;

/// The word for every key and every bucket.
const ANY: &str = "*";

/// What an operator may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum OperatorAction {
    /// To see how everything stands: status, listings, why an object stands as it does.
    Look,
    /// To get plaintext: of objects in a bucket, with the keys that seal them.
    Open,
    /// To have something sealed or wrapped under a key, or sealed anew in a bucket.
    Seal,
    /// To make a key, or to bring one in.
    Create,
    /// To give a key a new version.
    Rotate,
    /// To stop a key, to have it or a version of it destroyed, and to take that back.
    Retire,
    /// To give a key to another region, and to change which is the primary.
    Replicate,
    /// To take keys out as a backup, or back from one.
    Backup,
    /// To read the audit log.
    ReadAudit,
    /// To change how the site runs: reload, retry, scan, deny, revoke, roll over.
    Administer,
}

impl OperatorAction {
    /// Every action.
    pub const ALL: [Self; 10] = [
        Self::Look,
        Self::Open,
        Self::Seal,
        Self::Create,
        Self::Rotate,
        Self::Retire,
        Self::Replicate,
        Self::Backup,
        Self::ReadAudit,
        Self::Administer,
    ];

    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Open => "open",
            Self::Seal => "seal",
            Self::Create => "create",
            Self::Rotate => "rotate",
            Self::Retire => "retire",
            Self::Replicate => "replicate",
            Self::Backup => "backup",
            Self::ReadAudit => "read-audit",
            Self::Administer => "administer",
        }
    }
}

impl fmt::Display for OperatorAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for OperatorAction {
    type Err = ();
    fn from_str(word: &str) -> Result<Self, ()> {
        let mut all = Self::ALL.into_iter();
        all.find(|action| action.as_str() == word).ok_or(())
    }
}

/// Who is meant by a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Principal {
    /// The user of this number.
    User(u32),
    /// Whoever has this group as their own.
    Group(u32),
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(uid) => write!(f, "uid:{uid}"),
            Self::Group(gid) => write!(f, "gid:{gid}"),
        }
    }
}

/// One row of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorRow {
    /// Its line in the configuration.
    pub line: u32,
    /// Who may.
    pub who: Principal,
    /// What they may.
    pub actions: Vec<OperatorAction>,
    /// With which keys, by alias or id; `*` for all.
    pub keys: Vec<String>,
    /// In which buckets; `*` for all.
    pub buckets: Vec<String>,
}

/// What an act is done to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The site as a whole.
    Site,
    /// A key, by all the names it goes by.
    Key(Vec<String>),
    /// A bucket, or every one.
    Bucket(Option<BucketName>),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Site => f.write_str("this site"),
            Self::Key(names) => write!(f, "key {}", names.first().map_or("", String::as_str)),
            Self::Bucket(Some(bucket)) => write!(f, "bucket {bucket}"),
            Self::Bucket(None) => f.write_str("every bucket"),
        }
    }
}

/// Every row for operators of a site.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Operators(Vec<OperatorRow>);

/// The answer to whether an operator may do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorDecision {
    /// The line of the configuration that allows it; none when nothing does.
    pub line: Option<u32>,
    who: String,
    action: OperatorAction,
    subject: Subject,
}

impl OperatorDecision {
    /// Whether it is allowed.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.line.is_some()
    }
}

impl fmt::Display for OperatorDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            who,
            action,
            subject,
        } = self;
        match line {
            Some(line) => write!(f, "line {line} allows {who} to {action} on {subject}"),
            None => write!(f, "no [[operator]] allows {who} to {action} on {subject}"),
        }
    }
}

impl Operators {
    /// Takes the rows of a configuration.
    ///
    /// # Errors
    /// [`IdentityError::Grant`] when there are too many.
    pub fn new(rows: Vec<OperatorRow>) -> Result<Self, IdentityError> {
        match rows.get(limits::OPERATORS_MAX) {
            None => Ok(Self(rows)),
            Some(row) => Err(IdentityError::Grant {
                line: row.line,
                what: format!("more than {} rows for operators", limits::OPERATORS_MAX),
            }),
        }
    }

    /// Whether there is any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether both say the same, on whichever lines.
    #[must_use]
    pub fn allow_the_same(&self, other: &Self) -> bool {
        let said = |row: &OperatorRow| OperatorRow {
            line: 0,
            ..row.clone()
        };
        self.0.iter().map(said).eq(other.0.iter().map(said))
    }

    /// Whether whoever has this user and this group may do `action` to `subject`, and
    /// which line says so.
    #[must_use]
    pub fn allows(
        &self,
        uid: u32,
        gid: u32,
        action: OperatorAction,
        subject: Subject,
    ) -> OperatorDecision {
        let is_meant = |row: &&OperatorRow| match row.who {
            Principal::User(user) => user == uid,
            Principal::Group(group) => group == gid,
        };
        let covers = |row: &&OperatorRow| row.actions.contains(&action) && row.covers(&subject);
        let mut rows = self.0.iter().filter(is_meant);
        OperatorDecision {
            line: rows.find(covers).map(|row| row.line),
            who: format!("uid:{uid} gid:{gid}"),
            action,
            subject,
        }
    }
}

impl OperatorRow {
    fn covers(&self, subject: &Subject) -> bool {
        let any = |names: &[String]| names.iter().any(|name| name == ANY);
        match subject {
            Subject::Site => true,
            Subject::Key(names) => {
                any(&self.keys) || names.iter().any(|name| self.keys.contains(name))
            }
            Subject::Bucket(None) => any(&self.buckets),
            Subject::Bucket(Some(bucket)) => {
                any(&self.buckets) || self.buckets.iter().any(|name| name == bucket.as_str())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(line: u32, who: Principal, actions: &[OperatorAction], names: &[&str]) -> OperatorRow {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        OperatorRow {
            line,
            who,
            actions: actions.to_vec(),
            keys: owned(names),
            buckets: owned(names),
        }
    }

    fn key(name: &str) -> Subject {
        Subject::Key(vec![name.to_owned(), "key-01".to_owned()])
    }

    #[test]
    fn each_action_is_allowed_by_a_row_of_its_own_and_denied_without_it() {
        for action in OperatorAction::ALL {
            assert_eq!(action.as_str().parse(), Ok(action));
            let rows = vec![row(7, Principal::User(1000), &[action], &["*"])];
            let operators = Operators::new(rows).unwrap();
            for asked in OperatorAction::ALL {
                let decision = operators.allows(1000, 100, asked, key("alias/a"));
                assert_eq!(decision.line, (asked == action).then_some(7), "{decision}");
                assert!(
                    !operators
                        .allows(1001, 100, asked, key("alias/a"))
                        .is_allowed()
                );
            }
        }
    }

    #[test]
    fn rows_on_other_lines_allow_the_same() {
        let rows = |line, user| {
            let row = row(line, Principal::User(user), &[OperatorAction::Look], &["*"]);
            Operators::new(vec![row]).unwrap()
        };
        let (one, moved) = (rows(3, 1000), rows(5, 1000));
        assert!(one != moved && one.allow_the_same(&moved));
        assert!(!one.allow_the_same(&rows(3, 1001)));
    }

    #[test]
    fn a_row_holds_for_its_keys_and_buckets_alone_and_groups_count() {
        use OperatorAction::{Look, Rotate};
        let rows = vec![row(
            3,
            Principal::Group(50),
            &[Look, Rotate],
            &["alias/a", "photos"],
        )];
        let operators = Operators::new(rows).unwrap();
        let may = |gid, action, subject| operators.allows(9, gid, action, subject).is_allowed();
        assert!(may(50, Rotate, key("alias/a")) && !may(51, Rotate, key("alias/a")));
        assert!(!may(50, Rotate, key("alias/b")));
        let photos = || Subject::Bucket(BucketName::new("photos").ok());
        assert!(may(50, Look, photos()) && may(50, Look, Subject::Site));
        assert!(!may(50, Look, Subject::Bucket(None)));
        let denied = operators.allows(9, 51, Look, photos()).to_string();
        assert_eq!(
            denied,
            "no [[operator]] allows uid:9 gid:51 to look on bucket photos"
        );
        // A key goes by its id as well.
        let by_id = vec![row(3, Principal::User(9), &[Rotate], &["key-01"])];
        let by_id = Operators::new(by_id).unwrap();
        assert!(by_id.allows(9, 9, Rotate, key("alias/a")).is_allowed());
    }

    #[test]
    fn there_are_at_most_a_thousand_rows() {
        let one = || row(1, Principal::User(1), &[OperatorAction::Look], &["*"]);
        let rows = |n| (0..n).map(|_| one()).collect::<Vec<_>>();
        assert!(Operators::new(rows(limits::OPERATORS_MAX)).is_ok());
        assert!(Operators::new(rows(limits::OPERATORS_MAX + 1)).is_err());
    }
}
