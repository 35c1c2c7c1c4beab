//! A key as `DescribeKey` tells it.

use sealift_outside::told;
use sealift_terms::{KeyAlias, KeyId, Region, Timestamp};
use serde_json::Value;

use super::{UNVERSIONED, answers::text, missing};
use crate::{KeyDescription, KeyError, KeyState, KeyVersion, ProviderKind};

pub(super) fn description(
    key: &str,
    region: &Region,
    metadata: &Value,
) -> Result<KeyDescription, KeyError> {
    let (spec, usage) = (text(metadata, "KeySpec"), text(metadata, "KeyUsage"));
    if (spec, usage) != (Some("SYMMETRIC_DEFAULT"), Some("ENCRYPT_DECRYPT")) {
        let found = format!("{} {}", spec.unwrap_or_default(), usage.unwrap_or_default());
        return Err(KeyError::Unsuitable {
            key: key.to_owned(),
            what: format!(
                "it is {:?}, wanted is SYMMETRIC_DEFAULT ENCRYPT_DECRYPT",
                told(found.as_bytes())
            ),
        });
    }
    if text(metadata, "KeyManager") == Some("AWS") {
        return Err(KeyError::Unsuitable {
            key: key.to_owned(),
            what: "AWS manages it for one of its services (alias/aws/…): wanted is a customer managed key".to_owned(),
        });
    }
    let arn = text(metadata, "Arn").unwrap_or_default();
    let created = metadata.get("CreationDate").and_then(Value::as_f64);
    let created = created.map(|secs| Timestamp::from_millis(millis(secs)));
    let current = text(metadata, "CurrentKeyMaterialId").unwrap_or(UNVERSIONED);
    let alias = key.starts_with("alias/").then(|| KeyAlias::new(key).ok());
    Ok(KeyDescription {
        id: KeyId::new(arn).map_err(|_| missing(key))?,
        alias: alias.flatten(),
        region: region.clone(),
        provider: ProviderKind::AwsKms,
        state: state(text(metadata, "KeyState").unwrap_or_default()),
        current: current.to_owned(),
        // Older material opens as before; AWS tells its ids, and when it was made, to those
        // alone who may list rotations.
        versions: vec![KeyVersion {
            id: current.to_owned(),
            created: None,
            backed_up: true,
        }],
        created,
        other_regions: Vec::new(),
    })
}

/// Seconds as AWS writes them, with a fraction.
fn millis(secs: f64) -> i64 {
    // Saturates.
    (secs * 1000.0) as i64
}

fn state(word: &str) -> KeyState {
    match word {
        "Enabled" => KeyState::Enabled,
        "Disabled" => KeyState::Disabled,
        "PendingDeletion" => KeyState::PendingDeletion,
        "PendingReplicaDeletion" => KeyState::PendingReplicaDeletion,
        "PendingImport" => KeyState::PendingImport,
        "Creating" | "Updating" => KeyState::Updating,
        _ => KeyState::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_that_aws_manages_is_refused() {
        let region = Region::new("eu-west-1").unwrap();
        let of = |manager: &str| {
            let metadata = json!({
                "Arn": "arn:aws:kms:eu-west-1:1:key/a", "KeySpec": "SYMMETRIC_DEFAULT",
                "KeyUsage": "ENCRYPT_DECRYPT", "KeyManager": manager, "KeyState": "Enabled",
            });
            description("a", &region, &metadata)
        };
        let refused = of("AWS").unwrap_err();
        assert!(refused.to_string().contains("AWS manages it"), "{refused}");
        of("CUSTOMER").unwrap();
    }
}
