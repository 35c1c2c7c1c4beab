//! AES-256-GCM as key services use it: nonce ‖ ciphertext ‖ tag.

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};

/// Random bytes.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).unwrap();
    bytes
}

fn key(material: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, material).unwrap())
}

pub(crate) fn seal(material: &[u8; 32], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let nonce: [u8; NONCE_LEN] = random();
    let mut sealed = plaintext.to_vec();
    let unique = Nonce::assume_unique_for_key(nonce);
    key(material)
        .seal_in_place_append_tag(unique, Aad::from(aad), &mut sealed)
        .unwrap();
    [&nonce[..], &sealed].concat()
}

pub(crate) fn open(material: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut opened = sealed.to_vec();
    let plaintext = key(material).open_in_place(nonce, Aad::from(aad), &mut opened);
    Some(plaintext.ok()?.to_vec())
}
