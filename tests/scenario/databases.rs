//! Replication of databases through a forward, under load, while the connections between
//! the agents are cut, their certificates rotate and their authority gets another root:
//! nothing is lost, and the databases do not notice.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    Pair, Postgres, Proxy, Redis, Site, announce, free_address, init, renewed_by_b, step, tell,
    token, wait_until, with_issuer,
};

const TIME_MAX: Duration = Duration::from_secs(30);
/// How long certificates live; the agents renew them by themselves.
const LIFE: Duration = Duration::from_secs(20);
/// A step of a roll-over: the last one waits until nobody has a certificate of the old root.
const STEP_TIME_MAX: Duration = Duration::from_secs(60);
const CUT_EVERY: Duration = Duration::from_millis(1700);
/// Between the end of a load and the next one.
const PAUSE: Duration = Duration::from_millis(500);

/// Two agents, the service of `b` behind `forward` at `a`, and a way between them that can
/// be cut.
struct Forwarded {
    pair: Pair,
    way: Proxy,
    forward: String,
}

impl Forwarded {
    /// `b` issues the certificates of both.
    fn new(service: &str) -> Self {
        let (pair, issuer) = with_issuer(LIFE.as_secs());
        let forward = free_address();
        let way = Proxy::to(&pair.listen);
        renewed_by_b(&pair, &pair.b, &issuer);
        pair.certify(&pair.b, LIFE);
        pair.b.configure(&format!(
            "[[forward_target]]\nname = \"service\"\naddress = \"{service}\"\nallow = [\"{}\"]\n",
            pair.a.identity
        ));
        pair.b.start();
        init(&pair, &token(&pair, "a", &issuer, "1h")).exits(0);
        pair.a.edit(&pair.listen, &way.address);
        pair.a.configure(&format!(
            "[[forward]]\nname = \"service\"\nlisten = \"{forward}\"\npeer = \"b\"\n"
        ));
        pair.a.start();
        Self { pair, way, forward }
    }

    /// Runs `load` again and again while connections are cut, certificates rotate and the
    /// authority's root is replaced, until that is done.
    fn trouble(&self, load: impl Fn() -> Command + Sync) {
        let over = AtomicBool::new(false);
        let begun = Instant::now();
        let (loads, cuts) = thread::scope(|scope| {
            // However this ends, the others end with it.
            let ending = Ending(&over);
            let loading = scope.spawn(|| {
                let mut loads = 0;
                while !over.load(Ordering::Relaxed) {
                    let mut load = load();
                    load.stdin(Stdio::null()).stdout(Stdio::null());
                    let status = load.status().unwrap();
                    assert!(status.success(), "the load failed: {status}");
                    loads += 1;
                    thread::sleep(PAUSE);
                }
                loads
            });
            let cutting = scope.spawn(|| {
                let mut cuts = 0;
                while !over.load(Ordering::Relaxed) {
                    thread::sleep(CUT_EVERY);
                    cuts += usize::from(self.way.cut() > 0);
                }
                cuts
            });
            announce(&self.pair, &[]).exits(0);
            for next in ["issue", "retire"] {
                step(&self.pair, next, STEP_TIME_MAX);
            }
            self.outlive(begun + LIFE * 2);
            drop(ending);
            (loading.join().unwrap(), cutting.join().unwrap())
        });
        let renewed = "sealift_cert_refreshes_total{source=\"issuer\",result=\"renewed\"}";
        let rotations = [&self.pair.a, &self.pair.b].map(|site| site.metric(renewed).unwrap());
        println!(
            "{loads} loads, {cuts} times cut, {rotations:?} times new certificates, 1 roll-over"
        );
        assert!(loads >= 1 && cuts >= 3, "{loads} loads, {cuts} cuts");
        assert!(rotations.iter().all(|times| *times >= 2), "{rotations:?}");
    }

    /// Waits until `then`; both agents run.
    fn outlive(&self, then: Instant) {
        while Instant::now() < then {
            thread::sleep(Duration::from_millis(200));
            assert!(self.pair.a.runs() && self.pair.b.runs());
        }
    }

    /// What a site counted: streams that are open, moves, and what was dropped.
    fn counts(&self, site: &Site) -> [u64; 3] {
        let report = &site.status()["forwards"][0];
        ["streams", "moves", "dropped"].map(|field| report[field].as_u64().unwrap())
    }

    /// After everything: streams have moved, and none was dropped.
    fn holds(&self) {
        for site in [&self.pair.a, &self.pair.b] {
            let [streams, moves, dropped] = self.counts(site);
            println!(
                "{}: {streams} streams open, {moves} moves, {dropped} dropped",
                site.name
            );
            assert!(streams >= 1 && moves >= 3, "{streams} {moves}");
            assert_eq!(dropped, 0, "a replication connection was dropped");
        }
        assert_eq!(
            self.pair.a.metric("sealift_forward_streams_dropped_total"),
            Some(0)
        );
    }

    /// Once the applications have gone, nothing is open and all is on record.
    fn ends(&self) {
        wait_until("all streams have ended", TIME_MAX, || {
            let open = [&self.pair.a, &self.pair.b].map(|site| self.counts(site)[0]);
            open == [0, 0]
        });
        for site in [&self.pair.a, &self.pair.b] {
            site.audits("forward.opened", &["service", "TLSv1.3"]);
            site.audits("forward.closed", &["service", "bytes_out", "lifetime_ms"]);
        }
        self.pair.stop();
    }
}

/// Says that something is over when it is dropped.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
#[ignore = "needs PostgreSQL: run by cargo xtask test"]
fn a_hot_standby_follows_its_primary_through_cuts_rotations_and_a_roll_over() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut primary = Postgres::in_dir(&dir.path().join("primary"), &free_address());
    primary.init();
    primary.start();
    let forwarded = Forwarded::new(&primary.address);
    // The copy of the whole database comes the same way.
    let mut standby = Postgres::in_dir(&dir.path().join("standby"), &free_address());
    standby.copy(&forwarded.forward);
    standby.start();
    let sender = "select pid, backend_start from pg_stat_replication where state = 'streaming'";
    wait_until("it streams", TIME_MAX, || !primary.asks(sender).is_empty());
    let first = primary.asks(sender);

    let init = primary.bench(&["-i", "-q", "-s", "2"]).output().unwrap();
    assert!(init.status.success(), "{init:?}");
    forwarded.trouble(|| {
        let mut load = primary.bench(&["-c", "4", "-T", "8", "-n"]);
        load.stderr(Stdio::null());
        load
    });

    let written = primary.asks("select pg_current_wal_flush_lsn()");
    let lag = wait_until("the standby has everything", TIME_MAX, || {
        standby.asks(&format!("select pg_last_wal_replay_lsn() >= '{written}'")) == "t"
    });
    tell(&format!(
        "PostgreSQL: lag at the end {} ms, {written}",
        lag.as_millis()
    ));
    for query in [
        "select count(*), sum(delta) from pgbench_history",
        "select sum(abalance), md5(string_agg(aid || ':' || abalance, ',' order by aid)) \
         from pgbench_accounts",
    ] {
        assert_eq!(primary.asks(query), standby.asks(query), "{query}");
    }
    assert_ne!(primary.asks("select count(*) from pgbench_history"), "0");
    assert_eq!(
        primary.asks(sender),
        first,
        "the standby had to connect again"
    );
    for trouble in [
        "could not receive data",
        "could not connect",
        "terminating walreceiver",
    ] {
        assert!(!standby.said().contains(trouble), "{}", standby.said());
    }
    forwarded.holds();
    standby.stop();
    primary.stop();
    forwarded.ends();
}

#[test]
#[ignore = "needs Redis: run by cargo xtask test"]
fn a_redis_replica_follows_its_primary_through_cuts_rotations_and_a_roll_over() {
    let dir = tempfile::tempdir().unwrap();
    let primary = Redis::start(&dir.path().join("primary"), &free_address(), &[]);
    let forwarded = Forwarded::new(&primary.address);
    let (host, port) = forwarded.forward.rsplit_once(':').unwrap();
    let follows = ["--replicaof", host, port];
    let replica = Redis::start(&dir.path().join("replica"), &free_address(), &follows);
    wait_until("the replica is linked", TIME_MAX, || {
        replica.info("replication", "master_link_status") == "up"
    });
    // What is pushed is taken out again: neither grows without end.
    let load = "-t set,lpush,lpop -d 200 -r 50000 -n 100000";
    let load: Vec<&str> = load.split(' ').collect();
    forwarded.trouble(|| primary.bench(&load));

    let offset = primary.info("replication", "master_repl_offset");
    let offset: u64 = offset.parse().unwrap();
    let lag = wait_until("the replica has everything", TIME_MAX, || {
        let has = replica.info("replication", "slave_repl_offset");
        has.parse::<u64>().unwrap() >= offset
    });
    tell(&format!(
        "Redis: lag at the end {} ms, {offset} bytes",
        lag.as_millis()
    ));
    assert_eq!(
        primary.asks(&["debug", "digest"]),
        replica.asks(&["debug", "digest"])
    );
    assert_ne!(primary.asks(&["dbsize"]), "0");
    assert_eq!(
        primary.info("stats", "sync_full"),
        "1",
        "the replica had to begin anew"
    );
    assert_eq!(
        primary.info("stats", "sync_partial_ok"),
        "0",
        "it had to connect again"
    );
    forwarded.holds();
    replica.stop();
    primary.stop();
    forwarded.ends();
}
