//! What a site answers to commands, whether its agent runs or not.
//!
//! ```text
//!   Request ──▶ listing · reading · verifying · … · keys ──▶ rows, bytes
//!                   │ what is remembered        │ what only a running agent knows
//!                   ▼                           ▼
//!                 Site (journal, catalog,      Live
//!                 archive, audit)
//! ```

mod adopting;
mod alarms;
mod answers;
mod auditing;
mod authority;
mod batches;
mod brought;
mod certificates;
mod comparing;
mod covering;
mod denying;
mod explaining;
mod failing;
mod holding;
mod issuing;
mod key_reports;
mod keys;
mod legal_holds;
mod listing;
mod live;
mod nowhere;
mod planning;
mod promoting;
mod reading;
mod refilling;
mod replicating;
mod residency;
mod retagging;
mod retrying;
mod rights;
mod scrape;
mod scrubbing;
mod service_keys;
mod status;
mod tags;
mod taking_back;
#[cfg(test)]
mod tests;
mod verifying;
mod written;

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use sealift_identity::Denials;
use sealift_terms::{AuditKind, AuditRecord, BucketName};
use tokio::sync::Semaphore;

use crate::{
    Error, Metric,
    admin::{Actor, Answer, Check, Count, Operations, Readiness, Request, StatusReport},
    site::Site,
};

pub(crate) use certificates::Leaves;
pub(crate) use live::{Apart, Direction, Live, Path, PeerState, Sections, SessionState, Trouble};
pub(crate) use rights::NotAllowed;
pub(crate) use verifying::in_words;
pub(crate) use written::status_of;

/// Objects being read for commands at once: each holds bytes of the budget for as
/// long as its reader takes.
const READINGS_MAX: usize = 4;
/// Rows asked of a database at once.
const PAGE_ROWS: usize = 1000;

/// The operations of an opened site.
pub(crate) struct SiteOperations {
    site: Arc<Site>,
    /// The agent, if one runs.
    live: Option<Arc<dyn Live>>,
    readings: Semaphore,
    /// Scrapes clear and fill: one at a time.
    scraping: tokio::sync::Mutex<()>,
    /// What operators were denied lately.
    denials: Mutex<Denials>,
}

impl SiteOperations {
    /// Of a site whose agent runs.
    pub(crate) fn running(site: Arc<Site>, live: Arc<dyn Live>) -> Self {
        Self::new(site, Some(live))
    }

    /// Of a site whose agent is stopped.
    pub(crate) fn stopped(site: Arc<Site>) -> Self {
        Self::new(site, None)
    }

    fn new(site: Arc<Site>, live: Option<Arc<dyn Live>>) -> Self {
        let readings = Semaphore::new(READINGS_MAX);
        Self {
            site,
            live,
            readings,
            scraping: tokio::sync::Mutex::default(),
            denials: Mutex::default(),
        }
    }

    /// The agent, or why there is none.
    fn live(&self, why: &str) -> Result<&dyn Live, Error> {
        self.live.as_deref().ok_or_else(|| Error::Stopped {
            what: format!("the agent is stopped: {why}"),
        })
    }

    /// Puts a command that changes something on record.
    fn record(
        &self,
        actor: &Actor,
        command: &str,
        details: &[(&str, String)],
    ) -> Result<(), Error> {
        let now = self.site.world.clock.now();
        let record = AuditRecord::new(now, AuditKind::Administration, actor.to_string());
        let record = record.with("command", command);
        let detailed = details
            .iter()
            .fold(record, |record, (name, value)| record.with(name, value));
        self.site.record(detailed)
    }

    /// Refuses a bucket that nothing here has to do with.
    async fn hold_bucket(&self, bucket: &BucketName) -> Result<(), Error> {
        let config = self.site.current();
        let named = config.buckets.iter().any(|known| known.name == *bucket)
            || config.sources.iter().any(|source| source.bucket == *bucket);
        if named {
            return Ok(());
        }
        let held = self.site.archive.counts().await?;
        match held.iter().any(|count| count.bucket == *bucket) {
            true => Ok(()),
            false => Err(Error::NotFound {
                what: format!("bucket {bucket} at this site"),
            }),
        }
    }

    async fn scan(&self, actor: &Actor, answer: &Answer) -> Result<(), Error> {
        let live = self.live("it scans its sources when it starts")?;
        self.record(actor, "scan", &[])?;
        let objects = live.scan(None);
        answer.row(&Count { objects, bytes: 0 }).await
    }

    async fn reload(&self, actor: &Actor, answer: &Answer) -> Result<(), Error> {
        let live = self.live("it reads its configuration when it starts")?;
        for line in live.reload(actor).await? {
            answer.row(&line).await?;
        }
        Ok(())
    }

    async fn check(&self, check: &Check, answer: &Answer) -> Result<(), Error> {
        let site = &self.site;
        let lines = match &self.live {
            Some(live) => live.check(check).await?,
            None => crate::check_offline(&site.current(), &site.world).await,
        };
        for line in lines {
            answer.row(&line).await?;
        }
        Ok(())
    }

    async fn dispatch(
        &self,
        request: Request,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        match request {
            Request::Status => answer.row(&self.status().await?).await,
            Request::Ls(ls) => self.ls(&ls, answer).await,
            Request::Get(get) => self.get(&get, actor, answer).await,
            Request::Verify(verify) => self.verify(&verify, actor, answer).await,
            Request::Inspect(named) => self.inspect(&named, answer).await,
            Request::Explain(named) => self.explain(&named, answer).await,
            Request::Retry(retry) => self.retry(&retry, actor, answer).await,
            Request::Reload => self.reload(actor, answer).await,
            Request::Check(check) => self.check(&check, answer).await,
            Request::Scrub(scrub) => self.scrub(scrub, actor, answer).await,
            Request::Plan(plan) => self.plan(&plan, answer).await,
            Request::Scan => self.scan(actor, answer).await,
            Request::Keys(keys) => self.keys(keys, actor, answer).await,
            Request::Rewrap(rewrap) => self.rewrap(rewrap, actor, answer).await,
            Request::Reseal(reseal) => self.reseal(reseal, actor, answer).await,
            Request::Adopt(adopt) => self.adopt(adopt, actor, answer).await,
            Request::Residency(residency) => self.residency(&residency, answer).await,
            Request::Replicate(replicate) => self.replicate(replicate, actor, answer).await,
            Request::Batches(batches) => self.batches(batches, actor, answer).await,
            Request::Certs => self.certificates(answer).await,
            Request::Renew => self.renew(actor, answer).await,
            Request::Deny(deny) => self.deny(deny, actor, answer).await,
            Request::Promote(promote) => self.promote(promote, actor, answer).await,
            Request::Hold(hold) => self.hold(hold, actor, answer).await,
            Request::Token(new) => self.token(new, actor, answer).await,
            Request::Issue(new) => self.issue(new, actor, answer).await,
            Request::Revoke(revoke) => self.revoke(revoke, actor, answer).await,
            Request::Rollover(take) => self.rollover(take, actor, answer).await,
            Request::Audit(read) => self.read_audit(read, answer).await,
        }
    }
}

#[async_trait]
impl Operations for SiteOperations {
    fn readiness(&self) -> Readiness {
        match &self.live {
            Some(live) => live.readiness(),
            None => Readiness {
                ready: false,
                problems: vec!["the agent is stopped".to_owned()],
                degraded: Vec::new(),
            },
        }
    }

    async fn metrics(&self) -> String {
        self.scrape().await
    }

    async fn status(&self) -> Result<StatusReport, Error> {
        self.report().await
    }

    async fn carry_out(
        &self,
        request: Request,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        let command = request.word();
        self.site
            .metrics
            .series(Metric::AdminRequests, &[command])
            .add(1);
        let outcome = match self.hold_rights(&request, actor).await {
            Ok(()) => self.dispatch(request, actor, answer).await,
            Err(refused) => Err(refused),
        };
        if self.live.is_none() {
            // The process ends with the command: what it put on record has to stay.
            let flushed = self.site.audit.flush().await;
            flushed.map_err(Error::failed("writing the audit log"))?;
        }
        outcome
    }
}
