//! Versions that go for good: deleted at the source, by applications, by age; and what
//! retains them.

use std::{thread, time::Duration};

use sealift_fake_kms::{FakeS3, Trouble};
use serde_json::Value;

use super::{
    buckets::{from_bucket, put, versions},
    endpoint::Fronted,
};
use crate::support::{BUCKET, Content, PART, Pair, Site, run_program, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(120);

/// What the rule of `a` says, and how long a purge waits.
const RULE: &str = "# prefix = \"only/below/\"";
const SENDS: &str = "version_deletes = true\npurge_hold_secs = 2";
pub(super) const GRANT: &str = "actions = [\"replicate\", \"delete\"]";
pub(super) const PURGES: &str = "actions = [\"replicate\", \"delete\", \"purge\"]";

/// An answer without a body ends with its connection.
const CLOSES: &[(&str, &str)] = &[("connection", "close")];

/// The version ids of a key at `b`, the latest first.
fn ids(pair: &Pair, key: &str) -> Vec<String> {
    ids_in(versions(pair, key))
}

fn ids_in(rows: Vec<Value>) -> Vec<String> {
    let ids = rows
        .iter()
        .map(|row| row["version"].as_str().unwrap().to_owned());
    ids.collect()
}

/// The same at a site behind `b`.
fn ids_at(site: &Site, key: &str) -> Vec<String> {
    let ran = site.run(&["inspect", "--json", &format!("{BUCKET}/{key}")]);
    match ran.code {
        10 => Vec::new(),
        _ => ids_in(ran.exits(0).rows()),
    }
}

fn gone_at(site: &Site, key: &str, version: &str) {
    wait_until(&format!("{key} {version} is gone"), TIME_MAX, || {
        !ids_at(site, key).iter().any(|id| id == version)
    });
}

fn gone(pair: &Pair, key: &str, version: &str) {
    wait_until(&format!("{key} {version} is gone"), TIME_MAX, || {
        !ids(pair, key).iter().any(|id| id == version)
    });
}

fn explained(pair: &Pair, key: &str, words: &[&str]) {
    explained_at(&pair.a, key, words);
}

fn explained_at(site: &Site, key: &str, words: &[&str]) {
    wait_until(
        &format!("{key} is explained by {words:?}"),
        TIME_MAX,
        || {
            let said = site.run(&["explain", &format!("{BUCKET}/{key}")]).said();
            words.iter().all(|word| said.contains(word))
        },
    );
}

fn scanned(pair: &Pair) {
    for _ in 0..2 {
        let scanned = pair.a.status()["sources"][0]["scanned"].clone();
        wait_until("it was scanned again", TIME_MAX, || {
            pair.a.status()["sources"][0]["scanned"] != scanned
        });
    }
}

#[test]
fn a_version_deleted_at_the_source_is_purged_after_its_hold_where_both_sides_say_so() {
    let pair = Pair::new();
    let server = FakeS3::start(BUCKET, None);
    from_bucket(&pair, &server.url(), "");
    let act = |key: &str, content: Vec<u8>| server.put(key, put(content));
    let first = act("k", b"one".to_vec());
    let second = act("k", b"two".to_vec());
    let large = Content::new(7, PART + 12_345);
    let large_id = act("large", large.bytes());
    act("large", b"small now".to_vec());
    let only = act("only", b"only".to_vec());
    pair.start();
    pair.wait_completed(5, TIME_MAX);
    // Without a word in the rule nothing is purged.
    server.purge("k", &first);
    scanned(&pair);
    assert_eq!(ids(&pair, "k"), [second.as_str(), &first]);
    pair.a
        .edit(RULE, "version_deletes = true\npurge_hold_secs = 3600");
    pair.a.run(&["apply"]).exits(0);
    explained(&pair, "k", &["purge", "PENDING", "PurgeHeld"]);
    assert_eq!(ids(&pair, "k").len(), 2);
    // Nobody can hurry it.
    pair.a.run(&["retry"]).exits(0);
    explained(&pair, "k", &["PurgeHeld"]);
    // What its rule does not send any more when its time has come stays.
    pair.a.edit("purge_hold_secs = 3600", "purge_hold_secs = 2");
    pair.a.run(&["apply"]).exits(0);
    server.purge("large", &large_id);
    // The right to delete keys is none to purge versions.
    explained(&pair, "large", &["DstPurgeDenied"]);
    assert_eq!(ids(&pair, "large").len(), 2);
    pair.b.edit(GRANT, PURGES);
    pair.b.run(&["reload"]).exits(0);
    gone(&pair, "large", &large_id);
    pair.b.audits("object.purged", &[&large_id, "region-a"]);
    // The latest: the one below is so at once, and it goes after its hold.
    server.purge("k", &second);
    let back = act("k", b"three".to_vec());
    gone(&pair, "k", &second);
    assert_eq!(ids(&pair, "k")[0], back);
    // A source that is away has lost nothing.
    server.trouble(Trouble::Unreachable);
    thread::sleep(Duration::from_secs(4));
    server.trouble(Trouble::None);
    scanned(&pair);
    assert_eq!(ids(&pair, "only"), [only.as_str()]);
    // All of a key.
    server.purge("only", &only);
    gone(&pair, "only", &only);
    pair.b.run(&["get", &format!("{BUCKET}/only")]).exits(10);
    pair.b.run(&["verify", "--deep"]).exits(0);
    pair.b.stop();
    pair.b.run(&["keys", "list"]).exits(0);
}

#[test]
fn much_that_is_gone_at_once_is_held_and_purges_survive_a_kill() {
    let pair = Pair::new();
    let server = FakeS3::start(BUCKET, None);
    from_bucket(&pair, &server.url(), "");
    pair.a.edit(RULE, SENDS);
    pair.b.edit(GRANT, PURGES);
    let mut old = Vec::new();
    for n in 0..20_u64 {
        let key = format!("k{n:02}");
        let content = Content::new(n, if n % 4 == 0 { 1_100_000 } else { 900 });
        old.push((key.clone(), server.put(&key, put(content.bytes()))));
        server.put(&key, put(b"now".to_vec()));
    }
    pair.start();
    pair.wait_completed(40, TIME_MAX);
    for (key, id) in &old {
        server.purge(key, id);
    }
    wait_until("they are held", TIME_MAX, || {
        pair.a.status()["sources"][0]["purges_held"] == 20
    });
    pair.a
        .run(&["status"])
        .exits(0)
        .tells(&["20 version deletes are held", "--accept-deletes"]);
    thread::sleep(Duration::from_secs(5));
    assert_eq!(ids(&pair, "k00").len(), 2);
    pair.a.run(&["retry", "--accept-deletes"]).exits(0);
    // Killed again and again while they go.
    for _ in 0..4 {
        thread::sleep(Duration::from_millis(700));
        pair.b.kill();
        pair.b.start();
    }
    for (key, id) in &old {
        gone(&pair, key, id);
    }
    pair.wait_completed(60, TIME_MAX);
    for (key, _) in &old {
        assert_eq!(
            pair.b
                .run(&["get", &format!("{BUCKET}/{key}")])
                .exits(0)
                .text(),
            "now"
        );
    }
    assert_eq!(pair.b.status()["buckets"][0]["versions"], 20);
    pair.b.run(&["verify", "--deep"]).exits(0);
    // What the store alone says is the same.
    pair.b.stop();
    pair.b.run(&["verify", "--rebuild-catalog"]).exits(0);
    pair.b.start();
    for (key, id) in &old {
        assert!(!ids(&pair, key).contains(id), "{key}");
    }
    pair.b.run(&["verify", "--deep"]).exits(0);
}

#[test]
fn what_is_retained_or_held_is_not_purged_whoever_asks() {
    let pair = Pair::new();
    let server = FakeS3::start(BUCKET, None);
    from_bucket(&pair, &server.url(), "");
    pair.a
        .edit(RULE, "version_deletes = true\npurge_hold_secs = 1");
    pair.b.edit(GRANT, PURGES);
    let key = format!("key = \"alias/{BUCKET}\"");
    pair.b.edit(&key, &format!("{key}\nmin_retention_days = 1"));
    let first = server.put("k", put(b"one".to_vec()));
    let held = server.put("k", put(b"two".to_vec()));
    server.put("k", put(b"three".to_vec()));
    pair.start();
    pair.wait_completed(3, TIME_MAX);
    server.purge("k", &first);
    explained(&pair, "k", &["FAILED", "DstRetained", "min_retention_days"]);
    pair.b
        .audits("purge.refused", &[&first, "min_retention_days"]);
    let hold = |act: &str, more: &[&str]| {
        let named = [
            "hold",
            act,
            BUCKET,
            "k",
            "--version",
            &held,
            "--reason",
            "case 17",
        ];
        pair.b.run(&[&named[..], more].concat())
    };
    hold("set", &[])
        .exits(0)
        .tells(&["held", "case 17", &held, "1 version is under it now"]);
    let nothing = ["hold", "set", BUCKET, "nosuchkey", "--reason", "case 18"];
    pair.b
        .run(&nothing)
        .exits(0)
        .tells(&["0 versions are under it now"]);
    let every = ["hold", "set", BUCKET, "--prefix", "--reason", "case 19"];
    pair.b
        .run(&every)
        .exits(0)
        .tells(&["3 versions are under it now"]);
    for on in [&["nosuchkey"], &["--prefix"]] {
        let lift = [&["hold", "lift", BUCKET, "--reason", "a test"], &on[..]].concat();
        pair.b.run(&lift).exits(0);
    }
    // The file says no more that anything is retained: what is held is.
    pair.b
        .edit("min_retention_days = 1", "expire_noncurrent_days = 1");
    pair.b.run(&["reload"]).exits(0);
    pair.a.run(&["retry"]).exits(0);
    gone(&pair, "k", &first);
    server.purge("k", &held);
    explained(&pair, "k", &["DstRetained", "case 17"]);
    pair.b.stop();
    pair.b
        .run(&["hold", "list"])
        .exits(0)
        .tells(&["held", "case 17", &held]);
    pair.b.start();
    assert!(ids(&pair, "k").contains(&held));
    hold("lift", &[]).exits(0).tells(&["no legal hold"]);
    hold("lift", &[])
        .exits(10)
        .tells(&["there is no legal hold on exactly", "sealift hold list"]);
    pair.b.audits("hold.set", &["case 17"]);
    pair.b.audits("hold.lifted", &[&held]);
    pair.a.run(&["retry"]).exits(0);
    gone(&pair, "k", &held);
    pair.b
        .edit("expire_noncurrent_days = 1", "expire_noncurrent_days = 0");
    let line = pair.b.line_of("expire_noncurrent_days = 0").to_string();
    pair.b
        .run(&["check", "--offline"])
        .exits(78)
        .tells(&["bucket.expire_noncurrent_days", &line]);
}

#[test]
fn what_was_purged_goes_along_a_chain_where_each_rule_and_each_grant_says_so() {
    let pair = Pair::new();
    let server = FakeS3::start(BUCKET, None);
    from_bucket(&pair, &server.url(), "");
    pair.a.edit(RULE, SENDS);
    pair.b.edit(GRANT, PURGES);
    let act = |key: &str, content: &[u8]| server.put(key, put(content.to_vec()));
    let old = act("k", b"one");
    let held = act("held", b"held");
    let large = Content::new(7, PART + 12_345);
    let large_id = server.put("large", put(large.bytes()));
    for key in ["k", "held", "large"] {
        act(key, b"now");
    }
    let c = pair.onward("e", "# version deletes");
    c.start();
    pair.start();
    pair.wait_completed(6, TIME_MAX);
    for key in ["k", "held", "large"] {
        wait_until("both versions are there", TIME_MAX, || {
            ids_at(&c, key).len() == 2
        });
    }
    // Without a word in the rule from b it ends there.
    server.purge("k", &old);
    gone(&pair, "k", &old);
    assert_eq!(ids_at(&c, "k").len(), 2);
    pair.b.edit(
        "# version deletes",
        "version_deletes = true\npurge_hold_secs = 3600",
    );
    pair.b.run(&["apply"]).exits(0);
    // It is found although it happened before, and waits; the half that is missing is named.
    explained_at(&pair.b, "k", &["purge", "PENDING", "PurgeHeld"]);
    let checked = pair.b.run(&["check"]);
    let said = checked.said();
    for word in [
        "version deletes of bucket",
        "DstPurgeDenied",
        "add \"purge\" to the actions",
        pair.b.identity.as_str(),
    ] {
        assert!(said.contains(word), "no {word} in {said}");
    }
    c.edit(GRANT, PURGES);
    c.run(&["reload"]).exits(0);
    let said = pair.b.run(&["check"]).said();
    assert!(!said.contains("DstPurgeDenied"), "{said}");
    pair.b.edit("purge_hold_secs = 3600", "purge_hold_secs = 2");
    pair.b.run(&["apply"]).exits(0);
    assert_eq!(ids_at(&c, "k").len(), 2);
    // What is under a legal hold there stays there.
    let hold = [BUCKET, "held", "--reason", "case 17"];
    c.run(&[&["hold", "set"][..], &hold].concat()).exits(0);
    server.purge("held", &held);
    server.purge("large", &large_id);
    gone(&pair, "held", &held);
    // A kill in between loses nothing of it, and nothing is purged twice.
    pair.b.kill();
    pair.b.start();
    gone_at(&c, "large", &large_id);
    c.audits("object.purged", &[&large_id, "region-b"]);
    explained_at(&pair.b, "held", &["FAILED", "DstRetained", "case 17"]);
    assert!(ids_at(&c, "held").contains(&held));
    c.run(&[&["hold", "lift"][..], &hold].concat()).exits(0);
    pair.b.run(&["retry"]).exits(0);
    gone_at(&c, "held", &held);
    for site in [&pair.b, &c] {
        site.run(&["verify", "--deep"]).exits(0);
    }
}

/// A promoted bucket with two versions of `a`, the latest first; its key has these rights.
fn promoted(rights: &str) -> (Fronted, Vec<String>) {
    let fronted = Fronted::allowed(rights, "");
    write_file(&fronted.pair.source.join("a"), "the first");
    fronted.pair.start();
    fronted.pair.wait_completed(1, TIME_MAX);
    write_file(&fronted.pair.source.join("a"), "the second");
    fronted.pair.wait_completed(2, TIME_MAX);
    let ids = ids(&fronted.pair, "a");
    (fronted, ids)
}

#[test]
fn an_application_purges_versions_where_it_has_the_right_and_nothing_retains_them() {
    let (fronted, there) = promoted("get\", \"list\", \"put\", \"delete\", \"purge");
    let (s3, pair) = (&fronted.s3, &fronted.pair);
    let path = |id: &str| format!("{}?versionId={id}", fronted.path("a"));
    s3.ask("DELETE", &path(&there[1]), CLOSES)
        .fails(403, "AccessDenied");
    pair.b.run(&["endpoint", "promote", BUCKET]).exits(0);
    let hold = ["hold", "set", BUCKET, "a", "--reason", "case 17"];
    pair.b.run(&hold).exits(0);
    let refused = s3
        .ask("DELETE", &path(&there[1]), CLOSES)
        .fails(403, "AccessDenied");
    assert!(refused.text().contains("case 17"), "{}", refused.text());
    pair.b
        .run(&["hold", "lift", BUCKET, "a", "--reason", "over"])
        .exits(0);
    let purged = s3.ask("DELETE", &path(&there[1]), CLOSES).is(204);
    assert_eq!(purged.headers["x-amz-version-id"], there[1]);
    s3.get(&path(&there[1])).fails(404, "NoSuchVersion");
    // Again, it is gone as well; and what names no version puts a marker.
    s3.ask("DELETE", &path(&there[1]), CLOSES).is(204);
    let marker = s3.ask("DELETE", &fronted.path("a"), CLOSES).is(204);
    let marker = marker.headers["x-amz-version-id"].clone();
    s3.get(&fronted.path("a")).fails(404, "NoSuchKey");
    let purged = s3.ask("DELETE", &path(&marker), CLOSES).is(204);
    assert_eq!(purged.headers["x-amz-delete-marker"], "true");
    assert_eq!(s3.get(&fronted.path("a")).is(200).text(), "the second");
    pair.b
        .audits("object.purged", &["access-key:app", &there[1]]);
    assert_eq!(ids(pair, "a"), [there[0].as_str()]);
    pair.b.run(&["verify", "--deep"]).exits(0);
}

#[test]
fn the_right_to_remove_keys_is_none_to_purge_versions() {
    let (fronted, there) = promoted("get\", \"list\", \"put\", \"delete");
    let (s3, pair) = (&fronted.s3, &fronted.pair);
    pair.b.run(&["endpoint", "promote", BUCKET]).exits(0);
    let path = format!("{}?versionId={}", fronted.path("a"), there[1]);
    let refused = s3.ask("DELETE", &path, CLOSES).fails(403, "AccessDenied");
    assert!(refused.text().contains("to purge in"), "{}", refused.text());
    assert_eq!(ids(pair, "a"), there);
    s3.ask("DELETE", &fronted.path("a"), CLOSES).is(204);
}

#[test]
#[ignore = "needs boto3, which cargo xtask test installs"]
fn boto3_deletes_versions_of_a_promoted_bucket_as_it_deletes_them_in_s3() {
    let (fronted, there) = promoted("get\", \"list\", \"put\", \"delete\", \"purge");
    let pair = &fronted.pair;
    pair.b.run(&["endpoint", "promote", BUCKET]).exits(0);
    let python = format!("PYTHONPATH={}", std::env::var("SEALIFT_BOTO3").unwrap());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/s3_purges.py");
    let url = format!("http://{}", fronted.s3.address);
    let arguments = [
        &python,
        "python3",
        script,
        &url,
        &fronted.s3.id,
        &fronted.s3.secret,
        BUCKET,
        &there[1],
    ];
    run_program("env", &arguments, &[0]);
    assert_eq!(ids(pair, "a"), [there[0].as_str()]);
    assert!(ids(pair, "many").is_empty());
    pair.b.run(&["verify", "--deep"]).exits(0);
}
