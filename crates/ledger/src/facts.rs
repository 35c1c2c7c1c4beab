//! Sealing of what must not lie in a database in the clear.

use std::fmt;

/// Seals and opens small facts under a secret of the site.
///
/// The additional data names the row, so that a sealed value moved to another
/// row does not open there.
pub trait FactsSealer: Send + Sync + fmt::Debug {
    /// Seals `plaintext`, bound to `aad`.
    ///
    /// # Errors
    /// [`FactsError`] when the secret cannot be used.
    fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, FactsError>;

    /// Opens what [`seal`](Self::seal) made of the same `aad`.
    ///
    /// # Errors
    /// [`FactsError`] when it was altered, moved, or sealed under another secret.
    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, FactsError>;
}

/// Facts could not be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct FactsError {
    /// What the sealer said.
    pub cause: String,
}

impl FactsError {
    /// With the sealer's own words.
    #[must_use]
    pub fn new(cause: impl fmt::Display) -> Self {
        Self {
            cause: cause.to_string(),
        }
    }
}
