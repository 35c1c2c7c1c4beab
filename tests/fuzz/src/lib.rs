//! What the targets share: bytes as a script of steps, memory that is counted,
//! and the second reader of the sealed format.

#![allow(
    clippy::unwrap_used,
    reason = "a failure is what a fuzz target reports"
)]

pub mod fixed;
pub mod memory;
pub mod script;
pub mod seal;

/// The reader written from `docs/format.md` alone: what sealift opens, it opens.
#[allow(dead_code, reason = "its own tests use the rest")]
#[path = "../../../crates/seal/tests/second_opener/mod.rs"]
mod opener;
