//! The providers of one site together: the embedded keystore, and those that the
//! configuration names.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use sealift_seal::RecordKey;
use sealift_terms::Rng;

use crate::{
    EncryptionContext, KeyDescription, KeyError, KeyName, KeyProvider, ProviderKind, Wrapped,
};

/// Every provider of a site. Keys are asked for by their [`KeyName`]; what was wrapped
/// goes to the provider that its record names, so that records of several rest in one
/// store.
pub struct Providers(Vec<Arc<dyn KeyProvider>>);

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

impl Providers {
    /// These providers, one of a sort at most: a record says no more than the sort. The
    /// first of a sort is the one that is asked.
    #[must_use]
    pub fn new(providers: Vec<Arc<dyn KeyProvider>>) -> Self {
        Self(providers)
    }

    fn of(&self, kind: ProviderKind) -> Result<&dyn KeyProvider, KeyError> {
        let found = self.0.iter().find(|provider| provider.kind() == kind);
        let foreign = || KeyError::ForeignProvider { found: kind };
        Ok(&**found.ok_or_else(foreign)?)
    }
}

#[async_trait]
impl KeyProvider for Providers {
    /// The one whose keys need no provider in front of their names.
    fn kind(&self) -> ProviderKind {
        ProviderKind::Local
    }

    async fn describe(&self, key: &str) -> Result<KeyDescription, KeyError> {
        let name = KeyName::parse(key);
        let described = self.of(name.provider)?.describe(name.key).await;
        described.map_err(|error| error.naming(key))
    }

    async fn wrap(
        &self,
        key: &str,
        record_key: &RecordKey,
        context: &EncryptionContext,
    ) -> Result<Wrapped, KeyError> {
        let name = KeyName::parse(key);
        let provider = self.of(name.provider)?;
        let wrapped = provider.wrap(name.key, record_key, context).await;
        wrapped.map_err(|error| error.naming(key))
    }

    async fn unwrap(
        &self,
        wrapped: &Wrapped,
        context: &EncryptionContext,
    ) -> Result<RecordKey, KeyError> {
        let unwrapped = self.of(wrapped.provider)?.unwrap(wrapped, context).await;
        unwrapped.map_err(|error| {
            let name = KeyName::new(wrapped.provider, wrapped.cmk.as_str());
            error.naming(&name.to_string())
        })
    }

    async fn generate(
        &self,
        key: &str,
        context: &EncryptionContext,
        rng: &dyn Rng,
    ) -> Result<(RecordKey, Wrapped), KeyError> {
        let name = KeyName::parse(key);
        let made = self.of(name.provider)?.generate(name.key, context, rng);
        made.await.map_err(|error| error.naming(key))
    }

    async fn reached(&self, key: &str) -> Result<Option<String>, KeyError> {
        let name = KeyName::parse(key);
        let reached = self.of(name.provider)?.reached(name.key).await;
        reached.map_err(|error| error.naming(key))
    }
}
