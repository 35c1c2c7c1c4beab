//! What holds CMKs, as everyone else sees it.

use std::fmt;

use async_trait::async_trait;
use sealift_seal::RecordKey;
use sealift_terms::{KeyAlias, KeyId, Region, Rng, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{EncryptionContext, KeyError, KeyState};

/// The sort of a key provider, as key records name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ProviderKind {
    /// The keystore in the site's data directory.
    Local,
    /// AWS KMS.
    AwsKms,
    /// The Transit engine of Vault or OpenBao.
    Transit,
    /// A token behind PKCS#11.
    Pkcs11,
}

impl ProviderKind {
    /// Every sort.
    pub const ALL: [Self; 4] = [Self::Local, Self::AwsKms, Self::Transit, Self::Pkcs11];

    /// Its word in key records and in front of the names of keys.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::AwsKms => "aws-kms",
            Self::Transit => "transit",
            Self::Pkcs11 => "pkcs11",
        }
    }
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One version of a CMK.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyVersion {
    /// Its id at the provider.
    pub id: String,
    /// When it was made, where its provider tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// Whether a verified backup holds it; always for a provider that looks after that itself.
    pub backed_up: bool,
}

/// What a provider says of a CMK. Never its material.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyDescription {
    /// Its id.
    pub id: KeyId,
    /// Its human name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<KeyAlias>,
    /// The region it belongs to.
    pub region: Region,
    /// Its provider.
    pub provider: ProviderKind,
    /// Its state.
    pub state: KeyState,
    /// The version that wraps.
    pub current: String,
    /// Every version that unwraps, oldest first.
    pub versions: Vec<KeyVersion>,
    /// When it was made, where its provider tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// The other regions that have it, of a key that sealift keeps in several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_regions: Vec<Region>,
}

/// A wrapped record key, and what wrapped it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// Whose CMK it is.
    pub provider: ProviderKind,
    /// The CMK.
    pub cmk: KeyId,
    /// The version of the CMK.
    pub cmk_version: String,
    /// The provider's ciphertext.
    pub bytes: Vec<u8>,
}

impl Wrapped {
    /// Refuses what another sort of provider wrapped.
    pub(crate) fn is_of(&self, kind: ProviderKind) -> Result<(), KeyError> {
        match self.provider == kind {
            true => Ok(()),
            false => Err(KeyError::ForeignProvider {
                found: self.provider,
            }),
        }
    }
}

/// Holds CMKs of a region and never lets them out.
///
/// Every implementation passes `conformance::key_provider`.
#[async_trait]
pub trait KeyProvider: Send + Sync + fmt::Debug {
    /// The sort that key records name.
    fn kind(&self) -> ProviderKind;

    /// Describes the CMK with this id or alias.
    ///
    /// # Errors
    /// [`KeyError::Missing`] when there is none.
    async fn describe(&self, key: &str) -> Result<KeyDescription, KeyError>;

    /// Wraps a record key under the current version of the CMK with this id or alias.
    ///
    /// # Errors
    /// [`KeyError`]; its reason says what to do.
    async fn wrap(
        &self,
        key: &str,
        record_key: &RecordKey,
        context: &EncryptionContext,
    ) -> Result<Wrapped, KeyError>;

    /// Unwraps a record key that any version of a CMK wrapped.
    ///
    /// # Errors
    /// [`KeyError::ContextMismatch`] under another context or when altered,
    /// [`KeyError::ForeignProvider`] for what another sort of provider wrapped.
    async fn unwrap(
        &self,
        wrapped: &Wrapped,
        context: &EncryptionContext,
    ) -> Result<RecordKey, KeyError>;

    /// Makes a record key and wraps it, in one call where the provider has one for that.
    ///
    /// # Errors
    /// As [`wrap`](Self::wrap).
    async fn generate(
        &self,
        key: &str,
        context: &EncryptionContext,
        rng: &dyn Rng,
    ) -> Result<(RecordKey, Wrapped), KeyError> {
        let record_key = RecordKey::random(rng);
        let wrapped = self.wrap(key, &record_key, context).await?;
        Ok((record_key, wrapped))
    }

    /// How the provider is reached, for whoever checks a configuration: its address and
    /// what was negotiated with it. Nothing for one within this process.
    ///
    /// # Errors
    /// [`KeyError`] when it cannot be asked.
    async fn reached(&self, _key: &str) -> Result<Option<String>, KeyError> {
        Ok(None)
    }
}
