//! The S3 endpoint: what is archived here, for applications that speak S3, and what they
//! write where a bucket was promoted.
//!
//! ```text
//!  application ─▶ server ─▶ gate ────────▶ s3s ────────▶ access ─────▶ replica ─▶ archive
//!                 limits,   is it signed   signature,    may this      objects,   opens,
//!                 patience  with SigV4,    which call    key do that   listings   on record
//!                           now, all of it
//! ```
//!
//! ```text
//!  content ─▶ incoming ─▶ archive::ObjectWriter ─▶ locks: the key's turn, conditions ─▶ commit
//!             patience,   sealed as it comes                                            durable
//!             sums
//! ```
//!
//! ```text
//!  a bucket in front of its source ─▶ front ─▶ its store, and the sender's journal
//! ```
//!
//! Replicas are read-only until an operator promotes their bucket: a call that would write is
//! refused with why. Every call that this crate has no answer for is NotImplemented, and so is
//! every wish beside a write that it does not fulfil.
//!
//! | threat | answer |
//! |---|---|
//! | a request without a key, or with a wrong secret | refused and on record, one a minute for each cause and network |
//! | an old request again | dated at most 15 minutes from now; presigned ones at most 7 days long |
//! | headers that somebody on the way adds | every `x-amz-` header and `host` have to be signed |
//! | a request that is judged by one signature and let in by another | one signature, in words that are read in one way, or none |
//! | a key that reads what is not its own | rights and buckets of each key, deny by default, decided in one place |
//! | many connections, slow ones, endless heads and bodies | bounded in number, bytes and time |
//! | content that is cut off, or not what it is said to be | nothing of it is visible, and nothing is left |
//! | writers that stop writing | hold a chunk and a piece of an object, out of a share of memory, and not for long |
//! | uploads that nobody ends | bounded in number, sealed at rest, gone after a week |
//! | readers that stop reading | hold a piece of their object each, out of a share of the agent's memory, and not for long |
//! | a request that the store behind a bucket reads otherwise than it was read here | calls, parameters and headers of a table go on, and no others |
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
mod fresh;
mod front;
mod gate;
mod incoming;
mod listing;
mod listings;
mod locks;
mod markup;
mod multipart;
mod patience;
mod purges;
mod reading;
mod replica;
mod secret;
mod server;
mod service;
mod sums;
mod tally;
mod wanted;
mod writes;

pub use self::{
    core::{Endpoint, Parts, Settings, Standings},
    front::{Changes, Front, Fronts, Intent, OfTags, Outcome, Replicas},
    secret::{AccessSecret, SecretError},
    tally::EndpointCounts,
};
