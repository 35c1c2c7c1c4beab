//! What every key provider has to hold. An implementation's tests call
//! [`key_provider`]; it panics at the first thing that does not hold.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use async_trait::async_trait;
use sealift_seal::RecordKey;
use sealift_terms::{BucketName, KeyId, ObjectUid, Reason, RecordId, Region};

use crate::{EncryptionContext, KeyError, KeyProvider, KeyState, Wrapped};

/// What an operator does at the provider, by whatever way it has for that.
#[async_trait]
pub trait KeyOperator: Sync {
    /// Makes an enabled CMK.
    async fn create(&self, region: &Region) -> Result<KeyId, KeyError>;
    /// Gives it a new version.
    async fn rotate(&self, key: &str) -> Result<(), KeyError>;
    /// Enables it.
    async fn enable(&self, key: &str) -> Result<(), KeyError>;
    /// Disables it.
    async fn disable(&self, key: &str) -> Result<(), KeyError>;
}

/// Runs the whole suite against one provider.
///
/// # Panics
/// At the first thing that does not hold.
pub async fn key_provider<P: KeyProvider + KeyOperator>(provider: &P) {
    describes_its_keys(provider).await;
    what_is_wrapped_unwraps_under_the_same_context_only(provider).await;
    an_altered_ciphertext_is_refused(provider).await;
    every_version_still_unwraps_after_rotation(provider).await;
    a_disabled_key_does_nothing_until_enabled(provider).await;
    another_key_does_not_unwrap(provider).await;
}

fn region() -> Region {
    Region::new("eu-west").unwrap()
}

fn record_key() -> RecordKey {
    RecordKey::new([0x5a; 32])
}

fn context(bucket: &str) -> EncryptionContext {
    EncryptionContext::bucket(
        &BucketName::new(bucket).unwrap(),
        &region(),
        RecordId([7; 16]),
    )
}

async fn describes_its_keys<P: KeyProvider + KeyOperator>(provider: &P) {
    let key = provider.create(&region()).await.unwrap();
    let described = provider.describe(key.as_str()).await.unwrap();
    assert_eq!((&described.id, &described.region), (&key, &region()));
    assert_eq!(described.state, KeyState::Enabled);
    assert_eq!(described.provider, provider.kind());
    assert_eq!(described.versions.len(), 1);
    let missing = provider.describe("no-such-key").await;
    assert!(
        matches!(missing, Err(KeyError::Missing { .. })),
        "{missing:?}"
    );
}

async fn what_is_wrapped_unwraps_under_the_same_context_only<P: KeyProvider + KeyOperator>(
    provider: &P,
) {
    let wrapped = wrapped_by_new_key(provider).await;
    let opened = provider.unwrap(&wrapped, &context("b")).await.unwrap();
    assert_eq!(opened.as_bytes(), record_key().as_bytes());
    let (bucket, record) = (BucketName::new("b").unwrap(), RecordId([7; 16]));
    let others = [
        context("other"),
        EncryptionContext::bucket(&bucket, &Region::new("us-east").unwrap(), record),
        EncryptionContext::bucket(&bucket, &region(), RecordId([8; 16])),
        EncryptionContext::object(&bucket, &region(), record, ObjectUid([9; 16])),
    ];
    for other in others {
        mismatch(provider.unwrap(&wrapped, &other).await);
    }
}

async fn an_altered_ciphertext_is_refused<P: KeyProvider + KeyOperator>(provider: &P) {
    let wrapped = wrapped_by_new_key(provider).await;
    for i in 0..wrapped.bytes.len() {
        let mut altered = wrapped.clone();
        altered.bytes[i] ^= 1;
        mismatch(provider.unwrap(&altered, &context("b")).await);
    }
    let mut cut = wrapped;
    cut.bytes.pop();
    mismatch(provider.unwrap(&cut, &context("b")).await);
}

async fn every_version_still_unwraps_after_rotation<P: KeyProvider + KeyOperator>(provider: &P) {
    let old = wrapped_by_new_key(provider).await;
    let key = old.cmk.as_str();
    provider.rotate(key).await.unwrap();
    let new = provider
        .wrap(key, &record_key(), &context("b"))
        .await
        .unwrap();
    assert_ne!(old.cmk_version, new.cmk_version);
    let described = provider.describe(key).await.unwrap();
    assert_eq!(described.current, new.cmk_version);
    assert_eq!(described.versions.len(), 2);
    for wrapped in [&old, &new] {
        provider.unwrap(wrapped, &context("b")).await.unwrap();
    }
    let swapped = Wrapped {
        cmk_version: new.cmk_version,
        ..old
    };
    mismatch(provider.unwrap(&swapped, &context("b")).await);
}

async fn a_disabled_key_does_nothing_until_enabled<P: KeyProvider + KeyOperator>(provider: &P) {
    let wrapped = wrapped_by_new_key(provider).await;
    let key = wrapped.cmk.as_str();
    provider.disable(key).await.unwrap();
    let described = provider.describe(key).await.unwrap();
    assert_eq!(described.state, KeyState::Disabled);
    let wrap = provider.wrap(key, &record_key(), &context("b")).await;
    let unwrap = provider.unwrap(&wrapped, &context("b")).await;
    for error in [wrap.map(drop).unwrap_err(), unwrap.map(drop).unwrap_err()] {
        assert!(matches!(error, KeyError::NotUsable { .. }), "{error}");
        assert_eq!(error.reason(), Reason::DstKmsKeyDisabled);
    }
    provider.enable(key).await.unwrap();
    provider.unwrap(&wrapped, &context("b")).await.unwrap();
}

async fn another_key_does_not_unwrap<P: KeyProvider + KeyOperator>(provider: &P) {
    let wrapped = wrapped_by_new_key(provider).await;
    let other = provider.create(&region()).await.unwrap();
    let swapped = Wrapped {
        cmk: other,
        ..wrapped
    };
    mismatch(provider.unwrap(&swapped, &context("b")).await);
}

async fn wrapped_by_new_key<P: KeyProvider + KeyOperator>(provider: &P) -> Wrapped {
    let key = provider.create(&region()).await.unwrap();
    let wrapped = provider
        .wrap(key.as_str(), &record_key(), &context("b"))
        .await
        .unwrap();
    assert_eq!(wrapped.cmk, key);
    wrapped
}

fn mismatch(result: Result<RecordKey, KeyError>) {
    match result {
        Err(KeyError::ContextMismatch { .. }) => {}
        Err(other) => panic!("expected a context mismatch, found: {other}"),
        Ok(_) => panic!("it opened"),
    }
}
