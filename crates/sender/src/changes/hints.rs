//! Hints of a source's watch, taken together.

use sealift_store::{Hint, Watch};

/// Hints taken at once.
const HINTS_TAKEN_MAX: usize = 1000;

/// The hints that are there already.
pub(super) fn waiting_hints(watch: &mut Option<Watch>) -> Vec<Hint> {
    let mut hints = Vec::new();
    while hints.len() < HINTS_TAKEN_MAX
        && let Some(open) = watch
        && let Ok(hint) = open.hints.try_recv()
    {
        hints.push(hint);
    }
    hints
}

/// Waits for hints and takes those that are there. A watch that ended is dropped.
pub(super) async fn next_hints(watch: &mut Option<Watch>) -> Vec<Hint> {
    let Some(open) = watch else {
        return std::future::pending().await;
    };
    let mut hints = Vec::new();
    if open.hints.recv_many(&mut hints, HINTS_TAKEN_MAX).await == 0 {
        *watch = None;
        hints.push(Hint::Rescan);
    }
    hints
}
