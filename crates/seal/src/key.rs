//! Record keys, the keys of single objects below them, and HKDF-Expand-SHA512.

use std::fmt;

use ring::hmac;
use sealift_terms::{ObjectUid, Rng};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::suite::Suite;

const OBJECT_LABEL: &[u8] = b"sealift/v1 object\0";
const SHA512_BYTES: usize = 64;
/// Room for the longest info of the format and a counter.
const INFO_BYTES_USUAL: usize = 208;

/// The plaintext of a key record: 32 random bytes from which the keys of many
/// objects are derived. Zeroized when dropped, never shown.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct RecordKey([u8; 32]);

impl RecordKey {
    /// Takes the bytes that a key provider unwrapped.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Draws a new one.
    #[must_use]
    pub fn random(rng: &dyn Rng) -> Self {
        let mut key = Self([0; 32]);
        rng.fill(&mut key.0);
        key
    }

    /// The bytes, for a key provider to wrap.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordKey(\"...\")")
    }
}

/// The record keys that an object is sealed under: one, or one for each layer.
#[derive(Debug, Clone, Copy)]
pub struct Keys<'a> {
    pub(crate) first: &'a RecordKey,
    pub(crate) second: Option<&'a RecordKey>,
}

impl<'a> Keys<'a> {
    /// Of a sealing in one layer.
    #[must_use]
    pub const fn one(key: &'a RecordKey) -> Self {
        let (first, second) = (key, None);
        Self { first, second }
    }

    /// Of a sealing in two layers: the first record's key is the inner one's, the
    /// second record's the outer one's.
    #[must_use]
    pub const fn two(inner: &'a RecordKey, outer: &'a RecordKey) -> Self {
        let (first, second) = (inner, Some(outer));
        Self { first, second }
    }

    pub(crate) const fn suite(self) -> Suite {
        match self.second {
            None => Suite::One,
            Some(_) => Suite::Two,
        }
    }
}

impl<'a> From<&'a RecordKey> for Keys<'a> {
    fn from(key: &'a RecordKey) -> Self {
        Self::one(key)
    }
}

/// The key of one object, as the HMAC key that it is used as: its two hash states
/// are computed once and serve every part and META.
#[derive(Clone)]
pub(crate) struct Dek(hmac::Key);

impl Dek {
    /// HKDF-Expand of the record key for one object.
    pub(crate) fn derive(record: &RecordKey, uid: ObjectUid) -> Self {
        let record = Self::from_bytes(record.as_bytes());
        let mut dek = Zeroizing::new([0; 32]);
        record.expand(&[OBJECT_LABEL, &uid.0], dek.as_mut());
        Self::from_bytes(dek.as_ref())
    }

    /// Uses bytes as they are.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA512, bytes))
    }

    /// HKDF-Expand (RFC 5869, section 2.3) with SHA-512. `out` is at most 255
    /// blocks; every caller asks for one or two.
    pub(crate) fn expand(&self, info: &[&[u8]], out: &mut [u8]) {
        // One long update is a fifth cheaper than many short ones.
        let mut message = Vec::with_capacity(INFO_BYTES_USUAL);
        info.iter()
            .for_each(|piece| message.extend_from_slice(piece));
        let mut previous: Option<hmac::Tag> = None;
        for (block, count) in out.chunks_mut(SHA512_BYTES).zip(1..=u8::MAX) {
            let mut context = hmac::Context::with_key(&self.0);
            if let Some(previous) = &previous {
                context.update(previous.as_ref());
            }
            message.push(count);
            context.update(&message);
            message.pop();
            let tag = context.sign();
            for (to, from) in block.iter_mut().zip(tag.as_ref()) {
                *to = *from;
            }
            previous = Some(tag);
        }
    }
}

impl fmt::Debug for Dek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dek(\"...\")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_shows_itself() {
        let key = RecordKey::new([0x5a; 32]);
        let dek = Dek::derive(&key, ObjectUid([1; 16]));
        let shown = format!("{key:?} {dek:?}");
        assert!(!shown.contains("90") && !shown.contains("5a"), "{shown}");
    }

    #[test]
    fn objects_of_one_record_have_keys_of_their_own() {
        let key = RecordKey::new([7; 32]);
        let mut outs = [[0; 32]; 2];
        for (out, uid) in outs.iter_mut().zip([[1; 16], [2; 16]]) {
            Dek::derive(&key, ObjectUid(uid)).expand(&[], out);
        }
        assert_ne!(outs[0], outs[1]);
    }
}
