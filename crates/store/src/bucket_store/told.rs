//! What an answer about a file comes to, whichever service gave it.

use bytes::Bytes;
use sealift_terms::Reason;

use super::{If, Outcome};
use crate::{S3Error, StoreError, StoreName};

/// What is there of a file; `None` for nothing.
pub(crate) fn there<T>(name: &str, told: Result<T, S3Error>) -> Result<Option<T>, StoreError> {
    match told {
        Ok(there) => Ok(Some(there)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error.of_store(name, Reason::DstStoreUnavailable)),
    }
}

/// Bytes of a file that has to be there.
pub(crate) fn read(name: &StoreName, told: Result<Bytes, S3Error>) -> Result<Bytes, StoreError> {
    there(name.as_str(), told)?.ok_or_else(|| StoreError::NoSuchFile { name: name.clone() })
}

/// What became of a file that was put under a condition, and then has this entity tag.
pub(crate) fn put(
    name: &str,
    when: &If,
    told: Result<String, S3Error>,
) -> Result<Outcome, StoreError> {
    match told {
        Ok(etag) => Ok(Outcome::Done(etag)),
        Err(error) if error.is_conflict() => Ok(Outcome::Conflict),
        // What is to be replaced is gone meanwhile.
        Err(error) if error.is_missing() && *when != If::Absent => Ok(Outcome::Conflict),
        Err(error) => Err(error.of_store(name, Reason::DstPutDenied)),
    }
}

/// A file was removed, or was not there.
pub(crate) fn removed<T>(name: &str, told: Result<T, S3Error>) -> Result<(), StoreError> {
    match told {
        Ok(_) => Ok(()),
        Err(error) if error.is_missing() => Ok(()),
        Err(error) => Err(error.of_store(name, Reason::DstDeleteDenied)),
    }
}
