//! Pending work and no acknowledgement: an alarm, and a new session.

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;
use sealift_ledger::Count;
use sealift_sender::SenderStatus;
use sealift_terms::{AuditKind, PeerName, Status};

use super::Running;
use crate::{Metric, admin::Alarm};

/// What is seen of the sending to one peer at some moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    /// Transfers that are not acknowledged.
    pending: u64,
    /// Objects and parts acknowledged since the start.
    acknowledgements: u64,
    /// Answers of any kind and bytes that left since the start: on a slow link a part
    /// takes its time, and a new session would begin it anew.
    moves: u64,
    /// Whether the peer owes an answer, or something is due and is not offered.
    is_owed: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Fine,
    /// Stalled from now on.
    Alarm,
    /// Stalled as before.
    Stalled,
    /// Not stalled any more.
    Over,
}

/// Watches over the sending to one peer.
#[derive(Debug, Clone, Copy, Default)]
struct Watch {
    last: Seen,
    /// Since when work is pending and nothing was acknowledged.
    silent_since: Duration,
    /// Since when nothing came and nothing left, in this session.
    unanswered_since: Duration,
    stalled: bool,
}

impl Watch {
    fn look(&mut self, now: Duration, seen: Seen, limit: Duration) -> Verdict {
        let last = std::mem::replace(&mut self.last, seen);
        if seen.pending == 0 || seen.acknowledgements != last.acknowledgements || last.pending == 0
        {
            self.silent_since = now;
        }
        if !seen.is_owed || seen.moves != last.moves || !last.is_owed {
            self.unanswered_since = now;
        }
        let is_silent = self.silent(now) >= limit;
        match (
            std::mem::replace(&mut self.stalled, is_silent),
            self.stalled,
        ) {
            (false, true) => Verdict::Alarm,
            (true, true) => Verdict::Stalled,
            (true, false) => Verdict::Over,
            (false, false) => Verdict::Fine,
        }
    }

    fn silent(&self, now: Duration) -> Duration {
        now.saturating_sub(self.silent_since)
    }

    /// Whether the session is to be given up: the peer owes an answer and gives none.
    /// Once in `limit`, as the next session needs its time, too.
    fn gives_up(&mut self, now: Duration, limit: Duration) -> bool {
        let gives_up = self.stalled && now.saturating_sub(self.unanswered_since) >= limit;
        if gives_up {
            self.unanswered_since = now;
        }
        gives_up
    }
}

/// The watches over all peers, and what they have to say.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    watches: Mutex<BTreeMap<PeerName, Watch>>,
    alarms: Mutex<BTreeMap<PeerName, Alarm>>,
}

impl Watchdog {
    pub(super) fn alarms(&self) -> Vec<Alarm> {
        self.alarms.lock().values().cloned().collect()
    }
}

impl Running {
    /// Looks at the sending to every peer; raises and ends alarms.
    pub(super) async fn look_for_stalls(&self) {
        let mut pending: BTreeMap<PeerName, u64> = BTreeMap::new();
        match self.site.journal.counts().await {
            Ok(counts) => {
                // Of what is held back nobody expects anything.
                let is_owed = |c: &&Count| c.status == Status::Pending && c.is_expected;
                for count in counts.iter().filter(is_owed) {
                    *pending.entry(count.peer.clone()).or_default() += count.objects;
                }
            }
            Err(error) => return tracing::error!(%error, "the journal cannot be counted"),
        }
        for one in self.senders.values() {
            let status = one.sender.status();
            let pending = pending.get(&status.peer).copied().unwrap_or(0);
            let seen = Seen {
                pending,
                acknowledgements: status.acknowledgements,
                moves: status.answers.wrapping_add(status.bytes_written),
                is_owed: status.connected && pending > 0 && self.is_owed(&status).await,
            };
            self.judge(&status.peer, seen);
        }
    }

    /// Something is on its way, or nothing is although nothing waits for its time.
    async fn is_owed(&self, status: &SenderStatus) -> bool {
        let now = self.site.world.clock.now();
        status.under_way > 0
            || matches!(
                self.site.journal.next_due(&status.peer, now).await,
                Ok(None)
            )
    }

    fn judge(&self, peer: &PeerName, seen: Seen) {
        let now = self.site.world.clock.monotonic();
        let limit = self.site.config.stalled_after;
        let (verdict, silent, gives_up) = {
            let mut watches = self.watchdog.watches.lock();
            let watch = watches.entry(peer.clone()).or_default();
            let verdict = watch.look(now, seen, limit);
            (verdict, watch.silent(now), watch.gives_up(now, limit))
        };
        let evidence = format!(
            "peer {peer}: {} pending, nothing was acknowledged for {} s",
            seen.pending,
            silent.as_secs()
        );
        match verdict {
            Verdict::Fine => {}
            Verdict::Alarm => {
                tracing::error!(%peer, pending = seen.pending, "replication is stalled: {evidence}");
                self.put_on_record(AuditKind::ReplicationStalled, peer, &evidence);
            }
            Verdict::Stalled => {}
            Verdict::Over => {
                tracing::info!(%peer, "replication goes on");
                self.put_on_record(AuditKind::ReplicationResumed, peer, "it goes on");
            }
        }
        let is_stalled = matches!(verdict, Verdict::Alarm | Verdict::Stalled);
        self.show_stall(peer, is_stalled.then(|| evidence.clone()));
        if gives_up {
            self.give_up(peer, evidence);
        }
    }

    /// A session that does not answer is given up; whoever dials, dials again.
    fn give_up(&self, peer: &PeerName, evidence: String) {
        let Some(one) = self.senders.get(peer) else {
            return;
        };
        tracing::warn!(%peer, evidence, "the session does not answer: another is made");
        if one.sender.give_up(evidence) {
            let labels = [peer.as_str()];
            self.site
                .metrics
                .series(Metric::SessionsGivenUp, &labels)
                .add(1);
        }
    }

    fn show_stall(&self, peer: &PeerName, evidence: Option<String>) {
        let series = self.site.metrics.series(Metric::Stalled, &[peer.as_str()]);
        series.set(u64::from(evidence.is_some()));
        let mut alarms = self.watchdog.alarms.lock();
        match evidence {
            None => drop(alarms.remove(peer)),
            Some(evidence) => {
                let alarm = Alarm {
                    alarm: "stalled".to_owned(),
                    evidence,
                    remedy: "`sealift check` asks the peer; `sealift ls --status PENDING` says why objects wait"
                        .to_owned(),
                };
                alarms.insert(peer.clone(), alarm);
            }
        }
    }

    fn put_on_record(&self, kind: AuditKind, peer: &PeerName, evidence: &str) {
        let details = [
            ("peer", peer.to_string()),
            ("evidence", evidence.to_owned()),
        ];
        if let Err(error) = self.record(kind, &details) {
            tracing::error!(%error, "an alarm cannot be put on record");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn seen(pending: u64, acknowledgements: u64, moves: u64) -> Seen {
        Seen {
            pending,
            acknowledgements,
            moves,
            is_owed: pending > 0,
        }
    }

    #[test]
    fn silence_with_nothing_pending_is_no_alarm_and_the_time_begins_with_the_work() {
        let mut watch = Watch::default();
        for now in 0..100 {
            assert_eq!(watch.look(at(now), seen(0, 5, 5), LIMIT), Verdict::Fine);
        }
        for now in 100..110 {
            assert_eq!(watch.look(at(now), seen(1, 5, 5), LIMIT), Verdict::Fine);
        }
        assert_eq!(watch.look(at(110), seen(1, 5, 5), LIMIT), Verdict::Alarm);
        assert_eq!(watch.look(at(111), seen(1, 5, 5), LIMIT), Verdict::Stalled);
    }

    #[test]
    fn an_acknowledgement_ends_the_alarm_and_so_does_the_end_of_the_work() {
        for end in [seen(1, 6, 6), seen(0, 5, 5)] {
            let mut watch = Watch::default();
            watch.look(at(0), seen(1, 5, 5), LIMIT);
            assert_eq!(watch.look(at(10), seen(1, 5, 5), LIMIT), Verdict::Alarm);
            assert_eq!(watch.look(at(11), end, LIMIT), Verdict::Over);
            assert_eq!(watch.look(at(12), end, LIMIT), Verdict::Fine);
        }
    }

    #[test]
    fn work_that_is_acknowledged_now_and_then_is_not_stalled() {
        let mut watch = Watch::default();
        for now in 0..100 {
            let verdict = watch.look(at(now), seen(9, now / 9, now / 9), LIMIT);
            assert_eq!(verdict, Verdict::Fine, "{now}");
            assert!(!watch.gives_up(at(now), LIMIT));
        }
    }

    #[test]
    fn a_session_in_which_nothing_moves_is_given_up_once_in_that_time() {
        let mut watch = Watch::default();
        let mut given_up = Vec::new();
        for now in 0..35 {
            watch.look(at(now), seen(1, 0, 0), LIMIT);
            if watch.gives_up(at(now), LIMIT) {
                given_up.push(now);
            }
        }
        assert_eq!(given_up, [10, 20, 30]);
    }

    #[test]
    fn a_peer_that_refuses_or_is_slow_is_an_alarm_and_its_session_is_kept() {
        let mut watch = Watch::default();
        for now in 0..50 {
            let verdict = watch.look(at(now), seen(1, 0, now / 5), LIMIT);
            assert_eq!(verdict == Verdict::Fine, now < 10, "{now}");
            assert!(!watch.gives_up(at(now), LIMIT), "{now}");
        }
    }

    #[test]
    fn what_waits_for_its_next_try_is_no_reason_to_give_a_session_up() {
        let mut watch = Watch::default();
        let waiting = Seen {
            is_owed: false,
            ..seen(1, 0, 0)
        };
        for now in 0..50 {
            watch.look(at(now), waiting, LIMIT);
            assert!(!watch.gives_up(at(now), LIMIT), "{now}");
        }
        assert!(watch.stalled);
    }
}
