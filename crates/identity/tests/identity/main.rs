//! What the crate promises, seen from outside: certificates as they are made,
//! and real handshakes in memory.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

mod admission;
mod authority;
mod credentials;
mod foreign;
mod grace;
mod issuance;
mod negotiation;
mod replacement;
mod rollover;
mod stage;
