//! The configuration after it was checked: nothing in here can be refused by its
//! form any more.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use sealift_forward::{Forward, Target};
use sealift_identity::{AccessRows, Demands, DnsAgent, Grants, Operators, OwnDemands, TlsPolicy};
use sealift_keys::{Pace, ProviderKind};
use sealift_outside::{CredentialsFrom, Endpoint};
use sealift_terms::{
    AccessKeyId, BucketName, Identity, Networks, PartSize, PeerName, PeerQuota, Quota, Region,
    Retention, RuleName, SiteName,
};
use sealift_tunnel::Timetable;

use super::{
    error::Place,
    named::Named,
    places::{SourceFrom, StoreBucket},
};

/// What one agent is to do.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from.
    pub path: PathBuf,
    /// `[site]`.
    pub site: Site,
    /// `[identity]`.
    pub identity: IdentityFiles,
    /// `[keys]`.
    pub root_key: RootKeySource,
    /// `[keys.transit]` and the like: key services beside the keystore.
    pub key_services: KeyServices,
    /// `[tls]`.
    pub tls: TlsPolicy,
    /// `[listen]`: where peers are awaited; without it this agent only dials.
    pub listen: Option<Listen>,
    /// `[admin]`: where health and metrics are shown, on loopback.
    pub admin: Option<SocketAddr>,
    /// `admin.socket`: where operators ask.
    pub operators_socket: Option<PathBuf>,
    /// `[[operator]]`.
    pub operators: Operators,
    /// `[limits]`.
    pub limits: Limits,
    /// `[log]`.
    pub log: Log,
    /// `[watchdog]`: pending work without any acknowledgement for so long is an alarm.
    pub stalled_after: Duration,
    /// `[scrub]`.
    pub scrub: Scrub,
    /// `[ca]`.
    pub ca: Option<Ca>,
    /// `[store.s3]`: the bucket that sealed objects rest in; `data_dir/store` without it.
    pub store: Option<Box<StoreBucket>>,
    /// `[[peer]]`.
    pub peers: Vec<Peer>,
    /// `[[bucket]]`: what is archived here.
    pub buckets: Vec<Bucket>,
    /// `[[source]]`: what is replicated from here.
    pub sources: Vec<BucketSource>,
    /// `[[rule]]`.
    pub rules: Vec<Rule>,
    /// `[[grant]]`.
    pub grants: Grants,
    /// `[endpoint]`: where applications read what is archived here, as S3.
    pub endpoint: Option<EndpointSettings>,
    /// `[[forward]]`: services of peers that are reached here.
    pub forwards: Vec<Forward>,
    /// `[[forward_target]]`: services that peers reach through here.
    pub forward_targets: Vec<Target>,
    /// The files and directories that it names, but for sources.
    pub(crate) named: Vec<Named>,
}

/// `[listen]`, and where `[ca]` listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The address.
    pub address: SocketAddr,
    /// The network interface by which others come; any without it.
    pub interface: Option<String>,
    /// The networks that they come from.
    pub networks: Networks,
}

/// `[site]`.
#[derive(Debug, Clone)]
pub struct Site {
    /// Its name.
    pub name: SiteName,
    /// Its region.
    pub region: Region,
    /// Where it keeps its data.
    pub data_dir: PathBuf,
}

/// `[identity]`.
#[derive(Debug, Clone)]
pub struct IdentityFiles {
    /// The certificate with its chain, PEM.
    pub certificate: PathBuf,
    /// Where that is said.
    pub certificate_place: Place,
    /// Its private key, PEM, readable by its owner alone.
    pub private_key_file: PathBuf,
    /// The roots that this agent's own certificate comes from: what a peer would
    /// refuse is found before it does.
    pub trust_bundle: PathBuf,
    /// Who this agent is, where that is said.
    pub agent: Option<Identity>,
    /// What its certificate is held against.
    pub own: OwnDemands,
    /// Where its certificates come from.
    pub source: CertificatesFrom,
}

/// Where an agent's certificates come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificatesFrom {
    /// Files that somebody else replaces.
    Files,
    /// `[identity.issuer]`: an agent with the embedded authority.
    Issuer(Issuer),
    /// `[identity.acme]`: a server that speaks ACME.
    Acme(Box<Acme>),
    /// `[identity.spiffe]`: the SPIFFE Workload API.
    Spiffe(Spiffe),
}

impl CertificatesFrom {
    /// Its word, in `certs list` and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Issuer(_) => "issuer",
            Self::Acme(_) => "acme",
            Self::Spiffe(_) => "spiffe",
        }
    }

    /// Whether this agent writes its certificates into its data directory.
    #[must_use]
    pub const fn writes(&self) -> bool {
        !matches!(self, Self::Files)
    }
}

/// `[identity.acme]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// Its directory, an https URL.
    pub directory: String,
    /// The roots that vouch for the server, PEM; those of the system for a public authority.
    pub roots_file: Option<PathBuf>,
    /// How the name is proven.
    pub challenge: Challenge,
    /// Where challenges are answered, while there is one.
    pub listen: SocketAddr,
    /// The profile that is asked for.
    pub profile: Option<String>,
    /// The name that is proven.
    pub dns_name: String,
    /// Who the certificate is for.
    pub agent: Identity,
    /// Whether the identity is in the signing request, too.
    pub uri_in_request: bool,
    /// Whether the authority's terms were agreed to.
    pub terms_agreed: bool,
    /// Whom the authority may write to, a `mailto:` URL.
    pub contact: Option<String>,
    /// The account at the authority that this one belongs to.
    pub external: Option<ExternalAccount>,
}

/// How an ACME server sees that a name is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// It asks over HTTP.
    Http01,
    /// It asks in a TLS handshake.
    TlsAlpn01,
}

/// External account binding (RFC 8555, section 7.3.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    /// The key's id.
    pub key_id: String,
    /// The key, base64url, readable by its owner alone.
    pub key_file: PathBuf,
}

/// `[identity.spiffe]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spiffe {
    /// The socket of the Workload API.
    pub socket: PathBuf,
    /// Who the certificate is for: of several the one that says this is taken.
    pub agent: Identity,
}

/// `[identity.issuer]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// Where the issuing agent is, host and port.
    pub address: String,
    /// Who it is.
    pub identity: Identity,
}

/// `[ca]`: this agent issues certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ca {
    /// The authority's directory.
    pub directory: PathBuf,
    /// Where it is asked for certificates.
    pub listen: Listen,
    /// How long they live.
    pub life: Duration,
    /// How long the revocation lists are good for; they are issued anew at a third of that.
    pub crl_life: Duration,
}

/// `[keys]`: what opens the keystore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootKeySource {
    /// A file of 64 hex digits.
    File(PathBuf),
    /// A systemd credential of this name.
    Credential(String),
    /// A file that holds a passphrase.
    PassphraseFile(PathBuf),
    /// A file with what a key service wrapped.
    WrappedFile(PathBuf),
}

/// The key services of a site, one of a sort.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyServices {
    /// `[keys.aws_kms]`.
    pub aws_kms: Option<AwsKmsService>,
    /// `[keys.pkcs11]`.
    pub pkcs11: Option<Pkcs11Token>,
    /// `[keys.transit]`.
    pub transit: Option<TransitService>,
}

impl KeyServices {
    /// The section that a provider's keys need, and whether it is there.
    #[must_use]
    pub fn section(&self, provider: ProviderKind) -> (&'static str, bool) {
        match provider {
            ProviderKind::Transit => ("[keys.transit]", self.transit.is_some()),
            ProviderKind::AwsKms => ("[keys.aws_kms]", self.aws_kms.is_some()),
            ProviderKind::Pkcs11 => ("[keys.pkcs11]", self.pkcs11.is_some()),
            _ => ("[keys]", true),
        }
    }
}

/// `[keys.aws_kms]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsKmsService {
    /// AWS's name of the site's region.
    pub aws_region: Region,
    /// Where it is asked.
    pub endpoint: Endpoint,
    /// Whose credentials sign.
    pub credentials: CredentialsFrom,
    /// The roots that vouch for it, PEM; those of the system without it.
    pub roots_file: Option<PathBuf>,
    /// How it may be asked.
    pub pace: Pace,
}

/// `[keys.pkcs11]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pkcs11Token {
    /// The module, a library.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The user's PIN.
    pub pin_file: PathBuf,
    /// What the module reads and writes.
    pub directories: Vec<PathBuf>,
    /// How it may be asked.
    pub pace: Pace,
}

/// `[keys.transit]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransitService {
    /// The server.
    pub endpoint: Endpoint,
    /// Where the engine is mounted.
    pub mount: String,
    /// The namespace, where the server has some.
    pub namespace: Option<String>,
    /// The token.
    pub token_file: PathBuf,
    /// The roots that vouch for the server, PEM; those of the system without it.
    pub roots_file: Option<PathBuf>,
    /// How it may be asked.
    pub pace: Pace,
}

/// `[limits]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of plaintext in a part.
    pub part_bytes: PartSize,
    /// Data connections to one peer; without it as many as the way to it is long.
    pub connections_per_peer: Option<usize>,
    /// The byte budget of all buffers.
    pub memory_bytes: usize,
    /// How long a shutdown waits for what is in flight.
    pub drain: Duration,
    /// Whether what is sent may be compressed on the way, and what comes may be.
    pub compression: Compression,
}

/// `limits.compression`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Where the line is slower than compressing, and it pays.
    #[default]
    Auto,
    /// Neither what is sent nor what comes.
    Off,
}

impl Compression {
    /// Whether it may happen.
    #[must_use]
    pub fn is_on(self) -> bool {
        self == Self::Auto
    }
}

/// `[scrub]`: how what rests here is looked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scrub {
    /// From the beginning of one pass to that of the next; none begins by itself
    /// without it.
    pub period: Option<Duration>,
    /// Sealed bytes read a second.
    pub rate: u64,
    /// Seconds of every hour that it may take.
    pub budget: Duration,
    /// How long damaged bytes are kept after the version came again.
    pub quarantine_kept: Duration,
    /// How long dead bytes stay in a pack that is less than half dead.
    pub dead_kept: Duration,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// How lines are written.
    pub format: LogFormat,
    /// What is written: `error`, `warn`, `info`, `debug`, `trace`, or per module as in
    /// `info,sealift_tunnel=debug`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: "info".to_owned(),
        }
    }
}

/// For which direction of data this agent dials a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DialFor {
    /// To send to it.
    pub send: bool,
    /// To receive from it.
    pub receive: bool,
    /// To keep connections waiting there on which it opens streams to our targets.
    pub forward_target: bool,
}

/// `[[peer]]`.
#[derive(Debug, Clone)]
pub struct Peer {
    /// What it is called here.
    pub name: PeerName,
    /// Who it must be.
    pub identity: Identity,
    /// `HOST:PORT`; without it this agent waits to be dialled.
    pub address: Option<String>,
    /// The roots that its certificate must come from, and no others.
    pub trust_bundle: PathBuf,
    /// Revocation lists of the CAs that issue its certificates: one that is over or missing
    /// lets it in no more.
    pub crl: Option<PathBuf>,
    /// What else is asked of its certificates.
    pub demands: Demands,
    /// The DNS name that they may say in place of its identity.
    pub dns: Option<DnsAgent>,
    /// For what it is dialled.
    pub dial_for: DialFor,
    /// `[peer.limit]`: bytes a second that may leave for it, over all links together.
    pub limit: Timetable,
    /// `[peer.quota]`: what of it may rest here or be on its way.
    pub quota: PeerQuota,
}

/// `[[bucket]]`.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// Its name.
    pub name: BucketName,
    /// The key that seals it; in two layers, the inner one.
    pub key: NamedKey,
    /// The key of the outer layer, where it is sealed in two.
    pub second_key: Option<NamedKey>,
    /// Whether one key record serves the objects of an hour; otherwise each has its own.
    pub bucket_keys: bool,
    /// How much it may hold.
    pub quota: Quota,
    /// How long it keeps versions.
    pub retention: Retention,
}

/// A key that a bucket names.
#[derive(Debug, Clone)]
pub struct NamedKey {
    /// Its alias or id.
    pub name: String,
    /// Where it is named, for a later refusal.
    pub place: Place,
}

/// `[[source]]`.
#[derive(Debug, Clone)]
pub struct BucketSource {
    /// The bucket its objects are of.
    pub bucket: BucketName,
    /// Where they are.
    pub from: SourceFrom,
    /// Where it is named, for a later refusal.
    pub place: Place,
    /// How often it is scanned whatever the watch says.
    pub scan_interval: Duration,
    /// Whether the endpoint stands in front of it, and how.
    pub front: Option<super::InFront>,
}

/// `[[rule]]`.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name.
    pub name: RuleName,
    /// Which source.
    pub bucket: BucketName,
    /// Only keys that begin so.
    pub prefix: String,
    /// Only versions that have all of these tags when they are first seen.
    pub tags: BTreeMap<String, String>,
    /// Where to.
    pub peers: Vec<PeerName>,
    /// The higher it is, the sooner it counts; it sorts the rules and says no more.
    pub priority: u64,
    /// Whether delete markers are sent as well.
    pub delete_markers: bool,
    /// How long what is to be purged has to be gone from the source; none where nothing is.
    pub version_deletes: Option<Duration>,
    /// Whether what was there before the rule is sent as well.
    pub existing_objects: bool,
    /// Whether replicas are sent to a peer of the region that they come from.
    pub to_origin: bool,
    /// Whether replicas are sent at all.
    pub replicas: bool,
    /// How old the oldest change that waits may be: older ones raise an alarm.
    pub rpo: Option<Duration>,
}

/// `[endpoint]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSettings {
    /// Where applications come.
    pub listen: SocketAddr,
    /// `[[endpoint.key]]`: the keys that they come with.
    pub keys: Vec<AccessKey>,
    /// What each may do.
    pub rows: AccessRows,
}

/// An access key of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// Its id.
    pub id: AccessKeyId,
    /// The file with its secret.
    pub secret_file: PathBuf,
}

/// How the byte budget is divided. What is received never waits for memory that is held by
/// what is sent, nor the other way round: two agents that send to each other could come
/// to wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// For what is received, and read for commands.
    pub receiving: usize,
    /// For what is sent, to all peers.
    pub sending: usize,
    /// For forwarded streams, in both directions.
    pub forwarding: usize,
}

impl Config {
    /// Whether a rule sends to this peer.
    pub(crate) fn sends_to(&self, peer: &PeerName) -> bool {
        self.rules.iter().any(|rule| rule.peers.contains(peer))
    }

    /// The shares of `limits.memory_bytes`, together no more than that.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let forwarding = match self.forwards_at_all() {
            true => self.limits.memory_bytes / 5,
            false => 0,
        };
        let all = self.limits.memory_bytes - forwarding;
        let sending = match (self.sources.is_empty(), self.buckets.is_empty()) {
            (true, _) => 0,
            (false, false) => all / 5 * 2,
            // The rest is for commands that read.
            (false, true) => all / 5 * 4,
        };
        Memory {
            receiving: all - sending,
            sending,
            forwarding,
        }
    }

    /// Whether there are forwarded streams at all.
    #[must_use]
    pub fn forwards_at_all(&self) -> bool {
        !self.forwards.is_empty() || !self.forward_targets.is_empty()
    }

    /// The agent's socket in its data directory.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.site.data_dir.join(crate::SOCKET_FILE)
    }

    /// The peer of this name.
    #[must_use]
    pub fn peer(&self, name: &PeerName) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.name == *name)
    }
}
