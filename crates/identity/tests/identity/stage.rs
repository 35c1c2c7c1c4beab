//! Two authorities, agents, a clock that stands still, and handshakes in memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use rcgen::{CertificateParams, Issuer, KeyPair, SanType, SerialNumber};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error as TlsError, ServerConfig,
    ServerConnection, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use sealift_host::OsRng;
use sealift_identity::{
    ALPN_CONTROL, Credentials, Issued, IssuingAuthority, LeafRequest, PeerTrust, Peers,
    RootAuthority, TlsContext, TlsPolicy, TrustBundle,
};
use sealift_terms::{Clock, Identity, PeerName, Region, Timestamp};

pub const DOMAIN: &str = "example.org";
pub const ALPN: &[&[u8]] = &[ALPN_CONTROL];
pub const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// A clock that is set by hand.
#[derive(Debug)]
pub struct HeldClock(AtomicI64);

impl HeldClock {
    pub fn at(now: Timestamp) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(now.as_millis())))
    }
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_millis(), Ordering::Relaxed);
    }
}

impl Clock for HeldClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

pub fn region(name: &str) -> Region {
    Region::new(name).unwrap()
}

pub fn identity(region: &str, name: &str) -> Identity {
    format!("spiffe://{DOMAIN}/region/{region}/agent/{name}")
        .parse()
        .unwrap()
}

/// A certificate authority with the regions `a` and `b`.
pub struct Ca {
    pub root: RootAuthority,
    pub a: IssuingAuthority,
    pub b: IssuingAuthority,
    pub bundle: TrustBundle,
}

impl Ca {
    pub fn new() -> Self {
        let clock = HeldClock::at(NOW);
        let root = RootAuthority::generate(DOMAIN, &*clock, &OsRng).unwrap();
        Self {
            a: root.issuing(&region("a"), &*clock, &OsRng).unwrap(),
            b: root.issuing(&region("b"), &*clock, &OsRng).unwrap(),
            bundle: root.bundle(1).unwrap(),
            root,
        }
    }

    pub fn issue(&self, identity: &Identity) -> Issued {
        let issuing = if identity.region().as_str() == "a" {
            &self.a
        } else {
            &self.b
        };
        issuing
            .issue(
                &LeafRequest::new(identity.clone()),
                &*HeldClock::at(NOW),
                &OsRng,
            )
            .unwrap()
    }

    pub fn credentials(&self, identity: &Identity) -> Credentials {
        let issued = self.issue(identity);
        credentials(&issued, &self.bundle)
    }

    /// A context of an agent of this authority that trusts `peers`.
    pub fn context(&self, own: &Identity, peers: &[(&Identity, &TrustBundle)]) -> TlsContext {
        let (policy, clock) = (TlsPolicy::default(), HeldClock::at(NOW));
        TlsContext::new(policy, self.credentials(own), trust(peers), clock).unwrap()
    }
}

pub fn credentials(issued: &Issued, bundle: &TrustBundle) -> Credentials {
    let key = issued.private_key_pem.as_ref().unwrap();
    Credentials::from_pem(issued.chain_pem.as_bytes(), key.as_bytes(), bundle, NOW).unwrap()
}

pub fn trust(peers: &[(&Identity, &TrustBundle)]) -> Peers {
    let peer = |(identity, roots): &(&Identity, &TrustBundle)| PeerTrust {
        name: PeerName::new(identity.name().as_str()).unwrap(),
        identity: (*identity).clone(),
        roots: (*roots).clone(),
        demands: Default::default(),
        dns: None,
    };
    Peers::new(peers.iter().map(peer), []).unwrap()
}

/// A certificate that no authority of ours would make, signed with its key all the same.
pub fn forge(issuing: &IssuingAuthority, change: impl FnOnce(&mut CertificateParams)) -> Shown {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("c"), dir.path().join("k"));
    issuing.save(&cert, &key).unwrap();
    let above = CertificateDer::from_pem_file(&cert).unwrap();
    let signer = KeyPair::from_pem(&std::fs::read_to_string(&key).unwrap()).unwrap();
    let issuer = Issuer::from_ca_cert_der(&above, &signer).unwrap();
    let own = KeyPair::generate().unwrap();
    let mut params = leaf_params(&identity("a", "one"));
    change(&mut params);
    let leaf = params.signed_by(&own, &issuer).unwrap();
    Shown {
        chain: vec![leaf.der().clone(), above],
        key: own.serialize_pem(),
    }
}

/// What an honest agent's certificate says, to be spoilt.
pub fn leaf_params(identity: &Identity) -> CertificateParams {
    let mut params = CertificateParams::default();
    let at = |offset| time::OffsetDateTime::from_unix_timestamp(NOW.as_secs() + offset).unwrap();
    params.not_before = at(-300);
    params.not_after = at(86_400);
    params.serial_number = Some(SerialNumber::from_slice(&[7; 16]));
    params.subject_alt_names = vec![SanType::URI(identity.as_str().try_into().unwrap())];
    params.extended_key_usages = vec![
        rcgen::ExtendedKeyUsagePurpose::ServerAuth,
        rcgen::ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params
}

/// A chain and a key that are shown without having been checked.
pub struct Shown {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: String,
}

impl Shown {
    pub fn of(issued: &Issued) -> Self {
        let chain = CertificateDer::pem_slice_iter(issued.chain_pem.as_bytes());
        let key = issued.private_key_pem.as_ref().unwrap().to_string();
        Self {
            chain: chain.collect::<Result<_, _>>().unwrap(),
            key,
        }
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }
}

/// A client of nobody's making: believes any server, shows what it is given.
pub fn stranger(shown: Option<&Shown>, provider: CryptoProvider) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(BelievesAnything));
    let mut config = match shown {
        Some(shown) => builder
            .with_client_auth_cert(shown.chain.clone(), shown.key())
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
    config
}

/// A server of nobody's making: asks for no certificate, resumes sessions.
pub fn strange_server(shown: &Shown) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(shown.chain.clone(), shown.key())
        .unwrap();
    config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
    config
}

#[derive(Debug)]
struct BelievesAnything;

impl ServerCertVerifier for BelievesAnything {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// How a handshake ended on each side.
pub struct Outcome {
    pub client: Result<ClientConnection, TlsError>,
    pub server: Result<ServerConnection, TlsError>,
}

/// A handshake in memory, carried on until nobody has anything more to say.
pub fn handshake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Outcome {
    let mut client = ClientConnection::new(client.clone(), TlsContext::server_name()).unwrap();
    let mut server = ServerConnection::new(server.clone()).unwrap();
    let (mut client_error, mut server_error) = (None, None);
    for _ in 0..8 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() && server_error.is_none() {
            server.read_tls(&mut rest).unwrap();
            server_error = server.process_new_packets().err();
        }
        bytes.clear();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() && client_error.is_none() {
            client.read_tls(&mut rest).unwrap();
            client_error = client.process_new_packets().err();
        }
    }
    Outcome {
        client: client_error.map_or(Ok(client), Err),
        server: server_error.map_or(Ok(server), Err),
    }
}
