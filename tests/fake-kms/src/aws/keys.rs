//! Keys: which one is meant, what it is made of, what is told of it.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{ACCOUNT, Caller, Exception, State};
use crate::{crypto, signature::hex};

/// What a key is made of: multi-region keys share it.
#[derive(Debug)]
pub(super) struct Material {
    pub(super) id: String,
    pub(super) bytes: [u8; 32],
    /// Seconds since 1970.
    pub(super) made: u64,
}

impl Material {
    pub(super) fn new(made: u64) -> Self {
        Self {
            id: hex(&crypto::random::<32>()),
            bytes: crypto::random(),
            made,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyState {
    Enabled,
    Disabled,
    /// Deleted at this second since 1970.
    PendingDeletion(u64),
}

/// Whether a key is of several regions, and in which role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Regions {
    One,
    Primary,
    Replica,
}

#[derive(Debug)]
pub(super) struct Grant {
    pub(super) id: String,
    pub(super) grantee: String,
    pub(super) operations: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) region: String,
    pub(super) state: KeyState,
    pub(super) regions: Regions,
    pub(super) made: u64,
    pub(super) material: Arc<Mutex<Vec<Material>>>,
    pub(super) grants: Vec<Grant>,
}

impl Key {
    pub(super) fn arn(&self) -> String {
        format!("arn:aws:kms:{}:{ACCOUNT}:key/{}", self.region, self.id)
    }

    pub(super) fn grants_to(&self, grantee: &str, operation: &str) -> bool {
        let to = |grant: &&Grant| grant.grantee.ends_with(grantee);
        let mut grants = self.grants.iter().filter(to);
        grants.any(|grant| grant.operations.iter().any(|granted| granted == operation))
    }

    pub(super) fn metadata(&self) -> Value {
        let material = self.material.lock();
        let mut metadata = json!({
            "AWSAccountId": ACCOUNT, "KeyId": self.id, "Arn": self.arn(),
            "CreationDate": self.made as f64, "Enabled": self.state == KeyState::Enabled,
            "Description": "", "KeyUsage": "ENCRYPT_DECRYPT", "KeyManager": "CUSTOMER",
            "KeyState": match self.state {
                KeyState::Enabled => "Enabled",
                KeyState::Disabled => "Disabled",
                KeyState::PendingDeletion(_) => "PendingDeletion",
            },
            "Origin": "AWS_KMS", "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
            "KeySpec": "SYMMETRIC_DEFAULT", "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
            "MultiRegion": self.regions != Regions::One,
            "CurrentKeyMaterialId": material.last().map(|material| material.id.clone()),
        });
        let more = metadata.as_object_mut().expect("it is an object");
        if let KeyState::PendingDeletion(at) = self.state {
            more.insert("DeletionDate".to_owned(), json!(at as f64));
        }
        metadata
    }

    pub(super) fn usable(&self) -> Result<(), Exception> {
        match self.state {
            KeyState::Enabled => Ok(()),
            KeyState::Disabled => {
                Err(("DisabledException", format!("{} is disabled.", self.arn())))
            }
            KeyState::PendingDeletion(_) => Err((
                "KMSInvalidStateException",
                format!("{} is pending deletion.", self.arn()),
            )),
        }
    }
}

pub(super) fn text<'a>(body: &'a Value, member: &str) -> &'a str {
    body.get(member).and_then(Value::as_str).unwrap_or_default()
}

impl State {
    /// The id of the key that is meant: by id, ARN, alias or alias ARN, in the caller's region.
    pub(super) fn id_of(&self, caller: &Caller, body: &Value) -> Result<String, Exception> {
        let named = text(body, "KeyId");
        let not_found = || ("NotFoundException", format!("Key {named:?} does not exist"));
        let local = match named.split(':').collect::<Vec<_>>().as_slice() {
            ["arn", _, "kms", region, _, local] if *region == caller.region => *local,
            ["arn", _, "kms", region, _, _] => {
                return Err(("NotFoundException", format!("Invalid arn {region}")));
            }
            _ => named,
        };
        let id = match local.starts_with("alias/") {
            true => {
                let alias = (caller.region.clone(), local.to_owned());
                self.aliases.get(&alias).ok_or_else(not_found)?.clone()
            }
            false => local.trim_start_matches("key/").to_owned(),
        };
        match self.keys.contains_key(&(caller.region.clone(), id.clone())) {
            true => Ok(id),
            false => Err(not_found()),
        }
    }

    pub(super) fn key(&mut self, caller: &Caller, body: &Value) -> Result<&mut Key, Exception> {
        let id = self.id_of(caller, body)?;
        let key = self.keys.get_mut(&(caller.region.clone(), id));
        key.ok_or_else(|| ("NotFoundException", "the key is gone".to_owned()))
    }
}
