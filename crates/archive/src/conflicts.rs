//! How often two regions wrote the same key without knowing of each other.
//!
//! ```text
//!   written here:      ───────────── 7.b ──────────▶ latest
//!   arrives from a:          5.a ─────────────┘ below it: one conflict that is settled
//! ```
//!
//! Of two such versions one arrives where the other is later already, and there it is counted:
//! once in all, at the site whose version stays the latest.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::RwLock;
use sealift_ledger::{NewVersion, Outcome};
use sealift_terms::{BucketName, Order, VersionName};

use crate::{Archive, archive::Core};

/// The buckets that are looked at, and what was counted since the start.
#[derive(Debug, Default)]
pub(crate) struct Conflicts {
    /// Those that are written to here as well.
    promoted: RwLock<BTreeSet<BucketName>>,
    settled: AtomicU64,
}

/// A version that came from another region.
pub(crate) struct Arrived {
    name: VersionName,
    order: Order,
}

impl Conflicts {
    pub(crate) fn set_promoted(&self, promoted: BTreeSet<BucketName>) {
        *self.promoted.write() = promoted;
    }
}

impl Core {
    /// What is to be looked at once it is stored, if anything is.
    pub(crate) fn arrival(&self, new: &NewVersion) -> Option<Arrived> {
        let is_theirs = new.order.region != self.region && new.replaces.is_none();
        let is_watched = || self.conflicts.promoted.read().contains(&new.name.bucket);
        (is_theirs && is_watched()).then(|| Arrived {
            name: new.name.clone(),
            order: new.order.clone(),
        })
    }

    /// Counts those that were stored below a later version of another region.
    pub(crate) async fn count_conflicts(&self, arrived: Vec<Arrived>) {
        for Arrived { name, order } in arrived {
            // Nobody waits for a number.
            let latest = self.catalog.latest(&name.bucket, &name.key).await;
            let is_below = latest
                .ok()
                .flatten()
                .is_some_and(|latest| latest.order > order && latest.order.region != order.region);
            if is_below {
                self.conflicts.settled.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Those that were new here.
pub(crate) fn stored(arrived: Vec<Option<Arrived>>, outcomes: &[Outcome]) -> Vec<Arrived> {
    let both = arrived.into_iter().zip(outcomes);
    let new = both.filter(|(_, outcome)| matches!(outcome, Outcome::Stored(_)));
    new.filter_map(|(arrived, _)| arrived).collect()
}

impl Archive {
    /// Versions that came from another region since the start, into buckets that are written
    /// to here, below a later version of a region that is not theirs.
    #[must_use]
    pub fn conflicts_settled(&self) -> u64 {
        self.core.conflicts.settled.load(Ordering::Relaxed)
    }
}
