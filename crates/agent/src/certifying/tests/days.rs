//! Weeks of an agent's life, on a clock that is held: nothing ends, whatever the clock does.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use sealift_identity::{Credentials, TrustBundle, new_private_key};
use sealift_terms::{Timestamp, limits::CERTIFICATE_LIFE_DEFAULT};
use tokio::time::sleep;

use super::{
    super::{CertificateSource, Desk, Plan, TakesBundles, Timing, keep},
    stage::{Given, SetClock, Stage, TestDesk},
};
use crate::Error;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// An issuer that answers at once, or is away.
struct AtOnce {
    stage: Arc<Stage>,
    is_away: Arc<Mutex<bool>>,
}

#[async_trait]
impl CertificateSource for AtOnce {
    fn word(&self) -> &'static str {
        "issuer"
    }

    fn renews(&self) -> bool {
        true
    }

    async fn next(
        &self,
        _: Option<&Credentials>,
        _: &dyn TakesBundles,
    ) -> Result<Option<Credentials>, Error> {
        if *self.is_away.lock() {
            return Err(Error::TryAgain {
                what: "it is away".to_owned(),
                reason: None,
            });
        }
        let key = rcgen::KeyPair::from_pem(&new_private_key()?).unwrap();
        let chain = self.stage.issue(&key, Given::Good);
        let roots = TrustBundle::parse(self.stage.authority.root_pem.as_bytes())?;
        let (now, key) = (self.stage.world.clock.now(), key.serialize_pem());
        let made = Credentials::from_pem(chain.as_bytes(), key.as_bytes(), &roots, now)?;
        Ok(Some(made))
    }
}

struct Days {
    clock: Arc<SetClock>,
    desk: TestDesk,
    is_away: Arc<Mutex<bool>>,
}

impl Days {
    fn of_life(life: Duration) -> Self {
        let clock = SetClock::now_is(Timestamp::from_secs(1_800_000_000));
        let mut stage = Stage::new(clock.clone());
        stage.life = life;
        let (stage, is_away) = (Arc::new(stage), Arc::new(Mutex::new(false)));
        let asked = (stage.clone(), is_away.clone());
        let source = move || -> Box<dyn CertificateSource> {
            let (stage, is_away) = asked.clone();
            Box::new(AtOnce { stage, is_away })
        };
        let desk = stage.desk(Box::new(source));
        Self {
            clock,
            desk,
            is_away,
        }
    }

    fn timing(&self) -> Timing {
        let (shown, world) = (self.desk.shown(), self.desk.world());
        let plan = Plan::read(shown.leaf(), &self.desk.data_dir(), &*world.disk);
        let due = plan.map_or(shown.leaf().not_after, |plan| plan.due(shown.leaf()));
        Timing::of(shown.leaf(), due, world.clock.now())
    }

    /// Whether a peer lets the certificate in force in: its own check, now.
    fn is_let_in(&self) -> bool {
        let authority = &self.desk.stage.authority;
        let roots = TrustBundle::parse(authority.root_pem.as_bytes()).unwrap();
        let (shown, now) = (self.desk.shown(), self.desk.world().clock.now());
        roots.root_behind(shown.chain(), now).is_some()
    }

    /// Lets so much time pass, and holds every ten minutes that the certificate is good,
    /// also to a peer.
    async fn pass(&self, time: Duration) {
        for tens in 0..time.as_secs() / 600 {
            sleep(MINUTE * 10).await;
            assert_eq!(self.timing(), Timing::Good, "after {tens}0 minutes");
            assert!(self.is_let_in(), "after {tens}0 minutes");
        }
    }

    /// Runs the keeper beside what a test does.
    async fn keeping(&self, test: impl Future<Output = ()>) {
        tokio::select! {
            () = keep(&self.desk) => unreachable!(),
            () = test => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn forty_seven_days_pass_with_the_default_policy() {
    let days = Days::of_life(CERTIFICATE_LIFE_DEFAULT);
    days.keeping(days.pass(DAY * 47)).await;
    let renewed = days.desk.counted("renewed");
    // Each lives from six to seven tenths of a day.
    assert!((60..=80).contains(&renewed), "{renewed}");
    assert_eq!(days.desk.counted("failed"), 0);
}

#[tokio::test(start_paused = true)]
async fn clock_jumps_of_two_hours_either_way_end_nothing() {
    let days = Days::of_life(CERTIFICATE_LIFE_DEFAULT);
    let test = async {
        for back in [false, true, true, false] {
            days.pass(HOUR * 31).await;
            days.clock.jump(HOUR * 2, back);
            // The clock is looked at every 30 seconds.
            sleep(MINUTE).await;
        }
        days.pass(DAY * 2).await;
    };
    days.keeping(test).await;
    assert!(days.desk.counted("renewed") >= 9);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_a_clock_two_hours_ahead_made_is_replaced_when_the_clock_is_set_right() {
    let days = Days::of_life(CERTIFICATE_LIFE_DEFAULT);
    let test = async {
        days.clock.jump(HOUR * 2, false);
        let before = days.desk.serial();
        while days.desk.serial() == before {
            sleep(MINUTE).await;
        }
        // It may be that it was renewed just now, and is left alone for a while.
        days.clock.jump(HOUR * 2, true);
        assert_eq!(days.timing(), Timing::NotYet);
        assert!(!days.is_let_in());
        *days.is_away.lock() = true;
        sleep(MINUTE * 2).await;
        let failed = days.desk.counted("failed");
        assert!(failed >= 3, "{failed}");
        *days.is_away.lock() = false;
        sleep(MINUTE).await;
        assert_eq!(days.timing(), Timing::Good);
        assert!(days.is_let_in());
    };
    days.keeping(test).await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_past_the_end_renews_within_half_a_minute() {
    let days = Days::of_life(HOUR);
    let test = async {
        days.pass(MINUTE * 10).await;
        days.clock.jump(HOUR * 2, false);
        assert_eq!(days.timing(), Timing::Ending);
        sleep(Duration::from_secs(31)).await;
        assert_eq!(days.timing(), Timing::Good);
    };
    days.keeping(test).await;
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_away_is_asked_twenty_times_before_the_end() {
    let days = Days::of_life(DAY);
    *days.is_away.lock() = true;
    let ends = days.desk.shown().leaf().not_after;
    let test = async {
        while days.desk.world().clock.now() < ends {
            sleep(MINUTE).await;
        }
    };
    days.keeping(test).await;
    let failed = days.desk.counted("failed");
    assert!(failed >= 20, "{failed}");
    assert_eq!(days.timing(), Timing::Ending);
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_degraded_first_and_not_ready_only_near_the_end() {
    let days = Days::of_life(DAY);
    *days.is_away.lock() = true;
    let test = async {
        let mut seen = vec![days.timing()];
        while seen.last() != Some(&Timing::Ending) {
            sleep(MINUTE).await;
            let now = days.timing();
            if seen.last() != Some(&now) {
                seen.push(now);
            }
        }
        assert_eq!(seen, [Timing::Good, Timing::Late, Timing::Ending]);
        *days.is_away.lock() = false;
        sleep(MINUTE * 10).await;
        assert_eq!(days.timing(), Timing::Good);
    };
    days.keeping(test).await;
}
