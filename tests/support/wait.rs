//! Waiting, never for ever.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

const INTERVAL: Duration = Duration::from_millis(30);

/// Waits until `look` sees something, and tells how long that took.
pub(crate) fn wait_for<T>(
    what: &str,
    time_max: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> (T, Duration) {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return (seen, begun.elapsed());
        }
        assert!(
            begun.elapsed() < time_max,
            "waited {time_max:?} in vain until {what}"
        );
        sleep(INTERVAL);
    }
}

/// Waits until `holds`, and tells how long that took.
pub(crate) fn wait_until(
    what: &str,
    time_max: Duration,
    mut holds: impl FnMut() -> bool,
) -> Duration {
    wait_for(what, time_max, || holds().then_some(())).1
}
