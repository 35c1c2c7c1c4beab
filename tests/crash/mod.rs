//! Agents that are killed, and what is true afterwards.

mod rounds;
mod transfer;
