//! Who may bring what in: the one place on the receiving side that asks the grants.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use sealift_archive::{Archive, in_words};
use sealift_identity::{Action, Denials, Grants};
use sealift_terms::{
    Audit, AuditKind, AuditRecord, Boxed, BucketName, ChangeKind, Clock, Identity, Reason,
    Timestamp, VersionName, limits::TAGS_ASKED_AT_ONCE_MAX,
};
use sealift_tunnel::{Binding, Pace, Questions};
use sealift_wire::{Offer, Refusal};

use crate::{
    Session,
    question::{Answer, Question, TagsOf},
    rates::Rates,
    rollback::Remembered,
};

/// What every session of a receiver shares.
pub struct Door {
    archive: Arc<Archive>,
    grants: ArcSwap<Grants>,
    audit: Arc<dyn Audit>,
    clock: Arc<dyn Clock>,
    denials: Mutex<Denials>,
    /// When a new epoch last began because a peer remembered more than is here.
    renewed: tokio::sync::Mutex<Option<Timestamp>>,
    /// Every session that may still stand.
    sessions: Mutex<Vec<Weak<Session>>>,
    /// Whoever answers what is not about objects.
    others: OnceLock<Arc<dyn Questions>>,
    /// How fast what each peer sends is taken.
    rates: Rates,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    objects: AtomicU64,
    bytes: AtomicU64,
    refused: AtomicU64,
}

/// What came in since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Changes acknowledged.
    pub objects: u64,
    /// Bytes of plaintext that arrived.
    pub bytes: u64,
    /// Offers refused.
    pub refused: u64,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door")
            .field("usage", &self.usage())
            .finish_non_exhaustive()
    }
}

impl Door {
    /// The way into `archive` for those whom `grants` allow it.
    #[must_use]
    pub fn new(
        archive: Arc<Archive>,
        grants: Arc<Grants>,
        audit: Arc<dyn Audit>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let grants = ArcSwap::new(grants);
        let (denials, counters) = (Mutex::default(), Counters::default());
        let rates = Rates::new(clock.clone());
        Self {
            archive,
            grants,
            audit,
            clock,
            denials,
            renewed: tokio::sync::Mutex::new(None),
            sessions: Mutex::default(),
            others: OnceLock::new(),
            rates,
            counters,
        }
    }

    pub(crate) fn opened(&self, session: &Arc<Session>) {
        let mut sessions = self.sessions.lock();
        sessions.retain(|session| session.strong_count() > 0);
        sessions.push(Arc::downgrade(session));
    }

    /// The sessions that stand.
    #[must_use]
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        let sessions = self.sessions.lock();
        let standing = sessions.iter().filter_map(Weak::upgrade);
        standing.filter(|session| session.stands()).collect()
    }

    pub(crate) fn may_bring(&self, identity: &Identity, bucket: &BucketName) -> bool {
        let grants = self.grants.load();
        grants
            .allows(identity, Action::Replicate, bucket)
            .is_allowed()
    }

    /// Takes other grants from now on, for sessions that stand as well.
    pub fn set_grants(&self, grants: Arc<Grants>) {
        self.grants.store(grants);
    }

    /// Takes no more bytes a second from these peers than this, and from others whatever they
    /// send: from now on, on sessions that stand as well.
    pub fn set_rates(&self, rates: &BTreeMap<Identity, u64>) {
        self.rates.set(rates);
    }

    pub(crate) fn rate_of(&self, identity: &Identity) -> Arc<Pace> {
        self.rates.of(identity)
    }

    /// Says who answers what this crate knows nothing of. The first who is named stays.
    pub fn answer_others_by(&self, others: Arc<dyn Questions>) {
        let _ = self.others.set(others);
    }

    /// What came in since the start.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters {
            objects,
            bytes,
            refused,
        } = &self.counters;
        Usage {
            objects: read(objects),
            bytes: read(bytes),
            refused: read(refused),
        }
    }

    pub(crate) fn archive(&self) -> &Archive {
        &self.archive
    }

    pub(crate) fn grants(&self) -> Arc<Grants> {
        self.grants.load_full()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn renewed(&self) -> &tokio::sync::Mutex<Option<Timestamp>> {
        &self.renewed
    }

    pub(crate) fn count_stored(&self, objects: u64) {
        self.counters.objects.fetch_add(objects, Ordering::Relaxed);
    }

    pub(crate) fn count_bytes(&self, bytes: usize) {
        self.counters
            .bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_refused(&self) {
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether `identity` may bring this in.
    ///
    /// # Errors
    /// The refusal to answer with; it is on record.
    pub(crate) fn admit(&self, identity: &Identity, offer: &Offer) -> Result<(), Refusal> {
        // A sender that may replicate and not delete is not told to give up its deletes:
        // they wait until it may.
        let (action, reason) = match offer.change.kind {
            ChangeKind::Put => (Action::Replicate, Reason::PolicyDenied),
            ChangeKind::Tags => (Action::Replicate, Reason::DstTagsDenied),
            ChangeKind::DeleteMarker => (Action::Delete, Reason::DstDeleteDenied),
            ChangeKind::Purge => (Action::Purge, Reason::DstPurgeDenied),
        };
        let decision = self
            .grants
            .load()
            .allows(identity, action, &offer.change.name.bucket);
        if decision.is_allowed() {
            return Ok(());
        }
        let reason = match decision.kept_out {
            Some(_) => Reason::ResidencyDenied,
            None => reason,
        };
        self.record_denial(identity, reason, &decision.to_string())
            .map_err(|cause| Refusal::new(Reason::AuditUnavailable, cause))?;
        Err(Refusal::new(reason, decision.to_string()))
    }

    fn record_denial(
        &self,
        identity: &Identity,
        reason: Reason,
        decision: &str,
    ) -> Result<(), String> {
        let now = self.clock.now();
        if !self.denials.lock().is_due(decision, now) {
            return Ok(());
        }
        tracing::warn!(peer = %identity, %reason, decision, "access denied");
        let record = AuditRecord::new(now, AuditKind::AccessDenied, identity.as_str())
            .with("decision", decision)
            .with("reason", reason);
        self.audit.record(record).map_err(|error| error.to_string())
    }

    /// Answers what a sending agent asks outside of any offer.
    pub fn answer<'a>(
        &'a self,
        identity: &'a Identity,
        binding: Option<&'a Binding>,
        body: &'a [u8],
    ) -> Boxed<'a, Vec<u8>> {
        Box::pin(async move {
            let answer = match serde_json::from_slice(body) {
                Ok(Question::Bucket { bucket }) => self.bucket(identity, &bucket).await,
                Ok(Question::Remembered {
                    epoch,
                    sequence,
                    last,
                }) => {
                    let remembered = Remembered {
                        epoch,
                        sequence,
                        last,
                    };
                    self.compare(identity, &remembered).await
                }
                Ok(Question::Tags { bucket, versions }) => {
                    self.tags(identity, &bucket, versions).await
                }
                Ok(Question::Canary { bucket, bytes }) => {
                    self.canary(identity, &bucket, &bytes).await
                }
                Err(_) => match self.others.get() {
                    Some(others) => return others.answer(body, binding).await,
                    None => Answer::Unknown,
                },
            };
            serde_json::to_vec(&answer).unwrap_or_default()
        })
    }

    /// Whoever may bring tags may see whether they are here already, and not what else is.
    async fn tags(
        &self,
        identity: &Identity,
        bucket: &BucketName,
        versions: Vec<TagsOf>,
    ) -> Answer {
        if versions.len() > TAGS_ASKED_AT_ONCE_MAX {
            return Answer::Unknown;
        }
        if !self.may_bring(identity, bucket) {
            return Answer::Tags { stand: Vec::new() };
        }
        let names = versions.iter().map(|of| VersionName {
            bucket: bucket.clone(),
            key: of.key.clone(),
            version: of.version.clone(),
        });
        match self.archive.tags_of(names.collect()).await {
            Ok(here) => {
                let each = here.iter().zip(&versions);
                let stand = each.map(|(here, of)| of.against(here)).collect();
                Answer::Tags { stand }
            }
            Err(error) => {
                tracing::warn!(%bucket, %error, "tags cannot be compared");
                Answer::Unknown
            }
        }
    }

    /// Whoever may store an object may see whether one could be.
    async fn canary(&self, identity: &Identity, bucket: &BucketName, bytes: &str) -> Answer {
        let decision = self
            .grants
            .load()
            .allows(identity, Action::Replicate, bucket);
        let obstructed = |obstacle: String| Answer::Canary {
            opened: None,
            obstacle: Some(obstacle),
        };
        if !decision.is_allowed() {
            return match self.record_denial(identity, Reason::PolicyDenied, &decision.to_string()) {
                Ok(()) => obstructed(format!("{}: {decision}", Reason::PolicyDenied)),
                Err(cause) => obstructed(format!("{}: {cause}", Reason::AuditUnavailable)),
            };
        }
        let Ok(bytes) = hex::decode(bytes) else {
            return Answer::Unknown;
        };
        let tried = self.archive.try_canary(identity.as_str(), bucket, &bytes);
        match tried.await {
            Ok(opened) => Answer::Canary {
                opened: Some(hex::encode(opened)),
                obstacle: None,
            },
            Err(error) => obstructed(format!("{}: {}", error.reason(), in_words(&error))),
        }
    }

    async fn bucket(&self, identity: &Identity, bucket: &BucketName) -> Answer {
        let grants = self.grants.load_full();
        let may = |action| grants.allows(identity, action, bucket).is_allowed();
        let (may_replicate, may_delete) = (may(Action::Replicate), may(Action::Delete));
        // Whoever may not bring anything in learns nothing about what is here.
        let obstacle = match may_replicate {
            true => self.archive.try_bucket(bucket).await.err(),
            false => None,
        };
        Answer::Bucket {
            exists: may_replicate && self.archive.has_bucket(bucket),
            may_replicate,
            may_delete,
            may_purge: Some(may(Action::Purge)),
            obstacle: obstacle.map(|error| format!("{}: {error}", error.reason())),
            region: self.archive.region().clone(),
            clock: self.clock.now(),
        }
    }
}
