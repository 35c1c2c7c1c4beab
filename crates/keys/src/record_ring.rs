//! Key records in use: which one serves a bucket now, and which are open.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use sealift_seal::RecordKey;
use sealift_terms::{
    Audit, AuditKind, AuditRecord, BucketName, Clock, ObjectUid, RecordId, Region, Rng,
    limits::{RECORD_KEY_CACHED_MAX, RECORD_LIFE_MAX, RECORD_OBJECTS_MAX},
};

use crate::{EncryptionContext, KeyDescription, KeyError, KeyProvider, KeyRecord, RecordKind};

/// A CMK that was disabled stops being used within this time: its state is asked
/// for again once the last answer is older.
pub const KEY_STATE_RECHECKED: Duration = Duration::from_secs(5);
/// Records held open for reading. The oldest gives way.
const OPEN_RECORDS_MAX: usize = 1024;

/// A key record with its key.
pub struct OpenRecord {
    record: KeyRecord,
    key: RecordKey,
}

impl OpenRecord {
    /// The record, as it is to rest in store and catalog.
    #[must_use]
    pub fn record(&self) -> &KeyRecord {
        &self.record
    }

    /// The record key.
    #[must_use]
    pub fn key(&self) -> &RecordKey {
        &self.key
    }
}

impl fmt::Debug for OpenRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenRecord({})", self.record.id)
    }
}

/// What the ring asked of the provider, and what it could answer itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RingCounters {
    /// Calls that wrapped or unwrapped.
    pub calls_made: u64,
    /// Objects served without one.
    pub calls_saved: u64,
}

/// A record held open, by the monotonic clock.
#[derive(Clone)]
struct Held {
    open: Arc<OpenRecord>,
    /// When the provider last gave the key out.
    unwrapped_at: Duration,
    /// When the CMK was last seen to be usable.
    checked_at: Duration,
    /// After which change of keys that was.
    round: u64,
}

/// The record that serves a bucket now.
struct Serving {
    held: Held,
    begun_at: Duration,
    objects: u64,
}

type Slot = Arc<tokio::sync::Mutex<Option<Serving>>>;
/// By the id or alias of the CMK: what is sealed in two layers takes two.
type Slots = HashMap<String, Slot>;

/// The key records of one site ("bucket keys"): one record serves a bucket under a CMK for
/// an hour or 2^20 objects, and the provider is asked once for all of them.
///
/// A ring starts empty, so that every start of the process begins new records.
pub struct RecordRing {
    provider: Arc<dyn KeyProvider>,
    region: Region,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    audit: Arc<dyn Audit>,
    /// For whom keys are used.
    actor: String,
    serving: Mutex<HashMap<BucketName, Slots>>,
    open: Mutex<HashMap<(RecordId, BucketName), Held>>,
    /// Counts changes of keys that this process made itself.
    round: AtomicU64,
    calls_made: AtomicU64,
    calls_saved: AtomicU64,
}

impl fmt::Debug for RecordRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordRing({}, {:?})", self.region, self.provider)
    }
}

impl RecordRing {
    /// The same ring for somebody else than the agent, who then stands in the audit
    /// log with every use of a key.
    #[must_use]
    pub fn acting_for(mut self, actor: impl Into<String>) -> Self {
        self.actor = actor.into();
        self
    }

    /// A ring for a site of `region`.
    #[must_use]
    pub fn new(
        provider: Arc<dyn KeyProvider>,
        region: Region,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        audit: Arc<dyn Audit>,
    ) -> Self {
        Self {
            provider,
            region,
            clock,
            rng,
            audit,
            actor: "agent".to_owned(),
            serving: Mutex::default(),
            open: Mutex::default(),
            round: AtomicU64::new(0),
            calls_made: AtomicU64::new(0),
            calls_saved: AtomicU64::new(0),
        }
    }

    /// The record for one more object of `bucket`, whose CMK is `cmk` (id or alias).
    ///
    /// A record that was not returned before has to be durable in store and
    /// catalog before any object under it is acknowledged; the caller knows
    /// which ones are.
    ///
    /// # Errors
    /// [`KeyError`]; nothing may be sealed then.
    pub async fn current(
        &self,
        bucket: &BucketName,
        cmk: &str,
    ) -> Result<Arc<OpenRecord>, KeyError> {
        self.serve(bucket, cmk, 1).await
    }

    /// As [`current`](Self::current), for no object: whoever only asks uses up
    /// nothing of the record.
    ///
    /// # Errors
    /// As [`current`](Self::current).
    pub async fn look_ahead(
        &self,
        bucket: &BucketName,
        cmk: &str,
    ) -> Result<Arc<OpenRecord>, KeyError> {
        self.serve(bucket, cmk, 0).await
    }

    async fn serve(
        &self,
        bucket: &BucketName,
        cmk: &str,
        objects: u64,
    ) -> Result<Arc<OpenRecord>, KeyError> {
        let slot = self.slot(bucket, cmk);
        let mut slot = slot.lock().await;
        let now = self.clock.monotonic();
        if let Some(serving) = slot.as_mut()
            && serving.objects < RECORD_OBJECTS_MAX
            && now.saturating_sub(serving.begun_at) < RECORD_LIFE_MAX
        {
            let calls = self.calls_made.load(Ordering::Relaxed);
            let usable = self.still_usable(&mut serving.held, bucket, true).await;
            match usable {
                Ok(true) => {
                    serving.objects += objects;
                    if objects > 0 && calls == self.calls_made.load(Ordering::Relaxed) {
                        self.calls_saved.fetch_add(1, Ordering::Relaxed);
                    }
                    return Ok(serving.held.open.clone());
                }
                // The CMK was rotated: new material is used at once.
                Ok(false) => {}
                Err(error) => return Err(error),
            }
        }
        *slot = None;
        let held = self.begin(bucket, cmk, None).await?;
        let open = held.open.clone();
        // What was just sealed under it is read, and its upload resumed, without a call.
        self.hold((open.record.id, bucket.clone()), held.clone());
        *slot = Some(Serving {
            held,
            begun_at: now,
            objects,
        });
        Ok(open)
    }

    /// What serves a bucket under a CMK. There are as many as were ever configured.
    fn slot(&self, bucket: &BucketName, cmk: &str) -> Slot {
        let mut serving = self.serving.lock();
        let there = serving.get(bucket).and_then(|slots| slots.get(cmk));
        if let Some(slot) = there {
            return slot.clone();
        }
        let slots = serving.entry(bucket.clone()).or_default();
        slots.entry(cmk.to_owned()).or_default().clone()
    }

    /// A record of its own for one object: bucket keys are off.
    ///
    /// # Errors
    /// As [`Self::current`].
    pub async fn for_object(
        &self,
        bucket: &BucketName,
        cmk: &str,
        object: ObjectUid,
    ) -> Result<Arc<OpenRecord>, KeyError> {
        let held = self.begin(bucket, cmk, Some(object)).await?;
        let open = held.open.clone();
        // Its parts, and who reads it soon, need no further call.
        self.hold((open.record.id, bucket.clone()), held);
        Ok(open)
    }

    /// Opens a record for reading an object of `bucket`.
    ///
    /// # Errors
    /// [`KeyError`]; nothing may be read then.
    pub async fn open(
        &self,
        record: &KeyRecord,
        bucket: &BucketName,
    ) -> Result<Arc<OpenRecord>, KeyError> {
        let id = (record.id, bucket.clone());
        let held = self.open.lock().get(&id).cloned();
        let held = match held {
            // A record is immutable but for re-wraps, which keep its key.
            Some(mut held) => {
                self.still_usable(&mut held, bucket, false).await?;
                held
            }
            None => {
                let (now, round) = (self.clock.monotonic(), self.round());
                Held {
                    open: Arc::new(self.unwrap(record, bucket).await?),
                    unwrapped_at: now,
                    checked_at: now,
                    round,
                }
            }
        };
        let open = held.open.clone();
        self.hold(id, held);
        Ok(open)
    }

    /// Unwraps a record whatever is held: for one that is in doubt.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_anew(
        &self,
        record: &KeyRecord,
        bucket: &BucketName,
    ) -> Result<OpenRecord, KeyError> {
        self.unwrap(record, bucket).await
    }

    /// Wraps the key of a record anew under the current version of `cmk` (id or alias),
    /// and opens what came of it before it is given out. The record itself is left as
    /// it is: the caller replaces its copies, and says so with [`replaced`](Self::replaced).
    ///
    /// # Errors
    /// [`KeyError::RewrapDiffers`] when another key comes back, and as
    /// [`current`](Self::current) and [`open`](Self::open).
    pub async fn rewrap(
        &self,
        record: &KeyRecord,
        bucket: &BucketName,
        cmk: &str,
    ) -> Result<OpenRecord, KeyError> {
        let old = self.unwrap(record, bucket).await?;
        // Wherever it was made, it is this site's from now on.
        let context = record.context_for(bucket, &self.region);
        self.calls_made.fetch_add(1, Ordering::Relaxed);
        let wrapped = self.provider.wrap(cmk, old.key(), &context).await?;
        let new = KeyRecord {
            provider: wrapped.provider,
            cmk: wrapped.cmk,
            cmk_version: wrapped.cmk_version,
            wrapped: wrapped.bytes,
            region: self.region.clone(),
            ..record.clone()
        };
        let again = self.unwrap(&new, bucket).await?;
        if again.key() != old.key() {
            return Err(KeyError::RewrapDiffers { record: record.id });
        }
        self.put_on_record(AuditKind::KeyRewrapped, &new)?;
        Ok(again)
    }

    /// Both copies of a record are replaced by this one: what is held of the old one
    /// is let go, so that nothing depends on the old key any more.
    pub async fn replaced(&self, new: OpenRecord, bucket: &BucketName) {
        let id = (new.record.id, bucket.clone());
        let slots = self.serving.lock().get(bucket).cloned();
        for slot in slots.unwrap_or_default().into_values() {
            let mut slot = slot.lock().await;
            if slot.as_ref().is_some_and(|s| s.held.open.record.id == id.0) {
                *slot = None;
            }
        }
        let (now, round) = (self.clock.monotonic(), self.round());
        let held = Held {
            open: Arc::new(new),
            unwrapped_at: now,
            checked_at: now,
            round,
        };
        if let Some(old) = self.open.lock().get_mut(&id) {
            *old = held;
        }
    }

    /// Lets go of every key that has been held for longer than it may be. Called
    /// now and then, so that keys do not rest in the memory of an idle process.
    pub fn expire(&self) {
        let now = self.clock.monotonic();
        let fresh = |held: &Held| now.saturating_sub(held.unwrapped_at) < RECORD_KEY_CACHED_MAX;
        self.open.lock().retain(|_, held| fresh(held));
        for slot in self.serving.lock().values().flat_map(Slots::values) {
            if let Ok(mut slot) = slot.try_lock()
                && slot.as_ref().is_some_and(|serving| !fresh(&serving.held))
            {
                *slot = None;
            }
        }
    }

    /// Says that keys were changed by this process: their state is asked for again
    /// before anything else is sealed or opened under them.
    pub fn recheck(&self) {
        self.round.fetch_add(1, Ordering::AcqRel);
    }

    fn round(&self) -> u64 {
        self.round.load(Ordering::Acquire)
    }

    /// What was asked of the provider so far.
    #[must_use]
    pub fn counters(&self) -> RingCounters {
        RingCounters {
            calls_made: self.calls_made.load(Ordering::Relaxed),
            calls_saved: self.calls_saved.load(Ordering::Relaxed),
        }
    }

    /// The CMK of a bucket, checked to be usable and of this region: what `check`
    /// asks, and what every new record asks.
    ///
    /// # Errors
    /// [`KeyError::WrongRegion`], [`KeyError::NotUsable`], [`KeyError::Missing`] …
    pub async fn check(&self, cmk: &str) -> Result<KeyDescription, KeyError> {
        let key = self.provider.describe(cmk).await?;
        if key.region != self.region {
            return Err(KeyError::WrongRegion {
                key: cmk.to_owned(),
                found: key.region,
                wanted: self.region.clone(),
            });
        }
        if !key.state.is_usable() {
            return Err(KeyError::NotUsable {
                key: cmk.to_owned(),
                state: key.state,
            });
        }
        Ok(key)
    }

    async fn begin(
        &self,
        bucket: &BucketName,
        cmk: &str,
        object: Option<ObjectUid>,
    ) -> Result<Held, KeyError> {
        let round = self.round();
        self.check(cmk).await?;
        let now = self.clock.monotonic();
        let id = RecordId::random(&*self.rng);
        let context = match object {
            Some(object) => EncryptionContext::object(bucket, &self.region, id, object),
            None => EncryptionContext::bucket(bucket, &self.region, id),
        };
        self.calls_made.fetch_add(1, Ordering::Relaxed);
        let (key, wrapped) = self.provider.generate(cmk, &context, &*self.rng).await?;
        let record = KeyRecord {
            id,
            kind: object.map_or(RecordKind::Bucket, |_| RecordKind::Object),
            bucket: bucket.clone(),
            object,
            region: self.region.clone(),
            provider: wrapped.provider,
            cmk: wrapped.cmk,
            cmk_version: wrapped.cmk_version,
            wrapped: wrapped.bytes,
            created: self.clock.now(),
        };
        self.put_on_record(AuditKind::KeyWrapped, &record)?;
        Ok(Held {
            open: Arc::new(OpenRecord { record, key }),
            unwrapped_at: now,
            checked_at: now,
            round,
        })
    }

    async fn unwrap(
        &self,
        record: &KeyRecord,
        bucket: &BucketName,
    ) -> Result<OpenRecord, KeyError> {
        let region = self.region_of(record).await;
        let context = record.context_for(bucket, &region);
        self.calls_made.fetch_add(1, Ordering::Relaxed);
        let unwrapped = self.provider.unwrap(&record.to_wrapped(), &context).await;
        let key = unwrapped.map_err(|error| match error {
            KeyError::ContextMismatch { expected } => KeyError::ContextDiffers {
                record: record.id,
                expected,
                found: record
                    .context_for(&record.bucket, &record.region)
                    .to_string(),
            },
            error => error,
        })?;
        self.put_on_record(AuditKind::KeyUnwrapped, record)?;
        Ok(OpenRecord {
            record: record.clone(),
            key,
        })
    }

    /// The region for which a record was wrapped: this one, unless its key is of several and
    /// the other one has it as well. The record is not believed: it does not open under
    /// the name of a region that it was not wrapped for.
    async fn region_of(&self, record: &KeyRecord) -> Region {
        if record.region == self.region {
            return self.region.clone();
        }
        let described = self.provider.describe(&record.key_name()).await;
        match described {
            Ok(key) if key.other_regions.contains(&record.region) => record.region.clone(),
            _ => self.region.clone(),
        }
    }

    /// Holds the two times: unwrapped again after five minutes, and the CMK's
    /// state asked for every five seconds. `false` when `for_sealing` and the
    /// CMK has a newer version.
    async fn still_usable(
        &self,
        held: &mut Held,
        bucket: &BucketName,
        for_sealing: bool,
    ) -> Result<bool, KeyError> {
        let now = self.clock.monotonic();
        if now.saturating_sub(held.unwrapped_at) >= RECORD_KEY_CACHED_MAX {
            held.open = Arc::new(self.unwrap(&held.open.record, bucket).await?);
            held.unwrapped_at = now;
        }
        let round = self.round();
        if held.round != round || now.saturating_sub(held.checked_at) >= KEY_STATE_RECHECKED {
            let key = self.check(&held.open.record.key_name()).await?;
            (held.checked_at, held.round) = (now, round);
            return Ok(!for_sealing || key.current == held.open.record.cmk_version);
        }
        Ok(true)
    }

    fn hold(&self, id: (RecordId, BucketName), held: Held) {
        let mut open = self.open.lock();
        if open.len() >= OPEN_RECORDS_MAX && !open.contains_key(&id) {
            let oldest = open.iter().min_by_key(|(_, held)| held.unwrapped_at);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                open.remove(&oldest);
            }
        }
        open.insert(id, held);
    }

    fn put_on_record(&self, kind: AuditKind, record: &KeyRecord) -> Result<(), KeyError> {
        let entry = AuditRecord::new(self.clock.now(), kind, self.actor.as_str())
            .with("record", record.id)
            .with("bucket", &record.bucket)
            .with("provider", record.provider)
            .with("cmk", &record.cmk)
            .with("cmk_version", &record.cmk_version);
        Ok(self.audit.record(entry)?)
    }
}

#[cfg(test)]
mod tests;
