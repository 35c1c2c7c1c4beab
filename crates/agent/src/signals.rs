//! Signals as one state that everything in the agent can watch.

use std::{io, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

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
/// most `drain` and a second one stops at once; SIGHUP reloads.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn watch_signals(drain: Duration) -> io::Result<Lifecycle> {
    let (handle, lifecycle) = Lifecycle::by_hand();
    let terminate = signal(SignalKind::terminate())?;
    let interrupt = signal(SignalKind::interrupt())?;
    let hangup = signal(SignalKind::hangup())?;
    tokio::spawn(follow(handle, [terminate, interrupt, hangup], drain));
    Ok(lifecycle)
}

async fn follow(handle: LifecycleHandle, signals: [Signal; 3], drain: Duration) {
    let [mut terminate, mut interrupt, mut hangup] = signals;
    let mut deadline = None;
    loop {
        let expired = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => { handle.reload(); continue; }
            () = expired => {
                tracing::warn!(drain_secs = drain.as_secs(), "not everything in flight was finished in time");
                handle.stop();
                return;
            }
        }
        handle.terminate();
        deadline.get_or_insert(tokio::time::Instant::now() + drain);
        tracing::info!(
            "stopping: what is in flight is finished first; a second signal stops at once"
        );
    }
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
}
