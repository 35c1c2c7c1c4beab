//! How long versions stay, whoever wants them purged: the retention of their bucket, legal
//! holds, and what the Object Lock of their source said.

use std::collections::BTreeMap;

use sealift_ledger::{VersionKind, VersionRow};
use sealift_terms::{
    AuditKind, BucketName, Retention, Timestamp, VersionId, VersionName, limits::HOLDS_MAX,
};
use serde::{Deserialize, Serialize};

use crate::{Archive, ArchiveError, Result, archive::Core, holding::HoldSaid, limits::PAGE_ROWS};

/// What the notes of holds begin with.
pub(crate) const PREFIX: &str = sealift_ledger::NOTES_KEPT;

/// A source's Object Lock among the facts of a version, by their names there.
const LOCK_HOLD: &str = "object-lock-legal-hold";
const LOCK_UNTIL: &str = "object-lock-retain-until-date";
const LOCK_MODE: &str = "object-lock-mode";

/// The buckets that keep versions for some time.
pub type Retentions = BTreeMap<BucketName, Retention>;

/// What a legal hold is on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HeldVersions {
    /// The bucket.
    pub bucket: BucketName,
    /// A key, or the beginning of keys.
    pub key: String,
    /// Whether `key` is the beginning of keys: those to come, too.
    pub is_prefix: bool,
    /// One version of the key; all of them without.
    pub version: Option<VersionId>,
}

impl HeldVersions {
    fn cover(&self, name: &VersionName) -> bool {
        let key = name.key.as_str();
        let of_key = match self.is_prefix {
            true => key.starts_with(&self.key),
            false => key == self.key,
        };
        let of_version = self.version.as_ref().is_none_or(|one| *one == name.version);
        self.bucket == name.bucket && of_key && of_version
    }

    /// The name of the note that says so in the catalog.
    pub(crate) fn note(&self, sort: HoldSort) -> String {
        let hex =
            |text: &str| -> String { text.bytes().map(|byte| format!("{byte:02x}")).collect() };
        let sort = match sort {
            HoldSort::Set => 's',
            HoldSort::SourceLifted => 'l',
        };
        let what = match self.is_prefix {
            true => 'p',
            false => 'k',
        };
        let version = self.version.as_ref().map_or("", |version| version.as_str());
        let (key, version) = (hex(&self.key), hex(version));
        format!(
            "{PREFIX}{}\u{1}{sort}{what}{key}\u{1}{version}",
            self.bucket
        )
    }
}

/// What is said of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldSort {
    /// A hold is on them.
    Set,
    /// The hold that they came with from their source is on them no more.
    SourceLifted,
}

/// A legal hold that was set, or one of a source that was lifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Which versions.
    pub on: HeldVersions,
    /// What is said of them.
    pub sort: HoldSort,
    /// Why, for people.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Who did it.
    pub by: String,
}

impl Archive {
    /// Takes over other retentions.
    pub fn set_retentions(&self, retentions: Retentions) {
        *self.core.retentions.write() = retentions;
    }

    /// The holds of a bucket, or all.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn holds(&self, bucket: Option<&BucketName>) -> Result<Vec<Hold>> {
        self.core.holds(bucket).await
    }

    /// Puts a hold on versions: returns when it is durable, in store and catalog, and no purge of
    /// them is under way. One that is there already gets this reason.
    ///
    /// # Errors
    /// [`ArchiveError::BucketMissing`], [`ArchiveError::TooManyHolds`], what store, catalog or
    /// the bucket's key say.
    pub async fn set_hold(&self, on: HeldVersions, reason: &str, by: &str) -> Result<Hold> {
        let core = &self.core;
        core.key_of(&on.bucket)?;
        let _alone = core.holding.lock().await;
        let there = core.holds(None).await?;
        let is_new = !there
            .iter()
            .any(|hold| hold.on == on && hold.sort == HoldSort::Set);
        if is_new && there.len() >= HOLDS_MAX {
            return Err(ArchiveError::TooManyHolds);
        }
        let hold = core.hold_of(on, HoldSort::Set, reason, by);
        let record = core.hold_record(AuditKind::HoldSet, &hold.on, by);
        let said = HoldSaid {
            on: hold.on.clone(),
            set: Some(hold.clone()),
            source_lifted: None,
        };
        core.say_hold(said, record.with("reason", reason)).await?;
        Ok(hold)
    }

    /// Lifts the hold on exactly these versions, and where `of_source` says so, that which
    /// they came with. Whether there was anything to lift.
    ///
    /// # Errors
    /// As [`set_hold`](Self::set_hold).
    pub async fn lift_hold(
        &self,
        on: HeldVersions,
        of_source: bool,
        reason: &str,
        by: &str,
    ) -> Result<bool> {
        let core = &self.core;
        core.key_of(&on.bucket)?;
        let _alone = core.holding.lock().await;
        let there = core.holds(None).await?;
        let was_set = there
            .iter()
            .any(|hold| hold.on == on && hold.sort == HoldSort::Set);
        if !was_set && !of_source {
            return Ok(false);
        }
        if of_source && there.len() >= HOLDS_MAX {
            return Err(ArchiveError::TooManyHolds);
        }
        let mut before = there.into_iter();
        let before = before.find(|hold| hold.on == on && hold.sort == HoldSort::SourceLifted);
        let lifted = core.hold_of(on, HoldSort::SourceLifted, reason, by);
        let record = core.hold_record(AuditKind::HoldLifted, &lifted.on, by);
        let said = HoldSaid {
            on: lifted.on.clone(),
            set: None,
            source_lifted: match of_source {
                true => Some(lifted),
                false => before,
            },
        };
        core.say_hold(said, record.with("reason", reason)).await?;
        Ok(true)
    }
}

impl Core {
    fn hold_of(&self, on: HeldVersions, sort: HoldSort, reason: &str, by: &str) -> Hold {
        Hold {
            on,
            sort,
            reason: reason.to_owned(),
            since: self.clock.now(),
            by: by.to_owned(),
        }
    }

    /// One that cannot be read is an error, and no hold that is passed over.
    pub(crate) async fn holds(&self, bucket: Option<&BucketName>) -> Result<Vec<Hold>> {
        let prefix = match bucket {
            Some(bucket) => format!("{PREFIX}{bucket}\u{1}"),
            None => PREFIX.to_owned(),
        };
        let (mut holds, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = self
                .catalog
                .notes(&prefix, after.as_deref(), PAGE_ROWS)
                .await?;
            let Some(last) = page.last() else {
                return Ok(holds);
            };
            after = Some(last.name.clone());
            for note in page {
                let hold = serde_json::from_slice(&note.bytes.unwrap_or_default());
                holds.push(hold.map_err(|_| ArchiveError::HoldUnreadable)?);
            }
        }
    }

    /// Why a version may not be purged now; none when it may.
    pub(crate) fn retains(&self, row: &VersionRow, holds: &[Hold]) -> Option<String> {
        let now = self.clock.now();
        let has = |sort| move |hold: &&Hold| hold.sort == sort && hold.on.cover(&row.name);
        if let Some(hold) = holds.iter().find(has(HoldSort::Set)) {
            let (by, since, reason) = (&hold.by, hold.since, &hold.reason);
            return Some(format!("{by} put a legal hold on it at {since}: {reason}"));
        }
        if row.kind == VersionKind::DeleteMarker {
            return None;
        }
        let lock = |name: &str| row.facts.system.get(name);
        let is_lifted = holds.iter().any(|hold| has(HoldSort::SourceLifted)(&hold));
        if lock(LOCK_HOLD).is_some_and(|on| on != "OFF") && !is_lifted {
            return Some(
                "its source had a legal hold on it: `sealift hold lift --of-source`".to_owned(),
            );
        }
        if let Some(until) = lock(LOCK_UNTIL) {
            // A time that cannot be read is one that has not come.
            let is_over = until.parse().is_ok_and(|until: Timestamp| until <= now);
            let mode = lock(LOCK_MODE).map_or("no mode", String::as_str);
            if !is_over {
                return Some(format!("its source retains it until {until} ({mode})"));
            }
        }
        let min = self
            .retentions
            .read()
            .get(&row.name.bucket)
            .and_then(|keeps| keeps.min)?;
        let until = row.stored_at.plus(min);
        (until > now).then(|| format!("the bucket's min_retention_days keeps it until {until}"))
    }
}
