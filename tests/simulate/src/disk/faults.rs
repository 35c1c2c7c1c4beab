//! What goes wrong on a disk, until it is healed.

use std::time::Duration;

/// How a disk is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// It says so when asked.
    Told,
    /// It says that there is room, and refuses what makes a file longer.
    Untold,
}

/// What goes wrong. A count is how many calls there are for one that fails.
#[derive(Debug, Clone, Default)]
pub(crate) struct DiskFaults {
    pub(crate) reads: Option<u64>,
    pub(crate) writes: Option<u64>,
    pub(crate) syncs: Option<u64>,
    /// Of names: creating, renaming, removing, syncing a directory.
    pub(crate) names: Option<u64>,
    pub(crate) full: Option<Full>,
    /// The longest that a call takes.
    pub(crate) slow: Duration,
}
