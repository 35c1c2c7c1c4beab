//! What a Transit engine answers, and what that means.

use bytes::Bytes;
use hyper::Response;
use sealift_outside::{HttpError, told};
use sealift_terms::{KeyId, Region, Timestamp};
use serde_json::Value;

use crate::{EncryptionContext, KeyDescription, KeyError, KeyState, KeyVersion, ProviderKind};

/// The one type of key whose wraps are AES-256-GCM with associated data.
const KEY_TYPE: &str = "aes256-gcm96";

/// What is asked of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Keys,
    Encrypt,
    Decrypt,
}

impl Operation {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
        }
    }
}

/// The `data` of an answer, or what its status says.
pub(super) fn data(
    operation: Operation,
    key: &str,
    context: Option<&EncryptionContext>,
    response: &Response<Bytes>,
) -> Result<Value, KeyError> {
    let status = response.status().as_u16();
    let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
    let key = || key.to_owned();
    let unavailable = |error: HttpError| KeyError::Unavailable {
        key: key(),
        source: error.into(),
    };
    let errors = errors(&body);
    Err(match status {
        200 => {
            let what = "no data in its JSON";
            return match body.get("data") {
                Some(data) => Ok(data.clone()),
                None => Err(unavailable(HttpError::Shape { what })),
            };
        }
        403 => KeyError::AccessDenied {
            key: key(),
            told: told(errors.as_bytes()),
        },
        404 if errors.is_empty() => KeyError::Missing { key: key() },
        429 => KeyError::Throttled { key: key() },
        400 if errors.contains("key not found") => KeyError::Missing { key: key() },
        400 if errors.contains("disallowed by policy") => KeyError::VersionMissing {
            key: key(),
            version: "below min_decryption_version".to_owned(),
        },
        400 if operation == Operation::Decrypt && is_not_authentic(&errors) => {
            KeyError::ContextMismatch {
                expected: context.map(ToString::to_string).unwrap_or_default(),
            }
        }
        _ => unavailable(HttpError::answered(status, response.body())),
    })
}

fn errors(body: &Value) -> String {
    let errors = body.get("errors").and_then(Value::as_array);
    let errors = errors.into_iter().flatten().filter_map(Value::as_str);
    errors.collect::<Vec<_>>().join("; ")
}

fn is_not_authentic(errors: &str) -> bool {
    [
        "message authentication failed",
        "invalid ciphertext",
        "unable to decrypt",
    ]
    .iter()
    .any(|told| errors.contains(told))
}

/// A key as its engine tells it.
pub(super) fn description(
    key: &str,
    region: &Region,
    data: &Value,
) -> Result<KeyDescription, KeyError> {
    let unsuitable = |what: String| KeyError::Unsuitable {
        key: key.to_owned(),
        what,
    };
    let text = |field: &str| data.get(field).and_then(Value::as_str).unwrap_or_default();
    let is = |field: &str| data.get(field).and_then(Value::as_bool).unwrap_or(false);
    if text("type") != KEY_TYPE {
        let found = told(text("type").as_bytes());
        return Err(unsuitable(format!(
            "its type is {found:?}, wanted is {KEY_TYPE}"
        )));
    }
    if is("derived") {
        return Err(unsuitable("it is a derived key".to_owned()));
    }
    let versions = data.get("keys").and_then(Value::as_object);
    let versions = versions.into_iter().flatten();
    let mut versions: Vec<(u64, KeyVersion)> = versions
        .filter_map(|(id, created)| Some((id.parse().ok()?, version(id, created)?)))
        .collect();
    versions.sort_by_key(|(number, _)| *number);
    let versions: Vec<KeyVersion> = versions.into_iter().map(|(_, version)| version).collect();
    let current = data.get("latest_version").and_then(Value::as_u64);
    let current = current.map(|latest| latest.to_string());
    let (Some(current), Some(first)) = (current, versions.first()) else {
        return Err(unsuitable("it has no version".to_owned()));
    };
    Ok(KeyDescription {
        id: KeyId::new(key).map_err(|_| KeyError::Missing {
            key: key.to_owned(),
        })?,
        alias: None,
        region: region.clone(),
        provider: ProviderKind::Transit,
        state: match is("soft_deleted") {
            true => KeyState::Disabled,
            false => KeyState::Enabled,
        },
        current,
        created: first.created,
        versions,
        other_regions: Vec::new(),
    })
}

fn version(id: &str, created: &Value) -> Option<KeyVersion> {
    Some(KeyVersion {
        id: id.to_owned(),
        created: created.as_i64().map(Timestamp::from_secs),
        backed_up: true,
    })
}
