//! Keys of the embedded keystore are changed on record, and by themselves when their time
//! has come: rotated, forgotten, destroyed.

use std::{collections::BTreeSet, sync::Arc};

use sealift_keys::{KeyDescription, KeyError, KeyLife, KeyState, LocalKeystore};
use sealift_terms::{AuditKind, AuditRecord, KeyId, KeyNote};

use super::{Site, residency::sealed_under};
use crate::Error;

/// For whom keys are rotated and destroyed by themselves.
const AGENT: &str = "agent";
/// Why a key gets a version by itself.
const SCHEDULED: &str = "on schedule";

impl Site {
    /// Acts on the keystore, on record. The file is replaced and perhaps a passphrase
    /// stretched: on a thread that may block, and to its end even when whoever asked
    /// is gone by then.
    pub(crate) async fn change_keys<T: Send + 'static>(
        self: &Arc<Self>,
        kind: AuditKind,
        actor: impl Into<String>,
        act: impl FnOnce(&LocalKeystore) -> Result<T, KeyError> + Send + 'static,
        tell: impl FnOnce(AuditRecord, &T) -> AuditRecord + Send + 'static,
    ) -> Result<T, Error> {
        // A log that cannot be written is noticed before anything is done.
        self.audit_durable().await?;
        let (site, actor) = (Arc::clone(self), actor.into());
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

    /// Makes everything that is on record durable.
    pub(crate) async fn audit_durable(&self) -> Result<(), Error> {
        let flushed = self.audit.flush().await;
        flushed.map_err(Error::failed("writing the audit log"))
    }

    /// Gives every key a new version whose time has come.
    pub(crate) async fn rotate_due(self: &Arc<Self>) -> Result<(), Error> {
        let is_due = |key: &KeyLife| key.overdue && key.state == KeyState::Enabled;
        let lives = self.keystore.lives();
        for key in lives.into_iter().filter(is_due) {
            let (id, why) = (key.id.to_string(), KeyNote::new(SCHEDULED).ok());
            let act = move |keystore: &LocalKeystore| keystore.rotate_because(&id, why);
            let tell = |record, key: &KeyDescription| about(record, key).with("reason", SCHEDULED);
            let rotated = self.change_keys(AuditKind::KeyRotated, AGENT, act, tell);
            let rotated = rotated.await?;
            tracing::warn!(
                key = %rotated.id, version = rotated.current,
                "a key was rotated, as its time had come: back it up with `sealift keys backup`"
            );
        }
        Ok(())
    }

    /// Forgets imported material whose time is over.
    pub(crate) async fn forget_expired(self: &Arc<Self>) -> Result<(), Error> {
        let now = self.world.clock.now();
        let is_over = |key: &KeyLife| key.expires.is_some_and(|expires| expires <= now);
        if !self.keystore.lives().iter().any(is_over) {
            return Ok(());
        }
        let tell = |record: AuditRecord, keys: &Vec<KeyDescription>| {
            let ids: Vec<_> = keys.iter().map(|key| key.id.to_string()).collect();
            record.with("keys", ids.join(" "))
        };
        let forget = LocalKeystore::forget_expired;
        let forgotten = self.change_keys(AuditKind::KeyMaterialExpired, AGENT, forget, tell);
        for key in forgotten.await? {
            tracing::error!(
                key = %key.id,
                "the time of imported material is over: `sealift keys import` brings it again"
            );
        }
        Ok(())
    }

    /// Destroys every key whose time has come and that nothing needs. Of the others it is
    /// said once why they stay, as long as this process knows them by `told`.
    pub(crate) async fn destroy_due(
        self: &Arc<Self>,
        told: &mut BTreeSet<KeyId>,
    ) -> Result<(), Error> {
        let now = self.world.clock.now();
        let is_due = |key: &KeyLife| key.delete_at.is_some_and(|due| due <= now);
        for key in self.keystore.lives().into_iter().filter(is_due) {
            match self.needed_by(&key, None).await? {
                None => {
                    let id = key.id.to_string();
                    let act = move |keystore: &LocalKeystore| keystore.destroy(&id);
                    let done = self.change_keys(AuditKind::KeyDestroyed, AGENT, act, about);
                    let destroyed = done.await?;
                    tracing::warn!(key = %destroyed.id, "a key was destroyed after its time");
                }
                Some(by) if told.insert(key.id.clone()) => {
                    tracing::error!(
                        key = %key.id, by,
                        "a key is not destroyed although its time has come"
                    );
                    let kind = AuditKind::KeyDestructionRefused;
                    let record = AuditRecord::new(now, kind, AGENT);
                    self.record(record.with("key", &key.id).with("needed_by", by))?;
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// What still needs a key, or one version of it: a bucket of the configuration, or
    /// something that rests here. A scan of everything.
    pub(crate) async fn needed_by(
        &self,
        key: &KeyLife,
        version: Option<&str>,
    ) -> Result<Option<String>, Error> {
        if version.is_none()
            && let Some(bucket) = self.bucket_of(key)
        {
            return Ok(Some(bucket));
        }
        let needs = self.archive.needs(&key.id, version).await?;
        Ok((!needs.is_nothing()).then(|| needs.to_string()))
    }

    /// The bucket of the configuration that a key is named for.
    pub(crate) fn bucket_of(&self, key: &KeyLife) -> Option<String> {
        let config = self.current();
        let bucket = sealed_under(&config, key).next()?;
        Some(format!("bucket {} is sealed under it", bucket.name))
    }
}

/// What the audit log says of a key that was changed.
pub(crate) fn about(record: AuditRecord, key: &KeyDescription) -> AuditRecord {
    let record = record.with("key", &key.id).with("state", key.state);
    let record = record.with("version", &key.current);
    let alias = key.alias.iter();
    alias.fold(record, |record, alias| record.with("alias", alias))
}
