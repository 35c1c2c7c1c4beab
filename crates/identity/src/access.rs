//! What the applications that come with an access key may do at the S3 endpoint: deny by
//! default, one row of configuration for each key.

use std::{fmt, str::FromStr};

use sealift_terms::{AccessKeyId, BucketName, limits};

use crate::error::IdentityError;

/// The word for every bucket.
const ANY: &str = "*";

/// What an access key may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AccessRight {
    /// To read objects: content, metadata and tags, of every version.
    Get,
    /// To see which buckets, objects and versions there are.
    List,
    /// To write objects and tags, where the bucket takes writes.
    Put,
    /// To remove keys, where the bucket takes writes.
    Delete,
    /// To purge versions, for good, where the bucket takes writes.
    Purge,
}

impl AccessRight {
    /// Every right.
    pub const ALL: [Self; 5] = [Self::Get, Self::List, Self::Put, Self::Delete, Self::Purge];

    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Purge => "purge",
        }
    }
}

impl fmt::Display for AccessRight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for AccessRight {
    type Err = ();
    fn from_str(word: &str) -> Result<Self, ()> {
        let mut all = Self::ALL.into_iter();
        all.find(|right| right.as_str() == word).ok_or(())
    }
}

/// One row of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRow {
    /// Its line in the configuration.
    pub line: u32,
    /// The key.
    pub id: AccessKeyId,
    /// What it may.
    pub rights: Vec<AccessRight>,
    /// In which buckets; `*` for all.
    pub buckets: Vec<String>,
}

/// Every row for access keys of a site.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessRows(Vec<AccessRow>);

/// The answer to whether an access key may do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessDecision {
    /// The line of the configuration that allows it; none when nothing does.
    pub line: Option<u32>,
    id: AccessKeyId,
    right: AccessRight,
    bucket: Option<BucketName>,
}

impl AccessDecision {
    /// Whether it is allowed.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.line.is_some()
    }
}

impl fmt::Display for AccessDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, right, .. } = self;
        match self.line {
            Some(line) => write!(f, "line {line} allows access key {id} to {right} in ")?,
            None => write!(
                f,
                "no [[endpoint.key]] allows access key {id} to {right} in "
            )?,
        }
        match &self.bucket {
            Some(bucket) => write!(f, "bucket {bucket}"),
            None => f.write_str("any bucket"),
        }
    }
}

impl AccessRows {
    /// Takes the rows of a configuration.
    ///
    /// # Errors
    /// [`IdentityError::Grant`] when there are too many.
    pub fn new(rows: Vec<AccessRow>) -> Result<Self, IdentityError> {
        match rows.get(limits::ACCESS_KEYS_MAX) {
            None => Ok(Self(rows)),
            Some(row) => Err(IdentityError::Grant {
                line: row.line,
                what: format!("more than {} access keys", limits::ACCESS_KEYS_MAX),
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
        let said = |row: &AccessRow| AccessRow {
            line: 0,
            ..row.clone()
        };
        self.0.iter().map(said).eq(other.0.iter().map(said))
    }

    /// Whether an access key has a right in `bucket`, or in any bucket at all, and which
    /// line says so.
    #[must_use]
    pub fn allows(
        &self,
        id: &AccessKeyId,
        right: AccessRight,
        bucket: Option<&BucketName>,
    ) -> AccessDecision {
        let mut rows = self.0.iter().filter(|row| row.id == *id);
        let found = rows.find(|row| row.rights.contains(&right) && row.covers(bucket));
        AccessDecision {
            line: found.map(|row| row.line),
            id: id.clone(),
            right,
            bucket: bucket.cloned(),
        }
    }
}

impl AccessRow {
    fn covers(&self, bucket: Option<&BucketName>) -> bool {
        let is_meant =
            |name: &String| name == ANY || bucket.is_none_or(|bucket| name == bucket.as_str());
        self.buckets.iter().any(is_meant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> AccessKeyId {
        AccessKeyId::new(name).unwrap()
    }

    fn row(line: u32, name: &str, rights: &[AccessRight], buckets: &[&str]) -> AccessRow {
        AccessRow {
            line,
            id: id(name),
            rights: rights.to_vec(),
            buckets: buckets.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn each_right_is_given_by_a_row_of_its_own_and_for_its_buckets_alone() {
        let photos = BucketName::new("photos").unwrap();
        let other = BucketName::new("other").unwrap();
        for right in AccessRight::ALL {
            assert_eq!(right.as_str().parse(), Ok(right));
            let rows = AccessRows::new(vec![row(7, "app", &[right], &["photos"])]).unwrap();
            for asked in AccessRight::ALL {
                let line = |name, bucket| rows.allows(&id(name), asked, bucket).line;
                let given = (asked == right).then_some(7);
                assert_eq!(line("app", Some(&photos)), given);
                assert_eq!(line("app", None), given);
                assert_eq!(line("app", Some(&other)), None);
                assert_eq!(line("another", Some(&photos)), None);
            }
        }
    }

    #[test]
    fn a_decision_names_the_line_or_says_that_there_is_none() {
        let photos = BucketName::new("photos").unwrap();
        let rows = [row(7, "app", &[AccessRight::Get], &["*"])];
        let rows = AccessRows::new(rows.to_vec()).unwrap();
        let told = |right, bucket| rows.allows(&id("app"), right, bucket).to_string();
        assert_eq!(
            told(AccessRight::Get, Some(&photos)),
            "line 7 allows access key app to get in bucket photos"
        );
        assert_eq!(
            told(AccessRight::List, None),
            "no [[endpoint.key]] allows access key app to list in any bucket"
        );
    }

    #[test]
    fn rows_on_other_lines_allow_the_same() {
        let rows = |line, right| AccessRows::new(vec![row(line, "app", &[right], &["*"])]).unwrap();
        let (get, moved) = (rows(7, AccessRight::Get), rows(9, AccessRight::Get));
        assert!(get != moved && get.allow_the_same(&moved));
        assert!(!get.allow_the_same(&rows(7, AccessRight::List)));
        assert!(!get.allow_the_same(&AccessRows::default()));
    }

    #[test]
    fn there_are_so_many_keys_at_most() {
        let rows = |n| (0..n).map(|n| row(n as u32, "app", &[], &["*"])).collect();
        assert!(AccessRows::new(rows(limits::ACCESS_KEYS_MAX)).is_ok());
        assert!(AccessRows::new(rows(limits::ACCESS_KEYS_MAX + 1)).is_err());
    }
}
