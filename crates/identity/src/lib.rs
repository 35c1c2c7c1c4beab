//! Who may speak: the embedded certificate authority, the credentials of an agent,
//! the trust it has in each peer, the TLS configurations made from them, and the
//! grants that say what an authenticated peer may do.
//!
//! ```text
//!   passphrase ─▶ RootAuthority ─▶ IssuingAuthority (one a region, path length 0)
//!                                        │ issue: new key, or the public key of a request
//!                                        ▼
//!   files ──▶ Credentials (checked as a peer would) ─┐
//!   TrustBundle ─▶ Peers (roots per peer, deny list) ├─▶ TlsContext ─▶ rustls configurations
//!   names ──▶ TlsPolicy (suites, groups) ────────────┘        │
//!                                                             ▼ handshake
//!                                     Session (both identities, serials, what was negotiated)
//!                                     or Refusal (typed cause, reason code, one sentence)
//!   rows  ──▶ Grants ─▶ Decision (and which line made it)
//! ```
//!
//! What a handshake is held to:
//!
//! | threat | answer |
//! |---|---|
//! | a certificate of the same authority, for an agent that is no peer | peers are known by identity, not by authority |
//! | another authority vouches for a peer's identity | each peer has roots of its own; they are never merged |
//! | an issuing CA of region A is taken over | agents of B are believed only from B's issuing CA |
//! | a stolen certificate lives for years | more than 47 days are refused by both ends |
//! | a session outlives expiry or revocation | no resumption, no tickets, no early data; [`TlsContext::check_session`] for those that stand |
//! | traffic recorded now, opened by a quantum computer later | X25519MLKEM768 is the first choice |
//! | a fall back to something weaker | TLS 1.3 alone is compiled in; suites and groups are allow-lists |
//!
//! This crate opens no socket and never decides when to renew or to dial: that is
//! the tunnel's and the agent's part. It keeps no object keys either.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod access;
mod acme;
mod authority;
mod bundle;
mod certificate;
mod chain;
mod context;
mod credentials;
mod demands;
mod denials;
mod enrolment;
mod error;
mod files;
mod grants;
mod lists;
mod operators;
mod peers;
mod policy;
mod refusal;
mod revoked;
mod session;
mod signed;
mod verifier;

pub use access::{AccessDecision, AccessRight, AccessRow, AccessRows};
pub use acme::{challenge_server, https_client, order_request};
pub use authority::{Authority, Issued, IssuingAuthority, LeafRequest, Rollover, RootAuthority};
pub use bundle::TrustBundle;
pub use certificate::{CaLife, Leaf};
pub use context::{ALPN_CONTROL, ALPN_DATA, ALPN_FORWARD, Accepted, Own, Prepared, TlsContext};
pub use credentials::Credentials;
pub use demands::{Demands, DnsAgent, Issuers, OwnDemands, is_dns_name};
pub use denials::Denials;
pub use enrolment::{
    Acknowledgement, Enrolled, EnrolmentRefusal, EnrolmentToken, Enrolments, IssuingSite, Lock,
    SiteRole, SiteRoles, enrolling_client, issuing_server, new_private_key, signing_request,
};
pub use error::IdentityError;
pub use grants::{Action, Decision, GrantRow, Grants, KeyDecision};
pub use lists::{ListFacts, RevocationLists};
pub use operators::{OperatorAction, OperatorDecision, OperatorRow, Operators, Principal, Subject};
pub use peers::{PeerTrust, Peers};
pub use policy::{Group, Suite, TlsPolicy};
pub use refusal::{Refusal, find_refusal};
pub use revoked::Revocation;
pub use session::{Direction, Session};
