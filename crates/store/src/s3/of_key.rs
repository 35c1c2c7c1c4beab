//! The versions of one key as a listing has them, and what a source says of them.

use std::{cmp::Reverse, collections::BTreeSet};

use sealift_terms::{
    NameError, ObjectFacts, ObjectKey, Reason, VersionId, limits::EARLIER_LISTED_MAX,
};

use super::{version, xml::ListedVersion};
use crate::{Earlier, History, Listed, Removed, Skipped};

/// What is known of a key's versions: the latest, and so many others.
#[derive(Debug)]
pub(crate) struct OfKey {
    found: Vec<ListedVersion>,
    max: usize,
    /// They stand as they are added, the newest first, whatever their times say.
    is_in_order: bool,
    /// There are others, which are left out.
    pub(crate) more: bool,
}

impl Default for OfKey {
    fn default() -> Self {
        Self::up_to(EARLIER_LISTED_MAX)
    }
}

/// What a key is.
#[derive(Debug)]
pub(crate) enum Found {
    /// Its latest version has content.
    Listed(Listed),
    /// It is a delete marker.
    Removed(Removed),
}

impl OfKey {
    /// The latest version and `max` others.
    pub(crate) fn up_to(max: usize) -> Self {
        Self {
            found: Vec::new(),
            max,
            is_in_order: false,
            more: false,
        }
    }

    /// The same, of versions that are added in their order.
    pub(crate) fn as_listed(max: usize) -> Self {
        Self {
            is_in_order: true,
            ..Self::up_to(max)
        }
    }

    /// Takes one as it stands in the listing.
    pub(crate) fn add(&mut self, one: ListedVersion) {
        if one.is_latest || self.found.len() <= self.max {
            self.found.push(one);
        } else {
            self.more = true;
        }
    }

    pub(crate) fn latest(&self) -> Option<&ListedVersion> {
        self.found.iter().find(|one| one.is_latest)
    }

    /// Whether two are said to be the latest.
    pub(crate) fn contradicts_itself(&self) -> bool {
        self.found.iter().filter(|one| one.is_latest).count() > 1
    }

    /// The versions below the latest one, the newest first.
    pub(crate) fn history(self) -> Result<History, NameError> {
        let (mut found, max, mut more) = (self.found, self.max, self.more);
        // Some list delete markers behind all versions. Where times do not tell, they stand
        // as they were listed.
        if !self.is_in_order {
            found.sort_by_key(|one| Reverse((one.is_latest, one.last_modified)));
        }
        let below = found.into_iter().filter(|one| !one.is_latest);
        let mut earlier = Vec::new();
        for one in below {
            if earlier.len() == max {
                more = true;
                break;
            }
            earlier.push(Earlier {
                version: version::of(&one.version, &one.etag)?,
                facts: (!one.is_marker).then(|| facts(&one)),
                modified: one.last_modified,
            });
        }
        Ok(History { earlier, more })
    }

    /// The ids of all of them, if none were left out.
    pub(super) fn versions(self) -> Result<Option<BTreeSet<VersionId>>, NameError> {
        let ids = self.found.iter();
        let ids = ids.map(|one| version::of(&one.version, &one.etag));
        let ids = ids.collect::<Result<_, _>>()?;
        Ok((!self.more).then_some(ids))
    }

    /// What a source says of the key; nothing where none of it is said to be the latest.
    pub(crate) fn found(self) -> Option<Result<Found, Skipped>> {
        let latest = self.latest()?.clone();
        let name = latest.key.escape_debug().to_string();
        Some(self.told(latest).map_err(|error| Skipped {
            name,
            reason: Reason::SrcNameUnsupported,
            evidence: error.to_string(),
            hides: None,
        }))
    }

    fn told(self, latest: ListedVersion) -> Result<Found, NameError> {
        let key = ObjectKey::new(&latest.key)?;
        let version = version::of(&latest.version, &latest.etag)?;
        let history = self.history()?;
        Ok(match latest.is_marker {
            true => Found::Removed(Removed {
                key,
                version,
                modified: latest.last_modified,
                history,
            }),
            false => Found::Listed(Listed {
                key,
                version,
                facts: facts(&latest),
                settled: true,
                history,
            }),
        })
    }
}

/// What a listing says of a version.
fn facts(found: &ListedVersion) -> ObjectFacts {
    let mut facts = ObjectFacts {
        size: found.size,
        etag: (!found.etag.is_empty()).then(|| found.etag.clone()),
        last_modified: found.last_modified,
        ..ObjectFacts::default()
    };
    if let Some(class) = &found.storage_class {
        facts
            .system
            .insert("storage-class".to_owned(), class.clone());
    }
    facts
}

#[cfg(test)]
mod tests {
    use sealift_terms::Timestamp;

    use super::*;

    fn one(version: &str, secs: i64, is_latest: bool, is_marker: bool) -> ListedVersion {
        ListedVersion {
            key: "k".to_owned(),
            version: version.to_owned(),
            is_latest,
            is_marker,
            last_modified: Some(Timestamp::from_secs(secs)),
            ..ListedVersion::default()
        }
    }

    fn versions(history: &History) -> Vec<&str> {
        let earlier = history.earlier.iter();
        earlier.map(|earlier| earlier.version.as_str()).collect()
    }

    #[test]
    fn versions_and_markers_stand_by_their_times_however_they_are_listed() {
        let mut of_key = OfKey::default();
        for listed in [
            one("v3", 30, true, false),
            one("v1b", 10, false, false),
            one("v1a", 10, false, false),
            one("gone", 20, false, true),
        ] {
            of_key.add(listed);
        }
        let Some(Ok(Found::Listed(listed))) = of_key.found() else {
            panic!("it is there");
        };
        assert_eq!(listed.version.as_str(), "v3");
        assert_eq!(versions(&listed.history), ["gone", "v1b", "v1a"]);
        assert!(listed.history.earlier[0].facts.is_none() && !listed.history.more);
    }

    #[test]
    fn so_many_are_carried_along_and_the_latest_always_is() {
        for last in [0, 1] {
            let mut of_key = OfKey::up_to(3);
            // As many as fit, or one more; the latest is a marker that is listed behind all.
            for n in 0..3 + last {
                of_key.add(one(&format!("v{n}"), 10 - n, false, false));
            }
            of_key.add(one("marker", 11, true, true));
            let Some(Ok(Found::Removed(removed))) = of_key.found() else {
                panic!("it is removed");
            };
            assert_eq!(removed.version.as_str(), "marker");
            assert_eq!(versions(&removed.history), ["v0", "v1", "v2"]);
            assert_eq!(removed.history.more, last == 1);
        }
        assert!(OfKey::default().found().is_none());
    }

    #[test]
    fn all_ids_are_told_only_where_none_were_left_out() {
        let of = |count: i64| {
            let mut of_key = OfKey::up_to(2);
            for n in 0..count {
                of_key.add(one(&format!("v{n}"), 10 - n, n == 0, n == 1));
            }
            of_key.versions().unwrap()
        };
        assert_eq!(of(0).unwrap().len(), 0);
        let ids = of(3).unwrap();
        assert_eq!(
            ids.iter().map(|id| id.as_str()).collect::<Vec<_>>(),
            ["v0", "v1", "v2"]
        );
        assert_eq!(of(4), None);
    }
}
