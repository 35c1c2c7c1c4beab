//! Every error says what happened in words of the caller, and what to do.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use crate::support::{BUCKET, Pair, Ran, run, run_in_time, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Fails the test unless it ended so, with a hint, and told all of these.
#[track_caller]
fn hints(ran: Ran, code: i32, words: &[&str]) {
    let ran = ran.exits(code).tells(&["hint: "]).tells(words);
    assert!(!ran.said().contains("sealift help"), "{ran}");
}

#[test]
fn what_an_authority_refuses_is_told_in_the_units_and_words_of_the_question() {
    let pair = Pair::new();
    let (ca, out) = (pair.authority(), pair.dir().join("out"));
    let (dir, out) = (text(&ca), text(&out));
    let issue = |region: &'static str, hours: &'static str| {
        let args = [
            "ca", "issue", "--dir", dir, "--region", region, "--name", "x",
        ];
        run(args
            .into_iter()
            .chain(["--life-hours", hours, "--out", out]))
    };
    let ran = issue("region-a", "1129").exits(2);
    ran.tells(&["1 to 1128 hours", "47 days"]);
    let ran = issue("nowhere", "24");
    hints(ran, 10, &["no issuing CA for region nowhere", "--region"]);
    let secret = ca.with_extension("passphrase");
    let init = |secret: &str| {
        let args = [
            "ca", "init", "--dir", dir, "--domain", "d.org", "--region", "r",
        ];
        run(args.into_iter().chain(["--passphrase-file", secret]))
    };
    hints(
        init(text(&secret)),
        1,
        &["holds a certificate authority already", "--dir"],
    );
    let open = pair.dir().join("open");
    fs::write(&open, "a passphrase of a test\n").unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    hints(
        init(text(&open)),
        12,
        &["the passphrase file was refused", "chmod 600"],
    );
    let none = pair.dir().join("none");
    let ran = run([
        "ca",
        "issue",
        "--dir",
        text(&none),
        "--region",
        "r",
        "--name",
        "x",
    ]);
    hints(ran, 1, &["sealift ca init"]);
}

#[test]
fn what_is_not_there_is_looked_for_where_it_could_be() {
    let pair = Pair::new();
    let promote = ["endpoint", "promote", BUCKET];
    hints(
        pair.a.run(&promote),
        10,
        &["it is a source here", "at the site that receives it"],
    );
    hints(
        pair.a.run(&["policy"]),
        10,
        &["there is no policy to print", "[[source]]"],
    );
    let ran = pair.a.run(&["policy", "--principal", "nonsense"]);
    ran.exits(2).tells(&["no ARN of a role or a user"]);
}

#[test]
fn what_is_there_already_is_left_alone_and_named() {
    let pair = Pair::new();
    let args = [
        "init",
        "--name",
        "a",
        "--region",
        "region-a",
        "--data-dir",
        "data",
    ];
    let ran = pair.a.run(&args);
    hints(ran, 1, &["sealift.toml", "there already"]);
    // Before anything is made for it.
    let used = text(pair.dir()).to_owned();
    fs::create_dir(pair.dir().join("used")).unwrap();
    fs::create_dir(pair.dir().join("used/a")).unwrap();
    let workdir = format!("{used}/used");
    let ran = run_in_time(TIME_MAX, ["demo", "--workdir", &workdir]);
    hints(ran, 1, &["used/a", "there already"]);
    assert!(!pair.dir().join("used/source").exists());
}

#[test]
fn a_key_can_be_made_by_a_name_as_it_is_rotated_by_one() {
    let pair = Pair::new();
    for name in [&["alias/one"][..], &["--alias", "alias/two"]] {
        pair.b.run(&[&["keys", "create"], name].concat()).exits(0);
    }
    pair.b.run(&["keys", "rotate", "alias/one"]).exits(0);
    pair.b.run(&["keys", "rotate", "alias/two"]).exits(0);
    pair.b.run(&["keys", "create"]).exits(2);
}

#[test]
fn commands_that_miss_their_object_say_where_it_is() {
    let pair = Pair::new();
    write_file(&pair.source.join("one"), "content");
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    let object = format!("{BUCKET}/one");
    let ran = pair.a.run(&["get", &object]);
    hints(
        ran,
        10,
        &["it is sent from here", "the site that receives it"],
    );
    let ran = pair.b.run(&["get", "--range", "100-", &object]);
    hints(ran, 2, &["range", "7 bytes"]);
    let ran = pair.b.run(&["inspect", "/nonexist"]);
    hints(ran, 10, &["no file /nonexist", "check the path"]);
    let file = pair.dir().join("file");
    fs::write(&file, "").unwrap();
    let ran = pair.b.run(&["restore", BUCKET, text(&file)]);
    hints(ran, 1, &["name a directory"]);
    let gone = pair.dir().join("no/such/directory/out");
    let ran = pair.b.run(&["get", "-o", text(&gone), &object]);
    hints(ran, 1, &["cannot write", "check the path"]);
    pair.b.stop();
    let ran = pair.b.run(&["reload"]);
    hints(ran, 5, &["no agent runs", "sealift up"]);
}

#[test]
fn what_failed_is_listed_whether_or_not_it_is_the_latest() {
    let pair = Pair::new();
    pair.b.edit("\"replicate\", \"delete\"", "\"delete\"");
    write_file(&pair.source.join("one"), "first");
    pair.start();
    let failed = || pair.a.transfers("FAILED").0;
    crate::support::wait_until("it is refused", TIME_MAX, || failed() == 1);
    write_file(&pair.source.join("one"), "the second");
    crate::support::wait_until("the second is refused, too", TIME_MAX, || failed() == 2);
    let listed = pair.a.rows(&["ls", "--status", "FAILED"]);
    assert_eq!(listed.len(), 2, "as many as `status` counts: {listed:?}");
    assert_eq!(pair.a.rows(&["ls"]).len(), 1);
}

#[test]
fn rows_of_json_are_flat_and_named() {
    let pair = Pair::new();
    write_file(&pair.source.join("one"), "content");
    std::os::unix::fs::symlink("one", pair.source.join("link")).unwrap();
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    crate::support::wait_until("the link is left out", TIME_MAX, || {
        pair.a.rows(&["ls"]).len() == 2
    });
    let listed = pair.a.rows(&["ls"]);
    let link = listed.iter().find(|row| row["key"] == "link").unwrap();
    assert!(
        link["version"].is_null() && link["status"] == "SKIPPED",
        "{link}"
    );
    let secret = pair.authority().with_extension("passphrase");
    let backup = pair.dir().join("keys.sealed");
    let args = [
        "keys",
        "backup",
        text(&backup),
        "--passphrase-file",
        text(&secret),
    ];
    let row = pair.b.rows(&args).remove(0);
    assert_eq!(row["versions"][0]["version"], "1", "{row}");
    assert!(row["versions"][0]["id"].is_string(), "{row}");
    pair.b.stop();
    fs::remove_dir_all(pair.b.data().join("keys")).unwrap();
    let args = [
        "keys",
        "restore",
        text(&backup),
        "--passphrase-file",
        text(&secret),
    ];
    pair.b
        .run(&args)
        .exits(0)
        .tells(&["made anew", "1 key version"]);
    let packs = pair.b.data().join("store/packs");
    for path in crate::support::files_below(&packs).keys() {
        fs::write(packs.join(path), "").unwrap();
    }
    let rows = pair.b.run(&["verify", "--json"]).exits(4).rows();
    assert!(rows[0]["finding"].is_string(), "{rows:?}");
    let said = pair.b.run(&["verify"]).exits(4);
    said.tells(&["looked at", "--deep"]);
    pair.b
        .run(&["explain", &format!("{BUCKET}/one")])
        .exits(0)
        .tells(&["DstObjectDamaged"]);
}
