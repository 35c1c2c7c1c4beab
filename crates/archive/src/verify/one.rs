//! Examining one version.

use sealift_ledger::VersionRow;
use sealift_terms::Boxed;

use super::is_about_the_object;
use crate::{Archive, Finding, Result, finding::in_words};

impl Archive {
    /// Opens every sealed byte of one version; gives what is wrong with it.
    ///
    /// # Errors
    /// What keeps it from being examined: a key that cannot be used, a catalog
    /// that does not answer.
    pub fn verify_version(&self, row: VersionRow) -> Boxed<'_, Result<Option<Finding>>> {
        Box::pin(async move {
            let (name, file) = (row.name.clone(), row.location.file.clone());
            match self.core.open_and_verify(row).await {
                Ok(()) => Ok(None),
                Err(error) if is_about_the_object(&error) => {
                    let cause = in_words(&error);
                    Ok(Some(Finding::ObjectDamaged { name, file, cause }))
                }
                Err(error) => Err(error),
            }
        })
    }
}
