//! Rules for a bucket of S3 or Google whose versioning is off are refused when they are
//! applied, and not when the first object fails.

use sealift_terms::Reason;

use super::{Running, start::rules_of};
use crate::{
    CheckLine, Error,
    config::{Config, SourceFrom},
    offline::SOURCE,
    sources::open_source,
};

impl Running {
    /// Asks the buckets whose rules are others in `after`. One that does not answer now is no
    /// reason to refuse: its objects wait.
    ///
    /// # Errors
    /// [`Error::Unready`] names each bucket that keeps no versions.
    pub(super) async fn hold_versioning(
        &self,
        before: &Config,
        after: &Config,
    ) -> Result<(), Error> {
        let (old, new) = (rules_of(before), rules_of(after));
        let mut refused = Vec::new();
        for source in &after.sources {
            let is_bucket = matches!(source.from, SourceFrom::S3(_) | SourceFrom::Gcs(_));
            let is_named = !new.peers_of(&source.bucket).is_empty();
            if !is_bucket || !is_named || old.are_the_same_for(&new, &source.bucket) {
                continue;
            }
            // A listing begins with that question.
            let asked = open_source(&self.site, source)?.scan("").await;
            if let Err(error) = asked
                && error.reason() == Reason::SrcVersioningDisabled
            {
                let check = format!("{SOURCE}{}", source.bucket);
                let found = format!("{}: {error}", error.reason());
                refused.push(CheckLine::fail(check, found, error.reason().remedy()));
            }
        }
        match refused.is_empty() {
            true => Ok(()),
            false => Err(Error::Unready(refused)),
        }
    }
}
