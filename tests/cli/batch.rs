//! Records wrapped anew and versions sealed anew, with the agent running and without it.

use std::{fs, time::Duration};

use serde_json::Value;

use crate::support::{BUCKET, Pair, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);
const OTHER: &str = "alias/other";

fn alias() -> String {
    format!("alias/{BUCKET}")
}

/// How an object rests at B.
fn sealing(pair: &Pair, object: &str) -> Value {
    let rows = pair.b.rows(&["inspect", &format!("{BUCKET}/{object}")]);
    rows[0]["sealing"].clone()
}

fn with_objects() -> Pair {
    let pair = Pair::new();
    for n in 0..20 {
        write_file(
            &pair.source.join(format!("small-{n:02}")),
            format!("content {n}"),
        );
    }
    write_file(&pair.source.join("large"), vec![7; 9 << 20]);
    pair.start();
    pair.wait_completed(21, TIME_MAX);
    pair.b.rows(&["keys", "create", OTHER]);
    pair
}

#[test]
fn records_move_to_another_key_while_everything_runs_and_the_old_key_is_needed_no_more() {
    let pair = with_objects();
    let before = sealing(&pair, "large");
    let dry = pair.b.rows(&["keys", "rewrap", "--to", OTHER, "--dry-run"]);
    assert_eq!(
        (&dry[0]["records"], &dry[0]["dry_run"]),
        (&1.into(), &true.into())
    );
    assert_eq!(sealing(&pair, "large"), before);
    let wrong = format!("{OTHER}:7");
    pair.b
        .run(&["keys", "rewrap", "--to", &wrong])
        .exits(2)
        .tells(&["key version", "alias/other:1"]);
    pair.b
        .run(&["keys", "rewrap", "--to", "alias/none"])
        .exits(10);

    let done = pair
        .b
        .rows(&["keys", "rewrap", "--to", OTHER, "--bucket", BUCKET]);
    assert_eq!(
        (&done[0]["records"], &done[0]["failed"]),
        (&1.into(), &0.into())
    );
    let after = sealing(&pair, "large");
    for same in ["object_uid", "record", "file", "offset", "length"] {
        assert_eq!(after[same], before[same], "{same}");
    }
    assert_eq!(after["cmk"], done[0]["cmk"]);
    assert_ne!(after["cmk"], before["cmk"]);
    pair.b.run(&["keys", "disable", &alias()]).exits(0);
    let got = pair.get("small-03", "got");
    assert_eq!(fs::read_to_string(got).unwrap(), "content 3");
    pair.b.audits("key.rewrapped", &["cmk_version"]);
    pair.b.audits("administration", &["keys rewrap"]);
    // What comes now waits for the bucket's own key, and says so.
    write_file(&pair.source.join("late"), "late");
    pair.b.run(&["keys", "enable", &alias()]).exits(0);
    pair.wait_completed(22, TIME_MAX);
    pair.verify_both(TIME_MAX);

    // A stopped site does it as well: everything under the newest version of one key.
    pair.b.stop();
    pair.b.run(&["keys", "rotate", &alias()]).exits(0);
    let done = pair
        .b
        .rows(&["batch", "rewrap", "--to", &format!("{}:2", alias())]);
    assert_eq!(
        (&done[0]["records"], &done[0]["current"]),
        (&2.into(), &0.into())
    );
    let again = pair.b.rows(&["batch", "rewrap", "--to", &alias()]);
    assert_eq!(
        (&again[0]["records"], &again[0]["current"]),
        (&0.into(), &2.into())
    );
    pair.b.start();
    pair.verify_both(TIME_MAX);
}

#[test]
fn versions_are_sealed_anew_with_a_report_and_gone_on_with_after_an_interruption() {
    let pair = with_objects();
    let before = sealing(&pair, "large");
    pair.b.edit(&alias(), OTHER);
    pair.b.run(&["reload"]).exits(0);
    let dry = pair.b.rows(&["batch", "reseal", BUCKET, "--dry-run"]);
    let last = dry.last().unwrap();
    assert_eq!((&last["planned"], &last["failed"]), (&21.into(), &0.into()));
    // One record is opened and one begun; without bucket keys it is two calls an object.
    let forecast = &last["forecast"];
    assert_eq!(forecast["calls"], 2, "{forecast}");
    assert_eq!(forecast["calls_without_bucket_keys"], 42, "{forecast}");
    assert_eq!(sealing(&pair, "large"), before);

    let report = pair.dir().join("report.csv");
    let report = report.to_str().unwrap();
    let prefix = format!("{BUCKET}/small-0");
    let first = pair
        .b
        .rows(&["batch", "reseal", &prefix, "--report", report]);
    assert_eq!(first.last().unwrap()["resealed"], 10);
    let refused = pair.b.run(&["batch", "reseal", BUCKET, "--report", report]);
    refused.exits(2).tells(&["there already", "--resume"]);
    let rest = pair
        .b
        .rows(&["batch", "reseal", BUCKET, "--report", report, "--resume"]);
    let last = rest.last().unwrap();
    assert_eq!(
        (&last["resealed"], &last["skipped"]),
        (&11.into(), &10.into())
    );
    let written = fs::read_to_string(report).unwrap();
    assert_eq!(written.matches(",resealed,").count(), 21, "{written}");

    let after = sealing(&pair, "large");
    assert_ne!(after["object_uid"], before["object_uid"]);
    assert_ne!(after["record"], before["record"]);
    assert_ne!(after["cmk"], before["cmk"]);
    // The key of before opens nothing that counts any more.
    pair.b.run(&["keys", "disable", &alias()]).exits(0);
    pair.verify_both(TIME_MAX);
    pair.b.audits("object.resealed", &["replaces"]);

    // A manifest names some of them; what is not here fails, and the others do not.
    pair.b.stop();
    let version = |object: &str| {
        let rows = pair.b.rows(&["inspect", &format!("{BUCKET}/{object}")]);
        rows[0]["version"].as_str().unwrap().to_owned()
    };
    let manifest = pair.dir().join("manifest.csv");
    let lines = format!(
        "bucket,key,version\n{BUCKET},small-00,{}\n{BUCKET},gone,v1\n{BUCKET},large,{}\n",
        version("small-00"),
        version("large")
    );
    write_file(&manifest, lines);
    let ran = pair
        .b
        .run(&["batch", "reseal", "--manifest", manifest.to_str().unwrap()]);
    ran.exits(3)
        .tells(&["2 versions are sealed anew", "1 failed", "gone"]);
    pair.b.start();
    pair.verify_both(TIME_MAX);
}

#[test]
fn without_bucket_keys_every_object_costs_a_call_and_has_a_record_of_its_own() {
    let pair = Pair::new();
    let key = format!("key = \"{}\"", alias());
    pair.b.edit(&key, &format!("{key}\nbucket_keys = false"));
    for n in 0..5 {
        write_file(
            &pair.source.join(format!("small-{n}")),
            format!("content {n}"),
        );
    }
    pair.start();
    pair.wait_completed(5, TIME_MAX);
    let mut records: Vec<_> = (0..5)
        .map(|n| sealing(&pair, &format!("small-{n}"))["record"].to_string())
        .collect();
    records.sort_unstable();
    records.dedup();
    assert_eq!(records.len(), 5);
    pair.verify_both(TIME_MAX);
}
