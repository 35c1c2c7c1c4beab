//! Agents that are killed, and what is true afterwards.

mod disks;
mod network;
mod power_loss;
mod rounds;
mod transfer;
