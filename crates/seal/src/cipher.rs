//! The keys of one object: what sealing and opening share.

use sealift_terms::PartIndex;

use crate::{
    cobblestone::Message,
    error::SealError,
    header::{HEADER_BYTES, Header},
    key::{Dek, Keys},
    layers::{Layers, Salts},
    outer::{OuterDek, OuterMessage},
    suite::Suite,
};

const PART_LABEL: &[u8] = b"sealift/v1 part\0";
const META_LABEL: &[u8] = b"sealift/v1 meta\0";
const OUTER_PART_LABEL: &[u8] = b"sealift/v1 outer part\0";
const OUTER_META_LABEL: &[u8] = b"sealift/v1 outer meta\0";

/// What a message is, in the words of each layer.
struct Labels {
    inner: &'static [u8],
    outer: &'static [u8],
}

const PART: Labels = Labels {
    inner: PART_LABEL,
    outer: OUTER_PART_LABEL,
};
const META: Labels = Labels {
    inner: META_LABEL,
    outer: OUTER_META_LABEL,
};

/// The object's key of each layer.
#[derive(Debug, Clone)]
pub(crate) struct Deks {
    pub(crate) inner: Dek,
    pub(crate) outer: Option<OuterDek>,
}

impl Deks {
    /// Refuses another number of keys than the header has records.
    fn derive(keys: Keys<'_>, header: &Header) -> Result<Self, SealError> {
        if keys.suite() != header.suite() {
            return Err(SealError::Misuse("not one key for each layer"));
        }
        if header.second == Some(header.record) {
            return Err(SealError::Misuse("both layers under one key record"));
        }
        Ok(Self {
            inner: Dek::derive(keys.first, header.uid),
            outer: keys.second.map(|key| OuterDek::derive(key, header.uid)),
        })
    }
}

/// An object's keys and header, from which the keys of its messages come.
#[derive(Debug, Clone)]
pub(crate) struct ObjectCipher {
    deks: Deks,
    header: [u8; HEADER_BYTES],
}

impl ObjectCipher {
    /// For an object that is being sealed.
    pub(crate) fn new(keys: Keys<'_>, header: &Header) -> Result<Self, SealError> {
        let deks = Deks::derive(keys, header)?;
        let header = header.encode(&deks);
        Ok(Self { deks, header })
    }

    /// For a stored header, which `keys` must authenticate.
    pub(crate) fn authenticated(
        keys: Keys<'_>,
        header: &Header,
        bytes: [u8; HEADER_BYTES],
    ) -> Result<Self, SealError> {
        let deks = Deks::derive(keys, header)?;
        Header::authenticate(&bytes, &deks)?;
        let header = bytes;
        Ok(Self { deks, header })
    }

    /// The header, tag included.
    pub(crate) const fn header(&self) -> &[u8; HEADER_BYTES] {
        &self.header
    }

    /// How many layers there are.
    pub(crate) fn suite(&self) -> Suite {
        match self.deks.outer {
            None => Suite::One,
            Some(_) => Suite::Two,
        }
    }

    /// The message that is part `index`.
    pub(crate) fn part(&self, index: PartIndex, salts: &Salts) -> Result<Layers, SealError> {
        self.message(&PART, u64::from(index.0), salts)
    }

    /// The message that is META of an object of `parts` parts.
    pub(crate) fn meta(&self, parts: u32, salts: &Salts) -> Result<Layers, SealError> {
        self.message(&META, u64::from(parts), salts)
    }

    fn message(&self, labels: &Labels, number: u64, salts: &Salts) -> Result<Layers, SealError> {
        let number = number.to_be_bytes();
        let context = |label| [label, self.header.as_slice(), number.as_slice()];
        let outer = match (&self.deks.outer, &salts.outer) {
            (None, None) => None,
            (Some(dek), Some(salt)) => {
                Some(OuterMessage::derive(dek, salt, context(labels.outer))?)
            }
            _ => return Err(SealError::Misuse("not one salt for each layer")),
        };
        let inner = Message::derive(&self.deks.inner, &salts.inner, context(labels.inner))?;
        Ok(Layers::new(inner, outer))
    }
}
