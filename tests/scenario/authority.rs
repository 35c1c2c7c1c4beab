//! Another root takes the place of an authority's, and what it revokes is cut off.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle, sleep},
    time::{Duration, Instant},
};

use crate::support::{
    Pair, Rogue, Site, announce, free_address, init, parrot, renewed_by_b, serial, step, token,
    wait_until, with_issuer, write_file,
};

const TIME_MAX: Duration = Duration::from_secs(60);
/// How long a certificate that is revoked is good for something where that is known: what is
/// promised. It takes a second.
const CUT_OFF_WITHIN: Duration = Duration::from_secs(5);
/// From one agent to the next: it asks every three seconds.
const SPREAD_WITHIN: Duration = Duration::from_secs(30);

/// A conversation over one forwarded stream that goes on until it is told to stop: each
/// word has to come back. It gives the number of words that did.
struct Conversation {
    stop: Arc<AtomicBool>,
    words: Arc<AtomicU64>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Conversation {
    fn begin(address: &str) -> Self {
        let (stop, words) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (ends, counted) = (stop.clone(), words.clone());
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TIME_MAX)).unwrap();
        let task = thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let word = counted.fetch_add(1, Ordering::Relaxed).to_be_bytes();
                stream.write_all(&word)?;
                let mut back = [0; 8];
                stream.read_exact(&mut back)?;
                assert_eq!(back, word);
                sleep(Duration::from_millis(20));
            }
            Ok(())
        });
        Self { stop, words, task }
    }

    /// Ends it; how many words came back, and how it went.
    fn end(self) -> (u64, std::io::Result<()>) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.task.join().unwrap();
        (self.words.load(Ordering::Relaxed), ended)
    }
}

/// `a` reaches a service behind `b`; where.
fn forward(pair: &Pair) -> String {
    let (listen, service) = (free_address(), parrot());
    pair.a.configure(&format!(
        "[[forward]]\nname = \"parrot\"\nlisten = \"{listen}\"\npeer = \"b\"\n"
    ));
    pair.b.configure(&format!(
        "[[forward_target]]\nname = \"parrot\"\naddress = \"{service}\"\nallow = [\"{}\"]\n",
        pair.a.identity
    ));
    listen
}

/// Takes a step as soon as it is not refused; how often it was.
fn rollover(site: &Site) -> serde_json::Value {
    site.rows(&["ca", "rollover", "status"]).remove(0)
}

fn bundle(site: &Site) -> u64 {
    site.rows(&["certs", "list"])[0]["bundle"].as_u64().unwrap()
}

#[test]
fn a_whole_roll_over_under_load_with_certificates_of_20_seconds_drops_nothing() {
    let (pair, issuer) = with_issuer(20);
    renewed_by_b(&pair, &pair.b, &issuer);
    pair.certify(&pair.b, Duration::from_secs(20));
    pair.b.start();
    let token = token(&pair, "a", &issuer, "1h");
    init(&pair, &token).exits(0);
    let listen = forward(&pair);
    // Its target is known after a restart, which nothing holds up.
    let begun = Instant::now();
    pair.b.stop();
    assert!(begun.elapsed() < CUT_OFF_WITHIN);
    pair.b.start();
    pair.a.start();
    let root = fs::read(pair.authority().join("root.pem")).unwrap();
    let talk = Conversation::begin(&listen);
    let (stop, objects) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let (ends, written, source) = (stop.clone(), objects.clone(), pair.source.clone());
    // Objects appear whole.
    let staged = pair.dir().join("staged");
    let writer = thread::spawn(move || {
        while !ends.load(Ordering::Relaxed) {
            let n = written.fetch_add(1, Ordering::Relaxed);
            let size = if n % 20 == 0 { 4 << 20 } else { 4096 };
            fs::write(&staged, vec![n as u8; size]).unwrap();
            fs::rename(&staged, source.join(format!("{n}"))).unwrap();
            sleep(Duration::from_millis(50));
        }
    });
    sleep(Duration::from_secs(2));
    announce(&pair, &[]).exits(0).tells(&["announced in 2"]);
    step(&pair, "issue", SPREAD_WITHIN * 2);
    // Not before the last certificate of the old root was renewed.
    let refused = step(&pair, "retire", TIME_MAX);
    assert!(
        refused > 0,
        "both have certificates of the new root at once"
    );
    wait_until("the last bundle is everywhere", SPREAD_WITHIN, || {
        bundle(&pair.a) == 4 && bundle(&pair.b) == 4
    });
    // One life after it: nobody is left with what does not count any more.
    sleep(Duration::from_secs(22));
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    pair.wait_completed(objects.load(Ordering::Relaxed), TIME_MAX);
    let (words, ended) = talk.end();
    ended.unwrap();
    assert!(words > 100, "{words}");
    for site in [&pair.a, &pair.b] {
        assert_eq!(
            site.metric("sealift_forward_streams_dropped_total"),
            Some(0)
        );
        assert_eq!(site.metric("sealift_connections_refused_total"), Some(0));
        assert_eq!(site.metric("sealift_parts_interrupted_total"), Some(0));
        assert_eq!(
            site.metric("sealift_bundle_sequence"),
            Some(8),
            "own and peer's"
        );
        site.audits("bundle.replaced", &["4"]);
    }
    assert_eq!(pair.a.transfers("FAILED").0, 0);
    assert_eq!(
        pair.b.metric("sealift_bundle_acknowledged_sequence"),
        Some(8)
    );
    wait_until("two lists are counted", TIME_MAX, || {
        pair.b.metric("sealift_crl_issued_total") >= Some(2)
    });
    pair.b.audits("ca.rollover", &["announce", "uid:"]);
    pair.b.audits("ca.rollover", &["retire"]);
    pair.b
        .audits("ca.rollover_refused", &["retire", &pair.a.identity]);
    let after = fs::read(pair.authority().join("root.pem")).unwrap();
    assert!(after != root && !pair.authority().join("next").exists());
    pair.stop();
    pair.verify_both(TIME_MAX);
}

#[test]
fn a_step_waits_for_everybody_who_has_not_acknowledged_but_for_whom_it_is_taken_without() {
    let (pair, _) = with_issuer(3600);
    let (a, b) = (pair.a.identity.as_str(), pair.b.identity.as_str());
    pair.b.start();
    let first = fs::read(pair.b.dir.join("bundle.json")).unwrap();
    announce(&pair, &[]).exits(0);
    let taken_again = announce(&pair, &[]).exits(0);
    taken_again.tells(&["announced in 2", "next step     sealift ca rollover issue"]);
    wait_until("b has it in force", SPREAD_WITHIN, || bundle(&pair.b) == 2);
    // `a` is given files, and nobody gave it this one.
    let issue = ["ca", "rollover", "issue"];
    pair.b.run(&issue).exits(5).tells(&[a, "trust bundle 2"]);
    pair.b.audits("ca.rollover_refused", &["issue", a]);
    pair.b
        .run(&["ca", "rollover", "retire"])
        .tells(&["still come from the old root"]);
    let without = |who: &str, why: &[&str]| {
        let words = ["ca", "rollover", "retire", "--without", who];
        pair.b.run(&[&words, why].concat())
    };
    without(a, &[]).exits(2);
    // Killed between two steps, it stands where it stood.
    pair.b.kill();
    assert_eq!(rollover(&pair.b)["rollover"]["step"], "announced");
    pair.b.start();
    let acknowledge = |sequence: &str| {
        let words = ["ca", "rollover", "acknowledge", a, "--sequence", sequence];
        pair.b
            .run(&[&words[..], &["--reason", "certs list there"]].concat())
    };
    acknowledge("3").exits(2).tells(&["at most 2"]);
    acknowledge("2").exits(0);
    pair.b
        .audits("bundle.acknowledged", &[a, "certs list there"]);
    pair.b.run(&issue).exits(0).tells(&["since 3"]);
    // From here on `b` itself has no certificate of the new root, and `a` is not heard of.
    let retire = ["ca", "rollover", "retire"];
    pair.b.run(&retire).exits(5).tells(&[a, b]);
    pair.issue("b", &pair.b.dir);
    fs::write(pair.b.dir.join("bundle.json"), &first).unwrap();
    let nobody = "spiffe://example.org/region/region-a/agent/nobody";
    without(nobody, &["--reason", "x"])
        .exits(2)
        .tells(&[nobody]);
    wait_until("it waits for a alone", SPREAD_WITHIN, || {
        let said = pair.b.run(&retire).exits(5).said();
        said.contains(a) && !said.contains(b)
    });
    without(a, &["--reason", "its host burnt down"]).exits(0);
    let words = ["retire", "without", a, "its host burnt down"];
    pair.b.audits("ca.rollover", &words);
    // The first bundle lies in its file: it does not come back, not even with a restart.
    wait_until("the old root is out", SPREAD_WITHIN, || {
        bundle(&pair.b) == 4
    });
    pair.b.stop();
    pair.b.start();
    assert_eq!(bundle(&pair.b), 4);
    pair.b.run(&retire).exits(0).tells(&["out since 4"]);
    pair.b
        .run(&["check"])
        .tells(&["number 4 vouches for this site", "revocation lists until"]);
}

#[test]
fn what_is_revoked_is_cut_off_at_every_site_within_seconds_and_a_new_token_begins_anew() {
    let (pair, issuer) = with_issuer(3600);
    pair.b.start();
    let text = token(&pair, "a", &issuer, "1h");
    init(&pair, &text).exits(0);
    let listen = forward(&pair);
    // A third site, that is told of it by the issuer.
    let c = pair.destination("c", str::to_owned);
    renewed_by_b(&pair, &c, &issuer);
    pair.b.stop();
    pair.b.start();
    c.start();
    pair.a.start();
    write_file(&pair.source.join("before"), "good");
    pair.wait_completed(2, TIME_MAX);
    let talk = Conversation::begin(&listen);
    sleep(Duration::from_secs(1));
    let old = serial(&pair.a);
    let revoke = |what: &str| {
        pair.b
            .run(&["ca", "revoke", what, "--reason", "its key was copied"])
    };
    revoke("nonsense").exits(2);
    revoke(&pair.a.identity).exits(0).tells(&[&old, "bundle 2"]);
    revoke(&pair.a.identity).exits(0).tells(&["it was before"]);
    // A stream may be over before its link is looked at: that it ends is seen below.
    wait_until("b closes its links", CUT_OFF_WITHIN, || {
        pair.b.log().contains("a link is closed")
    });
    wait_until("so does c", SPREAD_WITHIN, || {
        c.log().contains("a link is closed")
    });
    pair.b.logs(&["is revoked", &old]);
    c.audits("bundle.replaced", &["2"]);
    let words = [pair.a.identity.as_str(), "its key was copied"];
    pair.b.audits("certificate.revoked", &words);
    // Not only its connection is gone: it does not look for another one.
    wait_until("its stream ends at b", CUT_OFF_WITHIN, || {
        pair.b
            .metric("sealift_forward_streams_ended_total{forward=\"parrot\",side=\"target\",end=\"not_allowed\"}")
            == Some(1)
    });
    pair.b.audits("forward.closed", &["parrot", "not_allowed"]);
    // Nor does the other agent, which is told, and tells its application.
    wait_until("the application is told", TIME_MAX, || {
        talk.task.is_finished()
    });
    assert!(talk.end().1.is_err(), "its stream goes on");
    pair.a.shows(
        "sealift_forward_streams_ended_total{forward=\"parrot\",side=\"forward\",end=\"by_peer\"}",
        1,
    );
    let list = fs::read_to_string(pair.authority().join("crl/region-a.pem")).unwrap();
    let list = sealift_identity::RevocationLists::parse(list.as_bytes()).unwrap();
    assert!(list.names(&old));
    write_file(&pair.source.join("after"), "refused");
    pair.b.logs(&["connection refused", "revoked"]);
    // It is not heard by the issuer either.
    sleep(Duration::from_secs(3));
    assert_eq!(pair.a.transfers("COMPLETED").0, 2);
    pair.a.stop();
    let text = token(&pair, "a", &issuer, "1h");
    let config = fs::read(pair.a.config()).unwrap();
    let data = pair.dir().join("kept");
    fs::rename(pair.a.data(), &data).unwrap();
    fs::copy(pair.a.dir.join("root.key"), pair.dir().join("root.key")).unwrap();
    init(&pair, &text).exits(0);
    // What it had but for the certificate.
    fs::remove_dir_all(pair.a.data()).unwrap();
    fs::rename(data, pair.a.data()).unwrap();
    fs::copy(pair.dir().join("root.key"), pair.a.dir.join("root.key")).unwrap();
    fs::write(pair.a.config(), config).unwrap();
    pair.a.start();
    pair.wait_completed(4, TIME_MAX);
    assert_ne!(serial(&pair.a), old);
}

#[test]
fn of_a_copied_certificate_the_serial_is_revoked_and_streams_go_on_with_the_one_that_counts() {
    let (pair, issuer) = with_issuer(3600);
    pair.b.start();
    let text = token(&pair, "a", &issuer, "1h");
    init(&pair, &text).exits(0);
    let listen = forward(&pair);
    pair.b.stop();
    pair.b.start();
    pair.a.start();
    let talk = Conversation::begin(&listen);
    pair.b.shows("sealift_forward_streams", 1);
    let (old, thief) = (serial(&pair.a), Rogue::with_identity_of(&pair.a));
    assert!(thief.begins().is_some(), "a copy is as good");
    // Of two that begin in one second the one that was given counts.
    sleep(Duration::from_millis(1100));
    pair.a.run(&["certs", "renew"]).exits(0);
    assert_ne!(serial(&pair.a), old);
    pair.b
        .run(&["ca", "revoke", &old, "--reason", "it was copied"])
        .exits(0);
    pair.b
        .logs(&["a link of a stream is closed", "is revoked", &old]);
    wait_until("the stream is on another link", TIME_MAX, || {
        pair.a.metric("sealift_forward_moves_total") >= Some(1)
    });
    let heard = talk.words.load(Ordering::Relaxed);
    wait_until("and goes on there", TIME_MAX, || {
        talk.words.load(Ordering::Relaxed) > heard + 10
    });
    assert!(thief.begins().is_none(), "the copy is good for nothing");
    pair.b.logs(&["connection refused", "is revoked", &old]);
    talk.end().1.unwrap();
    for site in [&pair.a, &pair.b] {
        site.shows("sealift_forward_streams_dropped_total", 0);
    }
}

#[test]
fn a_peer_is_held_to_revocation_lists_and_one_that_is_over_lets_it_in_no_more() {
    let (pair, _) = with_issuer(3600);
    let life = "life_secs = 3600";
    pair.b.edit(life, &format!("{life}\ncrl_life_secs = 12"));
    pair.b.start();
    let published = pair.authority().join("crl/region-a.pem");
    wait_until("a list is published", TIME_MAX, || published.exists());
    pair.b.stop();
    let copy = pair.b.dir.join("crl.pem");
    fs::copy(&published, &copy).unwrap();
    let identity = format!("identity = \"{}\"", pair.a.identity);
    pair.b
        .edit(&identity, &format!("{identity}\ncrl = \"crl.pem\""));
    pair.b.start();
    // It is issued anew at a third of its life: the copy is not.
    let number = |path| {
        sealift_identity::RevocationLists::load(path)
            .unwrap()
            .facts()[0]
            .number
    };
    let old = number(&copy);
    wait_until("another is published", TIME_MAX, || {
        number(&published) > old + 4
    });
    pair.a.start();
    write_file(&pair.source.join("object"), "held up");
    pair.b
        .logs(&["connection refused", "revocation list ended"]);
    assert_eq!(pair.a.transfers("COMPLETED").0, 0);
    pair.b
        .run(&["check"])
        .tells(&["revocation list of a", "it ended at"]);
    let alarms = pair.b.status()["alarms"].to_string();
    for word in ["crl_stale", "peer a", "ended at"] {
        assert!(alarms.contains(word), "{alarms}");
    }
    assert!(
        pair.b
            .metric("sealift_crl_checked_expiration_timestamp_seconds")
            > Some(1 << 30)
    );
    // A fresh one is taken up by itself.
    let fresh = || {
        fs::copy(&published, copy.with_extension("new")).unwrap();
        fs::rename(copy.with_extension("new"), &copy).unwrap();
    };
    wait_until("it is let in", TIME_MAX, || {
        fresh();
        sleep(Duration::from_millis(500));
        pair.a.transfers("COMPLETED").0 == 1
    });
    let rows = pair.b.rows(&["certs", "list"]);
    assert!(rows[1]["crl_until"].is_string(), "{rows:?}");
    // Revoked for those who check lists, too: its link is closed.
    let shown = rows[1]["serial"].as_str().unwrap();
    pair.b
        .run(&["ca", "revoke", shown, "--reason", "x"])
        .exits(0);
    pair.b.logs(&["a link is closed", "is revoked"]);
    // While its agent is stopped nobody issues lists: that is an alarm, too.
    pair.b.stop();
    wait_until("the authority's own lists are stale", TIME_MAX, || {
        let alarms = pair.b.status()["alarms"].to_string();
        alarms.contains("should have been issued anew")
    });
}
