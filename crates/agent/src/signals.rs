//! Signals as one state that everything in the agent can watch.

use std::{io, time::Duration};

use sealift_terms::limits::CLOSE_TIME_MAX;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::timeout,
};

use crate::Exit;

/// How the agent is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Working.
    Running,
    /// Nothing new is begun; what is in flight is finished.
    Draining,
    /// Stop now.
    Stopping,
}

/// The far end of the signals: what everyone watches.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    phase: watch::Receiver<Phase>,
    reloads: watch::Receiver<u64>,
}

impl Lifecycle {
    /// A lifecycle moved by hand, for tests and for an agent within a process.
    #[must_use]
    pub fn by_hand() -> (LifecycleHandle, Self) {
        let (phase_tx, phase) = watch::channel(Phase::Running);
        let (reloads_tx, reloads) = watch::channel(0);
        let handle = LifecycleHandle {
            phase: phase_tx,
            reloads: reloads_tx,
        };
        (handle, Self { phase, reloads })
    }

    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits until the phase is at least `phase`.
    pub async fn reached(&mut self, phase: Phase) {
        // The sender is gone only when the process ends: stop then as well.
        let _ = self.phase.wait_for(|now| *now >= phase).await;
    }

    /// Waits for the next request to read the configuration again.
    pub async fn reload_asked(&mut self) {
        if self.reloads.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The near end: moves the phase on, never back.
#[derive(Debug)]
pub struct LifecycleHandle {
    phase: watch::Sender<Phase>,
    reloads: watch::Sender<u64>,
}

impl LifecycleHandle {
    /// The first call drains, the second stops.
    pub fn terminate(&self) {
        self.phase.send_modify(|phase| {
            *phase = match *phase {
                Phase::Running => Phase::Draining,
                Phase::Draining | Phase::Stopping => Phase::Stopping,
            }
        });
    }

    /// Stops without waiting any longer.
    pub fn stop(&self) {
        self.phase.send_replace(Phase::Stopping);
    }

    /// Asks for the configuration to be read again.
    pub fn reload(&self) {
        self.reloads.send_modify(|count| *count += 1);
    }
}

/// Turns the process's signals into a lifecycle: SIGTERM and SIGINT drain for at
/// most `drain` and a second one stops at once; SIGHUP reloads. A process that has
/// not ended [`CLOSE_TIME_MAX`] after it was to stop, or at the next signal, is ended
/// by force. That has a thread of its own: a disk that hangs holds up every other.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn watch_signals(drain: Duration) -> io::Result<Lifecycle> {
    let (handle, lifecycle) = Lifecycle::by_hand();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let signals = {
        let _of_this_thread = runtime.enter();
        [
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        ]
    };
    let end = || std::process::exit(Exit::Error.code().into());
    let watching = move || runtime.block_on(follow(handle, signals, drain, end));
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(watching)?;
    Ok(lifecycle)
}

/// What a process is told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    End,
    Reload,
}

/// Where signals come from: the process's, or a test.
trait Tell {
    async fn told(&mut self) -> Told;
}

impl Tell for [Signal; 3] {
    async fn told(&mut self) -> Told {
        let [terminate, interrupt, hangup] = self;
        tokio::select! {
            _ = terminate.recv() => Told::End,
            _ = interrupt.recv() => Told::End,
            _ = hangup.recv() => Told::Reload,
        }
    }
}

async fn follow<E>(handle: LifecycleHandle, mut signals: impl Tell, drain: Duration, end: E)
where
    E: FnOnce(),
{
    while signals.told().await == Told::Reload {
        handle.reload();
    }
    tracing::info!("stopping: what is in flight is finished first; a second signal stops at once");
    handle.terminate();
    match timeout(drain, told_to_end(&mut signals)).await {
        Ok(()) => {
            tracing::info!(
                "stopping at once: what is in flight is sent again after the next start"
            );
        }
        Err(_) => tracing::warn!(
            drain_secs = drain.as_secs(),
            "not everything in flight was finished in time"
        ),
    }
    handle.stop();
    let _ = timeout(CLOSE_TIME_MAX, told_to_end(&mut signals)).await;
    tracing::error!("the site was not closed in time: the next start finds it as after a crash");
    end();
}

async fn told_to_end(signals: &mut impl Tell) {
    while signals.told().await != Told::End {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_signal_drains_and_the_second_stops() {
        let (handle, mut lifecycle) = Lifecycle::by_hand();
        assert_eq!(lifecycle.phase(), Phase::Running);
        handle.terminate();
        lifecycle.reached(Phase::Draining).await;
        assert_eq!(lifecycle.phase(), Phase::Draining);
        handle.terminate();
        lifecycle.reached(Phase::Stopping).await;
        handle.terminate();
        assert_eq!(lifecycle.phase(), Phase::Stopping);
    }

    #[tokio::test]
    async fn a_reload_is_seen_by_everyone_who_watches() {
        let (handle, mut one) = Lifecycle::by_hand();
        let mut other = one.clone();
        handle.reload();
        one.reload_asked().await;
        other.reload_asked().await;
    }

    /// Signals that come at these times after the start.
    struct At(std::vec::IntoIter<(u64, Told)>, tokio::time::Instant);

    impl Tell for At {
        async fn told(&mut self) -> Told {
            let Some((secs, told)) = self.0.next() else {
                return std::future::pending().await;
            };
            tokio::time::sleep_until(self.1 + Duration::from_secs(secs)).await;
            told
        }
    }

    /// When the phases were reached, and when the end was forced, in seconds.
    async fn phases(signals: Vec<(u64, Told)>) -> (u64, u64, u64) {
        let (handle, mut lifecycle) = Lifecycle::by_hand();
        let begun = tokio::time::Instant::now();
        let signals = At(signals.into_iter(), begun);
        let following = tokio::spawn(async move {
            follow(handle, signals, Duration::from_secs(30), || ()).await;
            begun.elapsed().as_secs()
        });
        lifecycle.reached(Phase::Draining).await;
        let draining = begun.elapsed().as_secs();
        lifecycle.reached(Phase::Stopping).await;
        let stopping = begun.elapsed().as_secs();
        (draining, stopping, following.await.unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_does_not_end_is_ended_by_force() {
        let close = CLOSE_TIME_MAX.as_secs();
        let one = vec![(5, Told::End)];
        assert_eq!(phases(one).await, (5, 35, 35 + close));
        let two = vec![(5, Told::End), (6, Told::Reload), (7, Told::End)];
        assert_eq!(phases(two).await, (5, 7, 7 + close));
        let three = vec![(5, Told::End), (7, Told::End), (8, Told::End)];
        assert_eq!(phases(three).await, (5, 7, 8));
    }
}
