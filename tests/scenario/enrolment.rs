//! Certificates that are asked for with a token, and renew themselves.

use std::{fs, thread::sleep, time::Duration};

use sealift_identity::{EnrolmentToken, new_private_key};

use crate::support::{
    Intruder, Pair, forget_site, init, init_again, serial, token, wait_until, with_issuer,
    write_file,
};

const TIME_MAX: Duration = Duration::from_secs(60);

#[test]
fn a_new_agent_enrols_with_a_token_and_its_certificate_renews_itself_under_load() {
    let (pair, issuer) = with_issuer(20);
    pair.b.start();
    pair.b
        .run(&["check"])
        .tells(&["authority", "it issues for region-a, region-b"]);
    let token = token(&pair, "a", &issuer, "1h");
    init(&pair, &token).exits(0);
    let secret = fs::read(pair.a.dir.join("identity.key")).unwrap();
    pair.a.start();
    let first = serial(&pair.a);
    // Three lives, written to all the time.
    let mut serials = vec![first];
    let mut objects = 0;
    let begun = std::time::Instant::now();
    while serials.len() < 4 {
        assert!(begun.elapsed() < 2 * TIME_MAX, "{serials:?}");
        write_file(
            &pair.source.join(format!("object-{objects}")),
            "written while it renews",
        );
        objects += 1;
        sleep(Duration::from_millis(200));
        let now = serial(&pair.a);
        if serials.last() != Some(&now) {
            serials.push(now);
        }
    }
    pair.wait_completed(objects, TIME_MAX);
    pair.a
        .audits("certificate.replaced", &[serials.last().unwrap()]);
    pair.b.audits(
        "certificate.issued",
        &[serials.last().unwrap(), "certificate"],
    );
    wait_until("three are counted", TIME_MAX, || {
        pair.a.metric("sealift_cert_refreshes_total") >= Some(3)
    });
    // What it was given first is over by now: a restart goes on with the last one.
    pair.a.stop();
    assert_eq!(fs::read(pair.a.dir.join("identity.key")).unwrap(), secret);
    pair.a.start();
    write_file(&pair.source.join("after"), "a restart");
    pair.wait_completed(objects + 1, TIME_MAX);
}

#[test]
fn a_token_is_good_for_one_key_and_who_uses_it_again_locks_it() {
    let (pair, issuer) = with_issuer(3600);
    pair.b.start();
    let text = token(&pair, "a", &issuer, "1h");
    init(&pair, &text).exits(0);
    // The answer was lost: the same key gets the same certificate.
    let certificate = pair.a.dir.join("identity.crt");
    let first = fs::read(&certificate).unwrap();
    forget_site(&pair.a);
    init_again(&pair).exits(0);
    assert!(fs::read(&certificate).unwrap() == first);
    // Somebody else has the token: the alarm is raised, and nobody gets any more of it.
    forget_site(&pair.a);
    let key = pair.a.dir.join("identity.key");
    let mine = fs::read(&key).unwrap();
    fs::write(&key, new_private_key().unwrap().as_bytes()).unwrap();
    let ran = init_again(&pair);
    assert_ne!(ran.code, 0);
    ran.tells(&["used with another key"]);
    pair.b
        .audits("enrolment.refused", &["used with another key"]);
    pair.b.logs(&["two may hold what one should"]);
    fs::write(&key, mine).unwrap();
    init_again(&pair).tells(&["locked"]);
    // A new token begins anew.
    write_file(&pair.a.dir.join("token"), token(&pair, "a", &issuer, "1h"));
    init_again(&pair).exits(0);
}

#[test]
fn a_token_that_is_over_and_an_issuer_that_is_another_give_nothing() {
    let (pair, issuer) = with_issuer(3600);
    pair.b.start();
    let text = token(&pair, "a", &issuer, "1s");
    sleep(Duration::from_millis(1500));
    let ran = init(&pair, &text);
    assert_ne!(ran.code, 0);
    ran.tells(&["unknown or over"]);
    // The one that answers is not of the authority that made the token.
    let other = Pair::new();
    let foreign = token(&other, "a", &issuer, "1h");
    let _: EnrolmentToken = foreign.parse().unwrap();
    write_file(&pair.a.dir.join("token"), &foreign);
    let ran = init_again(&pair);
    assert_ne!(ran.code, 0);
    ran.tells(&["handshake"]);
    assert!(!pair.a.dir.join("identity.crt").exists());
    wait_until("nothing was issued", TIME_MAX, || {
        !pair.b.log().contains("a certificate was issued")
    });
}

#[test]
fn a_handshake_that_comes_to_nothing_at_the_issuer_is_told_counted_and_on_record() {
    let (pair, issuer) = with_issuer(3600);
    pair.b.start();
    let request = b"POST /enrol HTTP/1.1\r\nhost: example.org\r\ncontent-length: 2\r\n\r\n{}";
    let answer = Intruder::sends(&issuer, request);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    pair.b.logs(&["refused", "not_tls", "127.0.0.1"]);
    pair.b.audits("session.refused", &["not_tls"]);
    let counted = "sealift_connections_refused_total{cause=\"not_tls\"}";
    pair.b.shows(counted, 1);
    // The one who may come still does.
    init(&pair, &token(&pair, "a", &issuer, "1h")).exits(0);
}
