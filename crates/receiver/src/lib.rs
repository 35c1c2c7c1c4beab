//! The receiving half of the path: what a peer offers is held against the grants,
//! handed to the archive as it arrives, and answered once it is durable.
//!
//! ```text
//!   links ── frames ──▶ Session ── offer ──▶ Door: grants ──▶ Archive::begin
//!                          │ bytes ──────────────────────────▶ PartWriter
//!                          │ commit ─────────────────────────▶ Archive::commit
//!   links ◀── receipt, or refusal with its reason ◀───────────────┘
//! ```
//!
//! A [`Session`] is one peer sending: a control link and its data links, each run
//! by a task of its own ([`Session::run_link`]). Bytes go from the link's buffer to
//! the part's writer without being gathered in between.
//!
//! It leaves to others who the peer is (`identity`, `tunnel`), what frames look
//! like and in which order they may come (`wire`), and everything about rest
//! (`archive`).

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod credit;
mod door;
mod error;
mod patience;
mod question;
mod rates;
mod rollback;
mod session;
mod task;
mod unpacking;
mod writers;

pub use door::{Door, Usage};
pub use error::ReceiverError;
pub use patience::Patience;
pub use question::{Answer, Question, TagsOf, TagsStand};
pub use session::{Peer, Session};
