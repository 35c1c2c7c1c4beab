//! A second opener, on other implementations of every primitive, that shares no
//! code with the first. It trusts lengths and offsets: it is there for the bytes
//! that are right, not for those that are wrong.

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use hmac::{Hmac, Mac};
use sha2::Sha512;

use super::*;

fn hmac(key: &[u8], pieces: &[&[u8]]) -> Vec<u8> {
    let mut mac = <Hmac<Sha512> as KeyInit>::new_from_slice(key).unwrap();
    pieces.iter().for_each(|piece| mac.update(piece));
    mac.finalize().into_bytes().to_vec()
}

fn expand(key: &[u8], info: &[u8], len: usize) -> Vec<u8> {
    let mut out = hmac(key, &[info, &[1]]);
    let second = hmac(key, &[&out, info, &[2]]);
    out.extend(second);
    out.truncate(len);
    out
}

/// One layer's keys for a message, if it begins with the layer's salt and commitment.
struct Layer {
    aead: Aes256Gcm,
    base: Vec<u8>,
    commitment: Vec<u8>,
}

impl Layer {
    fn of<'a>(dek: &[u8], context: &[u8], sealed: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (salt, rest) = sealed.split_at_checked(24)?;
        let (commitment, chunks) = rest.split_at_checked(32)?;
        let label = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";
        let okm = expand(dek, &[label, salt, context].concat(), 76);
        let layer = Self {
            aead: Aes256Gcm::new_from_slice(&okm[..32]).unwrap(),
            base: okm[32..44].to_vec(),
            commitment: commitment.to_vec(),
        };
        (okm[44..] == *commitment).then_some((layer, chunks))
    }

    fn open(&self, index: u64, chunk: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&index.to_be_bytes());
        for (n, base) in nonce.iter_mut().zip(&self.base) {
            *n ^= base;
        }
        let payload = Payload {
            msg: chunk,
            aad: &[],
        };
        self.aead.decrypt((&nonce).into(), payload).ok()
    }
}

/// An object's key, header and number of layers.
struct Object<'a> {
    deks: Vec<Vec<u8>>,
    header: &'a [u8],
}

impl Object<'_> {
    /// Opens one message; the plaintext and what META says of it. The outer layer comes
    /// first, where there is one.
    fn message(&self, what: &str, number: usize, sealed: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let (mut layers, mut rest, mut entry) = (Vec::new(), sealed, Vec::new());
        for (depth, dek) in self.deks.iter().enumerate().rev() {
            let outer = if depth == 1 { "outer " } else { "" };
            let label = format!("sealift/v1 {outer}{what}\0");
            let number = (number as u64).to_be_bytes();
            let context = [label.as_bytes(), self.header, &number].concat();
            let (layer, behind) = Layer::of(dek, &context, rest)?;
            entry.extend_from_slice(&layer.commitment);
            layers.push(layer);
            rest = behind;
        }
        let full = 16_384 + 16 * layers.len();
        let (mut plain, mut index) = (Vec::new(), 0_u64);
        loop {
            let (chunk, later) = rest.split_at(rest.len().min(full));
            let opened = layers
                .iter()
                .try_fold(chunk.to_vec(), |chunk, layer| layer.open(index, &chunk));
            plain.extend(opened?);
            if chunk.len() < full {
                return Some((plain, entry));
            }
            (rest, index) = (later, index + 1);
        }
    }
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte))
}

/// Opens a whole object with the key of each of its records: its JSON and its plaintext.
fn open_second(record_keys: &[&[u8]], sealed: &[u8]) -> Option<(serde_json::Value, Vec<u8>)> {
    let (header, footer) = (&sealed[..96], &sealed[sealed.len() - 32..]);
    let part_plain = number(&header[12..16]);
    let label = [b"sealift/v1 object\0", &header[16..32]].concat();
    let deks: Vec<_> = record_keys
        .iter()
        .map(|key| expand(key, &label, 32))
        .collect();
    let fields = &header[..64];
    let share = match deks.get(1) {
        Some(outer) => expand(outer, &[b"sealift/v1 outer header\0", fields].concat(), 32),
        None => Vec::new(),
    };
    let info = [b"sealift/v1 header\0", fields, &share].concat();
    let tag = expand(&deks[0], &info, 32);
    if tag != header[64..] || footer[28..] != *b"SLFE" || deks.len() != usize::from(header[9]) {
        return None;
    }
    let (offset, len, n) = (
        number(&footer[..8]),
        number(&footer[8..16]),
        number(&footer[16..24]),
    );
    let layers = deks.len();
    let object = Object { deks, header };
    let (meta, _) = object.message("meta", n, &sealed[offset..offset + len])?;
    let (json, commitments) = meta[4..].split_at(number(&meta[..4]));
    let (mut plain, mut at) = (Vec::new(), 96);
    for (i, expected) in commitments.chunks(32 * layers).enumerate() {
        let full = 56 * layers + part_plain + (part_plain / 16_384 + 1) * 16 * layers;
        let end = if i + 1 == n { offset } else { at + full };
        let (part, entry) = object.message("part", i, &sealed[at..end])?;
        if entry != expected {
            return None;
        }
        plain.extend(part);
        at = end;
    }
    Some((serde_json::from_slice(json).ok()?, plain))
}

#[test]
fn another_implementation_opens_what_is_sealed_here() {
    let (first, second) = (key(), outer_key());
    for size in [0, 5, 16_383, 16_384, 65_535, 65_536, 70_000, 200_000] {
        let plain = plaintext(size);
        let both: [&[u8]; 2] = [first.as_bytes(), second.as_bytes()];
        for (suite, keys) in [(Suite::One, &both[..1]), (Suite::Two, &both[..])] {
            let sealed = seal_in(suite, &plain);
            let (json, opened) = open_second(keys, &sealed).unwrap();
            assert!(opened == plain, "{size}");
            assert_eq!(json["key"], "a/é");
            assert_eq!(json["size"], size);
            assert!(open_second(&[&[0; 32]], &sealed).is_none());
            assert!(open_second(&[first.as_bytes(), &[0; 32]], &sealed).is_none());
        }
    }
}
