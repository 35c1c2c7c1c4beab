//! The sealed file around a keystore: everything in it is authenticated.
//!
//! JSON, one line: `{"format","version","root",…,"body"}`; the body is
//! XAES-256-GCM under the root key, and its associated data is what stands
//! before it, so that no member can be changed unseen.

use base64::{Engine, engine::general_purpose::STANDARD};
use sealift_terms::Rng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{KeyError, PassphraseCost, RootSecret, root::RootLock, xaes::Xaes256Gcm};

const FORMAT: &str = "sealift-keystore";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    version: u32,
    root: RootLock,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    #[serde(flatten)]
    head: Head,
    body: String,
}

impl Head {
    fn aad(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Seals `body` under `secret`.
pub(crate) fn seal(
    secret: &RootSecret,
    cost: PassphraseCost,
    rng: &dyn Rng,
    body: &[u8],
) -> Result<Vec<u8>, KeyError> {
    let head = Head {
        format: FORMAT.to_owned(),
        version: VERSION,
        root: secret.new_lock(rng, cost),
    };
    let key = Xaes256Gcm::new(secret.unlock(&head.root)?.expose());
    let body = STANDARD.encode(key.seal(rng, &head.aad(), body));
    let mut file = serde_json::to_vec(&Envelope { head, body }).unwrap_or_default();
    file.push(b'\n');
    Ok(file)
}

/// How the key of a file is found. Nothing of it is authenticated yet.
pub(crate) fn lock(subject: &str, file: &[u8]) -> Result<RootLock, KeyError> {
    Ok(parse(subject, file)?.head.root)
}

/// Opens what [`seal`] made. `subject` names the file in errors.
pub(crate) fn open(
    secret: &RootSecret,
    subject: &str,
    file: &[u8],
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let Envelope { head, body } = parse(subject, file)?;
    let key = Xaes256Gcm::new(secret.unlock(&head.root)?.expose());
    let body = STANDARD
        .decode(body)
        .map_err(|_| format_error(subject, "its body is not base64"))?;
    key.open(&head.aad(), &body)
        .map_err(|_| KeyError::KeystoreNotAuthentic {
            subject: subject.to_owned(),
        })
}

fn parse(subject: &str, file: &[u8]) -> Result<Envelope, KeyError> {
    let envelope: Envelope = serde_json::from_slice(file)
        .map_err(|_| format_error(subject, "it is not the JSON of one"))?;
    if envelope.head.format != FORMAT || envelope.head.version != VERSION {
        return Err(format_error(subject, "its format or version is another"));
    }
    Ok(envelope)
}

fn format_error(subject: &str, what: &'static str) -> KeyError {
    KeyError::KeystoreFormat {
        subject: subject.to_owned(),
        what,
    }
}

#[cfg(test)]
mod tests {
    use sealift_host::OsRng;

    use super::*;

    const CHEAP: PassphraseCost = PassphraseCost {
        memory_kib: 64,
        passes: 1,
    };

    #[test]
    fn any_altered_byte_is_seen() {
        let secret = RootSecret::generate(&OsRng);
        let file = seal(&secret, CHEAP, &OsRng, b"{}").unwrap();
        assert_eq!(*open(&secret, "f", &file).unwrap(), b"{}");
        for i in 0..file.len() - 1 {
            let mut altered = file.clone();
            altered[i] ^= 1;
            assert!(open(&secret, "f", &altered).is_err(), "byte {i}");
        }
    }

    #[test]
    fn the_wrong_passphrase_or_kind_of_secret_does_not_open() {
        let right = RootSecret::from_passphrase("correct horse").unwrap();
        let wrong = RootSecret::from_passphrase("battery staple").unwrap();
        let file = seal(&right, CHEAP, &OsRng, b"{}").unwrap();
        assert!(open(&right, "f", &file).is_ok());
        let error = open(&wrong, "f", &file).unwrap_err();
        assert!(matches!(error, KeyError::KeystoreNotAuthentic { .. }));
        let error = open(&RootSecret::generate(&OsRng), "f", &file).unwrap_err();
        assert!(matches!(error, KeyError::RootKey { .. }));
    }
}
