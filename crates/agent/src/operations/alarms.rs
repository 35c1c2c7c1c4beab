//! Every alarm that `status` shows, and metrics count: what somebody has to look at.

use sealift_identity::{Authority, Enrolments, IdentityError, Lock, RevocationLists};
use sealift_sender::SourceStatus;
use sealift_terms::{Timestamp, limits::SCANS_FAILED_ALARM};

use super::{SiteOperations, key_reports};
use crate::{
    Error,
    admin::{Alarm, KeyReport, ScrubReport},
    config::{Ca, Config},
};

/// Revocation lists of which less than this part of their life is left are stale: whoever
/// issues them does so at a third of it.
const LIST_LIFE_LEFT: u32 = 2;

impl SiteOperations {
    /// All of them: another sort is another line here.
    pub(super) fn alarms(&self, scrub: &ScrubReport, keys: &[KeyReport]) -> Vec<Alarm> {
        let (config, now) = (self.site.current(), self.site.world.clock.now());
        let live = self.live.as_ref().map(|live| live.alarms());
        let mut alarms = live.unwrap_or_default();
        alarms.extend(damaged(scrub));
        let sources = self.live.as_ref().map(|live| live.sources());
        alarms.extend(sources.iter().flatten().filter_map(unscanned));
        alarms.extend(key_reports::alarms(keys, now));
        alarms.extend(found(config.ca.as_ref().map(locked)));
        alarms.extend(found(config.ca.as_ref().map(|ca| own_lists(ca, now))));
        alarms.extend(found(Some(self.lists_of_peers(&config, now))));
        alarms
    }

    /// Of peers that are held to lists which end soon, or have ended.
    fn lists_of_peers(&self, config: &Config, now: Timestamp) -> Result<Vec<Alarm>, Error> {
        if config.peers.iter().all(|peer| peer.crl.is_none()) {
            return Ok(Vec::new());
        }
        let peers = match &self.live {
            Some(live) => live.leaves().peers,
            None => self.site.peers(config)?,
        };
        let stale = peers.iter().filter_map(|peer| {
            let until = stale_until(peers.lists(&peer.identity)?, now)?;
            let name = &peer.name;
            Some(Alarm {
                alarm: "crl_stale".to_owned(),
                evidence: format!(
                    "the revocation list that peer {name} is held to {}: it is not let in after that",
                    ends(until, now)
                ),
                remedy: "copy a fresh one from its authority: crl/REGION.pem in that directory"
                    .to_owned(),
            })
        });
        Ok(stale.collect())
    }
}

/// What cannot be looked at is told in the log, and hides no other alarm.
fn found(looked: Option<Result<Vec<Alarm>, Error>>) -> Vec<Alarm> {
    match looked {
        None => Vec::new(),
        Some(Ok(alarms)) => alarms,
        Some(Err(error)) => {
            let error = error.in_one_line();
            tracing::error!(error, "whether there is an alarm is not known");
            Vec::new()
        }
    }
}

/// A source of which several scans in a row did not come to their end.
fn unscanned(source: &SourceStatus) -> Option<Alarm> {
    let SourceStatus {
        bucket,
        scanned,
        failed_scans,
        ..
    } = source;
    (*failed_scans >= SCANS_FAILED_ALARM).then(|| {
        let last = scanned.map(|scanned| format!(" since {scanned}"));
        let why = source.evidence.as_deref().unwrap_or_default();
        Alarm {
            alarm: "source_not_scanned".to_owned(),
            evidence: format!(
                "source {bucket}: {failed_scans} scans in a row did not come to their end{}: {why}",
                last.unwrap_or_default()
            ),
            remedy: "`sealift check` looks at the source; what is written there may be missing at \
                     its destinations until a scan comes to its end"
                .to_owned(),
        }
    })
}

fn damaged(scrub: &ScrubReport) -> Option<Alarm> {
    (scrub.damaged > 0).then(|| Alarm {
        alarm: "damaged".to_owned(),
        evidence: format!(
            "{} versions are in quarantine and not served",
            scrub.damaged
        ),
        remedy:
            "what came from a peer comes again from there by itself; what was written here a peer \
                 gives back by a rule with `to_origin = true`; `sealift scrub` names them"
                .to_owned(),
    })
}

/// Identities of this site's authority of which two hold what one should hold.
fn locked(ca: &Ca) -> Result<Vec<Alarm>, Error> {
    let locks = Enrolments::open(&ca.directory)?.locks()?;
    let alarm = |lock: Lock| {
        let from = lock.from.map(|from| format!(", asked from {from}"));
        Alarm {
            alarm: "identity_locked".to_owned(),
            evidence: format!(
                "{} gets no certificate since {}: {}{}",
                lock.identity,
                lock.at,
                lock.why,
                from.unwrap_or_default()
            ),
            remedy: format!(
                "find out who else has its token or key; then `sealift ca token` revokes what it has \
                 and lets it begin anew (`sealift init --token-file`), or `sealift ca revoke {}` cuts \
                 it off",
                lock.identity
            ),
        }
    };
    Ok(locks.into_iter().map(alarm).collect())
}

/// Lists of this site's authority that should have been issued anew.
fn own_lists(ca: &Ca, now: Timestamp) -> Result<Vec<Alarm>, Error> {
    let authority = Authority::open(&ca.directory)?;
    let stale = |region| -> Result<Option<Alarm>, IdentityError> {
        let lists = authority.lists(&region)?;
        let until = lists.and_then(|lists| stale_until(&lists, now));
        Ok(until.map(|until| Alarm {
            alarm: "crl_stale".to_owned(),
            evidence: format!(
                "the revocation list of region {region} should have been issued anew and {}",
                ends(until, now)
            ),
            remedy: "the running agent issues it: see why it does not in its log".to_owned(),
        }))
    };
    let regions = authority.regions()?.into_iter();
    let alarms: Result<Vec<_>, _> = regions.map(stale).collect();
    Ok(alarms?.into_iter().flatten().collect())
}

/// Until when lists are good that are stale.
fn stale_until(lists: &RevocationLists, now: Timestamp) -> Option<Timestamp> {
    let is_stale = |facts: &&sealift_identity::ListFacts| {
        let life = facts.next_update.since(facts.this_update);
        facts.next_update.since(now) < life / LIST_LIFE_LEFT
    };
    let stale = lists.facts().iter().filter(is_stale);
    stale.map(|facts| facts.next_update).min()
}

fn ends(until: Timestamp, now: Timestamp) -> String {
    match until <= now {
        true => format!("ended at {until}"),
        false => format!("ends at {until}"),
    }
}

#[cfg(test)]
mod tests {
    use sealift_terms::{BucketName, Reason};

    use super::*;

    #[test]
    fn what_was_written_here_is_not_said_to_come_again_by_itself() {
        let scrub = |damaged| ScrubReport {
            damaged,
            ..ScrubReport::default()
        };
        assert!(damaged(&scrub(0)).is_none());
        let remedy = damaged(&scrub(1)).unwrap().remedy;
        assert!(remedy.contains("to_origin = true"), "{remedy}");
    }

    #[test]
    fn a_source_of_which_scans_fail_again_and_again_is_an_alarm_and_one_failure_is_none() {
        let source = |failed_scans| SourceStatus {
            bucket: BucketName::new("photos").unwrap(),
            scanned: Some(Timestamp::from_secs(7)),
            failed_scans,
            objects: 1,
            skipped: 0,
            settling: 0,
            reason: Some(Reason::SrcUnavailable),
            evidence: Some("it is silent".to_owned()),
            held: None,
            purges_held: None,
            polling: None,
        };
        for few in 0..SCANS_FAILED_ALARM {
            assert!(unscanned(&source(few)).is_none(), "{few}");
        }
        let alarm = unscanned(&source(SCANS_FAILED_ALARM)).unwrap();
        for told in ["photos", "3 scans", "1970-01-01T00:00:07", "it is silent"] {
            assert!(alarm.evidence.contains(told), "{told}: {}", alarm.evidence);
        }
    }
}
