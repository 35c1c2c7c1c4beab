//! `keys`: looking at keys, and changing those of the embedded keystore.

mod backups;
mod root;

use sealift_keys::{
    Held, Import, KeyDescription, KeyError, KeyLife, KeyName, LocalKeystore, NewKey, ProviderKind,
};
use sealift_ledger::KeyUse;
use sealift_terms::{AuditKind, AuditRecord, KeyNote, Region};

use super::{SiteOperations, service_keys::is_of_service};
use crate::{
    Error,
    admin::{Actor, Answer, KeyDiffRow, KeyRow, Keys},
    config::NamedKey,
    site::about_key,
};

/// Why a stopped agent does nothing between regions.
const OF_REGIONS: &str = "it speaks with other regions while it runs";

impl SiteOperations {
    pub(super) async fn keys(
        &self,
        keys: Keys,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        hold_own(&keys)?;
        let changed = match keys {
            Keys::List => return self.list_keys(answer).await,
            Keys::Describe { key } if is_of_service(&key) => {
                let told = self.service_key(&key).await?;
                return answer.row(&KeyRow::Service(Box::new(told))).await;
            }
            Keys::Describe { key } => {
                return answer
                    .row(&self.counted(self.site.keystore.life(&key)?).await?)
                    .await;
            }
            Keys::Backup { passphrase } => return self.back_up(passphrase, actor, answer).await,
            Keys::BackedUp(held) => return self.backed_up(held, actor, answer).await,
            Keys::Restore { passphrase, backup } => {
                return self.take_back(passphrase, backup, actor, answer).await;
            }
            Keys::WrapRoot { under } => return self.wrap_root(&under, actor, answer).await,
            Keys::RekeyRoot(new) => return self.rekey_root(new, actor, answer).await,
            Keys::Diff { key, with } => return self.diff(&key, with.as_ref(), answer).await,
            Keys::Replicate { key, to } => {
                self.live(OF_REGIONS)?
                    .replicate_key(&key, &to, actor)
                    .await?;
                return self.tell_life(&key, answer).await;
            }
            Keys::Promote {
                key,
                without_primary,
            } => {
                let (live, without) = (self.live(OF_REGIONS)?, without_primary.as_ref());
                live.promote_key(&key, without, actor).await?;
                return self.tell_life(&key, answer).await;
            }
            Keys::DropReplica { key, of, reason } => {
                let live = self.live(OF_REGIONS)?;
                live.drop_replica(&key, &of, &reason, actor).await?;
                return self.tell_life(&key, answer).await;
            }
            Keys::ScheduleDeletion { key, days } => {
                self.hold_no_bucket(&key)?;
                let act = move |keystore: &LocalKeystore| keystore.schedule_deletion(&key, days);
                self.changed(AuditKind::KeyStateChanged, actor, act).await
            }
            Keys::Set { key, change } => {
                if change.alias.is_some() {
                    self.hold_alias_unused(&key)?;
                }
                let act = move |keystore: &LocalKeystore| keystore.set(&key, change);
                self.changed(AuditKind::KeyChanged, actor, act).await
            }
            Keys::Retire { key, version } => self.retire(key, version, actor).await,
            Keys::Rotate { key, reason } => self.rotate(key, reason, actor).await,
            simple => self.change_simply(simple, actor).await,
        };
        let changed = changed?;
        if let Some(live) = &self.live {
            live.keys_changed();
        }
        self.tell_life(changed.id.as_str(), answer).await
    }

    async fn tell_life(&self, key: &str, answer: &Answer) -> Result<(), Error> {
        let life = self.site.keystore.life(key)?;
        answer.row(&self.counted(life).await?).await
    }

    /// In what the regions of a key differ.
    async fn diff(&self, key: &str, with: Option<&Region>, answer: &Answer) -> Result<(), Error> {
        let live = self.live(OF_REGIONS)?;
        let own = self.site.keystore.seen(key)?;
        let id = self.site.keystore.life(key)?.id;
        for (region, seen) in live.seen_elsewhere(key, with).await? {
            let row = |property: String, shared: bool, here: String, there: String| KeyDiffRow {
                key: id.clone(),
                region: region.clone(),
                property,
                shared,
                here,
                there,
            };
            match seen {
                Err(trouble) => {
                    let reached = row("reached".to_owned(), false, String::new(), trouble);
                    answer.row(&reached).await?;
                }
                Ok(seen) => {
                    for one in own.differences(&seen) {
                        let told = row(one.property, one.shared, one.here, one.there);
                        answer.row(&told).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// What needs no look at anything but the keystore.
    async fn change_simply(&self, keys: Keys, actor: &Actor) -> Result<KeyDescription, Error> {
        let region = self.site.config.site.region.clone();
        let named = |alias| NewKey {
            alias: Some(alias),
            ..NewKey::of(region)
        };
        match keys {
            Keys::Create {
                alias,
                description,
                rotate_every_days,
                multi_region,
                allowed_regions,
            } => {
                let new = NewKey {
                    description,
                    rotate_every_days,
                    is_multi_region: multi_region,
                    allowed_regions,
                    ..named(alias)
                };
                let act = move |keystore: &LocalKeystore| keystore.create_new(new);
                self.changed(AuditKind::KeyCreated, actor, act).await
            }
            Keys::Import {
                key,
                material,
                expires,
                new_version,
                description,
            } => {
                let new = NewKey {
                    description,
                    ..named(key)
                };
                let import = Import {
                    expires,
                    is_new_version: new_version,
                    material,
                };
                self.import(new, import, actor).await
            }
            Keys::Disable { key } => {
                let act = move |keystore: &LocalKeystore| keystore.disable(&key);
                self.changed(AuditKind::KeyStateChanged, actor, act).await
            }
            Keys::Enable { key } => {
                let act = move |keystore: &LocalKeystore| keystore.enable(&key);
                self.changed(AuditKind::KeyStateChanged, actor, act).await
            }
            Keys::CancelDeletion { key } => {
                let act = move |keystore: &LocalKeystore| keystore.cancel_deletion(&key);
                self.changed(AuditKind::KeyStateChanged, actor, act).await
            }
            other => Err(Error::Request {
                what: "act on keys",
                found: format!("{other:?}"),
                allowed: "one that this version knows".to_owned(),
            }),
        }
    }

    async fn list_keys(&self, answer: &Answer) -> Result<(), Error> {
        let used = self.site.catalog.key_use().await?;
        for key in self.site.keystore.lives() {
            answer
                .row(&self.with_trouble(with_counts(key, &used)))
                .await?;
        }
        for key in self.service_keys(&used).await {
            answer.row(&KeyRow::Service(Box::new(key))).await?;
        }
        Ok(())
    }

    /// A key with what rests under each of its versions.
    async fn counted(&self, key: KeyLife) -> Result<KeyLife, Error> {
        let counted = with_counts(key, &self.site.catalog.key_use().await?);
        Ok(self.with_trouble(counted))
    }

    /// A key with what keeps its replicas from being brought up to date.
    pub(super) fn with_trouble(&self, mut key: KeyLife) -> KeyLife {
        let regions = key.regions.as_mut().into_iter();
        for replica in regions.flat_map(|regions| &mut regions.replicas) {
            let live = self.live.as_ref();
            replica.trouble = live.and_then(|live| live.replica_trouble(&key.id, &replica.region));
        }
        key
    }

    /// Changes one key.
    async fn changed(
        &self,
        kind: AuditKind,
        actor: &Actor,
        act: impl FnOnce(&LocalKeystore) -> Result<KeyDescription, KeyError> + Send + 'static,
    ) -> Result<KeyDescription, Error> {
        let actor = actor.to_string();
        self.site.change_keys(kind, actor, act, about_key).await
    }

    async fn rotate(
        &self,
        key: String,
        reason: Option<KeyNote>,
        actor: &Actor,
    ) -> Result<KeyDescription, Error> {
        let why = reason.clone();
        let act = move |keystore: &LocalKeystore| keystore.rotate_because(&key, why);
        let tell = move |record: AuditRecord, key: &KeyDescription| {
            let record = about_key(record, key);
            reason
                .iter()
                .fold(record, |record, why| record.with("reason", why))
        };
        let (kind, actor) = (AuditKind::KeyRotated, actor.to_string());
        self.site.change_keys(kind, actor, act, tell).await
    }

    async fn import(
        &self,
        new: NewKey,
        import: Import,
        actor: &Actor,
    ) -> Result<KeyDescription, Error> {
        let expires = import.expires;
        let act = move |keystore: &LocalKeystore| {
            let key = keystore.import(new, import)?;
            let life = keystore.life(key.id.as_str())?;
            Ok((key, life))
        };
        let tell = move |record: AuditRecord, (key, life): &(KeyDescription, KeyLife)| {
            let prints = life.versions.iter().map(|one| one.fingerprint.iter());
            let prints: Vec<_> = prints.flatten().map(String::as_str).collect();
            let record = about_key(record, key).with("fingerprints", prints.join(" "));
            let until = expires.iter();
            until.fold(record, |record, until| record.with("expires", until))
        };
        let (kind, actor) = (AuditKind::KeyImported, actor.to_string());
        let imported = self.site.change_keys(kind, actor, act, tell).await?;
        Ok(imported.0)
    }

    /// Only what nothing needs any more is destroyed, by a scan of everything.
    async fn retire(
        &self,
        key: String,
        version: String,
        actor: &Actor,
    ) -> Result<KeyDescription, Error> {
        let site = &self.site;
        site.keystore.retirable(&key, &version)?;
        let life = site.keystore.life(&key)?;
        if let Some(by) = site.needed_by(&life, Some(&version)).await? {
            let what = format!("version {version} of key {}", life.id);
            let kind = AuditKind::KeyDestructionRefused;
            let record = AuditRecord::new(site.world.clock.now(), kind, actor.to_string());
            let record = record.with("key", &life.id).with("version", &version);
            site.record(record.with("needed_by", &by))?;
            return Err(KeyError::InUse { what, by }.into());
        }
        let retired = version.clone();
        let act = move |keystore: &LocalKeystore| keystore.retire(&key, &version);
        let tell = move |record: AuditRecord, key: &KeyDescription| {
            about_key(record, key).with("retired", retired)
        };
        let (kind, actor) = (AuditKind::KeyVersionRetired, actor.to_string());
        site.change_keys(kind, actor, act, tell).await
    }

    /// Refuses to do to a bucket's key what would stop the bucket for good.
    fn hold_no_bucket(&self, key: &str) -> Result<(), Error> {
        let life = self.site.keystore.life(key)?;
        match self.site.bucket_of(&life) {
            None => Ok(()),
            Some(by) => {
                let what = format!("key {key}");
                Err(KeyError::InUse { what, by }.into())
            }
        }
    }

    /// A bucket names its key by this alias: without it the bucket has none.
    fn hold_alias_unused(&self, key: &str) -> Result<(), Error> {
        let life = self.site.keystore.life(key)?;
        let config = self.site.current();
        let Some(alias) = &life.alias else {
            return Ok(());
        };
        let named = KeyName::new(ProviderKind::Local, alias.as_str());
        let mut buckets = config.buckets.iter();
        let uses = |key: &NamedKey| KeyName::parse(&key.name) == named;
        match buckets.find(|bucket| bucket.keys().any(|(_, key)| uses(key))) {
            None => Ok(()),
            Some(bucket) => {
                let what = format!("alias {alias}");
                let by = format!("bucket {} names its key by it", bucket.name);
                Err(KeyError::InUse { what, by }.into())
            }
        }
    }
}

/// A key of a key service is looked at here, and changed there.
fn hold_own(keys: &Keys) -> Result<(), Error> {
    match keys.changes() {
        Some(key) if is_of_service(key) => Err(Error::Request {
            what: "key",
            found: key.to_owned(),
            allowed: "a key of the embedded keystore: one of a key service is changed there"
                .to_owned(),
        }),
        _ => Ok(()),
    }
}

fn with_counts(mut key: KeyLife, used: &[KeyUse]) -> KeyLife {
    for version in &mut key.versions {
        let is_it = |used: &&KeyUse| {
            used.provider == ProviderKind::Local.as_str()
                && used.cmk == key.id
                && used.cmk_version == version.id
        };
        let used = used.iter().find(is_it);
        version.held = Some(used.map_or_else(Held::default, |used| Held {
            records: used.records,
            objects: used.objects,
            bytes: used.bytes,
        }));
    }
    key
}
