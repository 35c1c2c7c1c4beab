//! One binary for all integration tests. A test that needs more than this
//! workspace, or much room, is ignored with what it needs; `cargo xtask test`
//! sees to that and runs it.
//!
//! The tests of `scenario`, `crash` and `cli` drive the program itself: an
//! authority and two sites made by its own commands, agents as processes of their
//! own, TLS over loopback. Each has a directory of its own and gives every wait an
//! end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cli;
mod crash;
mod scenario;
mod soak;
mod support;
mod tidy;
