//! Certificates and trust bundles from SPIFFE Workload APIs: two sites in two trust domains
//! that are federated.

use std::{fs, time::Duration};

use sealift_fake_workload::{Answer, Domain, FakeWorkload, Life};

use crate::support::{Content, Pair, Site, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);
const A: &str = "spiffe://example.org/region/region-a/agent/a";
const B: &str = "spiffe://other.org/region/region-b/agent/b";
const HOUR: Duration = Duration::from_secs(3600);

/// One site's API, in its trust domain, beside the other's.
struct Api {
    domain: Domain,
    path: &'static str,
    api: FakeWorkload,
}

impl Api {
    fn start(site: &Site, domain: &str, path: &'static str) -> Self {
        Self {
            domain: Domain::new(domain),
            path,
            api: FakeWorkload::start(&site.dir.join("api.sock"), Answer::default()),
        }
    }

    /// A document that lives for `life`, and what vouches for the other site.
    fn give(&self, life: Duration, other: &Domain, name: &str) {
        // The one that is wanted is not the first.
        let documents =
            ["workload/other", self.path].map(|path| self.domain.document(path, Life(life)));
        self.api.give(Answer {
            documents: documents.into(),
            federated: [(name.to_owned(), other.roots())].into(),
        });
    }
}

/// Two sites, and what gives them certificates.
fn with_workload_apis() -> (Pair, Api, Api) {
    let pair = Pair::new();
    for (site, own) in [(&pair.a, A), (&pair.b, B)] {
        let text = fs::read_to_string(site.config()).unwrap();
        let text: String = text
            .replace("spiffe://example.org/region/region-b/agent/b", B)
            .lines()
            .filter(|line| !line.starts_with("trust_bundle"))
            .filter(|line| !line.starts_with("private_key_file"))
            .map(|line| match line.starts_with("certificate = ") {
                true => format!("agent = \"{own}\"\n"),
                false => format!("{line}\n"),
            })
            .collect();
        let section = "[identity.spiffe]\nsocket = \"api.sock\"\n\n[keys]";
        fs::write(site.config(), text.replacen("[keys]", section, 1)).unwrap();
        for file in ["identity.crt", "identity.key", "bundle.json"] {
            fs::remove_file(site.dir.join(file)).unwrap();
        }
    }
    let a = Api::start(&pair.a, "example.org", "region/region-a/agent/a");
    let b = Api::start(&pair.b, "other.org", "region/region-b/agent/b");
    (pair, a, b)
}

fn give(a: &Api, b: &Api, life: Duration) {
    a.give(life, &b.domain, "other.org");
    b.give(life, &a.domain, "example.org");
}

fn serial(site: &Site) -> String {
    let row = &site.rows(&["certs", "list"])[0];
    assert_eq!(row["source"], "spiffe");
    row["serial"].as_str().unwrap().to_owned()
}

#[test]
fn certificates_of_two_workload_apis_rotate_in_the_middle_of_a_transfer() {
    let (pair, mut a, b) = with_workload_apis();
    let life = Duration::from_secs(20);
    give(&a, &b, life);
    // What is not there yet is no fault.
    pair.b
        .run(&["check", "--offline"])
        .tells(&["certificate", "none yet"]);
    pair.a.edit(
        "# [peer.limit]\n# rate_bytes_per_sec = 12500000",
        "[peer.limit]\nrate_bytes_per_sec = 2000000",
    );
    pair.start();
    let before = [serial(&pair.a), serial(&pair.b)];
    Content::new(7, 60_000_000).write(&pair.source.join("large"));
    // Each certificate would be over before the object is there.
    for round in 0..4 {
        std::thread::sleep(life / 4);
        if round == 1 {
            // The authority of one side issues under another root meanwhile.
            a.domain.take_another_root();
        }
        give(&a, &b, life);
    }
    let rotated = [serial(&pair.a), serial(&pair.b)];
    assert!(before.iter().zip(&rotated).all(|(old, new)| old != new));
    assert_eq!(pair.a.transfers("PENDING").0, 1, "it is over too soon");
    give(&a, &b, HOUR);
    pair.wait_completed(1, TIME_MAX);
    pair.verify_both(TIME_MAX);
    assert_eq!(pair.a.metric("sealift_parts_interrupted_total"), Some(0));
    let last = serial(&pair.b);
    pair.b.audits("certificate.replaced", &[&last, "spiffe"]);
    // A restart needs nobody to ask.
    drop(b);
    pair.b.stop();
    pair.b.start();
    assert_eq!(serial(&pair.b), last);
    write_file(&pair.source.join("small"), "after a restart");
    pair.wait_completed(2, TIME_MAX);
    // The federation is over: it is cut off.
    let alone = a.domain.document(a.path, Life(HOUR));
    a.api.give(alone);
    pair.a.logs(&["b", "no peer with identity"]);
    write_file(&pair.source.join("late"), "to nobody");
    pair.a
        .run(&["check", "--offline"])
        .tells(&["trust bundle of b", "has none for other.org"]);
}

#[test]
fn a_workload_api_that_is_gone_is_told_by_readiness_in_time() {
    let (pair, mut a, b) = with_workload_apis();
    give(&a, &b, Duration::from_secs(20));
    pair.start();
    a.api.stop();
    let last = serial(&pair.a);
    let ready = |wanted: u16, told: &str| {
        let (code, text) = pair.a.get("/ready").unwrap();
        code == wanted && text.contains(told)
    };
    wait_until("it is told that none came", TIME_MAX, || {
        ready(200, "should have been renewed")
    });
    assert_eq!(serial(&pair.a), last);
    wait_until("it is not ready any more", TIME_MAX, || {
        ready(503, "the certificate")
    });
    a.api.go_on();
    give(&a, &b, HOUR);
    wait_until("it has another one", TIME_MAX, || ready(200, ""));
    assert_ne!(serial(&pair.a), last);
    write_file(&pair.source.join("one"), "all is well again");
    pair.wait_completed(1, TIME_MAX);
}
