//! When an end of a stream has to say something, and when its link is lost.

use std::time::Duration;

use sealift_terms::limits::{FORWARD_HEARTBEAT, FORWARD_SILENT_MAX};

/// What is to be done now, and when to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// Nothing before this long has passed.
    Wait(Duration),
    /// Say how far we are.
    Say,
    /// Nothing came for too long: the link is lost.
    Lost,
}

/// When each end was heard last, on one link. Times are of a clock that never goes
/// back.
#[derive(Debug, Clone, Copy)]
pub struct Pulse {
    heard: Duration,
    said: Duration,
}

impl Pulse {
    /// Of a link that stands since `now`.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self {
            heard: now,
            said: now,
        }
    }

    /// Something came.
    pub fn heard(&mut self, now: Duration) {
        self.heard = now;
    }

    /// Something was written.
    pub fn said(&mut self, now: Duration) {
        self.said = now;
    }

    /// What is to be done at `now`.
    #[must_use]
    pub fn beat(&self, now: Duration) -> Beat {
        let silent = now.saturating_sub(self.heard);
        let quiet = now.saturating_sub(self.said);
        if silent >= FORWARD_SILENT_MAX {
            Beat::Lost
        } else if quiet >= FORWARD_HEARTBEAT {
            Beat::Say
        } else {
            Beat::Wait((FORWARD_SILENT_MAX - silent).min(FORWARD_HEARTBEAT - quiet))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_broken_in_time_and_loses_the_link_in_the_end() {
        let mut pulse = Pulse::new(Duration::ZERO);
        let mut now = Duration::ZERO;
        let mut said = 0;
        loop {
            match pulse.beat(now) {
                Beat::Wait(time) => {
                    assert!(!time.is_zero());
                    now += time;
                }
                Beat::Say => {
                    said += 1;
                    pulse.said(now);
                }
                Beat::Lost => break,
            }
        }
        assert_eq!((now, said), (FORWARD_SILENT_MAX, 2));
        pulse.heard(now);
        assert_ne!(pulse.beat(now), Beat::Lost);
    }
}
