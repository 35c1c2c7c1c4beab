//! Secrets under a passphrase: argon2id (RFC 9106) makes the key, AES-256-GCM seals.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sealift_terms::{Rng, limits};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::IdentityError;

/// The format of a file that holds a private key, PKCS #8.
pub(super) const KEY: &str = "sealift-sealed-key/1";
/// The format of a file that holds the directory of an authority.
pub(super) const AUTHORITY: &str = "sealift-sealed-authority/1";
/// A file with a private key.
pub(super) const FILE_BYTES_MAX: usize = limits::CERTIFICATE_FILE_BYTES_MAX;
const SALT_BYTES: usize = 16;
/// The second recommended option of RFC 9106, section 4: 64 MiB, 3 passes, 4 lanes.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 4;
/// What a file may ask of this machine: 1 GiB, 16 passes, 16 lanes.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 16;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedFile {
    format: String,
    /// The trust domain that it belongs to.
    domain: String,
    argon2id: Cost,
    /// Hex.
    salt: String,
    /// Hex.
    nonce: String,
    /// What is sealed, under AES-256-GCM, tag at the end, base64.
    sealed: String,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// Why a sealed file was not opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum OpenError {
    /// The file is not what it should be.
    Format(String),
    /// The passphrase is wrong, or the file was altered.
    Refused,
}

pub(super) fn check_passphrase(passphrase: &str) -> Result<(), IdentityError> {
    let (found, needed) = (passphrase.chars().count(), limits::PASSPHRASE_CHARS_MIN);
    if found < needed {
        return Err(IdentityError::PassphraseTooShort { found, needed });
    }
    Ok(())
}

/// Seals a secret; the result is the text of a file.
pub(super) fn seal(
    format: &str,
    secret: &[u8],
    passphrase: &str,
    domain: &str,
    rng: &dyn Rng,
) -> Result<String, IdentityError> {
    let failed = |what| IdentityError::Sealing { what };
    check_passphrase(passphrase)?;
    let (mut salt, mut nonce) = ([0; SALT_BYTES], [0; NONCE_LEN]);
    rng.fill(&mut salt);
    rng.fill(&mut nonce);
    let mut file = SealedFile {
        format: format.to_owned(),
        domain: domain.to_owned(),
        argon2id: Cost {
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
        },
        salt: hex::encode(salt),
        nonce: hex::encode(nonce),
        sealed: String::new(),
    };
    let key = derive(passphrase, &salt, file.argon2id).ok_or_else(|| failed("argon2id"))?;
    // Never a copy of the plaintext when the tag is appended.
    let mut bytes = Zeroizing::new(Vec::with_capacity(secret.len() + AES_256_GCM.tag_len()));
    bytes.extend_from_slice(secret);
    let nonce = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce, Aad::from(bound(&file)), &mut *bytes)
        .map_err(|_| failed("AES-256-GCM"))?;
    file.sealed = STANDARD.encode(&*bytes);
    let text = serde_json::to_string_pretty(&file).map_err(|_| failed("JSON"))?;
    Ok(text + "\n")
}

/// Opens what [`seal`] made. `domain` is the one it has to belong to, if that is known.
pub(super) fn open(
    wanted: &str,
    text: &[u8],
    passphrase: &str,
    domain: Option<&str>,
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let format = |what: &str| OpenError::Format(what.to_owned());
    let file: SealedFile =
        serde_json::from_slice(text).map_err(|error| OpenError::Format(error.to_string()))?;
    if file.format != wanted {
        return Err(format(&format!("is of another format than {wanted}")));
    }
    if domain.is_some_and(|domain| file.domain != domain) {
        return Err(format("belongs to another trust domain"));
    }
    let salt = hex::decode(&file.salt).map_err(|_| format("has no hex salt"))?;
    let nonce = hex::decode(&file.nonce).map_err(|_| format("has no hex nonce"))?;
    let nonce = Nonce::try_assume_unique_for_key(&nonce).map_err(|_| format("has a bad nonce"))?;
    let sealed = STANDARD
        .decode(&file.sealed)
        .map_err(|_| format("has no base64 content"))?;
    let key = derive(passphrase, &salt, file.argon2id)
        .ok_or_else(|| format("asks for a cost of argon2id that is not allowed"))?;
    let mut bytes = Zeroizing::new(sealed);
    let opened = key
        .open_in_place(nonce, Aad::from(bound(&file)), &mut bytes)
        .map_err(|_| OpenError::Refused)?
        .len();
    bytes.truncate(opened);
    Ok(bytes)
}

fn derive(passphrase: &str, salt: &[u8], cost: Cost) -> Option<LessSafeKey> {
    let within =
        cost.memory_kib <= MEMORY_KIB_MAX && cost.passes <= PASSES_MAX && cost.lanes <= LANES_MAX;
    if !within || salt.len() != SALT_BYTES {
        return None;
    }
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).ok()?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, &mut *key)
        .ok()?;
    Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*key).ok()?))
}

/// Everything beside the sealed bytes, so that none of it can be altered unnoticed.
fn bound(file: &SealedFile) -> Vec<u8> {
    let Cost {
        memory_kib,
        passes,
        lanes,
    } = file.argon2id;
    let (format, domain) = (&file.format, &file.domain);
    format!(
        "{format}\n{domain}\n{memory_kib} {passes} {lanes}\n{}\n{}",
        file.salt, file.nonce
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use sealift_host::OsRng;

    use super::*;

    const SECRET: &[u8] = b"a private key in PKCS #8";
    const PASS: &str = "correct horse";

    #[test]
    fn only_the_passphrase_opens_and_no_field_can_be_altered() {
        let text = seal(KEY, SECRET, PASS, "d", &OsRng).unwrap();
        assert_eq!(
            &**open(KEY, text.as_bytes(), PASS, Some("d")).unwrap(),
            SECRET
        );
        assert!(!text.contains("private key"));
        assert_eq!(
            open(KEY, text.as_bytes(), "correct horsf", Some("d")).unwrap_err(),
            OpenError::Refused
        );
        assert!(matches!(
            open(KEY, text.as_bytes(), PASS, Some("e")),
            Err(OpenError::Format(_))
        ));
        assert!(matches!(
            open(AUTHORITY, text.as_bytes(), PASS, None),
            Err(OpenError::Format(_))
        ));
        let file: serde_json::Value = serde_json::from_str(&text).unwrap();
        for (field, value) in [
            ("salt", serde_json::json!("00".repeat(16))),
            ("nonce", serde_json::json!("00".repeat(12))),
            (
                "argon2id",
                serde_json::json!({"memory_kib": 64, "passes": 1, "lanes": 1}),
            ),
        ] {
            let mut altered = file.clone();
            altered[field] = value;
            let opened = open(KEY, altered.to_string().as_bytes(), PASS, Some("d"));
            assert_eq!(opened.unwrap_err(), OpenError::Refused, "{field}");
        }
        let mut greedy = file;
        greedy["argon2id"]["memory_kib"] = serde_json::json!(u32::MAX);
        let opened = open(KEY, greedy.to_string().as_bytes(), PASS, Some("d"));
        assert!(
            matches!(opened, Err(OpenError::Format(_))),
            "a file cannot ask for 4 TiB"
        );
    }

    #[test]
    fn a_short_passphrase_is_refused() {
        assert!(check_passphrase("1234567").is_err());
        assert!(check_passphrase("12345678").is_ok());
        assert!(seal(KEY, SECRET, "short", "d", &OsRng).is_err());
    }
}
