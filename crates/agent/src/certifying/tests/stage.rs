//! A site, an authority that may misbehave, and a desk that shows what is in force.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use rcgen::{CertificateParams, Issuer, KeyPair, PublicKeyData, SanType, SerialNumber};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use sealift_host::{OsDisk, OsRng};
use sealift_identity::{Credentials, Peers, RootAuthority, TlsContext};
use sealift_keys::FactsKey;
use sealift_terms::{Clock, Identity, Region, Rng, Timestamp, limits::CERTIFICATE_BACKDATE_MAX};

use super::super::{CertificateSource, Desk, TakesBundles};
use crate::{
    Error, Metric, Metrics, NewSite, World,
    config::{Config, Source, Template},
    create_site, open_keystore,
};

/// Who the agent is.
pub(super) const AGENT: &str = "spiffe://example.org/region/eu-west/agent/a1";
/// The name that an ACME server knows it by.
pub(super) const NAME: &str = "a1.example.org";

/// A clock that goes with tokio's, and may be set.
#[derive(Debug)]
pub(super) struct SetClock {
    start: tokio::time::Instant,
    base: Mutex<Timestamp>,
}

impl SetClock {
    pub(super) fn now_is(base: Timestamp) -> Arc<Self> {
        Arc::new(Self {
            start: tokio::time::Instant::now(),
            base: Mutex::new(base),
        })
    }

    pub(super) fn jump(&self, by: Duration, back: bool) {
        let mut base = self.base.lock();
        *base = if back { base.minus(by) } else { base.plus(by) };
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        self.base.lock().plus(self.start.elapsed())
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// What an authority gives for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    Good,
    /// It is for another key than was asked for.
    KeyOfAnother,
    /// The text ends in the middle.
    Half,
    OtherAgent,
    Expired,
    /// Valid for longer than 47 days.
    TooLong,
    /// Nobody knows its root.
    ForeignRoot,
    /// It may not be shown by a client.
    ServerOnly,
}

impl Given {
    /// What nobody may ever see.
    pub(super) const BAD: [Self; 7] = [
        Self::KeyOfAnother,
        Self::Half,
        Self::OtherAgent,
        Self::Expired,
        Self::TooLong,
        Self::ForeignRoot,
        Self::ServerOnly,
    ];
}

/// An authority whose issuing key is used as a test likes.
pub(super) struct Forge {
    issuing: CertificateDer<'static>,
    key: KeyPair,
    pub(super) root_pem: String,
}

impl Forge {
    fn new(clock: &dyn Clock) -> Self {
        let root = RootAuthority::generate("example.org", clock, &OsRng).unwrap();
        let region = Region::new("eu-west").unwrap();
        let issuing = root.issuing(&region, clock, &OsRng).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("c"), dir.path().join("k"));
        issuing.save(&certificate, &key).unwrap();
        Self {
            issuing: CertificateDer::from_pem_file(&certificate).unwrap(),
            key: KeyPair::from_pem(&std::fs::read_to_string(key).unwrap()).unwrap(),
            root_pem: root.certificate_pem(),
        }
    }

    fn sign(&self, params: &CertificateParams, key: &impl PublicKeyData) -> String {
        let issuer = Issuer::from_ca_cert_der(&self.issuing, &self.key).unwrap();
        let leaf = params.signed_by(key, &issuer).unwrap();
        format!("{}{}", leaf.pem(), pem(&self.issuing))
    }
}

fn pem(der: &CertificateDer<'_>) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// A site in a directory of its own, and the authority of its certificates.
pub(super) struct Stage {
    pub(super) dir: tempfile::TempDir,
    pub(super) world: World,
    pub(super) authority: Forge,
    foreign: Forge,
    /// How long certificates live.
    pub(super) life: Duration,
}

impl Stage {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Forge::new(&*clock);
        let foreign = Forge::new(&*clock);
        let new = NewSite {
            config: dir.path().join("made.toml"),
            template: Template {
                data_dir: "data".to_owned(),
                ..Template::example()
            },
        };
        let world = World {
            disk: Arc::new(OsDisk),
            clock,
            rng: Arc::new(OsRng),
        };
        create_site(&new, &world).unwrap();
        std::fs::write(dir.path().join("bundle.json"), &authority.root_pem).unwrap();
        Self {
            dir,
            world,
            authority,
            foreign,
            life: Duration::from_secs(3600),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A configuration with this in its `[identity]`, and `more`.
    pub(super) fn config(&self, identity: &str, more: &str) -> Config {
        let identity = format!("trust_bundle = \"bundle.json\"\n{identity}");
        self.config_with(&identity, more)
    }

    /// The same without its trust bundle.
    pub(super) fn config_with(&self, identity: &str, more: &str) -> Config {
        let text = format!(
            "[site]\nname = \"a1\"\nregion = \"eu-west\"\ndata_dir = \"data\"\n\
             [identity]\nagent = \"{AGENT}\"\n{identity}\n\
             [keys]\nroot_key_file = \"root.key\"\n{more}"
        );
        let source = Source {
            path: self.path("sealift.toml"),
            text,
            overrides: Vec::new(),
        };
        Config::check(&source).unwrap()
    }

    pub(super) fn facts(&self, config: &Config) -> FactsKey {
        open_keystore(config, &self.world).unwrap().facts_key()
    }

    /// A chain for a key.
    pub(super) fn issue(&self, key: &impl PublicKeyData, given: Given) -> String {
        let agent: Identity = match given {
            Given::OtherAgent => AGENT.replace("a1", "a2"),
            _ => AGENT.to_owned(),
        }
        .parse()
        .unwrap();
        let life = match given {
            Given::TooLong => Duration::from_secs(48 * 86_400),
            _ => self.life,
        };
        let backdate = (life / 10).min(CERTIFICATE_BACKDATE_MAX);
        let mut begin = self.world.clock.now().minus(backdate);
        if given == Given::Expired {
            begin = begin.minus(life * 2);
        }
        let params = params(&agent, begin, life + backdate, given);
        match given {
            Given::ForeignRoot => self.foreign.sign(&params, key),
            Given::KeyOfAnother => {
                let other = KeyPair::generate().unwrap();
                self.authority.sign(&params, &other)
            }
            Given::Half => {
                let chain = self.authority.sign(&params, key);
                chain[..chain.len() / 3].to_owned()
            }
            _ => self.authority.sign(&params, key),
        }
    }

    /// A pair, both PEM.
    pub(super) fn pair(&self, given: Given) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        (self.issue(&key, given), key.serialize_pem())
    }

    /// Credentials to begin with.
    pub(super) fn credentials(&self) -> Credentials {
        let (chain, key) = self.pair(Given::Good);
        let roots = sealift_identity::TrustBundle::parse(self.authority.root_pem.as_bytes());
        let now = self.world.clock.now();
        Credentials::from_pem(chain.as_bytes(), key.as_bytes(), &roots.unwrap(), now).unwrap()
    }

    /// A desk that asks `source`.
    pub(super) fn desk(self: &Arc<Self>, source: Asked) -> TestDesk {
        let clock = self.world.clock.clone();
        let tls = TlsContext::new(
            Default::default(),
            self.credentials(),
            Peers::default(),
            clock,
        );
        TestDesk {
            stage: self.clone(),
            tls: tls.unwrap(),
            metrics: Metrics::default(),
            source,
            files_changed: Mutex::default(),
        }
    }
}

fn params(agent: &Identity, begin: Timestamp, life: Duration, given: Given) -> CertificateParams {
    use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    let moment = |at: Timestamp| time::OffsetDateTime::from_unix_timestamp(at.as_secs()).unwrap();
    params.not_before = moment(begin);
    params.not_after = moment(begin.plus(life));
    let mut serial = [0; 16];
    OsRng.fill(&mut serial);
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.use_authority_key_identifier_extension = true;
    let uri = SanType::URI(agent.as_str().try_into().unwrap());
    params.subject_alt_names.push(uri);
    // As SPIFFE wants it.
    params.is_ca = rcgen::IsCa::ExplicitNoCa;
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match given {
        Given::ServerOnly => vec![ServerAuth],
        _ => vec![ServerAuth, ClientAuth],
    };
    params
}

/// Makes the source that a desk asks.
pub(super) type Asked = Box<dyn Fn() -> Box<dyn CertificateSource> + Send + Sync>;

/// A desk without an agent around it.
pub(super) struct TestDesk {
    pub(super) stage: Arc<Stage>,
    pub(super) tls: TlsContext,
    pub(super) metrics: Metrics,
    source: Asked,
    /// How often it was told that bundles are others.
    pub(super) files_changed: Mutex<u64>,
}

impl TestDesk {
    pub(super) fn serial(&self) -> String {
        self.tls.credentials().leaf().serial.clone()
    }

    pub(super) fn counted(&self, result: &str) -> u64 {
        let word = (self.source)().word();
        let series = self
            .metrics
            .series(Metric::CertificateRefreshes, &[word, result]);
        series.value()
    }
}

#[async_trait]
impl TakesBundles for TestDesk {
    async fn take(&self, _: &str) {}

    async fn files_changed(&self) {
        *self.files_changed.lock() += 1;
    }
}

#[async_trait]
impl Desk for TestDesk {
    fn world(&self) -> &World {
        &self.stage.world
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn data_dir(&self) -> PathBuf {
        self.stage.path("data")
    }

    fn shown(&self) -> Credentials {
        self.tls.credentials()
    }

    fn source(&self) -> Box<dyn CertificateSource> {
        (self.source)()
    }

    async fn publish(&self, credentials: Credentials, _: &'static str) -> Result<(), Error> {
        Ok(self.tls.publish(credentials)?)
    }
}

/// Writes a secret as those who write secrets should.
pub(super) fn write_secret(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
