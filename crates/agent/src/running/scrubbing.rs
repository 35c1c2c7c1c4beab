//! What an archive needs now and then: its bytes opened again, damaged ones asked for,
//! packs compacted, the quarantine emptied. One task, at the pace that is configured.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use sealift_archive::{ArchiveError, Compacted, Finding, ScrubState, Scrubber};

use super::Running;
use crate::{Error, Metric, config::Scrub};

/// How often the task looks whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Damaged versions are asked for this often, those that were not asked for lately.
const REPAIR_EVERY: Duration = Duration::from_secs(2);
/// Compaction, and the end of quarantines.
const COMPACT_EVERY: Duration = Duration::from_secs(3600);
/// Small packs of a bucket are merged more often: each group of objects leaves one.
const MERGE_EVERY: Duration = Duration::from_secs(600);
/// The scrub lets the others have their turn after this long.
const SCRUB_TURN: Duration = Duration::from_secs(30);
/// How far the scrub has come is written down this often.
const SAVED_EVERY: Duration = Duration::from_secs(5);
/// After the store or the catalog did not answer.
const PAUSE: Duration = Duration::from_secs(10);
/// The time budget is counted by the hour.
const BUDGET_HOUR: Duration = Duration::from_secs(3600);

/// The scrub of a running agent.
#[derive(Default)]
pub(super) struct Scrubbing {
    /// None until it ran.
    scrubber: tokio::sync::Mutex<Option<Scrubber>>,
    /// How it stands, for those who ask while it works.
    seen: Mutex<Option<ScrubState>>,
    /// Whether a pass is wanted now.
    asked: AtomicBool,
}

impl Scrubbing {
    /// How it stands, once it ran.
    pub(super) fn seen(&self) -> Option<ScrubState> {
        self.seen.lock().clone()
    }

    /// Asks for a pass.
    pub(super) fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }
}

/// Runs until the agent stops.
pub(super) async fn run(running: Arc<Running>) {
    let mut stop = running.stop.subscribe();
    let work = async {
        let mut pace = Pace::default();
        let [mut repair, mut compact, mut merge] = [Every::default(); 3];
        loop {
            let now = running.site.world.clock.monotonic();
            if repair.is_time(now, REPAIR_EVERY) {
                running.ask_for_repairs().await;
            }
            if compact.is_time(now, COMPACT_EVERY) {
                running.compact().await;
            }
            if merge.is_time(now, MERGE_EVERY) {
                let merged = running.site.archive.merge_packs().await;
                tell(merged, "merged");
            }
            if let Err(error) = running.scrub(&mut pace).await {
                tracing::error!(error = error.in_one_line(), "the scrub cannot go on now");
                tokio::time::sleep(PAUSE).await;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        () = work => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    if let Some(scrubber) = running.scrubbing.scrubber.lock().await.as_ref()
        && let Err(error) = scrubber.save().await
    {
        tracing::warn!(
            error = Error::from(error).in_one_line(),
            "how far the scrub has come was not written down"
        );
    }
}

/// Something that is done now and then, the first time at once.
#[derive(Debug, Clone, Copy, Default)]
struct Every(Option<Duration>);

impl Every {
    fn is_time(&mut self, now: Duration, every: Duration) -> bool {
        let is_time = self.0.is_none_or(|last| now.saturating_sub(last) >= every);
        if is_time {
            self.0 = Some(now);
        }
        is_time
    }
}

/// What the scrub may take: bytes a second, and seconds of every hour.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    hour_began: Option<Duration>,
    spent: Duration,
}

impl Pace {
    /// How long to wait after a step that read `bytes` in `taken`, so that the rate
    /// holds.
    fn rest(bytes: u64, taken: Duration, rate: u64) -> Duration {
        let wanted = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        wanted.saturating_sub(taken)
    }

    /// Counts what was spent, rests included.
    fn spend(&mut self, now: Duration, spent: Duration) {
        if !self.is_of_this_hour(now) {
            (self.hour_began, self.spent) = (Some(now), Duration::ZERO);
        }
        self.spent += spent;
    }

    /// Whether there is still time in this hour.
    fn has_time(&self, now: Duration, budget: Duration) -> bool {
        !self.is_of_this_hour(now) || self.spent < budget
    }

    fn is_of_this_hour(&self, now: Duration) -> bool {
        self.hour_began
            .is_some_and(|began| now.saturating_sub(began) < BUDGET_HOUR)
    }
}

impl Running {
    /// Goes on with the pass under way, or begins one that is due, as long as there is
    /// time in this hour.
    async fn scrub(&self, pace: &mut Pace) -> Result<(), Error> {
        let config = self.site.config.scrub;
        let clock = &self.site.world.clock;
        let mut held = self.scrubbing.scrubber.lock().await;
        let scrubber = match held.as_mut() {
            Some(scrubber) => scrubber,
            None => held.insert(self.site.archive.scrubber().await?),
        };
        if !scrubber.state().is_under_way() {
            if !self.is_due(scrubber.state(), &config) {
                return Ok(());
            }
            self.scrubbing.asked.store(false, Ordering::Relaxed);
            scrubber.begin();
            scrubber.save().await?;
        }
        let (turn, mut saved, mut any) = (clock.monotonic(), clock.monotonic(), false);
        while scrubber.state().is_under_way()
            && pace.has_time(clock.monotonic(), config.budget)
            && clock.monotonic().saturating_sub(turn) < SCRUB_TURN
        {
            let begun = clock.monotonic();
            let bytes = self.step(scrubber).await?;
            any = true;
            let taken = clock.monotonic().saturating_sub(begun);
            let rest = Pace::rest(bytes, taken, config.rate);
            pace.spend(begun, taken + rest);
            if clock.monotonic().saturating_sub(saved) >= SAVED_EVERY {
                scrubber.save().await?;
                saved = clock.monotonic();
                self.ask_for_repairs().await;
            }
            tokio::time::sleep(rest).await;
        }
        if any {
            scrubber.save().await?;
        }
        Ok(())
    }

    async fn step(&self, scrubber: &mut Scrubber) -> Result<u64, Error> {
        let metrics = &self.site.metrics;
        let findings = metrics.series(Metric::ScrubFindings, &[]);
        let mut sink = |finding: &Finding| {
            tracing::error!(%finding, "the scrub has found damage");
            findings.add(1);
        };
        let bytes = scrubber.step(&mut sink).await?;
        metrics.series(Metric::ScrubBytes, &[]).add(bytes);
        *self.scrubbing.seen.lock() = Some(scrubber.state().clone());
        Ok(bytes)
    }

    fn is_due(&self, state: &ScrubState, config: &Scrub) -> bool {
        let now = self.site.world.clock.now();
        let is_over = |period: Duration| {
            state
                .started
                .is_none_or(|started| now.since(started) >= period)
        };
        self.scrubbing.asked.load(Ordering::Relaxed) || config.period.is_some_and(is_over)
    }

    async fn compact(&self) {
        let config = self.site.config.scrub;
        match self
            .site
            .archive
            .expire_quarantine(config.quarantine_kept)
            .await
        {
            Ok(expired) if expired.sealings > 0 => {
                tracing::info!(
                    sealings = expired.sealings,
                    bytes = expired.bytes,
                    "damaged bytes were deleted after their time"
                );
            }
            Ok(_) => {}
            Err(error) => tracing::error!(
                error = Error::from(error).in_one_line(),
                "the quarantine cannot be looked through"
            ),
        }
        let archive = &self.site.archive;
        let compacted = archive.compact(config.dead_kept, config.quarantine_kept);
        tell(compacted.await, "compacted");
    }
}

fn tell(outcome: Result<Compacted, ArchiveError>, what: &str) {
    match outcome {
        Ok(done) if done.deleted > 0 || done.packs > 0 => {
            tracing::info!(
                packs = done.packs,
                entries = done.entries,
                deleted = done.deleted,
                bytes = done.bytes,
                "packs were {what}"
            );
        }
        Ok(_) => {}
        Err(error) => tracing::error!(
            error = Error::from(error).in_one_line(),
            "packs cannot be {what} now"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_done_now_and_then_is_done_at_once_and_after_its_time() {
        let mut every = Every::default();
        let times: Vec<_> = (0..30)
            .filter(|n| every.is_time(SECOND * *n, SECOND * 10))
            .collect();
        assert_eq!(times, [0, 10, 20]);
    }

    #[test]
    fn the_rate_holds_whatever_a_step_took() {
        assert_eq!(Pace::rest(1000, Duration::ZERO, 1000), SECOND);
        assert_eq!(Pace::rest(1000, SECOND / 4, 1000), SECOND * 3 / 4);
        assert_eq!(Pace::rest(1000, SECOND * 2, 1000), Duration::ZERO);
        assert_eq!(Pace::rest(0, SECOND, 1000), Duration::ZERO);
    }

    #[test]
    fn an_hour_has_its_budget_and_the_next_one_another() {
        let (budget, mut pace) = (SECOND * 10, Pace::default());
        assert!(pace.has_time(SECOND, budget));
        for n in 1..=10 {
            assert!(pace.has_time(SECOND * n, budget), "{n}");
            pace.spend(SECOND * n, SECOND);
        }
        assert!(!pace.has_time(SECOND * 11, budget));
        assert!(!pace.has_time(SECOND * 3600, budget));
        assert!(pace.has_time(SECOND * 3601, budget));
        pace.spend(SECOND * 3601, SECOND * 4);
        assert!(pace.has_time(SECOND * 3602, budget));
    }
}
