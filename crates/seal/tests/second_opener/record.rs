//! Key records as provider `local` wraps them.

use aes_gcm::{
    Aes256Gcm, KeyInit as _,
    aead::{Aead as _, Payload},
    aes::{Aes256, cipher::BlockCipherEncrypt as _},
};

use super::{Refused, bytes_at, demand};

/// The encryption context as additional authenticated data.
pub(crate) fn context_bytes(mut pairs: Vec<(&str, &str)>) -> Vec<u8> {
    pairs.sort_unstable();
    let behind_length = |text: &str| [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat();
    let mut bytes = (pairs.len() as u16).to_be_bytes().to_vec();
    for (name, value) in pairs {
        bytes.extend(behind_length(name));
        bytes.extend(behind_length(value));
    }
    bytes
}

/// A record key from nonce, ciphertext and tag of XAES-256-GCM.
pub(crate) fn unwrap_local(
    key: &[u8; 32],
    wrapped: &[u8],
    context: &[u8],
) -> Result<[u8; 32], Refused> {
    demand(wrapped.len() == 24 + 32 + 16, "a wrapped key's length")?;
    let first: [u8; 12] = bytes_at(wrapped, 0)?;
    let second: [u8; 12] = bytes_at(wrapped, 12)?;
    let derived = derive(key, first);
    let cipher = Aes256Gcm::new_from_slice(&derived).map_err(|_| Refused("a key's length"))?;
    let payload = Payload {
        msg: &wrapped[24..],
        aad: context,
    };
    let opened = cipher
        .decrypt((&second).into(), payload)
        .map_err(|_| Refused("a wrapped key's tag"))?;
    bytes_at(&opened, 0)
}

/// The derived key of XAES-256-GCM: CMAC with two messages of one block each.
fn derive(key: &[u8; 32], nonce: [u8; 12]) -> [u8; 32] {
    let cipher = Aes256::new(key.into());
    let encrypt = |block: u128| {
        let mut block = block.to_be_bytes().into();
        cipher.encrypt_block(&mut block);
        u128::from_be_bytes(block.into())
    };
    let subkey = encrypt(0);
    let subkey = (subkey << 1) ^ (0x87 * (subkey >> 127));
    let mut derived = [0; 32];
    for (counter, half) in (1..).zip(derived.chunks_mut(16)) {
        let mut message = [0; 16];
        message[..4].copy_from_slice(&[0, counter, b'X', 0]);
        message[4..].copy_from_slice(&nonce);
        half.copy_from_slice(&encrypt(subkey ^ u128::from_be_bytes(message)).to_be_bytes());
    }
    derived
}
