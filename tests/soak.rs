//! Objects and streams without a pause while certificates of seconds rotate: nothing fails,
//! and no application notices. `cargo xtask soak [--minutes N] [--cert-life-secs N]`.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle, sleep},
    time::{Duration, Instant},
};

use sealift_host::OsClock;
use sealift_identity::{Authority, RevocationLists};
use sealift_terms::Region;
use serde_json::json;

use crate::support::{
    Content, Pair, Site, announce, free_address, init, parrot, renewed_by_b, step, token, wait_for,
    wait_until, with_issuer,
};

const TIME_MAX: Duration = Duration::from_secs(120);
/// Large objects under this limit: at any moment parts are on their way.
const RATE: u64 = 6_000_000;
const LARGE_BYTES: u64 = 12 << 20;
const LARGE_EVERY: Duration = Duration::from_secs(2);
const SMALL_EVERY: Duration = Duration::from_millis(20);
/// Names that are written again and again.
const LARGE_NAMES: u64 = 6;
const SMALL_NAMES: u64 = 400;
const STREAMS: u64 = 4;
/// Bytes that go through a stream at a time.
const STREAM_PIECE: usize = 64 << 10;
const STREAM_EVERY: Duration = Duration::from_millis(10);
/// Of a revocation list: it is issued anew at a third of that, and `b`, which is held to the
/// one of `a`'s region, looks every five seconds.
const CRL_LIFE: Duration = Duration::from_secs(30);

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |value| value.parse().expect("a number"))
}

/// What runs until the soak is over.
struct Load {
    over: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
    /// Bytes that came back through streams as they were said.
    echoed: Arc<AtomicU64>,
}

impl Load {
    fn begin(source: &Path, forward: &str) -> Self {
        let mut load = Self {
            over: Arc::default(),
            tasks: Vec::new(),
            echoed: Arc::default(),
        };
        let (small, large) = (source.join("small"), source.join("large"));
        load.repeat(SMALL_EVERY, move |n| {
            Content::new(n, n * 7919 % 40_000).write(&small.join((n % SMALL_NAMES).to_string()));
        });
        load.repeat(LARGE_EVERY, move |n| {
            Content::new(n, LARGE_BYTES).write(&large.join((n % LARGE_NAMES).to_string()));
        });
        for seed in 0..STREAMS {
            let echoed = load.echoed.clone();
            let mut stream = TcpStream::connect(forward).unwrap();
            stream.set_read_timeout(Some(TIME_MAX)).unwrap();
            load.repeat(STREAM_EVERY, move |n| {
                let said = Content::new(seed << 32 | n, STREAM_PIECE as u64).bytes();
                let mut heard = vec![0; STREAM_PIECE];
                stream.write_all(&said).unwrap();
                stream.read_exact(&mut heard).unwrap();
                assert!(heard == said, "another byte came back");
                echoed.fetch_add(STREAM_PIECE as u64, Ordering::Relaxed);
            });
        }
        load
    }

    fn repeat(&mut self, every: Duration, mut act: impl FnMut(u64) + Send + 'static) {
        let over = self.over.clone();
        self.tasks.push(thread::spawn(move || {
            for n in 0.. {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                act(n);
                sleep(every);
            }
        }));
    }

    /// Ends it; whatever of it failed fails the test.
    fn end(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.join().expect("what was said came back");
        }
        self.echoed.load(Ordering::Relaxed)
    }
}

/// A counter of both agents together.
fn both(pair: &Pair, metric: &str) -> u64 {
    let of = |site: &Site| site.metric(metric).unwrap();
    of(&pair.a) + of(&pair.b)
}

/// The revocation lists of `a`'s region, as they are published.
fn list(pair: &Pair) -> PathBuf {
    pair.authority().join("crl/region-a.pem")
}

/// `b` issues certificates, its own included, and lists of what is revoked, which it holds
/// `a` to, and has a service.
fn configure_b(pair: &Pair, issuer: &str, life: u64) {
    renewed_by_b(pair, &pair.b, issuer);
    let crl_life = CRL_LIFE.as_secs();
    let life = format!("life_secs = {life}");
    pair.b
        .edit(&life, &format!("{life}\ncrl_life_secs = {crl_life}"));
    // The first, which the agent wants to find when it starts.
    let authority = Authority::open(&pair.authority()).unwrap();
    let region = Region::new("region-a").unwrap();
    authority.issue_lists(&region, CRL_LIFE, &OsClock).unwrap();
    let peer = format!("identity = \"{}\"", pair.a.identity);
    pair.b.edit(
        &peer,
        &format!("{peer}\ncrl = \"{}\"", list(pair).display()),
    );
    pair.b.configure(&format!(
        "[[forward_target]]\nname = \"echo\"\naddress = \"{}\"\nallow = [\"{}\"]\n",
        parrot(),
        pair.a.identity
    ));
}

/// `a` reaches the service, and sends slowly; where its end of the forward is.
fn configure_a(pair: &Pair) -> String {
    let listen = free_address();
    pair.a.configure(&format!(
        "[[forward]]\nname = \"echo\"\nlisten = \"{listen}\"\npeer = \"b\"\n"
    ));
    pair.a.edit(
        "# [peer.limit]\n# rate_bytes_per_sec = 12500000",
        &format!("[peer.limit]\nrate_bytes_per_sec = {RATE}"),
    );
    listen
}

/// Waits until `b` has the list of the issuing CA that is to come: before that it lets
/// nobody in whose certificate is of it.
fn follows_next_list(pair: &Pair) {
    let (until, _) = wait_for("the list of the next CA is published", TIME_MAX, || {
        let published = RevocationLists::load(&list(pair)).unwrap();
        (published.facts().len() == 2).then(|| published.next_update())
    });
    let until = u64::try_from(until.as_secs()).unwrap();
    wait_until("b holds a to it", TIME_MAX, || {
        pair.b
            .metric("sealift_crl_checked_expiration_timestamp_seconds")
            >= Some(until)
    });
}

/// Waits until `then`; both agents live.
fn lives(pair: &Pair, then: Instant) {
    while Instant::now() < then {
        sleep(Duration::from_secs(1));
        for site in [&pair.a, &pair.b] {
            assert!(site.get("/live").is_some(), "{} is gone", site.name);
        }
    }
}

#[test]
#[ignore = "takes a minute or more; cargo xtask soak, cargo xtask test"]
fn certificates_that_end_interrupt_no_part_refuse_no_handshake_and_drop_no_stream() {
    let minutes = setting("SEALIFT_SOAK_MINUTES", 1);
    let life = setting("SEALIFT_SOAK_CERT_LIFE_SECS", 20);
    let (pair, issuer) = with_issuer(life);
    pair.certify(&pair.b, Duration::from_secs(life));
    configure_b(&pair, &issuer, life);
    pair.b.start();
    init(&pair, &token(&pair, "a", &issuer, "1h")).exits(0);
    let listen = configure_a(&pair);
    pair.a.start();

    let begun = Instant::now();
    let load = Load::begin(&pair.source, &listen);
    let whole = Duration::from_secs(60 * minutes);
    // While everything runs the authority gets another root.
    lives(&pair, begun + whole / 6);
    announce(&pair, &[]).exits(0);
    follows_next_list(&pair);
    step(&pair, "issue", TIME_MAX);
    step(&pair, "retire", TIME_MAX);
    lives(&pair, begun + whole);
    let echoed = load.end();
    wait_until("all is acknowledged", TIME_MAX, || {
        pair.a.transfers("PENDING").0 == 0
    });
    pair.verify_both(TIME_MAX);

    let rotations = both(
        &pair,
        "sealift_cert_refreshes_total{source=\"issuer\",result=\"renewed\"}",
    );
    let failed_parts = both(&pair, "sealift_parts_interrupted_total");
    let refused_handshakes = both(&pair, "sealift_connections_refused_total");
    let forward_drops = both(&pair, "sealift_forward_streams_dropped_total");
    let (objects, _) = pair.a.transfers("COMPLETED");
    let moves = both(&pair, "sealift_forward_moves_total");
    let crl_renewals = pair.b.metric("sealift_crl_issued_total").unwrap();
    println!(
        "{}",
        json!({
            "rotations": rotations, "failed_parts": failed_parts,
            "refused_handshakes": refused_handshakes, "forward_drops": forward_drops,
            "minutes": minutes, "cert_life_secs": life, "objects": objects,
            "rollovers": 1, "crl_renewals": crl_renewals,
            "forward_bytes": echoed, "forward_moves": moves,
        })
    );
    assert_eq!(
        (failed_parts, refused_handshakes, forward_drops),
        (0, 0, 0),
        "failed parts, refused handshakes, dropped streams"
    );
    // Each agent renews at 60 to 70 percent of each life.
    let lives = 60 * minutes / life;
    assert!(rotations >= 2 * lives, "{rotations} rotations");
    // Those of both regions, at a third of each life.
    let lists = 2 * 60 * minutes / CRL_LIFE.as_secs();
    assert!(crl_renewals >= 2 * lists, "{crl_renewals} revocation lists");
    assert_eq!(pair.a.transfers("FAILED").0, 0);
}
