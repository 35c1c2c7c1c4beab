use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11 as Module},
    object::Attribute,
    session::UserType,
    types::AuthPin,
};
use sealift_host::{OsDisk, OsRng};
use sealift_terms::{BucketName, Reason, RecordId};

use super::*;
use crate::{
    WRAPS_FILE,
    conformance::{self, KeyOperator},
};

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "123456";

/// A token of a test, in the system's SoftHSM.
struct Stage {
    dir: tempfile::TempDir,
    label: String,
    session: parking_lot::Mutex<Session>,
    made: std::sync::atomic::AtomicU8,
}

fn softhsm(arguments: &[&str]) {
    let ran = Command::new("softhsm2-util")
        .args(arguments)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
}

impl Stage {
    /// None where there is no SoftHSM.
    fn new() -> Option<Self> {
        if !Path::new(MODULE).exists() {
            eprintln!("left out: needs softhsm2, which cargo xtask test installs");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = [0; 8];
        OsRng.fill(&mut bytes);
        let label = format!("sealift-test-{}", hex::encode(bytes));
        softhsm(&[
            "--init-token",
            "--free",
            "--label",
            &label,
            "--pin",
            PIN,
            "--so-pin",
            PIN,
        ]);
        let module = Module::new(MODULE).unwrap();
        // Another test of this process may have done it, before this token was made.
        let _ = module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
        let slots = module.get_slots_with_initialized_token().unwrap();
        let is_it = |slot: &&cryptoki::slot::Slot| {
            module.get_token_info(**slot).unwrap().label().trim_end() == label
        };
        let session = module
            .open_rw_session(*slots.iter().find(is_it).unwrap())
            .unwrap();
        session
            .login(UserType::User, Some(&AuthPin::new(PIN.to_owned().into())))
            .unwrap();
        let stage = Self {
            dir,
            label,
            session: session.into(),
            made: 0.into(),
        };
        stage.write_pin(PIN);
        Some(stage)
    }

    fn write_pin(&self, pin: &str) {
        let file = self.dir.path().join("pin");
        fs::write(&file, format!("{pin}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn provider(&self) -> Pkcs11 {
        let settings = Pkcs11Settings {
            module: MODULE.into(),
            token: self.label.clone(),
            pin_file: self.dir.path().join("pin"),
            region: region(),
        };
        let counts = WrapCounter::open(Arc::new(OsDisk), &self.dir.path().join(WRAPS_FILE));
        Pkcs11::new(settings, Arc::new(counts.unwrap()), Arc::new(OsRng))
    }

    fn make(&self, label: &str, id: u8, is_extractable: bool) {
        let template = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(!is_extractable),
            Attribute::Extractable(is_extractable),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::ValueLen(32.into()),
            Attribute::Label(label.as_bytes().to_vec()),
            Attribute::Id(vec![id]),
        ];
        let session = self.session.lock();
        session
            .generate_key(&Mechanism::AesKeyGen, &template)
            .unwrap();
    }

    fn allow(&self, label: &str, is_allowed: bool) {
        let session = self.session.lock();
        for version in versions(&session, label).unwrap() {
            let rights = [
                Attribute::Encrypt(is_allowed),
                Attribute::Decrypt(is_allowed),
            ];
            session.update_attributes(version.handle, &rights).unwrap();
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        softhsm(&["--delete-token", "--token", &self.label]);
    }
}

#[async_trait]
impl KeyOperator for Stage {
    async fn create(&self, _: &Region) -> Result<KeyId, KeyError> {
        let number = self.made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let label = format!("key-{number}");
        self.make(&label, 1, false);
        Ok(KeyId::new(label).unwrap())
    }
    async fn rotate(&self, key: &str) -> Result<(), KeyError> {
        self.make(key, 2, false);
        Ok(())
    }
    async fn enable(&self, key: &str) -> Result<(), KeyError> {
        self.allow(key, true);
        Ok(())
    }
    async fn disable(&self, key: &str) -> Result<(), KeyError> {
        self.allow(key, false);
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

/// One test, as a module knows one process and one user.
#[tokio::test]
async fn passes_the_conformance_suite_and_refuses_what_is_not_fit_to_wrap() {
    let Some(stage) = Stage::new() else {
        return;
    };
    let provider = stage.provider();
    conformance::key_provider(&provider, &stage).await;
    stage.make("open", 1, true);
    let error = provider.describe("open").await.unwrap_err();
    assert!(error.to_string().contains("CKA_EXTRACTABLE"), "{error}");
    stage.make("photos", 1, false);
    let record_key = RecordKey::new([5; 32]);
    let wrapped = provider
        .wrap("photos", &record_key, &context())
        .await
        .unwrap();
    assert_eq!(wrapped.bytes.len(), WRAPPED_BYTES);
    let gone = Wrapped {
        cmk_version: "09".to_owned(),
        ..wrapped.clone()
    };
    let error = provider.unwrap(&gone, &context()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::DstKmsKeyMissing);
    stage.make("photos", 1, false);
    let error = provider.unwrap(&wrapped, &context()).await.unwrap_err();
    assert!(error.to_string().contains("the same id"), "{error}");

    // As another process that has not logged in: with a PIN that is wrong, tried once.
    stage.session.lock().logout().unwrap();
    stage.write_pin("654321");
    let other = stage.provider();
    for _ in 0..20 {
        let error = other.describe("photos").await.unwrap_err();
        assert_eq!(error.reason(), Reason::DstKmsAccessDenied, "{error}");
    }
    stage.write_pin(PIN);
    stage.make_sure_it_is_not_locked(&other).await;
    let elsewhere = Pkcs11Settings {
        module: MODULE.into(),
        token: "no such token".to_owned(),
        pin_file: stage.dir.path().join("pin"),
        region: region(),
    };
    let nowhere = Pkcs11::new(elsewhere, provider.wraps.clone(), Arc::new(OsRng));
    let error = nowhere.describe("photos").await.unwrap_err();
    assert_eq!(error.reason(), Reason::DstKmsUnavailable);
}

impl Stage {
    async fn make_sure_it_is_not_locked(&self, provider: &Pkcs11) {
        let error = provider.describe("nothing").await.unwrap_err();
        assert_eq!(error.reason(), Reason::DstKmsKeyMissing, "{error}");
    }
}
