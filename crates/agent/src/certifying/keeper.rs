//! Asks a source when it is time, again after a failure, and publishes what is good.

use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;
use sealift_identity::{Credentials, Leaf};
use sealift_terms::Timestamp;
use tokio::time::{sleep, timeout};

use super::{
    Advice, CertificateSource, TakesBundles,
    plan::{
        ADVICE_AGAIN_MAX, ADVICE_AGAIN_MIN, Plan, due_by_others, look_every, may_rest, try_time,
        wait_after_failure, wait_after_success,
    },
};
use crate::{Error, Metric, Metrics, World, told::Told};

/// A source that was lost is looked for this often, at least.
const FIND_AGAIN_MAX: Duration = Duration::from_secs(5);
/// One look at a source that does not renew.
const LOOK_TIME_MAX: Duration = Duration::from_secs(30);

/// Where credentials are put in force.
#[async_trait]
pub(crate) trait Desk: TakesBundles {
    /// Disk, clock and randomness.
    fn world(&self) -> &World;

    /// Where it is counted.
    fn metrics(&self) -> &Metrics;

    /// Where plans are remembered.
    fn data_dir(&self) -> PathBuf;

    /// What peers are shown now.
    fn shown(&self) -> Credentials;

    /// Where the next ones come from, as the configuration says now.
    fn source(&self) -> Box<dyn CertificateSource>;

    /// Is told how each try at other credentials ended.
    fn tried(&self, outcome: Result<(), &Error>) {
        let _ = outcome;
    }

    /// Puts other credentials in force, once that is on record.
    ///
    /// # Errors
    /// When they are for another agent or it cannot be put on record. The old ones stay.
    async fn publish(&self, credentials: Credentials, from: &'static str) -> Result<(), Error>;
}

/// Keeps the credentials of a desk fresh until the agent ends. Files are followed with the
/// trust bundles, by the agent itself.
pub(crate) async fn keep(desk: &dyn Desk) {
    match desk.source().renews() {
        true => renew_in_time(desk).await,
        false => follow(desk).await,
    }
}

/// Takes up what a source has whenever it says that it has something else. When it is gone,
/// what is in force stays, and readiness tells when that is late.
async fn follow(desk: &dyn Desk) {
    let mut told = Told::default();
    loop {
        if let Err(lost) = follow_once(desk, &mut told).await {
            let error = lost.in_one_line();
            if told.is_news(&error) {
                tracing::error!(
                    error,
                    "the source of certificates is lost: it is looked for"
                );
            }
        }
        let (shown, world) = (desk.shown(), desk.world());
        show_renewal(desk.metrics(), shown.leaf(), due_by_others(shown.leaf()));
        let wait = wait_after_failure(shown.leaf(), world.clock.now(), &*world.rng);
        sleep(wait.min(FIND_AGAIN_MAX)).await;
    }
}

/// Until the source is lost.
async fn follow_once(desk: &dyn Desk, told: &mut Told) -> Result<(), Error> {
    let mut watch = desk.source().watch().await?;
    loop {
        let leaf = desk.shown().leaf().clone();
        show_renewal(desk.metrics(), &leaf, due_by_others(&leaf));
        // It is asked now and then all the same.
        let again = look_every(&leaf, desk.world().clock.now());
        match &mut watch {
            Some(watch) => match timeout(again, watch.changed()).await {
                Ok(changed) => changed?,
                Err(_nothing) => {}
            },
            None => sleep(again).await,
        }
        match turn(desk).await {
            Ok(_) => told.is_over(),
            Err(error) => {
                let error = error.in_one_line();
                if told.is_news(&error) {
                    tracing::error!(
                        error,
                        "there is no new certificate: the old one stays in force"
                    );
                }
            }
        }
    }
}

async fn renew_in_time(desk: &dyn Desk) {
    let (mut plan, mut ask_at) = (Plan::default(), Timestamp::default());
    let (dir, world) = (desk.data_dir(), desk.world());
    loop {
        let shown = desk.shown();
        let leaf = shown.leaf();
        if !plan.is_of(leaf) {
            plan = Plan::of(leaf, &dir, &*world.disk, &*world.rng);
            ask_at = Timestamp::default();
        }
        // A clock that was set back must not put off the question.
        let now = world.clock.now();
        if now >= ask_at || ask_at > now.plus(ADVICE_AGAIN_MAX) {
            let again = ask_for_advice(desk, &shown, &mut plan).await;
            ask_at = now.plus(again);
        }
        show_renewal(desk.metrics(), leaf, plan.due(leaf));
        if !plan.is_due(leaf, world.clock.now()) {
            sleep(look_every(leaf, world.clock.now())).await;
            continue;
        }
        match turn(desk).await {
            Ok(_) => rest(desk.shown().leaf(), world).await,
            Err(error) => {
                let (error, not_after) = (error.in_one_line(), leaf.not_after);
                tracing::error!(error, %not_after, "the certificate cannot be renewed now: the old one stays in force");
                sleep(wait_after_failure(leaf, world.clock.now(), &*world.rng)).await;
            }
        }
    }
}

/// Leaves a fresh certificate alone for a while, unless the clock jumps out of its life.
async fn rest(leaf: &Leaf, world: &World) {
    let until = world.clock.monotonic() + wait_after_success(leaf);
    let was_good = may_rest(leaf, world.clock.now());
    loop {
        let now = world.clock.now();
        let left = until.saturating_sub(world.clock.monotonic());
        if left.is_zero() || (was_good && !may_rest(leaf, now)) {
            return;
        }
        sleep(look_every(leaf, now).min(left)).await;
    }
}

/// Takes up what the issuer advises, and says when it is asked again. Where there is no
/// good advice the plan stays as it was.
async fn ask_for_advice(desk: &dyn Desk, shown: &Credentials, plan: &mut Plan) -> Duration {
    let (leaf, world, source) = (shown.leaf(), desk.world(), desk.source());
    let allowed = try_time(leaf, world.clock.now());
    let asked = timeout(allowed, source.advice(shown)).await;
    // A certificate that lives for seconds is asked about more often.
    let shortest = ADVICE_AGAIN_MIN.min(leaf.period() / 20);
    match asked {
        Ok(Ok(Some(Advice { window, again }))) => {
            let dir = desk.data_dir();
            if !plan.advise(window, &dir, &*world.disk, &*world.rng) {
                tracing::warn!(start = %window.start, end = %window.end, "the issuer advises a time that is none");
            }
            again.clamp(shortest, ADVICE_AGAIN_MAX)
        }
        Ok(Ok(None)) => ADVICE_AGAIN_MAX,
        Ok(Err(error)) => {
            let error = error.in_one_line();
            tracing::warn!(error, "the issuer's advice cannot be had");
            wait_after_failure(leaf, world.clock.now(), &*world.rng).max(shortest)
        }
        Err(_late) => {
            tracing::warn!("the issuer does not answer when it is asked for advice");
            wait_after_failure(leaf, world.clock.now(), &*world.rng).max(shortest)
        }
    }
}

/// Asks the source once, and puts in force what is good; says whether there was something.
///
/// # Errors
/// What the source says, or what the credentials are refused for. The old ones stay.
pub(crate) async fn turn(desk: &dyn Desk) -> Result<bool, Error> {
    let (source, shown, world) = (desk.source(), desk.shown(), desk.world());
    let (word, renews) = (source.word(), source.renews());
    let allowed = match renews {
        true => try_time(shown.leaf(), world.clock.now()),
        false => LOOK_TIME_MAX,
    };
    let outcome = match timeout(allowed, source.next(Some(&shown), desk)).await {
        Ok(Ok(Some(credentials))) => {
            let leaf = credentials.leaf().clone();
            let published = desk.publish(credentials, word).await;
            published.map(|()| Some(leaf))
        }
        Ok(Ok(None)) => Ok(None),
        Ok(Err(error)) => Err(error),
        Err(_late) => Err(Error::TryAgain {
            what: format!("{word} gave no certificate within {} s", allowed.as_secs()),
            reason: None,
        }),
    };
    let count = |result| {
        let series = desk
            .metrics()
            .series(Metric::CertificateRefreshes, &[word, result]);
        series.add(1);
    };
    desk.tried(outcome.as_ref().map(|_| ()));
    match outcome {
        Ok(Some(leaf)) => {
            count(if renews { "renewed" } else { "replaced" });
            tracing::info!(source = word, serial = leaf.serial, not_after = %leaf.not_after, "another certificate is in force");
            Ok(true)
        }
        Ok(None) => Ok(false),
        Err(error) => {
            count(if renews { "failed" } else { "refused" });
            Err(error)
        }
    }
}

/// Shows when a certificate is to be renewed.
pub(crate) fn show_renewal(metrics: &Metrics, leaf: &Leaf, at: Timestamp) {
    let series = metrics.series(Metric::CertificateRenewal, &[leaf.identity.as_str()]);
    series.set(u64::try_from(at.as_secs()).unwrap_or_default());
}
