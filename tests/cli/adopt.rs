//! Plaintext that was found becomes sealed versions, and goes only when it is asked to and what
//! is sealed of it was read back.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use serde_json::Value;

use crate::support::{BUCKET, Content, Pair, tell, text, write_file};

const TIME_MAX: Duration = Duration::from_secs(120);

/// Puts plaintext where somebody may leave it: beside the store's own files.
fn found(pair: &Pair) -> PathBuf {
    let dir = pair.b.data().join("store/found");
    write_file(&dir.join("plain text.txt"), "left here in the clear");
    write_file(&dir.join("deep/er/empty"), "");
    Content::new(5, 9_000_000).write(&dir.join("large"));
    dir
}

fn adopt(from: &Path, more: &[&str]) -> Vec<String> {
    let place = format!("{BUCKET}/old/");
    let from = text(from);
    let adopt = ["batch", "adopt", &place, "--from", &from];
    let all = [&adopt[..], more].concat();
    all.into_iter().map(str::to_owned).collect()
}

fn rows(pair: &Pair, arguments: &[String]) -> Vec<Value> {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    pair.b.rows(&arguments)
}

fn run(pair: &Pair, arguments: &[String]) -> crate::support::Ran {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    pair.b.run_in_time(TIME_MAX, &arguments)
}

fn is_there(dir: &Path) -> [bool; 3] {
    ["plain text.txt", "deep/er/empty", "large"].map(|file| dir.join(file).exists())
}

#[test]
fn what_was_left_in_the_store_is_sealed_read_back_and_removed_when_that_is_asked_for() {
    let pair = Pair::new();
    write_file(&pair.source.join("replica"), "a replica");
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    let dir = found(&pair);
    symlink(dir.join("large"), dir.join("link")).unwrap();
    // A sealed file is no plaintext, wherever it is.
    let sealed = pair.b.rows(&["inspect", &format!("{BUCKET}/replica")]);
    let pack = sealed[0]["sealing"]["file"].as_str().unwrap();
    fs::copy(pair.b.data().join("store").join(pack), dir.join("a-pack")).unwrap();

    let dry = rows_of(&pair, &adopt(&dir, &["--dry-run"]), 3);
    let last = dry.last().unwrap();
    assert_eq!(
        (&last["planned"], &last["failed"]),
        (&3.into(), &2.into()),
        "{dry:?}"
    );
    assert_eq!(last["key_calls"], 1, "{last}");
    assert_eq!(pair.b.rows(&["ls", BUCKET]).len(), 1);
    let told = run(&pair, &adopt(&dir, &["--dry-run"]));
    told.exits(3).tells(&["the first as photos/old/"]);

    let report = pair.dir().join("report.csv");
    let report = text(&report);
    let first = adopt(&dir, &["--report", &report]);
    let done = rows_of(&pair, &first, 3);
    let last = done.last().unwrap();
    assert_eq!(
        (&last["adopted"], &last["failed"]),
        (&3.into(), &2.into()),
        "{done:?}"
    );
    let told = |file: &str| done.iter().find(|row| row["file"] == file).unwrap().clone();
    assert!(
        told("a-pack")["evidence"]
            .as_str()
            .unwrap()
            .contains("no plaintext")
    );
    assert!(told("link")["evidence"].as_str().unwrap().contains("link"));
    assert_eq!(is_there(&dir), [true; 3], "nothing goes unasked");
    assert_eq!(
        pair.get("old/plain text.txt", "out")
            .metadata()
            .unwrap()
            .len(),
        22
    );
    assert!(Content::new(5, 9_000_000).is_in(&pair.get("old/large", "large")));
    let facts = pair
        .b
        .rows(&["inspect", "--facts", &format!("{BUCKET}/old/large")]);
    assert_eq!(facts[0]["facts"]["source_region"], "region-b", "{facts:?}");
    assert!(facts[0]["facts"]["last_modified"].is_string());
    pair.b.audits("object.stored", &["old/large", "uid:"]);
    pair.b.audits("administration", &["batch adopt"]);
    let written = fs::read_to_string(&report).unwrap();
    assert_eq!(written.matches(",adopted,").count(), 3, "{written}");

    let ran = pair.b.run(&["batch", "status", &report, "--json"]);
    let status = ran.exits(3).rows();
    assert_eq!(status[0]["results"]["adopted"]["objects"], 3, "{status:?}");
    assert_eq!(status[0]["results"]["failed"]["objects"], 2, "{status:?}");
    // Gone on with, it does what is left: nothing but what cannot be done.
    let again = adopt(&dir, &["--report", &report, "--resume"]);
    let done = rows_of(&pair, &again, 3);
    assert_eq!(done.last().unwrap()["skipped"], 3, "{done:?}");
    // Another plaintext of a key that is there waits until it is wanted on top.
    write_file(&dir.join("plain text.txt"), "another text");
    let refused = run(&pair, &adopt(&dir, &[]));
    refused
        .exits(3)
        .tells(&["the key is there already", "--over-existing"]);
    fs::remove_file(dir.join("a-pack")).unwrap();
    fs::remove_file(dir.join("link")).unwrap();
    let last = adopt(&dir, &["--over-existing", "--remove-plaintext"]);
    let done = rows_of(&pair, &last, 0);
    let summary = done.last().unwrap();
    assert_eq!(
        (&summary["adopted"], &summary["removed"]),
        (&3.into(), &3.into()),
        "{done:?}"
    );
    assert_eq!(is_there(&dir), [false; 3]);
    let versions = pair
        .b
        .rows(&["ls", "--versions", &format!("{BUCKET}/old/plain")]);
    assert_eq!(
        versions.len(),
        2,
        "each plaintext is a version, and none is there twice"
    );
    let got = fs::read_to_string(pair.get("old/plain text.txt", "second")).unwrap();
    assert_eq!(got, "another text");
    pair.b.audits("plaintext.removed", &["deep/er/empty"]);
    pair.b.run_in_time(TIME_MAX, &["verify", "--deep"]).exits(0);
}

/// The rows of a command that ends with this code.
fn rows_of(pair: &Pair, arguments: &[String], code: i32) -> Vec<Value> {
    let with_json = [arguments, &["--json".to_owned()]].concat();
    run(pair, &with_json).exits(code).rows()
}

#[test]
fn where_the_agent_has_its_own_files_nothing_is_adopted() {
    let pair = Pair::new();
    pair.b.start();
    let data = pair.b.data();
    for refused in [data.clone(), data.join("keys"), data.join("store/objects")] {
        fs::create_dir_all(&refused).unwrap();
        run(&pair, &adopt(&refused, &[]))
            .exits(2)
            .tells(&["--from", "the agent's own files"]);
    }
    // A running agent has given up all other directories.
    let elsewhere = pair.dir().join("elsewhere");
    write_file(&elsewhere.join("a.txt"), "plain");
    match pair.b.log().contains("no Landlock") {
        true => tell("files that an agent gave up were left out: this kernel has no Landlock"),
        false => {
            let ran = run(&pair, &adopt(&elsewhere, &[]));
            ran.exits(2)
                .tells(&["sources alone", "once the agent is stopped"]);
        }
    }
    // What begins keys and ends no folder makes keys that nobody wants.
    let from = text(&elsewhere);
    let joined = ["batch", "adopt", "photos/in", "--from", &from];
    let ran = pair.b.run(&joined).exits(2);
    ran.tells(&["inFILE", "BUCKET/PREFIX/"]);
    let none = ["batch", "adopt", "no-such-bucket", "--from", "/tmp"];
    pair.b.run(&none).exits(10);
    let nowhere = pair.dir().join("nowhere");
    run(&pair, &adopt(&nowhere, &[])).exits(1);
}

#[test]
fn a_batch_that_is_killed_is_gone_on_with_and_makes_no_version_twice() {
    let pair = Pair::new();
    pair.b.start();
    let dir = pair.dir().join("elsewhere");
    for n in 0..150 {
        Content::new(n, 20_000 + n).write(&dir.join(format!("f{n:03}")));
    }
    pair.b.stop();
    // A stopped site does it where its owner can read.
    let report = text(&pair.dir().join("report.csv"));
    let first = adopt(&dir, &["--report", &report, "--remove-plaintext"]);
    let mut child = crate::support::program();
    let config = text(&pair.b.config());
    child.args(&first).args(["-c", &config]);
    let mut child = child.spawn().unwrap();
    while fs::read_dir(&dir).unwrap().count() > 140 {
        sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let left = fs::read_dir(&dir).unwrap().count();
    assert!(left < 150, "{left}");

    let rest = adopt(
        &dir,
        &["--report", &report, "--resume", "--remove-plaintext"],
    );
    let done = rows(&pair, &rest);
    assert_eq!(done.last().unwrap()["removed"], left, "{:?}", done.last());
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    pair.b.start();
    let versions = pair.b.rows(&["ls", "--versions", BUCKET]);
    assert_eq!(versions.len(), 150);
    for n in [0, 70, 149] {
        let key = format!("old/f{n:03}");
        assert!(Content::new(n, 20_000 + n).is_in(&pair.get(&key, &format!("out-{n}"))));
    }
    pair.b.run_in_time(TIME_MAX, &["verify", "--deep"]).exits(0);
}
