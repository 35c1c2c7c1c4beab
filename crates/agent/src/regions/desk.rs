//! The answering side: whoever asks about keys is held against the grants of this site.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use parking_lot::Mutex;
use sealift_identity::Denials;
use sealift_keys::{
    Awaiting, Bound, Brought, KeyError, KeySeen, LocalKeystore, SharedKey, Synchronized,
};
use sealift_terms::{
    AuditKind, AuditRecord, KeyId, Reason,
    limits::{KEY_EXCHANGE_TIME_MAX, KEY_EXCHANGES_OPEN_MAX},
};
use sealift_tunnel::{Binding, Questions};

use super::{Answer, Question, lag_ms, messages::bytes};
use crate::{
    Error,
    site::{Site, about_key},
};

/// Answers what peers ask about keys.
pub(crate) struct KeyDesk {
    site: Arc<Site>,
    open: Mutex<VecDeque<Open>>,
    denials: Mutex<Denials>,
}

/// An offer that was taken, until the key comes.
struct Open {
    exchange: [u8; 16],
    binding: Binding,
    key: KeyId,
    is_new: bool,
    awaiting: Awaiting,
    since: Duration,
}

/// What is answered in place of what was asked for.
struct Refused(Reason, String);

impl From<KeyError> for Refused {
    fn from(error: KeyError) -> Self {
        Self(error.reason(), error.to_string())
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        match error {
            Error::Keys(error) => error.into(),
            // Nothing is done that cannot be put on record.
            error => Self(Reason::AuditUnavailable, error.in_one_line()),
        }
    }
}

#[async_trait]
impl Questions for KeyDesk {
    async fn answer(&self, question: &[u8], binding: Option<&Binding>) -> Vec<u8> {
        let answer = match (serde_json::from_slice(question), binding) {
            (Ok(question), Some(binding)) => match self.asked(question, binding).await {
                Ok(answer) => answer,
                Err(Refused(reason, told)) => {
                    tracing::warn!(peer = %binding.peer, %reason, told, "a key is refused");
                    Answer::KeyRefused {
                        reason: reason.to_string(),
                        told,
                    }
                }
            },
            _ => Answer::Unknown,
        };
        serde_json::to_vec(&answer).unwrap_or_default()
    }
}

impl KeyDesk {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        Self {
            site,
            open: Mutex::default(),
            denials: Mutex::default(),
        }
    }

    async fn asked(&self, question: Question, from: &Binding) -> Result<Answer, Refused> {
        match question {
            Question::KeyLook { key } => self.look(&key, from),
            Question::KeyOffer { key, new } => self.offered(key, new, from),
            Question::KeyBring {
                exchange,
                public,
                sealed,
            } => self.brought(&exchange, &public, &sealed, from).await,
            Question::KeyYield { key, term } => self.yielded(key, term, from).await,
        }
    }

    /// Regions of one key may look at it, and those who may bring it.
    fn look(&self, key: &KeyId, from: &Binding) -> Result<Answer, Refused> {
        let seen = self.site.keystore.seen(key.as_str());
        let is_member = |seen: &KeySeen| seen.members.contains(from.peer.region());
        if !seen.as_ref().is_ok_and(is_member) {
            self.hold_granted(key, from)?;
        }
        match seen {
            Ok(seen) => Ok(Answer::KeySeen {
                seen: Box::new(seen),
            }),
            Err(KeyError::Missing { .. }) => Ok(match self.site.keystore.was_destroyed(key) {
                true => Answer::KeyGone,
                false => Answer::KeyNone,
            }),
            Err(error) => Err(error.into()),
        }
    }

    fn offered(&self, key: KeyId, is_new: bool, from: &Binding) -> Result<Answer, Refused> {
        self.hold_granted(&key, from)?;
        let versions = match self.site.keystore.seen(key.as_str()) {
            Ok(seen) => seen.versions,
            Err(KeyError::Missing { .. }) if self.site.keystore.was_destroyed(&key) && !is_new => {
                return Ok(Answer::KeyGone);
            }
            Err(KeyError::Missing { .. }) => 0,
            Err(error) => return Err(error.into()),
        };
        let awaiting = Awaiting::new()?;
        let mut exchange = [0; 16];
        self.site.world.rng.fill(&mut exchange);
        let public = hex::encode(awaiting.public());
        self.await_key(Open {
            exchange,
            binding: from.clone(),
            key,
            is_new,
            awaiting,
            since: self.site.world.clock.monotonic(),
        });
        Ok(Answer::KeyWanted {
            exchange: hex::encode(exchange),
            public,
            versions,
        })
    }

    /// Of one peer the oldest gives way: it has not brought what it offered.
    fn await_key(&self, new: Open) {
        let mut open = self.open.lock();
        let now = new.since;
        open.retain(|one| now.saturating_sub(one.since) < KEY_EXCHANGE_TIME_MAX);
        let of_peer = |one: &Open| one.binding.peer == new.binding.peer;
        if open.iter().filter(|one| of_peer(one)).count() >= KEY_EXCHANGES_OPEN_MAX
            && let Some(oldest) = open.iter().position(of_peer)
        {
            open.remove(oldest);
        }
        open.push_back(new);
    }

    /// What was offered over this very connection, and not brought yet: once.
    fn take_open(&self, exchange: &[u8; 16], from: &Binding) -> Option<Open> {
        let now = self.site.world.clock.monotonic();
        let mut open = self.open.lock();
        open.retain(|one| now.saturating_sub(one.since) < KEY_EXCHANGE_TIME_MAX);
        let is_it = |one: &Open| one.exchange == *exchange && one.binding == *from;
        let at = open.iter().position(is_it)?;
        open.remove(at)
    }

    async fn brought(
        &self,
        exchange: &str,
        public: &str,
        sealed: &str,
        from: &Binding,
    ) -> Result<Answer, Refused> {
        let odd = |what| Refused::from(KeyError::Exchange { what });
        let number = bytes(exchange).ok_or_else(|| odd("it names no exchange"))?;
        let open = self.take_open(&number, from);
        let open = open.ok_or_else(|| odd("it was not offered, or too long ago"))?;
        self.hold_granted(&open.key, from)?;
        let brought = Brought {
            public: bytes(public).ok_or_else(|| odd("its public key is none"))?,
            sealed: STANDARD
                .decode(sealed)
                .map_err(|_| odd("it is not base64"))?,
        };
        let bound = Bound {
            exporter: &from.exporter,
            exchange: &number,
            source: &from.peer,
            target: &from.own,
            key: &open.key,
        };
        let region = &self.site.config.site.region;
        let shared = open.awaiting.open(&brought, bound, region)?;
        if shared.primary() != from.peer.region() {
            return Err(odd("it comes from another region than its primary"));
        }
        let done = self.take(shared, open.is_new, from).await?;
        Ok(Answer::KeySeen {
            seen: Box::new(done.seen),
        })
    }

    async fn take(
        &self,
        shared: SharedKey,
        is_new: bool,
        from: &Binding,
    ) -> Result<Synchronized, Error> {
        let site = &self.site;
        let (region, now) = (site.config.site.region.clone(), site.world.clock.now());
        let was_there = site.keystore.seen(shared.key().as_str()).is_ok();
        let lag = lag_ms(shared.changed_at(), now);
        let primary = shared.primary().clone();
        let act = move |keystore: &LocalKeystore| keystore.take_shared(&shared, &region, is_new);
        let told = primary.clone();
        let tell = move |record: AuditRecord, done: &Synchronized| {
            about_key(record, &done.key)
                .with("primary", told)
                .with("versions", done.seen.versions)
                .with("lag_ms", lag)
        };
        let (kind, actor) = (AuditKind::KeySynchronized, from.peer.to_string());
        let done = site.change_keys(kind, actor, act, tell).await?;
        if !was_there {
            let record = AuditRecord::new(now, AuditKind::KeyReplicated, from.peer.as_str());
            site.record(about_key(record, &done.key).with("primary", primary))?;
            tracing::warn!(
                key = %done.key.id, peer = %from.peer,
                "a key of another region is here as well: back it up with `sealift keys backup`"
            );
        }
        Ok(done)
    }

    /// A replica wants to lead. Whoever may bring a key may lead it.
    async fn yielded(&self, key: KeyId, term: u64, from: &Binding) -> Result<Answer, Refused> {
        self.hold_granted(&key, from)?;
        let region = from.peer.region().clone();
        let (id, to) = (key.to_string(), region.clone());
        let act = move |keystore: &LocalKeystore| {
            let seen = keystore.yield_to(&id, &to, term)?;
            Ok((keystore.life(&id)?, seen))
        };
        let tell = move |record: AuditRecord, (life, _): &(sealift_keys::KeyLife, KeySeen)| {
            let record = record.with("key", &life.id).with("primary", region);
            record.with("term", term)
        };
        let (kind, actor) = (AuditKind::KeyPromoted, from.peer.to_string());
        let (_, seen) = self.site.change_keys(kind, actor, act, tell).await?;
        tracing::warn!(%key, primary = %seen.primary, "another region leads a key from now on");
        Ok(Answer::KeySeen {
            seen: Box::new(seen),
        })
    }

    /// Refuses a peer that no grant lets bring this key, on record.
    fn hold_granted(&self, key: &KeyId, from: &Binding) -> Result<(), Refused> {
        let config = self.site.current();
        let decision = config.grants.allows_key(&from.peer, key);
        if decision.is_allowed() {
            return Ok(());
        }
        let (now, told) = (self.site.world.clock.now(), decision.to_string());
        if self.denials.lock().is_due(&told, now) {
            let record = AuditRecord::new(now, AuditKind::AccessDenied, from.peer.as_str())
                .with("decision", &told)
                .with("reason", Reason::PolicyDenied);
            self.site.record(record)?;
        }
        Err(Refused(Reason::PolicyDenied, told))
    }
}
