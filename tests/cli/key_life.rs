//! The life of a key by commands, with the agent running and without it.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;

use crate::support::{BUCKET, Pair, Site, program, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);

/// 32 bytes, in hex.
const MATERIAL: &str = "9f3b5c1de07a4826b1d0c4f7938e6a52fe11209c7d4be85306af3d92c8175be4";

fn alias() -> String {
    format!("alias/{BUCKET}")
}

#[track_caller]
fn describe(site: &Site, key: &str) -> Value {
    site.rows(&["keys", "describe", key]).remove(0)
}

/// A file that only its owner reads.
fn secret(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    write_file(&path, text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// One object that has arrived.
fn with_an_object() -> Pair {
    let pair = Pair::new();
    write_file(&pair.source.join("one"), "content");
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    pair
}

#[test]
fn a_key_is_described_changed_and_listed_with_what_rests_under_each_version() {
    let pair = with_an_object();
    pair.b
        .run(&["keys", "rotate", &alias(), "--reason", "a test of it"])
        .exits(0);
    for running in [true, false] {
        let key = describe(&pair.b, &alias());
        let versions = key["versions"].as_array().unwrap();
        let counts = |version: &Value| {
            let of = |field: &str| version[field].as_u64().unwrap();
            (of("objects"), of("bytes"), of("records"))
        };
        assert_eq!(counts(&versions[0]), (1, 7, 1), "{running}: {key}");
        assert_eq!(counts(&versions[1]), (0, 0, 0), "{key}");
        assert_eq!(versions[1]["reason"], "a test of it");
        assert_eq!(key["rotate_every_days"], 365);
        assert_eq!(key["overdue"], false);
        let id = key["id"].as_str().unwrap();
        let shown = pair.b.run(&["keys", "describe", &alias()]).exits(0);
        shown.tells(&[
            id,
            "Enabled",
            "a test of it",
            "every 365 days",
            "1 objects, 7 B",
        ]);
        let listed = pair.b.run(&["keys", "list"]).exits(0);
        listed.tells(&["OBJECTS", "7 B", &alias()]);
        let changed = pair.b.rows(&[
            "keys",
            "set",
            id,
            "--description",
            "of the photos",
            "--rotate-every-days",
            "365",
        ]);
        assert_eq!(changed[0]["description"], "of the photos");
        // The bucket names its key by this alias.
        pair.b
            .run(&["keys", "set", id, "--alias", "alias/other"])
            .exits(12)
            .tells(&["bucket photos names its key by it"]);
        if running {
            let report = pair.b.status();
            assert_eq!(report["keys"][0]["version"], "2", "{report}");
            assert!(report["keys"][0]["next_rotation"].is_string());
            pair.b.shows("sealift_key_usable", 1);
            // Its one object took a call, and reading it may have saved some.
            let calls = &report["key_calls"];
            let percent = calls["saved_percent"].as_f64().unwrap();
            assert!((0.0..=100.0).contains(&percent), "{calls}");
            assert!(calls["made"].as_u64() > Some(0), "{calls}");
            let percent = pair.b.metric("sealift_key_provider_calls_saved_percent");
            assert!(percent <= Some(100), "{percent:?}");
            let said = pair.b.run(&["status"]).exits(0);
            said.tells(&["keys were used in", "were saved"]);
            pair.b.shows("sealift_key_rotation_overdue", 0);
            let due = pair.b.metric("sealift_key_rotation_due_timestamp_seconds");
            assert!(due > Some(1_790_000_000), "{due:?}");
            let missing = pair.b.metric("sealift_key_versions_without_backup");
            assert_eq!(missing, Some(2));
            pair.stop();
        }
    }
    pair.b.audits("key.changed", &[&alias()]);
    let none = pair.b.run(&["keys", "set", &alias()]);
    none.exits(2);
    for bad in ["89", "2561", "x"] {
        let args = ["keys", "set", &alias(), "--rotate-every-days", bad];
        pair.b.run(&args).exits(2).tells(&["90 to 2560 days"]);
    }
}

#[test]
fn a_key_is_scheduled_for_deletion_and_kept_but_never_that_of_a_bucket() {
    let pair = with_an_object();
    pair.b
        .run(&["keys", "schedule-deletion", &alias()])
        .exits(12)
        .tells(&["bucket photos is sealed under it", "hint:"]);
    pair.b.run(&["keys", "create", "alias/spare"]).exits(0);
    for bad in ["6", "31"] {
        let args = ["keys", "schedule-deletion", "alias/spare", "--days", bad];
        pair.b.run(&args).exits(2).tells(&["7 to 30 days"]);
    }
    for running in [true, false] {
        let args = ["keys", "schedule-deletion", "alias/spare", "--days", "7"];
        let key = pair.b.rows(&args).remove(0);
        assert_eq!(key["state"], "PendingDeletion", "{running}: {key}");
        assert!(key["delete_at"].is_string() && key["next_rotation"].is_null());
        pair.b
            .run(&["keys", "enable", "alias/spare"])
            .exits(12)
            .tells(&["PendingDeletion", "hint:"]);
        pair.b
            .run(&["keys", "list"])
            .tells(&["PendingDeletion", "destroyed 20"]);
        let kept = pair.b.rows(&["keys", "cancel-deletion", "alias/spare"]);
        assert_eq!(kept[0]["state"], "Disabled");
        pair.b.run(&["keys", "enable", "alias/spare"]).exits(0);
        if running {
            pair.stop();
        }
    }
    pair.b.audits("key.state_changed", &["PendingDeletion"]);
}

#[test]
fn a_version_is_retired_only_when_nothing_needs_it() {
    let pair = with_an_object();
    let version = |n: &str| format!("{}:{n}", alias());
    pair.b
        .run(&["keys", "retire", &version("1")])
        .exits(12)
        .tells(&["the one that wraps"]);
    pair.b.run(&["keys", "rotate", &alias()]).exits(0);
    pair.b
        .run(&["keys", "retire", &version("1")])
        .exits(12)
        .tells(&["a moment ago", "hint:"]);
    pair.b
        .run(&["keys", "retire", &version("9")])
        .exits(10)
        .tells(&["no version 9"]);
    pair.b.run(&["keys", "retire", "photos"]).exits(2);
    pair.b.run(&["get", &format!("{BUCKET}/one")]).exits(0);
}

#[test]
fn imported_material_is_the_same_at_both_sites_and_ends_with_its_time() {
    let pair = with_an_object();
    let material = secret(pair.dir(), "material", MATERIAL);
    let import = |site: &Site, more: &[&str]| {
        let args = [
            "keys",
            "import",
            "alias/by-hand",
            "--material-file",
            text(&material),
        ];
        site.run(&[&args[..], more, &["--json"]].concat())
    };
    let print = |site: &Site| {
        let key = describe(site, "alias/by-hand");
        assert_eq!(key["origin"], "imported");
        key["versions"][0]["fingerprint"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    import(&pair.a, &[]).exits(0);
    import(&pair.b, &[]).exits(0);
    assert_eq!(print(&pair.a), print(&pair.b));
    let (a, b) = (
        &describe(&pair.a, "alias/by-hand"),
        &describe(&pair.b, "alias/by-hand"),
    );
    assert_ne!(a["id"], b["id"], "they are two keys all the same");
    pair.b.audits("key.imported", &[&print(&pair.b)]);
    let log = fs::read_to_string(pair.b.log_path()).unwrap();
    assert!(!log.contains(&MATERIAL[..32]));

    fs::set_permissions(&material, fs::Permissions::from_mode(0o644)).unwrap();
    import(&pair.b, &[]).exits(12).tells(&["600"]);
    fs::set_permissions(&material, fs::Permissions::from_mode(0o600)).unwrap();
    import(&pair.b, &["--new-version"])
        .exits(12)
        .tells(&["the same"]);
    let past = import(&pair.b, &["--expires", "2020-01-01T00:00:00Z"]);
    past.exits(12).tells(&["over already"]);
    pair.b
        .run(&["keys", "rotate", "alias/by-hand"])
        .exits(12)
        .tells(&["by hand", "hint:"]);
    let soon = sealift_terms::Timestamp::from_millis(
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_millis() as i64
            + 3000,
    );
    import(&pair.b, &["--expires", &soon.to_string()]).exits(0);
    wait_until("its time is over", TIME_MAX, || {
        describe(&pair.b, "alias/by-hand")["state"] == "PendingImport"
    });
    let alarms = pair.b.status()["alarms"].to_string();
    assert!(alarms.contains("key_expired"), "{alarms}");

    // From standard input this time.
    let mut child = program()
        .args([
            "keys",
            "import",
            "alias/by-hand",
            "--material-file",
            "-",
            "-c",
        ])
        .arg(pair.b.config())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let bytes = fs::read(&material).unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(describe(&pair.b, "alias/by-hand")["state"], "Enabled");
    assert_eq!(pair.b.run(&["get", &format!("{BUCKET}/one")]).code, 0);
}

#[test]
fn another_root_key_is_taken_up_and_the_one_before_opens_nothing_any_more() {
    let pair = with_an_object();
    let keys = pair.b.data().join("keys");
    let object = format!("{BUCKET}/one");
    let first = fs::read(keys.join("keystore.json")).unwrap();
    for (running, name) in [(true, "second.key"), (false, "third.key")] {
        let file = pair.b.dir.join(name);
        let args = ["keys", "rekey-root", "--root-key-file", text(&file)];
        pair.b
            .run(&args)
            .exits(0)
            .tells(&["Name it now", "keys.root_key_file", name]);
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(keys.join("keystore.json.old-root-key").exists());
        if running {
            // The agent goes on, and what it changes is under the new one.
            pair.b.run(&["keys", "rotate", &alias()]).exits(0);
            pair.b.run(&["get", &object]).exits(0);
            pair.b
                .run(&["check", "--offline"])
                .exits(78)
                .tells(&["another root key", "name the new root key in [keys]"]);
            pair.b.stop();
        }
        pair.b
            .run(&["get", &object])
            .exits(12)
            .tells(&["another root key", "hint:"]);
        let before = match running {
            true => "root_key_file = \"root.key\"",
            false => "root_key_file = \"second.key\"",
        };
        pair.b.edit(before, &format!("root_key_file = \"{name}\""));
        pair.b.run(&["get", &object]).exits(0);
        assert!(!keys.join("keystore.json.old-root-key").exists());
    }
    pair.b.audits("keystore.root_key_changed", &["third.key"]);
    assert_eq!(describe(&pair.b, &alias())["current"], "2");
    // A passphrase can take its place.
    let passphrase = secret(&pair.b.dir, "passphrase", "correct horse\n");
    let args = [
        "keys",
        "rekey-root",
        "--root-key-passphrase-file",
        text(&passphrase),
    ];
    pair.b.run(&args).exits(0);
    pair.b.edit(
        "root_key_file = \"third.key\"",
        "root_key_passphrase_file = \"passphrase\"",
    );
    pair.b.run(&["get", &object]).exits(0);
    // The first root key opens what it was made with, and nothing that is there now.
    for entry in fs::read_dir(keys.join("history")).unwrap() {
        assert_ne!(fs::read(entry.unwrap().path()).unwrap(), first);
    }
}

#[test]
fn a_damaged_keystore_names_the_copy_that_takes_its_place() {
    let pair = with_an_object();
    pair.b.run(&["keys", "rotate", &alias()]).exits(0);
    pair.stop();
    let keystore = pair.b.data().join("keys/keystore.json");
    let whole = fs::read(&keystore).unwrap();
    fs::write(&keystore, &whole[..whole.len() / 2]).unwrap();
    let object = format!("{BUCKET}/one");
    let ran = pair.b.run(&["get", &object, "--json"]).exits(12);
    ran.tells(&["its copy", "is whole", "copy that file over keystore.json"]);
    let mut copies: Vec<_> = fs::read_dir(pair.b.data().join("keys/history"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    copies.sort();
    let named = copies
        .iter()
        .find(|copy| fs::read(copy).unwrap() == whole)
        .unwrap();
    pair.b.run(&["up"]).exits(78).tells(&[text(named)]);
    fs::copy(named, &keystore).unwrap();
    pair.b.run(&["get", &object]).exits(0);
}
