//! Structures sealed for one row of one table.

use std::sync::Arc;

use sealift_terms::VersionName;
use serde::{Serialize, de::DeserializeOwned};

use crate::{FactsError, FactsSealer, LedgerError, Result};

/// Seals structures as JSON, bound to their row.
#[derive(Debug, Clone)]
pub(super) struct Sealing(pub(super) Arc<dyn FactsSealer>);

impl Sealing {
    pub(super) fn seal<T: Serialize>(
        &self,
        column: &'static str,
        name: &VersionName,
        facts: &T,
    ) -> Result<Vec<u8>> {
        let failed = |source| failure(column, name, source);
        let json = serde_json::to_vec(facts).map_err(|error| failed(FactsError::new(error)))?;
        self.0.seal(&bound_to(column, name), &json).map_err(failed)
    }

    pub(super) fn open<T: DeserializeOwned>(
        &self,
        column: &'static str,
        name: &VersionName,
        sealed: &[u8],
    ) -> Result<T> {
        let failed = |source| failure(column, name, source);
        let json = self
            .0
            .open(&bound_to(column, name), sealed)
            .map_err(failed)?;
        serde_json::from_slice(&json).map_err(|error| failed(FactsError::new(error)))
    }

    pub(super) fn seal_bytes(&self, aad: &[u8], what: &str, bytes: &[u8]) -> Result<Vec<u8>> {
        self.0
            .seal(aad, bytes)
            .map_err(|source| LedgerError::Facts {
                row: what.to_owned(),
                source,
            })
    }

    pub(super) fn open_bytes(&self, aad: &[u8], what: &str, sealed: &[u8]) -> Result<Vec<u8>> {
        self.0
            .open(aad, sealed)
            .map_err(|source| LedgerError::Facts {
                row: what.to_owned(),
                source,
            })
    }
}

fn failure(column: &str, name: &VersionName, source: FactsError) -> LedgerError {
    LedgerError::Facts {
        row: format!("{column} of {name}"),
        source,
    }
}

/// No name holds a zero byte, so the pieces cannot run into each other.
fn bound_to(column: &str, name: &VersionName) -> Vec<u8> {
    [
        column,
        name.bucket.as_str(),
        name.key.as_str(),
        name.version.as_str(),
    ]
    .join("\0")
    .into_bytes()
}
