//! What the running agent looks after by the clock: links that may not go on, whether it
//! can do its work, transfers that wait for too long, and what is old.

use std::{collections::BTreeSet, time::Duration};

use parking_lot::Mutex;
use sealift_ledger::Count;
use sealift_terms::{
    AuditKind, PeerName, RuleName, Status, Timestamp,
    limits::{PENDING_ALARM_AFTER, SETTLED_KEPT_MAX},
};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{Running, sends_on::SendsOn};
use crate::{Error, Metric, certifying::show_renewal, site::keys_usable};

/// How often links are held against certificates and the deny list.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How often keys and databases are tried.
const HEALTH_EVERY: Duration = Duration::from_secs(5);
/// A database that answers later than this cannot be written.
const WRITE_TIME_MAX: Duration = Duration::from_secs(5);
/// Record keys are dropped from memory, and ages of transfers looked at, once a minute.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Old uploads and old rows are looked for once an hour.
const TIDY_EVERY: Duration = Duration::from_secs(3600);
const FOLDED_AT_ONCE: usize = 1000;

/// What keeps the agent from its work, as it was seen last.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<Vec<String>>);

impl Health {
    pub(super) fn problems(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

impl Running {
    /// Looks after everything until the agent ends. What takes long is in nobody's way.
    pub(super) async fn watch_over(&self) {
        tokio::join!(
            self.hold_links(),
            self.look_at_senders(),
            self.look_at_health(),
            self.look_at_ages(),
            self.hold_rpo(),
            self.follow_certificates(),
            self.renew_in_time(),
            self.follow_bundle(),
            self.look_after_keys(),
            self.tidy_up()
        );
    }

    /// Holds standing links against certificates and the deny list, and lets counted
    /// refusals and reads go on record.
    async fn hold_links(&self) {
        let mut ticks = every(SWEEP_EVERY);
        loop {
            ticks.tick().await;
            self.sweep_links();
            self.peers.clocks.look(&*self.site.world.clock);
            if let Err(error) = self.site.audit.settle_refusals(self.site.world.clock.now()) {
                tracing::error!(%error, "refused connections cannot be put on record");
            }
            if let Some(endpoint) = &self.endpoint {
                endpoint.settle_reads();
            }
        }
    }

    async fn look_at_senders(&self) {
        let mut ticks = every(SWEEP_EVERY);
        loop {
            ticks.tick().await;
            self.look_for_stalls().await;
        }
    }

    async fn look_at_health(&self) {
        let mut ticks = every(HEALTH_EVERY);
        loop {
            ticks.tick().await;
            let found = self.find_problems().await;
            let mut known = self.health.0.lock();
            for problem in found.iter().filter(|problem| !known.contains(problem)) {
                tracing::error!(problem, "not ready");
            }
            *known = found;
        }
    }

    async fn find_problems(&self) -> Vec<String> {
        let site = &self.site;
        let mut problems = Vec::new();
        if let Err(error) = keys_usable(&site.current(), &*site.providers).await {
            problems.push(error.in_one_line());
        }
        let written = [
            (
                "the journal",
                timeout(WRITE_TIME_MAX, site.journal.probe()).await,
            ),
            (
                "the audit log",
                timeout(WRITE_TIME_MAX, site.audit.flush()).await,
            ),
        ];
        for (what, outcome) in written {
            match outcome {
                Ok(Ok(())) => {}
                Ok(Err(error)) => problems.push(format!("{what} cannot be written: {error}")),
                Err(_late) => problems.push(format!(
                    "{what} cannot be written: no answer within {} s",
                    WRITE_TIME_MAX.as_secs()
                )),
            }
        }
        problems
    }

    /// Shows how long the certificate lives, lets record keys go, and raises the alarm
    /// over transfers that wait for too long.
    async fn look_at_ages(&self) {
        let mut alarmed = BTreeSet::new();
        let mut ticks = every(LOOK_EVERY);
        loop {
            ticks.tick().await;
            self.show_certificate();
            self.site.ring.expire();
            self.site.archive.let_go_of_interrupted();
            if let Err(error) = self.raise_alarms(&mut alarmed).await {
                tracing::error!(%error, "how long transfers wait is not known");
            }
        }
    }

    /// Once for each rule and peer, until nothing of it waits for so long any more.
    async fn raise_alarms(
        &self,
        alarmed: &mut BTreeSet<(RuleName, PeerName)>,
    ) -> Result<(), Error> {
        let since = self.site.world.clock.now().minus(PENDING_ALARM_AFTER);
        let counts = self.site.journal.counts().await?;
        let late: Vec<&Count> = counts
            .iter()
            .filter(|count| is_late(count, since))
            .collect();
        let named = |count: &Count| (count.rule.clone(), count.peer.clone());
        for count in &late {
            if alarmed.contains(&named(count)) {
                continue;
            }
            let (rule, peer) = named(count);
            let oldest = count.oldest.map(|at| at.to_string()).unwrap_or_default();
            tracing::error!(
                %rule, %peer, objects = count.objects, oldest,
                "transfers wait for more than 24 hours: see `sealift ls --status PENDING`"
            );
            let details = [
                ("rule", rule.to_string()),
                ("peer", peer.to_string()),
                ("objects", count.objects.to_string()),
                ("oldest", oldest),
            ];
            self.record(AuditKind::TransfersOverdue, &details)?;
        }
        *alarmed = late.into_iter().map(named).collect();
        Ok(())
    }

    /// Rotates, forgets and destroys keys whose time has come. What cannot be done now is
    /// tried again.
    async fn look_after_keys(&self) {
        let mut told = BTreeSet::new();
        let mut ticks = every(LOOK_EVERY);
        loop {
            ticks.tick().await;
            let outcomes = [
                ("forgotten", self.site.forget_expired().await),
                ("rotated", self.site.rotate_due().await),
                ("destroyed", self.site.destroy_due(&mut told).await),
            ];
            for (act, outcome) in outcomes {
                if let Err(error) = outcome {
                    let why = error.in_one_line();
                    tracing::error!(why, "keys whose time has come cannot be {act}");
                }
            }
        }
    }

    pub(super) fn show_certificate(&self) {
        self.show_bundles();
        let leaf = self.tls.credentials().leaf().clone();
        let expiry = leaf.not_after.as_secs();
        let series = self
            .site
            .metrics
            .series(Metric::CertificateExpiry, &[leaf.identity.as_str()]);
        series.set(u64::try_from(expiry).unwrap_or_default());
        show_renewal(&self.site.metrics, &leaf, self.renewal_due());
    }

    /// Deletes uploads that were given up long ago, and folds old rows of the journal.
    async fn tidy_up(&self) {
        let mut ticks = every(TIDY_EVERY);
        loop {
            ticks.tick().await;
            match self.site.archive.sweep().await {
                Ok(0) => {}
                Ok(uploads) => tracing::warn!(uploads, "unfinished uploads were deleted"),
                Err(error) => {
                    tracing::error!(%error, "unfinished uploads cannot be looked through")
                }
            }
            self.let_versions_go().await;
            let before = self.site.world.clock.now().minus(SETTLED_KEPT_MAX);
            match self.fold(before).await {
                Ok(0) => {}
                Ok(rows) => tracing::info!(rows, "rows of transfers done long ago were folded"),
                Err(error) => tracing::error!(%error, "old rows of the journal stay"),
            }
        }
    }

    /// Purges versions whose time is over, and frees what was purged.
    async fn let_versions_go(&self) {
        let sent_on = SendsOn::new(&self.site, self.rules.borrow().clone());
        match self.site.archive.expire_noncurrent(&sent_on).await {
            Ok(done) if done.purged > 0 => {
                let (purged, retained) = (done.purged, done.retained);
                tracing::warn!(
                    purged,
                    retained,
                    awaited = done.awaited,
                    "versions that were not current were purged"
                );
            }
            Ok(done) if done.awaited > 0 => {
                let awaited = done.awaited;
                tracing::warn!(
                    awaited,
                    "versions whose time is over stay until they were sent on"
                );
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "versions whose time is over stay"),
        }
        match self.site.archive.remove_emptied().await {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "files of purged versions were removed"),
            Err(error) => tracing::error!(%error, "files of purged versions stay"),
        }
    }

    async fn fold(&self, before: Timestamp) -> Result<u64, Error> {
        let mut rows = 0;
        // What was sent by these is held against what the source still has.
        let config = self.site.current();
        let purging = config
            .rules
            .iter()
            .filter(|rule| rule.version_deletes.is_some());
        let keep: Vec<RuleName> = purging.map(|rule| rule.name.clone()).collect();
        loop {
            let folding = self.site.journal.fold(before, keep.clone(), FOLDED_AT_ONCE);
            let folded = folding.await?;
            rows += folded;
            if folded < FOLDED_AT_ONCE as u64 {
                return Ok(rows);
            }
        }
    }
}

/// Ticks now and then every so often; those that were missed do not come later.
pub(super) fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn is_late(count: &Count, since: Timestamp) -> bool {
    count.status == Status::Pending && count.oldest.is_some_and(|oldest| oldest < since)
}
