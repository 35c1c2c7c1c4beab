//! `check` refuses what cannot work, with its place and what to do, and `up` too.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use crate::support::{BUCKET, Content, Pair, Ran, Site, files_below, run, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);

/// Refused by `check` and by `up`, with these words.
#[track_caller]
fn assert_refused(site: &Site, words: &[&str]) -> Ran {
    site.run(&["up"]).exits(78).tells(words);
    site.run(&["check", "--offline"]).exits(78).tells(words)
}

/// `sealift.toml:LINE`.
fn place(site: &Site, text: &str) -> String {
    format!("{}:{}", site.config().display(), site.line_of(text))
}

#[test]
fn an_unknown_field_is_refused_with_its_line_and_what_is_allowed() {
    let pair = Pair::new();
    pair.b
        .edit("[listen]\n", "[listen]\nadress = \"127.0.0.1:1\"\n");
    let place = place(&pair.b, "adress");
    assert_refused(&pair.b, &[&place, "adress", "address"]);
}

#[test]
fn an_empty_list_of_suites_is_refused() {
    let pair = Pair::new();
    pair.b.edit("# [tls]", "[tls]\ncipher_suites = []");
    let place = place(&pair.b, "cipher_suites = []");
    let words = [
        &place,
        "tls.cipher_suites",
        "empty",
        "TLS13_AES_256_GCM_SHA384",
    ];
    assert_refused(&pair.b, &words);
}

#[test]
fn a_suite_that_is_not_allowed_is_refused() {
    let pair = Pair::new();
    pair.b.edit(
        "# [tls]",
        "[tls]\ncipher_suites = [\"TLS13_AES_128_GCM_SHA256\"]",
    );
    let place = place(&pair.b, "cipher_suites = [\"TLS13_AES_128");
    assert_refused(&pair.b, &[&place, "TLS13_AES_128_GCM_SHA256"]);
}

#[test]
fn a_private_key_that_others_can_read_is_refused() {
    let pair = Pair::new();
    let path = pair.b.dir.join("identity.key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let place = place(&pair.b, "private_key_file");
    assert_refused(&pair.b, &[&place, "identity.private_key_file", "chmod"]);
}

#[test]
fn a_root_key_that_others_can_read_is_refused() {
    let pair = Pair::new();
    let path = pair.b.dir.join("root.key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let place = place(&pair.b, "root_key_file");
    assert_refused(&pair.b, &[&place, "keys.root_key_file", "chmod"]);
}

#[test]
fn a_missing_directory_is_refused() {
    let pair = Pair::new();
    fs::rename(pair.b.data(), pair.b.dir.join("elsewhere")).unwrap();
    let place = place(&pair.b, "data_dir = ");
    assert_refused(&pair.b, &[&place, "site.data_dir", "sealift init"]);
}

#[test]
fn a_source_that_is_away_is_a_line_of_check_and_holds_up_only_itself() {
    let pair = Pair::new();
    fs::remove_dir(&pair.source).unwrap();
    let place = place(&pair.a, "directory = \"/");
    pair.a.run(&["check", "--offline"]).exits(78).tells(&[
        &place,
        "source.directory",
        "source of bucket photos",
    ]);
    pair.start();
    let reason = || pair.a.status()["sources"][0]["reason"].clone();
    wait_until("the source is told as away", TIME_MAX, || {
        reason() == "SrcUnavailable"
    });
    // Mounted at last, it is taken up without a restart.
    fs::create_dir(&pair.source).unwrap();
    write_file(&pair.source.join("late"), "mounted late");
    pair.wait_completed(1, TIME_MAX);
    assert!(reason().is_null());
}

#[test]
fn commands_reach_a_healthy_agent_whatever_became_of_its_files() {
    let pair = Pair::new();
    write_file(&pair.source.join("one"), "content");
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    fs::remove_file(pair.a.dir.join("root.key")).unwrap();
    fs::remove_file(pair.a.dir.join("identity.crt")).unwrap();
    fs::rename(&pair.source, pair.dir().join("unmounted")).unwrap();
    pair.a.edit("[keys]", "[kyes]");
    let ran = pair.a.run(&["status"]).exits(0);
    assert!(ran.text().contains("ready"), "{ran}");
    pair.a.run(&["ls", BUCKET]).exits(0).tells(&["one"]);
    pair.a.run(&["audit", "tail"]).exits(0);
    // What reads the file refuses it.
    pair.a.run(&["check"]).exits(78).tells(&["kyes"]);
    pair.a.run(&["reload"]).exits(78).tells(&["kyes"]);
    fs::rename(pair.dir().join("unmounted"), &pair.source).unwrap();
    pair.stop();
    pair.a.run(&["status"]).exits(78).tells(&["kyes"]);
}

#[test]
fn a_key_of_another_region_is_refused() {
    let pair = Pair::new();
    // The same site, moved to region a with its keys of region b.
    pair.b
        .edit("region = \"region-b\"", "region = \"region-a\"");
    pair.issue("e", &pair.b.dir.join("moved"));
    for name in ["identity.crt", "identity.key"] {
        fs::rename(pair.b.dir.join("moved").join(name), pair.b.dir.join(name)).unwrap();
    }
    let place = place(&pair.b, "key = \"alias/");
    assert_refused(&pair.b, &[&place, "region-b", "own region"]);
}

#[test]
fn the_authority_issues_nothing_that_lives_longer_than_47_days() {
    let pair = Pair::new();
    let (ca, out) = (pair.authority(), pair.dir().join("long"));
    let issue = |hours: &str| {
        let (ca, out) = (ca.to_str().unwrap(), out.to_str().unwrap());
        run([
            "ca",
            "issue",
            "--dir",
            ca,
            "--region",
            "region-b",
            "--name",
            "b",
            "--life-hours",
            hours,
            "--out",
            out,
        ])
    };
    let ran = issue("1129");
    assert_ne!(ran.code, 0, "{ran}");
    let ran = ran.tells(&["47 days"]);
    assert!(!out.join("identity.crt").exists(), "{ran}");
    issue("1128").exits(0);
}

#[test]
fn a_certificate_that_lives_longer_than_47_days_is_refused() {
    let pair = Pair::new();
    pair.certify_b(Duration::from_secs(48 * 86_400));
    let place = place(&pair.b, "certificate = ");
    assert_refused(
        &pair.b,
        &[&place, "identity.crt", "47 days", "sealift ca issue"],
    );
}

#[test]
fn a_certificate_that_lives_47_days_is_taken() {
    let pair = Pair::new();
    pair.certify_b(Duration::from_secs(47 * 86_400 - 3600));
    pair.b.run(&["check", "--offline"]).exits(0);
}

#[test]
fn a_sound_site_passes_and_a_handshake_with_a_running_peer_is_told() {
    let pair = Pair::new();
    pair.b.start();
    let ran = pair.a.run(&["check"]).exits(0);
    let negotiated = "TLSv1.3 TLS13_AES_256_GCM_SHA384 X25519MLKEM768";
    let ran = ran.tells(&[
        negotiated,
        "peer b",
        "clock of b",
        "bucket photos at b",
        "granted",
    ]);
    assert!(!ran.said().contains("FAIL"), "{ran}");
    let rows = pair.a.rows(&["check"]);
    assert!(
        rows.iter()
            .all(|row| !row["check"].is_null() && !row["outcome"].is_null()),
        "{rows:?}"
    );
    let canary = "1024 bytes sealed, stored, opened the same and removed";
    let of_b = "canary of bucket photos at b";
    let ran = ran.tells(&[of_b, canary]);
    assert!(!ran.said().contains("skip"), "{ran}");
    // A receiver that only listens is looked at, too.
    let words = [
        "is held by the running agent",
        "grants of bucket photos",
        "a may replicate, delete",
        "canary of bucket photos",
        canary,
    ];
    pair.b.run(&["check"]).exits(0).tells(&words);
    pair.b.audits("canary.tried", &["agent/a"]);
    assert!(pair.b.rows(&["ls", "--versions"]).is_empty());
    assert!(files_below(&pair.b.data().join("store/canary")).is_empty());
    pair.b.stop();
    let words = ["listen", "can be bound"];
    pair.b.run(&["check", "--offline"]).exits(0).tells(&words);
}

#[test]
fn an_address_that_cannot_be_listened_on_and_a_bucket_nobody_may_send_to_are_told() {
    let pair = Pair::new();
    let _taken = std::net::TcpListener::bind(&pair.listen).unwrap();
    let ran = pair.b.run(&["check", "--offline"]).exits(78);
    let ran = ran.tells(&["FAIL  listen", &pair.listen]);
    assert!(ran.text().contains("→"), "{ran}");
    pair.b.edit(
        "actions = [\"replicate\", \"delete\"]",
        "actions = [\"read\"]",
    );
    let ran = pair.b.run(&["check", "--offline"]);
    ran.tells(&["grants of bucket photos", "no peer may bring anything in"]);
}

#[test]
fn a_running_agent_is_checked_through_its_socket() {
    let pair = Pair::new();
    pair.start();
    let negotiated = "TLSv1.3 TLS13_AES_256_GCM_SHA384 X25519MLKEM768";
    pair.a.run(&["check"]).exits(0).tells(&[negotiated]);
}

#[test]
fn check_looks_at_the_file_it_is_given_and_says_what_of_it_runs() {
    let pair = Pair::new();
    pair.start();
    let ran = pair.a.run(&["check"]).exits(0);
    assert!(!ran.text().contains("differ"), "{ran}");
    // A key that is not there is found before it is reloaded.
    pair.b.edit("alias/photos", "alias/none");
    let words = ["[[bucket]] differ", "sealift reload", "alias/none"];
    pair.b.run(&["check"]).exits(78).tells(&words);
    pair.b.edit("alias/none", "alias/photos");
    let ran = pair.b.run(&["check"]).exits(0);
    assert!(!ran.text().contains("differ"), "{ran}");
    pair.a.edit("# [limits]", "[limits]\ndrain_secs = 7");
    let words = ["[limits] differ", "start the agent again"];
    pair.a.run(&["check"]).exits(0).tells(&words);
    pair.a
        .run(&["reload"])
        .exits(78)
        .tells(&["[limits]", "hint: start the agent again"]);
    // A setting given to the command is checked, too.
    let ran = pair.a.run(&["check", "--set", "limits.drain_secs=0"]);
    ran.exits(78).tells(&["--set", "limits.drain_secs"]);
}

/// A pair that has sent one object and was stopped.
fn sent_and_stopped() -> Pair {
    let pair = Pair::new();
    write_file(&pair.source.join("one"), "content");
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    pair.stop();
    pair
}

fn remove_database(site: &Site, name: &str) {
    for side in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(site.data().join(format!("{name}{side}")));
    }
}

#[test]
fn a_lost_catalog_is_never_replaced_by_an_empty_one() {
    let pair = sent_and_stopped();
    for site in [&pair.b, &pair.a] {
        remove_database(site, "catalog.db");
        let words = ["catalog.db", "is lost", "hint:", "from a copy"];
        for command in [&["status"][..], &["ls"], &["verify", "--deep"]] {
            site.run(command).exits(4).tells(&words);
        }
        let words = ["catalog", "is lost", "from a copy"];
        site.run(&["check", "--offline"]).exits(78).tells(&words);
        site.run(&["up"]).exits(78).tells(&words);
        assert!(!site.data().join("catalog.db").exists());
        // One that was emptied is no better.
        fs::write(site.data().join("catalog.db"), "").unwrap();
        site.run(&["status"]).exits(4);
    }
}

#[test]
fn a_lost_journal_is_told_and_everything_is_offered_again_without_being_sent() {
    let pair = Pair::new();
    Content::new(5, 3 << 20).write(&pair.source.join("one"));
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    pair.stop();
    remove_database(&pair.a, "journal.db");
    let words = ["journal.db is lost", "offered again"];
    pair.a.run(&["check", "--offline"]).exits(0).tells(&words);
    pair.start();
    pair.a.logs(&["journal.db was not there"]);
    pair.a.audits("journal.lost", &[]);
    pair.wait_completed(1, TIME_MAX);
    assert_eq!(pair.b.rows(&["ls", "--versions"]).len(), 1);
    assert_eq!(pair.a.metric("sealift_sent_bytes_total"), Some(0));
}

#[test]
fn a_database_that_is_destroyed_is_told_by_check_with_what_to_do() {
    let pair = sent_and_stopped();
    for (name, hint) in [("journal", "offered again"), ("catalog", "from a copy")] {
        remove_database(&pair.a, &format!("{name}.db"));
        fs::write(pair.a.data().join(format!("{name}.db")), [0xA5; 8192]).unwrap();
        let words = [name, "FAIL", "cannot be opened", hint];
        pair.a.run(&["check", "--offline"]).exits(78).tells(&words);
        pair.a.run(&["up"]).exits(78).tells(&[name, hint]);
        pair.a
            .run(&["status"])
            .exits(1)
            .tells(&[name, "hint:", hint]);
    }
    remove_database(&pair.a, "catalog.db");
}

#[test]
fn a_missing_keystore_is_to_be_restored() {
    let pair = Pair::new();
    fs::remove_dir_all(pair.b.data().join("keys")).unwrap();
    pair.b
        .run(&["check", "--offline"])
        .exits(78)
        .tells(&["keystore", "sealift keys restore"]);
    pair.b
        .run(&["ls"])
        .exits(1)
        .tells(&["hint:", "sealift keys restore"]);
}

#[test]
fn a_peer_that_does_not_answer_is_told_by_check() {
    let pair = Pair::new();
    pair.a
        .run(&["check"])
        .exits(78)
        .tells(&["peer b", "PeerUnreachable"]);
}
