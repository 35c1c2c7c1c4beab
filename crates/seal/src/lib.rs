//! What an object is at rest: the sealed object format SLF v1, whole.
//!
//! An object is cut into parts, each part into chunks of 16 KiB, and every chunk
//! is sealed with AES-256-GCM under keys that belong to this one message of this
//! one object. Offsets are arithmetic, so parts can be sealed in any order by
//! several threads at once, and any range can be read by opening its chunks only.
//!
//! ```text
//!  RecordKey ─▶ ObjectSealer ─▶ header(96) ─────────────────────┐
//!  plaintext ─▶ .part(i) ─▶ PartSealer ─▶ chunk ‖ tag, in place ├─▶ file, or entry of a pack
//!  Meta      ─▶ .meta() ──▶ META ‖ FOOTER ──────────────────────┘            │
//!                                                                            ▼
//!  plaintext of a range ◀─ RangeReader ◀─ Opened ◀─ key ─ Inspected ◀─ bytes, catalog's word
//! ```
//!
//! Left to others: where the bytes rest (a [`ReadAt`] is read from, buffers are
//! handed back), how record keys are wrapped and unwrapped, where randomness
//! comes from (salts are made by [`Salt::random`] from the generator given), and
//! which version a key's latest is. The bytes themselves are described in
//! `docs/format.md`, completely enough to write another opener.
//!
//! Secrets held in this crate's own memory are zeroized when dropped; the key
//! schedules that ring holds are not, ring has no way to.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod cipher;
mod cobblestone;
mod error;
mod fields;
mod footer;
mod header;
mod json;
mod key;
pub mod layout;
mod meta;
mod object;
mod open;
pub mod pack;
mod part;
mod part_reader;
mod range;
mod read;
mod scan;
mod table;

pub use cobblestone::{Commitment, PREFIX_BYTES, Salt, TAG_BYTES};
pub use error::{Damage, SealError};
pub use header::{HEADER_BYTES, Header};
pub use key::RecordKey;
pub use layout::Layout;
pub use meta::{Mark, Meta};
pub use object::ObjectSealer;
pub use open::{Expected, Inspected, Opened};
pub use part::{PartBuffer, PartSealer};
pub use range::RangeReader;
pub use read::{ReadAt, Section};
pub use scan::{Found, Scanner, Tail};

#[cfg(test)]
mod tests;
