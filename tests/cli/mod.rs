//! Commands, one by one.

mod audit;
mod ca;
mod check;
mod keys;
mod reach;
mod rebuild;
