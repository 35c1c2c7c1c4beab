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
pub const PREFIX_BYTES: usize = 56;
/// The tag behind every chunk.
pub const TAG_BYTES: usize = 16;

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

/// The bytes of a whole message of `plain` bytes; `None` when that overflows.
pub(crate) fn message_len(plain: u64) -> Option<u64> {
    let tags = (plain / CHUNK).checked_add(1)?.checked_mul(TAG)?;
    plain.checked_add(tags)?.checked_add(PREFIX)
}

/// The plaintext bytes of a message of `len` bytes; `None` when no message has
/// that length.
pub(crate) fn message_plain_len(len: u64) -> Option<u64> {
    let body = len.checked_sub(PREFIX)?;
    let last = body % (CHUNK + TAG);
    (last >= TAG).then(|| (body / (CHUNK + TAG)) * CHUNK + (last - TAG))
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
        let [label, header, index] = context;
        let mut okm = Zeroizing::new([0; 76]);
        dek.expand(&[LABEL, &salt.0, label, header, index], okm.as_mut());
        let (key, rest) = okm.split_at(32);
        let (base_nonce, commits) = rest.split_at(12);
        let (mut base, mut commitment) = ([0; 12], [0; 32]);
        base.copy_from_slice(base_nonce);
        commitment.copy_from_slice(commits);
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| SealError::Cipher)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            base,
            commitment: Commitment(commitment),
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

    /// The base nonce XOR the index, as 96-bit integers.
    fn nonce(&self, index: u64) -> Nonce {
        let mut nonce = self.base;
        for (byte, x) in nonce.iter_mut().rev().zip(index.to_le_bytes()) {
            *byte ^= x;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({:?})", self.commitment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_always_ends_in_a_short_chunk() {
        assert_eq!(message_len(0), Some(56 + 16));
        assert_eq!(message_len(CHUNK - 1), Some(56 + CHUNK - 1 + 16));
        assert_eq!(message_len(CHUNK), Some(56 + CHUNK + 32));
        assert_eq!(message_len(u64::MAX), None);
    }

    #[test]
    fn only_lengths_of_messages_are_lengths_of_messages() {
        for plain in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            assert_eq!(message_plain_len(message_len(plain).unwrap()), Some(plain));
        }
        for len in [0, 55, 56, 71, 56 + 16_400, 56 + 16_400 + 15] {
            assert_eq!(message_plain_len(len), None, "{len}");
        }
    }
}
