//! A SPIFFE Workload API as the tests of sealift want it: gRPC over a Unix socket, one call,
//! answered by a stream that says what there is now and again whenever a test changes it.
//!
//! ```text
//!   test ──▶ FakeWorkload::give ──▶ what there is      (in this process)
//!                    ▲
//!   sealift ──gRPC───┘  SpiffeWorkloadAPI/FetchX509SVID
//! ```
//!
//! The frames of gRPC and protocol buffers are written by hand, so that it shares nothing
//! with the library that sealift asks it through. It is for tests alone: whoever reaches the
//! socket gets private keys.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod domain;
mod message;
mod server;

pub use domain::{Document, Domain, Life};
pub use message::Answer;
pub use server::FakeWorkload;
