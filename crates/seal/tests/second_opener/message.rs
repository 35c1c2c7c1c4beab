//! Messages of Cobblestone-256, and the derivations around them.

use aes_gcm::{
    Aes256Gcm, KeyInit as _,
    aead::{Aead as _, Payload},
};
use hmac::{Hmac, Mac as _};
use sha2::Sha512;
use subtle::ConstantTimeEq as _;

use super::{Refused, bytes_at, demand};

pub(crate) const CHUNK: u64 = 16_384;
const SEALED_CHUNK: usize = 16_400;
const PREFIX: usize = 56;
const TAG: u64 = 16;
const LABEL: &[u8] = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";

/// HKDF-Expand with HMAC-SHA-512, computed as the page spells it out.
pub(crate) fn expand<const N: usize>(key: &[u8], info: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    let mut block: Vec<u8> = Vec::new();
    for (counter, piece) in (1_u8..).zip(out.chunks_mut(64)) {
        let mut mac = Hmac::<Sha512>::new_from_slice(key).unwrap();
        mac.update(&block);
        info.iter().for_each(|text| mac.update(text));
        mac.update(&[counter]);
        block = mac.finalize().into_bytes().to_vec();
        piece.copy_from_slice(&block[..piece.len()]);
    }
    out
}

/// `len(p)`, for lengths that cannot overflow it.
pub(crate) fn sealed_len(plain: u64) -> u64 {
    PREFIX as u64 + plain + TAG * (plain / CHUNK + 1)
}

/// Backwards: the plaintext of a message of `sealed` bytes.
pub(crate) fn plain_len(sealed: u64) -> Result<u64, Refused> {
    let chunks = sealed
        .checked_sub(PREFIX as u64)
        .ok_or(Refused("no room for a prefix"))?;
    let last = chunks % SEALED_CHUNK as u64;
    demand(last >= TAG, "no last chunk")?;
    Ok(chunks / SEALED_CHUNK as u64 * CHUNK + last - TAG)
}

/// A message whose commitment is that of the key and context.
pub(crate) struct Message<'a> {
    cipher: Aes256Gcm,
    nonce: [u8; 12],
    commitment: [u8; 32],
    chunks: Vec<&'a [u8]>,
}

impl<'a> Message<'a> {
    pub(crate) fn new(
        sealed: &'a [u8],
        object_key: &[u8; 32],
        context: &[u8],
    ) -> Result<Self, Refused> {
        plain_len(sealed.len() as u64)?;
        let (prefix, chunks) = sealed.split_at(PREFIX);
        let (salt, commitment) = prefix.split_at(24);
        let derived = derive(object_key, salt, context);
        demand(
            bool::from(derived.2.ct_eq(commitment)),
            "a message's commitment",
        )?;
        Ok(Self {
            cipher: derived.0,
            nonce: derived.1,
            commitment: derived.2,
            chunks: chunks.chunks(SEALED_CHUNK).collect(),
        })
    }

    pub(crate) fn commitment(&self) -> [u8; 32] {
        self.commitment
    }

    pub(crate) fn chunk(&self, index: u64) -> Result<Vec<u8>, Refused> {
        let sealed = usize::try_from(index)
            .ok()
            .and_then(|index| self.chunks.get(index))
            .ok_or(Refused("no such chunk"))?;
        let nonce = nonce_of(self.nonce, index);
        self.cipher
            .decrypt((&nonce).into(), Payload::from(*sealed))
            .map_err(|_| Refused("a chunk's tag"))
    }

    /// Every chunk; the last is opened even where it is empty.
    pub(crate) fn whole(&self) -> Result<Vec<u8>, Refused> {
        let mut plain = Vec::new();
        for index in 0..self.chunks.len() as u64 {
            plain.extend(self.chunk(index)?);
        }
        Ok(plain)
    }
}

/// Seals: the tests need objects with a right tag and wrong contents.
pub(crate) fn seal(
    object_key: &[u8; 32],
    salt: &[u8; 24],
    context: &[u8],
    plain: &[u8],
) -> Vec<u8> {
    let (cipher, nonce, commitment) = derive(object_key, salt, context);
    let mut sealed = [salt.as_slice(), &commitment].concat();
    for index in 0..=plain.len() as u64 / CHUNK {
        let from = (index * CHUNK) as usize;
        let to = plain.len().min(from + CHUNK as usize);
        let nonce = nonce_of(nonce, index);
        sealed.extend(
            cipher
                .encrypt((&nonce).into(), Payload::from(&plain[from..to]))
                .unwrap(),
        );
    }
    sealed
}

fn derive(object_key: &[u8; 32], salt: &[u8], context: &[u8]) -> (Aes256Gcm, [u8; 12], [u8; 32]) {
    let keys: [u8; 76] = expand(object_key, &[LABEL, salt, context]);
    (
        Aes256Gcm::new_from_slice(&keys[..32]).unwrap(),
        bytes_at(&keys, 32).unwrap(),
        bytes_at(&keys, 44).unwrap(),
    )
}

fn nonce_of(base: [u8; 12], index: u64) -> [u8; 12] {
    let mut nonce = base;
    for (byte, bits) in nonce[4..].iter_mut().zip(index.to_be_bytes()) {
        *byte ^= bits;
    }
    nonce
}
