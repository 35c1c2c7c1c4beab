//! What an authenticated peer may do: deny by default, one row of configuration
//! for everything that is allowed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    str::FromStr,
};

use sealift_terms::{BucketName, Identity, KeyId, Region, limits};
use serde::{Deserialize, Serialize};

use crate::error::IdentityError;

/// The word for every bucket and every key.
const ANY: &str = "*";

/// What may be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Action {
    /// To store versions.
    Replicate,
    /// To store delete markers.
    Delete,
    /// To read what is stored.
    Read,
    /// To purge versions: what was permanently deleted at the source goes here as well.
    Purge,
    /// To bring a key of several regions here, to keep it up to date, and to take the lead
    /// of it over.
    ReplicateKeys,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 5] = [
        Self::Replicate,
        Self::Delete,
        Self::Read,
        Self::Purge,
        Self::ReplicateKeys,
    ];

    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replicate => "replicate",
            Self::Delete => "delete",
            Self::Read => "read",
            Self::Purge => "purge",
            Self::ReplicateKeys => "replicate-keys",
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
    /// The keys, by id, that it allows to be replicated here; `*` for all.
    pub keys: Vec<String>,
}

/// Every grant of a site.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    by_identity: HashMap<Identity, Vec<Grant>>,
    of_keys: HashMap<Identity, Vec<KeyGrant>>,
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
        let keys = |grants: &Self| -> BTreeSet<(Identity, Option<KeyId>)> {
            let all = grants.of_keys.iter();
            all.flat_map(|(identity, grants)| {
                grants
                    .iter()
                    .map(|grant| (identity.clone(), grant.key.clone()))
            })
            .collect()
        };
        said(self) == said(other) && regions(self) == regions(other) && keys(self) == keys(other)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Grant {
    line: u32,
    action: Action,
    /// None for every bucket.
    bucket: Option<BucketName>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct KeyGrant {
    line: u32,
    /// None for every key.
    key: Option<KeyId>,
}

/// The answer to whether a key may be replicated here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDecision {
    /// The line of the configuration that allows it; none when nothing does.
    pub line: Option<u32>,
    identity: Identity,
    key: KeyId,
}

impl KeyDecision {
    /// Whether it is allowed.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.line.is_some()
    }
}

impl fmt::Display for KeyDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            identity,
            key,
        } = self;
        let action = Action::ReplicateKeys;
        match line {
            Some(line) => write!(f, "line {line} grants {identity} to {action}: {key}"),
            None => write!(f, "no grant allows {identity} to {action}: {key}"),
        }
    }
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

    /// The regions that a bucket is kept within, and the line that says so.
    #[must_use]
    pub fn kept_within(&self, bucket: &BucketName) -> Option<(u32, &BTreeSet<Region>)> {
        let within = self.residency.get(bucket)?;
        Some((within.line, &within.regions))
    }

    /// Whether `identity` may replicate a key here, and which line says so.
    #[must_use]
    pub fn allows_key(&self, identity: &Identity, key: &KeyId) -> KeyDecision {
        let covers = |grant: &&KeyGrant| grant.key.as_ref().is_none_or(|id| id == key);
        let mut grants = self.of_keys.get(identity).into_iter().flatten();
        KeyDecision {
            line: grants.find(covers).map(|grant| grant.line),
            identity: identity.clone(),
            key: key.clone(),
        }
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
        let keys = self.of_keys.iter().flat_map(|(identity, grants)| {
            let key = |grant: &KeyGrant| {
                let key = grant.key.as_ref().map_or(ANY, |key| key.as_str());
                format!("{identity} {} {key}", Action::ReplicateKeys)
            };
            grants.iter().map(key).collect::<Vec<_>>()
        });
        rows.chain(within).chain(keys).collect()
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
            let of_keys = actions.contains(&Action::ReplicateKeys);
            let actions: Vec<_> = actions
                .into_iter()
                .filter(|action| *action != Action::ReplicateKeys)
                .collect();
            let keys = parse_keys(row, of_keys)?;
            let buckets = match actions.is_empty() && row.buckets.is_empty() {
                true => Vec::new(),
                false => parse_buckets(row)?,
            };
            count += actions.len() * buckets.len() + keys.len();
            if count > limits::GRANTS_MAX {
                return Err(refuse(format!("more than {} grants", limits::GRANTS_MAX)));
            }
            if of_keys {
                let of_identity = grants.of_keys.entry(identity.clone()).or_default();
                let grant = |key| KeyGrant {
                    line: row.line,
                    key,
                };
                of_identity.extend(keys.into_iter().map(grant));
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
        what: format!(
            "{found} where one or more of replicate, delete, read, purge, replicate-keys are allowed"
        ),
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

/// The keys of a row: those that grant to replicate keys name some, and no others do.
fn parse_keys(row: &GrantRow, of_keys: bool) -> Result<Vec<Option<KeyId>>, IdentityError> {
    let refuse = |what: String| IdentityError::Grant {
        line: row.line,
        what,
    };
    if of_keys == row.keys.is_empty() {
        let action = Action::ReplicateKeys;
        return Err(refuse(format!(
            "{action} and keys go together; `*` stands for every key"
        )));
    }
    let parse = |name: &String| match name.as_str() {
        ANY => Ok(None),
        name => KeyId::new(name)
            .map(Some)
            .map_err(|error| refuse(error.to_string())),
    };
    row.keys.iter().map(parse).collect()
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
        ANY => Ok(None),
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
            keys: Vec::new(),
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
        let deletes = Grants::new(&[row(7, A, &["replicate", "delete"], &["*"])]).unwrap();
        assert!(!deletes.allows(&one, Action::Purge, &logs).is_allowed());
        let purges = Grants::new(&[row(7, A, &["purge"], &["logs"])]).unwrap();
        assert!(purges.allows(&one, Action::Purge, &logs).is_allowed());
        assert!(!purges.allows(&one, Action::Delete, &logs).is_allowed());
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
    fn a_key_is_replicated_here_by_whom_a_row_names_for_it() {
        let (one, two): (Identity, Identity) = (
            A.parse().unwrap(),
            "spiffe://d/region/a/agent/two".parse().unwrap(),
        );
        let (key, other) = (KeyId::new("key-1").unwrap(), KeyId::new("key-2").unwrap());
        let of_keys = |line, identity: &Identity, keys: &[&str]| GrantRow {
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            ..row(line, identity.as_str(), &["replicate-keys"], &[])
        };
        let rows = [of_keys(7, &one, &["key-1"]), of_keys(8, &two, &["*"])];
        let grants = Grants::new(&rows).unwrap();
        assert_eq!(grants.allows_key(&one, &key).line, Some(7));
        assert_eq!(grants.allows_key(&two, &other).line, Some(8));
        let denied = grants.allows_key(&one, &other);
        assert!(!denied.is_allowed());
        let told = format!("no grant allows {A} to replicate-keys: key-2");
        assert_eq!(denied.to_string(), told);
        // Every action on every bucket is no right to bring keys.
        let all = row(9, A, &["replicate", "delete", "read"], &["*"]);
        let all = Grants::new(std::slice::from_ref(&all)).unwrap();
        assert!(!all.allows_key(&one, &key).is_allowed());
        assert!(!grants.allow_the_same(&all) && grants.rows().len() == 2);
        // Nor is a right to bring keys one to bring anything else.
        let logs = BucketName::new("logs").unwrap();
        for action in Action::ALL {
            assert!(!grants.allows(&two, action, &logs).is_allowed());
        }
        let without = row(3, A, &["replicate-keys"], &["logs"]);
        let stray = GrantRow {
            keys: vec!["*".to_owned()],
            ..row(3, A, &["read"], &["*"])
        };
        for bad in [without, stray, of_keys(3, &one, &["no key"])] {
            let error = Grants::new(std::slice::from_ref(&bad)).unwrap_err();
            assert!(
                error.to_string().starts_with("grant at line 3: "),
                "{error}"
            );
        }
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
