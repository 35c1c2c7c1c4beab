//! `check` refuses what cannot work, with its place and what to do, and `up` too.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use crate::support::{Pair, Ran, Site, run};

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
    fs::remove_dir(&pair.source).unwrap();
    let place = place(&pair.a, "directory = ");
    assert_refused(&pair.a, &[&place, "source.directory"]);
    fs::create_dir(&pair.source).unwrap();
    fs::rename(pair.b.data(), pair.b.dir.join("elsewhere")).unwrap();
    let place = self::place(&pair.b, "data_dir = ");
    assert_refused(&pair.b, &[&place, "site.data_dir", "sealift init"]);
}

#[test]
fn a_key_of_another_region_is_refused() {
    let pair = Pair::new();
    // The same site, moved to region a with its keys of region b.
    pair.b
        .edit("region = \"region-b\"", "region = \"region-a\"");
    pair.issue("c", &pair.b.dir.join("moved"));
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
    pair.b.run(&["check"]).exits(0);
    pair.b.stop();
    pair.b.run(&["check", "--offline"]).exits(0);
}

#[test]
fn a_running_agent_is_checked_through_its_socket() {
    let pair = Pair::new();
    pair.start();
    let negotiated = "TLSv1.3 TLS13_AES_256_GCM_SHA384 X25519MLKEM768";
    pair.a.run(&["check"]).exits(0).tells(&[negotiated]);
}

#[test]
fn a_peer_that_does_not_answer_is_told_by_check() {
    let pair = Pair::new();
    pair.a
        .run(&["check"])
        .exits(78)
        .tells(&["peer b", "PeerUnreachable"]);
}
