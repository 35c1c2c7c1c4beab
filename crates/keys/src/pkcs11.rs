//! The key provider `pkcs11`: AES keys in a token (a hardware module, SoftHSM) behind PKCS #11.
//!
//! ```text
//!   describe ─▶ find CKO_SECRET_KEY, CKK_AES, CKA_LABEL = key     each is a version, by its CKA_ID
//!   wrap ─────▶ C_Encrypt  CKM_AES_GCM, random nonce(12), AAD = the context's canonical bytes
//!   unwrap ───▶ C_Decrypt
//! ```
//!
//! A CMK is all keys of 256 bits with one label; its id is the label, its versions are the
//! keys' ids in hex, and the one with the greatest id wraps. What is wrapped is nonce ‖
//! ciphertext ‖ tag. Keys that the token would give out are refused.

mod keys;
mod token;

use std::{fmt, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use cryptoki::{
    mechanism::{Mechanism, aead::GcmParams},
    session::Session,
};
use sealift_seal::RecordKey;
use sealift_terms::{KeyId, Region, Rng, limits::KEY_SERVICE_TIME_MAX};
use tokio::{sync::Semaphore, time::timeout};
use zeroize::Zeroizing;

use crate::{
    EncryptionContext, KeyDescription, KeyError, KeyProvider, ProviderKind, Wrapped,
    wraps::WrapCounter,
};
use keys::{Version, versions};
use token::{Pkcs11Error, Token};

/// Calls that a token works on at once, each on a thread that may block.
const CALLS_AT_ONCE_MAX: usize = 4;
const NONCE_BYTES: usize = 12;
const TAG_BITS: u64 = 128;
const WRAPPED_BYTES: usize = NONCE_BYTES + 32 + 16;

/// Which token, behind which module.
#[derive(Debug, Clone)]
pub struct Pkcs11Settings {
    /// The module: a library that is loaded into this process.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The file with the user's PIN, readable by its owner alone.
    pub pin_file: PathBuf,
    /// The region of the site, whose keys these are.
    pub region: Region,
}

/// Keys in a token.
pub struct Pkcs11 {
    region: Region,
    token: Arc<Token>,
    calls: Arc<Semaphore>,
    wraps: Arc<WrapCounter>,
    rng: Arc<dyn Rng>,
}

impl fmt::Debug for Pkcs11 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pkcs11({})", self.token)
    }
}

impl Pkcs11 {
    /// A token that is looked for when it is first needed.
    #[must_use]
    pub fn new(settings: Pkcs11Settings, wraps: Arc<WrapCounter>, rng: Arc<dyn Rng>) -> Self {
        Self {
            region: settings.region.clone(),
            token: Arc::new(Token::new(settings)),
            calls: Arc::new(Semaphore::new(CALLS_AT_ONCE_MAX)),
            wraps,
            rng,
        }
    }

    /// Works with the token on a thread that may block. A token that does not answer in
    /// time is unavailable, and keeps its thread until it does.
    async fn with_token<T: Send + 'static>(
        &self,
        key: &str,
        work: impl FnOnce(&Session) -> Result<T, Pkcs11Error> + Send + 'static,
    ) -> Result<T, KeyError> {
        let (token, calls) = (self.token.clone(), self.calls.clone());
        let working = async move {
            let turn = calls.acquire_owned().await;
            let working = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                token.with_session(work)
            });
            working.await
        };
        let late = |_| Pkcs11Error::Late;
        let worked = timeout(KEY_SERVICE_TIME_MAX, working).await.map_err(late);
        let worked = worked.and_then(|joined| joined.unwrap_or(Err(Pkcs11Error::Late)));
        worked.map_err(|error| error.of_key(key))
    }

    async fn versions_of(&self, key: &str) -> Result<Vec<Version>, KeyError> {
        let label = key.to_owned();
        self.with_token(key, move |session| versions(session, &label))
            .await
    }
}

#[async_trait]
impl KeyProvider for Pkcs11 {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Pkcs11
    }

    async fn describe(&self, key: &str) -> Result<KeyDescription, KeyError> {
        keys::description(key, &self.region, &self.versions_of(key).await?)
    }

    async fn wrap(
        &self,
        key: &str,
        record_key: &RecordKey,
        context: &EncryptionContext,
    ) -> Result<Wrapped, KeyError> {
        let described = self.describe(key).await?;
        if !described.state.is_usable() {
            let (key, state) = (key.to_owned(), described.state);
            return Err(KeyError::NotUsable { key, state });
        }
        let version = described.current;
        let mut nonce = [0; NONCE_BYTES];
        self.rng.fill(&mut nonce);
        let (wraps, label) = (self.wraps.clone(), key.to_owned());
        let (aad, record_key) = (context.aad(), RecordKey::new(*record_key.as_bytes()));
        let wanted = version.clone();
        let counted = self.with_token(key, move |session| {
            let name = format!("{}/{label}", ProviderKind::Pkcs11);
            wraps.count(&name, &wanted)?;
            let version = keys::version(session, &label, &wanted)?;
            let mut iv = nonce;
            let params = GcmParams::new(&mut iv, &aad, TAG_BITS.into())?;
            let mechanism = Mechanism::AesGcm(params);
            let sealed = session.encrypt(&mechanism, version.handle, record_key.as_bytes())?;
            Ok([&nonce[..], &sealed].concat())
        });
        let bytes = counted.await?;
        if bytes.len() != WRAPPED_BYTES {
            return Err(Pkcs11Error::Shape("its wrap has another length").of_key(key));
        }
        Ok(Wrapped {
            provider: self.kind(),
            cmk: KeyId::new(key).map_err(|_| Pkcs11Error::NoKey.of_key(key))?,
            cmk_version: version,
            bytes,
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
        let sealed = wrapped.bytes.split_at_checked(NONCE_BYTES);
        let (nonce, sealed) = sealed
            .filter(|_| wrapped.bytes.len() == WRAPPED_BYTES)
            .ok_or_else(mismatch)?;
        let message = Message {
            nonce: nonce.to_vec(),
            sealed: sealed.to_vec(),
            aad: context.aad(),
        };
        let (label, wanted) = (wrapped.cmk.to_string(), wrapped.cmk_version.clone());
        let (wraps, rng) = (self.wraps.clone(), self.rng.clone());
        let opening = self.with_token(wrapped.cmk.as_str(), move |session| {
            let version = keys::version(session, &label, &wanted)?;
            if !version.is_usable() {
                return Err(Pkcs11Error::NotPermitted);
            }
            match message.open(session, &version) {
                Err(error) if error.is_general() => {
                    wraps.count(&format!("{}/{label}", ProviderKind::Pkcs11), &wanted)?;
                    Err(match works(session, &version, &*rng) {
                        true => Pkcs11Error::NotAuthentic,
                        false => error,
                    })
                }
                opened => opened,
            }
        });
        let opened = opening.await.map_err(|error| match error {
            KeyError::ContextMismatch { .. } => mismatch(),
            error => error,
        })?;
        let opened: &[u8; 32] = opened.as_slice().try_into().map_err(|_| mismatch())?;
        Ok(RecordKey::new(*opened))
    }

    async fn reached(&self, key: &str) -> Result<Option<String>, KeyError> {
        self.describe(key).await?;
        Ok(Some(self.token.to_string()))
    }
}

/// Something wrapped, taken apart.
struct Message {
    nonce: Vec<u8>,
    sealed: Vec<u8>,
    aad: Vec<u8>,
}

impl Message {
    fn open(
        &self,
        session: &Session,
        version: &Version,
    ) -> Result<Zeroizing<Vec<u8>>, Pkcs11Error> {
        let mut nonce = self.nonce.clone();
        let params = GcmParams::new(&mut nonce, &self.aad, TAG_BITS.into())?;
        let opened = session.decrypt(&Mechanism::AesGcm(params), version.handle, &self.sealed);
        Ok(Zeroizing::new(opened.map_err(Pkcs11Error::opening)?))
    }
}

/// Whether a key seals and opens: then it is what was to be opened that does not.
fn works(session: &Session, version: &Version, rng: &dyn Rng) -> bool {
    const PROBE: [u8; 32] = [0; 32];
    let mut nonce = [0; NONCE_BYTES];
    rng.fill(&mut nonce);
    let (mut iv, aad) = (nonce, b"probe".to_vec());
    let Ok(params) = GcmParams::new(&mut iv, &aad, TAG_BITS.into()) else {
        return false;
    };
    let Ok(sealed) = session.encrypt(&Mechanism::AesGcm(params), version.handle, &PROBE) else {
        return false;
    };
    let message = Message {
        nonce: nonce.to_vec(),
        sealed,
        aad,
    };
    message
        .open(session, version)
        .is_ok_and(|opened| *opened == PROBE)
}

#[cfg(test)]
mod tests;
