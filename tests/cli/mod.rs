//! Commands, one by one.

mod adopt;
mod audit;
mod batch;
mod ca;
mod certs;
mod check;
mod hints;
mod key_life;
mod keys;
mod operators;
mod pausing;
mod reach;
mod rebuild;
mod residency;
mod rules;
mod taking_back;
mod underway;
