//! A container as a store and as a source, against the account of `tests/fake-kms`; against
//! Azurite where that is installed.

mod reading;
mod storing;

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc};

use sealift_fake_kms::{AZURE_ACCOUNT, FakeAzure};
use sealift_host::OsClock;
use sealift_identity::https_client;
use sealift_outside::{AzureFrom, Endpoint};
use sealift_terms::BucketName;
use tokio_rustls::rustls::ClientConfig;

use super::*;

const CONTAINER: &str = "kept";
/// The key that Azurite's account has, everywhere (its documentation, "Default storage account").
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

struct Stage {
    dir: tempfile::TempDir,
    server: FakeAzure,
}

impl Stage {
    fn new(keeps_versions: bool, is_tls: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let roots = dir.path().join("roots.pem");
        let roots = is_tls.then_some(roots.as_path());
        let server = FakeAzure::start(CONTAINER, keeps_versions, roots);
        let key = dir.path().join("key");
        fs::write(&key, KEY).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        Self { dir, server }
    }

    fn settings(&self) -> AzureSettings {
        AzureSettings {
            endpoint: Endpoint::parse(&self.server.url()).unwrap(),
            account: AZURE_ACCOUNT.to_owned(),
            container: BucketName::new(CONTAINER).unwrap(),
            prefix: String::new(),
            credentials: AzureFrom::Key(self.dir.path().join("key")),
            keeps_versions: true,
            access_tier: None,
        }
    }

    fn tls(&self) -> Option<Arc<ClientConfig>> {
        let roots = self.dir.path().join("roots.pem");
        let is_tls = roots.exists();
        is_tls.then(|| https_client(&roots, Arc::new(OsClock)).unwrap())
    }
}
