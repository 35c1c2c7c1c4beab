//! What the S3 endpoint in front of a source adds to the store behind it, and how fast a replica
//! is listed.
//!
//! `cargo xtask bench front [--quick] [--objects N] [--rounds N]`: the same requests to the store
//! itself and through the endpoint, by turns, over loopback; then all pages of a bucket of N tiny
//! replicas. One store is the tests' own, in memory, which hashes what it gets; the other one is
//! moto, where `SEALIFT_MOTO` says where that is. The agents rest on tmpfs, and nobody takes what is
//! to be replicated meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    unused_imports,
    missing_docs,
    unreachable_pub
)]

#[path = "../end_to_end/hosts.rs"]
mod hosts;
#[path = "../../tests/support/s3.rs"]
mod s3;
#[path = "../end_to_end/sites.rs"]
mod sites;

use std::{
    fs,
    io::Write,
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use hosts::Hosts;
use s3::{S3, read_answer};
use sealift_fake_kms::{FakeS3, OWNER};
use sites::{Authority, BUCKET, Sites, free_port, run, text};

/// tmpfs: what is measured is the way, not a disk.
const PLACE: &str = "/dev/shm";
const LARGE: usize = 8 << 20;
const SMALL: usize = 4 << 10;
const CLIENTS: usize = 4;

struct Counts {
    rounds: usize,
    /// Large objects of each client in a round.
    large: usize,
    small: usize,
    listed: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --all-targets` starts this as well; only `cargo bench` says so.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let number = |name: &str, usual: usize| {
        let at = arguments.iter().position(|argument| argument == name);
        let given = at.and_then(|at| arguments.get(at + 1)?.parse().ok());
        given.unwrap_or(usual)
    };
    let is_quick = arguments.iter().any(|argument| argument == "--quick");
    let counts = Counts {
        rounds: number("--rounds", if is_quick { 1 } else { 5 }),
        large: if is_quick { 2 } else { 8 },
        small: if is_quick { 50 } else { 2_000 },
        listed: number("--objects", if is_quick { 2_000 } else { 100_000 }),
    };
    let folder = tempfile::Builder::new()
        .prefix("sealift-bench-")
        .tempdir_in(PLACE)
        .expect("a folder on tmpfs");
    let source = folder.path().join("source");
    fs::create_dir(&source).expect("a source");
    let authority = Authority::make(&folder.path().join("authority"));
    let sites = authority.sites(&folder.path().join("sites"), &source, &Hosts::loopback());
    listing(&sites, folder.path(), counts.listed);
    let through = endpoint(&sites, "a", "\"get\", \"list\", \"put\", \"delete\"");
    let own = FakeS3::start(BUCKET, None);
    let directory = format!("directory = \"{}\"", text(&source));
    let section = put_in_front(&sites, &directory, &own.url());
    let own = Store {
        name: "a store in memory",
        url: own.url(),
        keeps_connections: true,
    };
    in_front(&sites, &through, &own, &counts);
    if let Some(moto) = Moto::start() {
        put_in_front(&sites, &section, &moto.url);
        let store = Store {
            name: "moto",
            url: moto.url.clone(),
            // It answers nothing behind a large body on the same connection.
            keeps_connections: false,
        };
        in_front(&sites, &through, &store, &counts);
    }
}

/// What is measured beside itself with the endpoint in front of it.
struct Store {
    name: &'static str,
    url: String,
    keeps_connections: bool,
}

/// A store that is not ours.
struct Moto {
    process: Child,
    url: String,
}

impl Moto {
    /// With a bucket that keeps versions; none where moto is not there.
    fn start() -> Option<Self> {
        let Ok(packages) = std::env::var("SEALIFT_MOTO") else {
            println!("no SEALIFT_MOTO: a store that is not ours is left out");
            return None;
        };
        let port = free_port();
        let process = Command::new("python3")
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p"])
            .arg(port.to_string())
            .env("PYTHONPATH", packages)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3");
        let url = format!("http://127.0.0.1:{port}");
        let moto = Self { process, url };
        let owner = owner(&moto.url);
        answers(&owner);
        let versioned =
            "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        let placed = "<CreateBucketConfiguration><LocationConstraint>region-b\
                      </LocationConstraint></CreateBucketConfiguration>";
        for (path, body) in [("", placed), ("?versioning", versioned)] {
            let path = format!("/{BUCKET}{path}");
            let xml = ("content-type", "application/xml");
            put_as(&owner, &mut connect(&owner), &path, body.as_bytes(), &[xml]);
        }
        Some(moto)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whom a store belongs to.
fn owner(url: &str) -> S3 {
    S3 {
        address: url.trim_start_matches("http://").to_owned(),
        id: OWNER.0.to_owned(),
        secret: OWNER.1.to_owned(),
        ahead: 0,
    }
}

/// Makes an access key, and an endpoint that it is for.
fn endpoint(sites: &Sites, name: &str, rights: &str) -> S3 {
    let folder = Path::new(&sites.config(name)).parent().unwrap().to_owned();
    let file = folder.join("app.secret");
    let config = sites.config(name);
    let key = ["endpoint", "key", "-c", &config, "--id", "app"];
    run(&[&key[..], &["--bucket", BUCKET, "-o", &text(&file)]].concat());
    let secret = fs::read_to_string(&file).expect("a secret");
    let address = format!("127.0.0.1:{}", free_port());
    let section = format!(
        "[endpoint]\nlisten = \"{address}\"\n[[endpoint.key]]\nid = \"app\"\n\
         secret_file = \"app.secret\"\nbuckets = [\"{BUCKET}\"]\nrights = [{rights}]\n"
    );
    sites.configure(name, &section).expect("a configuration");
    S3 {
        address,
        id: "app".to_owned(),
        secret: secret.trim().to_owned(),
        ahead: 0,
    }
}

/// All pages of a bucket of replicas, from the catalog.
fn listing(sites: &Sites, folder: &Path, objects: usize) {
    let s3 = endpoint(sites, "b", "\"get\", \"list\"");
    let ready = folder.join("ready");
    for number in 0..objects {
        let below = ready.join(format!("{:03}", number % 512));
        if number < 512 {
            fs::create_dir_all(&below).expect("a folder");
        }
        fs::write(below.join(format!("{number:07}")), b"x").expect("a file");
    }
    let agents = sites.start();
    agents.replicate(&ready, objects as u64);
    let mut rates = Vec::new();
    for _ in 0..3 {
        let (begun, mut listed, mut token) = (Instant::now(), 0, String::new());
        let mut stream = connect(&s3);
        loop {
            let path = format!("/{BUCKET}?list-type=2{token}");
            let head = s3.head("GET", &path, &[]);
            stream.write_all(head.as_bytes()).expect("a request");
            let page = read_answer(&mut stream, false).is(200);
            listed += page.all("Key").len();
            match page.all("NextContinuationToken").first() {
                Some(next) => token = format!("&continuation-token={}", encoded(next)),
                None => break,
            }
        }
        assert_eq!(listed, objects, "every key once");
        rates.push(listed as f64 / begun.elapsed().as_secs_f64());
    }
    agents.stop();
    println!(
        "listing {objects} replicas: {:.0} keys/s (of {rates:.0?}), wanted 100000",
        median(&mut rates.clone())
    );
}

fn encoded(text: &str) -> String {
    sealift_terms::percent::encode(text)
}

/// The same requests to the store and through the endpoint.
fn in_front(sites: &Sites, through: &S3, store: &Store, counts: &Counts) {
    let agent = sites.start_one("a");
    let direct = owner(&store.url);
    let (store, keeps) = (store.name, store.keeps_connections);
    answers(through);
    let both = [("the store", &direct), ("through", through)];
    for what in ["PUT", "GET"] {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..counts.rounds {
            for (place, (_, s3)) in both.iter().enumerate() {
                rates[place].push(large(s3, what, counts.large, keeps));
            }
        }
        let [direct, through] = rates.map(|mut rates| median(&mut rates));
        let ratio = through / direct;
        println!(
            "{what} of 8 MiB, {CLIENTS} clients: {store} {direct:.0} MB/s, through the endpoint \
             {through:.0} MB/s, ratio {ratio:.2}, wanted 0.90"
        );
    }
    let mut times = [Vec::new(), Vec::new()];
    let body = vec![7; SMALL];
    let mut streams = both.map(|(_, s3)| connect(s3));
    for number in 0..counts.small {
        for (place, (_, s3)) in both.iter().enumerate() {
            let path = format!("/{BUCKET}/small/{place}/{}", number % 100);
            if !keeps {
                streams[place] = connect(s3);
            }
            let begun = Instant::now();
            put(s3, &mut streams[place], &path, &body);
            times[place].push(begun.elapsed().as_secs_f64() * 1e6);
        }
    }
    let [direct, through] = times.map(|mut times| median(&mut times));
    println!(
        "PUT of 4 KiB, median: {store} {direct:.0} µs, through the endpoint {through:.0} µs, \
         {:.0} µs more, wanted at most 1000",
        through - direct
    );
    agent.stop();
}

/// Puts a store's section in the place of `before` in the sender's configuration; the section.
fn put_in_front(sites: &Sites, before: &str, url: &str) -> String {
    let config = sites.config("a");
    let folder = Path::new(&config).parent().unwrap().to_owned();
    let credentials = folder.join("aws-credentials");
    let (id, secret) = OWNER;
    let text_of = format!("[default]\naws_access_key_id={id}\naws_secret_access_key={secret}\n");
    fs::write(&credentials, text_of).expect("credentials");
    fs::set_permissions(&credentials, fs::Permissions::from_mode(0o600)).expect("permissions");
    let section = format!(
        "fronted = true\nscan_interval_secs = 86400\n[source.s3]\nregion = \"eu-west-1\"\n\
         endpoint = \"{url}\"\ncredentials_file = \"aws-credentials\""
    );
    let all = fs::read_to_string(&config).expect("a configuration");
    assert!(all.contains(before), "{all}");
    fs::write(&config, all.replacen(before, &section, 1)).expect("a configuration");
    section
}

fn answers(s3: &S3) {
    let begun = Instant::now();
    while TcpStream::connect(&s3.address).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(60), "no endpoint");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A connection that holds nothing back until what came before was acknowledged.
fn connect(s3: &S3) -> TcpStream {
    let stream = s3.connect();
    stream.set_nodelay(true).expect("a socket");
    stream
}

/// Large objects from several clients at once, in MB/s.
fn large(s3: &S3, what: &str, each: usize, keeps: bool) -> f64 {
    let body = vec![7; LARGE];
    let begun = Instant::now();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let body = &body;
            scope.spawn(move || {
                let mut stream = connect(s3);
                for number in 0..each {
                    if !keeps {
                        stream = connect(s3);
                    }
                    // Both take what both wrote before.
                    let path = format!("/{BUCKET}/large/{client}/{}", number % 2);
                    match what {
                        "PUT" => put(s3, &mut stream, &path, body),
                        _ => {
                            let head = s3.head("GET", &path, &[]);
                            stream.write_all(head.as_bytes()).expect("a request");
                            let got = read_answer(&mut stream, false).is(200);
                            assert_eq!(got.body.len(), LARGE);
                        }
                    }
                }
            });
        }
    });
    (CLIENTS * each * LARGE) as f64 / begun.elapsed().as_secs_f64() / 1e6
}

fn put(s3: &S3, stream: &mut TcpStream, path: &str, body: &[u8]) {
    put_as(s3, stream, path, body, &[]);
}

fn put_as(s3: &S3, stream: &mut TcpStream, path: &str, body: &[u8], headers: &[(&str, &str)]) {
    let length = body.len().to_string();
    let length = ("content-length", length.as_str());
    let head = s3.head("PUT", path, &[&[length], headers].concat());
    stream.write_all(head.as_bytes()).expect("a request");
    stream.write_all(body).expect("content");
    read_answer(stream, false).is(200);
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
