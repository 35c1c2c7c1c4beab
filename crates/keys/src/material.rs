//! Thirty-two secret bytes at rest in the keystore's body.

use std::fmt;

use ring::digest::{Context, SHA256};
use sealift_terms::Rng;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};
use zeroize::{Zeroize, Zeroizing};

/// Key material: zeroized, never shown, hex within the sealed body.
#[derive(Clone)]
pub(crate) struct Material(Zeroizing<[u8; 32]>);

impl Material {
    pub(crate) fn random(rng: &dyn Rng) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill(bytes.as_mut_slice());
        Self(bytes)
    }

    pub(crate) fn from_hex(text: &[u8]) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text, bytes.as_mut_slice()).ok()?;
        Some(Self(bytes))
    }

    pub(crate) fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(self.0.as_slice()))
    }

    /// Equal for equal material; nothing else can be told from it, as the material is 32
    /// random bytes. The first 16 bytes of SHA-256 over a label and the material, in hex.
    pub(crate) fn fingerprint(&self) -> String {
        let mut hash = Context::new(&SHA256);
        hash.update(b"sealift/v1 key fingerprint");
        hash.update(self.0.as_slice());
        let digest = hash.finish();
        hex::encode(
            digest
                .as_ref()
                .iter()
                .take(16)
                .copied()
                .collect::<Vec<u8>>(),
        )
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Material {
    fn from(mut bytes: [u8; 32]) -> Self {
        let material = Self(Zeroizing::new(bytes));
        bytes.zeroize();
        material
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Material(..)")
    }
}

/// Material on its way into a keystore: never shown, zeroized.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImportedMaterial(pub(crate) Material);

impl ImportedMaterial {
    /// From 64 hex digits, with white space around them.
    #[must_use]
    pub fn from_hex(text: &[u8]) -> Option<Self> {
        Material::from_hex(text.trim_ascii()).map(Self)
    }
}

impl PartialEq for ImportedMaterial {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose() == other.0.expose()
    }
}

impl Eq for ImportedMaterial {}

impl fmt::Debug for ImportedMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ImportedMaterial(..)")
    }
}

impl Serialize for Material {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for Material {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Hex;
        impl Visitor<'_> for Hex {
            type Value = Material;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 hex digits")
            }
            // The text is borrowed from the zeroized body: no copy is left behind.
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Material, E> {
                Material::from_hex(text.as_bytes()).ok_or_else(|| E::custom("not 64 hex digits"))
            }
        }
        deserializer.deserialize_str(Hex)
    }
}
