//! HEADER: the first 96 bytes of a sealed object, fixed for its whole life.

use sealift_terms::{ObjectUid, PartSize, RecordId};
use subtle::ConstantTimeEq;

use crate::{
    error::{Damage, SealError},
    fields::Fields,
    key::Dek,
};

/// Bytes of the header.
pub const HEADER_BYTES: usize = 96;

const MAGIC: [u8; 8] = *b"\x89SLF\r\n\x1a\n";
const VERSION: u8 = 1;
const SUITE_COBBLESTONE_256: u8 = 1;
const TAG_LABEL: &[u8] = b"sealift/v1 header\0";

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// How the object is cut.
    pub part_size: PartSize,
    /// Which sealing this is.
    pub uid: ObjectUid,
    /// Which key record opens it.
    pub record: RecordId,
}

impl Header {
    /// Parses the fields. Nothing is authenticated yet; no key is used.
    ///
    /// # Errors
    /// [`SealError::Damaged`] or [`SealError::Unsupported`], naming the field.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, SealError> {
        let short = || SealError::from(Damage::Header("too short"));
        let mut fields = Fields(bytes);
        if fields.bytes() != Some(MAGIC) {
            return Err(Damage::Header("no magic").into());
        }
        only(fields.u8(), "version", VERSION)?;
        only(fields.u8(), "suite", SUITE_COBBLESTONE_256)?;
        only(fields.u16(), "flags", 0)?;
        let part_size = PartSize::new(fields.u32().ok_or_else(short)?)
            .map_err(|_| Damage::Header("part size not allowed"))?;
        let uid = ObjectUid(fields.bytes().ok_or_else(short)?);
        let record = RecordId(fields.bytes().ok_or_else(short)?);
        if fields.bytes() != Some([0; 16]) {
            return Err(Damage::Header("a second key record in a suite of one").into());
        }
        Ok(Self {
            part_size,
            uid,
            record,
        })
    }

    /// The whole header under its key.
    pub(crate) fn encode(&self, dek: &Dek) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let (fields, tag) = bytes.split_at_mut(64);
        let pieces: [&[u8]; 7] = [
            &MAGIC,
            &[VERSION, SUITE_COBBLESTONE_256],
            &[0, 0],
            &self.part_size.bytes().to_be_bytes(),
            &self.uid.0,
            &self.record.0,
            &[0; 16],
        ];
        for (to, from) in fields.iter_mut().zip(pieces.into_iter().flatten()) {
            *to = *from;
        }
        dek.expand(&[TAG_LABEL, fields], tag);
        bytes
    }

    /// Checks a header's tag, in constant time.
    pub(crate) fn authenticate(bytes: &[u8; HEADER_BYTES], dek: &Dek) -> Result<(), SealError> {
        let (fields, tag) = bytes.split_at(64);
        let mut expected = [0; 32];
        dek.expand(&[TAG_LABEL, fields], &mut expected);
        if bool::from(expected.ct_eq(tag)) {
            Ok(())
        } else {
            Err(SealError::WrongKey)
        }
    }
}

/// Refuses a field with any other value than the one opened here.
fn only<T: Into<u64> + PartialEq>(
    found: Option<T>,
    what: &'static str,
    wanted: T,
) -> Result<(), SealError> {
    match found {
        Some(found) if found == wanted => Ok(()),
        found => Err(SealError::Unsupported {
            what,
            found: found.map_or(0, Into::into),
        }),
    }
}
