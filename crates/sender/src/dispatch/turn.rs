//! Which part of a link is read now: the one that began first, to its end.
//!
//! Side by side two parts of a link would end at the same moment, and the link would
//! carry nothing until the peer has said that they are stored.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::OwnedMutexGuard, time::timeout};

/// Without a piece for this long the part whose turn it is keeps it no longer: its
/// source may hang.
const STANDS_STILL: Duration = Duration::from_millis(500);

type Lock = Arc<tokio::sync::Mutex<()>>;

/// The turns of one link.
#[derive(Debug, Default)]
pub(super) struct Turns {
    lock: Mutex<Lock>,
    /// Pieces read so far.
    pieces: AtomicU64,
}

impl Turns {
    /// Waits until it is the caller's turn, which lasts until the guard is dropped.
    pub(super) async fn wait(&self) -> OwnedMutexGuard<()> {
        loop {
            let (lock, seen) = (self.lock.lock().clone(), self.pieces());
            if let Ok(turn) = timeout(STANDS_STILL, lock.clone().lock_owned()).await {
                return turn;
            }
            let mut current = self.lock.lock();
            if self.pieces() == seen && Arc::ptr_eq(&current, &lock) {
                // Those who wait for the old one come here as well.
                *current = Lock::default();
            }
        }
    }

    /// The one whose turn it is has read a piece.
    pub(super) fn went_on(&self) {
        self.pieces.fetch_add(1, Ordering::Relaxed);
    }

    fn pieces(&self) -> u64 {
        self.pieces.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_reads_at_a_time_and_one_that_hangs_holds_up_nobody_for_long() {
        let turns = Turns::default();
        let first = turns.wait().await;
        // It goes on: whoever comes next waits, however long it takes.
        for _ in 0..20 {
            let waited = timeout(STANDS_STILL * 3 / 4, turns.wait()).await;
            assert!(waited.is_err());
            turns.went_on();
        }
        // It hangs.
        let second = timeout(2 * STANDS_STILL, turns.wait()).await.unwrap();
        // And takes no turn of those behind it, nor do they wait for it again.
        let third = timeout(STANDS_STILL / 2, turns.wait()).await;
        assert!(third.is_err());
        drop(second);
        timeout(STANDS_STILL / 2, turns.wait()).await.unwrap();
        drop(first);
    }
}
