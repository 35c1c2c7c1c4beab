//! The key provider `transit`: the Transit engine of Vault or OpenBao.
//!
//! ```text
//!   describe ─▶ GET  MOUNT/keys/NAME           (and now and then the token: lookup-self, renew-self)
//!   wrap ─────▶ POST MOUNT/encrypt/NAME        plaintext, associated_data = the context's canonical bytes
//!   unwrap ───▶ POST MOUNT/decrypt/NAME        ciphertext, associated_data
//! ```
//!
//! A CMK is a key of type `aes256-gcm96`; its id is its name, its versions are 1, 2 …; what
//! is wrapped is Transit's own text, `vault:vN:…`. Encrypting under a name that does not
//! exist makes such a key where the token's policy has `create`: it is to have `update` alone.

mod answers;
mod token;

use std::{fmt, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hyper::{Method, Request, Response, header::HeaderValue};
use sealift_outside::{Bounds, Endpoint, HttpClient, HttpError};
use sealift_seal::RecordKey;
use sealift_terms::{Clock, KeyId, Region, limits::WRAPPED_BYTES_MAX};
use serde_json::{Value, json};
use tokio_rustls::rustls::ClientConfig;
use zeroize::Zeroizing;

use crate::{
    EncryptionContext, KeyDescription, KeyError, KeyProvider, ProviderKind, Wrapped,
    transit::{answers::Operation, token::Token},
    wraps::WrapCounter,
};

/// Where an engine is, and as whom it is asked.
#[derive(Debug, Clone)]
pub struct TransitSettings {
    /// The server.
    pub endpoint: Endpoint,
    /// Where the engine is mounted, as in `transit`.
    pub mount: String,
    /// The namespace, where the server has some.
    pub namespace: Option<String>,
    /// The file with the token, readable by its owner alone. It is read for every call, so
    /// that one that is replaced is used at once.
    pub token_file: PathBuf,
    /// The region of the site, whose keys these are.
    pub region: Region,
}

/// Keys in a Transit engine.
pub struct Transit {
    settings: TransitSettings,
    http: HttpClient,
    token: Token,
    wraps: Arc<WrapCounter>,
}

impl fmt::Debug for Transit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Transit({}, {})",
            self.settings.endpoint, self.settings.mount
        )
    }
}

impl Transit {
    /// An engine that is asked over TLS under `tls`, which says whom to trust; one on
    /// loopback may do without.
    #[must_use]
    pub fn new(
        settings: TransitSettings,
        tls: Option<Arc<ClientConfig>>,
        clock: Arc<dyn Clock>,
        wraps: Arc<WrapCounter>,
    ) -> Self {
        Self {
            http: HttpClient::new(settings.endpoint.clone(), tls, Bounds::USUAL),
            token: Token::new(settings.token_file.clone(), clock),
            settings,
            wraps,
        }
    }

    /// Asks below `/v1/`; gives status and answer of whatever was answered.
    async fn ask(
        &self,
        key: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Response<Bytes>, KeyError> {
        let unavailable = |error: HttpError| unavailable(key, error);
        let shape = |what| unavailable(HttpError::Shape { what });
        let token = self.token.read()?;
        let mut token = HeaderValue::from_bytes(token.trim_ascii())
            .map_err(|_| shape("the token holds what no header may"))?;
        token.set_sensitive(true);
        let body = body.map(|body| Zeroizing::new(body.to_string().into_bytes()));
        let body = body.map_or_else(Bytes::new, Bytes::from_owner);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/v1/{path}"))
            .header("x-vault-token", token)
            .header("x-vault-request", "true")
            .header("content-type", "application/json");
        if let Some(namespace) = &self.settings.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        let request = request.body(body);
        let request = request.map_err(|_| shape("the request cannot be written"))?;
        self.http.ask(request).await.map_err(unavailable)
    }

    async fn operate(
        &self,
        operation: Operation,
        key: &str,
        body: Option<Value>,
        context: Option<&EncryptionContext>,
    ) -> Result<Value, KeyError> {
        // It becomes a part of the path.
        if !is_name(key) {
            let key = key.to_owned();
            return Err(KeyError::Missing { key });
        }
        let method = match operation {
            Operation::Keys => Method::GET,
            _ => Method::POST,
        };
        let path = format!("{}/{}/{key}", self.settings.mount, operation.as_str());
        let response = self.ask(key, method, &path, body).await?;
        answers::data(operation, key, context, &response)
    }

    /// What the key's state says of an answer that says nothing itself.
    async fn explained(&self, key: &str, error: KeyError) -> KeyError {
        match self.describe(key).await {
            Ok(described) if !described.state.is_usable() => KeyError::NotUsable {
                key: key.to_owned(),
                state: described.state,
            },
            _ => error,
        }
    }

    /// Looks at the token when that is due, and has it renewed in time. A token that cannot
    /// be looked at is none of a key's trouble, as long as the keys can be used with it.
    async fn look_after_token(&self, key: &str) {
        if !self.token.is_due() {
            return;
        }
        let looked = self.ask(key, Method::GET, "auth/token/lookup-self", None);
        let Ok(looked) = looked.await else {
            return;
        };
        if self.token.wants_renewal(&looked) {
            let body = Some(json!({}));
            let _ = self
                .ask(key, Method::POST, "auth/token/renew-self", body)
                .await;
        }
    }
}

#[async_trait]
impl KeyProvider for Transit {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Transit
    }

    async fn describe(&self, key: &str) -> Result<KeyDescription, KeyError> {
        self.look_after_token(key).await;
        let data = self.operate(Operation::Keys, key, None, None).await?;
        answers::description(key, &self.settings.region, &data)
    }

    async fn wrap(
        &self,
        key: &str,
        record_key: &RecordKey,
        context: &EncryptionContext,
    ) -> Result<Wrapped, KeyError> {
        let cmk = KeyId::new(key).map_err(|_| missing(key))?;
        // Which version it will be is known only afterwards: the newest known one is counted.
        let described = self.describe(key).await?;
        if !described.state.is_usable() {
            let (key, state) = (key.to_owned(), described.state);
            return Err(KeyError::NotUsable { key, state });
        }
        let (wraps, counted) = (self.wraps.clone(), described.current);
        let name = format!("{}/{key}", self.kind());
        let counting = tokio::task::spawn_blocking(move || wraps.count(&name, &counted));
        counting.await.map_err(|error| unavailable(key, error))??;
        let plaintext = Zeroizing::new(STANDARD.encode(record_key.as_bytes()));
        let body = json!({
            "plaintext": plaintext.as_str(),
            "associated_data": STANDARD.encode(context.aad()),
        });
        let data = self
            .operate(Operation::Encrypt, key, Some(body), Some(context))
            .await?;
        let text = data.get("ciphertext").and_then(Value::as_str);
        let text = text.unwrap_or_default();
        let version = version_of(text).filter(|_| text.len() <= WRAPPED_BYTES_MAX);
        let what = "no ciphertext as in vault:v1:…";
        let version = version.ok_or_else(|| unavailable(key, HttpError::Shape { what }))?;
        Ok(Wrapped {
            provider: self.kind(),
            cmk,
            cmk_version: version.to_owned(),
            bytes: text.as_bytes().to_vec(),
        })
    }

    async fn unwrap(
        &self,
        wrapped: &Wrapped,
        context: &EncryptionContext,
    ) -> Result<RecordKey, KeyError> {
        wrapped.is_of(self.kind())?;
        let mismatch = || KeyError::ContextMismatch {
            expected: context.to_string(),
        };
        let text = str::from_utf8(&wrapped.bytes).map_err(|_| mismatch())?;
        if version_of(text) != Some(&wrapped.cmk_version) {
            return Err(mismatch());
        }
        let body = json!({
            "ciphertext": text,
            "associated_data": STANDARD.encode(context.aad()),
        });
        let key = wrapped.cmk.as_str();
        let asked = self.operate(Operation::Decrypt, key, Some(body), Some(context));
        let data = match asked.await {
            Err(error) if is_unexplained(&error) => Err(self.explained(key, error).await),
            answered => answered,
        }?;
        let plaintext = data.get("plaintext").and_then(Value::as_str);
        let bytes = Zeroizing::new(
            STANDARD
                .decode(plaintext.unwrap_or_default())
                .unwrap_or_default(),
        );
        let bytes: &[u8; 32] = bytes.as_slice().try_into().map_err(|_| mismatch())?;
        Ok(RecordKey::new(*bytes))
    }

    async fn reached(&self, key: &str) -> Result<Option<String>, KeyError> {
        self.describe(key).await?;
        let reached = self.http.reached();
        Ok(Some(match self.token.life_left() {
            Some(secs) => format!("{reached}; the token is good for {secs} s"),
            None => reached,
        }))
    }
}

/// Whether the server answered, and not why it does not do what was asked.
fn is_unexplained(error: &KeyError) -> bool {
    let KeyError::Unavailable { source, .. } = error else {
        return false;
    };
    let answered = source.downcast_ref::<HttpError>();
    matches!(answered, Some(HttpError::Answered { .. }))
}

/// The version in `vault:vN:…`.
fn version_of(text: &str) -> Option<&str> {
    let (version, body) = text.strip_prefix("vault:v")?.split_once(':')?;
    let is_number = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !body.is_empty()).then_some(version)
}

/// What Transit takes for the name of a key.
fn is_name(key: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !key.is_empty() && key != "." && key != ".." && key.bytes().all(plain)
}

fn missing(key: &str) -> KeyError {
    KeyError::Missing {
        key: key.to_owned(),
    }
}

fn unavailable(key: &str, error: impl std::error::Error + Send + Sync + 'static) -> KeyError {
    KeyError::Unavailable {
        key: key.to_owned(),
        source: error.into(),
    }
}

#[cfg(test)]
mod tests;
