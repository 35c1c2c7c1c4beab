//! What ends a link or a session on the receiving side, and whose fault it is.

use sealift_terms::Reason;
use sealift_tunnel::TunnelError;
use sealift_wire::WireError;

/// Why a link came to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiverError {
    /// The connection was lost, or refused by the peer.
    #[error("the link was lost: {0}")]
    LinkLost(#[source] TunnelError),
    /// The peer broke the protocol: the session is over.
    #[error("the peer broke the protocol: {0}")]
    PeerMisbehaved(#[from] WireError),
    /// Nothing was heard from the peer for a minute.
    #[error("nothing was heard from the peer for 60 s")]
    PeerSilent,
    /// It sends, and does not read the answers.
    #[error("more than 16 MiB of answers wait for the peer to read them")]
    PeerNotReading,
}

impl From<TunnelError> for ReceiverError {
    fn from(error: TunnelError) -> Self {
        match error {
            TunnelError::Wire(error) => Self::PeerMisbehaved(error),
            error => Self::LinkLost(error),
        }
    }
}

impl ReceiverError {
    /// The reason code.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::LinkLost(error) => error.reason(),
            Self::PeerSilent | Self::PeerNotReading => Reason::PeerUnreachable,
            Self::PeerMisbehaved(_) => Reason::PeerProtocolMismatch,
        }
    }
}
