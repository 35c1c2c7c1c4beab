//! XAES-256-GCM: AES-256-GCM with 192-bit nonces, so that random ones never meet.
//!
//! [C2SP specification](https://c2sp.org/XAES-256-GCM): a CMAC-based derivation of
//! a fresh AES-256-GCM key from the first half of the nonce.

use aes::{
    Aes256,
    cipher::{BlockCipherEncrypt, KeyInit},
};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use sealift_terms::Rng;
use zeroize::Zeroizing;

const NONCE: usize = 24;
const TAG: usize = 16;

/// The message could not be opened: another key, other associated data, or altered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message does not open under this key and context")]
pub struct NotAuthentic;

/// One key of XAES-256-GCM with its derivation state.
pub struct Xaes256Gcm {
    cipher: Aes256,
    /// CMAC's first subkey, which masks both derivation blocks.
    subkey: Zeroizing<[u8; 16]>,
}

impl std::fmt::Debug for Xaes256Gcm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Xaes256Gcm(..)")
    }
}

impl Xaes256Gcm {
    /// Bytes that a message is longer than its plaintext: nonce and tag.
    pub const OVERHEAD: usize = NONCE + TAG;

    /// Takes a key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        let cipher = Aes256::new(key.into());
        let mut block = [0; 16].into();
        cipher.encrypt_block(&mut block);
        let doubled = u128::from_be_bytes(block.into());
        // Multiplication by x in GF(2^128), as CMAC has it (NIST SP 800-38B, 6.1).
        let reduced = (doubled << 1) ^ (0x87 * (doubled >> 127));
        Self {
            cipher,
            subkey: Zeroizing::new(reduced.to_be_bytes()),
        }
    }

    /// Seals under a fresh random nonce: `nonce(24) ‖ ciphertext ‖ tag(16)`.
    #[must_use]
    pub fn seal(&self, rng: &dyn Rng, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE];
        rng.fill(&mut nonce);
        self.seal_with(&nonce, aad, plaintext)
    }

    /// Opens what [`Self::seal`] made.
    ///
    /// # Errors
    /// [`NotAuthentic`] unless key, associated data and every bit are the same.
    pub fn open(&self, aad: &[u8], message: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        let (nonce, sealed) = message.split_first_chunk::<NONCE>().ok_or(NotAuthentic)?;
        let (key, nonce) = self.derive(nonce).ok_or(NotAuthentic)?;
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let plain = key
            .open_in_place(nonce, Aad::from(aad), &mut bytes)
            .map_err(|_| NotAuthentic)?
            .len();
        bytes.truncate(plain);
        Ok(bytes)
    }

    fn seal_with(&self, nonce: &[u8; NONCE], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let mut message = Vec::with_capacity(plaintext.len() + Self::OVERHEAD);
        message.extend_from_slice(nonce);
        let mut bytes = Zeroizing::new(plaintext.to_vec());
        let tag = self
            .derive(nonce)
            .and_then(|(key, nonce)| {
                key.seal_in_place_separate_tag(nonce, Aad::from(aad), &mut bytes)
                    .ok()
            })
            // Only a plaintext of 64 GiB or more is refused; nothing sealed here
            // is longer than a file read into memory.
            .unwrap_or_else(|| std::process::abort());
        message.extend_from_slice(&bytes);
        message.extend_from_slice(tag.as_ref());
        message
    }

    /// The AES-256-GCM key and nonce for one 192-bit nonce.
    fn derive(&self, nonce: &[u8; NONCE]) -> Option<(LessSafeKey, Nonce)> {
        let (first, last) = nonce.split_first_chunk::<12>()?;
        let mut key = Zeroizing::new([0; 32]);
        for (half, number) in key.chunks_exact_mut(16).zip([1, 2]) {
            let mut input = [0; 16];
            let (counter, rest) = input.split_first_chunk_mut::<4>()?;
            *counter = [0, number, b'X', 0];
            rest.copy_from_slice(first);
            let masked = u128::from_be_bytes(input) ^ u128::from_be_bytes(*self.subkey);
            let mut block = masked.to_be_bytes().into();
            self.cipher.encrypt_block(&mut block);
            half.copy_from_slice(&block);
        }
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_slice()).ok()?);
        let nonce = Nonce::try_assume_unique_for_key(last).ok()?;
        Some((key, nonce))
    }
}

#[cfg(test)]
mod tests {
    use sha3::{
        Shake128,
        digest::{ExtendableOutput, Update, XofReader},
    };

    use super::*;

    const NONCE_TEXT: &[u8; 24] = b"ABCDEFGHIJKLMNOPQRSTUVWX";

    fn known(key: u8, aad: &[u8], expected: &str) {
        let key = Xaes256Gcm::new(&[key; 32]);
        let sealed = key.seal_with(NONCE_TEXT, aad, b"XAES-256-GCM");
        assert_eq!(hex::encode(&sealed[24..]), expected);
        assert_eq!(*key.open(aad, &sealed).unwrap(), b"XAES-256-GCM");
    }

    #[test]
    fn the_known_answers_of_c2sp_are_met() {
        // One key with the most significant bit of L clear, one with it set.
        known(
            1,
            b"",
            "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271",
        );
        known(
            3,
            b"c2sp.org/XAES-256-GCM",
            "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
        );
    }

    #[test]
    fn ten_thousand_rounds_have_the_hash_of_c2sp() {
        let mut source = Shake128::default().finalize_xof();
        let mut sink = Shake128::default();
        let mut draw = |len: usize| {
            let mut bytes = vec![0; len];
            source.read(&mut bytes);
            bytes
        };
        for _ in 0..10_000 {
            let key = Xaes256Gcm::new(&draw(32).try_into().unwrap());
            let nonce = draw(24).try_into().unwrap();
            let len = draw(1)[0].into();
            let plaintext = draw(len);
            let len = draw(1)[0].into();
            let aad = draw(len);
            let sealed = key.seal_with(&nonce, &aad, &plaintext);
            assert_eq!(*key.open(&aad, &sealed).unwrap(), plaintext);
            sink.update(&sealed[24..]);
        }
        let mut hash = [0; 32];
        sink.finalize_xof().read(&mut hash);
        assert_eq!(
            hex::encode(hash),
            "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"
        );
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_refused() {
        let key = Xaes256Gcm::new(&[7; 32]);
        let sealed = key.seal_with(NONCE_TEXT, b"aad", b"secret");
        for bit in 0..sealed.len() * 8 {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open(b"aad", &altered), Err(NotAuthentic));
        }
        for len in 0..sealed.len() {
            assert_eq!(key.open(b"aad", &sealed[..len]), Err(NotAuthentic));
        }
        assert_eq!(key.open(b"other", &sealed), Err(NotAuthentic));
    }
}
