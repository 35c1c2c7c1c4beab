//! Keeps the regions of keys the same: those that this site leads are brought to their
//! replicas after every change, and looked at now and then.

mod acts;
mod reach;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use sealift_keys::{KeyDescription, KeyError, KeyLife, KeyRegions, KeySeen, LocalKeystore};
use sealift_terms::{AuditKind, AuditRecord, KeyId, Region};
use tokio::{sync::Notify, time::interval};

use super::Running;
use crate::{
    Error,
    regions::{Brought, Channel, Courier, Trouble},
    site::{about_key, key_crosses},
};

/// What was changed is brought to replicas within this time.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// A replica that is as far as this site is looked at so often where a session is open, and
/// whenever another one was opened …
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// … and so often where it has to be dialled for that.
const LOOK_BY_DIALLING_EVERY: Duration = Duration::from_secs(600);
/// How often what two regions have is compared as a whole.
const COMPARE_EVERY: Duration = Duration::from_secs(86_400);
/// After trouble it is tried again after a second, then after twice as long, up to this.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// For whom replicas are looked after.
const AGENT: &str = "agent";

/// How each replica was found lately.
#[derive(Default)]
pub(super) struct Keeping {
    seen: Mutex<HashMap<(KeyId, Region), Seen>>,
    /// Held while one region is spoken with.
    alone: Mutex<BTreeMap<Region, Arc<tokio::sync::Mutex<()>>>>,
    wake: Notify,
}

/// One replica.
#[derive(Default)]
struct Seen {
    /// The connection by which it was last asked.
    exporter: Option<[u8; 32]>,
    /// When it is due by itself.
    next: Duration,
    failures: u32,
    compared: Option<Duration>,
    trouble: Option<String>,
}

impl Keeping {
    pub(super) fn wake(&self) {
        self.seen.lock().values_mut().for_each(|seen| {
            (seen.next, seen.failures) = (Duration::ZERO, 0);
        });
        self.wake.notify_one();
    }

    pub(super) fn trouble(&self, key: &KeyId, region: &Region) -> Option<String> {
        let seen = self.seen.lock();
        seen.get(&(key.clone(), region.clone()))?.trouble.clone()
    }

    fn alone(&self, region: &Region) -> Arc<tokio::sync::Mutex<()>> {
        self.alone.lock().entry(region.clone()).or_default().clone()
    }

    /// Remembers what came of asking; says whether the trouble is news.
    fn asked(
        &self,
        key: &KeyId,
        region: &Region,
        now: Duration,
        channel: Option<&Channel>,
        outcome: Result<(), String>,
    ) -> bool {
        let mut all = self.seen.lock();
        let seen = all.entry((key.clone(), region.clone())).or_default();
        if let Some(channel) = channel {
            seen.exporter = Some(channel.binding().exporter);
        }
        let rest = match (&outcome, channel) {
            (Err(_), _) => {
                seen.failures = seen.failures.saturating_add(1);
                KEEP_EVERY
                    .saturating_mul(1 << seen.failures.min(6))
                    .min(RETRY_MAX)
            }
            (Ok(()), Some(Channel::Dialled(..))) => LOOK_BY_DIALLING_EVERY,
            (Ok(()), _) => LOOK_EVERY,
        };
        if outcome.is_ok() {
            seen.failures = 0;
        }
        seen.next = now.saturating_add(rest);
        let trouble = outcome.err();
        let is_news = trouble.is_some() && seen.trouble != trouble;
        seen.trouble = trouble;
        is_news
    }

    /// Whether the daily look at everything is due; it is taken for done.
    fn compares(&self, key: &KeyId, region: &Region, now: Duration) -> bool {
        let mut all = self.seen.lock();
        let seen = all.entry((key.clone(), region.clone())).or_default();
        let is_recent = |at: Duration| now.saturating_sub(at) < COMPARE_EVERY;
        if seen.compared.is_some_and(is_recent) {
            return false;
        }
        seen.compared = Some(now);
        true
    }
}

/// Looks after replicas until the agent ends.
pub(super) async fn run(running: Arc<Running>) {
    let mut ticks = interval(KEEP_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = running.keeping.wake.notified() => {}
        }
        for (region, keys) in running.led_here() {
            let running = running.clone();
            // One that hangs holds up no other.
            tokio::spawn(async move { running.keep_region(&region, keys).await });
        }
    }
}

impl Running {
    /// The keys that this site leads, by the regions of their replicas.
    fn led_here(&self) -> BTreeMap<Region, Vec<KeyLife>> {
        let own = &self.site.config.site.region;
        let mut by_region: BTreeMap<Region, Vec<KeyLife>> = BTreeMap::new();
        for key in self.site.keystore.lives() {
            let Some(regions) = key.regions.as_ref().filter(|all| all.primary == *own) else {
                continue;
            };
            for replica in &regions.replicas {
                let keys = by_region.entry(replica.region.clone()).or_default();
                keys.push(key.clone());
            }
        }
        by_region
    }

    /// Brings one region up to date, unless it is being spoken with already.
    async fn keep_region(&self, region: &Region, keys: Vec<KeyLife>) {
        let alone = self.keeping.alone(region);
        let Ok(_alone) = alone.try_lock() else {
            return;
        };
        let standing = self
            .peer_in(region)
            .ok()
            .and_then(|peer| self.standing(&peer));
        let due = keys.into_iter();
        let due: Vec<_> = due
            .filter(|key| self.is_to_be_asked(key, region, standing.as_ref()))
            .collect();
        if due.is_empty() {
            return;
        }
        let channel = match standing {
            Some(channel) => Ok(channel),
            None => self.channel(region).await,
        };
        for key in &due {
            let outcome = match &channel {
                Ok(channel) => self
                    .keep(channel, key)
                    .await
                    .map_err(|error| error.to_string()),
                Err(trouble) => Err(trouble.to_string()),
            };
            let now = self.site.world.clock.monotonic();
            let told = outcome.clone().err();
            let is_news = self
                .keeping
                .asked(&key.id, region, now, channel.as_ref().ok(), outcome);
            if let Some(trouble) = told.filter(|_| is_news) {
                tracing::warn!(key = %key.id, %region, trouble, "a replica is not kept up to date");
            }
        }
        if let Ok(channel) = channel {
            channel.close().await;
        }
    }

    /// Whether a replica has to be asked: it is behind, it was not looked at for a while, or
    /// not in this session.
    fn is_to_be_asked(&self, key: &KeyLife, region: &Region, standing: Option<&Channel>) -> bool {
        let all = self.keeping.seen.lock();
        let Some(seen) = all.get(&(key.id.clone(), region.clone())) else {
            return true;
        };
        let exporter = standing.map(|channel| channel.binding().exporter);
        if exporter.is_some() && exporter != seen.exporter {
            return true;
        }
        let is_behind = !is_up_to_date(key, region) && seen.failures == 0;
        is_behind || self.site.world.clock.monotonic() >= seen.next
    }

    /// Brings one key to one region, if there is anything that it lacks.
    async fn keep(&self, channel: &Channel, key: &KeyLife) -> Result<(), Trouble> {
        let region = channel.region();
        self.hold_within(key, region)?;
        let courier = Courier {
            site: &self.site,
            channel,
            key: &key.id,
        };
        if is_up_to_date(key, region) {
            match courier.look().await? {
                (Some(seen), _) => {
                    self.compare_daily(key, &seen)?;
                    if self.take_in(&courier, key, &seen).await? {
                        return Ok(());
                    }
                }
                (None, true) => return self.forget(key, region).await,
                // Its keystore is an older copy: it is brought again.
                (None, false) => {}
            }
        }
        match courier.bring(false).await? {
            Brought::Gone => self.forget(key, region).await,
            Brought::UpToDate | Brought::More => Ok(()),
        }
    }

    /// Takes in how a replica stands; whether it lacks nothing.
    async fn take_in(
        &self,
        courier: &Courier<'_>,
        key: &KeyLife,
        seen: &KeySeen,
    ) -> Result<bool, Trouble> {
        let regions = regions_of(key)?;
        if seen.term > regions.term {
            return Err(Trouble::Key(KeyError::PrimaryBefore {
                key: key.id.to_string(),
                primary: seen.primary.clone(),
            }));
        }
        let mut replicas = regions.replicas.iter();
        let is_known = replicas.any(|replica| {
            let known = (&replica.region, replica.versions, replica.generation);
            known == (&seen.region, seen.versions, seen.generation)
        });
        if !is_known {
            courier.acknowledged(seen).await?;
        }
        courier.is_up_to_date(seen)
    }

    /// Once a day, what a key is here and there is put on record where it differs.
    fn compare_daily(&self, key: &KeyLife, seen: &KeySeen) -> Result<(), Trouble> {
        let now = self.site.world.clock.monotonic();
        if !self.keeping.compares(&key.id, &seen.region, now) {
            return Ok(());
        }
        let own = self.site.keystore.seen(key.id.as_str())?;
        let differences = own.differences(seen);
        if differences.is_empty() {
            return Ok(());
        }
        let told = differences.iter().map(|one| {
            let (property, here, there) = (&one.property, &one.here, &one.there);
            format!("{property}: {here:?} here, {there:?} there")
        });
        let told = told.collect::<Vec<_>>().join("; ");
        let details = [
            ("key", key.id.to_string()),
            ("replica", seen.region.to_string()),
            ("differences", told.clone()),
        ];
        self.record(AuditKind::KeyRegionsDiffer, &details)?;
        match differences
            .iter()
            .any(|one| one.shared && one.property.starts_with("version "))
        {
            true => Err(Trouble::Differs(told)),
            false => Ok(()),
        }
    }

    /// The replica was destroyed there: it is not waited for any more.
    async fn forget(&self, key: &KeyLife, region: &Region) -> Result<(), Trouble> {
        let reason = "it was destroyed there".to_owned();
        self.remove_replica(&key.id, region, AGENT, reason).await?;
        Ok(())
    }

    async fn remove_replica(
        &self,
        key: &KeyId,
        region: &Region,
        actor: &str,
        reason: String,
    ) -> Result<KeyDescription, Error> {
        let (id, of) = (key.to_string(), region.clone());
        let act = move |keystore: &LocalKeystore| keystore.remove_replica(&id, &of);
        let region = region.clone();
        let tell = move |record, key: &KeyDescription| {
            let record: AuditRecord = about_key(record, key);
            record.with("replica", region).with("reason", reason)
        };
        let kind = AuditKind::KeyReplicaRemoved;
        self.site.change_keys(kind, actor, act, tell).await
    }

    /// Refuses a region that a bucket under the key is kept out of.
    fn hold_within(&self, key: &KeyLife, region: &Region) -> Result<(), Trouble> {
        match key_crosses(&self.site.current(), key, region) {
            Some(told) => Err(Trouble::Residency { told }),
            None => Ok(()),
        }
    }
}

/// Whether a replica said that it has all there is.
fn is_up_to_date(key: &KeyLife, region: &Region) -> bool {
    let Some(regions) = &key.regions else {
        return true;
    };
    let mut replicas = regions.replicas.iter();
    replicas
        .find(|replica| replica.region == *region)
        .is_none_or(|replica| {
            replica.generation == regions.generation
                && replica.versions >= key.versions.len() as u64
        })
}

fn regions_of(key: &KeyLife) -> Result<&KeyRegions, Trouble> {
    let none = || KeyError::NotShared {
        key: key.id.to_string(),
    };
    key.regions.as_ref().ok_or_else(|| none().into())
}
