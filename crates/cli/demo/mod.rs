//! The demonstration: two regions on this machine, in processes of their own.
//!
//! ```text
//!   dataset ──▶ regions (authority, two sites) ──▶ agents ──▶ watch ──▶ compare ──▶ summary
//! ```

pub(crate) mod agents;
pub(crate) mod compare;
pub(crate) mod dataset;
pub(crate) mod regions;
pub(crate) mod summary;
pub(crate) mod watch;
