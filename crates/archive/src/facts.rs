//! The site's facts key in the shape that the ledger asks for.

use sealift_keys::FactsKey;
use sealift_ledger::{FactsError, FactsSealer};

/// Seals the small facts of a site's databases with the key of its keystore.
#[derive(Debug, Clone)]
pub struct SiteFacts(FactsKey);

impl SiteFacts {
    /// With this key.
    #[must_use]
    pub fn new(key: FactsKey) -> Self {
        Self(key)
    }
}

impl FactsSealer for SiteFacts {
    fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, FactsError> {
        Ok(self.0.seal(aad, plaintext))
    }

    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, FactsError> {
        let opened = self.0.open(aad, sealed).map_err(FactsError::new)?;
        Ok(opened.to_vec())
    }
}
