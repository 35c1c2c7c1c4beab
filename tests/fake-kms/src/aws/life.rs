//! What becomes of keys.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Caller, Exception, State,
    keys::{Grant, Key, KeyState, Material, Regions, text},
};
use crate::{crypto, signature::hex};

const DAY: u64 = 86_400;
/// Rotations on demand of one key.
const ROTATIONS_MAX: usize = 25;

fn invalid_state(key: &Key) -> Exception {
    (
        "KMSInvalidStateException",
        format!("{} is {:?}.", key.arn(), key.state),
    )
}

impl State {
    pub(super) fn create(&mut self, caller: &Caller, body: &Value) -> Result<Value, Exception> {
        let made = self.now();
        let is_multi = body.get("MultiRegion").and_then(Value::as_bool) == Some(true);
        let prefix = if is_multi { "mrk-" } else { "" };
        let key = Key {
            id: format!("{prefix}{}", hex(&crypto::random::<16>())),
            region: caller.region.clone(),
            state: KeyState::Enabled,
            regions: if is_multi {
                Regions::Primary
            } else {
                Regions::One
            },
            made,
            material: Arc::new(vec![Material::new(made)].into()),
            grants: Vec::new(),
        };
        let metadata = key.metadata();
        self.keys
            .insert((caller.region.clone(), key.id.clone()), key);
        Ok(json!({ "KeyMetadata": metadata }))
    }

    pub(super) fn describe(&mut self, caller: &Caller, body: &Value) -> Result<Value, Exception> {
        Ok(json!({ "KeyMetadata": self.key(caller, body)?.metadata() }))
    }

    pub(super) fn alias(&mut self, caller: &Caller, body: &Value) -> Result<Value, Exception> {
        let target = json!({ "KeyId": text(body, "TargetKeyId") });
        let id = self.id_of(caller, &target)?;
        let name = (caller.region.clone(), text(body, "AliasName").to_owned());
        match self.aliases.insert(name, id) {
            None => Ok(json!({})),
            Some(_) => Err(("AlreadyExistsException", "the alias exists".to_owned())),
        }
    }

    pub(super) fn point_alias(
        &mut self,
        caller: &Caller,
        body: &Value,
    ) -> Result<Value, Exception> {
        let id = self.id_of(caller, &json!({ "KeyId": text(body, "TargetKeyId") }))?;
        let name = (caller.region.clone(), text(body, "AliasName").to_owned());
        match self.aliases.get_mut(&name) {
            Some(target) => *target = id,
            None => return Err(("NotFoundException", "there is no such alias".to_owned())),
        }
        Ok(json!({}))
    }

    pub(super) fn enable(&mut self, caller: &Caller, body: &Value) -> Result<Value, Exception> {
        self.switch(caller, body, KeyState::Enabled)
    }

    pub(super) fn disable(&mut self, caller: &Caller, body: &Value) -> Result<Value, Exception> {
        self.switch(caller, body, KeyState::Disabled)
    }

    fn switch(&mut self, caller: &Caller, body: &Value, to: KeyState) -> Result<Value, Exception> {
        let key = self.key(caller, body)?;
        if let KeyState::PendingDeletion(_) = key.state {
            return Err(invalid_state(key));
        }
        key.state = to;
        Ok(json!({}))
    }

    pub(super) fn schedule_deletion(
        &mut self,
        caller: &Caller,
        body: &Value,
    ) -> Result<Value, Exception> {
        let days = body
            .get("PendingWindowInDays")
            .and_then(Value::as_u64)
            .unwrap_or(30);
        if !(7..=30).contains(&days) {
            let told = "PendingWindowInDays must be between 7 and 30 (inclusive)";
            return Err(("ValidationException", told.to_owned()));
        }
        let at = self.now() + days * DAY;
        let key = self.key(caller, body)?;
        if let KeyState::PendingDeletion(_) = key.state {
            return Err(invalid_state(key));
        }
        key.state = KeyState::PendingDeletion(at);
        Ok(json!({
            "KeyId": key.arn(), "DeletionDate": at as f64,
            "KeyState": "PendingDeletion", "PendingWindowInDays": days,
        }))
    }

    pub(super) fn cancel_deletion(
        &mut self,
        caller: &Caller,
        body: &Value,
    ) -> Result<Value, Exception> {
        let key = self.key(caller, body)?;
        if !matches!(key.state, KeyState::PendingDeletion(_)) {
            return Err(invalid_state(key));
        }
        key.state = KeyState::Disabled;
        Ok(json!({ "KeyId": key.arn() }))
    }

    /// Keys whose time has come.
    pub(super) fn delete_what_is_due(&mut self) {
        let now = self.now();
        let is_due = |key: &Key| matches!(key.state, KeyState::PendingDeletion(at) if at <= now);
        self.keys.retain(|_, key| !is_due(key));
    }

    pub(super) fn rotate(&mut self, caller: &Caller, body: &Value) -> Result<Value, Exception> {
        let now = self.now();
        let key = self.key(caller, body)?;
        key.usable()?;
        if key.regions == Regions::Replica {
            let told = "a replica rotates with its primary";
            return Err(("UnsupportedOperationException", told.to_owned()));
        }
        let mut material = key.material.lock();
        if material.len() > ROTATIONS_MAX {
            return Err((
                "LimitExceededException",
                "25 rotations on demand".to_owned(),
            ));
        }
        material.push(Material::new(now));
        drop(material);
        Ok(json!({ "KeyId": key.arn() }))
    }

    pub(super) fn rotations(&mut self, caller: &Caller, body: &Value) -> Result<Value, Exception> {
        let key = self.key(caller, body)?;
        let arn = key.arn();
        let material = key.material.lock();
        let rotations: Vec<Value> = material
            .iter()
            .skip(1)
            .map(|material| {
                json!({
                    "KeyId": arn, "KeyMaterialId": material.id, "RotationType": "ON_DEMAND",
                    "RotationDate": material.made as f64,
                })
            })
            .collect();
        Ok(json!({ "Rotations": rotations, "Truncated": false }))
    }

    pub(super) fn replicate(&mut self, caller: &Caller, body: &Value) -> Result<Value, Exception> {
        let made = self.now();
        let key = self.key(caller, body)?;
        if key.regions != Regions::Primary {
            let told = "only a primary key is replicated";
            return Err(("UnsupportedOperationException", told.to_owned()));
        }
        let replica = Key {
            id: key.id.clone(),
            region: text(body, "ReplicaRegion").to_owned(),
            state: KeyState::Enabled,
            regions: Regions::Replica,
            made,
            material: key.material.clone(),
            grants: Vec::new(),
        };
        let place = (replica.region.clone(), replica.id.clone());
        if self.keys.contains_key(&place) {
            return Err(("AlreadyExistsException", "the replica exists".to_owned()));
        }
        let metadata = replica.metadata();
        self.keys.insert(place, replica);
        Ok(json!({ "ReplicaKeyMetadata": metadata }))
    }

    pub(super) fn grant(&mut self, caller: &Caller, body: &Value) -> Result<Value, Exception> {
        let operations = body.get("Operations").and_then(Value::as_array);
        let operations = operations.into_iter().flatten().filter_map(Value::as_str);
        let grant = Grant {
            id: hex(&crypto::random::<32>()),
            grantee: text(body, "GranteePrincipal").to_owned(),
            operations: operations.map(str::to_owned).collect(),
        };
        let answer = json!({ "GrantId": grant.id, "GrantToken": grant.id });
        self.key(caller, body)?.grants.push(grant);
        Ok(answer)
    }

    pub(super) fn grants(&mut self, caller: &Caller, body: &Value) -> Result<Value, Exception> {
        let key = self.key(caller, body)?;
        let arn = key.arn();
        let grants = key.grants.iter().map(|grant| {
            json!({
                "KeyId": arn, "GrantId": grant.id, "GranteePrincipal": grant.grantee,
                "Operations": grant.operations,
            })
        });
        Ok(json!({ "Grants": grants.collect::<Vec<_>>(), "Truncated": false }))
    }
}
