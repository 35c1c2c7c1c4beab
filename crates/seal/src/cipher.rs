//! The keys of one object: what sealing and opening share.

use sealift_terms::PartIndex;

use crate::{
    cobblestone::{Message, Salt},
    error::SealError,
    header::{HEADER_BYTES, Header},
    key::{Dek, RecordKey},
};

const PART_LABEL: &[u8] = b"sealift/v1 part\0";
const META_LABEL: &[u8] = b"sealift/v1 meta\0";

/// An object's key and header, from which the keys of its messages come.
#[derive(Debug, Clone)]
pub(crate) struct ObjectCipher {
    dek: Dek,
    header: [u8; HEADER_BYTES],
}

impl ObjectCipher {
    /// For an object that is being sealed.
    pub(crate) fn new(key: &RecordKey, header: &Header) -> Self {
        let dek = Dek::derive(key, header.uid);
        let header = header.encode(&dek);
        Self { dek, header }
    }

    /// For a stored header, which `key` must authenticate.
    pub(crate) fn authenticated(
        key: &RecordKey,
        header: &Header,
        bytes: [u8; HEADER_BYTES],
    ) -> Result<Self, SealError> {
        let dek = Dek::derive(key, header.uid);
        Header::authenticate(&bytes, &dek)?;
        Ok(Self { dek, header: bytes })
    }

    /// The header, tag included.
    pub(crate) const fn header(&self) -> &[u8; HEADER_BYTES] {
        &self.header
    }

    /// The message that is part `index`.
    pub(crate) fn part(&self, index: PartIndex, salt: &Salt) -> Result<Message, SealError> {
        self.message(PART_LABEL, u64::from(index.0), salt)
    }

    /// The message that is META of an object of `parts` parts.
    pub(crate) fn meta(&self, parts: u32, salt: &Salt) -> Result<Message, SealError> {
        self.message(META_LABEL, u64::from(parts), salt)
    }

    fn message(&self, label: &[u8], number: u64, salt: &Salt) -> Result<Message, SealError> {
        Message::derive(
            &self.dek,
            salt,
            [label, &self.header, &number.to_be_bytes()],
        )
    }
}
