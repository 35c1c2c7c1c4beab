//! Thirty-two secret bytes at rest in the keystore's body.

use std::fmt;

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
