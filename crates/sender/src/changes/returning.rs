//! Versions that are the latest again, long after the journal let their rows go: what it has
//! no row of any more is told from what is new by when it was made.

use std::time::Duration;

use sealift_ledger::KnownKey;
use sealift_terms::{Timestamp, limits::SETTLED_KEPT_MAX};

/// No row is folded that is younger. A store's clock may be ahead of ours by a day.
const FOLDED_AFTER: Duration = Duration::from_secs(SETTLED_KEPT_MAX.as_secs() - 86_400);

/// Whether a version that the source has in place of the known one was there when that one was
/// recorded, and so was recorded itself, whatever rows there are.
///
/// A store that keeps versions says when each was made, by one clock: `of_store` is what it
/// said of the known one, if that is its own. Of a marker that was made here it knows nothing, and
/// where others are not kept a version that was made while the known one was looked at and recorded
/// would be taken for an old one: only what is old enough for its row to be folded is.
pub(super) fn was_there(
    made: Option<Timestamp>,
    known: &KnownKey,
    of_store: Option<Option<Timestamp>>,
    now: Timestamp,
) -> bool {
    let aged = known.order.time().min(now.minus(FOLDED_AFTER));
    let before = of_store.unwrap_or(Some(aged));
    made.zip(before)
        .is_some_and(|(made, before)| made <= before)
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
    fn what_is_older_than_the_known_one_was_there_and_of_what_is_young_only_the_source_says_so() {
        let day = |day: i64| Timestamp::from_secs(day * 86_400);
        let known = known("m", day(90));
        let was = |made, of_store| was_there(Some(made), &known, of_store, day(100));
        let told = Some(Some(day(89)));
        assert!(was(day(60), told) && was(day(89), told));
        assert!(!was(day(90), told), "it is newer");
        assert!(!was(day(60), Some(None)), "nobody says of which");
        assert!(was(day(60), None));
        assert!(!was(day(89), None), "its row would be there");
        assert!(!was_there(None, &known, told, day(100)), "nobody says when");
    }
}
