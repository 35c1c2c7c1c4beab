//! What the issuing agent does about its authority by the clock: its bundle is in force
//! here at once, who has it in force is remembered, and revocation lists are issued anew
//! at a third of their life.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sealift_identity::{Acknowledgement, Authority, Enrolments, TrustBundle};
use sealift_terms::{AuditKind, Identity, Region, Timestamp};

use super::{Running, upkeep::every};
use crate::{Error, Metric, bundles::HandedBy, config::Ca, told::Told};

/// The authority is looked at this often: commands change it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What was done already, so that it is not done again every second.
#[derive(Debug, Default)]
struct Seen {
    acknowledged: Option<Acknowledgement>,
    /// The bundle that the lists of a region were issued with.
    listed: BTreeMap<Region, u64>,
}

/// Looks after the authority until the agent ends.
pub(super) async fn follow(running: Arc<Running>, ca: Ca) {
    let (mut ticks, mut seen) = (every(LOOK_EVERY), Seen::default());
    let mut told = Told::default();
    loop {
        ticks.tick().await;
        match look(&running, &ca, &mut seen).await {
            Ok(()) => told.is_over(),
            Err(error) => {
                let error = error.in_one_line();
                if told.is_news(&error) {
                    tracing::error!(error, "the authority cannot be looked after");
                }
            }
        }
    }
}

async fn look(running: &Arc<Running>, ca: &Ca, seen: &mut Seen) -> Result<(), Error> {
    let bundle = Authority::open(&ca.directory)?.bundle().clone();
    running.take_up_bundle(bundle, HandedBy::Operator).await;
    let (running, ca, taken) = (running.clone(), ca.clone(), std::mem::take(seen));
    let looking = tokio::task::spawn_blocking(move || {
        let mut seen = taken;
        let done = running.look_after(&ca, &mut seen);
        (seen, done)
    });
    let (after, done) = looking.await.map_err(Error::failed("looking"))?;
    *seen = after;
    done
}

impl Running {
    fn look_after(&self, ca: &Ca, seen: &mut Seen) -> Result<(), Error> {
        let _one_at_a_time = self.site.authority.lock();
        let enrolments = Enrolments::open(&ca.directory)?;
        self.acknowledge_here(&enrolments, seen)?;
        for region in enrolments.authority().regions()? {
            self.look_at_lists(enrolments.authority(), &region, ca, seen)?;
        }
        Ok(())
    }

    /// What is in force here is remembered as that of everybody else.
    fn acknowledge_here(&self, enrolments: &Enrolments, seen: &mut Seen) -> Result<(), Error> {
        let (bundle, credentials) = (self.spread.in_force(), self.tls.credentials());
        let now = self.site.world.clock.now();
        // Another authority's certificate is not what this one waits for.
        let Some(root) = bundle.root_behind(credentials.chain(), now) else {
            return Ok(());
        };
        let row = Acknowledgement {
            identity: credentials.leaf().identity.clone(),
            sequence: bundle.sequence(),
            root: Some(root),
            at: now,
            by: None,
        };
        let same = |it: &Acknowledgement| (it.sequence, &it.root) == (row.sequence, &row.root);
        if bundle.domain() == Some(enrolments.authority().domain())
            && !seen.acknowledged.as_ref().is_some_and(same)
        {
            self.acknowledge(enrolments, &row)?;
            seen.acknowledged = Some(row);
        }
        Ok(())
    }

    /// Remembers, durably, what somebody has in force.
    pub(super) fn acknowledge(
        &self,
        enrolments: &Enrolments,
        row: &Acknowledgement,
    ) -> Result<(), Error> {
        if enrolments.acknowledge(row)? {
            let details = [
                ("identity", row.identity.to_string()),
                ("sequence", row.sequence.to_string()),
                ("root", row.root.clone().unwrap_or_default()),
            ];
            self.record(AuditKind::BundleAcknowledged, &details)?;
            tracing::info!(identity = %row.identity, sequence = row.sequence, "a trust bundle is in force there");
        }
        self.show_acknowledged(&row.identity, row.sequence);
        Ok(())
    }

    fn show_acknowledged(&self, identity: &Identity, sequence: u64) {
        let labels = [identity.as_str()];
        let metric = Metric::BundleAcknowledged;
        self.site.metrics.series(metric, &labels).set(sequence);
    }

    fn look_at_lists(
        &self,
        authority: &Authority,
        region: &Region,
        ca: &Ca,
        seen: &mut Seen,
    ) -> Result<(), Error> {
        let world = &self.site.world;
        let bundle: &TrustBundle = authority.bundle();
        // What cannot be read is made anew.
        let lists = authority.lists(region).ok().flatten();
        let known = seen.listed.get(region) == Some(&bundle.sequence());
        let until = lists.as_ref().map(|lists| lists.next_update());
        if known && until.is_some_and(|until| is_fresh(until, ca.crl_life, world.clock.now())) {
            return Ok(());
        }
        let issued = authority.issue_lists(region, ca.crl_life, &*world.clock)?;
        let issuing = authority.issuing(region)?;
        self.issuers.saw(issuing.uri(), issuing.life());
        let next_update = issued.next_update();
        let numbers = issued.facts().iter().map(|facts| facts.number);
        let details = [
            ("region", region.to_string()),
            ("number", numbers.max().unwrap_or_default().to_string()),
            ("next_update", next_update.to_string()),
        ];
        self.record(AuditKind::CrlIssued, &details)?;
        seen.listed.insert(region.clone(), bundle.sequence());
        let secs = u64::try_from(next_update.as_secs()).unwrap_or_default();
        let metrics = &self.site.metrics;
        metrics
            .series(Metric::CrlExpiry, &[region.as_str()])
            .set(secs);
        metrics.series(Metric::CrlIssued, &[region.as_str()]).add(1);
        Ok(())
    }
}

/// Whether a list that is good until then is in the first third of its life.
fn is_fresh(until: Timestamp, life: Duration, now: Timestamp) -> bool {
    let left = until.since(now);
    // More than a whole life is left when the clock was set back.
    left > life * 2 / 3 && left <= life + Duration::from_secs(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_issued_anew_at_a_third_of_its_life_and_when_the_clock_was_set_back() {
        let (issued, life) = (Timestamp::from_secs(1_000_000), Duration::from_secs(300));
        let until = issued.plus(life);
        let fresh = |secs: u64| is_fresh(until, life, issued.plus(Duration::from_secs(secs)));
        assert!(fresh(0) && fresh(99));
        assert!(!fresh(100) && !fresh(300) && !fresh(1000));
        assert!(!is_fresh(
            until,
            life,
            issued.minus(Duration::from_secs(7200))
        ));
    }
}
