//! The key provider `aws-kms`: AWS Key Management Service.
//!
//! ```text
//!   describe ─▶ DescribeKey        state, region, CurrentKeyMaterialId
//!   generate ─▶ GenerateDataKey    the record key and its wrap in one call
//!   wrap ─────▶ Encrypt, Decrypt   of a key that is there already; which material it was says Decrypt alone
//!   unwrap ───▶ Decrypt            the encryption context is the map that AWS logs
//! ```
//!
//! Over our own client and Signature Version 4 (`sealift-outside`), as four calls of a JSON
//! protocol are less than the SDK's fifty crates. A CMK's id is its ARN, its versions are
//! the ids of its key material. Where there is none, as in a custom key store, it has the
//! one version `unversioned`.

mod answers;
mod metadata;

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use sealift_outside::{
    AwsAsk, Bounds, CredentialsError, CredentialsFrom, Endpoint, HttpClient, HttpError, Keychain,
};
use sealift_seal::RecordKey;
use sealift_terms::{Clock, KeyId, Region, Rng, limits::WRAPPED_BYTES_MAX};
use serde_json::{Value, json};
use tokio_rustls::rustls::ClientConfig;
use zeroize::Zeroizing;

use crate::{EncryptionContext, KeyDescription, KeyError, KeyProvider, ProviderKind, Wrapped};

/// What a key without ids of its material has for a version.
const UNVERSIONED: &str = "unversioned";
const SERVICE: &str = "kms";

/// Where AWS KMS is, and as whom it is asked.
#[derive(Debug, Clone)]
pub struct AwsKmsSettings {
    /// AWS's name of the region of the site.
    pub aws_region: Region,
    /// The region of the site, whose keys these are.
    pub region: Region,
    /// Where it is asked.
    pub endpoint: Endpoint,
    /// Whose credentials sign what is asked.
    pub credentials: CredentialsFrom,
}

impl AwsKmsSettings {
    /// Where a region's service is, unless it is reached by a way of its own.
    #[must_use]
    pub fn usual_endpoint(aws_region: &Region) -> String {
        let of_china = aws_region.as_str().starts_with("cn-");
        let domain = if of_china {
            "amazonaws.com.cn"
        } else {
            "amazonaws.com"
        };
        format!("https://kms.{aws_region}.{domain}")
    }
}

/// The operations that are asked for: what a policy has to allow. Encrypt wraps a record that
/// is there already (`sealift keys rewrap`); everything else does with the other three.
pub const AWS_KMS_OPERATIONS: [&str; 4] = ["DescribeKey", "GenerateDataKey", "Decrypt", "Encrypt"];

/// Keys in AWS KMS.
pub struct AwsKms {
    settings: AwsKmsSettings,
    http: HttpClient,
    keychain: Keychain,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for AwsKms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwsKms({})", self.settings.endpoint)
    }
}

impl AwsKms {
    /// The service, asked over TLS under `tls`, which says whom to trust; one on loopback
    /// may do without.
    #[must_use]
    pub fn new(
        settings: AwsKmsSettings,
        tls: Option<Arc<ClientConfig>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            http: HttpClient::new(settings.endpoint.clone(), tls, Bounds::USUAL),
            keychain: Keychain::new(settings.credentials.clone(), clock.clone()),
            settings,
            clock,
        }
    }

    async fn call(
        &self,
        operation: &'static str,
        key: &str,
        body: &Value,
        context: Option<&EncryptionContext>,
    ) -> Result<Value, KeyError> {
        self.is_of_this_region(key)?;
        let credentials = self.keychain.credentials().await;
        let credentials = credentials.map_err(|error| no_credentials(key, error))?;
        let body = Bytes::from_owner(Zeroizing::new(body.to_string().into_bytes()));
        let target = format!("TrentService.{operation}");
        let ask = AwsAsk::json(
            "1.1",
            target,
            body,
            self.settings.aws_region.as_str(),
            SERVICE,
        );
        let unavailable = |error: HttpError| unavailable(key, error);
        let request = ask.signed(self.http.endpoint(), &credentials, self.clock.now());
        let request = request.map_err(unavailable)?;
        let response = self.http.ask(request).await.map_err(unavailable)?;
        let answer = answers::of(key, context, &response);
        if matches!(answer, Err(KeyError::AccessDenied { .. })) {
            self.keychain.doubt();
        }
        answer
    }

    /// Refuses an ARN of another region before anybody is asked.
    fn is_of_this_region(&self, key: &str) -> Result<(), KeyError> {
        match region_of(key) {
            Some(found) if found != self.settings.aws_region.as_str() => {
                Err(KeyError::WrongRegion {
                    key: key.to_owned(),
                    found: Region::new(found).map_err(|_| missing(key))?,
                    wanted: self.settings.aws_region.clone(),
                })
            }
            _ => Ok(()),
        }
    }

    /// Takes a wrap apart that AWS gave.
    fn wrapped(&self, key: &str, ciphertext: &[u8], answer: &Value) -> Result<Wrapped, KeyError> {
        let what = "no ciphertext of at most 6,144 bytes, or no ARN";
        let shape = || unavailable(key, HttpError::Shape { what });
        if ciphertext.is_empty() || ciphertext.len() > WRAPPED_BYTES_MAX {
            return Err(shape());
        }
        let cmk = answers::text(answer, "KeyId").ok_or_else(shape)?;
        self.is_of_this_region(cmk)?;
        Ok(Wrapped {
            provider: self.kind(),
            cmk: KeyId::new(cmk).map_err(|_| shape())?,
            cmk_version: material_of(answer).to_owned(),
            bytes: ciphertext.to_vec(),
        })
    }

    async fn decrypt(
        &self,
        key: &str,
        ciphertext: &[u8],
        context: &EncryptionContext,
    ) -> Result<(RecordKey, Value), KeyError> {
        let body = json!({
            "KeyId": key,
            "CiphertextBlob": STANDARD.encode(ciphertext),
            "EncryptionContext": map_of(context),
        });
        let answer = self.call("Decrypt", key, &body, Some(context)).await?;
        let record_key = answers::bytes(&answer, "Plaintext").map(Zeroizing::new);
        let record_key = record_key
            .as_ref()
            .and_then(|bytes| bytes.as_slice().try_into().ok());
        let mismatch = || KeyError::ContextMismatch {
            expected: context.to_string(),
        };
        let record_key: &[u8; 32] = record_key.ok_or_else(mismatch)?;
        Ok((RecordKey::new(*record_key), answer))
    }
}

#[async_trait]
impl KeyProvider for AwsKms {
    fn kind(&self) -> ProviderKind {
        ProviderKind::AwsKms
    }

    async fn describe(&self, key: &str) -> Result<KeyDescription, KeyError> {
        let answer = self
            .call("DescribeKey", key, &json!({ "KeyId": key }), None)
            .await?;
        let metadata = answer.get("KeyMetadata").unwrap_or(&Value::Null);
        if let Some(arn) = answers::text(metadata, "Arn") {
            self.is_of_this_region(arn)
                .map_err(|error| error.naming(key))?;
        }
        metadata::description(key, &self.settings.region, metadata)
    }

    async fn wrap(
        &self,
        key: &str,
        record_key: &RecordKey,
        context: &EncryptionContext,
    ) -> Result<Wrapped, KeyError> {
        let plaintext = Zeroizing::new(STANDARD.encode(record_key.as_bytes()));
        let body = json!({
            "KeyId": key,
            "Plaintext": plaintext.as_str(),
            "EncryptionContext": map_of(context),
        });
        let encrypted = self.call("Encrypt", key, &body, Some(context)).await?;
        let ciphertext = answers::bytes(&encrypted, "CiphertextBlob").unwrap_or_default();
        let (back, decrypted) = self.decrypt(key, &ciphertext, context).await?;
        match back == *record_key {
            true => self.wrapped(key, &ciphertext, &decrypted),
            false => Err(KeyError::ContextMismatch {
                expected: context.to_string(),
            }),
        }
    }

    async fn unwrap(
        &self,
        wrapped: &Wrapped,
        context: &EncryptionContext,
    ) -> Result<RecordKey, KeyError> {
        wrapped.is_of(self.kind())?;
        let key = wrapped.cmk.as_str();
        let (record_key, answer) = self.decrypt(key, &wrapped.bytes, context).await?;
        match material_of(&answer) == wrapped.cmk_version {
            true => Ok(record_key),
            false => Err(KeyError::ContextMismatch {
                expected: context.to_string(),
            }),
        }
    }

    async fn generate(
        &self,
        key: &str,
        context: &EncryptionContext,
        _rng: &dyn Rng,
    ) -> Result<(RecordKey, Wrapped), KeyError> {
        let body = json!({
            "KeyId": key,
            "KeySpec": "AES_256",
            "EncryptionContext": map_of(context),
        });
        let answer = self
            .call("GenerateDataKey", key, &body, Some(context))
            .await?;
        let record_key = answers::bytes(&answer, "Plaintext").map(Zeroizing::new);
        let record_key = record_key
            .as_ref()
            .and_then(|bytes| bytes.as_slice().try_into().ok());
        let what = "no key of 32 bytes";
        let record_key: &[u8; 32] =
            record_key.ok_or_else(|| unavailable(key, HttpError::Shape { what }))?;
        let ciphertext = answers::bytes(&answer, "CiphertextBlob").unwrap_or_default();
        let wrapped = self.wrapped(key, &ciphertext, &answer)?;
        Ok((RecordKey::new(*record_key), wrapped))
    }

    async fn reached(&self, key: &str) -> Result<Option<String>, KeyError> {
        self.describe(key).await?;
        Ok(Some(self.http.reached()))
    }
}

fn map_of(context: &EncryptionContext) -> BTreeMap<&str, &str> {
    context.pairs().collect()
}

fn material_of(answer: &Value) -> &str {
    answers::text(answer, "KeyMaterialId").unwrap_or(UNVERSIONED)
}

/// The region in `arn:PARTITION:kms:REGION:ACCOUNT:key/ID`.
fn region_of(key: &str) -> Option<&str> {
    let mut parts = key.split(':');
    let is_arn = parts.next() == Some("arn");
    is_arn.then(|| parts.nth(2)).flatten()
}

fn missing(key: &str) -> KeyError {
    KeyError::Missing {
        key: key.to_owned(),
    }
}

fn no_credentials(key: &str, error: CredentialsError) -> KeyError {
    match error {
        CredentialsError::File(error) => error.into(),
        CredentialsError::Http(error) => unavailable(key, error),
        other => KeyError::Unavailable {
            key: key.to_owned(),
            source: other.into(),
        },
    }
}

fn unavailable(key: &str, error: HttpError) -> KeyError {
    KeyError::Unavailable {
        key: key.to_owned(),
        source: error.into(),
    }
}

#[cfg(test)]
mod tests;
