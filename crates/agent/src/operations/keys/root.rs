//! `keys rekey-root`: the keystore under another root key.

use sealift_keys::{LocalKeystore, RootSecret, WrappedRoot};
use sealift_terms::{AuditKind, AuditRecord};

use super::SiteOperations;
use crate::{
    Error,
    admin::{Actor, Answer, NewRootKey, RootKeyChanged, RootKeyForm, RootKeyWrapped},
};

impl SiteOperations {
    /// Lets a key service make a root key. What asked writes it to a file before anything is
    /// sealed under it.
    pub(super) async fn wrap_root(
        &self,
        under: &str,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        let site = &self.site;
        self.audit_durable().await?;
        let region = &site.config.site.region;
        let root = WrappedRoot::make(&*site.providers, under, region, &*site.world.rng).await?;
        let (provider, cmk, version) = root.wrapped_by();
        let now = site.world.clock.now();
        let record = AuditRecord::new(now, AuditKind::KeyWrapped, actor.to_string());
        let record = record
            .with("root_key", root.id())
            .with("provider", provider)
            .with("cmk", cmk)
            .with("cmk_version", version);
        site.record(record)?;
        self.audit_durable().await?;
        let text = root.to_text();
        answer.row(&RootKeyWrapped { text }).await
    }

    pub(super) async fn rekey_root(
        &self,
        new: NewRootKey,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        let NewRootKey { file, holds } = new;
        let (site, read) = (&self.site, file.clone());
        let wrapped = match holds {
            RootKeyForm::Wrapped => {
                let root = WrappedRoot::read(&*site.world.disk, &read)?;
                let region = &site.config.site.region;
                Some(root.open(&*site.providers, region).await?)
            }
            RootKeyForm::Key | RootKeyForm::Passphrase => None,
        };
        let act = move |keystore: &LocalKeystore| {
            let secret = match (wrapped, holds) {
                (Some(secret), _) => secret,
                (None, RootKeyForm::Passphrase) => RootSecret::from_passphrase_file(&read)?,
                (None, _) => RootSecret::from_file(&read)?,
            };
            keystore.rekey(secret)?;
            Ok(keystore.list().len())
        };
        let setting = match holds {
            RootKeyForm::Key => "keys.root_key_file",
            RootKeyForm::Passphrase => "keys.root_key_passphrase_file",
            RootKeyForm::Wrapped => "keys.root_key_wrapped_file",
        };
        let shown = file.display().to_string();
        let tell = move |record: AuditRecord, _: &usize| record.with(setting, shown);
        let (kind, actor) = (AuditKind::RootKeyChanged, actor.to_string());
        let keys = site.change_keys(kind, actor, act, tell).await?;
        let setting = setting.to_owned();
        let changed = RootKeyChanged {
            file,
            setting,
            keys,
        };
        answer.row(&changed).await
    }
}
