//! HEADER: the first 96 bytes of a sealed object, fixed for its whole life.

use sealift_terms::{ObjectUid, PartSize, RecordId, RecordIds};
use subtle::ConstantTimeEq;

use crate::{
    cipher::Deks,
    error::{Damage, SealError},
    fields::Fields,
    suite::Suite,
};

/// Bytes of the header.
pub const HEADER_BYTES: usize = 96;

const MAGIC: [u8; 8] = *b"\x89SLF\r\n\x1a\n";
const VERSION: u8 = 1;
const TAG_LABEL: &[u8] = b"sealift/v1 header\0";

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// How the object is cut.
    pub part_size: PartSize,
    /// Which sealing this is.
    pub uid: ObjectUid,
    /// Which key record opens it; of two layers, the inner one.
    pub record: RecordId,
    /// Which key record opens the outer layer, where there are two.
    pub second: Option<RecordId>,
}

impl Header {
    /// How it is sealed.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        match self.second {
            None => Suite::One,
            Some(_) => Suite::Two,
        }
    }

    /// The key record of each layer.
    #[must_use]
    pub const fn records(&self) -> RecordIds {
        RecordIds {
            first: self.record,
            second: self.second,
        }
    }

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
        let suite = fields.u8().unwrap_or_default();
        let suite = Suite::from_code(suite).ok_or(SealError::Unsupported {
            what: "suite",
            found: suite.into(),
        })?;
        only(fields.u16(), "flags", 0)?;
        let part_size = PartSize::new(fields.u32().ok_or_else(short)?)
            .map_err(|_| Damage::Header("part size not allowed"))?;
        let uid = ObjectUid(fields.bytes().ok_or_else(short)?);
        let record = RecordId(fields.bytes().ok_or_else(short)?);
        let second = fields.bytes().ok_or_else(short)?;
        Ok(Self {
            part_size,
            uid,
            record,
            second: second_record(suite, record, second)?,
        })
    }

    /// The whole header under its keys.
    pub(crate) fn encode(&self, deks: &Deks) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let (fields, tag) = bytes.split_at_mut(64);
        let pieces: [&[u8]; 7] = [
            &MAGIC,
            &[VERSION, self.suite().code()],
            &[0, 0],
            &self.part_size.bytes().to_be_bytes(),
            &self.uid.0,
            &self.record.0,
            self.second.as_ref().map_or(&[0; 16], |second| &second.0),
        ];
        for (to, from) in fields.iter_mut().zip(pieces.into_iter().flatten()) {
            *to = *from;
        }
        header_tag(deks, fields, tag);
        bytes
    }

    /// Checks a header's tag, in constant time.
    pub(crate) fn authenticate(bytes: &[u8; HEADER_BYTES], deks: &Deks) -> Result<(), SealError> {
        let (fields, tag) = bytes.split_at(64);
        let mut expected = [0; 32];
        header_tag(deks, fields, &mut expected);
        if bool::from(expected.ct_eq(tag)) {
            Ok(())
        } else {
            Err(SealError::WrongKey)
        }
    }
}

/// The tag over a header's fields. That of two layers has the outer key's share in what
/// the inner key expands: it commits to both keys, and neither alone can make or check it.
fn header_tag(deks: &Deks, fields: &[u8], tag: &mut [u8]) {
    match &deks.outer {
        None => deks.inner.expand(&[TAG_LABEL, fields], tag),
        Some(outer) => {
            let share = outer.header_share(fields);
            deks.inner.expand(&[TAG_LABEL, fields, &share], tag);
        }
    }
}

/// The second record id, as far as the suite has one.
fn second_record(
    suite: Suite,
    first: RecordId,
    second: [u8; 16],
) -> Result<Option<RecordId>, SealError> {
    match (suite, second == [0; 16]) {
        (Suite::One, true) => Ok(None),
        (Suite::One, false) => Err(Damage::Header("a second key record in a suite of one").into()),
        (Suite::Two, true) => Err(Damage::Header("no second key record in a suite of two").into()),
        (Suite::Two, false) if second == first.0 => {
            Err(Damage::Header("both layers under one key record").into())
        }
        (Suite::Two, false) => Ok(Some(RecordId(second))),
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
