//! What every request of the endpoint needs, and what it tells.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use parking_lot::Mutex;
use s3s::{S3Error, dto::ReplicationStatus};
use sealift_archive::{Archive, ArchiveError, Budget, Lease, Share, in_words};
use sealift_identity::{AccessDecision, AccessRight, AccessRows, Denials};
use sealift_ledger::{AuditLog, Refusal, VersionRow};
use sealift_terms::{
    AccessKeyId, Audit, AuditKind, AuditRecord, AuditUnavailable, BucketName, Clock, Reason,
    Region, Status, VersionName, limits::LEASE_TIME_MAX,
};
use tokio::time::timeout;

use crate::{
    AccessSecret, EndpointCounts,
    errors::{Refused, of_archive, read_only, slow_down},
    front::{Fronts, Reads},
    locks::Locks,
    tally::Tally,
};

/// How versions stand that rest here.
#[async_trait]
pub trait Standings: Send + Sync {
    /// How one does: as a replica, or, where applications wrote it here, on its way to all its
    /// destinations; none where it has none.
    ///
    /// # Errors
    /// Why that cannot be told.
    async fn of(&self, row: &VersionRow) -> Result<Option<Status>, String>;
}

/// What an endpoint is made of.
pub struct Parts {
    /// What is read.
    pub archive: Arc<Archive>,
    /// The byte budget of everything that is received, and read, here.
    pub budget: Budget,
    /// Where reads and refusals are put on record.
    pub audit: Arc<dyn AuditLog>,
    /// How what is read stands.
    pub standings: Arc<dyn Standings>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where this is.
    pub region: Region,
    /// The buckets that may be written to.
    pub promoted: BTreeSet<BucketName>,
}

/// What a reload changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Which access key may do what.
    pub rows: AccessRows,
    /// The secret of each.
    pub secrets: BTreeMap<AccessKeyId, AccessSecret>,
    /// The buckets that are configured here; those that hold something are known as well.
    pub buckets: BTreeSet<BucketName>,
}

/// The S3 endpoint of a site.
#[derive(Clone)]
pub struct Endpoint(pub(crate) Arc<Core>);

/// What is shared by all connections.
pub(crate) struct Core {
    pub(crate) archive: Arc<Archive>,
    budget: Budget,
    share: Share,
    pub(crate) audit: Arc<dyn AuditLog>,
    /// Reads in front of sources, counted.
    pub(crate) reads: Mutex<Reads>,
    standings: Arc<dyn Standings>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) region: Region,
    pub(crate) settings: ArcSwap<Settings>,
    denials: Mutex<Denials>,
    promoted: ArcSwap<BTreeSet<BucketName>>,
    pub(crate) fronts: ArcSwap<Fronts>,
    pub(crate) locks: Locks,
    pub(crate) tally: Tally,
}

impl Endpoint {
    /// An endpoint that is not listening yet.
    #[must_use]
    pub fn new(parts: Parts, settings: Settings) -> Self {
        Self(Arc::new(Core {
            share: parts.budget.share(),
            archive: parts.archive,
            budget: parts.budget,
            audit: parts.audit,
            standings: parts.standings,
            clock: parts.clock,
            region: parts.region,
            settings: ArcSwap::from_pointee(settings),
            reads: Mutex::default(),
            denials: Mutex::default(),
            promoted: ArcSwap::from_pointee(parts.promoted),
            fronts: ArcSwap::default(),
            locks: Locks::default(),
            tally: Tally::default(),
        }))
    }

    /// Takes up other keys and buckets, from the next request on.
    pub fn put_in_force(&self, settings: Settings) {
        self.0.settings.store(Arc::new(settings));
    }

    /// Takes writes to these buckets, and to no others, from the next one on.
    pub fn set_promoted(&self, promoted: BTreeSet<BucketName>) {
        self.0.promoted.store(Arc::new(promoted));
    }

    /// Stands in front of these sources, from the next request on.
    pub fn set_fronts(&self, fronts: Fronts) {
        self.0.fronts.store(Arc::new(fronts));
    }

    /// Puts reads in front of sources on record that were counted in minutes that are over;
    /// to be called now and then.
    pub fn settle_reads(&self) {
        self.0.settle_reads(self.0.clock.now());
    }

    /// What was counted since the start.
    #[must_use]
    pub fn counts(&self) -> EndpointCounts {
        self.0.tally.counts()
    }
}

/// Who reads, on record.
pub(crate) fn actor(id: &AccessKeyId) -> String {
    format!("access-key:{id}")
}

impl Core {
    /// Room for a reading, from the endpoint's share of memory. It waits for others that
    /// read here, and not for ever.
    pub(crate) async fn lease(&self, bytes: usize) -> Result<Lease, S3Error> {
        self.lease_within(bytes, LEASE_TIME_MAX).await
    }

    async fn lease_within(&self, bytes: usize, time_max: Duration) -> Result<Lease, S3Error> {
        let lease = timeout(time_max, self.budget.take_of(&self.share, bytes)).await;
        lease.map_err(|_late| slow_down())
    }

    /// Counts a request that was refused before it was a call, and puts it on record.
    pub(crate) fn refuse(&self, from: IpAddr, refused: &Refused, claimed: Option<&AccessKeyId>) {
        let cause = refused.cause();
        self.tally.refused(cause);
        tracing::warn!(%from, cause, "request to the S3 endpoint refused: {refused}");
        let mut details = BTreeMap::from([
            ("door".to_owned(), "endpoint".to_owned()),
            ("reason".to_owned(), refused.reason().to_string()),
            ("evidence".to_owned(), refused.to_string()),
        ]);
        if let Some(claimed) = claimed {
            details.insert("claimed".to_owned(), claimed.to_string());
        }
        let refusal = Refusal {
            at: self.clock.now(),
            kind: AuditKind::SessionRefused,
            cause: format!("endpoint_{cause}"),
            source: Some(from),
            details,
        };
        if let Err(AuditUnavailable { cause }) = self.audit.refused(refusal) {
            tracing::error!(cause, "a refused request cannot be put on record");
        }
    }

    /// Puts on record that an access key was refused a call. Once a minute for each.
    pub(crate) fn deny(&self, id: &AccessKeyId, call: &str, decision: &AccessDecision) {
        let (now, told) = (self.clock.now(), decision.to_string());
        if !self.denials.lock().is_due(&format!("{call}: {told}"), now) {
            return;
        }
        tracing::warn!(decision = told, call, "access denied");
        let record = AuditRecord::new(now, AuditKind::AccessDenied, actor(id))
            .with("call", call)
            .with("decision", told)
            .with("reason", Reason::PolicyDenied);
        self.keep(record);
    }

    /// An error of the archive as it is told, with what only the log is for. Damage goes on
    /// record.
    pub(crate) fn failed(&self, name: &VersionName, error: &ArchiveError) -> S3Error {
        self.tell_trouble(name, error);
        of_archive(error)
    }

    pub(crate) fn tell_trouble(&self, name: &VersionName, error: &ArchiveError) {
        let finding = in_words(error);
        if !error.is_damage() {
            tracing::warn!(object = %name, reason = %error.reason(), "not read: {finding}");
            return;
        }
        tracing::error!(object = %name, finding, "an archived object is damaged");
        let record = AuditRecord::new(self.clock.now(), AuditKind::ObjectDamaged, "agent")
            .with("bucket", &name.bucket)
            .with("key", &name.key)
            .with("version", &name.version)
            .with("finding", finding);
        self.keep(record);
    }

    /// How a version stands, for whoever reads it; what is read does not depend on it.
    pub(crate) async fn standing(&self, row: &VersionRow) -> Option<ReplicationStatus> {
        match self.standings.of(row).await {
            Ok(status) => status.map(|status| ReplicationStatus::from_static(status.as_str())),
            Err(told) => {
                tracing::warn!(object = %row.name, "how it stands cannot be told: {told}");
                None
            }
        }
    }

    fn keep(&self, record: AuditRecord) {
        if let Err(AuditUnavailable { cause }) = Audit::record(&*self.audit, record) {
            tracing::error!(cause, "what the S3 endpoint met cannot be put on record");
        }
    }

    /// Refuses a bucket that is not here.
    pub(crate) async fn hold_bucket(&self, name: &str) -> Result<BucketName, S3Error> {
        let missing = || S3Error::new(s3s::S3ErrorCode::NoSuchBucket);
        let bucket: BucketName = name.parse().map_err(|_| missing())?;
        let is_configured = self.settings.load().buckets.contains(&bucket);
        let is_here = is_configured || self.buckets().await?.contains(&bucket);
        is_here.then_some(bucket).ok_or_else(missing)
    }

    /// A bucket that may be written to here.
    pub(crate) fn writable(&self, name: &str) -> Result<BucketName, S3Error> {
        let missing = || S3Error::new(s3s::S3ErrorCode::NoSuchBucket);
        let bucket: BucketName = name.parse().map_err(|_| missing())?;
        self.hold_promoted(&bucket)?;
        Ok(bucket)
    }

    /// Refuses to write to a bucket that was not promoted.
    pub(crate) fn hold_promoted(&self, bucket: &BucketName) -> Result<(), S3Error> {
        match self.promoted.load().contains(bucket) {
            true => Ok(()),
            false => Err(read_only(bucket)),
        }
    }

    /// Refuses a call that no row allows, on record.
    pub(crate) fn hold_right(
        &self,
        id: &AccessKeyId,
        call: &str,
        right: AccessRight,
        bucket: &BucketName,
    ) -> Result<(), S3Error> {
        let decision = self.settings.load().rows.allows(id, right, Some(bucket));
        if decision.is_allowed() {
            return Ok(());
        }
        self.deny(id, call, &decision);
        let told = decision.to_string();
        Err(S3Error::with_message(s3s::S3ErrorCode::AccessDenied, told))
    }

    /// The buckets that are configured here, and those that hold something.
    pub(crate) async fn buckets(&self) -> Result<BTreeSet<BucketName>, S3Error> {
        let held = self.archive.counts().await;
        let held = held.map_err(|error| {
            tracing::error!(%error, "the buckets cannot be read");
            of_archive(&error)
        })?;
        let configured = self.settings.load().buckets.clone();
        let held = held.into_iter().map(|count| count.bucket);
        let here = configured.into_iter().chain(held);
        Ok(here.chain(self.fronts.load().keys().cloned()).collect())
    }
}
