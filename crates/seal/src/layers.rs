//! A message in all its layers, and what it has of each: salts, commitments, tags.

use std::{fmt, ops::Deref};

use sealift_terms::Rng;

use crate::{
    cobblestone::{Commitment, Message, PREFIX_BYTES, Salt, TAG_BYTES},
    error::SealError,
    fields::Fields,
    outer::{OuterCommitment, OuterMessage, OuterSalt},
    suite::Suite,
};

/// Bytes of the longest prefix.
pub(crate) const PREFIX_BYTES_MAX: usize = 2 * PREFIX_BYTES;

/// What makes the keys of one try at one message unlike those of any other: a salt
/// for each layer. Drawn anew for every try, by [`ObjectSealer::salts`](crate::ObjectSealer::salts).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salts {
    pub(crate) inner: Salt,
    pub(crate) outer: Option<OuterSalt>,
}

impl Salts {
    /// Draws what a message of `suite` needs.
    pub(crate) fn random(suite: Suite, rng: &dyn Rng) -> Self {
        let outer = match suite {
            Suite::One => None,
            Suite::Two => Some(OuterSalt::random(rng)),
        };
        let inner = Salt::random(rng);
        Self { inner, outer }
    }
}

impl From<Salt> for Salts {
    /// Of a sealing in one layer.
    fn from(inner: Salt) -> Self {
        Self { inner, outer: None }
    }
}

/// What META says of a part: the commitment of each layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Commitments {
    /// The only layer's, or the inner one's.
    pub inner: Commitment,
    /// The outer one's.
    pub outer: Option<OuterCommitment>,
}

impl Commitments {
    /// Compares in constant time; another number of layers never matches.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        let outer = match (&self.outer, &other.outer) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => ours.matches(theirs),
            _ => false,
        };
        self.inner.matches(&other.inner) & outer
    }

    pub(crate) const fn suite(&self) -> Suite {
        match self.outer {
            None => Suite::One,
            Some(_) => Suite::Two,
        }
    }

    /// The pieces of an entry of META.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &[u8; 32]> {
        let outer = self.outer.as_ref().map(|outer| &outer.0);
        outer.into_iter().chain([&self.inner.0])
    }

    /// Reads an entry of META.
    pub(crate) fn read(suite: Suite, entry: &[u8]) -> Option<Self> {
        let mut fields = Fields(entry);
        let outer = match suite {
            Suite::One => None,
            Suite::Two => Some(OuterCommitment(fields.bytes()?)),
        };
        let inner = Commitment(fields.bytes()?);
        Some(Self { inner, outer })
    }
}

impl From<Commitment> for Commitments {
    /// Of a sealing in one layer.
    fn from(inner: Commitment) -> Self {
        Self { inner, outer: None }
    }
}

/// The bytes before a message's first chunk: salt and commitment, the outer layer's first.
#[derive(Clone, Copy)]
pub(crate) struct Prefix {
    bytes: [u8; PREFIX_BYTES_MAX],
    len: usize,
}

impl Prefix {
    fn of(salts: &Salts, commitments: &Commitments) -> Self {
        let mut bytes = [0; PREFIX_BYTES_MAX];
        let outer = salts.outer.iter().zip(&commitments.outer);
        let outer = outer.flat_map(|(salt, commitment)| salt.0.iter().chain(&commitment.0));
        let inner = salts.inner.0.iter().chain(&commitments.inner.0);
        let mut len = 0;
        for (to, from) in bytes.iter_mut().zip(outer.chain(inner)) {
            *to = *from;
            len += 1;
        }
        Self { bytes, len }
    }

    /// Reads a stored prefix.
    pub(crate) fn read(suite: Suite, bytes: &[u8]) -> Option<(Salts, Commitments)> {
        let mut fields = Fields(bytes);
        let outer = match suite {
            Suite::One => None,
            Suite::Two => Some((OuterSalt(fields.bytes()?), OuterCommitment(fields.bytes()?))),
        };
        let salts = Salts {
            inner: Salt(fields.bytes()?),
            outer: outer.map(|(salt, _)| salt),
        };
        let commitments = Commitments {
            inner: Commitment(fields.bytes()?),
            outer: outer.map(|(_, commitment)| commitment),
        };
        Some((salts, commitments))
    }
}

impl Deref for Prefix {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prefix({} bytes)", self.len)
    }
}

/// The keys of one message, layer by layer.
#[derive(Debug)]
pub(crate) struct Layers {
    inner: Message,
    /// Boxed, so that a message in one layer is no larger for it.
    outer: Option<Box<OuterMessage>>,
}

impl Layers {
    pub(crate) fn new(inner: Message, outer: Option<OuterMessage>) -> Self {
        let outer = outer.map(Box::new);
        Self { inner, outer }
    }

    pub(crate) fn suite(&self) -> Suite {
        match self.outer {
            None => Suite::One,
            Some(_) => Suite::Two,
        }
    }

    /// What the prefix must say.
    pub(crate) fn commitments(&self) -> Commitments {
        Commitments {
            inner: self.inner.commitment(),
            outer: self.outer.as_ref().map(|outer| outer.commitment()),
        }
    }

    /// The prefix of the message, which these salts made.
    pub(crate) fn prefix(&self, salts: &Salts) -> Prefix {
        Prefix::of(salts, &self.commitments())
    }

    /// Seals chunk `index`, which is `out[from..]`, where it lies, and appends its tags.
    pub(crate) fn seal(&self, index: u64, out: &mut Vec<u8>, from: usize) -> Result<(), SealError> {
        let (_, chunk) = out.split_at_mut_checked(from).ok_or(SealError::Cipher)?;
        let tag = self.inner.seal(index, chunk)?;
        out.extend_from_slice(&tag);
        let Some(outer) = &self.outer else {
            return Ok(());
        };
        let (_, inner) = out.split_at_mut_checked(from).ok_or(SealError::Cipher)?;
        let tag = outer.seal(index, inner)?;
        out.extend_from_slice(&tag);
        Ok(())
    }

    /// Opens chunk `index`, which is `bytes[sealed..]` with its tags, and moves its
    /// plaintext to the front of `bytes`. `None` when a tag is not good.
    pub(crate) fn open(&self, index: u64, bytes: &mut [u8], sealed: usize) -> Option<usize> {
        let Some(outer) = &self.outer else {
            return self.inner.open(index, bytes, sealed..);
        };
        outer.open(index, bytes.get_mut(sealed..)?)?;
        let len = bytes.len().checked_sub(TAG_BYTES)?;
        self.inner.open(index, bytes.get_mut(..len)?, sealed..)
    }
}
