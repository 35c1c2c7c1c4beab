//! Ready TLS configurations, made from what is in force at the moment.

use std::{collections::BTreeSet, fmt, ops::Deref, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use rustls::{
    ClientConfig, ConfigBuilder, ServerConfig, SignatureScheme, WantsVerifier,
    client::{ResolvesClientCert, Resumption},
    crypto::CryptoProvider,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
    time_provider::TimeProvider,
    version::TLS13,
};
use rustls_pki_types::{DnsName, ServerName, UnixTime};
use sealift_terms::{Clock, Identity, Timestamp};

use crate::{
    certificate::Leaf,
    chain::unix_time,
    credentials::Credentials,
    error::IdentityError,
    peers::Peers,
    policy::TlsPolicy,
    refusal::Refusal,
    session::Session,
    verifier::{AnyPeer, ThePeer},
};

/// The application protocol of control connections.
pub const ALPN_CONTROL: &[u8] = b"sealift/1";
/// The application protocol of data connections.
pub const ALPN_DATA: &[u8] = b"sealift-data/1";
/// The application protocol of connections that carry a forwarded stream.
pub const ALPN_FORWARD: &[u8] = b"sealift-forward/1";

/// What one connection is made with: a configuration for rustls, and the
/// certificate of ours that it shows.
#[derive(Debug, Clone)]
pub struct Prepared<C> {
    /// The configuration.
    pub config: Arc<C>,
    /// What our certificate in it says, and who the peers are.
    pub own: Own,
}

/// This side of a connection: what its certificate says, and whom it knows by what.
#[derive(Debug, Clone)]
pub struct Own {
    pub(crate) leaf: Arc<Leaf>,
    pub(crate) peers: Arc<Peers>,
}

impl Deref for Own {
    type Target = Leaf;

    fn deref(&self) -> &Leaf {
        &self.leaf
    }
}

/// Hands out TLS configurations. Certificates, peers and the deny list can be
/// replaced at any time; every configuration that is handed out afterwards has
/// the new ones, connections that stand already keep what they began with until
/// [`TlsContext::check_session`] says otherwise.
pub struct TlsContext {
    clock: Arc<dyn Clock>,
    provider: Arc<CryptoProvider>,
    policy: TlsPolicy,
    server: ConfigBuilder<ServerConfig, WantsVerifier>,
    client: ConfigBuilder<ClientConfig, WantsVerifier>,
    current: ArcSwap<Current>,
}

#[derive(Clone)]
struct Current {
    credentials: Credentials,
    peers: Arc<Peers>,
}

impl Current {
    fn own(&self) -> Own {
        Own {
            leaf: self.credentials.leaf().clone(),
            peers: self.peers.clone(),
        }
    }
}

/// Credentials and peers that can be put in force together.
pub struct Accepted(Current);

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Accepted(..)")
    }
}

impl TlsContext {
    /// A context from checked parts.
    ///
    /// # Errors
    /// [`IdentityError::Tls`] when rustls does not take the policy.
    pub fn new(
        policy: TlsPolicy,
        credentials: Credentials,
        peers: Peers,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, IdentityError> {
        let provider = policy.provider();
        let time: Arc<dyn TimeProvider> = Arc::new(ClockTime(clock.clone()));
        let server = ServerConfig::builder_with_details(provider.clone(), time.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(IdentityError::Tls)?;
        let client = ClientConfig::builder_with_details(provider.clone(), time)
            .with_protocol_versions(&[&TLS13])
            .map_err(IdentityError::Tls)?;
        let current = ArcSwap::from_pointee(Current {
            credentials,
            peers: Arc::new(peers),
        });
        Ok(Self {
            clock,
            provider,
            policy,
            server,
            client,
            current,
        })
    }

    /// The configuration to answer any configured peer with, for the protocols `alpn`.
    #[must_use]
    pub fn server(&self, alpn: &[&[u8]]) -> Prepared<ServerConfig> {
        let current = self.current.load();
        let verifier = AnyPeer {
            peers: current.peers.clone(),
            algorithms: self.provider.signature_verification_algorithms,
        };
        let mut config = self
            .server
            .clone()
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(OwnKey(current.credentials.certified().clone())));
        restrict_server(&mut config, alpn);
        config.enable_secret_extraction = moves_records(alpn);
        Prepared {
            config: Arc::new(config),
            own: current.own(),
        }
    }

    /// The configuration to dial one peer with, for the protocols `alpn`.
    ///
    /// # Errors
    /// [`IdentityError::UnknownPeer`] when no such peer is configured.
    pub fn client(
        &self,
        peer: &Identity,
        alpn: &[&[u8]],
    ) -> Result<Prepared<ClientConfig>, IdentityError> {
        let current = self.current.load();
        if current.peers.find(peer).is_none() {
            return Err(IdentityError::UnknownPeer {
                identity: peer.clone(),
            });
        }
        let verifier = ThePeer {
            expected: peer.clone(),
            peers: current.peers.clone(),
            algorithms: self.provider.signature_verification_algorithms,
        };
        let mut config = self
            .client
            .clone()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(OwnKey(current.credentials.certified().clone())));
        restrict_client(&mut config, alpn);
        config.enable_secret_extraction = moves_records(alpn);
        Ok(Prepared {
            config: Arc::new(config),
            own: current.own(),
        })
    }

    /// The name that rustls wants when it dials. It is neither sent nor checked:
    /// the peer is known by its identity.
    #[must_use]
    pub fn server_name() -> ServerName<'static> {
        match DnsName::try_from("peer.sealift.invalid") {
            Ok(name) => ServerName::DnsName(name),
            Err(_) => ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()),
        }
    }

    /// Whether these are what is in force. The deny list is not compared.
    #[must_use]
    pub fn has_in_force(&self, credentials: &Credentials, peers: &Peers) -> bool {
        let current = self.current.load();
        current.credentials.shows_the_same(credentials) && current.peers.trusts_the_same(peers)
    }

    /// Looks whether credentials and peers can be put in force, and changes nothing.
    ///
    /// # Errors
    /// [`IdentityError::IdentityChanged`] when the credentials are for another agent.
    pub fn accept(
        &self,
        credentials: Credentials,
        peers: Peers,
    ) -> Result<Accepted, IdentityError> {
        self.hold_identity(&credentials)?;
        Ok(Accepted(Current {
            credentials,
            peers: Arc::new(peers),
        }))
    }

    /// Puts credentials and peers in force together, for every later connection.
    pub fn put_in_force(&self, accepted: Accepted) {
        self.current.store(Arc::new(accepted.0));
    }

    fn hold_identity(&self, credentials: &Credentials) -> Result<(), IdentityError> {
        let expected = self.credentials().leaf().identity.clone();
        let found = credentials.leaf().identity.clone();
        match expected == found {
            true => Ok(()),
            false => Err(IdentityError::IdentityChanged { expected, found }),
        }
    }

    /// Puts new credentials in force for every later connection.
    ///
    /// # Errors
    /// [`IdentityError::IdentityChanged`] when they are for another agent: the old ones stay.
    pub fn publish(&self, credentials: Credentials) -> Result<(), IdentityError> {
        self.hold_identity(&credentials)?;
        self.current.rcu(|current| Current {
            credentials: credentials.clone(),
            peers: current.peers.clone(),
        });
        Ok(())
    }

    /// Puts other peers, roots and deny list in force.
    pub fn set_peers(&self, peers: Peers) {
        let peers = Arc::new(peers);
        self.current.rcu(|current| Current {
            credentials: current.credentials.clone(),
            peers: peers.clone(),
        });
    }

    /// Puts another deny list in force, and nothing else.
    pub fn set_denied(&self, denied: &BTreeSet<Identity>) {
        self.current.rcu(|current| Current {
            credentials: current.credentials.clone(),
            peers: Arc::new(current.peers.with_denied(denied.clone())),
        });
    }

    /// The credentials in force.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        self.current.load().credentials.clone()
    }

    /// The peers in force.
    #[must_use]
    pub fn peers(&self) -> Arc<Peers> {
        self.current.load().peers.clone()
    }

    /// The allow-lists.
    #[must_use]
    pub fn policy(&self) -> &TlsPolicy {
        &self.policy
    }

    /// Whether a connection that stands may go on: its peer is still configured and
    /// not denied, its certificate not revoked, and neither certificate has expired. To be asked every few seconds.
    ///
    /// # Errors
    /// [`Refusal`] says why it has to be closed.
    pub fn check_session(&self, session: &Session) -> Result<(), Refusal> {
        let peers = self.peers();
        let identity = session.peer.identity.clone();
        if peers.is_denied(&identity) {
            return Err(Refusal::Denied { identity });
        }
        if peers.find(&identity).is_none() {
            return Err(Refusal::UnknownIdentity { identity });
        }
        if peers.is_revoked(&session.peer) {
            return Err(Refusal::revoked(&session.peer));
        }
        let now = self.clock.now();
        match [&session.own, &session.peer]
            .into_iter()
            .find(|leaf| leaf.is_over(now))
        {
            Some(leaf) => Err(Refusal::Expired {
                identity: leaf.identity.clone(),
                not_after: leaf.not_after,
                now,
            }),
            None => Ok(()),
        }
    }

    /// Until when our certificate is valid, and how long that is from now.
    #[must_use]
    pub fn expiry(&self) -> (Timestamp, Duration) {
        let not_after = self.credentials().leaf().not_after;
        (not_after, not_after.since(self.clock.now()))
    }
}

impl fmt::Debug for TlsContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsContext")
            .field("policy", &self.policy)
            .field("credentials", &self.credentials())
            .finish_non_exhaustive()
    }
}

/// Our key and certificate, whatever the other side says it would like.
#[derive(Debug)]
struct OwnKey(Arc<CertifiedKey>);

impl ResolvesServerCert for OwnKey {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

impl ResolvesClientCert for OwnKey {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Takes away from an answering side what would outlive the certificates.
pub(crate) fn restrict_server(config: &mut ServerConfig, alpn: &[&[u8]]) {
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    // A resumed session would skip the certificates, and outlive expiry and revocation.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    // Our order of preference counts, not a stranger's.
    config.ignore_client_order = true;
}

/// The same for a dialling side.
pub(crate) fn restrict_client(config: &mut ClientConfig, alpn: &[&[u8]]) {
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    // Peers are known by identity, not by a name that any listener on the way could read.
    config.enable_sni = false;
}

/// Whether the connection's keys are given to the one who moves its records: on links of
/// data and of forwarded streams, never on control links.
fn moves_records(alpn: &[&[u8]]) -> bool {
    matches!(alpn, [ALPN_DATA | ALPN_FORWARD])
}

/// Our clock, as rustls asks for the time.
#[derive(Debug)]
pub(crate) struct ClockTime(pub(crate) Arc<dyn Clock>);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.0.now()))
    }
}
