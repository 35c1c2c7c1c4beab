//! What the targets share.

pub mod memory;
#[path = "../../../crates/seal/tests/second_opener/mod.rs"]
mod opener;
pub mod script;
