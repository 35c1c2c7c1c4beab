//! What a user sees: objects arrive, nothing else gets in, nothing leaks.

mod acme;
mod arrival;
mod authority;
mod changes;
mod compressing;
mod damage;
mod databases;
mod demonstration;
mod denying;
mod destinations;
mod enrolment;
mod forwarding;
mod limits;
mod links;
mod memory;
mod misbehaving;
mod readiness;
mod refusals;
mod reloading;
mod rollback;
mod scanners;
mod scrubbing;
mod secrecy;
mod standing;
mod stopping;
mod upkeep;
