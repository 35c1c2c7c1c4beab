//! Versions that are the latest again, long after the journal let their rows go: what it has
//! no row of any more is told from what is new by when it was made.

use std::time::Duration;

use sealift_ledger::KnownKey;
use sealift_terms::{Timestamp, limits::SETTLED_KEPT_MAX};

use super::version;

/// No row is folded that is younger. A store's clock may be ahead of ours by a day.
const FOLDED_AFTER: Duration = Duration::from_secs(SETTLED_KEPT_MAX.as_secs() - 86_400);

/// Whether a version that the source has in place of the known one was there when that one was
/// recorded, and so was recorded itself, whatever rows there are.
///
/// A store that keeps versions has those above it in its listing. One whose known version is
/// not among them has lost that version, and no new one is older. Where that says nothing,
/// because the known one is a marker of ours or other versions are not kept, a version that
/// was made while the known one was looked at and recorded would be taken for an old one: only
/// what is old enough for its row to be folded is.
pub(super) fn was_there(
    made: Option<Timestamp>,
    known: &KnownKey,
    keeps_versions: bool,
    now: Timestamp,
) -> bool {
    let is_certain = keeps_versions && !version::is_made_here(&known.version);
    let before = match is_certain {
        true => known.order.time(),
        false => known.order.time().min(now.minus(FOLDED_AFTER)),
    };
    made.is_some_and(|made| made <= before)
}

#[cfg(test)]
mod tests {
    use sealift_terms::{ObjectKey, Order, Region, VersionId};

    use super::*;

    fn known(version: &str, at: Timestamp) -> KnownKey {
        KnownKey {
            key: ObjectKey::new("k").unwrap(),
            version: VersionId::new(version).unwrap(),
            order: Order {
                clock: u64::try_from(at.as_millis()).unwrap() << 16,
                region: Region::new("a").unwrap(),
                change: 1,
            },
            deleted: true,
            size: 0,
        }
    }

    #[test]
    fn what_is_older_than_the_known_one_was_there_and_of_what_is_young_only_a_listing_says_so() {
        let day = |day: i64| Timestamp::from_secs(day * 86_400);
        let was = |made, known: &KnownKey, keeps| was_there(Some(made), known, keeps, day(100));
        let marker = known("m", day(90));
        assert!(was(day(60), &marker, true) && was(day(89), &marker, true));
        assert!(!was(day(91), &marker, true), "it is newer");
        assert!(was(day(60), &marker, false));
        assert!(!was(day(89), &marker, false), "its row would be there");
        let ours = known("deleted-1-1", day(90));
        assert!(was(day(60), &ours, true) && !was(day(89), &ours, true));
        assert!(
            !was_there(None, &marker, true, day(100)),
            "nobody says when"
        );
    }
}
