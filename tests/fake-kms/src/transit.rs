//! The Transit engine of Vault and OpenBao, as far as sealift asks it.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Response, http::request::Parts};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{
    Asked, Trouble, crypto,
    server::{Server, Service, respond},
};

/// When the first version of every key was made: 2026-09-21.
const CREATED: i64 = 1_790_000_000;

/// A key with its versions, out of its engine.
#[derive(Debug)]
pub struct TransitBackup(Key);

#[derive(Debug)]
struct Key {
    versions: Vec<[u8; 32]>,
    min_decryption_version: usize,
    is_soft_deleted: bool,
    kind: &'static str,
}

#[derive(Debug)]
struct State {
    token: String,
    /// Seconds that the token has left, of how many; none for one without an end.
    token_life: Option<(u64, u64)>,
    renewals: u32,
    keys: BTreeMap<String, Key>,
    asked: Vec<Asked>,
}

struct Mounted(Mutex<State>);

/// A server with one engine, mounted at `transit`.
pub struct FakeTransit {
    server: Server,
    engine: Arc<Mounted>,
    is_tls: bool,
}

impl FakeTransit {
    /// Starts one that lets in whoever shows this token; over TLS when there is a file
    /// to write its root to.
    #[must_use]
    pub fn start(token: &str, roots: Option<&Path>) -> Self {
        let engine = Arc::new(Mounted(Mutex::new(State {
            token: token.to_owned(),
            token_life: None,
            renewals: 0,
            keys: BTreeMap::new(),
            asked: Vec::new(),
        })));
        Self {
            server: Server::start(engine.clone(), roots),
            engine,
            is_tls: roots.is_some(),
        }
    }

    /// Its address, as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.server.address)
    }

    /// What is wrong with it from now on.
    pub fn trouble(&self, trouble: Trouble) {
        *self.server.trouble.lock() = trouble;
    }

    /// Makes a key.
    pub fn create(&self, name: &str) {
        self.create_of(name, "aes256-gcm96");
    }

    /// Makes a key of another type.
    pub fn create_of(&self, name: &str, kind: &'static str) {
        let key = Key {
            versions: vec![crypto::random()],
            min_decryption_version: 1,
            is_soft_deleted: false,
            kind,
        };
        self.engine.0.lock().keys.insert(name.to_owned(), key);
    }

    /// Destroys a key.
    pub fn delete(&self, name: &str) {
        self.engine.0.lock().keys.remove(name);
    }

    /// Takes a key away, as its deletion does after a backup.
    #[must_use]
    pub fn take_away(&self, name: &str) -> TransitBackup {
        let key = self.engine.0.lock().keys.remove(name);
        TransitBackup(key.expect("the test made this key"))
    }

    /// Restores a key from its backup.
    pub fn restore(&self, name: &str, backup: TransitBackup) {
        self.engine.0.lock().keys.insert(name.to_owned(), backup.0);
    }

    /// Gives a key a new version.
    pub fn rotate(&self, name: &str) {
        self.change(name, |key| key.versions.push(crypto::random()));
    }

    /// Stops all use of a key, or lets it be used again.
    pub fn soft_delete(&self, name: &str, is_deleted: bool) {
        self.change(name, |key| key.is_soft_deleted = is_deleted);
    }

    /// Versions below this one open nothing any more.
    pub fn min_decryption_version(&self, name: &str, version: usize) {
        self.change(name, |key| key.min_decryption_version = version);
    }

    /// Lets in whoever shows this token from now on.
    pub fn set_token(&self, token: &str) {
        self.engine.0.lock().token = token.to_owned();
    }

    /// What the token has left, of how many seconds.
    pub fn set_token_life(&self, left: u64, of: u64) {
        self.engine.0.lock().token_life = Some((left, of));
    }

    /// How often the token was renewed.
    #[must_use]
    pub fn renewals(&self) -> u32 {
        self.engine.0.lock().renewals
    }

    /// Every call that was let in so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.engine.0.lock().asked.clone()
    }

    fn change(&self, name: &str, act: impl FnOnce(&mut Key)) {
        let mut state = self.engine.0.lock();
        act(state.keys.get_mut(name).expect("the test made this key"));
    }
}

type Answer = Response<Full<Bytes>>;

fn json_answer(status: u16, body: &Value) -> Answer {
    respond(status, "application/json", body.to_string())
}

fn errors(status: u16, told: &[&str]) -> Answer {
    json_answer(status, &json!({ "errors": told }))
}

fn data(data: Value) -> Answer {
    json_answer(
        200,
        &json!({
            "request_id": "7b0d2a5c-0000-4000-8000-000000000000",
            "lease_id": "", "renewable": false, "lease_duration": 0,
            "data": data,
            "wrap_info": null, "warnings": null, "auth": null,
        }),
    )
}

impl Service for Mounted {
    fn answer(&self, parts: &Parts, body: &[u8]) -> Answer {
        let mut state = self.0.lock();
        let token = parts.headers.get("x-vault-token");
        if token.and_then(|token| token.to_str().ok()) != Some(&state.token) {
            return errors(403, &["permission denied"]);
        }
        let path: Vec<&str> = parts
            .uri
            .path()
            .trim_start_matches('/')
            .split('/')
            .collect();
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        match (&parts.method, path.as_slice()) {
            (&Method::GET, ["v1", "auth", "token", "lookup-self"]) => state.lookup(),
            (&Method::POST, ["v1", "auth", "token", "renew-self"]) => state.renew(),
            (method, ["v1", "transit", operation, name]) => {
                state.asked.push(Asked {
                    call: format!("{method} {operation}"),
                    key: (*name).to_owned(),
                });
                match (method, *operation) {
                    (&Method::GET, "keys") => state.read(name),
                    (&Method::POST, "encrypt") => state.encrypt(name, &body),
                    (&Method::POST, "decrypt") => state.decrypt(name, &body),
                    _ => errors(405, &["unsupported operation"]),
                }
            }
            _ => errors(404, &["no handler for route"]),
        }
    }

    fn throttled(&self) -> Answer {
        errors(
            429,
            &["request path \"transit\": rate limit quota exceeded"],
        )
    }

    fn denied(&self) -> Answer {
        errors(403, &["1 error occurred:\n\t* permission denied\n\n"])
    }

    fn broken(&self) -> Answer {
        errors(503, &["Vault is sealed"])
    }
}

impl State {
    fn lookup(&self) -> Answer {
        let (left, of) = self.token_life.unwrap_or((0, 0));
        data(json!({
            "ttl": left, "creation_ttl": of, "renewable": self.token_life.is_some(),
            "policies": ["sealift"], "type": "service",
        }))
    }

    fn renew(&mut self) -> Answer {
        let Some((left, of)) = &mut self.token_life else {
            return errors(400, &["lease is not renewable"]);
        };
        *left = *of;
        self.renewals += 1;
        json_answer(
            200,
            &json!({"auth": {"renewable": true, "lease_duration": self.token_life}}),
        )
    }

    fn read(&self, name: &str) -> Answer {
        let Some(key) = self.keys.get(name) else {
            return errors(404, &[]);
        };
        let versions = (1..).zip(&key.versions);
        let versions = versions.filter(|(version, _)| *version >= key.min_decryption_version);
        let versions: BTreeMap<String, i64> = versions
            .map(|(version, _)| (version.to_string(), CREATED + version as i64))
            .collect();
        data(json!({
            "name": name, "type": key.kind, "derived": false, "deletion_allowed": false,
            "exportable": false, "allow_plaintext_backup": false, "imported_key": false,
            "supports_encryption": true, "supports_decryption": true, "supports_signing": false,
            "supports_derivation": true, "auto_rotate_period": 0, "min_available_version": 0,
            "min_encryption_version": 0, "min_decryption_version": key.min_decryption_version,
            "latest_version": key.versions.len(), "keys": versions,
            "soft_deleted": key.is_soft_deleted,
        }))
    }

    fn usable(&mut self, name: &str) -> Result<&mut Key, Answer> {
        let key = self.keys.get_mut(name);
        let key = key.ok_or_else(|| errors(400, &["encryption key not found"]))?;
        match key.is_soft_deleted {
            true => Err(errors(
                400,
                &["key is soft deleted; restore to use this key"],
            )),
            false => Ok(key),
        }
    }

    fn encrypt(&mut self, name: &str, body: &Value) -> Answer {
        let key = match self.usable(name) {
            Ok(key) => key,
            Err(answer) => return answer,
        };
        let (Some(plaintext), Some(aad)) =
            (bytes(body, "plaintext"), bytes(body, "associated_data"))
        else {
            return errors(400, &["failed to base64-decode plaintext"]);
        };
        let Some(material) = key.versions.last() else {
            return errors(500, &["internal error"]);
        };
        let sealed = STANDARD.encode(crypto::seal(material, &aad, &plaintext));
        let version = key.versions.len();
        data(json!({"ciphertext": format!("vault:v{version}:{sealed}"), "key_version": version}))
    }

    fn decrypt(&mut self, name: &str, body: &Value) -> Answer {
        let key = match self.usable(name) {
            Ok(key) => key,
            Err(answer) => return answer,
        };
        let text = body
            .get("ciphertext")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let Some((version, sealed)) = text.strip_prefix("vault:v").and_then(|t| t.split_once(':'))
        else {
            return errors(400, &["invalid ciphertext: no prefix"]);
        };
        let Ok(version) = version.parse::<usize>() else {
            return errors(
                400,
                &["invalid ciphertext: version number could not be decoded"],
            );
        };
        if version < key.min_decryption_version {
            let told = "ciphertext or signature version is disallowed by policy (too old)";
            return errors(400, &[told]);
        }
        let material = version.checked_sub(1).and_then(|at| key.versions.get(at));
        let Some(material) = material else {
            return errors(400, &["invalid ciphertext: version is too new"]);
        };
        let Ok(sealed) = STANDARD.decode(sealed) else {
            return errors(400, &["invalid ciphertext: could not decode base64"]);
        };
        let aad = bytes(body, "associated_data").unwrap_or_default();
        match crypto::open(material, &aad, &sealed) {
            Some(plaintext) => data(json!({"plaintext": STANDARD.encode(plaintext)})),
            None => errors(400, &["cipher: message authentication failed"]),
        }
    }
}

fn bytes(body: &Value, field: &str) -> Option<Vec<u8>> {
    let text = body.get(field)?.as_str()?;
    STANDARD.decode(text).ok()
}
