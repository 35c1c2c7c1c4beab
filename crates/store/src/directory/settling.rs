//! Files that are still being written are left alone until they settle.
//!
//! A file has settled when it was closed, when nothing changed for a second, or
//! when it has been changing for five minutes: then it is tried all the same.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sealift_terms::{Clock, ObjectKey};

use super::root::{Root, Seen};

/// Without a change for this long, a file has settled.
pub(super) const QUIET: Duration = Duration::from_secs(1);
/// After a close, what often follows it (times, mode, another append) is waited for.
const AFTER_CLOSE: Duration = Duration::from_millis(100);
/// A file that never settles is hinted at after this.
pub(super) const NEVER_SETTLES: Duration = Duration::from_secs(300);
/// Files that are waited for at once; one more is taken as it is.
pub(super) const SETTLING_MAX: usize = 10_000;

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Touch {
    /// It was written to and may still be open.
    Written,
    /// It was written to and closed.
    Closed,
    /// It was moved here, moved away or removed.
    Placed,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    first: Duration,
    due: Duration,
    touch: Touch,
}

/// The files that have not settled.
#[derive(Debug)]
pub(super) struct Settling {
    clock: Arc<dyn Clock>,
    waiting: Mutex<HashMap<ObjectKey, Waiting>>,
}

impl Settling {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            waiting: Mutex::new(HashMap::new()),
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Notes that a file was touched. False when there is no room to note it.
    pub(super) fn touch(&self, key: &ObjectKey, touch: Touch) -> bool {
        let now = self.clock.monotonic();
        let wait = match touch {
            Touch::Written => QUIET,
            Touch::Closed => AFTER_CLOSE,
            Touch::Placed => Duration::ZERO,
        };
        let mut waiting = self.waiting.lock();
        if waiting.len() >= SETTLING_MAX && !waiting.contains_key(key) {
            return false;
        }
        let entry = waiting.entry(key.clone()).or_insert(Waiting {
            first: now,
            due: now,
            touch,
        });
        entry.due = (now + wait).min(entry.first + NEVER_SETTLES);
        entry.touch = touch;
        true
    }

    /// Whether a file that was found by a scan may be taken; if not, it is waited for.
    pub(super) fn is_settled(&self, key: &ObjectKey, seen: &Seen) -> bool {
        if seen.age(self.clock.now()) >= QUIET {
            return true;
        }
        let known = self.waiting.lock().get(key).copied();
        match known {
            Some(waiting) => self.clock.monotonic() >= waiting.first + NEVER_SETTLES,
            None => !self.touch(key, Touch::Written),
        }
    }

    /// Takes out what is due. What was written a moment ago waits on, unless it
    /// has had its five minutes.
    pub(super) fn due(&self, root: &Root) -> Vec<ObjectKey> {
        let now = self.clock.monotonic();
        let due: Vec<(ObjectKey, Waiting)> = {
            let waiting = self.waiting.lock();
            let due = waiting.iter().filter(|(_, entry)| entry.due <= now);
            due.map(|(key, entry)| (key.clone(), *entry)).collect()
        };
        let mut ready = Vec::new();
        for (key, entry) in due {
            let out_of_time = now >= entry.first + NEVER_SETTLES;
            // The file system may hang: nobody else waits for it.
            let waits_on =
                entry.touch == Touch::Written && !out_of_time && self.is_young(root, &key);
            let mut waiting = self.waiting.lock();
            // Touched again meanwhile: that counts.
            let Some(known) = waiting.get_mut(&key).filter(|known| known.due <= now) else {
                continue;
            };
            if waits_on {
                known.due = (now + QUIET).min(known.first + NEVER_SETTLES);
            } else {
                waiting.remove(&key);
                ready.push(key);
            }
        }
        ready.sort();
        ready
    }

    /// The time until the next file is due.
    pub(super) fn next(&self) -> Option<Duration> {
        let now = self.clock.monotonic();
        let next = self.waiting.lock().values().map(|entry| entry.due).min()?;
        Some(next.saturating_sub(now))
    }

    fn is_young(&self, root: &Root, key: &ObjectKey) -> bool {
        matches!(root.look(key), Ok(Some(seen)) if seen.age(self.clock.now()) < QUIET)
    }
}

#[cfg(test)]
mod tests;
