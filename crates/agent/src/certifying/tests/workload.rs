//! A Workload API in this process.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use sealift_fake_workload::{Answer, Document, Domain, FakeWorkload, Life};
use sealift_host::OsClock;
use sealift_terms::limits::WORKLOAD_DOCUMENTS_MAX;
use tokio::time::{Instant, sleep};

use super::{
    super::{keep, load_credentials, source_of, turn},
    conformance::{DIALS, Rig, conforms},
    stage::{AGENT, Given as Offered, Stage, TestDesk},
};
use crate::{bundles::own_bundle, config::Config, load_peers};

const SECTION: &str = "[identity.spiffe]\nsocket = \"api.sock\"\n";
/// The agent of `AGENT`, without its trust domain.
const PATH: &str = "region/eu-west/agent/a1";
const HOUR: Life = Life(Duration::from_secs(3600));
/// Shorter than the shortest look at a certificate that lives for an hour.
const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// For the suite: documents of an authority that may misbehave.
struct Rigged {
    stage: Arc<Stage>,
    api: FakeWorkload,
}

/// A pair in PEM as a document. What was cut off is not in it.
fn document((chain, key): (String, String), root_pem: &str) -> Document {
    let ders = |pem: &str| {
        let ders = CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok);
        ders.map(|der| der.to_vec()).collect()
    };
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    Document {
        id: AGENT.to_owned(),
        chain: ders(&chain),
        key: key.secret_der().to_vec(),
        bundle: ders(root_pem),
    }
}

#[async_trait]
impl Rig for Rigged {
    fn stage(&self) -> &Arc<Stage> {
        &self.stage
    }

    fn config(&self) -> Config {
        self.stage.config(SECTION, DIALS)
    }

    async fn give(&mut self, given: Offered) {
        let pair = self.stage.pair(given);
        self.api
            .give(document(pair, &self.stage.authority.root_pem));
    }

    fn keeps_what_is_bad(&self) -> bool {
        false
    }
}

fn stage() -> Arc<Stage> {
    Arc::new(Stage::new(Arc::new(OsClock)))
}

#[tokio::test]
async fn a_workload_api_conforms() {
    let stage = stage();
    let api = FakeWorkload::start(&stage.path("api.sock"), Answer::default());
    conforms(&mut Rigged { stage, api }).await;
}

/// A site whose certificates and bundles all come from a Workload API.
struct Site {
    stage: Arc<Stage>,
    api: FakeWorkload,
    config: Config,
}

/// Peers in this trust domain and in another one.
const PEERS: &str = "[[peer]]\nname = \"b\"\nidentity = \"spiffe://example.org/region/b/agent/b\"\n\
                     address = \"127.0.0.1:1\"\n\
                     [[peer]]\nname = \"c\"\nidentity = \"spiffe://other.org/region/c/agent/c\"\n\
                     address = \"127.0.0.1:1\"\n";

impl Site {
    fn new(answer: impl Into<Answer>) -> Self {
        let stage = stage();
        let api = FakeWorkload::start(&stage.path("api.sock"), answer);
        let config = stage.config_with(SECTION, PEERS);
        Self { stage, api, config }
    }

    fn desk(&self) -> TestDesk {
        let (config, world) = (self.config.clone(), self.stage.world.clone());
        let facts = self.stage.facts(&config);
        self.stage
            .desk(Box::new(move || source_of(&config, &world, &facts)))
    }

    /// The peers that are vouched for.
    fn peers(&self) -> Vec<String> {
        let peers = load_peers(&self.config, &self.stage.world).unwrap();
        let mut names: Vec<_> = peers.iter().map(|peer| peer.name.to_string()).collect();
        names.sort();
        names
    }
}

fn federated(document: Document, with: &Domain) -> Answer {
    Answer {
        federated: [("other.org".to_owned(), with.roots())].into(),
        ..document.into()
    }
}

#[tokio::test]
async fn of_several_documents_the_one_for_the_configured_identity_is_taken() {
    let domain = Domain::new("example.org");
    let others = |count: usize| {
        let of = |n| domain.document(&format!("region/eu-west/agent/other{n}"), HOUR);
        (0..count).map(of).collect::<Vec<_>>()
    };
    let site = Site::new(Answer {
        documents: others(3),
        ..Answer::default()
    });
    let desk = site.desk();
    let before = desk.serial();
    let error = turn(&desk).await.unwrap_err().in_one_line();
    assert!(error.contains("3 documents, and none for"), "{error}");
    assert_eq!(
        (desk.serial(), desk.counted("refused")),
        (before.clone(), 1)
    );
    let mut documents = others(WORKLOAD_DOCUMENTS_MAX - 1);
    documents.push(domain.document(PATH, HOUR));
    let answer = |documents| Answer {
        documents,
        ..Answer::default()
    };
    site.api.give(answer(documents.clone()));
    assert!(turn(&desk).await.unwrap());
    assert_ne!(desk.serial(), before);
    assert_eq!(desk.tls.credentials().leaf().identity.as_str(), AGENT);
    // One more is one too many.
    documents.insert(0, others(1).remove(0));
    site.api.give(answer(documents));
    assert!(turn(&desk).await.is_err());
}

#[tokio::test]
async fn trust_bundles_come_from_it_and_go() {
    let (domain, mut other) = (Domain::new("example.org"), Domain::new("other.org"));
    let site = Site::new(federated(domain.document(PATH, HOUR), &other));
    let desk = site.desk();
    let (config, world) = (&site.config, &site.stage.world);
    assert!(own_bundle(config, world).is_err(), "there is none yet");
    assert!(turn(&desk).await.unwrap());
    let roots = |bundle: &sealift_identity::TrustBundle| {
        bundle
            .roots()
            .iter()
            .map(|root| root.to_vec())
            .collect::<Vec<_>>()
    };
    let own = own_bundle(config, world).unwrap();
    assert_eq!(
        (roots(&own), own.domain()),
        (domain.roots(), Some("example.org"))
    );
    let peers = load_peers(config, world).unwrap();
    let of = |name: &str| {
        let peer = peers.iter().find(|peer| peer.name.as_str() == name);
        roots(&peer.unwrap().roots)
    };
    // Each domain's roots count for its own agents alone.
    assert_eq!((of("b"), of("c")), (domain.roots(), other.roots()));
    assert_eq!(*desk.files_changed.lock(), 1);
    // A restart has all of it.
    let loaded = load_credentials(config, world).unwrap();
    assert_eq!(loaded.leaf().serial, desk.serial());
    // Nothing is new.
    assert!(!turn(&desk).await.unwrap());
    assert_eq!(*desk.files_changed.lock(), 1);
    let document = domain.document(PATH, HOUR);
    other.take_another_root();
    site.api.give(federated(document.clone(), &other));
    assert!(turn(&desk).await.unwrap());
    assert_eq!(*desk.files_changed.lock(), 2);
    assert_eq!(site.peers(), ["b", "c"]);
    // The federation is over: nobody vouches for c any more.
    site.api.give(document);
    assert!(!turn(&desk).await.unwrap());
    assert_eq!(
        (*desk.files_changed.lock(), site.peers()),
        (3, vec!["b".to_owned()])
    );
}

#[tokio::test]
async fn a_root_that_is_new_comes_with_the_certificate_under_it() {
    let mut domain = Domain::new("example.org");
    let site = Site::new(domain.document(PATH, HOUR));
    let desk = site.desk();
    assert!(turn(&desk).await.unwrap());
    domain.take_another_root();
    domain.retire_roots();
    site.api.give(domain.document(PATH, HOUR));
    assert!(turn(&desk).await.unwrap());
    let loaded = load_credentials(&site.config, &site.stage.world).unwrap();
    assert_eq!(loaded.leaf().serial, desk.serial());
}

#[tokio::test]
async fn a_bundle_that_cannot_be_used_leaves_the_old_one_and_is_told() {
    let (domain, other) = (Domain::new("example.org"), Domain::new("other.org"));
    let site = Site::new(federated(domain.document(PATH, HOUR), &other));
    let desk = site.desk();
    assert!(turn(&desk).await.unwrap());
    let before = load_peers(&site.config, &site.stage.world).unwrap();
    let mut answer = federated(domain.document(PATH, HOUR), &other);
    let leaf = domain.document(PATH, HOUR).chain.remove(0);
    answer.federated.insert("other.org".to_owned(), vec![leaf]);
    site.api.give(answer);
    let serial = desk.serial();
    assert!(turn(&desk).await.is_err());
    assert_eq!((desk.serial(), desk.counted("refused")), (serial, 1));
    let after = load_peers(&site.config, &site.stage.world).unwrap();
    assert!(after.trusts_the_same(&before));
}

/// Waits until another certificate is shown than `last`.
async fn shows_another(desk: &TestDesk, last: &str) -> String {
    let begun = Instant::now();
    while desk.serial() == last {
        assert!(begun.elapsed() < TOLD_WITHIN, "nothing was taken up");
        sleep(Duration::from_millis(20)).await;
    }
    desk.serial()
}

#[tokio::test]
async fn what_it_tells_is_taken_up_at_once_and_it_may_go_away_and_come_back() {
    let domain = Domain::new("example.org");
    let site = Site::new(domain.document(PATH, HOUR));
    let desk = Arc::new(site.desk());
    let before = desk.serial();
    let keeping = tokio::spawn({
        let desk = desk.clone();
        async move { keep(&*desk).await }
    });
    let first = shows_another(&desk, &before).await;
    site.api.give(domain.document(PATH, HOUR));
    let second = shows_another(&desk, &first).await;
    let Site {
        mut api,
        stage,
        config,
    } = site;
    // Nobody is registered, then nobody is there: what is in force stays.
    api.deny();
    sleep(Duration::from_millis(300)).await;
    assert_eq!(desk.serial(), second);
    api.stop();
    sleep(Duration::from_millis(300)).await;
    assert_eq!(desk.serial(), second);
    assert_eq!(
        load_credentials(&config, &stage.world)
            .unwrap()
            .leaf()
            .serial,
        second
    );
    api.give(domain.document(PATH, HOUR));
    api.go_on();
    shows_another(&desk, &second).await;
    keeping.abort();
}
