//! Keys of several regions: `b` makes one, `a` dials it and sends to it, and `e` is dialled by
//! both.

use std::{fs, path::Path, time::Duration};

use serde_json::Value;

use crate::support::{BUCKET, Content, Pair, Rogue, Site, wait_for, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);
const KEY: &str = "alias/shared";

/// Three sites in three regions. The bucket of `b` is sealed under [`KEY`], which may go to
/// other regions, and nobody has granted anything about keys yet.
struct Regions {
    pair: Pair,
    e: Site,
    id: String,
}

impl Regions {
    fn new() -> Self {
        let pair = Pair::new();
        let mut address = String::new();
        let e = pair.destination("e", |listen| {
            address = listen.to_owned();
            listen.to_owned()
        });
        add_peer(&pair.b, "e", &e, Some(&address));
        add_peer(&e, "b", &pair.b, Some(&pair.listen));
        let made = pair.b.rows(&["keys", "create", KEY, "--multi-region"]);
        let id = made[0]["id"].as_str().unwrap().to_owned();
        pair.b
            .edit(&format!("\"alias/{BUCKET}\""), &format!("\"{KEY}\""));
        Self { pair, e, id }
    }

    fn start(&self) {
        self.e.start();
        self.pair.start();
        wait_for_a_session(&self.pair.b);
    }

    fn sites(&self) -> [&Site; 3] {
        [&self.pair.a, &self.pair.b, &self.e]
    }

    /// Lets every site bring this key to every other one.
    fn grant_all(&self) {
        for (at, who) in [
            (&self.pair.a, &self.pair.b),
            (&self.pair.a, &self.e),
            (&self.pair.b, &self.pair.a),
            (&self.pair.b, &self.e),
            (&self.e, &self.pair.a),
            (&self.e, &self.pair.b),
        ] {
            // a and e know each other; what has no peer cannot be granted anything.
            if fs::read_to_string(at.config())
                .unwrap()
                .contains(&who.identity)
            {
                grant(at, who, &self.id);
            }
        }
    }

    fn replicate(&self) {
        for region in ["region-a", "region-c"] {
            let to = ["keys", "replicate", KEY, "--to", region];
            self.pair.b.run(&to).exits(0);
        }
    }

    /// Waits until the version that wraps is this one everywhere.
    fn wait_wraps(&self, version: &str) {
        wait_until(
            &format!("version {version} wraps everywhere"),
            TIME_MAX,
            || {
                let all = self.sites().map(|site| life(site, &self.id));
                all.iter().all(|life| life["current"] == version)
            },
        );
    }
}

fn add_peer(site: &Site, name: &str, other: &Site, address: Option<&str>) {
    let address = address.map_or_else(String::new, |at| format!("address = \"{at}\"\n"));
    site.configure(&format!(
        "[[peer]]\nname = \"{name}\"\nidentity = \"{}\"\ntrust_bundle = \"bundle.json\"\n{address}",
        other.identity
    ));
}

fn grant(at: &Site, who: &Site, key: &str) {
    at.configure(&format!(
        "[[grant]]\nidentity = \"{}\"\nactions = [\"replicate-keys\"]\nkeys = [\"{key}\"]",
        who.identity
    ));
}

#[track_caller]
fn life(site: &Site, key: &str) -> Value {
    site.rows(&["keys", "describe", key]).remove(0)
}

fn wait_for_a_session(site: &Site) {
    wait_until("a session is open", TIME_MAX, || {
        let report = site.status();
        let mut peers = report["peers"].as_array().unwrap().iter();
        peers.any(|peer| peer["sessions"].as_u64() > Some(0))
    });
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().unwrap().is_dir() {
            true => copy_all(&from, &to),
            false => drop(fs::copy(&from, &to).unwrap()),
        }
    }
}

#[test]
fn what_one_region_sealed_opens_in_another_that_was_given_the_key() {
    let regions = Regions::new();
    let (a, b, e) = (&regions.pair.a, &regions.pair.b, &regions.e);
    for size in [0, 24, 5000, 3 << 20, 20 << 20] {
        let path = regions.pair.source.join(format!("of-{size}"));
        Content::new(size + 1, size).write(&path);
    }
    regions.start();
    // Nobody granted it: refused there, on record, and nothing is changed here.
    let to_a = ["keys", "replicate", KEY, "--to", "region-a"];
    let refused = b.run(&to_a).exits(12);
    refused.tells(&[
        "region-a refuses",
        "PolicyDenied",
        "replicate-keys",
        &regions.id,
    ]);
    a.audits(
        "access.denied",
        &[&b.identity, "replicate-keys", &regions.id],
    );
    assert!(life(b, KEY)["regions"].get("replicas").is_none());
    // A grant for another key is none for this one.
    grant(a, b, "key-00000000000000000000000000000000");
    a.run(&["reload"]).exits(0);
    b.run(&to_a).exits(12);
    regions.grant_all();
    for site in [a, e] {
        site.run(&["reload"]).exits(0);
    }
    b.run(&["keys", "replicate", KEY, "--to", "region-x"])
        .exits(10)
        .tells(&["peer in region region-x"]);
    regions.replicate();
    // Said twice it is said once.
    b.run(&to_a).exits(0);
    for (site, region) in [(a, "region-a"), (e, "region-c")] {
        let life = life(site, &regions.id);
        assert_eq!(
            (&life["region"], &life["state"]),
            (&region.into(), &"Enabled".into())
        );
        assert_eq!(life["regions"]["primary"], "region-b");
        assert!(life.get("alias").is_none(), "{life}");
        site.audits(
            "key.synchronized",
            &[&regions.id, "region-b", "lag_ms", &b.identity],
        );
        site.audits("key.replicated", &[&regions.id]);
        b.audits(
            "key.synchronized",
            &[&regions.id, region, "lag_ms", "replicas"],
        );
        // A replica neither rotates nor gives itself away.
        let refused = site.run(&["keys", "rotate", &regions.id]).exits(12);
        refused.tells(&["region-b", "hint:"]);
        let on = ["keys", "replicate", &regions.id, "--to", "region-b"];
        site.run(&on).exits(12);
    }
    let differ = b.run(&["keys", "diff", KEY]).exits(0);
    differ.tells(&["region-a", "region-c", "alias"]);

    b.run(&["keys", "rotate", KEY, "--reason", "a test of it"])
        .exits(0);
    regions.wait_wraps("2");
    assert_eq!(
        life(a, &regions.id)["versions"][1]["reason"],
        "a test of it"
    );
    write_file(
        &regions.pair.source.join("after"),
        "sealed under the second version",
    );
    wait_until("everything is at both", TIME_MAX, || {
        a.transfers("COMPLETED").0 == 12
    });

    // The store of b, and with it the records as b wrapped them, in the place of e's own.
    let alias = ["keys", "set", &regions.id, "--alias", KEY];
    e.run(&alias).exits(0);
    for site in regions.sites() {
        site.stop();
    }
    e.edit(&format!("\"alias/{BUCKET}\""), &format!("\"{KEY}\""));
    let store = e.data().join("store");
    fs::remove_dir_all(&store).unwrap();
    copy_all(&b.data().join("store"), &store);
    for left in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
        let _none = fs::remove_file(e.data().join(left));
    }
    e.run(&["verify", "--rebuild-catalog"]).exits(0);
    e.run(&["verify", "--deep"]).exits(0);
    for name in [
        "of-0",
        "of-24",
        "of-5000",
        "of-3145728",
        "of-20971520",
        "after",
    ] {
        let out = regions.pair.dir().join(format!("got-{name}"));
        let object = format!("{BUCKET}/{name}");
        e.run(&["get", "-o", out.to_str().unwrap(), &object])
            .exits(0);
        let source = regions.pair.source.join(name);
        assert!(
            fs::read(&out).unwrap() == fs::read(source).unwrap(),
            "{name}"
        );
        // As it was wrapped in b.
        let sealed = e.rows(&["inspect", &object]).remove(0);
        assert!(sealed.to_string().contains(&regions.id), "{sealed}");
    }
}

#[test]
fn a_rotation_waits_for_a_region_that_is_away_and_goes_on_by_itself() {
    let regions = Regions::new();
    let (a, b, e) = (&regions.pair.a, &regions.pair.b, &regions.e);
    regions.grant_all();
    regions.start();
    regions.replicate();
    e.kill();
    b.run(&["keys", "rotate", KEY]).exits(0);
    wait_until("a has the second version", TIME_MAX, || {
        life(a, &regions.id)["versions"].as_array().unwrap().len() == 2
    });
    let waiting = life(b, KEY);
    assert_eq!(
        (&waiting["current"], &waiting["regions"]["waiting"]),
        (&"1".into(), &"2".into())
    );
    wait_until("b says what is in the way", TIME_MAX, || {
        life(b, KEY)["regions"]["replicas"]
            .to_string()
            .contains("trouble")
    });
    b.logs(&["a replica is not kept up to date", "region-c"]);
    b.shows("sealift_key_replica_versions_missing", 1);
    wait_until("it is behind for a while", TIME_MAX, || {
        b.metric("sealift_key_replica_lag_seconds") > Some(0)
    });
    let said = b.run(&["status"]).exits(0);
    said.tells(&[KEY, "region-a is as far", "region-c lacks 1 version"]);
    // What is sealed meanwhile is sealed under the version that all have.
    write_file(&regions.pair.source.join("meanwhile"), "content");
    wait_until("it is at b", TIME_MAX, || {
        !b.rows(&["ls", BUCKET]).is_empty()
    });
    let counts = life(b, KEY)["versions"].clone();
    assert_eq!(
        (&counts[0]["objects"], &counts[1]["objects"]),
        (&1.into(), &0.into())
    );
    // The primary is killed as well, in the middle of it.
    b.kill();
    e.start();
    b.start();
    regions.wait_wraps("2");
    e.audits("key.synchronized", &[&regions.id, "region-b"]);
    // Killed and started again and again while keys are rotated: in the end all are the same.
    for n in 0..4 {
        b.run(&["keys", "rotate", KEY]).exits(0);
        let killed = regions.sites()[n % 3];
        std::thread::sleep(Duration::from_millis(150 * n as u64));
        killed.kill();
        killed.start();
    }
    regions.wait_wraps("6");
    b.run(&["keys", "diff", KEY]).exits(0);
    for metric in ["versions_missing", "lag_seconds"] {
        let name = format!("sealift_key_replica_{metric}");
        wait_until("none is behind", TIME_MAX, || b.metric(&name) == Some(0));
    }
    for site in regions.sites() {
        site.stop();
    }
}

#[test]
fn another_region_leads_a_key_with_the_primary_or_without_it() {
    let regions = Regions::new();
    let (a, b, e) = (&regions.pair.a, &regions.pair.b, &regions.e);
    // Of a only: e may not lead it.
    for (at, who) in [(a, b), (e, b), (e, a), (b, a)] {
        grant(at, who, &regions.id);
    }
    regions.start();
    regions.replicate();
    // A key with a bucket under it is not deleted at all; give b's another one.
    b.edit(&format!("\"{KEY}\""), &format!("\"alias/{BUCKET}\""));
    b.run(&["reload"]).exits(0);
    let deletion = b.rows(&["keys", "schedule-deletion", KEY, "--days", "7"]);
    assert_eq!(deletion[0]["state"], "PendingReplicaDeletion");
    assert!(deletion[0].get("delete_at").is_none(), "{deletion:?}");
    b.run(&["keys", "rotate", KEY]).exits(12);
    let kept = b.rows(&["keys", "cancel-deletion", KEY]);
    assert_eq!(kept[0]["state"], "Disabled");
    b.run(&["keys", "enable", KEY]).exits(0);

    // b lets a lead and e not.
    let promote = ["keys", "promote", &regions.id];
    // A moment ago it was reloaded, and its links made anew.
    let (refused, _) = wait_for("b answers", TIME_MAX, || {
        let ran = e.run(&promote);
        (ran.code != 5).then_some(ran)
    });
    refused
        .exits(12)
        .tells(&["region-b refuses", "PolicyDenied"]);
    b.audits("access.denied", &[&e.identity, "replicate-keys"]);
    wait_until("a leads", TIME_MAX, || a.run(&promote).code == 0);
    a.run(&promote).exits(0);
    a.audits("key.promoted", &[&regions.id, "region-a"]);
    b.audits("key.promoted", &[&regions.id, "region-a", &a.identity]);
    b.run(&["keys", "rotate", KEY])
        .exits(12)
        .tells(&["region-a"]);
    a.run(&["keys", "rotate", &regions.id]).exits(0);
    regions.wait_wraps("2");

    // Without the one that leads: only on somebody's word.
    a.kill();
    b.run(&promote).exits(5).tells(&["hint:"]);
    let usage = ["keys", "promote", KEY, "--without-primary"];
    b.run(&usage).exits(2);
    let forced = [&usage[..], &["--reason", "region a burnt down"]].concat();
    b.run(&forced).exits(0);
    b.audits("key.promoted", &["region a burnt down"]);
    b.run(&["keys", "rotate", KEY]).exits(0);
    // It comes back, and follows; e is told as well.
    a.start();
    regions.wait_wraps("3");
    a.run(&["keys", "rotate", &regions.id])
        .exits(12)
        .tells(&["region-b"]);

    // A region that will not come back is waited for no more.
    e.kill();
    b.run(&["keys", "rotate", KEY]).exits(0);
    let drop = [
        "keys",
        "drop-replica",
        KEY,
        "--of",
        "region-c",
        "--reason",
        "gone",
    ];
    b.run(&drop).exits(0);
    wait_until("the others go on", TIME_MAX, || {
        [a, b]
            .iter()
            .all(|site| life(site, &regions.id)["current"] == "4")
    });
    b.audits("key.replica_removed", &[&regions.id, "region-c", "gone"]);
}

#[test]
fn a_key_stays_within_the_regions_that_it_and_its_buckets_are_allowed_in() {
    let pair = Pair::new();
    let made = pair.b.rows(&["keys", "create", KEY, "--multi-region"]);
    let id = made[0]["id"].as_str().unwrap();
    let only = ["keys", "create", "alias/kept", "--multi-region"];
    let only = [&only[..], &["--allowed-region", "region-c"]].concat();
    pair.b.run(&only).exits(0);
    // Regions are allowed of a key that may go somewhere.
    let single = ["keys", "create", "alias/x", "--allowed-region", "region-a"];
    pair.b.run(&single).exits(2);
    let key = format!("key = \"alias/{BUCKET}\"");
    pair.b.edit(
        &key,
        &format!("key = \"{KEY}\"\nallowed_regions = [\"region-c\"]"),
    );
    grant(&pair.a, &pair.b, "*");
    pair.start();
    wait_for_a_session(&pair.b);
    let to_a = |key| ["keys", "replicate", key, "--to", "region-a"];
    // A key of one region is no key of several.
    let single = format!("alias/{BUCKET}");
    let refused = pair.b.run(&to_a(&single)).exits(12);
    refused.tells(&["--multi-region", "hint:"]);
    pair.b
        .run(&to_a("alias/kept"))
        .exits(12)
        .tells(&["not allowed in region region-a"]);
    let line = pair.b.line_of("allowed_regions").to_string();
    let refused = pair.b.run(&to_a(KEY)).exits(12);
    refused.tells(&["ResidencyDenied", &format!("line {line}"), BUCKET]);
    assert_eq!(pair.a.run(&["keys", "describe", id]).code, 10);
    // Allowed, it goes; and when it is not any more, check says so and nothing more goes.
    pair.b.edit("region-c", "region-a");
    pair.b.run(&["reload"]).exits(0);
    // Its session is made anew behind that.
    wait_until("the key goes", TIME_MAX, || {
        pair.b.run(&to_a(KEY)).code == 0
    });
    pair.b
        .run(&["check"])
        .tells(&["regions of key alias/shared"]);
    pair.b.edit(
        "allowed_regions = [\"region-a\"]",
        "allowed_regions = [\"region-c\"]",
    );
    pair.b.run(&["reload"]).exits(0);
    let checked = pair.b.run(&["check"]);
    checked.tells(&[
        "warn",
        "regions of key alias/shared",
        "out of region region-a",
    ]);
    pair.b.run(&["keys", "rotate", KEY]).exits(0);
    wait_until("the rotation waits", TIME_MAX, || {
        life(&pair.b, KEY)["regions"]["replicas"]
            .to_string()
            .contains("ResidencyDenied")
    });
    assert_eq!(life(&pair.a, id)["versions"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_asked_about_keys_is_bound_to_its_connection_and_not_understood_of_an_older_agent() {
    let pair = Pair::new();
    let stranger = pair.stranger("c", &pair.authority());
    add_peer(&pair.b, "c", &stranger, None);
    grant(&pair.b, &stranger, "*");
    let rogue = Rogue::with_identity_of(&stranger);
    pair.b.start();
    let key = "key-00112233445566778899aabbccddeeff";
    let offer = format!(r#"{{"ask":"key-offer","key":"{key}","new":true}}"#);
    let unknown = r#"{"answer":"unknown"}"#;
    let mut older = rogue.begins().unwrap();
    assert_eq!(rogue.asks(&mut older, &offer), unknown);

    let (mut one, mut other) = (rogue.begins_with_keys(), rogue.begins_with_keys());
    let look = format!(r#"{{"ask":"key-look","key":"{key}"}}"#);
    assert_eq!(rogue.asks(&mut one, &look), r#"{"answer":"key-none"}"#);
    assert_eq!(rogue.asks(&mut one, r#"{"ask":"key-steal"}"#), unknown);
    let wanted: Value = serde_json::from_str(&rogue.asks(&mut one, &offer)).unwrap();
    assert_eq!(
        (&wanted["answer"], &wanted["versions"]),
        (&"key-wanted".into(), &0.into())
    );
    let exchange = wanted["exchange"].as_str().unwrap();
    let bring = format!(
        r#"{{"ask":"key-bring","exchange":"{exchange}","public":"{}","sealed":"AAAA"}}"#,
        "09".repeat(32)
    );
    // Over another connection of the same agent it was never offered.
    let tries = [
        (false, "not offered"),
        (true, "another exchange"),
        (true, "not offered"),
    ];
    for (is_the_same, told) in tries {
        let link = if is_the_same { &mut one } else { &mut other };
        let answer = rogue.asks(link, &bring);
        assert!(
            answer.contains("key-refused") && answer.contains(told),
            "{answer}"
        );
    }
    let leads = format!(r#"{{"ask":"key-yield","key":"{key}","term":2}}"#);
    assert!(rogue.asks(&mut one, &leads).contains("key-refused"));
    assert_eq!(pair.b.run(&["keys", "describe", key]).code, 10);
}
