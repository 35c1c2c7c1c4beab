//! A disk that keeps no more than it promised.
//!
//! ```text
//!   write ──▶ what is seen now ──── sync ───▶ durable content ─┐
//!   create, rename, remove ──▶ names now ── sync of the directory ──▶ durable names ─┤
//!                       power loss: durable, and any part of the rest ◀──────────────┘
//! ```
//!
//! After a power loss every write since the last sync of its file is there whole,
//! in some of its sectors, or not at all; every change of a name since the last
//! sync of its directory has happened or not. Syncing a file does not make its
//! name durable. A sync that failed has lost what it was to write, and the next
//! one does not bring it back.

mod content;
mod faults;
mod handle;
mod names;
mod platter;

pub(crate) use faults::{DiskFaults, Full};
pub(crate) use platter::{Platter, Reason};

/// The unit that is written whole or not at all.
pub(crate) const SECTOR_BYTES: usize = 512;
