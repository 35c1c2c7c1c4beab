//! What operators do with keys of several regions: give one to another region, change which
//! one leads, forget one that will not come back, compare.

use std::time::{Duration, Instant};

use sealift_keys::{KeyDescription, KeyError, KeySeen, KeyState, LocalKeystore};
use sealift_terms::{AuditKind, AuditRecord, KeyId, KeyNote, Region};

use super::regions_of;
use crate::{
    Error,
    admin::Actor,
    regions::{Answer, Brought, Courier, Question, Trouble},
    running::Running,
    site::about_key,
};

/// How long a command waits for a session that is about to begin, or moves to fresh links.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries.
const TRIED_AGAIN: Duration = Duration::from_millis(250);

/// Takes a step again that found no session, or one that was ending. Every step may be taken
/// twice.
async fn patiently<T, F>(mut step: impl FnMut() -> F) -> Result<T, Trouble>
where
    F: Future<Output = Result<T, Trouble>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        match step().await {
            Err(Trouble::NoSession { .. } | Trouble::NoAnswer(_)) if Instant::now() < deadline => {
                tokio::time::sleep(TRIED_AGAIN).await;
            }
            outcome => return outcome,
        }
    }
}

impl Running {
    /// Gives a key to another region. Nothing is changed here before the other side has said
    /// that it would take it.
    pub(in crate::running) async fn replicate_key(
        &self,
        key: &str,
        to: &Region,
        actor: &Actor,
    ) -> Result<(), Error> {
        let what = format!("key {key}");
        let id = self.site.keystore.replicable(key, to)?;
        let life = self.site.keystore.life(id.as_str())?;
        let alone = self.keeping.alone(to);
        let _alone = alone.lock().await;
        let step = || async {
            self.hold_within(&life, to)?;
            let channel = self.channel(to).await?;
            let courier = Courier {
                site: &self.site,
                channel: &channel,
                key: &id,
            };
            courier.offer(true).await?;
            self.add_replica(&id, to, actor).await?;
            let brought = courier.bring(true).await;
            channel.close().await;
            brought
        };
        match patiently(step).await {
            Ok(Brought::Gone) => Err(Error::Keys(KeyError::NoReplica {
                key: id.to_string(),
                region: to.clone(),
            })),
            Ok(Brought::UpToDate | Brought::More) => Ok(()),
            Err(trouble) => Err(trouble.of(&what)),
        }
    }

    async fn add_replica(
        &self,
        key: &KeyId,
        to: &Region,
        actor: &Actor,
    ) -> Result<KeyDescription, Error> {
        let (id, region) = (key.to_string(), to.clone());
        let act = move |keystore: &LocalKeystore| keystore.add_replica(&id, &region);
        let region = to.clone();
        let tell = move |record, key: &KeyDescription| {
            let record: AuditRecord = about_key(record, key);
            record.with("replica", region)
        };
        let (kind, actor) = (AuditKind::KeyReplicated, actor.to_string());
        self.site.change_keys(kind, actor, act, tell).await
    }

    /// Makes this region the primary of a key.
    pub(in crate::running) async fn promote_key(
        &self,
        key: &str,
        without: Option<&KeyNote>,
        actor: &Actor,
    ) -> Result<(), Error> {
        let life = self.site.keystore.life(key)?;
        let regions = regions_of(&life).map_err(|trouble| trouble.of("the key"))?;
        let (own, before) = (&self.site.config.site.region, regions.primary.clone());
        if before == *own {
            return Ok(());
        }
        // Nobody is asked to step down for a key that cannot lead.
        if let KeyState::PendingDeletion | KeyState::PendingReplicaDeletion = life.state {
            let (key, state, act) = (life.id.to_string(), life.state, "promoted");
            return Err(KeyError::StateForbids { key, state, act }.into());
        }
        let term = regions.term.saturating_add(1);
        if without.is_none() {
            let step = || self.ask_to_yield(&life.id, &before, term);
            let yielded = patiently(step).await;
            yielded.map_err(|trouble| trouble.of(&format!("the promotion of key {key}")))?;
        }
        let id = life.id.to_string();
        let act = move |keystore: &LocalKeystore| keystore.take_over(&id, term);
        let reason = without.cloned();
        let tell = move |record, key: &KeyDescription| {
            let record: AuditRecord = about_key(record, key);
            let record = record.with("primary", &key.region).with("before", before);
            let reason = reason.iter();
            reason.fold(record.with("term", term), |record, reason| {
                record.with("without_primary", reason)
            })
        };
        let (kind, actor) = (AuditKind::KeyPromoted, actor.to_string());
        self.site.change_keys(kind, actor, act, tell).await?;
        self.keeping.wake();
        Ok(())
    }

    async fn ask_to_yield(&self, key: &KeyId, to: &Region, term: u64) -> Result<(), Trouble> {
        let channel = self.channel(to).await?;
        let key = key.clone();
        let answer = channel.ask(&Question::KeyYield { key, term }).await;
        channel.close().await;
        let own = &self.site.config.site.region;
        match answer? {
            Answer::KeySeen { seen } if (seen.term, &seen.primary) == (term, own) => Ok(()),
            _ => Err(Trouble::Misplaced(to.clone())),
        }
    }

    /// Forgets a replica that will not come back, on somebody's word.
    pub(in crate::running) async fn drop_replica(
        &self,
        key: &str,
        of: &Region,
        reason: &KeyNote,
        actor: &Actor,
    ) -> Result<(), Error> {
        let id = self.site.keystore.life(key)?.id;
        let (actor, reason) = (actor.to_string(), reason.to_string());
        self.remove_replica(&id, of, &actor, reason).await?;
        self.keeping.wake();
        Ok(())
    }

    /// How a key stands in other regions.
    pub(in crate::running) async fn seen_elsewhere(
        &self,
        key: &str,
        region: Option<&Region>,
    ) -> Result<Vec<(Region, Result<KeySeen, String>)>, Error> {
        let life = self.site.keystore.life(key)?;
        let regions = regions_of(&life).map_err(|trouble| trouble.of("the key"))?;
        let own = &self.site.config.site.region;
        let others = regions.members.iter().filter(|member| *member != own);
        let asked: Vec<Region> = match region {
            Some(region) => vec![region.clone()],
            None => others.cloned().collect(),
        };
        let mut seen = Vec::new();
        for region in asked {
            let found = patiently(|| self.look_at(&life.id, &region)).await;
            seen.push((region, found.map_err(|trouble| trouble.to_string())));
        }
        Ok(seen)
    }

    async fn look_at(&self, key: &KeyId, region: &Region) -> Result<KeySeen, Trouble> {
        let channel = self.channel(region).await?;
        let courier = Courier {
            site: &self.site,
            channel: &channel,
            key,
        };
        let seen = courier.look().await;
        channel.close().await;
        let none = || KeyError::NoReplica {
            key: key.to_string(),
            region: region.clone(),
        };
        seen?.0.ok_or_else(|| none().into())
    }
}
