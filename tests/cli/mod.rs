//! Commands, one by one.

mod check;
mod reach;
