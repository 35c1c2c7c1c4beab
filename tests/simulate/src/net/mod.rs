//! A network between two sites, in one process.
//!
//! ```text
//!   dial ──▶ two pipes ──▶ accept        each way: delay, jitter, bandwidth, blocked or not
//!            a pipe: at most a window of bytes under way, in order, cut anywhere
//! ```
//!
//! Within a connection bytes keep their order, as TCP's do; between connections
//! nothing does. A blocked way holds what was sent until it is open again. A
//! connection ends by a reset, or silently: then nothing comes any more, and only
//! its user can find out.

mod network;
mod pipe;
mod transport;

pub(crate) use network::{Network, Way};
pub(crate) use transport::{Listening, SimTransport};
