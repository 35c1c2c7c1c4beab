//! The encryption context: what a wrapped record key is bound to.

use std::collections::BTreeMap;

use sealift_terms::{BucketName, ObjectUid, RecordId, Region};

/// What a record key is wrapped for. The one who unwraps builds it from what it
/// knows; what a record says of itself is never believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptionContext(BTreeMap<&'static str, String>);

impl EncryptionContext {
    /// The context of a record that serves a bucket.
    #[must_use]
    pub fn bucket(bucket: &BucketName, region: &Region, record: RecordId) -> Self {
        Self(BTreeMap::from([
            ("sealift:bucket", bucket.to_string()),
            ("sealift:region", region.to_string()),
            ("sealift:record", record.to_string()),
        ]))
    }

    /// The context of a record that serves one object.
    #[must_use]
    pub fn object(
        bucket: &BucketName,
        region: &Region,
        record: RecordId,
        object: ObjectUid,
    ) -> Self {
        let mut context = Self::bucket(bucket, region, record);
        context.0.insert("sealift:object", object.to_string());
        context
    }

    /// The context of a keystore's root key.
    #[must_use]
    pub fn root_key(region: &Region, id: RecordId) -> Self {
        Self(BTreeMap::from([
            ("sealift:keystore", id.to_string()),
            ("sealift:region", region.to_string()),
        ]))
    }

    /// The pairs, sorted by key: what AWS KMS gets as its context map.
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(key, value)| (*key, value.as_str()))
    }

    /// The canonical bytes for providers that take associated data:
    /// u16 count, then per pair u16 length ‖ key, u16 length ‖ value.
    #[must_use]
    pub fn aad(&self) -> Vec<u8> {
        // Keys are constants and values are names of at most 63 bytes or 32 hex
        // digits, so that every length fits.
        let length = |len: usize| u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
        let mut bytes = length(self.0.len()).to_vec();
        for text in self.pairs().flat_map(|(key, value)| [key, value]) {
            bytes.extend_from_slice(&length(text.len()));
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }
}

impl std::fmt::Display for EncryptionContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, (key, value)) in self.pairs().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{key}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_context_differs_from_its_bucket_context() {
        let (bucket, region) = (BucketName::new("b").unwrap(), Region::new("r").unwrap());
        let record = RecordId([1; 16]);
        let of_bucket = EncryptionContext::bucket(&bucket, &region, record);
        let of_object = EncryptionContext::object(&bucket, &region, record, ObjectUid([2; 16]));
        assert_ne!(of_bucket.aad(), of_object.aad());
        assert_eq!(of_object.pairs().count(), 4);
        assert!(of_bucket.to_string().starts_with("sealift:bucket=b, "));
    }
}
