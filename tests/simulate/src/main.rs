//! Two sites of sealift in one process, with everything outside them simulated.
//!
//! ```text
//!   seed ──▶ chance ──▶ plan, changes, trouble
//!                            │
//!   source ─▶ near: sender ═ simulated network ═ far: receiver ─▶ archive
//!             journal │                              catalog │ store
//!             simulated disk                         simulated disk
//!                            └── one thread, one clock that jumps from event to event
//! ```
//!
//! With `--both` applications write at both sites, which send to each other (`both`).
//!
//! The product's own sender, receiver, archive, wire and store run here; only what
//! is below [`Disk`](sealift_terms::Disk), [`Clock`](sealift_terms::Clock),
//! [`Rng`](sealift_terms::Rng) and [`Transport`](sealift_tunnel::Transport) is
//! another. SQLite goes around `Disk`, so the ledger is the one in log files; links
//! are clear, their peers given.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a simulation that is wrong itself is to end"
)]

mod both;
mod chance;
mod check;
mod clock;
mod disk;
mod model;
mod net;
mod peers;
mod plan;
mod rounds;
mod runs;
mod salts;
mod site;
mod system_chance;
mod trace;
mod trouble;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match runs::Wanted::parse(&arguments).and_then(|wanted| wanted.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
