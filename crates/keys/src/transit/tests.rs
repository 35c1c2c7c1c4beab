use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use sealift_fake_kms::{FakeTransit, Trouble};
use sealift_host::{OsClock, OsDisk, OsRng};
use sealift_identity::https_client;
use sealift_terms::{BucketName, Reason, RecordId};

use super::*;
use crate::{
    KeyState, Pace, Paced, Providers, WRAPS_FILE,
    conformance::{self, KeyOperator},
};

const TOKEN: &str = "hvs.a-token-of-a-test";

struct Stage {
    dir: tempfile::TempDir,
    server: FakeTransit,
}

impl Stage {
    fn new(is_tls: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let roots = dir.path().join("roots.pem");
        let server = FakeTransit::start(TOKEN, is_tls.then_some(roots.as_path()));
        let stage = Self { dir, server };
        stage.write_token(TOKEN, 0o600);
        stage
    }

    fn write_token(&self, token: &str, mode: u32) {
        let file = self.dir.path().join("token");
        fs::write(&file, format!("{token}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn provider_at(&self, url: &str) -> Transit {
        let settings = TransitSettings {
            endpoint: Endpoint::parse(url).unwrap(),
            mount: "transit".to_owned(),
            namespace: None,
            token_file: self.dir.path().join("token"),
            region: region(),
        };
        let clock = Arc::new(OsClock);
        let roots = self.dir.path().join("roots.pem");
        let tls = roots
            .exists()
            .then(|| https_client(&roots, clock.clone()).unwrap());
        let counts = WrapCounter::open(Arc::new(OsDisk), &self.dir.path().join(WRAPS_FILE));
        Transit::new(settings, tls, clock, Arc::new(counts.unwrap()))
    }

    fn provider(&self) -> Transit {
        self.provider_at(&self.server.url())
    }

    /// On a clock that stands still until it is moved.
    fn paced(&self, calls_per_sec: u32, state_known: Duration) -> (Paced, Arc<Still>) {
        let pace = Pace {
            calls_per_sec,
            state_known,
        };
        let (provider, clock) = (Arc::new(self.provider()), Arc::<Still>::default());
        let paced = Paced::new(provider, pace, clock.clone(), Arc::new(OsRng));
        (paced, clock)
    }
}

#[derive(Debug, Default)]
struct Still(parking_lot::Mutex<Duration>);

impl sealift_terms::Clock for Still {
    fn now(&self) -> sealift_terms::Timestamp {
        sealift_terms::Timestamp::from_secs(1_800_000_000).plus(self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        *self.0.lock()
    }
}

#[async_trait]
impl KeyOperator for FakeTransit {
    async fn create(&self, _: &Region) -> Result<KeyId, KeyError> {
        let name = format!("k{}", self.asked().len());
        FakeTransit::create(self, &name);
        Ok(KeyId::new(name).unwrap())
    }
    async fn rotate(&self, key: &str) -> Result<(), KeyError> {
        FakeTransit::rotate(self, key);
        Ok(())
    }
    async fn enable(&self, key: &str) -> Result<(), KeyError> {
        self.soft_delete(key, false);
        Ok(())
    }
    async fn disable(&self, key: &str) -> Result<(), KeyError> {
        self.soft_delete(key, true);
        Ok(())
    }
}

fn region() -> Region {
    Region::new("eu-west").unwrap()
}

fn context() -> EncryptionContext {
    let bucket = BucketName::new("photos").unwrap();
    EncryptionContext::bucket(&bucket, &region(), RecordId([7; 16]))
}

async fn wrap(provider: &dyn KeyProvider, key: &str) -> Result<Wrapped, KeyError> {
    let record_key = RecordKey::new([5; 32]);
    provider.wrap(key, &record_key, &context()).await
}

#[tokio::test]
async fn passes_the_conformance_suite_over_tls_and_on_loopback() {
    for is_tls in [true, false] {
        let stage = Stage::new(is_tls);
        let provider = stage.provider();
        conformance::key_provider(&provider, &stage.server).await;
        stage.server.create("photos");
        let reached = provider.reached("photos").await.unwrap().unwrap();
        assert_eq!(
            reached.contains("TLS 1.3, TLS13_AES_256"),
            is_tls,
            "{reached}"
        );
        assert_eq!(reached.contains("in the clear"), !is_tls, "{reached}");
    }
}

#[tokio::test]
async fn each_trouble_of_a_server_has_its_reason_and_none_of_them_is_for_good() {
    let stage = Stage::new(true);
    let provider = stage.provider();
    stage.server.create("photos");
    let wrapped = wrap(&provider, "photos").await.unwrap();
    for (trouble, reason) in [
        (Trouble::Throttled, Reason::DstKmsThrottled),
        (Trouble::Denied, Reason::DstKmsAccessDenied),
        (Trouble::Broken, Reason::DstKmsUnavailable),
        (Trouble::Unreachable, Reason::DstKmsUnavailable),
        (
            Trouble::Slow(Duration::from_secs(60)),
            Reason::DstKmsUnavailable,
        ),
    ] {
        stage.server.trouble(trouble);
        let error = provider.unwrap(&wrapped, &context()).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{trouble:?}: {error}");
        assert!(!reason.is_permanent());
    }
    stage.server.trouble(Trouble::None);
    provider.unwrap(&wrapped, &context()).await.unwrap();
    stage.server.set_token("another");
    let denied = wrap(&provider, "photos").await.unwrap_err();
    assert!(denied.to_string().contains("permission denied"), "{denied}");
    // A token that is put in its place is used at once.
    stage.write_token("another", 0o600);
    wrap(&provider, "photos").await.unwrap();
    stage.write_token("another", 0o644);
    let exposed = wrap(&provider, "photos").await.unwrap_err();
    assert!(matches!(exposed, KeyError::SecretFile(_)), "{exposed}");
}

#[tokio::test]
async fn a_server_under_another_root_is_asked_for_nothing() {
    let stage = Stage::new(true);
    stage.server.create("photos");
    let other = Stage::new(true);
    let provider = other.provider_at(&stage.server.url());
    let error = provider.describe("photos").await.unwrap_err();
    assert_eq!(error.reason(), Reason::DstKmsUnavailable);
    assert!(stage.server.asked().is_empty());
}

#[tokio::test]
async fn a_key_that_cannot_do_it_is_told_so() {
    let stage = Stage::new(false);
    let provider = stage.provider();
    stage.server.create_of("signing", "ed25519");
    let error = wrap(&provider, "signing").await.unwrap_err();
    assert!(error.to_string().contains("ed25519"), "{error}");
    for name in ["nothing", "a/b", "..", "a b", "a?b"] {
        let error = wrap(&provider, name).await.unwrap_err();
        assert_eq!(error.reason(), Reason::DstKmsKeyMissing, "{name}: {error}");
    }
    let paths = stage.server.asked();
    assert!(
        paths.iter().all(|asked| asked.call != "POST encrypt"),
        "{paths:?}"
    );
    stage.server.create("photos");
    let old = wrap(&provider, "photos").await.unwrap();
    stage.server.rotate("photos");
    stage.server.min_decryption_version("photos", 2);
    let error = provider.unwrap(&old, &context()).await.unwrap_err();
    assert!(matches!(error, KeyError::VersionMissing { .. }), "{error}");
    stage.server.delete("photos");
    let error = provider.unwrap(&old, &context()).await.unwrap_err();
    assert!(matches!(error, KeyError::Missing { .. }), "{error}");
}

#[tokio::test]
async fn a_token_is_renewed_before_half_of_its_life_is_over() {
    let stage = Stage::new(false);
    stage.server.create("photos");
    stage.server.set_token_life(40, 100);
    let provider = stage.provider();
    provider.describe("photos").await.unwrap();
    assert_eq!(stage.server.renewals(), 1);
    let reached = provider.reached("photos").await.unwrap().unwrap();
    assert!(reached.contains("the token is good for"), "{reached}");
    let fresh = Stage::new(false);
    fresh.server.create("photos");
    fresh.server.set_token_life(90, 100);
    fresh.provider().describe("photos").await.unwrap();
    assert_eq!(fresh.server.renewals(), 0);
}

#[tokio::test]
async fn a_throttled_server_is_asked_again_a_little_later_and_then_given_up_for_now() {
    let stage = Stage::new(false);
    stage.server.create("photos");
    let (provider, clock) = stage.paced(100, Duration::ZERO);
    stage.server.trouble(Trouble::ThrottledFor(2));
    provider.describe("photos").await.unwrap();
    stage.server.trouble(Trouble::Throttled);
    let error = provider.describe("photos").await.unwrap_err();
    assert_eq!(error.reason(), Reason::DstKmsThrottled);
    // It is left alone for a moment, and then asked again.
    stage.server.trouble(Trouble::None);
    let before = stage.server.asked().len();
    let error = provider.describe("photos").await.unwrap_err();
    assert_eq!(error.reason(), Reason::DstKmsThrottled);
    assert_eq!(stage.server.asked().len(), before);
    *clock.0.lock() += Duration::from_millis(100);
    provider.describe("photos").await.unwrap();
}

#[tokio::test]
async fn calls_keep_to_the_quota() {
    let stage = Stage::new(false);
    stage.server.create("photos");
    let provider = Arc::new(stage.paced(10, Duration::ZERO).0);
    let asking = (0..40).map(|_| {
        let provider = provider.clone();
        tokio::spawn(async move { provider.describe("photos").await.map(drop) })
    });
    let asking: Vec<_> = asking.collect();
    let mut throttled = 0;
    for asked in asking {
        if let Err(error) = asked.await.unwrap() {
            assert_eq!(error.reason(), Reason::DstKmsThrottled);
            throttled += 1;
        }
    }
    // A second's worth at once, two more seconds' within the patience of a call.
    let answered = stage.server.asked().len();
    assert_eq!((answered, throttled), (30, 10));
}

#[tokio::test]
async fn what_is_known_of_a_key_is_known_for_a_while_unless_it_fails() {
    let stage = Stage::new(false);
    stage.server.create("photos");
    let (provider, _clock) = stage.paced(100, Duration::from_secs(60));
    let wrapped = wrap(&provider, "photos").await.unwrap();
    provider.describe("photos").await.unwrap();
    let before = stage.server.asked().len();
    provider.describe("photos").await.unwrap();
    assert_eq!(stage.server.asked().len(), before, "known");
    stage.server.soft_delete("photos", true);
    provider.unwrap(&wrapped, &context()).await.unwrap_err();
    let described = provider.describe("photos").await.unwrap();
    assert_eq!(described.state, KeyState::Disabled);
    // While it cannot be used nothing is taken for granted.
    stage.server.soft_delete("photos", false);
    let described = provider.describe("photos").await.unwrap();
    assert_eq!(described.state, KeyState::Enabled);
}

#[tokio::test]
async fn a_key_is_asked_for_by_its_provider_and_told_by_that_name() {
    let stage = Stage::new(false);
    stage.server.create("photos");
    let providers = Providers::new(vec![Arc::new(stage.provider())]);
    let wrapped = wrap(&providers, "transit/photos").await.unwrap();
    assert_eq!(wrapped.cmk.as_str(), "photos");
    providers.unwrap(&wrapped, &context()).await.unwrap();
    let error = wrap(&providers, "transit/other").await.unwrap_err();
    assert_eq!(error.to_string(), "there is no key transit/other");
    let error = wrap(&providers, "photos").await.unwrap_err();
    assert!(matches!(error, KeyError::ForeignProvider { .. }), "{error}");
    assert_eq!(error.reason(), Reason::DstKmsKeyMissing);
}
