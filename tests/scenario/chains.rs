//! What is archived in one region goes on to the next, and back to one that lost what it had.

use std::{fs, time::Duration};

use serde_json::{Value, json};

use crate::support::{BUCKET, Content, PART, Pair, Site, text, wait_until};

const TIME_MAX: Duration = Duration::from_secs(120);

/// All versions that rest at a site, with what says which they are.
fn versions(site: &Site) -> Vec<Value> {
    let rows = site.rows(&["ls", "--versions", "--status", "REPLICA", BUCKET]);
    let of = |row: &Value| {
        json!([
            row["key"],
            row["version"],
            row["kind"],
            row["size"],
            row["latest"],
            row["last_modified"],
            row["mode"],
        ])
    };
    rows.iter().map(of).collect()
}

#[track_caller]
fn wait_equal(one: &Site, other: &Site) {
    wait_until("both sites have the same versions", TIME_MAX, || {
        let (one, other) = (versions(one), versions(other));
        !one.is_empty() && one == other
    });
}

/// What a site has of a version, opened.
fn bytes_of(pair: &Pair, site: &Site, row: &Value) -> Vec<u8> {
    let out = pair.dir().join(format!("out-{}", site.name));
    let object = format!("{BUCKET}/{}", row[0].as_str().unwrap());
    let version = row[1].as_str().unwrap();
    let get = ["get", "--version", version, "-o", &text(&out), &object];
    site.run(&get).exits(0);
    fs::read(&out).unwrap()
}

/// Every version has the same bytes at both, and another sealing.
#[track_caller]
fn assert_same_bytes(pair: &Pair, one: &Site, other: &Site) {
    let rows = versions(one);
    for row in rows.iter().filter(|row| row[2] == "put") {
        let bytes = bytes_of(pair, one, row);
        assert_eq!(bytes.len() as u64, row[3].as_u64().unwrap());
        assert!(bytes == bytes_of(pair, other, row), "{row}");
    }
    let sealing = |site: &Site| {
        let object = format!("{BUCKET}/{}", rows[0][0].as_str().unwrap());
        let rows = site.rows(&["inspect", &object]);
        rows[0]["sealing"]["record"].clone()
    };
    assert_ne!(sealing(one), sealing(other));
}

fn write(pair: &Pair, key: &str, seed: u64, size: u64) {
    Content::new(seed, size).write(&pair.source.join(key));
}

#[test]
fn what_arrives_goes_on_to_the_next_region_with_its_versions_and_removals() {
    let pair = Pair::new();
    for n in 0..30 {
        write(&pair, &format!("k{n:02}"), n, n * 3_000);
    }
    write(&pair, "large", 99, 2 * PART + 12_345);
    pair.start();
    pair.wait_completed(31, TIME_MAX);
    // The next region comes later: what was there goes on, too.
    let c = pair.onward("e", "");
    pair.b.stop();
    c.start();
    pair.b.start();
    wait_equal(&pair.b, &c);
    // At once, without a scan: that comes once an hour.
    write(&pair, "k01", 1_001, 50_000);
    write(&pair, "k02", 1_002, 0);
    fs::remove_file(pair.source.join("k03")).unwrap();
    write(&pair, "k04", 1_004, PART + 7);
    pair.wait_completed(35, TIME_MAX);
    wait_equal(&pair.b, &c);
    assert_eq!(versions(&c).len(), 35);
    assert_same_bytes(&pair, &pair.b, &c);
    c.run(&["get", &format!("{BUCKET}/k03")]).exits(10);
    let row = c.rows(&["inspect", "--facts", &format!("{BUCKET}/large")]);
    assert_eq!(row[0]["facts"]["source_region"], "region-a");
    wait_until("b has the receipts", TIME_MAX, || {
        pair.b.transfers("COMPLETED").0 == 35
    });
    // What was recorded is known after a kill, what comes then goes on.
    pair.b.kill();
    pair.b.start();
    write(&pair, "k05", 1_005, 77);
    pair.wait_completed(36, TIME_MAX);
    wait_equal(&pair.b, &c);
    wait_until("b has the receipts", TIME_MAX, || {
        pair.b.transfers("COMPLETED").0 == 36
    });
    pair.b.audits("object.opened", &["\"sender\""]);
    for site in [&pair.b, &c] {
        site.run_in_time(TIME_MAX, &["verify", "--deep"]).exits(0);
    }
}

#[test]
fn a_region_that_lost_everything_gets_it_back_where_a_rule_says_so() {
    let pair = Pair::new();
    for n in 0..20 {
        write(&pair, &format!("k{n:02}"), n, n * 3_000);
    }
    pair.start();
    pair.wait_completed(20, TIME_MAX);
    write(&pair, "k01", 1_001, 50_000);
    fs::remove_file(pair.source.join("k02")).unwrap();
    pair.wait_completed(22, TIME_MAX);
    pair.a.kill();
    let again = pair.onward("again", "priority = 9");
    pair.b.stop();
    again.start();
    pair.b.start();
    // They are replicas from there, which go back to nobody unasked.
    wait_until("all are left out", TIME_MAX, || {
        pair.b.transfers("SKIPPED").0 == 22
    });
    let told = pair.b.run(&["explain", &format!("{BUCKET}/k01")]).text();
    assert!(
        told.contains("SkippedReplica") && told.contains("to_origin"),
        "{told}"
    );
    pair.b
        .edit("priority = 9", "priority = 9\nto_origin = true");
    let plan = pair.b.run(&["plan"]).exits(0).text();
    assert!(
        plan.contains("to_origin: false → true") && plan.contains("19"),
        "{plan}"
    );
    pair.b.run(&["apply"]).exits(0);
    wait_equal(&pair.b, &again);
    assert_eq!(pair.b.transfers("SKIPPED").0, 0);
    assert_same_bytes(&pair, &pair.b, &again);
    again.run_in_time(TIME_MAX, &["verify", "--deep"]).exits(0);
}

#[test]
fn a_region_in_the_middle_that_is_killed_again_and_again_passes_everything_on_once() {
    let pair = Pair::new();
    let c = pair.onward("e", "");
    c.start();
    pair.start();
    let mut written = 0;
    for round in 0..4 {
        for n in 0..25 {
            written += 1;
            write(&pair, &format!("{round}/{n:02}"), written, written * 1_000);
        }
        write(&pair, "again", 1_000 + round, 2 * PART + round);
        written += 1;
        // Somewhere between what arrives, what is recorded and what goes on.
        std::thread::sleep(Duration::from_millis(1_200 + 300 * round));
        pair.b.kill();
        pair.b.start();
    }
    // A version that was overwritten before it was sent is no more.
    wait_until("everything that is left arrived", TIME_MAX, || {
        let (completed, pending) = (
            pair.a.transfers("COMPLETED").0,
            pair.a.transfers("PENDING").0,
        );
        completed >= written - 4 && pending == 0
    });
    wait_equal(&pair.b, &c);
    assert!(versions(&c).len() as u64 >= written - 4);
    let there = versions(&pair.b).len() as u64;
    wait_until("each was sent on once", TIME_MAX, || {
        pair.b.transfers("COMPLETED").0 == there && pair.b.transfers("PENDING").0 == 0
    });
    assert_same_bytes(&pair, &pair.b, &c);
    c.run_in_time(TIME_MAX, &["verify", "--deep"]).exits(0);
}
