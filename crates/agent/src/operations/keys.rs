//! `keys`: looking at the keys of the embedded keystore, and changing them.

use std::sync::Arc;

use bytes::Bytes;
use sealift_keys::{KeyDescription, KeyError, LocalKeystore, StretchedPassphrase};
use sealift_terms::{AuditKind, AuditRecord};

use super::SiteOperations;
use crate::{
    Error,
    admin::{Actor, Answer, KeyVersions, Keys, KeysRestored},
};

/// Bytes of a backup that are sent at once.
const PIECE_BYTES: usize = 1 << 20;

impl SiteOperations {
    pub(super) async fn keys(
        &self,
        keys: Keys,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        let region = self.site.config.site.region.clone();
        let changed = match keys {
            Keys::List => {
                for key in self.site.keystore.list() {
                    answer.row(&key).await?;
                }
                return Ok(());
            }
            Keys::Backup { passphrase } => return self.back_up(passphrase, actor, answer).await,
            Keys::BackedUp(held) => return self.backed_up(held, actor, answer).await,
            Keys::Restore { passphrase, backup } => {
                return self.take_back(passphrase, backup, actor, answer).await;
            }
            Keys::Create { alias } => {
                let act = move |keystore: &LocalKeystore| keystore.create_key(Some(alias), region);
                self.changed(AuditKind::KeyCreated, None, actor, act).await
            }
            Keys::Rotate { key, reason } => {
                let act = move |keystore: &LocalKeystore| keystore.rotate(&key);
                self.changed(AuditKind::KeyRotated, reason, actor, act)
                    .await
            }
            Keys::Disable { key } => {
                let act = move |keystore: &LocalKeystore| keystore.disable(&key);
                self.changed(AuditKind::KeyStateChanged, None, actor, act)
                    .await
            }
            Keys::Enable { key } => {
                let act = move |keystore: &LocalKeystore| keystore.enable(&key);
                self.changed(AuditKind::KeyStateChanged, None, actor, act)
                    .await
            }
        };
        answer.row(&changed?).await
    }

    /// Changes one key.
    async fn changed(
        &self,
        kind: AuditKind,
        reason: Option<String>,
        actor: &Actor,
        act: impl FnOnce(&LocalKeystore) -> Result<KeyDescription, KeyError> + Send + 'static,
    ) -> Result<KeyDescription, Error> {
        self.on_record(kind, actor, act, move |record, key| {
            let record = record.with("key", &key.id).with("state", key.state);
            let record = record.with("version", &key.current);
            let alias = key.alias.iter();
            let record = alias.fold(record, |record, alias| record.with("alias", alias));
            reason
                .iter()
                .fold(record, |record, why| record.with("reason", why))
        })
        .await
    }

    async fn back_up(
        &self,
        passphrase: StretchedPassphrase,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        let act = move |keystore: &LocalKeystore| keystore.backup(&passphrase.to_secret());
        let backup = self.on_record(AuditKind::KeyBackup, actor, act, |record, backup| {
            record
                .with("act", "made")
                .with("versions", backup.versions.len())
        });
        let backup = backup.await?;
        let versions = backup.versions;
        answer.row(&KeyVersions { versions }).await?;
        let mut bytes = Bytes::from(backup.bytes);
        while !bytes.is_empty() {
            let piece = bytes.split_to(PIECE_BYTES.min(bytes.len()));
            answer.bytes(piece).await?;
        }
        Ok(())
    }

    async fn backed_up(
        &self,
        held: KeyVersions,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        let act = move |keystore: &LocalKeystore| {
            keystore.mark_backed_up(&held.versions)?;
            Ok(held)
        };
        let held = self.on_record(AuditKind::KeyBackup, actor, act, |record, held| {
            record
                .with("act", "verified")
                .with("versions", held.versions.len())
        });
        answer.row(&held.await?).await
    }

    async fn take_back(
        &self,
        passphrase: StretchedPassphrase,
        backup: String,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        let act = move |keystore: &LocalKeystore| {
            let restored = keystore.take_back(backup.as_bytes(), &passphrase.to_secret())?;
            Ok(KeysRestored {
                versions: restored.versions.len(),
                keys_added: restored.keys_added,
                versions_added: restored.versions_added,
            })
        };
        let restored = self.on_record(AuditKind::KeyBackup, actor, act, |record, restored| {
            let record = record.with("act", "restored");
            let record = record.with("versions", restored.versions);
            let record = record.with("keys_added", restored.keys_added);
            record.with("versions_added", restored.versions_added)
        });
        answer.row(&restored.await?).await
    }

    /// Acts on the keystore, on record. The file is replaced and perhaps a passphrase
    /// stretched: on a thread that may block, and to its end even when whoever asked
    /// is gone by then.
    async fn on_record<T: Send + 'static>(
        &self,
        kind: AuditKind,
        actor: &Actor,
        act: impl FnOnce(&LocalKeystore) -> Result<T, KeyError> + Send + 'static,
        tell: impl FnOnce(AuditRecord, &T) -> AuditRecord + Send + 'static,
    ) -> Result<T, Error> {
        // A log that cannot be written is noticed before anything is done.
        self.audit_durable().await?;
        let (site, actor) = (Arc::clone(&self.site), actor.to_string());
        let work = tokio::task::spawn_blocking(move || {
            let done = act(&site.keystore)?;
            site.ring.recheck();
            let record = AuditRecord::new(site.world.clock.now(), kind, actor);
            site.record(tell(record, &done))?;
            Ok::<T, Error>(done)
        });
        let done = work
            .await
            .map_err(Error::failed("changing the keystore"))??;
        self.audit_durable().await?;
        Ok(done)
    }
}
