//! A bucket that is sealed in two layers, from the source to what is read of it.

use std::{fs, time::Duration};

use crate::support::{BUCKET, Content, Pair, Site, free_address, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);
const OUTER: &str = "alias/outer";

/// Two sites; the receiver seals in two layers.
fn in_two_layers() -> Pair {
    let pair = Pair::new();
    pair.b.run(&["keys", "create", OUTER]).exits(0);
    with_second_key(&pair, OUTER);
    pair
}

fn with_second_key(pair: &Pair, second: &str) {
    let key = format!("key = \"alias/{BUCKET}\"");
    let both = format!("{key}\nsecond_key = \"{second}\"");
    pair.b.edit(&key, &both);
}

/// The id behind an alias.
fn id_of(pair: &Pair, alias: &str) -> String {
    let keys = pair.b.rows(&["keys", "list"]);
    let named = keys.iter().find(|key| key["alias"] == alias);
    named.unwrap()["id"].as_str().unwrap().to_owned()
}

#[test]
fn two_layers_arrive_are_read_back_and_name_both_keys_everywhere() {
    let pair = in_two_layers();
    let large = Content::new(7, 20_000_000);
    large.write(&pair.source.join("large"));
    write_file(&pair.source.join("small"), "a few bytes");
    pair.start();
    pair.wait_completed(2, TIME_MAX);
    let (inner, outer) = (
        id_of(&pair, &format!("alias/{BUCKET}")),
        id_of(&pair, OUTER),
    );
    for object in ["large", "small"] {
        let rows = pair.b.rows(&["inspect", &format!("{BUCKET}/{object}")]);
        let sealing = &rows[0]["sealing"];
        assert_eq!(sealing["cmk"], inner.as_str(), "{sealing}");
        assert_eq!(sealing["second"]["cmk"], outer.as_str(), "{sealing}");
        assert_eq!(sealing["second"]["cmk_version"], "1", "{sealing}");
    }
    // Both sides: the sender has it from the receipt.
    for site in [&pair.a, &pair.b] {
        let told = site.run(&["explain", &format!("{BUCKET}/small")]).exits(0);
        told.tells(&[&inner, &outer, "in a second layer"]);
    }
    pair.b
        .audits("object.stored", &["second_cmk", outer.as_str()]);
    assert!(large.is_in(&pair.get("large", "got-large")));
    let got = pair.get("small", "got-small");
    assert_eq!(fs::read_to_string(got).unwrap(), "a few bytes");
    pair.verify_both(TIME_MAX);
    pair.b.run(&["verify", "--deep"]).exits(0);

    // Two records are opened and two begun; without bucket keys it is four calls an object.
    let dry = pair.b.rows(&["batch", "reseal", BUCKET, "--dry-run"]);
    let forecast = &dry.last().unwrap()["forecast"];
    assert_eq!(forecast["calls"], 4, "{forecast}");
    assert_eq!(forecast["calls_without_bucket_keys"], 8, "{forecast}");
    let resealed = pair.b.rows(&["batch", "reseal", BUCKET]);
    for row in &resealed[..2] {
        let (before, now) = (&row["record"], &row["second_record"]);
        assert!(now.is_string() && before != now, "{row}");
    }

    // The catalog made anew from store and keys knows both layers again.
    pair.stop();
    let rows = pair.b.rows(&["inspect", &format!("{BUCKET}/large")]);
    let rebuild = ["verify", "--rebuild-catalog"];
    pair.b.run_in_time(TIME_MAX, &rebuild).exits(0);
    let again = pair.b.rows(&["inspect", &format!("{BUCKET}/large")]);
    assert_eq!(again[0]["sealing"]["second"], rows[0]["sealing"]["second"]);
}

#[test]
fn a_second_key_that_is_the_first_is_refused_with_its_line_before_anything_begins() {
    let pair = Pair::new();
    with_second_key(&pair, &format!("alias/{BUCKET}"));
    let line = pair.b.line_of("second_key");
    let place = format!("sealift.toml:{line}");
    let refused = pair.b.run(&["check", "--offline"]).exits(78);
    refused.tells(&[&place, "bucket.second_key", "another key"]);
    pair.b.run(&["up"]).exits(78).tells(&[&place]);
}

#[test]
fn a_site_that_is_made_with_second_keys_seals_in_two_layers() {
    let pair = Pair::new();
    let dir = pair.dir().join("two");
    pair.issue("c", &dir);
    let identity = "spiffe://example.org/region/region-b/agent/c";
    let site = Site::new("c", &dir, identity.to_owned(), free_address());
    let init = [
        "init",
        "--name",
        "c",
        "--region",
        "region-b",
        "--data-dir",
        "data",
    ];
    let alone = [&init[..], &["--listen", "127.0.0.1:1", "--second-key"]].concat();
    site.run(&alone).exits(2).tells(&["--bucket"]);
    let both = [&init[..], &["--bucket", BUCKET, "--second-key"]].concat();
    site.run(&both).exits(0).tells(&["alias/photos-outer"]);
    site.line_of("second_key = \"alias/photos-outer\"");
    let checked = site.run(&["check", "--offline", "--json"]).rows();
    for which in ["key of bucket photos", "second key of bucket photos"] {
        let line = checked.iter().find(|line| line["check"] == which);
        assert_eq!(line.unwrap()["outcome"], "pass", "{checked:?}");
    }
}

#[test]
fn a_reload_gives_a_bucket_its_second_layer_and_refuses_a_key_that_is_not_there() {
    let pair = Pair::new();
    write_file(&pair.source.join("before"), "in one layer");
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    with_second_key(&pair, OUTER);
    pair.b
        .run(&["reload"])
        .exits(12)
        .tells(&["second key", OUTER]);
    pair.b.run(&["keys", "create", OUTER]).exits(0);
    pair.b.run(&["reload"]).exits(0);
    write_file(&pair.source.join("after"), "in two layers");
    pair.wait_completed(2, TIME_MAX);
    for (object, layers) in [("before", 1), ("after", 2)] {
        let rows = pair.b.rows(&["inspect", &format!("{BUCKET}/{object}")]);
        let second = &rows[0]["sealing"]["second"];
        assert_eq!(second.is_null(), layers == 1, "{object}: {second}");
        let got = pair.get(object, &format!("got-{object}"));
        let text = fs::read_to_string(got).unwrap();
        assert_eq!(text.contains("two"), layers == 2);
    }
    pair.verify_both(TIME_MAX);
}

#[test]
fn a_disabled_second_key_stops_reads_and_writes_and_both_go_on_when_it_is_enabled() {
    let pair = in_two_layers();
    write_file(&pair.source.join("old"), "before");
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    let old = format!("{BUCKET}/old");
    pair.b.run(&["get", &old]).exits(0);
    pair.b.run(&["keys", "disable", OUTER]).exits(0);
    wait_until("reads are refused", TIME_MAX, || {
        pair.b.run(&["get", &old]).code == 12
    });
    write_file(&pair.source.join("new"), "after");
    wait_until("the write is put off", TIME_MAX, || {
        let said = pair.a.run(&["explain", &format!("{BUCKET}/new")]).said();
        said.contains("DstKmsKeyDisabled") && said.contains("PENDING")
    });
    pair.b.run(&["keys", "enable", OUTER]).exits(0);
    pair.wait_completed(2, TIME_MAX);
    pair.b.run(&["get", &old]).exits(0);
    pair.verify_both(TIME_MAX);
}
