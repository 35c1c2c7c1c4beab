//! Agents whose certificate is over: who comes back by itself, who does not, and how.

use std::{fs, thread::sleep, time::Duration};

use sealift_host::OsClock;
use sealift_terms::{Clock, Timestamp};

use crate::support::{
    Pair, Site, free_address, init, init_again, renewed_by_b, serial, token, token_for, wait_until,
    with_issuer, write_file,
};

const TIME_MAX: Duration = Duration::from_secs(60);
/// Of the certificates here.
const LIFE_SECS: u64 = 20;

/// Waits until a site's certificate is over: its last second counts.
#[track_caller]
fn wait_until_over(site: &Site) {
    wait_until("the certificate is over", TIME_MAX, || {
        let row = site.rows(&["certs", "list"]).remove(0);
        let end: Timestamp = serde_json::from_value(row["not_after"].clone()).unwrap();
        OsClock.now() >= end.plus(Duration::from_secs(1))
    });
}

/// Waits until a site has another certificate than this one, which is in force.
#[track_caller]
fn wait_for_another(site: &Site, than: &str) {
    wait_until("there is another certificate", TIME_MAX, || {
        serial(site) != than
    });
    wait_until("it is ready", TIME_MAX, || {
        site.get("/ready").is_some_and(|(code, _)| code == 200)
    });
}

/// Starts the agent of a site whose certificate is over, and waits until it answers.
#[track_caller]
fn start_over(site: &Site) {
    let before = site.log().len();
    site.start_without_waiting();
    wait_until("the agent answers", TIME_MAX, || {
        site.log()[before..].contains("started, and not ready")
    });
}

#[track_caller]
fn is_not_ready(site: &Site) {
    wait_until("it says why it is not ready", TIME_MAX, || {
        site.get("/ready")
            .is_some_and(|(code, text)| code == 503 && text.contains("the certificate ended at"))
    });
}

/// Puts a token where `a` finds it.
fn hand_over(pair: &Pair, text: &str) -> String {
    let file = pair.a.dir.join("token");
    write_file(&file, text);
    file.to_str().unwrap().to_owned()
}

/// Two agents, `a` with a certificate of `b` under which it has sent something, and where
/// that issues.
fn sent_in_time() -> (Pair, String) {
    let (pair, issuer) = with_issuer(LIFE_SECS);
    pair.b.start();
    init(&pair, &token(&pair, "a", &issuer, "1h")).exits(0);
    write_file(&pair.source.join("before"), "in time");
    pair.a.start();
    pair.wait_completed(1, TIME_MAX);
    (pair, issuer)
}

#[test]
fn an_expired_agent_renews_within_its_grace() {
    let (pair, _issuer) = sent_in_time();
    // The issuer is down until after the end.
    pair.b.stop();
    wait_until_over(&pair.a);
    is_not_ready(&pair.a);
    let last = serial(&pair.a);
    write_file(&pair.source.join("after"), "with another certificate");
    pair.b.start();
    wait_for_another(&pair.a, &last);
    pair.b.audits(
        "certificate.issued",
        &[&pair.a.identity, "expired certificate"],
    );
    pair.wait_completed(2, TIME_MAX);
}

#[test]
fn an_agent_that_was_off_past_its_end_starts_sends_nothing_and_renews() {
    let (pair, issuer) = sent_in_time();
    pair.a.stop();
    wait_until_over(&pair.a);
    pair.a
        .run(&["check", "--offline"])
        .exits(78)
        .tells(&["ended at", "start the agent: its issuer renews it"]);
    // Its issuer cannot be reached, its peer can: that one lets it in no more.
    let dead = free_address();
    pair.a.edit(&issuer, &dead);
    let last = serial(&pair.a);
    write_file(&pair.source.join("after"), "with another certificate");
    start_over(&pair.a);
    pair.a
        .logs(&["started, and not ready", "the certificate ended at"]);
    is_not_ready(&pair.a);
    pair.b.logs(&["connection refused", "expired"]);
    assert_eq!(pair.a.transfers("COMPLETED").0, 1);
    assert_eq!(serial(&pair.a), last);
    pair.a.stop();
    pair.a.edit(&dead, &issuer);
    start_over(&pair.a);
    wait_for_another(&pair.a, &last);
    pair.wait_completed(2, TIME_MAX);
}

#[test]
fn the_issuing_host_that_was_off_past_its_end_renews_itself() {
    let (pair, issuer) = with_issuer(LIFE_SECS);
    renewed_by_b(&pair, &pair.b, &issuer);
    pair.certify(&pair.b, Duration::from_secs(LIFE_SECS));
    pair.b.start();
    pair.b.stop();
    wait_until_over(&pair.b);
    let last = serial(&pair.b);
    start_over(&pair.b);
    wait_for_another(&pair.b, &last);
    pair.b.audits(
        "certificate.issued",
        &[&pair.b.identity, "expired certificate"],
    );
    pair.b.audits("certificate.replaced", &["issuer"]);
    // It issues for others, as ever.
    init(&pair, &token(&pair, "a", &issuer, "1h")).exits(0);
}

#[test]
fn a_revoked_agent_is_refused_within_its_grace_and_enrolled_again_in_place() {
    let (pair, issuer) = sent_in_time();
    pair.a.stop();
    wait_until_over(&pair.a);
    let revoke = [
        "ca",
        "revoke",
        &pair.a.identity,
        "--reason",
        "its disk was copied",
    ];
    pair.b.run(&revoke).exits(0);
    let last = serial(&pair.a);
    start_over(&pair.a);
    pair.a.logs(&["the certificate cannot be renewed now"]);
    pair.b.logs(&["connection refused", "revoked"]);
    is_not_ready(&pair.a);
    assert_eq!(serial(&pair.a), last);
    // With a token it begins anew: not while it runs, not as another, and not as a new site.
    let file = hand_over(&pair, &token(&pair, "a", &issuer, "1h"));
    let again = ["init", "--token-file", &file];
    pair.a.run(&again).exits(5);
    pair.a.stop();
    let kept = |name: &str| fs::read(pair.a.dir.join(name)).unwrap();
    let files = ["sealift.toml", "root.key", "data/keys/keystore.json"];
    let before = files.map(kept);
    let foreign = hand_over(&pair, &token(&pair, "b", &issuer, "1h"));
    pair.a
        .run(&["init", "--token-file", &foreign])
        .exits(2)
        .tells(&[&pair.b.identity, &pair.a.identity]);
    hand_over(&pair, &token(&pair, "a", &issuer, "1h"));
    // A certificate counts from the second after its identity was revoked.
    sleep(Duration::from_secs(1));
    init_again(&pair).exits(2).tells(&["there already"]);
    assert_eq!(serial(&pair.a), last, "nothing was changed");
    pair.a.run(&again).exits(0).tells(&["another certificate"]);
    assert_ne!(serial(&pair.a), last);
    assert!(files.map(kept) == before);
    pair.a
        .audits("certificate.replaced", &["token", &pair.a.identity]);
    write_file(&pair.source.join("after"), "with another certificate");
    pair.a.start();
    pair.wait_completed(2, TIME_MAX);
    // From then on it renews by itself again.
    let enrolled = serial(&pair.a);
    wait_for_another(&pair.a, &enrolled);
}

#[test]
fn a_token_for_one_role_makes_no_site_of_the_other() {
    let (pair, issuer) = with_issuer(3600);
    pair.b.start();
    let receiver = token_for(&pair, "a", &issuer, &["--role", "receiver"]);
    init(&pair, &receiver).exits(2).tells(&[
        "one for a receiver",
        "sources to send",
        "--role sender",
    ]);
    assert!(
        !pair.a.dir.join("identity.crt").exists(),
        "nobody was asked"
    );
    hand_over(
        &pair,
        &token_for(&pair, "a", &issuer, &["--role", "sender"]),
    );
    init_again(&pair).exits(0);
    pair.b.audits("certificate.issued", &["sender", "token"]);
    // A site that is there is held to it, too.
    let file = hand_over(&pair, &receiver);
    pair.a
        .run(&["init", "--token-file", &file])
        .exits(2)
        .tells(&["one for a receiver", "sources to send"]);
    let both = ["--role", "sender", "--role", "receiver"];
    hand_over(&pair, &token_for(&pair, "a", &issuer, &both));
    pair.a.run(&["init", "--token-file", &file]).exits(0);
}
