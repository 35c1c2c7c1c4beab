//! The S3 endpoint: what is archived here, for applications that speak S3.
//!
//! ```text
//!  application ─▶ server ─▶ gate ────────▶ s3s ────────▶ access ─────▶ replica ─▶ archive
//!                 limits,   is it signed   signature,    may this      objects,   opens,
//!                 patience  with SigV4,    which call    key do that   listings   on record
//!                           now, all of it
//! ```
//!
//! Replicas are read here, and nothing is written: a call that would write is refused with
//! why, every other that this crate has no answer for is NotImplemented.
//!
//! | threat | answer |
//! |---|---|
//! | a request without a key, or with a wrong secret | refused and on record, one a minute for each cause and network |
//! | an old request again | dated at most 15 minutes from now; presigned ones at most 7 days long |
//! | headers that somebody on the way adds | every `x-amz-` header and `host` have to be signed |
//! | a key that reads what is not its own | rights and buckets of each key, deny by default, decided in one place |
//! | many connections, slow ones, endless heads and bodies | bounded in number, bytes and time |
//! | readers that stop reading | hold a piece of their object each, out of a share of the agent's memory, and not for long |
//! | an object that is damaged | the answer breaks off before it would end as whole |
//!
//! Left to others: rows and rights as such (`sealift-identity`), what an object is and who
//! may open it (`sealift-archive`, `sealift-keys`), the configuration and when all of this
//! starts, is put in force and stops (`sealift-agent`).
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod access;
mod core;
mod errors;
mod facts;
mod gate;
mod listing;
mod listings;
mod patience;
mod reading;
mod replica;
mod secret;
mod server;
mod service;
mod tally;
mod wanted;

pub use self::{
    core::{Endpoint, Parts, Settings},
    secret::{AccessSecret, SecretError},
    tally::EndpointCounts,
};
