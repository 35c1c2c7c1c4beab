//! The running process of sealift: it reads the configuration, puts the parts
//! together, watches over them, answers commands, and stops in order.
//!
//! ```text
//!   sealift.toml ──▶ config ──▶ checks ──▶ ┌─ agent ────────────────┐
//!   signals ───────▶ lifecycle ──────────▶ │ sender · receiver      │ ──▶ log lines, audit
//!   commands ──────▶ admin ──────────────▶ │ archive · keys · peers │ ──▶ metrics, answers
//!                                          └────────────────────────┘
//! ```
//!
//! It leaves to others what is moved and how: sender and receiver move objects,
//! archive keeps them, keys and identity hold the secrets. Commands reach the
//! same [`Operations`](admin::Operations) through the socket of a running agent,
//! or in their own process when it is stopped.

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod admin;
mod bundles;
mod certifying;
mod checks;
pub mod config;
mod enrolling;
mod error;
mod exit;
mod files;
mod harden;
mod logging;
mod metrics;
mod offline;
mod operations;
mod policy;
mod providers;
mod regions;
mod running;
mod setup;
mod signals;
mod site;
mod sources;
mod told;
mod world;

pub use certifying::{enrol_again, load_credentials};
pub use checks::{CheckLine, Outcome};
pub use enrolling::{FirstCertificate, enrol, hold_roles};
pub use error::{Error, Failure};
pub use exit::Exit;
pub use files::raise_file_limit;
pub use harden::{Confined, confine, forbid_dumps, lock_memory, swap_is_on};
pub use logging::start as start_logging;
pub use metrics::{Histogram, Metric, Metrics, Series};
pub use offline::check_offline;
pub use policy::{aws_policies, replication_policies};
pub use running::{check_peers, up};
pub use setup::{CreatedSite, NewSite, create_site, new_access_secret, write_new};
pub use signals::{Lifecycle, LifecycleHandle, Phase, watch_signals};
pub use site::{Offline, Remnant, Restoring, rebuild_catalog};
pub use world::{World, load_peers, open_keystore, root_secret};

/// The name of the agent's socket in its data directory.
pub const SOCKET_FILE: &str = "agent.sock";

/// Certificate and key of an agent that gets them by itself, in its data directory.
const RENEWED_FILE: &str = "identity.pem";
