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

/// Opens one message; the plaintext and its commitment.
fn message(dek: &[u8], context: &[u8], sealed: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (salt, rest) = sealed.split_at_checked(24)?;
    let (commitment, mut chunks) = rest.split_at_checked(32)?;
    let label = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";
    let okm = expand(dek, &[label, salt, context].concat(), 76);
    if okm[44..] != *commitment {
        return None;
    }
    let aead = Aes256Gcm::new_from_slice(&okm[..32]).unwrap();
    let (mut plain, mut index) = (Vec::new(), 0_u64);
    loop {
        let (chunk, later) = chunks.split_at(chunks.len().min(16_400));
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&index.to_be_bytes());
        for (n, base) in nonce.iter_mut().zip(&okm[32..44]) {
            *n ^= base;
        }
        let payload = Payload {
            msg: chunk,
            aad: &[],
        };
        plain.extend(aead.decrypt((&nonce).into(), payload).ok()?);
        if chunk.len() < 16_400 {
            return Some((plain, commitment.to_vec()));
        }
        (chunks, index) = (later, index + 1);
    }
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte))
}

/// Opens a whole object: its JSON and its plaintext.
fn open_second(record_key: &[u8], sealed: &[u8]) -> Option<(serde_json::Value, Vec<u8>)> {
    let (header, footer) = (&sealed[..96], &sealed[sealed.len() - 32..]);
    let part_plain = number(&header[12..16]);
    let dek = expand(
        record_key,
        &[b"sealift/v1 object\0", &header[16..32]].concat(),
        32,
    );
    let tag = expand(&dek, &[b"sealift/v1 header\0", &header[..64]].concat(), 32);
    if tag != header[64..] || footer[28..] != *b"SLFE" {
        return None;
    }
    let (offset, len, n) = (
        number(&footer[..8]),
        number(&footer[8..16]),
        number(&footer[16..24]),
    );
    let context = |label: &[u8], i: usize| [label, header, &(i as u64).to_be_bytes()].concat();
    let meta = &sealed[offset..offset + len];
    let (meta, _) = message(&dek, &context(b"sealift/v1 meta\0", n), meta)?;
    let (json, commitments) = meta[4..].split_at(number(&meta[..4]));
    let mut plain = Vec::new();
    let mut at = 96;
    for (i, expected) in commitments.chunks(32).enumerate() {
        let full = 56 + part_plain + (part_plain / 16_384 + 1) * 16;
        let end = if i + 1 == n { offset } else { at + full };
        let (part, commitment) =
            message(&dek, &context(b"sealift/v1 part\0", i), &sealed[at..end])?;
        if commitment != expected {
            return None;
        }
        plain.extend(part);
        at = end;
    }
    Some((serde_json::from_slice(json).ok()?, plain))
}

#[test]
fn another_implementation_opens_what_is_sealed_here() {
    for size in [0, 5, 16_383, 16_384, 65_535, 65_536, 70_000, 200_000] {
        let plain = plaintext(size);
        let sealed = seal(&plain);
        let (json, opened) = open_second(key().as_bytes(), &sealed).unwrap();
        assert!(opened == plain, "{size}");
        assert_eq!(json["key"], "a/é");
        assert_eq!(json["size"], size);
        assert!(open_second(&[0; 32], &sealed).is_none());
    }
}
