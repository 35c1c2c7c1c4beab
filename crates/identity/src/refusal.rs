//! Why a peer is refused, in words that a log line and an audit record carry.

use std::{error::Error as StdError, io};

use rustls::{
    AlertDescription, CertificateError, Error as TlsError, InvalidMessage, OtherError,
    PeerIncompatible,
};
use sealift_terms::{Identity, Reason, Timestamp};

use crate::certificate::Leaf;

/// Why a handshake or a session with a peer came to nothing.
///
/// Our verifiers give these to rustls as its error's source; [`Refusal::of`] gets
/// them back, and puts every other error of a handshake into the same words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The peer sent no certificate.
    #[error("the peer presented no certificate")]
    NoCertificate,
    /// The peer sent something that is no certificate.
    #[error("the peer's certificate cannot be read: {what}")]
    MalformedCertificate {
        /// What is wrong with it.
        what: String,
    },
    /// The certificate names no agent.
    #[error("the peer's certificate names no agent: {what}")]
    NoIdentity {
        /// What is wrong with its names.
        what: String,
    },
    /// No configured peer has this identity.
    #[error("{identity} is not the identity of any configured peer")]
    UnknownIdentity {
        /// Who the certificate is for.
        identity: Identity,
    },
    /// Another agent answered than the one that was dialled.
    #[error("{found} answered where {expected} was expected")]
    OtherIdentity {
        /// Who was dialled.
        expected: Identity,
        /// Who answered.
        found: Identity,
    },
    /// The identity is on this site's deny list.
    #[error("{identity} is on this site's deny list")]
    Denied {
        /// Who is denied.
        identity: Identity,
    },
    /// The certificate was revoked by its authority.
    #[error("the certificate of {identity} with serial {serial} is revoked")]
    Revoked {
        /// Who the certificate is for.
        identity: Identity,
        /// Its serial number.
        serial: String,
    },
    /// The list that would say whether the certificate is revoked is over.
    #[error(
        "whether the certificate of {identity} is revoked is not known: the revocation list ended, it is {now} here"
    )]
    StaleRevocationList {
        /// Who the certificate is for.
        identity: Identity,
        /// This machine's time.
        now: Timestamp,
    },
    /// No list that was given is of the CA that issued the certificate.
    #[error(
        "whether the certificate of {identity} is revoked is not known: no revocation list is of the CA that issued it"
    )]
    NoRevocationList {
        /// Who the certificate is for.
        identity: Identity,
    },
    /// The certificate comes from a certificate authority that this peer has no trust in.
    #[error(
        "the certificate that claims to be {identity} comes from a certificate authority that is not trusted for that peer"
    )]
    UntrustedIssuer {
        /// Who the certificate claims to be for. Not proven.
        identity: Identity,
    },
    /// An issuing CA of one region signed for another, or the root signed an agent itself.
    #[error("the certificate of {identity} was issued by {issuer}, not by its region's issuing CA")]
    RegionMismatch {
        /// Who the certificate is for.
        identity: Identity,
        /// The issuing CA's URI, or what stands in its place.
        issuer: String,
    },
    /// The certificate is no longer valid.
    #[error("the certificate of {identity} expired at {not_after}, it is {now} here")]
    Expired {
        /// Who the certificate is for.
        identity: Identity,
        /// The end of its validity.
        not_after: Timestamp,
        /// This machine's time.
        now: Timestamp,
    },
    /// The certificate is not valid yet: one of the clocks is wrong.
    #[error(
        "the certificate of {identity} is valid from {not_before}, it is {now} here: compare both clocks"
    )]
    NotYetValid {
        /// Who the certificate is for.
        identity: Identity,
        /// The start of its validity.
        not_before: Timestamp,
        /// This machine's time.
        now: Timestamp,
    },
    /// A certificate above the peer's own is not valid at this time.
    #[error("the certificate of the issuing CA of {identity} is not valid at {now}")]
    IssuerNotValid {
        /// Who the certificate is for.
        identity: Identity,
        /// This machine's time.
        now: Timestamp,
    },
    /// The certificate is valid for more than 47 days.
    #[error(
        "the certificate of {identity} is valid for {days} days and more: {days_max} days are allowed"
    )]
    LifetimeTooLong {
        /// Who the certificate is for.
        identity: Identity,
        /// Whole days of its validity period.
        days: u64,
        /// Whole days that are allowed.
        days_max: u64,
    },
    /// The certificate lacks an extended key usage.
    #[error("the certificate of {identity} lacks the key usage {missing}")]
    WrongPurpose {
        /// Who the certificate is for.
        identity: Identity,
        /// The usage that is missing: `clientAuth` or `serverAuth`.
        missing: &'static str,
    },
    /// The chain of certificates does not hold.
    #[error("the certificate chain of {identity} does not hold: {what}")]
    BadChain {
        /// Who the certificate is for.
        identity: Identity,
        /// Where it breaks.
        what: String,
    },
    /// The peer does not speak TLS 1.3.
    #[error("the peer offers only TLS versions older than 1.3")]
    OldTls,
    /// None of the peer's cipher suites is on our list.
    #[error("the peer offers no cipher suite that is on the allow-list")]
    NoCommonSuite,
    /// None of the peer's groups is on our list.
    #[error("the peer offers no key-exchange group that is on the allow-list")]
    NoCommonGroup,
    /// The peer speaks another protocol over TLS.
    #[error("the peer does not speak sealift's protocol (ALPN)")]
    NoCommonProtocol,
    /// The bytes are not TLS.
    #[error("the peer sent plaintext or another protocol, not TLS")]
    NotTls,
    /// The peer's TLS breaks the rules, or lacks something that we need.
    #[error("the peer's TLS is not acceptable: {what}")]
    BadTls {
        /// What the TLS library says.
        what: String,
    },
    /// The peer refused us.
    #[error("the peer refused this side: {hint} (alert {alert})")]
    ByPeer {
        /// The alert's name.
        alert: String,
        /// What it means here.
        hint: &'static str,
        /// The reason it leads to.
        reason: Reason,
    },
}

impl Refusal {
    pub(crate) fn revoked(leaf: &Leaf) -> Self {
        Self::Revoked {
            identity: leaf.identity.clone(),
            serial: leaf.serial.clone(),
        }
    }

    /// The words for any error of a handshake.
    #[must_use]
    pub fn of(error: &TlsError) -> Self {
        match error {
            TlsError::InvalidCertificate(error) => of_certificate(error),
            TlsError::NoCertificatesPresented => Self::NoCertificate,
            TlsError::PeerIncompatible(what) => of_incompatible(what),
            TlsError::NoApplicationProtocol => Self::NoCommonProtocol,
            TlsError::InvalidMessage(what) => of_message(what),
            TlsError::AlertReceived(alert) => of_alert(*alert),
            TlsError::PeerSentOversizedRecord => Self::NotTls,
            other => Self::BadTls {
                what: other.to_string(),
            },
        }
    }

    /// The words for an I/O error that carries a TLS error, as `tokio-rustls` gives
    /// them. None when the connection itself failed.
    #[must_use]
    pub fn of_io(error: &io::Error) -> Option<Self> {
        let inner = error.get_ref()?;
        inner.downcast_ref::<TlsError>().map(Self::of)
    }

    /// The reason code it leads to.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Expired { .. } => Reason::PeerCertificateExpired,
            Self::NotYetValid { .. } => Reason::ClockSkew,
            Self::OldTls
            | Self::NoCommonSuite
            | Self::NoCommonGroup
            | Self::NoCommonProtocol
            | Self::NotTls
            | Self::BadTls { .. } => Reason::PeerProtocolMismatch,
            Self::ByPeer { reason, .. } => *reason,
            _ => Reason::PeerIdentityRefused,
        }
    }

    /// A short fixed word for the cause, by which refusals are counted.
    #[must_use]
    pub fn cause(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::MalformedCertificate { .. } => "malformed_certificate",
            Self::NoIdentity { .. } => "no_identity",
            Self::UnknownIdentity { .. } => "unknown_identity",
            Self::OtherIdentity { .. } => "other_identity",
            Self::Denied { .. } => "denied",
            Self::Revoked { .. } => "revoked",
            Self::StaleRevocationList { .. } => "stale_crl",
            Self::NoRevocationList { .. } => "no_crl",
            Self::UntrustedIssuer { .. } => "untrusted_issuer",
            Self::RegionMismatch { .. } => "region_mismatch",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::IssuerNotValid { .. } => "issuer_not_valid",
            Self::LifetimeTooLong { .. } => "lifetime_too_long",
            Self::WrongPurpose { .. } => "wrong_purpose",
            Self::BadChain { .. } => "bad_chain",
            Self::OldTls => "old_tls",
            Self::NoCommonSuite => "no_common_suite",
            Self::NoCommonGroup => "no_common_group",
            Self::NoCommonProtocol => "no_common_protocol",
            Self::NotTls => "not_tls",
            Self::BadTls { .. } => "bad_tls",
            Self::ByPeer { .. } => "refused_by_peer",
        }
    }

    /// Who the peer is, or claims to be: the identity in its certificate, where it was read.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::UnknownIdentity { identity }
            | Self::OtherIdentity {
                found: identity, ..
            }
            | Self::Denied { identity }
            | Self::Revoked { identity, .. }
            | Self::StaleRevocationList { identity, .. }
            | Self::NoRevocationList { identity }
            | Self::UntrustedIssuer { identity }
            | Self::RegionMismatch { identity, .. }
            | Self::Expired { identity, .. }
            | Self::NotYetValid { identity, .. }
            | Self::IssuerNotValid { identity, .. }
            | Self::LifetimeTooLong { identity, .. }
            | Self::WrongPurpose { identity, .. }
            | Self::BadChain { identity, .. } => Some(identity),
            _ => None,
        }
    }
}

impl From<Refusal> for TlsError {
    fn from(refusal: Refusal) -> Self {
        // The alert is always `certificate_unknown`: a stranger is not told which check failed.
        Self::InvalidCertificate(CertificateError::Other(OtherError(std::sync::Arc::new(
            refusal,
        ))))
    }
}

fn of_certificate(error: &CertificateError) -> Refusal {
    match error {
        CertificateError::Other(OtherError(source)) => match source.downcast_ref::<Refusal>() {
            Some(refusal) => refusal.clone(),
            None => Refusal::MalformedCertificate {
                what: source.to_string(),
            },
        },
        CertificateError::BadSignature => Refusal::BadTls {
            what: "the handshake is not signed by the key in the certificate".to_owned(),
        },
        other => Refusal::MalformedCertificate {
            what: other.to_string(),
        },
    }
}

fn of_incompatible(what: &PeerIncompatible) -> Refusal {
    use PeerIncompatible as P;
    match what {
        P::Tls12NotOffered
        | P::Tls12NotOfferedOrEnabled
        | P::SupportedVersionsExtensionRequired
        | P::ServerDoesNotSupportTls12Or13
        | P::ServerTlsVersionIsDisabledByOurConfig => Refusal::OldTls,
        P::NoCipherSuitesInCommon => Refusal::NoCommonSuite,
        P::NoKxGroupsInCommon | P::NamedGroupsExtensionRequired | P::KeyShareExtensionRequired => {
            Refusal::NoCommonGroup
        }
        other => Refusal::BadTls {
            what: format!("{other:?}"),
        },
    }
}

fn of_message(what: &InvalidMessage) -> Refusal {
    match what {
        InvalidMessage::InvalidContentType
        | InvalidMessage::UnknownProtocolVersion
        | InvalidMessage::InvalidEmptyPayload
        | InvalidMessage::MessageTooLarge => Refusal::NotTls,
        other => Refusal::BadTls {
            what: format!("{other:?}"),
        },
    }
}

fn of_alert(alert: AlertDescription) -> Refusal {
    use AlertDescription as A;
    let (hint, reason) = match alert {
        A::CertificateUnknown
        | A::BadCertificate
        | A::UnsupportedCertificate
        | A::UnknownCA
        | A::AccessDenied
        | A::CertificateRevoked => (
            "it does not accept this side's certificate; its log says why",
            Reason::PeerIdentityRefused,
        ),
        A::CertificateRequired | A::NoCertificate => (
            "it wants a certificate of this side",
            Reason::PeerIdentityRefused,
        ),
        A::CertificateExpired => (
            "this side's certificate has expired",
            Reason::PeerCertificateExpired,
        ),
        A::ProtocolVersion => ("it speaks no TLS 1.3", Reason::PeerProtocolMismatch),
        A::HandshakeFailure | A::InsufficientSecurity => (
            "the two sides have no cipher suite or group in common",
            Reason::PeerProtocolMismatch,
        ),
        A::NoApplicationProtocol => (
            "it does not speak sealift's protocol (ALPN)",
            Reason::PeerProtocolMismatch,
        ),
        _ => ("it broke the handshake off", Reason::PeerProtocolMismatch),
    };
    Refusal::ByPeer {
        alert: format!("{alert:?}"),
        hint,
        reason,
    }
}

/// Finds a [`Refusal`] anywhere among an error's sources.
#[must_use]
pub fn find_refusal(error: &(dyn StdError + 'static)) -> Option<Refusal> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(refusal) = error.downcast_ref::<Refusal>() {
            return Some(refusal.clone());
        }
        if let Some(tls) = error.downcast_ref::<TlsError>() {
            return Some(Refusal::of(tls));
        }
        if let Some(io) = error.downcast_ref::<io::Error>()
            && let Some(refusal) = Refusal::of_io(io)
        {
            return Some(refusal);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_comes_back_out_of_a_tls_error_and_an_io_error() {
        let identity: Identity = "spiffe://d/region/a/agent/b".parse().unwrap();
        let refusal = Refusal::Denied { identity };
        let tls = TlsError::from(refusal.clone());
        assert_eq!(Refusal::of(&tls), refusal);
        let io = io::Error::new(io::ErrorKind::InvalidData, tls);
        assert_eq!(Refusal::of_io(&io), Some(refusal.clone()));
        assert_eq!(find_refusal(&io), Some(refusal));
        assert_eq!(
            Refusal::of_io(&io::Error::from(io::ErrorKind::BrokenPipe)),
            None
        );
    }

    #[test]
    fn alerts_of_the_peer_lead_to_reasons() {
        for (alert, reason) in [
            (
                AlertDescription::CertificateUnknown,
                Reason::PeerIdentityRefused,
            ),
            (
                AlertDescription::CertificateRequired,
                Reason::PeerIdentityRefused,
            ),
            (
                AlertDescription::CertificateExpired,
                Reason::PeerCertificateExpired,
            ),
            (
                AlertDescription::ProtocolVersion,
                Reason::PeerProtocolMismatch,
            ),
            (
                AlertDescription::HandshakeFailure,
                Reason::PeerProtocolMismatch,
            ),
            (
                AlertDescription::NoApplicationProtocol,
                Reason::PeerProtocolMismatch,
            ),
        ] {
            assert_eq!(
                Refusal::of(&TlsError::AlertReceived(alert)).reason(),
                reason,
                "{alert:?}"
            );
        }
    }
}
