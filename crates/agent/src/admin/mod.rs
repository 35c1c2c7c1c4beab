//! The admin endpoint: one handler behind two doors, and the same operations
//! without any door when the agent is stopped.
//!
//! ```text
//!   data_dir/agent.sock (0600) ─ GET /live /ready /status /metrics · POST /v1/COMMAND ─┐
//!   loopback address ─────────── GET /live /ready /status /metrics ────────────────────┼─▶ Operations
//!   this process, LOCK held ─── Request ───────────────────────────────────────────────┘
//! ```

mod adopt;
mod answer;
mod audit;
mod authority;
mod batch;
mod brought;
mod client;
mod codec;
mod handler;
mod keys;
mod operations;
mod plan;
mod reach;
mod report;
mod request;
mod residency;
mod server;
#[cfg(test)]
mod tests;
mod versions;

pub use adopt::{Adopt, AdoptAct, AdoptFiles, AdoptResult, AdoptRow};
pub use answer::{Answer, Answers, Piece};
pub use audit::{AuditReport, ReadAudit};
pub use authority::{
    KnownRow, NewCertificate, NewCertificateRow, NewToken, Revoke, RevokedRow, RolloverReport,
    RolloverStep, TakeStep, TokenRow,
};
pub use batch::{
    BatchAct, BatchRow, BatchSum, Batches, Replicate, ReplicateAct, ReplicateFilter,
    ReplicateObject, ReplicateResult, ReplicateRow, Reseal, ResealResult, ResealRow, Rewrap,
    RewrapFailed, RewrapRow, RewrapSummary,
};
pub use brought::BroughtReport;
pub use client::Client;
pub use keys::{
    KeyCalls, KeyDiffRow, KeyRow, KeyVersions, Keys, KeysRestored, NewRootKey, RootKeyChanged,
    RootKeyForm, RootKeyWrapped, ServiceKey, ServiceKeyVersion,
};
pub use operations::{Actor, Operations};
pub use plan::{
    Plan, PlanChange, PlanObject, PlanRow, PlanRule, PlanSection, PlanSummary, PlanWay,
};
pub use reach::{OpenSite, Reached};
pub use report::{
    Alarm, BucketReport, CertificateFacts, CertificateRow, Count, DeniedRow, ForwardReport,
    HoldRow, KeyReport, LagReport, PeerReport, PromotedRow, QuarantinedRow, Readiness,
    ReplicaReport, RuleReport, ScrubReport, SourceReport, StatusCount, StatusReport, UnderWay,
};
pub use request::{
    Check, Deny, Get, HoldAct, LegalHold, Ls, Named, Promote, Request, Retry, Scrub, Verify,
};
pub use residency::{Residency, ResidencyRow};
pub use sealift_archive::{HeldVersions, HoldSort};
pub use sealift_ledger::BatchState;
pub use server::AdminServer;
pub use versions::{
    Explanation, Finding, ObjectRow, Rebuilt, Retried, Sealing, VerifyRow, VerifySummary,
};
