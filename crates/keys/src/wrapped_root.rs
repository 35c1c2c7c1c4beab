//! A root key that rests wrapped under a key of a key service: without that service the
//! keystore does not open, and no copy of this machine's disk opens it alone.

use std::path::Path;

use sealift_terms::{
    Disk, KeyId, RecordId, Region, Rng, limits::ROOT_KEY_FILE_BYTES_MAX, world::read_file,
};
use serde::{Deserialize, Serialize};

use crate::{
    EncryptionContext, KeyError, KeyName, KeyProvider, ProviderKind, RootSecret, Wrapped,
    material::Material, record::base64_text,
};

const VERSION: u32 = 1;

/// The file beside the configuration. Nothing in it is secret, and nothing in it is believed:
/// altered, it opens no keystore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrappedRoot {
    version: u32,
    /// What the wrap is bound to, with the region.
    id: RecordId,
    provider: ProviderKind,
    cmk: KeyId,
    cmk_version: String,
    #[serde(with = "base64_text")]
    wrapped: Vec<u8>,
}

impl WrappedRoot {
    /// Lets a key service make a root key for a site of `region`, under its key `key`. It is
    /// opened once more before anything depends on it.
    ///
    /// # Errors
    /// [`KeyError::RootKey`] for a key of the embedded keystore, which cannot hold its own root
    /// key, or when another key comes back; [`KeyError::WrongRegion`],
    /// [`KeyError::NotUsable`], and what the service says.
    pub async fn make(
        providers: &dyn KeyProvider,
        key: &str,
        region: &Region,
        rng: &dyn Rng,
    ) -> Result<Self, KeyError> {
        let described = providers.describe(key).await?;
        if described.provider == ProviderKind::Local {
            return Err(KeyError::RootKey {
                what: "the keystore's own keys cannot wrap it: name a key of a key service",
            });
        }
        if described.region != *region {
            return Err(KeyError::WrongRegion {
                key: key.to_owned(),
                found: described.region,
                wanted: region.clone(),
            });
        }
        let id = RecordId::random(rng);
        let context = EncryptionContext::root_key(region, id);
        let (root_key, wrapped) = providers.generate(key, &context, rng).await?;
        if providers.unwrap(&wrapped, &context).await? != root_key {
            return Err(KeyError::RootKey {
                what: "another key came back than was wrapped",
            });
        }
        Ok(Self {
            version: VERSION,
            id,
            provider: wrapped.provider,
            cmk: wrapped.cmk,
            cmk_version: wrapped.cmk_version,
            wrapped: wrapped.bytes,
        })
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`KeyError::RootKeyFile`], or [`KeyError::RootKey`] when it is not what it should be.
    pub fn read(disk: &dyn Disk, path: &Path) -> Result<Self, KeyError> {
        let read = read_file(disk, path, ROOT_KEY_FILE_BYTES_MAX);
        let bytes = read.map_err(|source| KeyError::RootKeyFile {
            path: path.to_owned(),
            source,
        })?;
        Self::from_text(&bytes)
    }

    fn from_text(text: &[u8]) -> Result<Self, KeyError> {
        let what = "the file is not a root key that `sealift keys rekey-root` had wrapped";
        let read: Self = serde_json::from_slice(text).map_err(|_| KeyError::RootKey { what })?;
        match read.version {
            VERSION => Ok(read),
            _ => Err(KeyError::RootKey {
                what: "the file of the root key is of a later version of sealift",
            }),
        }
    }

    /// The content of the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let json = serde_json::to_string(self).unwrap_or_default();
        format!("{json}\n")
    }

    /// The key that wrapped it, as a bucket would name it.
    #[must_use]
    pub fn key_name(&self) -> String {
        KeyName::new(self.provider, self.cmk.as_str()).to_string()
    }

    /// Whose key that is, its id there, and its version.
    #[must_use]
    pub fn wrapped_by(&self) -> (ProviderKind, &KeyId, &str) {
        (self.provider, &self.cmk, &self.cmk_version)
    }

    /// What the wrap is bound to beside the region.
    #[must_use]
    pub const fn id(&self) -> RecordId {
        self.id
    }

    /// Lets the key service open it.
    ///
    /// # Errors
    /// [`KeyError::RootKeyAway`] with what the service said.
    pub async fn open(
        &self,
        providers: &dyn KeyProvider,
        region: &Region,
    ) -> Result<RootSecret, KeyError> {
        let wrapped = Wrapped {
            provider: self.provider,
            cmk: self.cmk.clone(),
            cmk_version: self.cmk_version.clone(),
            bytes: self.wrapped.clone(),
        };
        let context = EncryptionContext::root_key(region, self.id);
        let opened = providers.unwrap(&wrapped, &context).await;
        let key = opened.map_err(|source| KeyError::RootKeyAway {
            key: self.key_name(),
            source: Box::new(source),
        })?;
        Ok(RootSecret::from_key(Material::from(*key.as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sealift_host::OsDisk;

    use super::*;

    #[test]
    fn a_file_that_is_something_else_or_too_large_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root.key.wrapped");
        let root = WrappedRoot {
            version: VERSION,
            id: RecordId([7; 16]),
            provider: ProviderKind::AwsKms,
            cmk: "arn:aws:kms:eu-west-1:1:key/2".parse().unwrap(),
            cmk_version: "3".to_owned(),
            wrapped: vec![1, 2, 3],
        };
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            WrappedRoot::read(&OsDisk, &path)
        };
        assert_eq!(read(&root.to_text()).unwrap(), root);
        assert_eq!(root.key_name(), "aws-kms/arn:aws:kms:eu-west-1:1:key/2");
        let later = root.to_text().replace("\"version\":1", "\"version\":2");
        let padded = format!("{}{}", root.to_text(), " ".repeat(ROOT_KEY_FILE_BYTES_MAX));
        for bad in ["", "{}", &"a".repeat(64), &later, &padded] {
            assert!(read(bad).is_err(), "{bad}");
        }
        fs::remove_file(&path).unwrap();
        let gone = WrappedRoot::read(&OsDisk, &path);
        assert!(matches!(gone, Err(KeyError::RootKeyFile { .. })));
    }
}
