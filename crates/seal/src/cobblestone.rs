//! Cobblestone-256: C2SP's chunked encryption with AES-256-GCM, HKDF-SHA512 and
//! chunks of 16 KiB (<https://c2sp.org/chunked-encryption>).
//!
//! ```text
//! salt(24) ‖ commitment(32) ‖ chunk 0 ‖ tag(16) ‖ chunk 1 ‖ tag(16) ‖ … ‖ short chunk ‖ tag(16)
//! ```

use std::{fmt, ops::RangeFrom};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use sealift_terms::{CHUNK_BYTES, Rng};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{error::SealError, key::Dek};

const LABEL: &[u8] = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";

/// Salt and commitment, the bytes before a message's first chunk.
pub(crate) const PREFIX_BYTES: usize = 56;
/// The tag behind every chunk.
pub(crate) const TAG_BYTES: usize = 16;

pub(crate) const CHUNK: u64 = CHUNK_BYTES as u64;
pub(crate) const TAG: u64 = TAG_BYTES as u64;
pub(crate) const PREFIX: u64 = PREFIX_BYTES as u64;

/// What makes the keys of one try at one message unlike those of any other. Drawn
/// anew for every try: a salt is never saved and used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salt(pub(crate) [u8; 24]);

impl Salt {
    /// Draws a new one.
    #[must_use]
    pub fn random(rng: &dyn Rng) -> Self {
        let mut bytes = [0; 24];
        rng.fill(&mut bytes);
        Self(bytes)
    }
}

/// What a message's prefix says of its key: only the key, salt and context it was
/// sealed under give the same 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Commitment(pub [u8; 32]);

impl Commitment {
    /// Compares in constant time.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        bool::from(self.0.ct_eq(&other.0))
    }
}

impl fmt::Debug for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What one salt and context give of a key.
pub(crate) struct Derived(Zeroizing<[u8; 76]>);

impl Derived {
    /// HKDF-Expand with C2SP's label.
    pub(crate) fn of(dek: &Dek, salt: &[u8; 24], context: [&[u8]; 3]) -> Self {
        let [label, header, index] = context;
        let mut okm = Zeroizing::new([0; 76]);
        dek.expand(&[LABEL, salt, label, header, index], okm.as_mut());
        Self(okm)
    }

    pub(crate) fn key(&self) -> &[u8] {
        self.0.split_at(32).0
    }

    pub(crate) fn base(&self) -> [u8; 12] {
        self.copy(32)
    }

    pub(crate) fn commitment(&self) -> [u8; 32] {
        self.copy(44)
    }

    fn copy<const N: usize>(&self, from: usize) -> [u8; N] {
        let mut bytes = [0; N];
        let derived = self.0.iter().skip(from);
        bytes
            .iter_mut()
            .zip(derived)
            .for_each(|(to, from)| *to = *from);
        bytes
    }
}

/// The base nonce XOR the index, as 96-bit integers.
pub(crate) fn nonce(base: [u8; 12], index: u64) -> [u8; 12] {
    let mut nonce = base;
    for (byte, x) in nonce.iter_mut().rev().zip(index.to_le_bytes()) {
        *byte ^= x;
    }
    nonce
}

/// The key, base nonce and commitment of one message.
pub(crate) struct Message {
    key: LessSafeKey,
    base: [u8; 12],
    commitment: Commitment,
}

impl Message {
    /// Derives them for one salt and context.
    pub(crate) fn derive(dek: &Dek, salt: &Salt, context: [&[u8]; 3]) -> Result<Self, SealError> {
        let derived = Derived::of(dek, &salt.0, context);
        let key = UnboundKey::new(&AES_256_GCM, derived.key()).map_err(|_| SealError::Cipher)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            base: derived.base(),
            commitment: Commitment(derived.commitment()),
        })
    }

    /// What the prefix must say.
    pub(crate) fn commitment(&self) -> Commitment {
        self.commitment
    }

    /// Seals chunk `index` where it lies.
    pub(crate) fn seal(&self, index: u64, chunk: &mut [u8]) -> Result<[u8; TAG_BYTES], SealError> {
        let tag = self
            .key
            .seal_in_place_separate_tag(self.nonce(index), Aad::empty(), chunk)
            .map_err(|_| SealError::Cipher)?;
        tag.as_ref().try_into().map_err(|_| SealError::Cipher)
    }

    /// Opens chunk `index`, which is `bytes[sealed]` with its tag, and moves its
    /// plaintext to the front of `bytes`. `None` when the tag is not good.
    pub(crate) fn open(
        &self,
        index: u64,
        bytes: &mut [u8],
        sealed: RangeFrom<usize>,
    ) -> Option<usize> {
        self.key
            .open_within(self.nonce(index), Aad::empty(), bytes, sealed)
            .map(|plain| plain.len())
            .ok()
    }

    fn nonce(&self, index: u64) -> Nonce {
        Nonce::assume_unique_for_key(nonce(self.base, index))
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({:?})", self.commitment)
    }
}
