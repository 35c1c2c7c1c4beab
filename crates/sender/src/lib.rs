//! The sending half of the path: it finds what changed in a source, decides by
//! rule where that goes, remembers it, and sends it until a receipt says that it
//! is durable there.
//!
//! ```text
//!   Source ── scan, hints ──▶ SourceTask ── rules, orders ──▶ Journal (PENDING)
//!   an archive ── commits, orders ──▶ FollowTask ── rules ──────▶ │ lease
//!   endpoint ── intents, writes ──▶ SourceTask                    │
//!   Source ── open, read, finish ─────────────▶ PeerSender ◀────┘
//!                                                  │ offers, parts, commits   ▲ receipts
//!                                                  └────────▶ links ──────────┘──▶ Journal (COMPLETED)
//! ```
//!
//! It leaves to others how links are dialled and trusted (`tunnel`, `identity`),
//! what frames look like (`wire`), what is remembered how (`ledger`), and which
//! sources and peers there are (`agent`).

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod changes;
mod coverage;
mod dispatch;
mod error;
mod front;
mod lag;
mod line;
mod orders;
mod press;
mod rules;
mod status;
mod tagged;

pub use changes::{
    SourceSettings, SourceTask, awaited::Awaited, following::FollowTask, refilling::Refilling,
    tagging::tags_now,
};
pub use coverage::Coverage;
pub use dispatch::{BACKOFF_MAX, ControlLink, Joining, PeerSender, Session, Settings};
pub use error::SenderError;
pub use front::{Became, FrontHandle, Intended, Replicas, decisive, together};
pub use lag::{LAG_BOUNDS, Lag};
pub use orders::Orders;
pub use rules::{Kind, Rule, Rules};
pub use status::{Current, Held, SenderStatus, Sent, SourceHandle, SourceStatus, WorkSignal};
pub use tagged::Tagged;

/// Waits until `stop` turns true, or whoever could turn it is gone.
async fn stopped(stop: &mut tokio::sync::watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
