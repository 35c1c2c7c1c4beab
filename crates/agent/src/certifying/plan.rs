//! When a certificate is renewed: a moment drawn once for each, unless its issuer advises
//! another, and no later than what is left for trying.

use std::time::Duration;

use sealift_identity::Leaf;
use sealift_terms::{
    Disk, Rng, Timestamp,
    limits::CERTIFICATE_BACKDATE_MAX,
    world::{read_file, replace_file},
};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// When the certificate in force is renewed, so that a restart does not draw again.
const PLAN_FILE: &str = "renewal.json";
const PLAN_BYTES_MAX: usize = 4096;
/// A certificate is renewed between these parts of its life, in percent.
const RENEWED_FROM: u64 = 60;
const RENEWED_UNTIL: u64 = 70;
/// With so much of its life left it is renewed whatever was advised, and an agent that
/// has no better one is not ready.
const EMERGENCY: u32 = 20;
/// Of the time between renewal and end, in percent, that passes before an agent that has
/// no better certificate is degraded.
const SLACK: u32 = 20;
/// The wall clock is looked at this often: one long sleep would miss a machine that was
/// suspended.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY_MIN: Duration = Duration::from_millis(200);
/// Tries that what is left of a life allows for, at least.
const TRIES_MIN: u32 = 20;
const RETRY_MAX: Duration = Duration::from_secs(600);
/// One try is given up after this part of what is left, within these bounds. A certificate
/// that lives for less than ten minutes has 20 tries of an issuer that answers, and
/// fewer of one that does not: an issuer far away needs the shortest.
const TRY_SHARE: u32 = 40;
/// From this life on 20 tries fit into what is left at the latest renewal, however long each
/// takes.
#[cfg(test)]
const TRIES_HELD_FROM: Duration = Duration::from_secs(600);
const TRY_TIME_MIN: Duration = Duration::from_secs(3);
const TRY_TIME_MAX: Duration = Duration::from_secs(120);
/// Between two questions for advice.
pub(super) const ADVICE_AGAIN_MIN: Duration = Duration::from_secs(60);
pub(super) const ADVICE_AGAIN_MAX: Duration = Duration::from_secs(86_400);

/// From when until when an issuer would like a certificate to be renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Window {
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
}

/// What was advised, and the moment that was drawn from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Advised {
    window: Window,
    at: Timestamp,
}

/// When a certificate is renewed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    serial: String,
    at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    advised: Option<Advised>,
}

impl Plan {
    /// What was drawn for this certificate, or is drawn now.
    pub(super) fn of(leaf: &Leaf, dir: &Path, disk: &dyn Disk, rng: &dyn Rng) -> Self {
        Self::read(leaf, dir, disk).unwrap_or_else(|| {
            let plan = Self::draw(leaf, rng);
            plan.remember(dir, disk);
            plan
        })
    }

    /// What was drawn for this certificate.
    pub(crate) fn read(leaf: &Leaf, dir: &Path, disk: &dyn Disk) -> Option<Self> {
        let read = read_file(disk, &dir.join(PLAN_FILE), PLAN_BYTES_MAX).ok()?;
        let plan: Self = serde_json::from_slice(&read).ok()?;
        plan.is_of(leaf).then_some(plan)
    }

    pub(super) fn is_of(&self, leaf: &Leaf) -> bool {
        self.serial == leaf.serial
    }

    /// A moment between 60 and 70 percent of its life, from when it was issued.
    pub(super) fn draw(leaf: &Leaf, rng: &dyn Rng) -> Self {
        let life = millis(life(leaf));
        let share = |percent: u64| life / 100 * percent;
        let after = share(RENEWED_FROM) + below(share(RENEWED_UNTIL) - share(RENEWED_FROM), rng);
        Self {
            serial: leaf.serial.clone(),
            at: issued(leaf).plus(Duration::from_millis(after)),
            advised: None,
        }
    }

    fn remember(&self, dir: &Path, disk: &dyn Disk) {
        let text = serde_json::to_vec(self).unwrap_or_default();
        if let Err(error) = replace_file(disk, &dir.join(PLAN_FILE), &text) {
            tracing::warn!(%error, "when the certificate is renewed is not remembered");
        }
    }

    /// Takes up what the issuer advises (RFC 9773, section 4.2): a moment of the window,
    /// drawn once for each; one that is past is now. A window that ends before it begins
    /// is none.
    pub(super) fn advise(
        &mut self,
        window: Window,
        dir: &Path,
        disk: &dyn Disk,
        rng: &dyn Rng,
    ) -> bool {
        if window.end <= window.start {
            return false;
        }
        if self.advised.is_none_or(|advised| advised.window != window) {
            let within = below(millis(window.end.since(window.start)), rng);
            self.advised = Some(Advised {
                window,
                at: window.start.plus(Duration::from_millis(within)),
            });
            self.remember(dir, disk);
        }
        true
    }

    /// When it is time.
    pub(crate) fn due(&self, leaf: &Leaf) -> Timestamp {
        let at = self.advised.map_or(self.at, |advised| advised.at);
        at.min(emergency(leaf))
    }

    /// Whether it is time: also when peers refuse it because the clock was set back.
    pub(super) fn is_due(&self, leaf: &Leaf, now: Timestamp) -> bool {
        now >= self.due(leaf) || now < leaf.not_before
    }
}

/// How long an agent may still wait for a better certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timing {
    /// There is time.
    Good,
    /// It should have been renewed since a while.
    Late,
    /// It ends soon, or has ended.
    Ending,
    /// Its beginning lies ahead: the clock was set back since it was issued, and peers
    /// refuse it until then.
    NotYet,
}

impl Timing {
    pub(crate) fn of(leaf: &Leaf, due: Timestamp, now: Timestamp) -> Self {
        let slack = leaf.not_after.since(due);
        match now {
            now if now < leaf.not_before => Self::NotYet,
            now if now >= emergency(leaf) => Self::Ending,
            now if now >= due.plus(slack * SLACK / 100) => Self::Late,
            _ => Self::Good,
        }
    }
}

/// When somebody else renews it: the latest moment that an agent would have drawn.
pub(crate) fn due_by_others(leaf: &Leaf) -> Timestamp {
    let after = millis(life(leaf)) / 100 * RENEWED_UNTIL;
    issued(leaf).plus(Duration::from_millis(after))
}

fn emergency(leaf: &Leaf) -> Timestamp {
    leaf.not_after.minus(life(leaf) / EMERGENCY)
}

/// When it was issued, as the embedded authority dates certificates: a tenth of their life
/// later than they begin, five minutes at most.
fn issued(leaf: &Leaf) -> Timestamp {
    leaf.not_before
        .plus((leaf.period() / 11).min(CERTIFICATE_BACKDATE_MAX))
}

/// From then to its end.
fn life(leaf: &Leaf) -> Duration {
    leaf.not_after.since(issued(leaf))
}

/// How long to wait after a try that failed: short enough for 20 of them in what is left.
/// Where nothing is left, or it is not valid yet, each look at the clock is a try.
pub(super) fn wait_after_failure(leaf: &Leaf, now: Timestamp, rng: &dyn Rng) -> Duration {
    let left = leaf.not_after.since(now);
    let longest = match left.is_zero() || now < leaf.not_before {
        true => LOOK_EVERY_MAX,
        false => (left / TRIES_MIN).min(RETRY_MAX).max(LOOK_EVERY_MIN),
    };
    let mut random = [0];
    rng.fill(&mut random);
    // Between half of it and all of it.
    longest / 2 + longest / 2 * u32::from(random[0]) / 255
}

/// How long a fresh certificate is left alone, whatever its issuer advises: one that always
/// says "now" is not asked without end.
pub(super) fn wait_after_success(leaf: &Leaf) -> Duration {
    (life(leaf) / EMERGENCY).clamp(LOOK_EVERY_MIN, RETRY_MAX)
}

/// Whether a certificate does without another one at once, whatever was advised.
pub(super) fn may_rest(leaf: &Leaf, now: Timestamp) -> bool {
    (leaf.not_before..emergency(leaf)).contains(&now)
}

/// How long one try may take. Where nothing is left a short one would gain nothing.
pub(super) fn try_time(leaf: &Leaf, now: Timestamp) -> Duration {
    let left = leaf.not_after.since(now);
    match left.is_zero() {
        true => TRY_TIME_MAX,
        false => (left / TRY_SHARE).clamp(TRY_TIME_MIN, TRY_TIME_MAX),
    }
}

/// How often the wall clock is looked at: the less is left, the more often.
pub(super) fn look_every(leaf: &Leaf, now: Timestamp) -> Duration {
    let left = leaf.not_after.since(now);
    (left / 20).clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A number below `limit`, or 0.
fn below(limit: u64, rng: &dyn Rng) -> u64 {
    let mut random = [0; 8];
    rng.fill(&mut random);
    u64::from_le_bytes(random) % limit.max(1)
}

#[cfg(test)]
mod tests {
    use sealift_host::{OsDisk, OsRng};

    use super::*;

    const ISSUED: Timestamp = Timestamp::from_secs(1000);

    /// One of a life, from when it is issued.
    fn leaf(life: Duration) -> Leaf {
        let not_before = ISSUED.minus((life / 10).min(CERTIFICATE_BACKDATE_MAX));
        Leaf {
            identity: "spiffe://example.org/region/r/agent/a".parse().unwrap(),
            serial: "01".to_owned(),
            not_before,
            not_after: ISSUED.plus(life),
            client_auth: true,
            server_auth: true,
        }
    }

    #[test]
    fn the_moment_lies_between_60_and_70_percent_of_a_life() {
        let life = Duration::from_secs(100_000);
        let (mut earliest, mut latest) = (u128::MAX, 0);
        for _ in 0..2000 {
            let plan = Plan::draw(&leaf(life), &OsRng);
            let after = plan.at.since(ISSUED).as_millis();
            (earliest, latest) = (earliest.min(after), latest.max(after));
        }
        assert!((60_000_000..61_000_000).contains(&earliest), "{earliest}");
        assert!((69_000_000..=70_000_000).contains(&latest), "{latest}");
    }

    #[test]
    fn a_life_counts_from_when_a_certificate_was_issued_and_not_from_when_it_begins() {
        for secs in [20, 600, 2_999, 3_000, 86_400, 47 * 86_400] {
            let leaf = leaf(Duration::from_secs(secs));
            assert_eq!(issued(&leaf), ISSUED, "{secs}");
            assert_eq!(life(&leaf).as_secs(), secs);
            assert!(leaf.not_before < ISSUED);
        }
    }

    #[test]
    fn where_nothing_is_left_it_is_tried_without_hurry() {
        let leaf = leaf(Duration::from_secs(20));
        for after in [0, 1, 86_400] {
            let now = leaf.not_after.plus(Duration::from_secs(after));
            let wait = wait_after_failure(&leaf, now, &OsRng);
            assert!(
                (LOOK_EVERY_MAX / 2..=LOOK_EVERY_MAX).contains(&wait),
                "{wait:?}"
            );
        }
        let over = leaf.not_after.plus(Duration::from_secs(1));
        assert_eq!(try_time(&leaf, over), TRY_TIME_MAX);
    }

    #[test]
    fn twenty_tries_fit_into_what_is_left_however_long_each_takes() {
        for life in [TRIES_HELD_FROM.as_secs(), 3600, 86_400, 47 * 86_400] {
            let leaf = leaf(Duration::from_secs(life));
            let mut now = ISSUED.plus(Duration::from_secs(life) * 7 / 10);
            for n in 0..20 {
                assert!(now < leaf.not_after, "{life} s: only {n}");
                now = now.plus(try_time(&leaf, now));
                now = now.plus(wait_after_failure(&leaf, now, &OsRng));
            }
            let (begin, late) = (
                leaf.not_before,
                leaf.not_after.minus(Duration::from_secs(60)),
            );
            assert_eq!(look_every(&leaf, begin), LOOK_EVERY_MAX);
            assert_eq!(look_every(&leaf, late), Duration::from_secs(3));
        }
        // Of shorter lives, as long as the issuer says no at once.
        for life in [20, 200] {
            let leaf = leaf(Duration::from_secs(life));
            let mut now = ISSUED.plus(Duration::from_secs(life) * 7 / 10);
            for n in 0..20 {
                assert!(now < leaf.not_after, "{life} s: only {n}");
                now = now.plus(wait_after_failure(&leaf, now, &OsRng));
            }
        }
    }

    #[test]
    fn advice_wins_over_what_was_drawn_and_a_twentieth_of_a_life_over_advice() {
        let dir = tempfile::tempdir().unwrap();
        let leaf = leaf(Duration::from_secs(100_000));
        let at = |secs: i64| Timestamp::from_secs(1000 + secs);
        let window = |from, until| Window {
            start: at(from),
            end: at(until),
        };
        let mut plan = Plan::of(&leaf, dir.path(), &OsDisk, &OsRng);
        let drawn = plan.due(&leaf);
        let mut advise = |window| {
            let taken = plan.advise(window, dir.path(), &OsDisk, &OsRng);
            (taken, plan.due(&leaf))
        };
        // Empty and turned round: nothing is advised.
        assert_eq!(advise(window(10, 10)), (false, drawn));
        assert_eq!(advise(window(20, 10)), (false, drawn));
        let (taken, due) = advise(window(10_000, 20_000));
        assert!(taken && due >= at(10_000) && due < at(20_000));
        // The same window is not drawn from again; a restart keeps what was drawn.
        assert_eq!(advise(window(10_000, 20_000)), (true, due));
        let again = Plan::of(&leaf, dir.path(), &OsDisk, &OsRng);
        assert_eq!(again.due(&leaf), due);
        // Past: now, whatever the time is.
        assert!(advise(window(-500, -400)).1 < at(0));
        // So late that nothing would be left for trying.
        assert_eq!(advise(window(99_999, 200_000)).1, at(95_000));
    }

    #[test]
    fn it_is_late_after_a_fifth_of_the_slack_and_ending_at_a_twentieth_of_life() {
        let leaf = leaf(Duration::from_secs(100_000));
        let at = |secs: i64| Timestamp::from_secs(1000 + secs);
        let timing = |secs| Timing::of(&leaf, at(65_000), at(secs));
        assert_eq!(timing(-301), Timing::NotYet);
        assert_eq!(timing(-300), Timing::Good);
        assert_eq!(timing(71_999), Timing::Good);
        assert_eq!(timing(72_000), Timing::Late);
        assert_eq!(timing(94_999), Timing::Late);
        assert_eq!(timing(95_000), Timing::Ending);
        assert_eq!(timing(200_000), Timing::Ending);
    }
}
