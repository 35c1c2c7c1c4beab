//! Whose fault it is that something did not open.

use std::io;

use sealift_seal::{Damage, SealError};
use sealift_store::StoreError;

use crate::ArchiveError;

/// What an error says of the thing that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Its bytes are wrong, unreadable or gone.
    Object,
    /// It is good, the entry of the pack around it is not.
    Entry,
    /// Its key cannot be used now.
    Key,
    /// Nothing: the store, the catalog or the process could not do its part.
    Surroundings,
}

/// What a disk says when it cannot give back what was written: EIO, EBADMSG, EUCLEAN.
const OF_THE_MEDIUM: [i32; 3] = [5, 74, 117];

impl Fault {
    pub(super) fn of(error: &ArchiveError) -> Self {
        match error {
            ArchiveError::Seal(SealError::Damaged(Damage::Entry(_))) => Self::Entry,
            ArchiveError::Seal(SealError::Read(error)) => Self::of_io(error),
            ArchiveError::Seal(error) if error.is_damage() => Self::Object,
            ArchiveError::Store(error) => Self::of_store(error),
            ArchiveError::RecordMissing(_) | ArchiveError::ChecksumMismatch { .. } => Self::Object,
            ArchiveError::Key(error) if error.is_about_the_record() => Self::Object,
            ArchiveError::Key(_) => Self::Key,
            _ => Self::Surroundings,
        }
    }

    fn of_store(error: &StoreError) -> Self {
        match error {
            StoreError::NoSuchFile { .. } => Self::Object,
            StoreError::StoreFailed { source, .. } => Self::of_io(source),
            _ => Self::Surroundings,
        }
    }

    fn of_io(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        if let Some(inner) = inner {
            return Self::of_store(inner);
        }
        let is_of_the_medium = |code| OF_THE_MEDIUM.contains(&code);
        match error.kind() == io::ErrorKind::UnexpectedEof
            || error.raw_os_error().is_some_and(is_of_the_medium)
        {
            true => Self::Object,
            // Too many open files, no memory: another try may go well.
            false => Self::Surroundings,
        }
    }
}

#[cfg(test)]
mod tests {
    use sealift_store::StoreName;

    use super::*;

    fn failed(source: io::Error) -> ArchiveError {
        let name = "objects/x".to_owned();
        SealError::Read(io::Error::other(StoreError::StoreFailed { name, source })).into()
    }

    #[test]
    fn only_what_the_medium_lost_is_the_objects_fault() {
        for (code, fault) in [
            (5, Fault::Object),
            (74, Fault::Object),
            (117, Fault::Object),
            (24, Fault::Surroundings),
            (12, Fault::Surroundings),
            (13, Fault::Surroundings),
            (30, Fault::Surroundings),
        ] {
            let error = failed(io::Error::from_raw_os_error(code));
            assert_eq!(Fault::of(&error), fault, "{code}");
        }
        let short = failed(io::ErrorKind::UnexpectedEof.into());
        assert_eq!(Fault::of(&short), Fault::Object);
        let name = StoreName::new("objects/x").unwrap();
        let gone = ArchiveError::from(StoreError::NoSuchFile { name });
        assert_eq!(Fault::of(&gone), Fault::Object);
        let path = "store".to_owned();
        let unmounted = ArchiveError::from(StoreError::StoreMissing { path });
        assert_eq!(Fault::of(&unmounted), Fault::Surroundings);
    }
}
