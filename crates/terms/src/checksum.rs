//! End-to-end checksums of plaintext.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::name::NameError;

/// The algorithm of a [`Checksum`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ChecksumAlgorithm {
    /// CRC-64/NVME, 8 bytes: integrity only, no evidence against a forger.
    Crc64Nvme,
    /// SHA-256 over the SHA-256 of each part, 32 bytes.
    Sha256,
    /// BLAKE3, 32 bytes.
    Blake3,
}

impl ChecksumAlgorithm {
    /// The word used in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Crc64Nvme => "crc64nvme",
            Self::Sha256 => "sha256",
            Self::Blake3 => "blake3",
        }
    }

    /// Bytes of a value.
    #[must_use]
    pub const fn value_bytes(self) -> usize {
        match self {
            Self::Crc64Nvme => 8,
            Self::Sha256 | Self::Blake3 => 32,
        }
    }
}

/// A checksum of an object's plaintext; written `crc64nvme:BASE64`, big-endian.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checksum {
    algorithm: ChecksumAlgorithm,
    value: Vec<u8>,
}

impl Checksum {
    /// A CRC-64/NVME.
    #[must_use]
    pub fn crc64nvme(value: u64) -> Self {
        Self {
            algorithm: ChecksumAlgorithm::Crc64Nvme,
            value: value.to_be_bytes().to_vec(),
        }
    }

    /// A checksum of any algorithm.
    ///
    /// # Errors
    /// [`NameError`] when the value has not the algorithm's length.
    pub fn new(algorithm: ChecksumAlgorithm, value: &[u8]) -> Result<Self, NameError> {
        if value.len() == algorithm.value_bytes() {
            Ok(Self {
                algorithm,
                value: value.to_vec(),
            })
        } else {
            Err(NameError::new(
                "checksum",
                &format!("{} bytes for {}", value.len(), algorithm.as_str()),
                "8 bytes for crc64nvme, 32 for sha256 and blake3",
            ))
        }
    }

    /// Its algorithm.
    #[must_use]
    pub fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    /// Its value, big-endian.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// Its value in base64, as S3 writes it.
    #[must_use]
    pub fn value_base64(&self) -> String {
        STANDARD.encode(&self.value)
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.as_str(), self.value_base64())
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Checksum {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = || {
            NameError::new(
                "checksum",
                text,
                "crc64nvme:, sha256: or blake3: and base64",
            )
        };
        let (algorithm, value) = text.split_once(':').ok_or_else(error)?;
        let algorithm = match algorithm {
            "crc64nvme" => ChecksumAlgorithm::Crc64Nvme,
            "sha256" => ChecksumAlgorithm::Sha256,
            "blake3" => ChecksumAlgorithm::Blake3,
            _ => return Err(error()),
        };
        Self::new(algorithm, &STANDARD.decode(value).map_err(|_| error())?)
    }
}

impl Serialize for Checksum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Checksum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_a_round_trip_and_lengths_are_held() {
        let sum = Checksum::crc64nvme(0x0102_0304_0506_0708);
        assert_eq!(sum.to_string().parse::<Checksum>().unwrap(), sum);
        for bad in [
            "",
            "crc64nvme",
            "crc64nvme:AAAA",
            "md5:AAAA",
            "sha256:AQIDBAUGBwg=",
        ] {
            assert!(bad.parse::<Checksum>().is_err(), "{bad}");
        }
    }
}
