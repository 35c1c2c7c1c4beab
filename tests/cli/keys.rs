//! Keys are made, rotated, stopped, backed up and taken back, with the agent
//! running and without it, and every change is on record.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use crate::support::{BUCKET, Pair, Site, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);
/// A key that was disabled is not used any more after this time, as is promised. It takes none.
const DISABLED_TIME_MAX: Duration = Duration::from_secs(5);

/// The key of the bucket.
fn alias() -> String {
    format!("alias/{BUCKET}")
}

/// The key's row.
#[track_caller]
fn key(site: &Site) -> Value {
    let rows = site.rows(&["keys", "list"]);
    let named = |row: &Value| row["alias"] == alias().as_str();
    rows.into_iter().find(named).unwrap()
}

fn passphrase(pair: &Pair, name: &str, text: &str) -> PathBuf {
    let path = pair.dir().join(name);
    write_file(&path, format!("{text}\n"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The version of the key that the newest version of an object is sealed under.
#[track_caller]
fn sealed_under(site: &Site, object: &str) -> String {
    let rows = site.rows(&["inspect", &format!("{BUCKET}/{object}")]);
    rows[0]["sealing"]["cmk_version"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// What is left of `check` when everything but the backup of keys is as it should be.
#[track_caller]
fn backup_line(site: &Site) -> (i32, String) {
    let ran = site.run(&["check", "--offline", "--json"]);
    let line = |row: &Value| row["check"] == "key backup";
    let row = ran.rows().into_iter().find(line).unwrap();
    (ran.code, row["outcome"].as_str().unwrap().to_owned())
}

#[test]
fn every_change_of_a_key_works_with_and_without_the_agent_and_is_on_record() {
    let pair = Pair::new();
    for running in [true, false] {
        if running {
            pair.b.start();
        }
        let name = format!("alias/made-{running}");
        let made = pair.b.rows(&["keys", "create", "--alias", &name]).remove(0);
        assert_eq!(made["alias"], name.as_str());
        assert_eq!(
            (&made["region"], &made["state"]),
            (&"region-b".into(), &"Enabled".into())
        );
        assert_eq!(made["versions"][0]["backed_up"], false, "{made}");
        let id = made["id"].as_str().unwrap().to_owned();
        let why = format!("it was time {running}");
        let rotated = pair
            .b
            .rows(&["keys", "rotate", &name, "--reason", &why])
            .remove(0);
        assert_eq!(
            rotated["versions"].as_array().unwrap().len(),
            2,
            "{rotated}"
        );
        let disabled = pair.b.rows(&["keys", "disable", &id]).remove(0);
        assert_eq!(disabled["state"], "Disabled");
        pair.b
            .run(&["keys", "rotate", &id])
            .exits(12)
            .tells(&["Disabled", "hint:", "enable"]);
        let enabled = pair.b.rows(&["keys", "enable", &name]).remove(0);
        assert_eq!(enabled["state"], "Enabled");
        let actor = format!("uid:{}", fs::metadata(pair.dir()).unwrap().uid());
        let actor = if running {
            actor
        } else {
            format!("{actor} offline")
        };
        pair.b.audits("key.created", &[&actor, &id, &name]);
        pair.b.audits("key.rotated", &[&actor, &id, &why]);
        pair.b
            .audits("key.state_changed", &[&actor, &id, "Disabled"]);
        pair.b
            .audits("key.state_changed", &[&actor, &id, "Enabled"]);
        if running {
            pair.b.stop();
        }
    }
    let shown = pair.b.run(&["keys", "list"]).exits(0);
    shown.tells(&[
        "ALIAS",
        "NEXT ROTATION",
        "alias/made-true",
        "alias/made-false",
        "missing",
    ]);
}

#[test]
fn a_key_that_is_not_there_and_an_alias_that_is_taken_are_told_with_what_to_do() {
    let pair = Pair::new();
    for act in ["rotate", "disable", "enable"] {
        let ran = pair.b.run(&["keys", act, "alias/nothing"]).exits(10);
        ran.tells(&["alias/nothing", "hint:", "sealift keys list"]);
    }
    let ran = pair
        .b
        .run(&["keys", "create", "--alias", &alias()])
        .exits(12);
    ran.tells(&["already names", "hint:"]);
    pair.b
        .run(&["keys", "create", "--alias", "with space"])
        .exits(2);
}

#[test]
fn after_a_rotation_new_objects_use_the_new_version_and_old_ones_still_open() {
    let pair = Pair::new();
    write_file(&pair.source.join("old"), "before");
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    assert_eq!(sealed_under(&pair.b, "old"), "1");
    pair.b.run(&["keys", "rotate", &alias()]).exits(0);
    write_file(&pair.source.join("new"), "after");
    pair.wait_completed(2, TIME_MAX);
    assert_eq!(sealed_under(&pair.b, "new"), "2");
    pair.b.stop();
    // A stopped site takes it up as well.
    pair.b.run(&["keys", "rotate", &alias()]).exits(0);
    pair.b.start();
    write_file(&pair.source.join("newest"), "last");
    pair.wait_completed(3, TIME_MAX);
    assert_eq!(sealed_under(&pair.b, "newest"), "3");
    for (object, content) in [("old", "before"), ("new", "after"), ("newest", "last")] {
        let got = pair.get(object, &format!("got-{object}"));
        assert_eq!(fs::read_to_string(got).unwrap(), content);
    }
    pair.verify_both(TIME_MAX);
}

#[test]
fn a_disabled_key_stops_reads_and_writes_and_both_go_on_when_it_is_enabled() {
    let pair = Pair::new();
    write_file(&pair.source.join("old"), "before");
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    let old = format!("{BUCKET}/old");
    pair.b.run(&["get", &old]).exits(0);
    pair.b.run(&["keys", "disable", &alias()]).exits(0);
    wait_until("reads are refused", DISABLED_TIME_MAX, || {
        pair.b.run(&["get", &old]).code == 12
    });
    pair.b
        .run(&["get", &old])
        .exits(12)
        .tells(&["Disabled", "hint:", "sealift keys enable key-"]);
    write_file(&pair.source.join("new"), "after");
    wait_until("the write is put off", TIME_MAX, || {
        let said = pair.a.run(&["explain", &format!("{BUCKET}/new")]).said();
        said.contains("DstKmsKeyDisabled") && said.contains("PENDING")
    });
    pair.b.run(&["inspect", &format!("{BUCKET}/new")]).exits(10);
    pair.b.run(&["keys", "enable", &alias()]).exits(0);
    pair.wait_completed(2, TIME_MAX);
    pair.b.run(&["get", &old]).exits(0);
    pair.verify_both(TIME_MAX);
}

#[test]
fn check_fails_until_what_seals_something_is_in_a_verified_backup() {
    let pair = Pair::new();
    let (file, secret) = (
        pair.dir().join("keys"),
        passphrase(&pair, "p", "correct horse"),
    );
    let backup = [
        "keys",
        "backup",
        text(&file),
        "--passphrase-file",
        text(&secret),
    ];
    assert_eq!(
        backup_line(&pair.b),
        (0, "warn".to_owned()),
        "nothing is sealed yet"
    );
    write_file(&pair.source.join("one"), "1");
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    assert_eq!(backup_line(&pair.b), (78, "fail".to_owned()));
    pair.b
        .run(&["check"])
        .exits(78)
        .tells(&["key backup", "sealift keys backup"]);
    pair.b.stop();
    assert_eq!(backup_line(&pair.b), (78, "fail".to_owned()));
    // It is no reason to stand still.
    pair.b.start();
    pair.b.run(&backup).exits(0).tells(&["1 key version is"]);
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(backup_line(&pair.b), (0, "pass".to_owned()));
    assert_eq!(key(&pair.b)["versions"][0]["backed_up"], true);
    pair.b.audits("key.backup", &["made"]);
    pair.b.audits("key.backup", &["verified"]);

    pair.b.run(&["keys", "rotate", &alias()]).exits(0);
    assert_eq!(backup_line(&pair.b), (0, "warn".to_owned()));
    write_file(&pair.source.join("two"), "2");
    pair.wait_completed(2, TIME_MAX);
    assert_eq!(backup_line(&pair.b), (78, "fail".to_owned()));
    pair.b.stop();
    pair.b.run(&backup).exits(0).tells(&["2 key versions"]);
    assert_eq!(backup_line(&pair.b), (0, "pass".to_owned()));
}

#[test]
fn a_backup_that_cannot_be_written_marks_nothing_and_leaves_the_older_one() {
    let pair = Pair::new();
    let short = passphrase(&pair, "short", "seven77");
    let good = passphrase(&pair, "good", "correct horse");
    let file = pair.dir().join("keys");
    write_file(&file, "an older backup");
    let ran = pair.b.run(&[
        "keys",
        "backup",
        text(&file),
        "--passphrase-file",
        text(&short),
    ]);
    ran.exits(12).tells(&["8 characters"]);
    let nowhere = pair.dir().join("no/such/dir/keys");
    let ran = pair.b.run(&[
        "keys",
        "backup",
        text(&nowhere),
        "--passphrase-file",
        text(&good),
    ]);
    ran.exits(1).tells(&["cannot write"]);
    assert_eq!(key(&pair.b)["versions"][0]["backed_up"], false);
    assert_eq!(fs::read_to_string(&file).unwrap(), "an older backup");
}

#[test]
fn a_lost_keystore_comes_back_from_its_backup_and_everything_opens() {
    let pair = Pair::new();
    write_file(&pair.source.join("one"), "1");
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    let (file, secret) = (
        pair.dir().join("keys"),
        passphrase(&pair, "p", "correct horse"),
    );
    let wrong = passphrase(&pair, "wrong", "battery staple");
    let restore = |secret: &Path| {
        let arguments = [
            "keys",
            "restore",
            text(&file),
            "--passphrase-file",
            text(secret),
        ];
        pair.b.run(&arguments)
    };
    let backup = [
        "keys",
        "backup",
        text(&file),
        "--passphrase-file",
        text(&secret),
    ];
    pair.b.run(&backup).exits(0);
    let before = key(&pair.b);
    restore(&secret)
        .exits(0)
        .tells(&["0 keys and 0 versions were missing"]);
    pair.stop();
    let keystore = pair.b.data().join("keys/keystore.json");
    let kept = fs::read(&keystore).unwrap();
    fs::remove_file(&keystore).unwrap();
    pair.b.run(&["up"]).exits(78).tells(&["keystore"]);
    restore(&wrong)
        .exits(12)
        .tells(&["wrong root key or passphrase", "hint:"]);
    assert!(!keystore.exists());
    restore(&secret).exits(0);
    assert_ne!(fs::read(&keystore).unwrap(), kept);
    assert_eq!(key(&pair.b), before);
    pair.b.audits("key.backup", &["restored", "offline"]);
    assert_eq!(backup_line(&pair.b), (0, "pass".to_owned()));
    pair.start();
    pair.verify_both(TIME_MAX);
}

#[test]
fn an_older_keystore_takes_back_what_it_lacks_while_the_agent_runs() {
    let pair = Pair::new();
    let keystore = pair.b.data().join("keys/keystore.json");
    let older = fs::read(&keystore).unwrap();
    pair.b.run(&["keys", "rotate", &alias()]).exits(0);
    write_file(&pair.source.join("one"), "1");
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    let (file, secret) = (
        pair.dir().join("keys"),
        passphrase(&pair, "p", "correct horse"),
    );
    pair.b
        .run(&[
            "keys",
            "backup",
            text(&file),
            "--passphrase-file",
            text(&secret),
        ])
        .exits(0);
    pair.b.stop();
    fs::write(&keystore, older).unwrap();
    pair.b.start();
    let one = format!("{BUCKET}/one");
    pair.b
        .run(&["get", &one])
        .exits(10)
        .tells(&["no version 2"]);
    let restore = [
        "keys",
        "restore",
        text(&file),
        "--passphrase-file",
        text(&secret),
    ];
    pair.b
        .run(&restore)
        .exits(0)
        .tells(&["0 keys and 1 version were missing"]);
    pair.b.run(&["get", &one]).exits(0);
    let foreign = pair.a.run(&restore);
    foreign.exits(12).tells(&["another keystore", "hint:"]);
}
