//! What keys are used for. A ciphertext is the id of the material (32 bytes), then nonce,
//! ciphertext and tag.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    Caller, Exception, State,
    keys::{Key, text},
};
use crate::{crypto, signature::hex};

const MATERIAL_ID_BYTES: usize = 32;
const PLAINTEXT_BYTES_MAX: usize = 4096;

/// The context as bytes that differ when it does.
fn aad(context: Option<&Value>) -> Vec<u8> {
    let sorted: std::collections::BTreeMap<String, Value> = context
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    json!(sorted).to_string().into_bytes()
}

fn bytes(body: &Value, member: &str) -> Vec<u8> {
    STANDARD.decode(text(body, member)).unwrap_or_default()
}

/// The wrap under the current material, and the material's id.
fn wrap(key: &Key, plaintext: &[u8], context: Option<&Value>) -> (String, String) {
    let material = key.material.lock();
    let current = material.last().expect("a key has material");
    let id: Vec<u8> = (0..MATERIAL_ID_BYTES)
        .filter_map(|at| u8::from_str_radix(current.id.get(2 * at..2 * at + 2)?, 16).ok())
        .collect();
    let sealed = crypto::seal(&current.bytes, &aad(context), plaintext);
    (STANDARD.encode([id, sealed].concat()), current.id.clone())
}

impl State {
    pub(super) fn encrypt(&mut self, caller: &Caller, body: &Value) -> Result<Value, Exception> {
        let plaintext = bytes(body, "Plaintext");
        if plaintext.is_empty() || plaintext.len() > PLAINTEXT_BYTES_MAX {
            return Err((
                "ValidationException",
                "Plaintext of 1 to 4096 bytes".to_owned(),
            ));
        }
        let key = self.key(caller, body)?;
        key.usable()?;
        let (ciphertext, _) = wrap(key, &plaintext, body.get("EncryptionContext"));
        Ok(json!({
            "CiphertextBlob": ciphertext, "KeyId": key.arn(),
            "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        }))
    }

    pub(super) fn generate(&mut self, caller: &Caller, body: &Value) -> Result<Value, Exception> {
        let length = match text(body, "KeySpec") {
            "AES_256" => 32,
            "AES_128" => 16,
            _ => {
                return Err((
                    "ValidationException",
                    "KeySpec is AES_256 or AES_128".to_owned(),
                ));
            }
        };
        let key = self.key(caller, body)?;
        key.usable()?;
        let plaintext: [u8; 32] = crypto::random();
        let plaintext = plaintext.get(..length).unwrap_or_default();
        let (ciphertext, material) = wrap(key, plaintext, body.get("EncryptionContext"));
        Ok(json!({
            "CiphertextBlob": ciphertext, "Plaintext": STANDARD.encode(plaintext),
            "KeyId": key.arn(), "KeyMaterialId": material,
        }))
    }

    /// Plaintext, ARN of the key and id of its material.
    fn opened(
        &self,
        caller: &Caller,
        wanted: Option<String>,
        ciphertext: &[u8],
        context: Option<&Value>,
    ) -> Result<(Vec<u8>, String, String), Exception> {
        let invalid = || ("InvalidCiphertextException", String::new());
        let (id, sealed) = ciphertext
            .split_at_checked(MATERIAL_ID_BYTES)
            .ok_or_else(invalid)?;
        let id = hex(id);
        let holds = |key: &&Key| {
            let material = key.material.lock();
            key.region == caller.region && material.iter().any(|material| material.id == id)
        };
        let key = self.keys.values().find(holds).ok_or_else(invalid)?;
        if wanted.is_some_and(|wanted| wanted != key.id) {
            let told = "The key ID in the request does not identify a CMK that can perform this operation.";
            return Err(("IncorrectKeyException", told.to_owned()));
        }
        key.usable()?;
        let material = key.material.lock();
        let material = material
            .iter()
            .find(|material| material.id == id)
            .ok_or_else(invalid)?;
        let plaintext = crypto::open(&material.bytes, &aad(context), sealed).ok_or_else(invalid)?;
        Ok((plaintext, key.arn(), id))
    }

    pub(super) fn decrypt(&mut self, caller: &Caller, body: &Value) -> Result<Value, Exception> {
        let wanted = match body.get("KeyId") {
            Some(_) => {
                self.key(caller, body)?.usable()?;
                Some(self.id_of(caller, body)?)
            }
            None => None,
        };
        let ciphertext = bytes(body, "CiphertextBlob");
        let context = body.get("EncryptionContext");
        let (plaintext, arn, material) = self.opened(caller, wanted, &ciphertext, context)?;
        Ok(json!({
            "Plaintext": STANDARD.encode(plaintext), "KeyId": arn,
            "EncryptionAlgorithm": "SYMMETRIC_DEFAULT", "KeyMaterialId": material,
        }))
    }

    pub(super) fn re_encrypt(&mut self, caller: &Caller, body: &Value) -> Result<Value, Exception> {
        let ciphertext = bytes(body, "CiphertextBlob");
        let source = body.get("SourceEncryptionContext");
        let (plaintext, from, before) = self.opened(caller, None, &ciphertext, source)?;
        let target = json!({ "KeyId": text(body, "DestinationKeyId") });
        let key = self.key(caller, &target)?;
        key.usable()?;
        let (ciphertext, after) = wrap(key, &plaintext, body.get("DestinationEncryptionContext"));
        Ok(json!({
            "CiphertextBlob": ciphertext, "SourceKeyId": from, "KeyId": key.arn(),
            "SourceKeyMaterialId": before, "DestinationKeyMaterialId": after,
            "SourceEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
            "DestinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        }))
    }
}
