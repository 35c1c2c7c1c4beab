//! What can go wrong with a link, and what is said about those refused.

use std::{io, net::SocketAddr, time::Duration};

use sealift_identity::{IdentityError, Refusal};
use sealift_terms::{Identity, Reason};
use sealift_wire::WireError;

/// Why there is no link, or no longer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TunnelError {
    /// No configured peer has the identity that was to be dialled. Our fault.
    #[error("this side cannot dial: {0}")]
    NotConfigured(#[source] IdentityError),
    /// The network or the peer's machine.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// TLS came to nothing, or the peer's TLS broke the rules.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// The peer's frames break the protocol.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// The connection ended without the end that TLS gives it: it may have been cut.
    #[error("the connection was cut off")]
    CutOff,
    /// The peer did not finish the handshake in time.
    #[error("no handshake within {} s", sealift_terms::limits::HANDSHAKE_TIME_MAX.as_secs())]
    TooSlow,
    /// The peer did not take a byte for a minute.
    #[error("the peer took nothing for {} s", sealift_terms::limits::WRITE_TIME_MAX.as_secs())]
    Stalled,
    /// TLS cannot go on with these keys.
    #[error("the connection's keys are used up")]
    Exhausted,
}

impl TunnelError {
    /// The reason code of objects that could not move because of this.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotConfigured(_) => Reason::PeerIdentityRefused,
            Self::Refused(refusal) => refusal.reason(),
            Self::Wire(error) => error.reason(),
            Self::Io { .. } | Self::CutOff | Self::TooSlow | Self::Stalled | Self::Exhausted => {
                Reason::PeerUnreachable
            }
        }
    }

    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

impl From<rustls::Error> for TunnelError {
    fn from(error: rustls::Error) -> Self {
        Self::Refused(Refusal::of(&error))
    }
}

/// Why a listener refused a connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// Its handshake, or its HELLO, came to nothing.
    #[error("{0}")]
    Handshake(#[source] TunnelError),
    /// Its address is in none of the networks that connections may come from.
    #[error("its address is in none of the networks of {setting}")]
    NetworkNotAllowed {
        /// The setting that names them.
        setting: &'static str,
    },
    /// Too many handshakes, or what comes behind them, are under way.
    #[error("{max} {what} are under way already")]
    TooMany {
        /// So many may be.
        max: usize,
        /// What is.
        what: &'static str,
    },
    /// Too many handshakes are under way for one from an address that is not known.
    #[error("{max} handshakes are under way already, more are for addresses that are known")]
    TooManyStrangers {
        /// So many may be.
        max: usize,
    },
    /// Too many are under way from its address.
    #[error("{max} {what} are under way from this address already")]
    TooManyFromSource {
        /// So many may be.
        max: usize,
        /// What is.
        what: &'static str,
    },
    /// Too many are under way of this identity.
    #[error("{max} {what} of {identity} are under way already")]
    TooManyOfIdentity {
        /// So many may be.
        max: usize,
        /// What is.
        what: &'static str,
        /// Who it is.
        identity: Identity,
    },
    /// It asked for nothing in time, or did not take the answer.
    #[error("its {what} was not over within {} s", within.as_secs())]
    Unfinished {
        /// What was waited for.
        what: &'static str,
        /// How long.
        within: Duration,
        /// Who it is, if it said so.
        identity: Option<Identity>,
    },
    /// Too many links stand.
    #[error("{} links are open already", sealift_terms::limits::CONNECTIONS_MAX)]
    TooManyLinks,
    /// Too many links stand with this peer.
    #[error(
        "{} links are open with {identity} already",
        sealift_terms::limits::LINKS_PER_PEER_MAX
    )]
    TooManyLinksOfPeer {
        /// The peer.
        identity: Identity,
    },
    /// It was greeted, and wants what it may not have.
    #[error("{identity}: {why}")]
    NotAdmitted {
        /// The peer.
        identity: Identity,
        /// Why not, in words.
        why: String,
    },
}

/// A connection that was refused, for the log and the audit record.
#[derive(Debug, thiserror::Error)]
#[error("refused a connection from {from}: {cause}")]
pub struct Refused {
    /// Where it came from.
    pub from: SocketAddr,
    /// Why it was refused.
    #[source]
    pub cause: Cause,
}

impl Refused {
    /// The reason code.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match &self.cause {
            Cause::Handshake(error) => error.reason(),
            Cause::TooMany { .. }
            | Cause::TooManyStrangers { .. }
            | Cause::TooManyFromSource { .. }
            | Cause::TooManyOfIdentity { .. }
            | Cause::Unfinished { .. }
            | Cause::TooManyLinks
            | Cause::TooManyLinksOfPeer { .. } => Reason::PeerUnreachable,
            Cause::NetworkNotAllowed { .. } => Reason::PolicyDenied,
            Cause::NotAdmitted { .. } => Reason::PeerProtocolMismatch,
        }
    }

    /// A short fixed word for the cause, by which refusals are counted.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match &self.cause {
            Cause::Handshake(TunnelError::Refused(refusal)) => refusal.cause(),
            Cause::Handshake(TunnelError::TooSlow) => "too_slow",
            Cause::Handshake(TunnelError::Wire(_)) => "bad_hello",
            Cause::Handshake(_) => "cut_off",
            Cause::NetworkNotAllowed { .. } => "network_not_allowed",
            Cause::TooMany { .. } => "too_many",
            Cause::TooManyStrangers { .. } => "too_many_strangers",
            Cause::TooManyFromSource { .. } => "too_many_from_source",
            Cause::TooManyOfIdentity { .. } => "too_many_of_identity",
            Cause::Unfinished { .. } => "too_slow",
            Cause::TooManyLinks => "too_many_links",
            Cause::TooManyLinksOfPeer { .. } => "too_many_links_of_peer",
            Cause::NotAdmitted { .. } => "not_admitted",
        }
    }

    /// Who the peer is, or claims to be, where its certificate was read.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        match &self.cause {
            Cause::Handshake(TunnelError::Refused(refusal)) => refusal.identity(),
            Cause::TooManyLinksOfPeer { identity }
            | Cause::TooManyOfIdentity { identity, .. }
            | Cause::NotAdmitted { identity, .. } => Some(identity),
            Cause::Unfinished { identity, .. } => identity.as_ref(),
            _ => None,
        }
    }
}
