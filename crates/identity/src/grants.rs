//! What an authenticated peer may do: deny by default, one row of configuration
//! for everything that is allowed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    str::FromStr,
};

use sealift_terms::{BucketName, Identity, Region, limits};
use serde::{Deserialize, Serialize};

use crate::error::IdentityError;

/// The word for every bucket.
const ANY_BUCKET: &str = "*";

/// What may be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Action {
    /// To store versions.
    Replicate,
    /// To store delete markers.
    Delete,
    /// To read what is stored.
    Read,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 3] = [Self::Replicate, Self::Delete, Self::Read];

    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replicate => "replicate",
            Self::Delete => "delete",
            Self::Read => "read",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Action {
    type Err = ();
    fn from_str(word: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|action| action.as_str() == word)
            .ok_or(())
    }
}

/// One row of the configuration, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRow {
    /// Its line in the configuration.
    pub line: u32,
    /// The identity it is for.
    pub identity: String,
    /// The actions it allows.
    pub actions: Vec<String>,
    /// The buckets it allows them on; `*` for all.
    pub buckets: Vec<String>,
}

/// Every grant of a site.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    by_identity: HashMap<Identity, Vec<Grant>>,
    /// The buckets that take in only what comes from some regions.
    residency: HashMap<BucketName, Residency>,
}

/// From where a bucket takes objects in, whatever is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Residency {
    line: u32,
    regions: BTreeSet<Region>,
}

impl Grants {
    /// Whether both allow the same, wherever it is said.
    #[must_use]
    pub fn allow_the_same(&self, other: &Self) -> bool {
        let said = |grants: &Self| -> BTreeSet<(Identity, &'static str, Option<BucketName>)> {
            let all = grants.by_identity.iter();
            all.flat_map(|(identity, grants)| {
                let of = |grant: &Grant| {
                    (
                        identity.clone(),
                        grant.action.as_str(),
                        grant.bucket.clone(),
                    )
                };
                grants.iter().map(of)
            })
            .collect()
        };
        let regions = |grants: &Self| -> BTreeMap<BucketName, BTreeSet<Region>> {
            let all = grants.residency.iter();
            all.map(|(bucket, within)| (bucket.clone(), within.regions.clone()))
                .collect()
        };
        said(self) == said(other) && regions(self) == regions(other)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Grant {
    line: u32,
    action: Action,
    /// None for every bucket.
    bucket: Option<BucketName>,
}

/// The answer to whether something is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The line of the configuration that allows it; none when nothing does.
    pub line: Option<u32>,
    /// The line that keeps objects of the identity's region out of the bucket.
    pub kept_out: Option<u32>,
    identity: Identity,
    action: Action,
    bucket: BucketName,
}

impl Decision {
    /// Whether it is allowed.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.line.is_some()
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            kept_out,
            identity,
            action,
            bucket,
        } = self;
        if let Some(line) = kept_out {
            let region = identity.region();
            return write!(
                f,
                "line {line} keeps objects of region {region} out of {bucket}"
            );
        }
        match line {
            Some(line) => write!(f, "line {line} grants {identity} to {action} in {bucket}"),
            None => write!(f, "no grant allows {identity} to {action} in {bucket}"),
        }
    }
}

impl Grants {
    /// Keeps out of `bucket` whatever does not come from one of `regions`, as `line` of
    /// the configuration says.
    pub fn keep_within(&mut self, bucket: BucketName, line: u32, regions: BTreeSet<Region>) {
        self.residency.insert(bucket, Residency { line, regions });
    }

    /// What is granted, a line each, in an order that does not change.
    #[must_use]
    pub fn rows(&self) -> BTreeSet<String> {
        let rows = self.by_identity.iter().flat_map(|(identity, grants)| {
            let row = move |grant: &Grant| match &grant.bucket {
                Some(bucket) => format!("{identity} {} {bucket}", grant.action),
                None => format!("{identity} {} *", grant.action),
            };
            grants.iter().map(row)
        });
        let within = self.residency.iter().map(|(bucket, within)| {
            let regions: Vec<_> = within.regions.iter().map(Region::as_str).collect();
            format!("{bucket} from {}", regions.join(" "))
        });
        rows.chain(within).collect()
    }

    /// Takes the rows of a configuration.
    ///
    /// # Errors
    /// [`IdentityError::Grant`] names the first row that is not usable, and why.
    pub fn new(rows: &[GrantRow]) -> Result<Self, IdentityError> {
        let mut grants = Self::default();
        let mut count = 0;
        for row in rows {
            let refuse = |what: String| IdentityError::Grant {
                line: row.line,
                what,
            };
            let identity: Identity = row
                .identity
                .parse()
                .map_err(|error| refuse(format!("{error}")))?;
            let actions = parse_actions(row)?;
            let buckets = parse_buckets(row)?;
            count += actions.len() * buckets.len();
            if count > limits::GRANTS_MAX {
                return Err(refuse(format!("more than {} grants", limits::GRANTS_MAX)));
            }
            let of_identity = grants.by_identity.entry(identity).or_default();
            for &action in &actions {
                let grant = |bucket: &Option<BucketName>| Grant {
                    line: row.line,
                    action,
                    bucket: bucket.clone(),
                };
                of_identity.extend(buckets.iter().map(grant));
            }
        }
        Ok(grants)
    }

    /// Whether `identity` may do `action` in `bucket`, and which line says so.
    #[must_use]
    pub fn allows(&self, identity: &Identity, action: Action, bucket: &BucketName) -> Decision {
        let covers = |grant: &&Grant| {
            grant.action == action && grant.bucket.as_ref().is_none_or(|name| name == bucket)
        };
        let grants = self
            .by_identity
            .get(identity)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let is_outside = |within: &&Residency| {
            action != Action::Read && !within.regions.contains(identity.region())
        };
        let kept_out = self.residency.get(bucket).filter(is_outside);
        let granted = grants.iter().find(covers).map(|grant| grant.line);
        Decision {
            line: granted.filter(|_| kept_out.is_none()),
            kept_out: kept_out.map(|within| within.line),
            identity: identity.clone(),
            action,
            bucket: bucket.clone(),
        }
    }

    /// Whether `identity` has any grant at all.
    #[must_use]
    pub fn knows(&self, identity: &Identity) -> bool {
        self.by_identity.contains_key(identity)
    }
}

fn parse_actions(row: &GrantRow) -> Result<Vec<Action>, IdentityError> {
    let refuse = |found: &str| IdentityError::Grant {
        line: row.line,
        what: format!("{found} where one or more of replicate, delete, read are allowed"),
    };
    if row.actions.is_empty() {
        return Err(refuse("no action"));
    }
    let parse = |word: &String| {
        word.parse()
            .map_err(|()| refuse(&format!("action {word:?}")))
    };
    row.actions.iter().map(parse).collect()
}

fn parse_buckets(row: &GrantRow) -> Result<Vec<Option<BucketName>>, IdentityError> {
    let refuse = |what: String| IdentityError::Grant {
        line: row.line,
        what,
    };
    if row.buckets.is_empty() {
        return Err(refuse("no bucket; `*` stands for every bucket".to_owned()));
    }
    let parse = |name: &String| match name.as_str() {
        ANY_BUCKET => Ok(None),
        name => BucketName::new(name)
            .map(Some)
            .map_err(|error| refuse(error.to_string())),
    };
    row.buckets.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "spiffe://d/region/a/agent/one";

    fn row(line: u32, identity: &str, actions: &[&str], buckets: &[&str]) -> GrantRow {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        GrantRow {
            line,
            identity: identity.to_owned(),
            actions: owned(actions),
            buckets: owned(buckets),
        }
    }

    #[test]
    fn what_no_row_allows_is_denied_and_the_row_that_allows_is_named() {
        let (one, two): (Identity, Identity) = (
            A.parse().unwrap(),
            "spiffe://d/region/a/agent/two".parse().unwrap(),
        );
        let (logs, docs) = (
            BucketName::new("logs").unwrap(),
            BucketName::new("docs").unwrap(),
        );
        let rows = [
            row(7, A, &["replicate"], &["logs"]),
            row(9, A, &["read"], &["*"]),
        ];
        let grants = Grants::new(&rows).unwrap();
        let line = |id, action, bucket| grants.allows(id, action, bucket).line;
        assert_eq!(line(&one, Action::Replicate, &logs), Some(7));
        assert_eq!(line(&one, Action::Replicate, &docs), None);
        assert_eq!(line(&one, Action::Delete, &logs), None);
        assert_eq!(line(&one, Action::Read, &docs), Some(9));
        assert_eq!(line(&two, Action::Read, &docs), None);
        assert!(grants.knows(&one) && !grants.knows(&two));
        assert!(
            !Grants::default()
                .allows(&one, Action::Read, &logs)
                .is_allowed()
        );
        assert_eq!(
            grants.allows(&one, Action::Delete, &logs).to_string(),
            format!("no grant allows {A} to delete in logs")
        );
    }

    #[test]
    fn a_bucket_takes_in_only_what_comes_from_its_regions_whatever_is_granted() {
        let (one, far): (Identity, Identity) = (
            A.parse().unwrap(),
            "spiffe://d/region/far/agent/one".parse().unwrap(),
        );
        let logs = BucketName::new("logs").unwrap();
        let all = ["replicate", "delete", "read"];
        let rows = [row(7, A, &all, &["*"]), row(8, far.as_str(), &all, &["*"])];
        let mut grants = Grants::new(&rows).unwrap();
        let before = grants.clone();
        let regions = BTreeSet::from([Region::new("a").unwrap()]);
        grants.keep_within(logs.clone(), 20, regions);
        assert!(!grants.allow_the_same(&before) && grants.rows() != before.rows());
        assert_eq!(grants.allows(&one, Action::Replicate, &logs).line, Some(7));
        for action in [Action::Replicate, Action::Delete] {
            let decision = grants.allows(&far, action, &logs);
            assert_eq!((decision.line, decision.kept_out), (None, Some(20)));
            let told = "line 20 keeps objects of region far out of logs";
            assert_eq!(decision.to_string(), told);
        }
        assert!(grants.allows(&far, Action::Read, &logs).is_allowed());
        let docs = BucketName::new("docs").unwrap();
        assert!(grants.allows(&far, Action::Replicate, &docs).is_allowed());
    }

    #[test]
    fn a_row_that_cannot_mean_anything_is_refused_with_its_line() {
        for bad in [
            row(3, "nobody", &["read"], &["*"]),
            row(3, A, &[], &["*"]),
            row(3, A, &["write"], &["*"]),
            row(3, A, &["read"], &[]),
            row(3, A, &["read"], &["No Bucket"]),
        ] {
            let error = Grants::new(std::slice::from_ref(&bad)).unwrap_err();
            assert!(
                error.to_string().starts_with("grant at line 3: "),
                "{error}"
            );
        }
    }

    #[test]
    fn there_are_at_most_ten_thousand_grants() {
        let rows = |n: u32| {
            (0..n)
                .map(|i| row(i, A, &["read"], &["*"]))
                .collect::<Vec<_>>()
        };
        let most = u32::try_from(limits::GRANTS_MAX).unwrap();
        assert!(Grants::new(&rows(most)).is_ok());
        assert!(Grants::new(&rows(most + 1)).is_err());
    }
}
