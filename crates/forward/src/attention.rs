//! Whether the next bytes of a stream are waited for awake.
//!
//! To sleep and to be woken takes a system tens of microseconds, most of what a small message
//! takes through a tunnel. Where the last bytes came so soon that it would have saved that, the
//! next ones are looked for a while without sleeping. Between two looks the processor is
//! offered to whoever else wants it.

use std::{
    convert::Infallible,
    future::poll_fn,
    mem,
    sync::atomic::{AtomicU64, Ordering},
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use sealift_terms::limits::FORWARD_AWAKE_MAX;
use tokio::task::yield_now;

/// What one stream knows of its own rhythm. Times are nanoseconds since it was made.
pub(crate) struct Attention {
    begun: Instant,
    /// Since when there has been nothing to do.
    idle_since: AtomicU64,
    /// Until when that is waited for awake.
    awake_until: AtomicU64,
}

impl Attention {
    pub(crate) fn new() -> Self {
        Self {
            begun: Instant::now(),
            idle_since: AtomicU64::new(0),
            awake_until: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        nanos(self.begun.elapsed())
    }

    /// There was something to do, and now there is nothing.
    pub(crate) fn rests(&self) {
        self.rests_at(self.now());
    }

    fn rests_at(&self, now: u64) {
        let waited = now.saturating_sub(self.idle_since.swap(now, Ordering::Relaxed));
        let awake_until = match waited <= nanos(FORWARD_AWAKE_MAX) {
            true => now.saturating_add(nanos(FORWARD_AWAKE_MAX)),
            false => 0,
        };
        self.awake_until.store(awake_until, Ordering::Relaxed);
    }

    fn is_awake_at(&self, now: u64) -> bool {
        now < self.awake_until.load(Ordering::Relaxed)
    }

    /// Keeps its task awake for as long as that is worth it.
    pub(crate) async fn keep(&self) -> Infallible {
        loop {
            match self.is_awake_at(self.now()) {
                true => {
                    thread::yield_now();
                    yield_now().await;
                }
                false => asleep().await,
            }
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Until something else wakes the task.
async fn asleep() {
    let mut is_woken = false;
    poll_fn(|_| match mem::replace(&mut is_woken, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::{Arc, atomic::AtomicUsize},
        task::{Context, Wake},
    };

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    const MICRO: u64 = 1_000;
    const WINDOW: u64 = FORWARD_AWAKE_MAX.as_nanos() as u64;

    #[test]
    fn bytes_that_came_soon_are_waited_for_awake_and_no_longer_than_that() {
        let attention = Attention::new();
        let mut now = 10 * WINDOW;
        attention.rests_at(now);
        assert!(!attention.is_awake_at(now), "the first ones came late");
        now += 50 * MICRO;
        attention.rests_at(now);
        assert!(attention.is_awake_at(now) && attention.is_awake_at(now + WINDOW - 1));
        assert!(!attention.is_awake_at(now + WINDOW), "none came");
        // One that comes late is the last that was waited for.
        now += 5 * WINDOW;
        attention.rests_at(now);
        assert!(!attention.is_awake_at(now));
    }

    #[test]
    fn a_task_is_kept_awake_while_it_is_worth_it_and_sleeps_then() {
        let (attention, wakes) = (Attention::new(), Arc::new(Wakes::default()));
        let waker = wakes.clone().into();
        let mut context = Context::from_waker(&waker);
        let mut keep = pin!(attention.keep());
        let mut woken_when_until = |until| {
            attention.awake_until.store(until, Ordering::Relaxed);
            assert!(keep.as_mut().poll(&mut context).is_pending());
            wakes.0.swap(0, Ordering::Relaxed)
        };
        assert_eq!(woken_when_until(u64::MAX), 1);
        assert_eq!(woken_when_until(u64::MAX), 1);
        assert_eq!(woken_when_until(0), 0);
        assert_eq!(woken_when_until(0), 0);
        assert_eq!(woken_when_until(u64::MAX), 1);
    }
}
