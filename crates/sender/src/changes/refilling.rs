//! What a source still has of a key and the journal has no row of any more: it was done long
//! ago, and its rows are folded. A destination that lost it is sent it from the source's listing.
//!
//! ```text
//!  versions of a key, as listed ──┐ the newest first
//!                                 ├─▶ no row to that peer ─▶ an order just below the one above
//!  rows of the journal, by peer ──┘
//! ```
//!
//! Orders that were given once are not in the source. Between two orders that are known there
//! is room for all that were given between them, as each change has a clock of its own: counted
//! down from the one above, they stand where they stood, and are the same when asked for again.

use std::collections::{BTreeMap, BTreeSet};

use sealift_ledger::{Journal, KnownKey, NewChange, Transfer};
use sealift_store::{Earlier, History, Listed, Removed, Source};
use sealift_terms::{
    BucketName, Change, ChangeKind, ObjectFacts, ObjectKey, Order, PeerName, VersionName,
    limits::TRANSFERS_OF_KEY_MAX,
};

use super::{gone::look, tagging::with_tags, version};
use crate::{Rules, SenderError, Tagged, rules::Kind};

/// Finds what of a bucket has no rows, of a source that keeps versions.
#[derive(Clone, Copy)]
pub struct Refilling<'a> {
    /// The bucket.
    pub bucket: &'a BucketName,
    /// Its source.
    pub source: &'a dyn Source,
    /// What is remembered of it.
    pub journal: &'a dyn Journal,
    /// Where it goes.
    pub rules: &'a Rules,
}

/// A version, and its rows.
struct Placed<'a> {
    change: Change,
    has: BTreeSet<&'a PeerName>,
}

impl Refilling<'_> {
    /// The versions of a key, delete markers too, that rules in force send to peers to which
    /// the journal has no row of them: the oldest first, each for those peers alone.
    ///
    /// # Errors
    /// [`SenderError`] when the source or the journal does not answer.
    pub async fn of_key(&self, key: &ObjectKey) -> Result<Vec<NewChange>, SenderError> {
        match look(self.source, key).await? {
            Some(listed) => self.of_listed(listed).await,
            None => match self.source.removed(key).await? {
                Some(removed) => self.of_removed(removed).await,
                None => Ok(Vec::new()),
            },
        }
    }

    /// As [`of_key`](Self::of_key), of one that was listed.
    ///
    /// # Errors
    /// As there.
    pub async fn of_listed(&self, listed: Listed) -> Result<Vec<NewChange>, SenderError> {
        let latest = Earlier {
            version: listed.version,
            modified: listed.facts.last_modified,
            facts: Some(listed.facts),
        };
        self.of_versions(&listed.key, latest, listed.history).await
    }

    /// As [`of_key`](Self::of_key), of one that was listed as removed.
    ///
    /// # Errors
    /// As there.
    pub async fn of_removed(&self, removed: Removed) -> Result<Vec<NewChange>, SenderError> {
        let latest = Earlier {
            version: removed.version,
            modified: removed.modified,
            facts: None,
        };
        self.of_versions(&removed.key, latest, removed.history)
            .await
    }

    async fn of_versions(
        &self,
        key: &ObjectKey,
        latest: Earlier,
        history: History,
    ) -> Result<Vec<NewChange>, SenderError> {
        let Some(known) = self.journal.known(self.bucket, key).await? else {
            return Ok(Vec::new());
        };
        let history = match history.more {
            true => self.source.history(key).await?,
            false => history,
        };
        let rows = self
            .journal
            .transfers_of(self.bucket, key, TRANSFERS_OF_KEY_MAX)
            .await?;
        let versions = std::iter::once(latest).chain(history.earlier);
        let mut placed = self.place(&known, &rows, versions);
        placed.reverse();
        self.addressed(key, &rows, placed).await
    }

    /// Gives every version its place, the newest first. What is above the known one is new: the
    /// source's task takes it, as it does what is there in its place.
    fn place<'a>(
        &self,
        known: &KnownKey,
        rows: &'a [Transfer],
        versions: impl Iterator<Item = Earlier>,
    ) -> Vec<Placed<'a>> {
        let mut placed = Vec::new();
        let (mut above, mut is_below) = (known.order.clone(), false);
        for one in versions {
            let is_known = version::is_version_of(&known.version, &one.version);
            is_below |= is_known;
            if !is_below {
                continue;
            }
            let rows = rows.iter().filter(|row| {
                let is_it = version::is_version_of(&row.change.name.version, &one.version);
                row.change.kind.is_version() && is_it
            });
            let has = rows.clone().map(|row| &row.peer).collect();
            let row = rows
                .map(|row| &row.change)
                .max_by_key(|change| &change.order);
            let (order, version) = match row {
                _ if is_known => (known.order.clone(), known.version.clone()),
                Some(row) => (row.order.clone(), row.name.version.clone()),
                None => (below(&above), one.version.clone()),
            };
            above = order.clone().min(above);
            placed.push(Placed {
                change: self.change(known, (order, version), one),
                has,
            });
        }
        placed
    }

    fn change(
        &self,
        known: &KnownKey,
        (order, version): (Order, sealift_terms::VersionId),
        one: Earlier,
    ) -> Change {
        let (kind, facts) = match one.facts {
            Some(facts) => (ChangeKind::Put, facts),
            None => {
                let last_modified = one.modified;
                let facts = ObjectFacts {
                    last_modified,
                    ..ObjectFacts::default()
                };
                (ChangeKind::DeleteMarker, facts)
            }
        };
        let facts = ObjectFacts {
            source_region: Some(order.region.clone()),
            ..facts
        };
        Change {
            name: VersionName {
                bucket: self.bucket.clone(),
                key: known.key.clone(),
                version,
            },
            order,
            kind,
            facts,
        }
    }

    /// Says where each goes: nowhere that it has a row for.
    async fn addressed(
        &self,
        key: &ObjectKey,
        rows: &[Transfer],
        placed: Vec<Placed<'_>>,
    ) -> Result<Vec<NewChange>, SenderError> {
        let peers = self.rules.peers_of(self.bucket);
        let lacks = |placed: &Placed<'_>| !peers.iter().all(|peer| placed.has.contains(peer));
        if !placed.iter().any(lacks) {
            return Ok(Vec::new());
        }
        let tags = self.tags(key, &placed).await?;
        let sent = rows
            .iter()
            .filter(|row| row.change.kind == ChangeKind::Put && row.goes());
        let mut behind: BTreeSet<PeerName> = sent.map(|row| row.peer.clone()).collect();
        let mut found = Vec::new();
        for Placed { mut change, has } in placed {
            if let Some(tags) = &tags
                && change.kind == ChangeKind::Put
            {
                let Some(tags) = tags.get(&change.name) else {
                    continue;
                };
                change.facts.tags.clone_from(tags);
            }
            let (kind, tagged) = (Kind::new(change.kind), Tagged::of(&change, &behind));
            let mut to = self.rules.destinations(self.bucket, key, kind, tagged);
            to.retain(|to| to.skip.is_none() && !has.contains(&to.peer));
            if change.kind == ChangeKind::Put {
                behind.extend(to.iter().map(|to| to.peer.clone()));
            }
            if !to.is_empty() {
                found.push(NewChange {
                    change,
                    destinations: to,
                    held_until: None,
                    ahead: false,
                });
            }
        }
        Ok(found)
    }

    /// The tags that versions have now, where rules ask for any; without what is gone, or may
    /// not be looked at.
    async fn tags(
        &self,
        key: &ObjectKey,
        placed: &[Placed<'_>],
    ) -> Result<Option<BTreeMap<VersionName, BTreeMap<String, String>>>, SenderError> {
        if !self.rules.ask_tags_of(self.bucket, key) {
            return Ok(None);
        }
        let puts = placed.iter().map(|placed| &placed.change);
        let puts = puts.filter(|change| change.kind == ChangeKind::Put);
        let told = with_tags(self.source, self.rules, puts.cloned().collect()).await?;
        let told = told.into_iter();
        Ok(Some(
            told.map(|change| (change.name, change.facts.tags))
                .collect(),
        ))
    }
}

/// The order next to this one, below it.
fn below(order: &Order) -> Order {
    Order {
        clock: order.clock.saturating_sub(1),
        ..order.clone()
    }
}
