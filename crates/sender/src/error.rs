//! What can go wrong, and whose fault it is.

use sealift_ledger::LedgerError;
use sealift_store::StoreError;
use sealift_terms::{AuditUnavailable, Reason, limits::FRONT_INTENTS_MAX};
use sealift_wire::WireError;

/// A failure of the sending half.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SenderError {
    /// The source failed.
    #[error("the source failed: {0}")]
    Source(#[from] StoreError),
    /// The journal failed: nothing can be remembered, so nothing is sent.
    #[error("the journal failed: {0}")]
    Journal(#[from] LedgerError),
    /// The audit log cannot be written.
    #[error(transparent)]
    Audit(#[from] AuditUnavailable),
    /// So much was written through the endpoint that nothing could be recorded of.
    #[error("{FRONT_INTENTS_MAX} writes wait until their source can be looked at")]
    TooManyIntents,
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Peer(#[from] WireError),
    /// The peer did not answer for too long: the session was given up.
    #[error("the session was given up: {evidence}")]
    Stalled {
        /// What was waited for, and how long.
        evidence: String,
    },
}

impl SenderError {
    /// The reason code of this failure.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Source(error) => error.reason(),
            // The journal rests in the data directory, as the audit log does.
            Self::Journal(_) | Self::Audit(_) => Reason::AuditUnavailable,
            Self::TooManyIntents => Reason::SrcUnavailable,
            Self::Peer(error) => error.reason(),
            Self::Stalled { .. } => Reason::PeerUnreachable,
        }
    }

    /// The message with the messages of its causes.
    #[must_use]
    pub fn evidence(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let more = error.to_string();
            if !text.contains(&more) {
                text.push_str(": ");
                text.push_str(&more);
            }
            cause = error.source();
        }
        text
    }
}
