//! Version ids as they are sent: the source's own, unless that one was used before.
//!
//! A directory that is moved away and back brings back files with the ids they
//! had. The delete marker between lies above them, so the return is a version of
//! its own: the source's id with the clock of its order behind it.

use sealift_terms::{NameError, Order, VersionId};

const RETURNED: &str = "~returned-";
const DELETED: &str = "deleted-";
/// What S3 calls a version that is older than its bucket's versioning.
pub(super) const NULL: &str = "null";

/// The source's own id of a version that was sent.
pub(crate) fn of_source(sent: &VersionId) -> Result<VersionId, NameError> {
    match sent.as_str().rsplit_once(RETURNED) {
        Some((own, _)) => VersionId::new(own),
        None => Ok(sent.clone()),
    }
}

/// Whether `sent` stands for the source's version `own`.
pub(crate) fn is_version_of(sent: &VersionId, own: &VersionId) -> bool {
    let rest = sent.as_str().strip_prefix(own.as_str());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(RETURNED))
}

/// Whether `own` is what its store calls `null`: the id has its entity tag behind that.
pub(super) fn is_null(own: &VersionId) -> bool {
    let rest = own.as_str().strip_prefix(NULL);
    rest.is_some_and(|rest| rest.starts_with('~'))
}

/// Whether a store calls its version `own` so.
pub(crate) fn is_called(own: &VersionId, told: &VersionId) -> bool {
    own == told || (told.as_str() == NULL && is_null(own))
}

/// An id for a version that came back.
pub(super) fn returned(own: &VersionId, order: &Order) -> Result<VersionId, NameError> {
    VersionId::new(format!("{own}{RETURNED}{:016x}", order.clock))
}

/// Whether an id is one of [`delete_marker`].
pub(super) fn is_made_here(id: &VersionId) -> bool {
    id.as_str().starts_with(DELETED)
}

/// An id for a delete marker.
pub(super) fn delete_marker(order: &Order) -> Result<VersionId, NameError> {
    VersionId::new(format!(
        "{DELETED}{:016x}-{:016x}",
        order.clock, order.change
    ))
}

#[cfg(test)]
mod tests {
    use sealift_terms::Region;

    use super::*;

    #[test]
    fn what_is_older_than_versioning_is_called_null() {
        let id = |text: &str| VersionId::new(text).unwrap();
        assert!(is_null(&id("null~d41d8")));
        assert!(!is_null(&id("nullify")) && !is_null(&id("v1")));
        assert!(is_called(&id("null~d41d8"), &id("null")) && is_called(&id("v1"), &id("v1")));
        assert!(!is_called(&id("v1"), &id("null")) && !is_called(&id("v10"), &id("v1")));
    }

    #[test]
    fn a_version_that_came_back_is_another_and_names_the_same_content() {
        let own = VersionId::new("v1").unwrap();
        let order = Order {
            clock: 7,
            region: Region::new("a").unwrap(),
            change: 1,
        };
        let sent = returned(&own, &order).unwrap();
        assert_ne!(sent, own);
        assert_eq!(of_source(&sent).unwrap(), own);
        assert_eq!(of_source(&own).unwrap(), own);
        assert!(is_version_of(&sent, &own) && is_version_of(&own, &own));
        assert!(!is_version_of(&VersionId::new("v10").unwrap(), &own));
    }
}
