//! The keys of a token: which there are under a label, and what may be done with them.

use cryptoki::{
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::Session,
};
use sealift_terms::{KeyId, Region};

use super::token::Pkcs11Error;
use crate::{KeyDescription, KeyError, KeyState, KeyVersion, ProviderKind};

/// Bytes of an AES-256 key.
const KEY_BYTES: u64 = 32;
/// Versions of one key.
const VERSIONS_MAX: usize = 1024;

/// One key of a token.
#[derive(Debug, Clone)]
pub(super) struct Version {
    /// Its CKA_ID.
    pub(super) id: Vec<u8>,
    pub(super) handle: ObjectHandle,
    may_encrypt: bool,
    may_decrypt: bool,
}

impl Version {
    pub(super) fn is_usable(&self) -> bool {
        self.may_encrypt && self.may_decrypt
    }

    fn name(&self) -> String {
        hex::encode(&self.id)
    }
}

/// Every version under a label, the one that wraps last.
pub(super) fn versions(session: &Session, label: &str) -> Result<Vec<Version>, Pkcs11Error> {
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Label(label.as_bytes().to_vec()),
    ];
    let mut found = Vec::new();
    for object in session.iter_objects(&template)? {
        if found.len() >= VERSIONS_MAX {
            return Err(Pkcs11Error::Shape("more than 1,024 keys have this label"));
        }
        found.push(object?);
    }
    let mut versions = Vec::new();
    for handle in found {
        versions.push(read(session, handle)?);
    }
    versions.sort_by(|one, other| one.id.cmp(&other.id));
    let twice = versions
        .windows(2)
        .any(|two| matches!(two, [a, b] if a.id == b.id));
    match (versions.is_empty(), twice) {
        (true, _) => Err(Pkcs11Error::NoKey),
        (false, true) => Err(Pkcs11Error::Unsuitable(
            "two keys with this label have the same id",
        )),
        (false, false) => Ok(versions),
    }
}

/// The version with this name under a label.
pub(super) fn version(session: &Session, label: &str, name: &str) -> Result<Version, Pkcs11Error> {
    let mut versions = versions(session, label)?.into_iter();
    let found = versions.find(|version| version.name() == name);
    found.ok_or_else(|| Pkcs11Error::NoVersion(name.to_owned()))
}

fn read(session: &Session, handle: ObjectHandle) -> Result<Version, Pkcs11Error> {
    let wanted = [
        AttributeType::Id,
        AttributeType::ValueLen,
        AttributeType::Encrypt,
        AttributeType::Decrypt,
        AttributeType::Extractable,
    ];
    let (mut id, mut length, mut may_encrypt, mut may_decrypt) = (Vec::new(), 0, false, false);
    // A token that does not say so would give it out.
    let mut is_extractable = true;
    for attribute in session.get_attributes(handle, &wanted)? {
        match attribute {
            Attribute::Id(bytes) => id = bytes,
            Attribute::ValueLen(bytes) => length = bytes.into(),
            Attribute::Encrypt(may) => may_encrypt = may,
            Attribute::Decrypt(may) => may_decrypt = may,
            Attribute::Extractable(may) => is_extractable = may,
            _ => {}
        }
    }
    if length != KEY_BYTES {
        return Err(Pkcs11Error::Unsuitable("it is not of 256 bits"));
    }
    if id.is_empty() {
        return Err(Pkcs11Error::Unsuitable(
            "it has no id (CKA_ID), which is its version",
        ));
    }
    if is_extractable {
        return Err(Pkcs11Error::Unsuitable(
            "the token would give it out (CKA_EXTRACTABLE)",
        ));
    }
    Ok(Version {
        id,
        handle,
        may_encrypt,
        may_decrypt,
    })
}

pub(super) fn description(
    key: &str,
    region: &Region,
    versions: &[Version],
) -> Result<KeyDescription, KeyError> {
    let missing = || KeyError::Missing {
        key: key.to_owned(),
    };
    let current = versions.last().ok_or_else(missing)?;
    // Tokens keep no time at which a key was made.
    let created = None;
    let told = |version: &Version| KeyVersion {
        id: version.name(),
        created,
        backed_up: true,
    };
    Ok(KeyDescription {
        id: KeyId::new(key).map_err(|_| missing())?,
        alias: None,
        region: region.clone(),
        provider: ProviderKind::Pkcs11,
        state: match current.is_usable() {
            true => KeyState::Enabled,
            false => KeyState::Disabled,
        },
        current: current.name(),
        versions: versions.iter().map(told).collect(),
        created,
        other_regions: Vec::new(),
    })
}
