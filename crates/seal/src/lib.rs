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
//! Sealing in two layers ([`Suite::Two`]) is the same with a second key: what ring sealed,
//! chunk by chunk, the aes-gcm crate seals again, and neither key alone opens anything.
//! A layer has types of its own, so that the keys, salts and commitments of one cannot
//! take the place of the other's.
//!
//! Left to others: where the bytes rest (a [`ReadAt`] is read from, buffers are
//! handed back), how record keys are wrapped and unwrapped, where randomness
//! comes from (salts are drawn from the generator given), and
//! which version a key's latest is. The bytes themselves are described in
//! `docs/format.md`, completely enough to write another opener.
//!
//! Secrets held in this crate's own memory are zeroized when dropped; the key
//! schedules that ring holds are not, ring has no way to; aes-gcm's are.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod cipher;
mod cobblestone;
mod error;
mod fields;
mod footer;
mod header;
mod json;
mod key;
mod layers;
pub mod layout;
mod meta;
mod object;
mod open;
mod outer;
pub mod pack;
mod part;
mod part_reader;
mod range;
mod read;
mod scan;
mod suite;
mod table;

pub use cobblestone::{Commitment, Salt};
pub use error::{Damage, SealError};
pub use header::{HEADER_BYTES, Header};
pub use key::{Keys, RecordKey};
pub use layers::{Commitments, Salts};
pub use layout::Layout;
pub use meta::{HoldMark, HoldWord, Mark, Meta};
pub use object::ObjectSealer;
pub use open::{Expected, Inspected, Opened};
pub use outer::OuterCommitment;
pub use part::{PartBuffer, PartSealer};
pub use range::RangeReader;
pub use read::{ReadAt, Section};
pub use scan::{Found, Scanner, Tail};
pub use suite::Suite;

#[cfg(test)]
mod tests;
