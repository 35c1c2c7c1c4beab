//! Ends a session in time: before a certificate of one of its links does, or when the peer
//! asks for it. What is begun comes to its end, nothing new begins, and the next session
//! goes on where this one stopped.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use sealift_terms::Timestamp;
use sealift_tunnel::Link;
use sealift_wire::Close;

use super::shared::Shared;

/// Between two looks whether the time has come, and how fast the session is.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Between two looks whether nothing is on its way any more.
const QUIET_EVERY: Duration = Duration::from_millis(5);
/// How long the peer has to close its end of the links.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);
/// What the last look counts for in the rate.
const RATE_WEIGHT: f64 = 0.25;

/// A link with less left is not moved: without fresher certificates sessions would follow
/// one another ever faster.
const LEFT_MIN: Duration = Duration::from_secs(2);

/// When a link is to be left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    /// Neither certificate is outlived.
    ends: Timestamp,
    /// What runs on it moves this long before its end.
    moves_before: Duration,
    /// And never earlier than this; nothing: not at all.
    moves_before_max: Duration,
}

impl Life {
    /// Of a link that is there from `now` on.
    pub(super) fn of(link: &Link, now: Timestamp) -> Self {
        let session = link.session();
        let left = session.ends().since(now);
        let moves = left >= LEFT_MIN;
        Self {
            ends: session.ends(),
            moves_before: session.moves_before_end(now),
            moves_before_max: if moves { left / 2 } else { Duration::ZERO },
        }
    }

    /// Whether what needs `needed` to come to its end has to do so now.
    fn is_over_in(&self, needed: Duration, now: Timestamp) -> bool {
        let before = needed.max(self.moves_before).min(self.moves_before_max);
        !before.is_zero() && now.plus(before) >= self.ends
    }
}

/// Bytes a second, while any are on their way.
#[derive(Debug, Default)]
struct Rate {
    written: u64,
    at: Duration,
    bytes_per_sec: Option<f64>,
}

impl Rate {
    /// Takes the count of bytes written until now.
    fn look(&mut self, written: u64, at: Duration, is_busy: bool) {
        let elapsed = at.saturating_sub(self.at).as_secs_f64();
        let bytes = written.saturating_sub(self.written) as f64;
        (self.written, self.at) = (written, at);
        if !is_busy || elapsed <= 0.0 {
            return;
        }
        let now = bytes / elapsed;
        let before = self.bytes_per_sec.unwrap_or(now);
        self.bytes_per_sec = Some(before + (now - before) * RATE_WEIGHT);
    }

    /// How long `bytes` may take: twice what they would at this rate.
    fn time_for(&self, bytes: u64) -> Duration {
        let rate = self.bytes_per_sec.unwrap_or(f64::INFINITY);
        let secs = 2.0 * bytes as f64 / rate;
        Duration::try_from_secs_f64(secs).unwrap_or(Duration::ZERO)
    }
}

/// Waits until the session is to end in order, and ends it: what is begun is done, unless
/// its certificates end before.
pub(super) async fn moved(shared: &Arc<Shared>) {
    let clock = &shared.settings.clock;
    let mut rate = Rate::default();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let flying = shared.machine.lock().flying_bytes();
        let written = shared.bytes_written.load(Ordering::Relaxed);
        rate.look(written, clock.monotonic(), flying > 0);
        if shared.is_over_in(rate.time_for(flying), clock.now()) || shared.is_asked_to_end() {
            break;
        }
    }
    tracing::debug!(peer = %shared.settings.peer, "the session moves to fresh links");
    shared.machine.lock().rest();
    // Its links are closed when their certificates end.
    while !shared.machine.lock().is_quiet() {
        tokio::time::sleep(QUIET_EVERY).await;
    }
    close(shared).await;
}

/// Closes the links in order, and waits until the peer did, too. None is made again.
pub(super) async fn close(shared: &Shared) {
    shared.is_closing.store(true, Ordering::Relaxed);
    let close = Close {
        reason: None,
        evidence: Default::default(),
    };
    for link in shared.link_ids() {
        shared.machine.lock().close(link, &close);
    }
    shared.wake_links();
    let closed = async {
        while !shared.link_ids().is_empty() {
            tokio::time::sleep(QUIET_EVERY).await;
        }
    };
    let _ = tokio::time::timeout(CLOSED_WITHIN, closed).await;
}

impl Shared {
    /// Whether a link has to be left now, if what is on its way needs `needed`.
    fn is_over_in(&self, needed: Duration, now: Timestamp) -> bool {
        let lives = self.lives.lock();
        lives.values().any(|life| life.is_over_in(needed, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_part_is_begun_only_if_the_measured_rate_ends_it_before_the_certificates_do() {
        let now = Timestamp::from_millis(1_000_000);
        let life = Life {
            ends: now.plus(100 * SECOND),
            moves_before: 10 * SECOND,
            moves_before_max: 50 * SECOND,
        };
        let mut rate = Rate::default();
        assert!(
            !life.is_over_in(rate.time_for(u64::MAX), now),
            "nothing is known yet"
        );
        // A mebibyte a second: two parts of 8 MiB are given 32 s.
        rate.look(1 << 20, SECOND, true);
        let needed = rate.time_for(16 << 20);
        assert_eq!(needed, 32 * SECOND);
        assert!(!life.is_over_in(needed, now.plus(67 * SECOND)));
        assert!(life.is_over_in(needed, now.plus(68 * SECOND)));
        // Without any it stays as long as a fresh one is to be there.
        assert!(!life.is_over_in(rate.time_for(0), now.plus(89 * SECOND)));
        assert!(life.is_over_in(rate.time_for(0), now.plus(90 * SECOND)));
        // However slow it is, half of its life is used.
        let slow = rate.time_for(u64::MAX);
        assert!(!life.is_over_in(slow, now.plus(49 * SECOND)));
        assert!(life.is_over_in(slow, now.plus(50 * SECOND)));
        // One that had next to nothing left when it was made is not moved again.
        let last = Life {
            moves_before_max: Duration::ZERO,
            ..life
        };
        assert!(!last.is_over_in(slow, now.plus(100 * SECOND)));
    }

    #[test]
    fn an_idle_session_is_not_a_slow_one() {
        let mut rate = Rate::default();
        rate.look(1 << 20, SECOND, true);
        (2..100).for_each(|second| rate.look(1 << 20, second * SECOND, false));
        assert_eq!(rate.time_for(1 << 20), 2 * SECOND);
    }
}
