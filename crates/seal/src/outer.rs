//! The outer layer of a sealing in two: every sealed chunk of the inner layer, its tag
//! included, sealed again by the aes-gcm crate, which shares no code with ring.
//!
//! ```text
//! AES-256-GCM(outer key, outer base nonce XOR i, sealed chunk i of the inner layer) ‖ tag(16)
//! ```
//!
//! Its types are others than the inner layer's: a key, a salt or a commitment of one
//! cannot stand where the other's is wanted.

use std::fmt;

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{AeadInOut, inout::InOutBuf},
};
use sealift_terms::{ObjectUid, Rng};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::{
    cobblestone::{self, Derived, TAG_BYTES, nonce},
    error::SealError,
    key::{Dek, RecordKey},
};

const HEADER_LABEL: &[u8] = b"sealift/v1 outer header\0";

/// A salt of the outer layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OuterSalt(pub(crate) [u8; 24]);

impl OuterSalt {
    pub(crate) fn random(rng: &dyn Rng) -> Self {
        let mut bytes = [0; 24];
        rng.fill(&mut bytes);
        Self(bytes)
    }
}

/// A commitment of the outer layer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OuterCommitment(pub [u8; 32]);

impl OuterCommitment {
    /// Compares in constant time.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        bool::from(self.0.ct_eq(&other.0))
    }
}

impl fmt::Debug for OuterCommitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The key of one object's outer layer.
#[derive(Debug, Clone)]
pub(crate) struct OuterDek(Dek);

impl OuterDek {
    /// HKDF-Expand of the second record's key for one object.
    pub(crate) fn derive(record: &RecordKey, uid: ObjectUid) -> Self {
        Self(Dek::derive(record, uid))
    }

    /// What the outer layer adds to the header tag.
    pub(crate) fn header_share(&self, fields: &[u8]) -> [u8; 32] {
        let mut share = [0; 32];
        self.0.expand(&[HEADER_LABEL, fields], &mut share);
        share
    }
}

/// The key, base nonce and commitment of one message's outer layer.
pub(crate) struct OuterMessage {
    cipher: Aes256Gcm,
    base: [u8; 12],
    commitment: OuterCommitment,
}

impl OuterMessage {
    /// Derives them for one salt and context.
    pub(crate) fn derive(
        dek: &OuterDek,
        salt: &OuterSalt,
        context: [&[u8]; 3],
    ) -> Result<Self, SealError> {
        let derived = Derived::of(&dek.0, &salt.0, context);
        let cipher = Aes256Gcm::new_from_slice(derived.key()).map_err(|_| SealError::Cipher)?;
        Ok(Self {
            cipher,
            base: derived.base(),
            commitment: OuterCommitment(derived.commitment()),
        })
    }

    /// What the prefix must say.
    pub(crate) fn commitment(&self) -> OuterCommitment {
        self.commitment
    }

    /// Seals sealed chunk `index` of the inner layer where it lies.
    pub(crate) fn seal(&self, index: u64, inner: &mut [u8]) -> Result<[u8; TAG_BYTES], SealError> {
        let nonce = nonce(self.base, index).into();
        self.cipher
            .encrypt_inout_detached(&nonce, &[], InOutBuf::from(inner))
            .map(Into::into)
            .map_err(|_| SealError::Cipher)
    }

    /// Opens chunk `index` where it lies, its tag the last bytes. Gives the sealed
    /// chunk of the inner layer, or nothing when the tag is not good.
    pub(crate) fn open<'b>(&self, index: u64, sealed: &'b mut [u8]) -> Option<&'b mut [u8]> {
        let nonce = nonce(self.base, index).into();
        let (inner, tag) = sealed.split_last_chunk_mut::<{ cobblestone::TAG_BYTES }>()?;
        self.cipher
            .decrypt_inout_detached(&nonce, &[], InOutBuf::from(&mut *inner), (&*tag).into())
            .ok()?;
        Some(inner)
    }
}

impl fmt::Debug for OuterMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OuterMessage({:?})", self.commitment)
    }
}
