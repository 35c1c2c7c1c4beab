//! Key services and buckets as the tests of sealift want them: they answer as the real ones do, as far
//! as sealift asks, and are in trouble when a test says so.
//!
//! ```text
//!   test ──▶ FakeKms, FakeTransit, FakeS3 ──▶ keys, objects, clock, trouble   (in this process, on loopback)
//!                    ▲
//!   sealift ──HTTP───┘  JSON 1.1 (TrentService.*), signed; /v1/transit/…, /v1/auth/token/…;
//!                       /BUCKET/KEY, signed; a queue of events (AmazonSQS.*)
//! ```
//!
//! They are for tests alone: keys are in memory, and whoever reaches them may use them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// An answer is an outcome here, whether it is an error or not.
#![allow(clippy::result_large_err)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod aws;
mod azure;
mod crypto;
mod s3;
mod server;
mod signature;
mod transit;
mod trouble;

pub use aws::{FakeKms, OWNER};
pub use azure::{AZURE_ACCOUNT, AzurePut, FakeAzure};
pub use s3::{FakeS3, Put};
pub use server::Asked;
pub use transit::{FakeTransit, TransitBackup};
pub use trouble::Trouble;
