//! A run: rounds of changes and trouble, each followed by rest and by looking.

use std::{sync::Arc, time::Duration};

use sealift_ledger::AuditLog;
use tokio::time::{Instant, sleep};

use crate::{
    both, check,
    plan::Flow,
    site::{FAR, NEAR},
    trouble,
    world::World,
};

/// How long it may take, with nothing going wrong, until all is replicated. A clock
/// that was ten minutes ahead and a wait of a quarter of an hour fit into it.
const REST_TIME_MAX: Duration = Duration::from_secs(4 * 3600);

/// Runs `rounds` rounds.
///
/// # Errors
/// What did not hold.
pub(crate) async fn run(world: &Arc<World>, rounds: u64) -> Result<(), String> {
    for round in 1..=rounds {
        world.trace.note(format_args!("round {round}"));
        let end = Instant::now() + world.plan.trouble;
        let trouble = trouble::make(world, end);
        match world.plan.flow {
            Flow::OneWay => drop(tokio::join!(change(world, end), trouble)),
            Flow::Both => drop(tokio::join!(both::write(world, end), trouble)),
        }
        trouble::heal(world);
        rest(world)
            .await
            .map_err(|what| format!("round {round}: {what}"))?;
    }
    match world.plan.flow {
        Flow::OneWay => check::rebuilt_is_the_same(world).await,
        Flow::Both => Ok(()),
    }
}

/// Changes the source now and then.
async fn change(world: &World, end: Instant) {
    let chance = world.chance.fork();
    let mut left = world.plan.changes;
    let between = world.plan.trouble.as_millis() as u64 / left;
    while Instant::now() < end && left > 0 {
        sleep(Duration::from_millis(chance.below(between * 2))).await;
        let at_once = if chance.one_in(8) { 8.min(left) } else { 1 };
        left -= at_once;
        for _ in 0..at_once {
            let what = world.model.lock().change(&world.source, &chance);
            world.trace.note(format_args!("source: {what}"));
            world.count("changes");
        }
    }
}

/// Waits until nothing is left to do, then looks at everything.
async fn rest(world: &World) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        sleep(Duration::from_secs(1)).await;
        if let Some(what) = world.violation() {
            return Err(what);
        }
        world.up(NEAR).await;
        world.up(FAR).await;
        accept_deletes(world);
        let replicated = match world.plan.flow {
            Flow::OneWay => check::is_replicated(world).await,
            Flow::Both => both::is_settled(world).await,
        };
        match replicated {
            Ok(()) => break,
            Err(what) if begun.elapsed() > REST_TIME_MAX => {
                return Err(format!("not at rest after {REST_TIME_MAX:?}: {what}"));
            }
            Err(_) => {}
        }
    }
    look_for_continued(world);
    // Connections that died silently are noticed after a minute.
    sleep(Duration::from_secs(90)).await;
    look_at_health(world).await?;
    match world.plan.flow {
        Flow::OneWay => check::at_rest(world).await,
        Flow::Both => both::at_rest(world).await,
    }
}

/// What an agent looks at all the time: after a write that failed, its audit log refuses until
/// the next one, which this is where nobody else writes.
async fn look_at_health(world: &World) -> Result<(), String> {
    for site in [NEAR, FAR] {
        if let Some(running) = world.sites[site].running() {
            let flushed = running.audit.flush().await;
            flushed.map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

/// Notes whether the near site's process went on with a part that a link was lost in.
pub(crate) fn look_for_continued(world: &World) {
    let near = world.sites[NEAR].running();
    let sending = near.as_ref().and_then(|near| near.sending.as_ref());
    if sending.is_some_and(|sending| sending.sender.status().bytes_continued > 0) {
        world.count("looks at parts that went on");
    }
}

/// The one who removed them says that it was meant.
fn accept_deletes(world: &World) {
    if let Some(near) = world.sites[NEAR].running()
        && let Some(sending) = &near.sending
        && sending.source.status().held.is_some()
    {
        sending.source.accept_deletes();
    }
}
