//! The two sides of a handshake, as rustls asks them about certificates.

use std::sync::Arc;

use rustls::{
    DigitallySignedStruct, DistinguishedName, Error as TlsError, PeerIncompatible, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sealift_terms::Identity;

use crate::{
    bundle::TrustBundle,
    certificate::{Leaf, public_key_hash},
    chain::Purpose,
    peers::Peers,
    refusal::Refusal,
};

/// What both sides of a handshake say of signatures: TLS 1.3 alone.
macro_rules! tls13_signatures {
    ($incompatible:ident) => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _certificate: &CertificateDer<'_>,
            _signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, TlsError> {
            Err(PeerIncompatible::$incompatible.into())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, TlsError> {
            verify_tls13_signature(message, certificate, signature, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

/// What the answering side asks of the one that dials: to be any configured peer.
#[derive(Debug)]
pub(crate) struct AnyPeer {
    pub(crate) peers: Arc<Peers>,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
}

/// What the dialling side asks of the one that answers: to be the peer that was dialled.
#[derive(Debug)]
pub(crate) struct ThePeer {
    pub(crate) expected: Identity,
    pub(crate) peers: Arc<Peers>,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyPeer {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A stranger is not told whom this site trusts.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        self.peers.verify(
            end_entity,
            intermediates,
            Purpose::Client,
            now,
            &self.algorithms,
        )?;
        Ok(ClientCertVerified::assertion())
    }

    tls13_signatures!(SupportedVersionsExtensionRequired);
}

impl ServerCertVerifier for ThePeer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let leaf = self.peers.verify(
            end_entity,
            intermediates,
            Purpose::Server,
            now,
            &self.algorithms,
        )?;
        hold(&self.expected, leaf)?;
        Ok(ServerCertVerified::assertion())
    }

    tls13_signatures!(ServerTlsVersionIsDisabledByOurConfig);
}

/// What the issuing side of an enrolment asks of the one that dials: if it shows a
/// certificate, one of the authority's, whoever it is. It may be over for as long as its
/// grace: what it is good for then is decided where it is asked for something.
#[derive(Debug)]
pub(crate) struct AnyAgent {
    pub(crate) roots: TrustBundle,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
}

/// What a new agent asks of the issuing one, of whose authority it knows one key or two.
#[derive(Debug)]
pub(crate) struct TheIssuer {
    pub(crate) expected: Identity,
    pub(crate) ca_keys: Vec<[u8; 32]>,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyAgent {
    fn client_auth_mandatory(&self) -> bool {
        // A new agent has none yet.
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        self.roots
            .verify_renewable(end_entity, intermediates, now, &self.algorithms)?;
        Ok(ClientCertVerified::assertion())
    }

    tls13_signatures!(SupportedVersionsExtensionRequired);
}

impl ServerCertVerifier for TheIssuer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let identity = Leaf::parse(end_entity)?.identity;
        let untrusted = || Refusal::UntrustedIssuer {
            identity: identity.clone(),
        };
        // The roots come with the chain; they count for their keys alone.
        let is_pinned = |root: &&CertificateDer<'_>| {
            public_key_hash(root).is_ok_and(|hash| self.ca_keys.contains(&hash))
        };
        let roots = intermediates.iter().filter(is_pinned);
        let roots = roots.map(|root| root.clone().into_owned()).collect();
        let roots = TrustBundle::new(None, 0, roots).map_err(|_| untrusted())?;
        // They are no part of what the issuing agent's certificate is held to.
        let above = intermediates.iter().filter(|it| !is_pinned(it)).cloned();
        let above: Vec<_> = above.collect();
        let purpose = Purpose::Server;
        let leaf = roots.verify(end_entity, &above, purpose, now, &self.algorithms)?;
        hold(&self.expected, leaf)?;
        Ok(ServerCertVerified::assertion())
    }

    tls13_signatures!(ServerTlsVersionIsDisabledByOurConfig);
}

/// Refuses whoever is another than the one that was dialled.
fn hold(expected: &Identity, leaf: Leaf) -> Result<(), Refusal> {
    match leaf.identity == *expected {
        true => Ok(()),
        false => Err(Refusal::OtherIdentity {
            expected: expected.clone(),
            found: leaf.identity,
        }),
    }
}
