//! An authority and two sites, made by the program's own commands as a person
//! would: `a` replicates a directory to `b`.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use super::{
    content::mix,
    program::{run, text},
    room::Turn,
    site::Site,
    wait::wait_until,
};

/// The bucket that is replicated.
pub(crate) const BUCKET: &str = "photos";
const DOMAIN: &str = "example.org";

pub(crate) struct Pair {
    pub(crate) a: Site,
    pub(crate) b: Site,
    /// What `a` replicates.
    pub(crate) source: PathBuf,
    /// Where `b` awaits its peers.
    pub(crate) listen: String,
    // Dropped last, in this order: agents are gone before their directories.
    dir: tempfile::TempDir,
    _turn: Turn,
}

impl Pair {
    /// Two sites that are not started yet, beside those of other tests.
    pub(crate) fn new() -> Self {
        Self::make(&std::env::temp_dir(), Turn::beside())
    }

    /// Two sites below `place`, while no other test runs agents.
    pub(crate) fn alone_in(place: &Path) -> Self {
        Self::make(place, Turn::alone())
    }

    fn make(place: &Path, turn: Turn) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("sealift-test-")
            .tempdir_in(place)
            .unwrap();
        let source = dir.path().join("source");
        fs::create_dir(&source).unwrap();
        authority(&dir.path().join("ca"), DOMAIN);
        let listen = free_address();
        let site =
            |name: &str| Site::new(name, &dir.path().join(name), identity(name), free_address());
        let pair = Self {
            a: site("a"),
            b: site("b"),
            source,
            listen,
            _turn: turn,
            dir,
        };
        pair.issue("a", &pair.a.dir);
        pair.issue("b", &pair.b.dir);
        let peer_b = format!("b,{},bundle.json,{}", pair.b.identity, pair.listen);
        let source = format!("{BUCKET}={}", text(&pair.source));
        pair.init(&pair.a, &["--peer", &peer_b, "--source", &source]);
        let peer_a = format!("a,{},bundle.json", pair.a.identity);
        pair.init(
            &pair.b,
            &[
                "--peer",
                &peer_a,
                "--listen",
                &pair.listen,
                "--bucket",
                BUCKET,
            ],
        );
        pair
    }

    /// The directory of this test.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The authority's directory.
    pub(crate) fn authority(&self) -> PathBuf {
        self.dir().join("ca")
    }

    /// Issues a certificate for an agent `name`.
    pub(crate) fn issue(&self, name: &str, out: &Path) {
        let region = region_of(name);
        let (ca, out) = (text(&self.authority()), text(out));
        let issue = [
            "ca", "issue", "--dir", &ca, "--region", region, "--name", name, "--out", &out,
        ];
        run(issue).exits(0);
    }

    /// One more site that `a` sends the same bucket to, and where `a` dials it:
    /// where it listens, or `by` the way of something between.
    pub(crate) fn destination(&self, name: &str, by: impl FnOnce(&str) -> String) -> Site {
        let dir = self.dir().join(name);
        let (listen, site) = (
            free_address(),
            Site::new(name, &dir, identity(name), free_address()),
        );
        self.issue(name, &dir);
        let peer_a = format!("a,{},bundle.json", self.a.identity);
        let more = ["--peer", &peer_a, "--listen", &listen, "--bucket", BUCKET];
        self.init(&site, &more);
        let peer = format!(
            "[[peer]]\nname = \"{name}\"\nidentity = \"{}\"\ntrust_bundle = \"bundle.json\"\n\
             address = \"{}\"\n\n[[peer]]",
            site.identity,
            by(&listen)
        );
        self.a.edit("[[peer]]", &peer);
        self.a
            .edit("peers = [\"b\"", &format!("peers = [\"{name}\", \"b\""));
        site
    }

    /// One more site that archives the bucket, where `b` may bring it, and where it listens.
    pub(crate) fn beside(&self, name: &str) -> (Site, String) {
        let dir = self.dir().join(name);
        let (listen, site) = (
            free_address(),
            Site::new(name, &dir, identity(name), free_address()),
        );
        self.issue(name, &dir);
        let peer_b = format!("b,{},bundle.json", self.b.identity);
        let more = ["--peer", &peer_b, "--listen", &listen, "--bucket", BUCKET];
        self.init(&site, &more);
        (site, listen)
    }

    /// One more site, to which `b` sends on what it archives of the bucket, by a rule with
    /// these settings as well.
    pub(crate) fn onward(&self, name: &str, rule: &str) -> Site {
        let (site, listen) = self.beside(name);
        self.b.configure(&format!(
            "[[peer]]\nname = \"{name}\"\nidentity = \"{}\"\ntrust_bundle = \"bundle.json\"\n\
             address = \"{listen}\"\n[[source]]\nbucket = \"{BUCKET}\"\narchive = true\n\
             [[rule]]\nname = \"onward\"\nbucket = \"{BUCKET}\"\npeers = [\"{name}\"]\n{rule}",
            site.identity,
        ));
        site
    }

    fn init(&self, site: &Site, more: &[&str]) {
        let region = region_of(&site.name);
        let args = [
            "init",
            "--name",
            &site.name,
            "--region",
            region,
            "--data-dir",
            "data",
        ];
        let args = [&args, &["--admin", &site.admin][..], more].concat();
        site.run(&args).exits(0);
    }

    /// A third site, with a certificate of the same authority or of `authority`,
    /// that wants to send `source` to `b`, which does not know it.
    pub(crate) fn stranger(&self, name: &str, authority: &Path) -> Site {
        let dir = self.dir().join(format!("stranger-{name}"));
        let identity = format!("spiffe://{DOMAIN}/region/region-a/agent/{name}");
        let site = Site::new(name, &dir, identity, free_address());
        let (ca, out) = (text(authority), text(&dir));
        let region = "region-a";
        run([
            "ca", "issue", "--dir", &ca, "--region", region, "--name", name, "--out", &out,
        ])
        .exits(0);
        // It trusts b, whether b trusts it or not.
        fs::copy(self.a.dir.join("bundle.json"), dir.join("b.json")).unwrap();
        let peer = format!("b,{},b.json,{}", self.b.identity, self.listen);
        let source = format!("{BUCKET}={}", text(&self.source));
        let args = [
            "init",
            "--name",
            name,
            "--region",
            region,
            "--data-dir",
            "data",
        ];
        let more = ["--admin", &site.admin, "--peer", &peer, "--source", &source];
        site.run(&[&args[..], &more].concat()).exits(0);
        site
    }

    /// Starts both agents.
    pub(crate) fn start(&self) {
        self.b.start();
        self.a.start();
    }

    /// Stops both agents in order.
    pub(crate) fn stop(&self) {
        self.a.stop();
        self.b.stop();
    }

    /// Waits until `objects` transfers are completed and none is pending.
    #[track_caller]
    pub(crate) fn wait_completed(&self, objects: u64, time_max: Duration) -> Duration {
        wait_until(
            &format!("{objects} transfers are completed"),
            time_max,
            || self.a.transfers("COMPLETED").0 == objects && self.a.transfers("PENDING").0 == 0,
        )
    }

    /// Opens every sealed byte and compares with the source.
    #[track_caller]
    pub(crate) fn verify_both(&self, time_max: Duration) {
        for site in [&self.a, &self.b] {
            site.run_in_time(time_max, &["verify", "--deep"]).exits(0);
        }
    }

    /// Gets an object's plaintext from `b` into a new file of this test.
    pub(crate) fn get(&self, key: &str, out: &str) -> PathBuf {
        let out = self.dir().join(out);
        let object = format!("{BUCKET}/{key}");
        self.b.run(&["get", "-o", &text(&out), &object]).exits(0);
        out
    }
}

fn region_of(name: &str) -> &'static str {
    match name {
        "b" | "c" | "d" => "region-b",
        "e" => "region-c",
        _ => "region-a",
    }
}

fn identity(name: &str) -> String {
    format!("spiffe://{DOMAIN}/region/{}/agent/{name}", region_of(name))
}

/// Makes an authority for regions a, b and c.
pub(crate) fn authority(dir: &Path, domain: &str) {
    let passphrase = dir.with_extension("passphrase");
    fs::write(&passphrase, "a passphrase of a test\n").unwrap();
    fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o600)).unwrap();
    let (dir, passphrase) = (text(dir), text(&passphrase));
    let args = [
        "ca",
        "init",
        "--dir",
        &dir,
        "--domain",
        domain,
        "--passphrase-file",
        &passphrase,
    ];
    let regions = ["region-a", "region-b", "region-c"].map(|region| ["--region", region]);
    run(args.into_iter().chain(regions.into_iter().flatten())).exits(0);
}

/// A loopback address that nobody listens on, below the ports that the kernel
/// gives to whoever dials, and given out once only.
pub(crate) fn free_address() -> String {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(|p| p.into_inner());
    let mut state = u64::from(std::process::id());
    loop {
        state = mix(state);
        let port = 10_000 + (state % 20_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && given.insert(port) {
            return format!("127.0.0.1:{port}");
        }
    }
}
