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
const PREFIX: usize = 56;
const TAG: u64 = 16;
const LABEL: &[u8] = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";

/// The object keys of a sealing: one, or two of which the first is the inner layer's.
#[derive(Debug, Clone)]
pub(crate) struct ObjectKeys {
    pub(crate) inner: [u8; 32],
    pub(crate) outer: Option<[u8; 32]>,
}

impl From<[u8; 32]> for ObjectKeys {
    fn from(inner: [u8; 32]) -> Self {
        Self { inner, outer: None }
    }
}

impl ObjectKeys {
    pub(crate) fn layers(&self) -> u64 {
        1 + u64::from(self.outer.is_some())
    }
}

/// HKDF-Expand with HMAC-SHA-512, computed as the page spells it out.
pub(crate) fn expand<const N: usize>(key: &[u8], info: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    let mut block: Vec<u8> = Vec::new();
    for (counter, piece) in (1..=u8::MAX).zip(out.chunks_mut(64)) {
        let mut mac = Hmac::<Sha512>::new_from_slice(key).unwrap();
        mac.update(&block);
        info.iter().for_each(|text| mac.update(text));
        mac.update(&[counter]);
        block = mac.finalize().into_bytes().to_vec();
        piece.copy_from_slice(&block[..piece.len()]);
    }
    out
}

/// `len(p)` of so many layers, for lengths that cannot overflow it.
pub(crate) fn sealed_len(layers: u64, plain: u64) -> u64 {
    layers * PREFIX as u64 + plain + layers * TAG * (plain / CHUNK + 1)
}

/// Backwards: the plaintext of a message of `sealed` bytes.
pub(crate) fn plain_len(layers: u64, sealed: u64) -> Result<u64, Refused> {
    let (full, tags) = (CHUNK + layers * TAG, layers * TAG);
    let chunks = sealed
        .checked_sub(layers * PREFIX as u64)
        .ok_or(Refused("no room for a prefix"))?;
    let last = chunks % full;
    demand(last >= tags, "no last chunk")?;
    Ok(chunks / full * CHUNK + last - tags)
}

/// What one layer derives of its key for a message.
struct Layer {
    cipher: Aes256Gcm,
    nonce: [u8; 12],
    commitment: [u8; 32],
}

impl Layer {
    fn open(&self, index: u64, sealed: &[u8]) -> Result<Vec<u8>, Refused> {
        let nonce = nonce_of(self.nonce, index);
        self.cipher
            .decrypt((&nonce).into(), Payload::from(sealed))
            .map_err(|_| Refused("a chunk's tag"))
    }
}

/// A message whose commitments are those of the keys and contexts.
pub(crate) struct Message<'a> {
    /// The outer one first, where there are two.
    layers: Vec<Layer>,
    chunks: Vec<&'a [u8]>,
}

impl<'a> Message<'a> {
    /// A message that is `what`: a part or META, with its number.
    pub(crate) fn new(
        sealed: &'a [u8],
        keys: &ObjectKeys,
        what: &Context<'_>,
    ) -> Result<Self, Refused> {
        let outer = keys.outer.iter().map(|key| (key, what.bytes("outer ")));
        let layers: Vec<_> = outer.chain([(&keys.inner, what.bytes(""))]).collect();
        Self::in_layers(sealed, &layers)
    }

    /// A message under these keys and contexts, the outer layer's first.
    pub(crate) fn in_layers(
        sealed: &'a [u8],
        keys: &[(&[u8; 32], Vec<u8>)],
    ) -> Result<Self, Refused> {
        plain_len(keys.len() as u64, sealed.len() as u64)?;
        let (mut layers, mut rest) = (Vec::new(), sealed);
        for (key, context) in keys {
            let (prefix, behind) = rest.split_at(PREFIX);
            let (salt, commitment) = prefix.split_at(24);
            let layer = derive(key, salt, context);
            demand(
                bool::from(layer.commitment.ct_eq(commitment)),
                "a message's commitment",
            )?;
            layers.push(layer);
            rest = behind;
        }
        let full = CHUNK + keys.len() as u64 * TAG;
        Ok(Self {
            layers,
            chunks: rest.chunks(full as usize).collect(),
        })
    }

    /// The commitments as META lists them.
    pub(crate) fn entry(&self) -> Vec<u8> {
        let each = self.layers.iter().map(|layer| layer.commitment);
        each.collect::<Vec<_>>().concat()
    }

    pub(crate) fn chunk(&self, index: u64) -> Result<Vec<u8>, Refused> {
        let sealed = usize::try_from(index)
            .ok()
            .and_then(|index| self.chunks.get(index))
            .ok_or(Refused("no such chunk"))?;
        let mut layers = self.layers.iter();
        layers.try_fold(sealed.to_vec(), |chunk, layer| layer.open(index, &chunk))
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

/// What a message is, for the keys of each layer.
pub(crate) struct Context<'a> {
    pub(crate) what: &'static str,
    pub(crate) header: &'a [u8],
    pub(crate) number: u64,
}

impl Context<'_> {
    fn bytes(&self, layer: &str) -> Vec<u8> {
        let label = format!("sealift/v1 {layer}{}\0", self.what);
        [label.as_bytes(), self.header, &self.number.to_be_bytes()].concat()
    }
}

/// Seals in one layer or in two, each with its salt, the inner one's first: the tests
/// need objects with right tags and wrong contents.
pub(crate) fn seal(
    keys: &ObjectKeys,
    salts: [[u8; 24]; 2],
    what: &Context<'_>,
    plain: &[u8],
) -> Vec<u8> {
    let inner = derive(&keys.inner, &salts[0], &what.bytes(""));
    let outer = keys.outer.as_ref();
    let outer = outer.map(|key| derive(key, &salts[1], &what.bytes("outer ")));
    let mut sealed = Vec::new();
    for (layer, salt) in outer.iter().zip([&salts[1]]).chain([(&inner, &salts[0])]) {
        sealed.extend(salt);
        sealed.extend(layer.commitment);
    }
    for index in 0..=plain.len() as u64 / CHUNK {
        let from = (index * CHUNK) as usize;
        let to = plain.len().min(from + CHUNK as usize);
        let mut chunk = plain[from..to].to_vec();
        for layer in [&inner].into_iter().chain(&outer) {
            let nonce = nonce_of(layer.nonce, index);
            chunk = layer
                .cipher
                .encrypt((&nonce).into(), Payload::from(chunk.as_slice()))
                .unwrap();
        }
        sealed.extend(chunk);
    }
    sealed
}

fn derive(object_key: &[u8; 32], salt: &[u8], context: &[u8]) -> Layer {
    let keys: [u8; 76] = expand(object_key, &[LABEL, salt, context]);
    Layer {
        cipher: Aes256Gcm::new_from_slice(&keys[..32]).unwrap(),
        nonce: bytes_at(&keys, 32).unwrap(),
        commitment: bytes_at(&keys, 44).unwrap(),
    }
}

fn nonce_of(base: [u8; 12], index: u64) -> [u8; 12] {
    let mut nonce = base;
    for (byte, bits) in nonce[4..].iter_mut().zip(index.to_be_bytes()) {
        *byte ^= bits;
    }
    nonce
}
