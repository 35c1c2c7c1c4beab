//! Certificates that are asked for with a token, and renew themselves.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, thread::sleep, time::Duration};

use sealift_identity::{EnrolmentToken, new_private_key};
use serde_json::Value;

use crate::support::{
    Intruder, Pair, Site, forget_site, init, init_again, renewed_by_b, run, serial, text, token,
    wait_until, with_issuer, write_file,
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
    let a = pair.a.identity.as_str();
    let words = ["used with another key", a, "127.0.0.1"];
    pair.b.audits("enrolment.refused", &words);
    pair.b
        .logs(&["two may hold what one should", a, "127.0.0.1"]);
    let refused = |cause: &str| {
        format!("sealift_enrolments_refused_total{{call=\"enrol\",cause=\"{cause}\"}}")
    };
    pair.b.shows(&refused("token_reused"), 1);
    let alarm = alarm(&pair.b, "identity_locked").unwrap();
    let told = alarm.to_string();
    for word in [a, "used with another key", "127.0.0.1", "sealift ca token"] {
        assert!(told.contains(word), "{told}");
    }
    pair.b.shows("sealift_alarms{alarm=\"identity_locked\"}", 1);
    fs::write(&key, mine).unwrap();
    init_again(&pair).tells(&["locked"]);
    pair.b.shows(&refused("locked"), 1);
    pair.b.audits("enrolment.refused", &["locked", a]);
    // A restart forgets none of it; a new token begins anew, on record by name.
    pair.b.stop();
    pair.b.start();
    assert!(self::alarm(&pair.b, "identity_locked").is_some());
    write_file(&pair.a.dir.join("token"), token(&pair, "a", &issuer, "1h"));
    let words = [a, "ca token", "used with another key", "\"uid:"];
    pair.b.audits("enrolment.unlocked", &words);
    assert!(self::alarm(&pair.b, "identity_locked").is_none());
    init_again(&pair).exits(0);
}

#[test]
fn a_token_gives_nothing_to_whom_is_denied_nor_to_whom_was_revoked_since() {
    let (pair, issuer) = with_issuer(3600);
    pair.b.start();
    let a = pair.a.identity.as_str();
    let before = token(&pair, "a", &issuer, "1h");
    let why = ["--reason", "is looked into"];
    pair.b
        .run(&[&["ca", "deny", a], &why[..]].concat())
        .exits(0);
    let ran = init(&pair, &before);
    assert_ne!(ran.code, 0);
    ran.tells(&["the identity is denied"]);
    let denied = "sealift_enrolments_refused_total{call=\"enrol\",cause=\"denied\"}";
    pair.b.shows(denied, 1);
    pair.b
        .audits("enrolment.refused", &["denied", a, "127.0.0.1"]);
    pair.b.run(&["ca", "deny", a, "--lift"]).exits(0);
    pair.b
        .run(&[&["ca", "revoke", a], &why[..]].concat())
        .exits(0);
    let ran = init_again(&pair);
    assert_ne!(ran.code, 0);
    ran.tells(&["unknown or over"]);
    assert!(!pair.b.log().contains("a certificate was issued"));
    // One that is made after it does: its certificate counts from the next second on.
    sleep(Duration::from_secs(1));
    write_file(&pair.a.dir.join("token"), token(&pair, "a", &issuer, "1h"));
    init_again(&pair).exits(0);
}

#[test]
fn who_has_an_old_certificate_gets_nothing_when_an_operator_answers_the_alarm_with_a_token() {
    let (pair, issuer) = with_issuer(3600);
    pair.b.start();
    init(&pair, &token(&pair, "a", &issuer, "1h")).exits(0);
    pair.a.start();
    let first = serial(&pair.a);
    // A token alone takes nothing from a site that is well.
    token(&pair, "a", &issuer, "1h");
    for _ in 0..2 {
        pair.a.run(&["certs", "renew"]).exits(0);
    }
    pair.a.stop();
    // Whoever copied the files that it was enrolled with has this one.
    fs::remove_file(pair.a.data().join("identity.pem")).unwrap();
    pair.a.start();
    assert_eq!(serial(&pair.a), first);
    assert_ne!(pair.a.run(&["certs", "renew"]).code, 0);
    assert!(alarm(&pair.b, "identity_locked").is_some());
    let text = token(&pair, "a", &issuer, "1h");
    assert!(alarm(&pair.b, "identity_locked").is_none());
    let words = [&pair.a.identity, "what it was given until now"];
    pair.b.audits("enrolment.unlocked", &words);
    assert_ne!(pair.a.run(&["certs", "renew"]).code, 0);
    assert!(alarm(&pair.b, "identity_locked").is_none());
    assert_eq!(serial(&pair.a), first);
    // The one that has the token goes on where it was.
    pair.a.stop();
    write_file(&pair.a.dir.join("token"), text);
    let file = pair.a.dir.join("token");
    pair.a
        .run(&["init", "--token-file", file.to_str().unwrap()])
        .exits(0);
    pair.a.start();
    pair.a.run(&["certs", "renew"]).exits(0);
}

/// The first alarm of a sort that a site's status shows.
fn alarm(site: &Site, sort: &str) -> Option<Value> {
    let status = site.status();
    // Without any there is no such field.
    let alarms = status["alarms"].as_array();
    let mut alarms = alarms.into_iter().flatten();
    alarms.find(|one| one["alarm"] == sort).cloned()
}

#[test]
fn an_agent_whose_renewal_is_refused_shows_an_alarm_until_it_has_another_certificate() {
    let (pair, issuer) = with_issuer(3600);
    renewed_by_b(&pair, &pair.a, &issuer);
    pair.start();
    assert!(alarm(&pair.a, "certificate_refused").is_none());
    let a = pair.a.identity.as_str();
    pair.b
        .run(&["ca", "deny", a, "--reason", "is looked into"])
        .exits(0);
    assert_ne!(pair.a.run(&["certs", "renew"]).code, 0);
    let told = alarm(&pair.a, "certificate_refused").unwrap().to_string();
    assert!(told.contains("the identity is denied"), "{told}");
    let metric = "sealift_enrolments_refused_total{call=\"renew\",cause=\"denied\"}";
    pair.b.shows(metric, 1);
    pair.b
        .audits("enrolment.refused", &["denied", a, "127.0.0.1"]);
    pair.b.run(&["ca", "deny", a, "--lift"]).exits(0);
    pair.a.run(&["certs", "renew"]).exits(0);
    assert!(alarm(&pair.a, "certificate_refused").is_none());
}

#[test]
fn certificate_files_that_are_refused_are_an_alarm_until_they_are_mended() {
    let pair = Pair::new();
    pair.b.start();
    let file = pair.b.dir.join("identity.crt");
    let good = fs::read(&file).unwrap();
    fs::write(&file, "none").unwrap();
    wait_until("it is an alarm", TIME_MAX, || {
        alarm(&pair.b, "certificate_refused").is_some()
    });
    fs::write(&file, good).unwrap();
    wait_until("it is over", TIME_MAX, || {
        alarm(&pair.b, "certificate_refused").is_none()
    });
}

#[test]
fn what_the_authority_gives_by_command_is_on_record_while_its_agent_runs_and_while_it_does_not() {
    let (pair, issuer) = with_issuer(3600);
    pair.b.start();
    let (out, c) = (pair.dir().join("c"), "region-a/agent/c");
    // Neither names a configuration: the agent said where it is.
    let issue = |out: &Path| {
        let dir = text(&pair.authority());
        let out = text(out);
        let name = ["--region", "region-a", "--name", "c"];
        run([&["ca", "issue", "--dir", &dir, "--out", &out], &name[..]].concat())
    };
    issue(&out).exits(0);
    let key = fs::metadata(out.join("identity.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    pair.b
        .audits("certificate.issued", &[c, "\"command\"", "\"uid:"]);
    token(&pair, "a", &issuer, "1h");
    let words = [pair.a.identity.as_str(), issuer.as_str(), "\"uid:"];
    pair.b.audits("enrolment.token", &words);
    pair.b.stop();
    issue(&out).exits(0);
    token(&pair, "a", &issuer, "1h");
    for (kind, whose) in [("certificate.issued", c), ("enrolment.token", words[0])] {
        pair.b.audits(kind, &[whose, "offline"]);
    }
    // Nobody revoked gets a certificate again without a record of that.
    pair.b
        .run(&["ca", "revoke", words[0], "--reason", "its key was copied"])
        .exits(0);
    pair.issue("a", &out);
    let words = [words[0], "ca issue", "offline"];
    pair.b.audits("enrolment.unlocked", &words);
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
