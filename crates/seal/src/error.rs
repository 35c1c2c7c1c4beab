//! Everything that can go wrong, by whose fault it is.

use std::io;

/// Why sealing or opening stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The stored bytes are not what was sealed.
    #[error("the sealed bytes are damaged")]
    Damaged(#[source] Damage),
    /// The stored bytes are well-formed, but of a kind that is not opened here.
    #[error("{what} is {found}, which is not opened here")]
    Unsupported {
        /// Which field.
        what: &'static str,
        /// Its value.
        found: u64,
    },
    /// The stored bytes are a sealed object, but another one than the catalog says.
    #[error("this is another object: its {what} is {found}, expected {expected}")]
    Substituted {
        /// Which fact.
        what: &'static str,
        /// What the object says.
        found: String,
        /// What the reader expected.
        expected: String,
    },
    /// The record key does not fit the header, or the header was changed.
    #[error("the record key does not open this object's header")]
    WrongKey,
    /// The store failed to deliver bytes.
    #[error("the sealed bytes could not be read")]
    Read(#[source] io::Error),
    /// The one who asked could not take the opened bytes.
    #[error("the opened bytes could not be passed on")]
    Sink(#[source] io::Error),
    /// A range reaches beyond the object.
    #[error("bytes {start}..{end} are not within the object of {size} bytes")]
    OutOfRange {
        /// First byte asked for.
        start: u64,
        /// One past the last byte asked for.
        end: u64,
        /// Bytes of the object.
        size: u64,
    },
    /// The metadata given cannot be sealed.
    #[error("the metadata cannot be sealed: {0}")]
    Meta(&'static str),
    /// The metadata given is no JSON.
    #[error("the metadata cannot be written as JSON")]
    MetaJson(#[source] serde_json::Error),
    /// A call that the caller should not have made.
    #[error("sealing was used wrongly: {0}")]
    Misuse(&'static str),
    /// The cipher refused lengths that are fixed by the format.
    #[error("the cipher refused its input")]
    Cipher,
}

impl SealError {
    /// Whether the stored bytes are at fault, so that another copy may help.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Damaged(_) | Self::Unsupported { .. } | Self::Substituted { .. } | Self::WrongKey
        )
    }
}

/// What is wrong with stored bytes, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// Shorter than the shortest sealed object.
    #[error("{len} bytes are too few for a sealed object")]
    TooShort {
        /// Bytes found.
        len: u64,
    },
    /// The header's fixed bytes.
    #[error("header: {0}")]
    Header(&'static str),
    /// The footer, or lengths that contradict it.
    #[error("footer: {0}")]
    Footer(&'static str),
    /// The commitment of META.
    #[error("META is of another message")]
    MetaCommitment,
    /// A chunk of META.
    #[error("chunk {chunk} of META")]
    MetaChunk {
        /// Index of the chunk.
        chunk: u64,
    },
    /// The content of META.
    #[error("META: {0}")]
    Meta(&'static str),
    /// The JSON of META.
    #[error("JSON of META")]
    MetaJson(#[source] serde_json::Error),
    /// The salt or commitment of a part.
    #[error("part {part} is of another message")]
    Commitment {
        /// Index of the part.
        part: u32,
    },
    /// A chunk of a part.
    #[error("chunk {chunk} of part {part}")]
    Chunk {
        /// Index of the part.
        part: u32,
        /// Index of the chunk within the part.
        chunk: u64,
    },
    /// A pack's first bytes.
    #[error("pack header: {0}")]
    Pack(&'static str),
    /// An entry of a pack.
    #[error("pack entry: {0}")]
    Entry(&'static str),
}

impl From<Damage> for SealError {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}
