//! What a batch of replication queued is listed, held back and taken back by its number.

use std::{fs, process::Stdio, time::Duration};

use serde_json::Value;

use crate::support::{BUCKET, Pair, program, text, wait_for, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(120);
const OBJECTS: u64 = 30;

/// A pair whose objects are all there, and whose receiver is stopped.
fn with_objects() -> Pair {
    let pair = Pair::new();
    for n in 0..OBJECTS {
        write_file(&pair.source.join(format!("k{n:02}")), format!("{n}"));
    }
    pair.start();
    pair.wait_completed(OBJECTS, TIME_MAX);
    pair.b.stop();
    pair
}

fn counts(row: &Value) -> [u64; 5] {
    ["queued", "owed", "replicated", "failed", "cancelled"]
        .map(|of| row[of]["versions"].as_u64().unwrap())
}

#[test]
fn what_was_queued_without_waiting_is_held_back_and_taken_back_and_what_is_owed_is_not() {
    let pair = with_objects();
    // The source owes one itself.
    write_file(&pair.source.join("late"), "late");
    wait_until("a change waits", TIME_MAX, || {
        pair.a.transfers("PENDING").0 == 1
    });
    let report = text(&pair.dir().join("report.csv"));
    let batch = ["batch", "replicate", BUCKET, "--no-wait"];
    let queued = pair.a.rows(&[&batch[..], &["--report", &report]].concat());
    let summary = queued.last().unwrap();
    assert_eq!(
        (&summary["batch"], &summary["queued"]),
        (&1.into(), &31.into())
    );
    let listed = pair.a.rows(&["batch", "list"]);
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0]["what"], &listed[0]["state"]),
        (&BUCKET.into(), &"running".into())
    );
    assert_eq!(counts(&listed[0]), [OBJECTS, 1, 0, 0, 0]);

    // It is known after a restart, and by a stopped agent.
    pair.a.stop();
    let paused = pair.a.rows(&["batch", "pause", "1"]).remove(0);
    assert_eq!(paused["state"], "paused");
    pair.a.start();
    pair.a.shows("sealift_batches_paused", 1);
    let explain = ["explain", &format!("{BUCKET}/k00")];
    let explained = pair.a.run(&explain).exits(0);
    explained.tells(&["PENDING", "BatchPaused", "batch 1 is paused"]);
    pair.b.start();
    wait_until("what is owed arrives", TIME_MAX, || {
        pair.a.transfers("COMPLETED").0 == 1
    });
    let shown = pair.a.rows(&["batch", "status", "1"]).remove(0);
    assert_eq!(counts(&shown), [OBJECTS, 0, 1, 0, 0]);
    pair.b.stop();
    let resumed = pair.a.rows(&["batch", "resume", "1"]).remove(0);
    assert_eq!(resumed["state"], "running");
    pair.a.shows("sealift_batches_paused", 0);

    let cancel = ["batch", "cancel", "1", "--report", &report];
    // One or the other may have been on its way when the receiver ended: it is put back when
    // that is given up.
    let cancelled = pair.a.rows(&cancel).remove(0);
    assert_eq!(cancelled["state"], "cancelled");
    wait_until("everything stands as before", TIME_MAX, || {
        pair.a.transfers("COMPLETED").0 == OBJECTS + 1
    });
    pair.a.rows(&cancel);
    pair.a
        .audits("administration", &["batch cancel", "\"batch\":\"1\""]);
    for act in ["pause", "resume"] {
        let ran = pair.a.run(&["batch", act, "1"]).exits(2);
        ran.tells(&["1, which is cancelled"]);
        pair.a.run(&["batch", act, "9"]).exits(10);
    }
    let told = pair.a.run(&["batch", "status", &report, "--json"]).exits(0);
    let told = told.rows().remove(0);
    assert_eq!(told["results"]["cancelled"]["objects"], OBJECTS);
    assert_eq!(told["results"]["replicated"]["objects"], 1);
    assert!(told["results"].get("queued").is_none(), "{told}");
    assert!(pair.a.rows(&["batch", "list"]).is_empty());
    let all = pair.a.rows(&["batch", "list", "--all"]).remove(0);
    assert_eq!(counts(&all), [0, 0, 1, 0, OBJECTS]);

    // Nothing is lost by it: another batch sends all of it.
    pair.b.start();
    pair.a.run_in_time(TIME_MAX, &batch[..3]).exits(0);
    let other = pair.a.rows(&["batch", "status", "2"]).remove(0);
    assert_eq!(counts(&other), [0, 0, OBJECTS + 1, 0, 0]);
    pair.verify_both(TIME_MAX);
}

#[test]
fn a_batch_that_waits_ends_when_it_is_cancelled_and_says_what_was() {
    let pair = with_objects();
    let report = pair.dir().join("report.csv");
    let report_text = text(&report);
    let mut command = program();
    command.args(["batch", "replicate", BUCKET, "--report", &report_text]);
    command.args(["-c", &text(&pair.a.config())]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut batch = command.spawn().unwrap();
    wait_until("all of it is queued", TIME_MAX, || {
        pair.a.transfers("PENDING").0 == OBJECTS
    });
    pair.a.rows(&["batch", "cancel", "1"]);
    let (code, _) = wait_for("the batch ends", TIME_MAX, || batch.try_wait().unwrap());
    assert_eq!(code.code(), Some(3));
    let written = fs::read_to_string(&report).unwrap();
    assert_eq!(written.matches(",cancelled,").count() as u64, OBJECTS);
    assert_eq!(pair.a.transfers("COMPLETED").0, OBJECTS);
    // What was taken back is what is left to do.
    pair.b.start();
    let on = [
        "batch",
        "replicate",
        BUCKET,
        "--report",
        &report_text,
        "--resume",
    ];
    let rows = pair
        .a
        .run_in_time(TIME_MAX, &[&on[..], &["--json"]].concat());
    assert_eq!(rows.exits(0).rows().last().unwrap()["replicated"], OBJECTS);
    pair.verify_both(TIME_MAX);
}
