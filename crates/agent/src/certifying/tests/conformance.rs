//! What every source of certificates promises, each held to the same suite.

use std::{fs, os::unix::fs::symlink, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rcgen::CertificateSigningRequestParams;
use sealift_host::OsClock;
use sealift_identity::{TlsPolicy, TrustBundle, issuing_server};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{
    super::{load_credentials, source_of, turn},
    acme_server::AcmeServer,
    free_address,
    stage::{AGENT, Given, Stage, TestDesk, write_secret},
};
use crate::config::Config;

/// A source of which a test decides what it gives next.
#[async_trait]
pub(super) trait Rig: Send {
    fn stage(&self) -> &Arc<Stage>;
    fn config(&self) -> Config;
    async fn give(&mut self, given: Given);
    /// Whether what was refused is still where a restart would look for it.
    fn keeps_what_is_bad(&self) -> bool;
}

/// A site that dials: what a client cannot show is no good to it.
pub(super) const DIALS: &str = "[[peer]]\nname = \"b\"\n\
                     identity = \"spiffe://example.org/region/b/agent/b\"\n\
                     trust_bundle = \"bundle.json\"\naddress = \"127.0.0.1:1\"\n";

/// The suite.
pub(super) async fn conforms(rig: &mut dyn Rig) {
    let stage = rig.stage().clone();
    let config = rig.config();
    let (facts, asked) = (stage.facts(&config), config.clone());
    let world = stage.world.clone();
    let desk = stage.desk(Box::new(move || source_of(&asked, &world, &facts)));
    let mut last = takes(rig, &desk, "").await;
    for bad in Given::BAD {
        rig.give(bad).await;
        let (refused, counted) = (refusals(&desk), desk.serial());
        let error = turn(&desk).await.expect_err(&format!("{bad:?} was taken"));
        assert_eq!(desk.serial(), counted, "{bad:?} is shown: {error}");
        assert_eq!(refusals(&desk), refused + 1, "{bad:?}");
        // A restart shows none of it either.
        match load_credentials(&config, &stage.world) {
            Ok(loaded) => assert_eq!(loaded.leaf().serial, last, "{bad:?}"),
            Err(error) => assert!(rig.keeps_what_is_bad(), "{bad:?}: {error}"),
        }
        last = takes(rig, &desk, &last).await;
    }
}

/// A good pair is taken, and another one each time.
async fn takes(rig: &mut dyn Rig, desk: &TestDesk, last: &str) -> String {
    rig.give(Given::Good).await;
    let key = desk.tls.credentials();
    assert!(turn(desk).await.unwrap());
    let serial = desk.serial();
    assert_ne!(serial, last);
    assert!(!key.shows_the_same(&desk.tls.credentials()));
    let config = rig.config();
    let loaded = load_credentials(&config, &rig.stage().world).unwrap();
    assert_eq!(loaded.leaf().serial, serial);
    serial
}

fn refusals(desk: &TestDesk) -> u64 {
    desk.counted("failed") + desk.counted("refused")
}

fn stage() -> Arc<Stage> {
    Arc::new(Stage::new(Arc::new(OsClock)))
}

/// Files that are written one after the other, as an operator does.
struct PlainFiles(Arc<Stage>);

#[async_trait]
impl Rig for PlainFiles {
    fn stage(&self) -> &Arc<Stage> {
        &self.0
    }

    fn config(&self) -> Config {
        let files = "certificate = \"tls.crt\"\nprivate_key_file = \"tls.key\"";
        self.0.config(files, DIALS)
    }

    async fn give(&mut self, given: Given) {
        let (chain, key) = self.0.pair(given);
        fs::write(self.0.path("tls.crt"), chain).unwrap();
        write_secret(&self.0.path("tls.key"), &key);
    }

    fn keeps_what_is_bad(&self) -> bool {
        true
    }
}

/// A mounted secret as Kubernetes replaces it: a new directory each time, and one link,
/// `..data`, turned to it.
struct MountedSecret {
    stage: Arc<Stage>,
    count: u32,
    names: [&'static str; 2],
}

impl MountedSecret {
    fn new(names: [&'static str; 2]) -> Self {
        let stage = stage();
        fs::create_dir(stage.path("secret")).unwrap();
        for name in names {
            symlink(format!("..data/{name}"), stage.path("secret").join(name)).unwrap();
        }
        Self {
            stage,
            count: 0,
            names,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.stage.path("secret").join(name)
    }
}

#[async_trait]
impl Rig for MountedSecret {
    fn stage(&self) -> &Arc<Stage> {
        &self.stage
    }

    fn config(&self) -> Config {
        let [certificate, key] = self.names;
        let files =
            format!("certificate = \"secret/{certificate}\"\nprivate_key_file = \"secret/{key}\"");
        self.stage.config(&files, DIALS)
    }

    async fn give(&mut self, given: Given) {
        self.count += 1;
        let name = format!("..2026_{}", self.count);
        let (chain, key) = self.stage.pair(given);
        fs::create_dir(self.at(&name)).unwrap();
        fs::write(self.at(&name).join(self.names[0]), chain).unwrap();
        write_secret(&self.at(&name).join(self.names[1]), &key);
        symlink(&name, self.at("..data_tmp")).unwrap();
        fs::rename(self.at("..data_tmp"), self.at("..data")).unwrap();
    }

    fn keeps_what_is_bad(&self) -> bool {
        true
    }
}

/// An issuing agent, over mutual TLS.
struct Issuer {
    stage: Arc<Stage>,
    address: std::net::SocketAddr,
    given: Arc<Mutex<Given>>,
}

impl Issuer {
    async fn start() -> Self {
        let stage = stage();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let given = Arc::new(Mutex::new(Given::Good));
        let roots = TrustBundle::parse(stage.authority.root_pem.as_bytes()).unwrap();
        // It is the same agent: for who asks it makes no difference.
        let tls = issuing_server(
            &TlsPolicy::default(),
            &stage.credentials(),
            &roots,
            stage.world.clock.clone(),
        );
        let acceptor = TlsAcceptor::from(tls.unwrap());
        let (to_serve, behaves, bundle) = (stage.clone(), given.clone(), roots.to_json());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let stream = acceptor.accept(stream).await.unwrap();
                assert!(stream.get_ref().1.peer_certificates().is_some());
                let service = service_fn(|request: Request<Incoming>| {
                    let (stage, given, bundle) =
                        (to_serve.clone(), *behaves.lock(), bundle.clone());
                    async move {
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        let asked: serde_json::Value = serde_json::from_slice(&body).unwrap();
                        let csr = CertificateSigningRequestParams::from_pem(
                            asked["csr"].as_str().unwrap(),
                        );
                        let certificate = stage.issue(&csr.unwrap().public_key, given);
                        let answer =
                            serde_json::json!({"certificate": certificate, "bundle": bundle});
                        let answer = Full::<Bytes>::from(answer.to_string());
                        Ok::<_, std::convert::Infallible>(Response::new(answer))
                    }
                });
                let _ = http1::Builder::new()
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        });
        Self {
            stage,
            address,
            given,
        }
    }
}

#[async_trait]
impl Rig for Issuer {
    fn stage(&self) -> &Arc<Stage> {
        &self.stage
    }

    fn config(&self) -> Config {
        let identity = format!(
            "certificate = \"none.crt\"\nprivate_key_file = \"none.key\"\n\
             issuer = {{ address = \"{}\", identity = \"{AGENT}\" }}",
            self.address
        );
        self.stage.config(&identity, DIALS)
    }

    async fn give(&mut self, given: Given) {
        *self.given.lock() = given;
    }

    fn keeps_what_is_bad(&self) -> bool {
        false
    }
}

/// An ACME server.
struct Acme {
    stage: Arc<Stage>,
    server: Arc<AcmeServer>,
}

#[async_trait]
impl Rig for Acme {
    fn stage(&self) -> &Arc<Stage> {
        &self.stage
    }

    fn config(&self) -> Config {
        self.stage.config(&self.server.section(""), DIALS)
    }

    async fn give(&mut self, given: Given) {
        self.server.manner.lock().given = given;
    }

    fn keeps_what_is_bad(&self) -> bool {
        false
    }
}

/// A desk on files, which has what they hold.
async fn desk_of(rig: &mut dyn Rig) -> TestDesk {
    let (config, stage) = (rig.config(), rig.stage().clone());
    let (facts, world) = (stage.facts(&config), stage.world.clone());
    let desk = stage.desk(Box::new(move || source_of(&config, &world, &facts)));
    takes(rig, &desk, "").await;
    desk
}

#[tokio::test]
async fn a_torn_pair_is_not_served() {
    let mut rig = PlainFiles(stage());
    let desk = desk_of(&mut rig).await;
    let serial = desk.serial();
    let (chain, key) = rig.0.pair(Given::Good);
    let certificate = rig.0.path("tls.crt");
    // The certificate is written bit by bit, then its key.
    for part in [0, 1, 100, chain.len() / 2, chain.len() - 30, chain.len()] {
        fs::write(&certificate, &chain[..part]).unwrap();
        assert!(turn(&desk).await.is_err(), "{part}");
        assert_eq!(desk.serial(), serial, "{part}");
    }
    write_secret(&rig.0.path("tls.key"), &key[..key.len() / 2]);
    assert!(turn(&desk).await.is_err());
    assert_eq!(desk.serial(), serial);
    write_secret(&rig.0.path("tls.key"), &key);
    assert!(turn(&desk).await.unwrap());
    assert_ne!(desk.serial(), serial);
    // Nothing changed: there is nothing to take up.
    assert!(!turn(&desk).await.unwrap());
}

#[tokio::test]
async fn a_symlink_swap_is_seen() {
    let mut rig = MountedSecret::new(["tls.crt", "tls.key"]);
    let desk = desk_of(&mut rig).await;
    let (serial, before) = (desk.serial(), fs::read_link(rig.at("tls.crt")).unwrap());
    rig.give(Given::Good).await;
    // The file's own link is what it was; only the directory behind it is another.
    assert_eq!(fs::read_link(rig.at("tls.crt")).unwrap(), before);
    assert!(turn(&desk).await.unwrap());
    assert_ne!(desk.serial(), serial);
}

#[tokio::test]
async fn files_conform() {
    conforms(&mut PlainFiles(stage())).await;
}

#[tokio::test]
async fn a_secret_of_cert_manager_conforms() {
    conforms(&mut MountedSecret::new(["tls.crt", "tls.key"])).await;
}

#[tokio::test]
async fn a_secret_of_spire_conforms() {
    conforms(&mut MountedSecret::new(["svid.pem", "svid_key.pem"])).await;
}

#[tokio::test]
async fn an_issuing_agent_conforms() {
    conforms(&mut Issuer::start().await).await;
}

#[tokio::test]
async fn an_acme_server_conforms() {
    let stage = stage();
    let server = AcmeServer::start(&stage, free_address()).await;
    conforms(&mut Acme { stage, server }).await;
}
