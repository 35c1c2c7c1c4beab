//! Whoever may not come in is refused, with a line in the log and an audit record.

use std::time::Duration;

use crate::support::{BUCKET, Intruder, Openssl, Pair, authority, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(30);

/// A receiver that runs, whoever may come.
fn receiver() -> Pair {
    let pair = Pair::new();
    write_file(&pair.source.join("object"), "not for everyone");
    pair.b.start();
    pair
}

/// The refusal is told and on record, and the one who may come still does.
fn assert_refused(pair: &Pair, cause: &str, words: &[&str]) {
    pair.b.logs(&[&["refused", cause], words].concat());
    pair.b.audits("session.refused", &[cause]);
    let refused = pair.b.metric("sealift_connections_refused_total");
    assert!(refused >= Some(1), "{refused:?}");
    assert!(pair.b.rows(&["ls", BUCKET]).is_empty(), "something came in");
    pair.a.start();
    pair.wait_completed(1, TIME_MAX);
}

#[test]
fn plaintext_is_refused() {
    let pair = receiver();
    let request = b"GET / HTTP/1.1\r\nhost: example.org\r\n\r\n";
    let answer = Intruder::sends(&pair.listen, request);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert_refused(&pair, "not_tls", &["127.0.0.1"]);
}

#[test]
#[ignore = "needs openssl: run by cargo xtask test"]
fn a_client_without_a_certificate_is_refused() {
    let pair = receiver();
    let ran = Openssl::to(&pair.listen).with(&["-tls1_3"]).tries();
    assert!(ran.said().contains("certificate required"), "{ran}");
    assert_refused(&pair, "no_certificate", &["no certificate"]);
}

#[test]
#[ignore = "needs openssl: run by cargo xtask test"]
fn a_client_that_speaks_tls_1_2_is_refused() {
    let pair = receiver();
    let ran = Openssl::to(&pair.listen)
        .with(&["-tls1_2"])
        .into_site(&pair.a.dir)
        .tries();
    assert_ne!(ran.code, 0, "{ran}");
    assert_refused(&pair, "old_tls", &["1.3"]);
}

#[test]
#[ignore = "needs openssl: run by cargo xtask test"]
fn a_client_with_only_suites_off_the_list_is_refused() {
    let pair = receiver();
    let suite = ["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"];
    let ran = Openssl::to(&pair.listen)
        .with(&suite)
        .into_site(&pair.a.dir)
        .tries();
    assert_ne!(ran.code, 0, "{ran}");
    assert_refused(&pair, "no_common_suite", &["suite"]);
}

#[test]
#[ignore = "needs openssl: run by cargo xtask test"]
fn a_client_of_another_protocol_is_refused() {
    let pair = receiver();
    let ran = Openssl::to(&pair.listen)
        .with(&["-alpn", "h2"])
        .into_site(&pair.a.dir)
        .tries();
    assert_ne!(ran.code, 0, "{ran}");
    assert_refused(&pair, "no_common_protocol", &["ALPN"]);
}

#[test]
fn an_agent_with_a_suite_off_the_list_is_refused() {
    let pair = Pair::new();
    write_file(&pair.source.join("object"), "x");
    let (aes, chacha) = ("TLS13_AES_256_GCM_SHA384", "TLS13_CHACHA20_POLY1305_SHA256");
    let list = |suite: &str| format!("[tls]\ncipher_suites = [\"{suite}\"]\n# [tls]");
    pair.a.edit("# [tls]", &list(chacha));
    pair.b.edit("# [tls]", &list(aes));
    pair.start();
    pair.b.logs(&["refused", "no_common_suite"]);
    pair.b.audits("session.refused", &["no_common_suite"]);
    pair.a.run(&["check"]).exits(78).tells(&["peer b"]);
    wait_until("the object waits", TIME_MAX, || {
        pair.a.transfers("PENDING").0 == 1
    });
    assert_eq!(pair.a.transfers("COMPLETED").0, 0);
}

#[test]
fn an_agent_of_another_authority_is_refused() {
    let pair = receiver();
    // Another authority of the same domain, that issues a certificate for a's name.
    let other = pair.dir().join("other-ca");
    authority(&other, "example.org");
    let stranger = pair.stranger("a", &other);
    stranger.run(&["check"]).exits(78).tells(&["peer b"]);
    stranger.start();
    pair.b
        .logs(&["refused", "untrusted_issuer", &pair.a.identity]);
    stranger.stop();
    assert_refused(&pair, "untrusted_issuer", &[]);
}

#[test]
fn an_agent_that_is_no_peer_is_refused_though_its_authority_is_the_same() {
    let pair = receiver();
    let stranger = pair.stranger("c", &pair.authority());
    stranger.run(&["check"]).exits(78).tells(&["peer b"]);
    stranger.start();
    pair.b
        .logs(&["refused", "unknown_identity", &stranger.identity]);
    wait_until("the stranger says why", TIME_MAX, || {
        let report = stranger.status();
        !report["peers"][0]["reason"].is_null()
    });
    assert_eq!(stranger.transfers("COMPLETED").0, 0);
    stranger.stop();
    assert_refused(&pair, "unknown_identity", &[]);
}

#[test]
fn a_peer_without_a_grant_is_denied_and_its_objects_say_so() {
    let pair = Pair::new();
    write_file(&pair.source.join("object"), "not granted");
    let granted = "actions = [\"replicate\", \"delete\"]";
    pair.b.edit(granted, "actions = [\"delete\"]");
    pair.start();
    wait_until("the object is given up", TIME_MAX, || {
        pair.a.transfers("FAILED").0 == 1
    });
    let object = format!("{BUCKET}/object");
    pair.a
        .run(&["explain", &object])
        .exits(0)
        .tells(&["FAILED", "PolicyDenied", "[[grant]]"]);
    pair.b.logs(&["PolicyDenied", &pair.a.identity]);
    pair.b
        .audits("access.denied", &["PolicyDenied", &pair.a.identity, BUCKET]);
    pair.a
        .run(&["check"])
        .exits(78)
        .tells(&["PolicyDenied", "[[grant]]"]);
    assert!(pair.b.rows(&["ls", BUCKET]).is_empty());

    // Granted and tried again, it arrives.
    pair.b.edit("actions = [\"delete\"]", granted);
    pair.b.run(&["reload"]).exits(0);
    pair.a.run(&["retry", BUCKET]).exits(0);
    pair.wait_completed(1, TIME_MAX);
}

#[test]
fn an_agent_does_not_send_to_one_that_is_not_the_peer_it_expects() {
    let pair = Pair::new();
    write_file(&pair.source.join("object"), "for b only");
    // Where b should be, someone else of the same authority listens.
    pair.issue("c", &pair.b.dir.join("other"));
    pair.b.edit(
        "certificate = \"identity.crt\"",
        "certificate = \"other/identity.crt\"",
    );
    pair.b.edit(
        "private_key_file = \"identity.key\"",
        "private_key_file = \"other/identity.key\"",
    );
    pair.start();
    wait_until("the sender says why", TIME_MAX, || {
        pair.a.status()["peers"][0]["reason"] == "PeerIdentityRefused"
    });
    pair.a.run(&["check"]).exits(78).tells(&["peer b"]);
    assert_eq!(pair.a.transfers("COMPLETED").0, 0);
}
