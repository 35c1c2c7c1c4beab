//! What every key provider has to hold. An implementation's tests call
//! [`key_provider`]; it panics at the first thing that does not hold.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use async_trait::async_trait;
use sealift_seal::RecordKey;
use sealift_terms::{BucketName, KeyId, ObjectUid, Reason, RecordId, Region};

use crate::{
    EncryptionContext, KeyError, KeyProvider, KeyState, ProviderKind, Wrapped, WrappedRoot,
};

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
    /// Whether the provider tells the older versions of a key as well.
    fn tells_older_versions(&self) -> bool {
        true
    }
}

/// A provider, and who operates it.
struct Stage<'a> {
    provider: &'a dyn KeyProvider,
    operator: &'a dyn KeyOperator,
}

/// Runs the whole suite against one provider.
///
/// # Panics
/// At the first thing that does not hold.
pub async fn key_provider(provider: &dyn KeyProvider, operator: &dyn KeyOperator) {
    let stage = &Stage { provider, operator };
    describes_its_keys(stage).await;
    what_is_wrapped_unwraps_under_the_same_context_only(stage).await;
    what_it_generates_unwraps_as_what_it_wraps(stage).await;
    an_altered_ciphertext_is_refused(stage).await;
    every_version_still_unwraps_after_rotation(stage).await;
    a_disabled_key_does_nothing_until_enabled(stage).await;
    another_key_does_not_unwrap(stage).await;
    a_record_of_another_provider_is_refused(stage).await;
    a_root_key_that_it_made_opens_in_its_region_alone(stage).await;
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

async fn describes_its_keys(stage: &Stage<'_>) {
    let key = stage.operator.create(&region()).await.unwrap();
    let described = stage.provider.describe(key.as_str()).await.unwrap();
    assert_eq!((&described.id, &described.region), (&key, &region()));
    assert_eq!(described.state, KeyState::Enabled);
    assert_eq!(described.provider, stage.provider.kind());
    assert_eq!(described.versions.len(), 1);
    let missing = stage.provider.describe("no-such-key").await;
    assert!(
        matches!(missing, Err(KeyError::Missing { .. })),
        "{missing:?}"
    );
}

async fn what_is_wrapped_unwraps_under_the_same_context_only(stage: &Stage<'_>) {
    let wrapped = wrapped_by_new_key(stage).await;
    let opened = stage
        .provider
        .unwrap(&wrapped, &context("b"))
        .await
        .unwrap();
    assert_eq!(opened.as_bytes(), record_key().as_bytes());
    let (bucket, record) = (BucketName::new("b").unwrap(), RecordId([7; 16]));
    let others = [
        context("other"),
        EncryptionContext::bucket(&bucket, &Region::new("us-east").unwrap(), record),
        EncryptionContext::bucket(&bucket, &region(), RecordId([8; 16])),
        EncryptionContext::object(&bucket, &region(), record, ObjectUid([9; 16])),
    ];
    for other in others {
        mismatch(stage.provider.unwrap(&wrapped, &other).await);
    }
}

async fn what_it_generates_unwraps_as_what_it_wraps(stage: &Stage<'_>) {
    let key = stage.operator.create(&region()).await.unwrap();
    let (context, rng) = (context("b"), sealift_host::OsRng);
    let mut made = Vec::new();
    for _ in 0..2 {
        let generated = stage.provider.generate(key.as_str(), &context, &rng).await;
        let (record_key, wrapped) = generated.unwrap();
        let opened = stage.provider.unwrap(&wrapped, &context).await.unwrap();
        assert_eq!(opened.as_bytes(), record_key.as_bytes());
        let described = stage.provider.describe(key.as_str()).await.unwrap();
        assert_eq!(
            (&wrapped.cmk, &wrapped.cmk_version),
            (&key, &described.current)
        );
        made.push(*record_key.as_bytes());
    }
    assert_ne!(made[0], made[1]);
}

async fn a_root_key_that_it_made_opens_in_its_region_alone(stage: &Stage<'_>) {
    let key = stage.operator.create(&region()).await.unwrap();
    let (here, rng) = (region(), sealift_host::OsRng);
    let made = WrappedRoot::make(stage.provider, key.as_str(), &here, &rng).await;
    if stage.provider.kind() == ProviderKind::Local {
        let refused = matches!(made, Err(KeyError::RootKey { .. }));
        assert!(refused, "a keystore holds its own root key: {made:?}");
        return;
    }
    let made = made.unwrap();
    let open = async |region: &Region| made.open(stage.provider, region).await;
    let texts = [
        open(&region()).await.unwrap(),
        open(&region()).await.unwrap(),
    ];
    let texts = texts.map(|secret| secret.to_file_text().unwrap());
    assert_eq!(*texts[0], *texts[1]);
    let elsewhere = open(&Region::new("us-east").unwrap()).await;
    let elsewhere = elsewhere.unwrap_err();
    assert!(
        matches!(elsewhere, KeyError::RootKeyAway { .. }),
        "{elsewhere}"
    );
    stage.operator.disable(key.as_str()).await.unwrap();
    let disabled = open(&region()).await.unwrap_err();
    assert_eq!(disabled.reason(), Reason::DstKmsKeyDisabled);
}

async fn an_altered_ciphertext_is_refused(stage: &Stage<'_>) {
    let wrapped = wrapped_by_new_key(stage).await;
    for i in 0..wrapped.bytes.len() {
        let mut altered = wrapped.clone();
        altered.bytes[i] ^= 1;
        mismatch(stage.provider.unwrap(&altered, &context("b")).await);
    }
    let mut cut = wrapped;
    cut.bytes.pop();
    mismatch(stage.provider.unwrap(&cut, &context("b")).await);
}

async fn every_version_still_unwraps_after_rotation(stage: &Stage<'_>) {
    let old = wrapped_by_new_key(stage).await;
    let key = old.cmk.as_str();
    stage.operator.rotate(key).await.unwrap();
    let new = stage
        .provider
        .wrap(key, &record_key(), &context("b"))
        .await
        .unwrap();
    assert_ne!(old.cmk_version, new.cmk_version);
    let described = stage.provider.describe(key).await.unwrap();
    assert_eq!(described.current, new.cmk_version);
    let told = if stage.operator.tells_older_versions() {
        2
    } else {
        1
    };
    assert_eq!(described.versions.len(), told);
    for wrapped in [&old, &new] {
        stage.provider.unwrap(wrapped, &context("b")).await.unwrap();
    }
    let swapped = Wrapped {
        cmk_version: new.cmk_version,
        ..old
    };
    mismatch(stage.provider.unwrap(&swapped, &context("b")).await);
}

async fn a_disabled_key_does_nothing_until_enabled(stage: &Stage<'_>) {
    let wrapped = wrapped_by_new_key(stage).await;
    let key = wrapped.cmk.as_str();
    stage.operator.disable(key).await.unwrap();
    let described = stage.provider.describe(key).await.unwrap();
    assert_eq!(described.state, KeyState::Disabled);
    let wrap = stage.provider.wrap(key, &record_key(), &context("b")).await;
    let unwrap = stage.provider.unwrap(&wrapped, &context("b")).await;
    for error in [wrap.map(drop).unwrap_err(), unwrap.map(drop).unwrap_err()] {
        assert!(matches!(error, KeyError::NotUsable { .. }), "{error}");
        assert_eq!(error.reason(), Reason::DstKmsKeyDisabled);
    }
    stage.operator.enable(key).await.unwrap();
    stage
        .provider
        .unwrap(&wrapped, &context("b"))
        .await
        .unwrap();
}

async fn another_key_does_not_unwrap(stage: &Stage<'_>) {
    let wrapped = wrapped_by_new_key(stage).await;
    let other = stage.operator.create(&region()).await.unwrap();
    let swapped = Wrapped {
        cmk: other,
        ..wrapped
    };
    mismatch(stage.provider.unwrap(&swapped, &context("b")).await);
}

async fn a_record_of_another_provider_is_refused(stage: &Stage<'_>) {
    let wrapped = wrapped_by_new_key(stage).await;
    for provider in ProviderKind::ALL {
        let named = Wrapped {
            provider,
            ..wrapped.clone()
        };
        let unwrapped = stage.provider.unwrap(&named, &context("b")).await;
        match provider == stage.provider.kind() {
            true => assert!(unwrapped.is_ok()),
            false => assert!(matches!(unwrapped, Err(KeyError::ForeignProvider { .. }))),
        }
    }
}

async fn wrapped_by_new_key(stage: &Stage<'_>) -> Wrapped {
    let key = stage.operator.create(&region()).await.unwrap();
    let wrapped = stage
        .provider
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
