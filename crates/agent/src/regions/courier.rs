//! The asking side: brings a replica up to date, and looks at how it stands.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use sealift_keys::{Bound, KeyLife, KeyRegions, KeySeen, LocalKeystore, Synchronized, bring};
use sealift_terms::{AuditKind, AuditRecord, KeyId, Timestamp};

use super::{Answer, Channel, Question, Trouble, messages::bytes};
use crate::site::{Site, about_key};

/// Steps in which one replica is brought up to date at once: so many times
/// `KEY_VERSIONS_PER_EXCHANGE_MAX` versions. What is left follows a second later.
const STEPS_MAX: usize = 16;
/// For whom keys are synchronised.
const AGENT: &str = "agent";

/// One key and one peer.
pub(crate) struct Courier<'a> {
    pub(crate) site: &'a Arc<Site>,
    pub(crate) channel: &'a Channel,
    pub(crate) key: &'a KeyId,
}

/// What came of bringing a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Brought {
    /// The replica is as far as this site.
    UpToDate,
    /// Not yet: there is more than goes at once.
    More,
    /// The replica was destroyed there.
    Gone,
}

impl Courier<'_> {
    /// How the key stands there: nothing of one that is not there; the last part is whether
    /// it was destroyed.
    pub(crate) async fn look(&self) -> Result<(Option<KeySeen>, bool), Trouble> {
        let key = self.key.clone();
        match self.channel.ask(&Question::KeyLook { key }).await? {
            Answer::KeySeen { seen } => Ok((Some(self.of_there(*seen)?), false)),
            Answer::KeyGone => Ok((None, true)),
            Answer::KeyNone => Ok((None, false)),
            _ => Err(self.misplaced()),
        }
    }

    /// Whether the other side would take the key.
    pub(crate) async fn offer(&self, new: bool) -> Result<(), Trouble> {
        let key = self.key.clone();
        match self.channel.ask(&Question::KeyOffer { key, new }).await? {
            Answer::KeyWanted { .. } => Ok(()),
            _ => Err(self.misplaced()),
        }
    }

    /// Brings what is missing there.
    pub(crate) async fn bring(&self, mut new: bool) -> Result<Brought, Trouble> {
        for _ in 0..STEPS_MAX {
            let Some(seen) = self.step(new).await? else {
                return Ok(Brought::Gone);
            };
            new = false;
            self.acknowledged(&seen).await?;
            if self.is_up_to_date(&seen)? {
                return Ok(Brought::UpToDate);
            }
        }
        Ok(Brought::More)
    }

    /// Whether there is nothing that it lacks: by now another version may wrap.
    pub(crate) fn is_up_to_date(&self, seen: &KeySeen) -> Result<bool, Trouble> {
        let here = self.site.keystore.seen(self.key.as_str())?;
        Ok(seen.generation >= here.generation && seen.versions >= here.versions)
    }

    /// One offer and what is brought upon it; nothing when the key was destroyed there.
    async fn step(&self, new: bool) -> Result<Option<KeySeen>, Trouble> {
        let key = self.key.clone();
        let (exchange, public, versions) =
            match self.channel.ask(&Question::KeyOffer { key, new }).await? {
                Answer::KeyWanted {
                    exchange,
                    public,
                    versions,
                } => (exchange, public, versions),
                Answer::KeyGone => return Ok(None),
                _ => return Err(self.misplaced()),
            };
        let number = bytes(&exchange).ok_or_else(|| self.misplaced())?;
        let theirs = bytes(&public).ok_or_else(|| self.misplaced())?;
        let shared = self.site.keystore.share(self.key.as_str(), versions)?;
        let binding = self.channel.binding();
        let bound = Bound {
            exporter: &binding.exporter,
            exchange: &number,
            source: &binding.own,
            target: &binding.peer,
            key: self.key,
        };
        let wrapped = bring(&shared, &theirs, bound, &*self.site.world.rng)?;
        let question = Question::KeyBring {
            exchange,
            public: hex::encode(wrapped.public),
            sealed: STANDARD.encode(wrapped.sealed),
        };
        match self.channel.ask(&question).await? {
            Answer::KeySeen { seen } => Ok(Some(self.of_there(*seen)?)),
            _ => Err(self.misplaced()),
        }
    }

    /// Puts on record, and into the keystore, how far the replica says that it is.
    pub(crate) async fn acknowledged(&self, seen: &KeySeen) -> Result<Synchronized, Trouble> {
        let (key, peer) = (self.key.to_string(), self.channel.binding().peer.clone());
        let (told, site) = (seen.clone(), Arc::clone(self.site));
        let act = {
            let seen = seen.clone();
            move |keystore: &LocalKeystore| {
                let done = keystore.replica_is(&key, &seen)?;
                let life = keystore.life(&key)?;
                Ok((done, life))
            }
        };
        let tell = move |record: AuditRecord, (done, life): &(Synchronized, KeyLife)| {
            let lag = lag_ms(done.changed_at, site.world.clock.now());
            let record = about_key(record, &done.key)
                .with("replica", &told.region)
                .with("peer", &peer)
                .with("versions", told.versions)
                .with("lag_ms", lag);
            record.with("replicas", replicas(life.regions.as_ref()))
        };
        let kind = AuditKind::KeySynchronized;
        let (done, _) = self.site.change_keys(kind, AGENT, act, tell).await?;
        if done.activated {
            tracing::info!(
                key = %self.key, version = done.key.current,
                "every region has the new version of a key: it wraps from now on"
            );
        }
        Ok(done)
    }

    /// What is said of another region than the one that is asked is not believed.
    fn of_there(&self, seen: KeySeen) -> Result<KeySeen, Trouble> {
        match seen.region == *self.channel.region() {
            true => Ok(seen),
            false => Err(self.misplaced()),
        }
    }

    fn misplaced(&self) -> Trouble {
        Trouble::Misplaced(self.channel.region().clone())
    }
}

/// How far each replica is, in words: `region-b 3, region-c 2`.
fn replicas(regions: Option<&KeyRegions>) -> String {
    let replicas = regions.into_iter().flat_map(|regions| &regions.replicas);
    let told = replicas.map(|replica| format!("{} {}", replica.region, replica.versions));
    told.collect::<Vec<_>>().join(", ")
}

/// From a change to when it was taken up, in milliseconds; the two clocks may be two.
pub(crate) fn lag_ms(changed_at: Timestamp, now: Timestamp) -> u128 {
    now.since(changed_at).as_millis()
}
