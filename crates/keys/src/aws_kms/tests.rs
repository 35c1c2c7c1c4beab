use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use sealift_fake_kms::{FakeKms, OWNER, Trouble};
use sealift_host::{OsClock, OsRng};
use sealift_identity::https_client;
use sealift_terms::{BucketName, Reason, RecordId};

use super::*;
use crate::{
    KeyState,
    conformance::{self, KeyOperator},
};

const REGION: &str = "eu-west-1";

struct Stage {
    dir: tempfile::TempDir,
    server: FakeKms,
}

impl Stage {
    fn new(is_tls: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let roots = dir.path().join("roots.pem");
        let server = FakeKms::start(is_tls.then_some(roots.as_path()));
        let stage = Self { dir, server };
        stage.write_credentials(OWNER.0, OWNER.1);
        stage
    }

    fn write_credentials(&self, id: &str, secret: &str) {
        let file = self.dir.path().join("credentials");
        let text =
            format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn provider(&self) -> AwsKms {
        let roots = self.dir.path().join("roots.pem");
        let clock = Arc::new(OsClock);
        let tls = roots
            .exists()
            .then(|| https_client(&roots, clock.clone()).unwrap());
        let settings = AwsKmsSettings {
            aws_region: Region::new(REGION).unwrap(),
            region: region(),
            endpoint: Endpoint::parse(&self.server.url()).unwrap(),
            credentials: CredentialsFrom::File(self.dir.path().join("credentials")),
        };
        AwsKms::new(settings, tls, clock)
    }

    fn operate(&self, operation: &str, key: &str) {
        self.server
            .operate(REGION, operation, &json!({ "KeyId": key }));
    }
}

#[async_trait]
impl KeyOperator for FakeKms {
    async fn create(&self, _: &Region) -> Result<KeyId, KeyError> {
        Ok(KeyId::new(FakeKms::create(self, REGION)).unwrap())
    }
    async fn rotate(&self, key: &str) -> Result<(), KeyError> {
        self.operate(REGION, "RotateKeyOnDemand", &json!({ "KeyId": key }));
        Ok(())
    }
    async fn enable(&self, key: &str) -> Result<(), KeyError> {
        self.operate(REGION, "EnableKey", &json!({ "KeyId": key }));
        Ok(())
    }
    async fn disable(&self, key: &str) -> Result<(), KeyError> {
        self.operate(REGION, "DisableKey", &json!({ "KeyId": key }));
        Ok(())
    }
    fn tells_older_versions(&self) -> bool {
        false
    }
}

fn region() -> Region {
    Region::new("eu-west").unwrap()
}

fn context() -> EncryptionContext {
    let bucket = BucketName::new("photos").unwrap();
    EncryptionContext::bucket(&bucket, &region(), RecordId([7; 16]))
}

async fn made(provider: &AwsKms, key: &str) -> Result<Wrapped, KeyError> {
    let made = provider.generate(key, &context(), &OsRng).await;
    made.map(|(_, wrapped)| wrapped)
}

#[tokio::test]
async fn passes_the_conformance_suite_over_tls_and_on_loopback() {
    for is_tls in [true, false] {
        let stage = Stage::new(is_tls);
        let provider = stage.provider();
        conformance::key_provider(&provider, &stage.server).await;
        let key = stage.server.create(REGION);
        let reached = provider.reached(&key).await.unwrap().unwrap();
        assert_eq!(
            reached.contains("TLS 1.3, TLS13_AES_256"),
            is_tls,
            "{reached}"
        );
    }
}

#[tokio::test]
async fn each_trouble_of_the_service_has_its_reason_and_none_of_them_is_for_good() {
    let stage = Stage::new(true);
    let provider = stage.provider();
    let key = stage.server.create(REGION);
    let wrapped = made(&provider, &key).await.unwrap();
    for (trouble, reason) in [
        (Trouble::Throttled, Reason::DstKmsThrottled),
        (Trouble::Denied, Reason::DstKmsAccessDenied),
        (Trouble::Broken, Reason::DstKmsUnavailable),
        (Trouble::Unreachable, Reason::DstKmsUnavailable),
    ] {
        stage.server.trouble(trouble);
        let unwrapped = provider.unwrap(&wrapped, &context()).await.map(drop);
        let outcomes = [unwrapped, made(&provider, &key).await.map(drop)];
        for error in outcomes.map(Result::unwrap_err) {
            assert_eq!(error.reason(), reason, "{trouble:?}: {error}");
            assert!(!reason.is_permanent());
        }
    }
    stage.server.trouble(Trouble::None);
    provider.unwrap(&wrapped, &context()).await.unwrap();
}

#[tokio::test]
async fn the_whole_life_of_a_key_is_told_as_the_service_tells_it() {
    let stage = Stage::new(false);
    let provider = stage.provider();
    let key = stage.server.create(REGION);
    let alias = json!({ "AliasName": "alias/photos", "TargetKeyId": key });
    stage.server.operate(REGION, "CreateAlias", &alias);
    let wrapped = made(&provider, "alias/photos").await.unwrap();
    assert_eq!(
        wrapped.cmk.as_str(),
        key,
        "the record names the key, not its alias"
    );
    let described = provider.describe("alias/photos").await.unwrap();
    assert_eq!(described.alias.unwrap().as_str(), "alias/photos");
    stage.operate("ScheduleKeyDeletion", &key);
    let described = provider.describe("alias/photos").await.unwrap();
    assert_eq!(described.state, KeyState::PendingDeletion);
    let error = provider.unwrap(&wrapped, &context()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::DstKmsKeyPendingDeletion);
    stage.operate("CancelKeyDeletion", &key);
    let error = made(&provider, &key).await.unwrap_err();
    assert_eq!(error.reason(), Reason::DstKmsKeyDisabled);
    stage.operate("EnableKey", &key);
    provider.unwrap(&wrapped, &context()).await.unwrap();
    stage.operate("ScheduleKeyDeletion", &key);
    stage.server.pass(Duration::from_secs(31 * 86_400));
    let error = provider.unwrap(&wrapped, &context()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::DstKmsKeyMissing);
}

#[tokio::test]
async fn a_key_of_another_region_is_refused_before_anybody_is_asked() {
    let stage = Stage::new(false);
    let provider = stage.provider();
    let far = stage.server.create("us-east-1");
    for error in [
        provider.describe(&far).await.map(drop).unwrap_err(),
        made(&provider, &far).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(error.reason(), Reason::DstKmsKeyWrongRegion);
        assert!(
            error
                .to_string()
                .contains("us-east-1, this site is in eu-west-1"),
            "{error}"
        );
    }
    assert!(stage.server.asked().is_empty());
}

#[tokio::test]
async fn a_replica_of_a_multi_region_key_opens_what_its_primary_wrapped_elsewhere() {
    let stage = Stage::new(false);
    let multi = json!({ "MultiRegion": true });
    let primary = stage.server.operate("us-east-1", "CreateKey", &multi);
    let id = primary["KeyMetadata"]["KeyId"].as_str().unwrap();
    let replicate = json!({ "KeyId": id, "ReplicaRegion": REGION });
    stage
        .server
        .operate("us-east-1", "ReplicateKey", &replicate);
    let provider = stage.provider();
    let before = made(&provider, id).await.unwrap();
    assert!(before.cmk.as_str().contains(REGION));
    stage
        .server
        .operate("us-east-1", "RotateKeyOnDemand", &json!({ "KeyId": id }));
    let after = made(&provider, id).await.unwrap();
    assert_ne!(before.cmk_version, after.cmk_version);
    provider.unwrap(&before, &context()).await.unwrap();
}

#[tokio::test]
async fn who_is_not_the_owner_does_what_grants_allow_and_is_told_what_is_missing() {
    let stage = Stage::new(false);
    let key = stage.server.create(REGION);
    stage.server.add_principal("AKIDAGENT", "another secret");
    let grant = json!({
        "KeyId": key, "GranteePrincipal": "AKIDAGENT",
        "Operations": ["DescribeKey", "GenerateDataKey"],
    });
    stage.server.operate(REGION, "CreateGrant", &grant);
    stage.write_credentials("AKIDAGENT", "another secret");
    let provider = stage.provider();
    let wrapped = made(&provider, &key).await.unwrap();
    let error = provider.unwrap(&wrapped, &context()).await.unwrap_err();
    assert!(error.to_string().contains("kms:Decrypt"), "{error}");
    // Credentials that are replaced are used at once, and wrong ones are nobody's.
    stage.write_credentials("AKIDAGENT", "a wrong secret");
    let error = made(&provider, &key).await.unwrap_err();
    assert!(error.to_string().contains("signature"), "{error}");
    assert_eq!(error.reason(), Reason::DstKmsAccessDenied);
    stage.write_credentials(OWNER.0, OWNER.1);
    provider.unwrap(&wrapped, &context()).await.unwrap();
}

#[tokio::test]
async fn a_record_costs_one_call_to_make_and_one_to_open() {
    let stage = Stage::new(false);
    let provider = stage.provider();
    let key = stage.server.create(REGION);
    let wrapped = made(&provider, &key).await.unwrap();
    provider.unwrap(&wrapped, &context()).await.unwrap();
    let calls: Vec<_> = stage
        .server
        .asked()
        .into_iter()
        .map(|asked| asked.call)
        .collect();
    assert_eq!(calls, ["GenerateDataKey", "Decrypt"]);
}
