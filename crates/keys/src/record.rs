//! Key records: a record key, wrapped, and what it is for.

use base64::{Engine, engine::general_purpose::STANDARD};
use sealift_terms::{BucketName, KeyId, ObjectUid, RecordId, Region, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{EncryptionContext, KeyError, KeyName, ProviderKind, Wrapped};

/// A record file is never longer than this: a provider's ciphertext is at most
/// 6,144 bytes (AWS KMS), the names are bounded.
const RECORD_BYTES_MAX: usize = 16 * 1024;

/// What a record serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordKind {
    /// The objects of one bucket that were begun within an hour.
    Bucket,
    /// One object.
    Object,
}

/// A key record as it rests in catalog and store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Its id.
    pub id: RecordId,
    /// What it serves.
    pub kind: RecordKind,
    /// The bucket it serves.
    pub bucket: BucketName,
    /// The object it serves, when it serves one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectUid>,
    /// The region of the CMK and of the site.
    pub region: Region,
    /// Whose CMK it is.
    pub provider: ProviderKind,
    /// The CMK that wraps it.
    pub cmk: KeyId,
    /// The version of the CMK.
    pub cmk_version: String,
    /// The provider's ciphertext.
    #[serde(with = "base64_text")]
    pub wrapped: Vec<u8>,
    /// When it was made.
    pub created: Timestamp,
}

impl KeyRecord {
    /// The record as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings, numbers and one enum: there is nothing that could fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a record from JSON.
    ///
    /// # Errors
    /// [`KeyError::RecordDamaged`].
    pub fn from_json(json: &[u8]) -> Result<Self, KeyError> {
        let damaged = |what, source| Err(KeyError::RecordDamaged { what, source });
        if json.len() > RECORD_BYTES_MAX {
            return damaged("longer than 16 KiB", None);
        }
        let record: Self = match serde_json::from_slice(json) {
            Ok(record) => record,
            Err(error) => return damaged("not the JSON of a key record", Some(error)),
        };
        if (record.kind == RecordKind::Object) != record.object.is_some() {
            return damaged("its kind and its object do not fit", None);
        }
        Ok(record)
    }

    /// The record as a file of its own: JSON, then on a second line its CRC-32C in hex.
    #[must_use]
    pub fn encode_file(&self) -> Vec<u8> {
        let json = self.to_json();
        let crc = crc32c::crc32c(json.as_bytes());
        format!("{json}\n{crc:08x}\n").into_bytes()
    }

    /// Reads what [`Self::encode_file`] made.
    ///
    /// # Errors
    /// [`KeyError::RecordDamaged`].
    pub fn parse_file(bytes: &[u8]) -> Result<Self, KeyError> {
        let damaged = |what| KeyError::RecordDamaged { what, source: None };
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("not UTF-8"))?;
        let (json, crc) = text
            .trim_end_matches('\n')
            .split_once('\n')
            .ok_or_else(|| damaged("its second line is missing"))?;
        if crc != format!("{:08x}", crc32c::crc32c(json.as_bytes())) {
            return Err(damaged("its CRC-32C is wrong"));
        }
        Self::from_json(json.as_bytes())
    }

    /// The name of its CMK for whoever asks several providers.
    #[must_use]
    pub fn key_name(&self) -> String {
        KeyName::new(self.provider, self.cmk.as_str()).to_string()
    }

    /// What its provider has to unwrap.
    #[must_use]
    pub fn to_wrapped(&self) -> Wrapped {
        Wrapped {
            provider: self.provider,
            cmk: self.cmk.clone(),
            cmk_version: self.cmk_version.clone(),
            bytes: self.wrapped.clone(),
        }
    }

    /// The context under which it has to open for a site of `region` that looks
    /// for an object of `bucket`. Of the record itself only id and kind are used.
    #[must_use]
    pub fn context_for(&self, bucket: &BucketName, region: &Region) -> EncryptionContext {
        match self.object {
            Some(object) => EncryptionContext::object(bucket, region, self.id, object),
            None => EncryptionContext::bucket(bucket, region, self.id),
        }
    }
}

/// Bytes as base64 in JSON.
pub(crate) mod base64_text {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use super::{Engine, STANDARD};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> KeyRecord {
        KeyRecord {
            id: RecordId([1; 16]),
            kind: RecordKind::Bucket,
            bucket: BucketName::new("b").unwrap(),
            object: None,
            region: Region::new("eu-west").unwrap(),
            provider: ProviderKind::Local,
            cmk: KeyId::new("key-1").unwrap(),
            cmk_version: "1".into(),
            wrapped: vec![1, 2, 3],
            created: Timestamp::from_secs(0),
        }
    }

    #[test]
    fn the_json_is_the_documented_one() {
        assert_eq!(
            record().to_json(),
            concat!(
                r#"{"id":"01010101010101010101010101010101","kind":"bucket","bucket":"b","#,
                r#""region":"eu-west","provider":"local","cmk":"key-1","cmk_version":"1","#,
                r#""wrapped":"AQID","created":"1970-01-01T00:00:00.000Z"}"#
            )
        );
    }

    #[test]
    fn a_file_comes_back_and_any_flipped_bit_is_damage() {
        let file = record().encode_file();
        assert_eq!(KeyRecord::parse_file(&file).unwrap(), record());
        for bit in 0..(file.len() - 1) * 8 {
            let mut altered = file.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(KeyRecord::parse_file(&altered).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_record_whose_kind_and_object_do_not_fit_is_damaged() {
        let mut record = record();
        record.kind = RecordKind::Object;
        assert!(KeyRecord::from_json(record.to_json().as_bytes()).is_err());
        assert!(KeyRecord::from_json(&vec![b' '; RECORD_BYTES_MAX + 1]).is_err());
    }
}
