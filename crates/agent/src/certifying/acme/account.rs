//! The account at an ACME server: made once, its key sealed in the data directory.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use sealift_host::read_secret_file;
use sealift_identity::https_client;
use sealift_terms::world::{read_file, replace_file};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{AcmeSource, client::Client, error::AcmeError, roots_of};
use crate::{Error, config::ExternalAccount};

/// The account, sealed with the secret of the site's keystore.
const ACCOUNT_FILE: &str = "acme-account";
const ACCOUNT_BYTES_MAX: usize = 16 * 1024;
/// What it is sealed for.
const PLACE: &[u8] = b"acme-account";
/// The key that an authority gave, as text.
const EXTERNAL_KEY_BYTES_MAX: usize = 1024;
/// What servers say of an account that they do not know (RFC 8555, section 6.7).
const UNKNOWN_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    directory: String,
    external: Option<String>,
    credentials: AccountCredentials,
}

impl AcmeSource {
    /// The account, which is made when there is none for this server.
    pub(super) async fn account(&self) -> Result<Account, Error> {
        if let Some(stored) = self.stored()? {
            let builder = Account::builder_with_http(Box::new(self.client()?));
            let restored = builder.from_credentials(stored.credentials).await;
            return restored.map_err(|error| AcmeError::from(error).into());
        }
        self.register().await
    }

    /// The server lost the account: the next try makes another one.
    pub(super) fn forget_unknown(&self, error: &instant_acme::Error) {
        let instant_acme::Error::Api(problem) = error else {
            return;
        };
        if problem.r#type.as_deref() == Some(UNKNOWN_ACCOUNT) {
            let path = self.renewed.beside(ACCOUNT_FILE);
            if let Err(error) = self.renewed.world().disk.remove_file(&path) {
                tracing::warn!(%error, "an ACME account that is unknown is not forgotten");
            }
        }
    }

    fn client(&self) -> Result<Client, Error> {
        let clock = self.renewed.world().clock.clone();
        Ok(Client::new(https_client(&roots_of(&self.acme), clock)?))
    }

    async fn register(&self) -> Result<Account, Error> {
        let external = match &self.acme.external {
            Some(external) => Some(external_key(external)?),
            None => None,
        };
        let contact: Vec<&str> = self.acme.contact.as_deref().into_iter().collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: self.acme.terms_agreed,
            only_return_existing: false,
        };
        let builder = Account::builder_with_http(Box::new(self.client()?));
        let directory = self.acme.directory.clone();
        let made = builder.create(&new, directory, external.as_ref()).await;
        let (account, credentials) = made.map_err(AcmeError::from)?;
        self.store(credentials)?;
        tracing::info!(
            directory = self.acme.directory,
            account = account.id(),
            "an ACME account was made"
        );
        Ok(account)
    }

    fn external_id(&self) -> Option<String> {
        let external = self.acme.external.as_ref();
        external.map(|external| external.key_id.clone())
    }

    fn stored(&self) -> Result<Option<Stored>, Error> {
        let (path, disk) = (
            self.renewed.beside(ACCOUNT_FILE),
            &*self.renewed.world().disk,
        );
        let sealed = match read_file(disk, &path, ACCOUNT_BYTES_MAX) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        let opened = self.facts.open(PLACE, &sealed);
        let opened = opened.map_err(Error::failed("opening the ACME account"))?;
        let stored: Stored =
            serde_json::from_slice(&opened).map_err(Error::failed("reading the ACME account"))?;
        // Another server, or another account there, has another key.
        let is_same =
            stored.directory == self.acme.directory && stored.external == self.external_id();
        Ok(is_same.then_some(stored))
    }

    fn store(&self, credentials: AccountCredentials) -> Result<(), Error> {
        let stored = Stored {
            directory: self.acme.directory.clone(),
            external: self.external_id(),
            credentials,
        };
        let text =
            serde_json::to_vec(&stored).map_err(Error::failed("writing the ACME account"))?;
        let sealed = self.facts.seal(PLACE, &Zeroizing::new(text));
        let path = self.renewed.beside(ACCOUNT_FILE);
        let disk = &*self.renewed.world().disk;
        replace_file(disk, &path, &sealed).map_err(Error::io("write", path))
    }
}

fn external_key(external: &ExternalAccount) -> Result<ExternalAccountKey, Error> {
    let text = read_secret_file(&external.key_file, EXTERNAL_KEY_BYTES_MAX);
    let text = text.map_err(Error::refused("the key of the external account"))?;
    let key = URL_SAFE_NO_PAD.decode(
        text.trim_ascii()
            .strip_suffix(b"=")
            .unwrap_or(text.trim_ascii()),
    );
    let key = key
        .map(Zeroizing::new)
        .map_err(|_| AcmeError::ExternalKey(external.key_file.display().to_string()))?;
    Ok(ExternalAccountKey::new(external.key_id.clone(), &key))
}
