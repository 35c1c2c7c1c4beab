//! How long versions are kept.

use std::time::Duration;

/// How long a bucket keeps versions; nothing is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// No version is purged before it was here for so long.
    pub min: Option<Duration>,
    /// A version is purged once another one was above it for so long.
    pub expire_noncurrent: Option<Duration>,
}
