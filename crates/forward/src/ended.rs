//! How a stream ended.

use std::io;

use sealift_terms::{Identity, Reason};
use sealift_tunnel::TunnelError;
use sealift_wire::{Close, Evidence, WireError};

/// How a stream ended. The first two are the applications' own doing; everything else
/// is a stream that was closed with notice.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// Both applications have all there was.
    #[error("both ends have closed it")]
    InOrder,
    /// One of the applications broke it off.
    #[error("an application broke it off: {0}")]
    Application(#[source] io::Error),
    /// The other agent closed it.
    #[error("the other agent closed it: {}", .0.evidence)]
    ByPeer(Close),
    /// There was no other link in time.
    #[error("no connection to go on over: {evidence}")]
    NotResumed {
        /// Why there was none.
        reason: Reason,
        /// What was seen last.
        evidence: String,
    },
    /// The peer may not have it any more.
    #[error("{identity} may not use it any more")]
    NotAllowed {
        /// The peer.
        identity: Identity,
    },
    /// The peer's frames break the protocol.
    #[error("{0}")]
    Misbehaved(#[source] WireError),
    /// It carried nothing for too long.
    #[error("it carried nothing for {secs} s")]
    Idle {
        /// For how long.
        secs: u64,
    },
    /// This agent stops.
    #[error("the agent stops")]
    Stopping,
    /// It is configured no more.
    #[error("it was taken out of the configuration")]
    Removed,
}

impl Ended {
    /// A short fixed word, by which streams that were closed are counted.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::InOrder => "in_order",
            Self::Application(_) => "application",
            Self::ByPeer(_) => "by_peer",
            Self::NotResumed { .. } => "not_resumed",
            Self::NotAllowed { .. } => "not_allowed",
            Self::Misbehaved(_) => "misbehaved",
            Self::Idle { .. } => "idle",
            Self::Stopping => "stopping",
            Self::Removed => "removed",
        }
    }

    /// Whether the applications did not end it themselves.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        !matches!(self, Self::InOrder | Self::Application(_))
    }

    /// The reason code, where it has one.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::InOrder | Self::Application(_) | Self::Stopping | Self::Removed => None,
            Self::Idle { .. } => None,
            Self::ByPeer(close) => close.reason,
            Self::NotResumed { reason, .. } => Some(*reason),
            Self::NotAllowed { .. } => Some(Reason::PolicyDenied),
            Self::Misbehaved(error) => Some(error.reason()),
        }
    }

    /// What the other agent is told: nothing when all is in order, no reason when an
    /// application broke it off, and a reason otherwise.
    pub(crate) fn close(&self) -> Close {
        let (reason, evidence) = match self {
            Self::InOrder => (None, String::new()),
            Self::Application(_) => (None, self.to_string()),
            _ => {
                let reason = self.reason().unwrap_or(Reason::PeerUnreachable);
                (Some(reason), self.to_string())
            }
        };
        Close {
            reason,
            evidence: Evidence::new(evidence),
        }
    }

    /// What the other agent's CLOSE says; none when all is in order.
    pub(crate) fn of(close: Close) -> Option<Self> {
        match close.reason {
            Some(_) => Some(Self::ByPeer(close)),
            None if close.evidence.as_str().is_empty() => None,
            None => Some(Self::Application(io::Error::other(
                close.evidence.to_string(),
            ))),
        }
    }
}

/// Why a stream has to do without its link.
#[derive(Debug)]
pub(crate) enum Lost {
    /// The link is gone; the stream may go on over another.
    Link(TunnelError),
    /// Nothing came for too long.
    Silent,
    /// There is no link to go on over.
    Seen(Reason, String),
    /// The stream is over.
    Stream(Ended),
}

impl Lost {
    /// What a link's failure means for its stream.
    pub(crate) fn of(error: TunnelError, peer: &Identity) -> Self {
        use sealift_identity::Refusal as R;
        match error {
            TunnelError::Wire(error) => Self::Stream(Ended::Misbehaved(error)),
            TunnelError::Refused(R::Denied { .. } | R::UnknownIdentity { .. }) => {
                Self::Stream(Ended::NotAllowed {
                    identity: peer.clone(),
                })
            }
            other => Self::Link(other),
        }
    }

    pub(crate) fn seen(&self) -> (Reason, String) {
        match self {
            Self::Link(error) => (error.reason(), error.to_string()),
            Self::Silent => (Reason::PeerUnreachable, "the peer was silent".to_owned()),
            Self::Seen(reason, evidence) => (*reason, evidence.clone()),
            Self::Stream(ended) => (
                ended.reason().unwrap_or(Reason::PeerUnreachable),
                ended.to_string(),
            ),
        }
    }
}
