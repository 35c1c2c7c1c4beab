//! Where certificates are asked for: whoever has none keeps nobody out, and fills no log.

use std::time::{Duration, Instant};

use crate::support::{
    AuditLeaf, Intruder, Site, Stranger, init, renewed_by_b, token, wait_until, with_issuer,
};

const TIME_MAX: Duration = Duration::from_secs(60);
/// More than may be inside from one address.
const STRANGERS: usize = 8;
const REFUSED: &str = "sealift_connections_refused_total";

fn refused(site: &Site, cause: &str) -> u64 {
    let series = format!("{REFUSED}{{cause=\"{cause}\"}}");
    site.metric(&series).unwrap_or_default()
}

#[test]
fn made_up_tokens_are_counted_each_and_put_on_record_together() {
    let (pair, issuer) = with_issuer(3600);
    pair.b.start();
    let pin = token(&pair, "a", &issuer, "1h");
    let begun = Instant::now();
    for n in 0..25 {
        let body = format!("{{\"secret\":\"{n:064x}\",\"csr\":\"none\"}}");
        let answer = Stranger::at(&issuer, &pin).asks("/v1/enrol", &body);
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    }
    let metric = "sealift_enrolments_refused_total{call=\"enrol\",cause=\"unknown_token\"}";
    pair.b.shows(metric, 25);
    pair.b
        .logs(&["was refused", "127.0.0.1", "unknown or over"]);
    let words = ["unknown_token", "127.0.0.1", "127.0.0.0/24"];
    pair.b.audits("enrolment.refused", &words);
    let leaves = AuditLeaf::all(&pair.b.data());
    let records = leaves.iter().filter(|leaf| leaf.is("enrolment.refused"));
    let minutes = begun.elapsed().as_secs() / 60;
    assert!(records.count() as u64 <= 1 + minutes);
    // What is no request is refused and counted as well.
    let answer = Stranger::at(&issuer, &pin).asks("/v1/enrol", "no JSON");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let metric = "sealift_enrolments_refused_total{call=\"enrol\",cause=\"unreadable\"}";
    pair.b.shows(metric, 1);
    // And the one who may come gets a certificate.
    init(&pair, &pin).exits(0);
}

#[test]
fn strangers_that_never_finish_keep_nobody_with_a_certificate_out_and_are_shown_the_door() {
    let (pair, issuer) = with_issuer(3600);
    renewed_by_b(&pair, &pair.a, &issuer);
    pair.start();
    let pin = token(&pair, "a", &issuer, "1h");
    let strangers: Vec<_> = (0..STRANGERS)
        .map(|_| Stranger::at(&issuer, &pin).begins("/v1/enrol", 100))
        .collect();
    wait_until("some are refused at once", TIME_MAX, || {
        refused(&pair.b, "too_many_from_source") > 0
    });
    pair.b
        .logs(&["refused", "without a certificate", "127.0.0.1"]);
    // From the same address, with a certificate.
    pair.a.run(&["certs", "renew"]).exits(0);
    // The others have some time for what they want to say.
    wait_until("all are out", TIME_MAX, || {
        let out = refused(&pair.b, "too_many_from_source") + refused(&pair.b, "too_slow");
        out == STRANGERS as u64
    });
    pair.b.audits("session.refused", &["too_slow", "127.0.0.1"]);
    let answers: Vec<_> = strangers.into_iter().map(Stranger::hears).collect();
    let late = answers.iter().filter(|it| it.starts_with("HTTP/1.1 408"));
    assert!(late.count() > 0, "{answers:?}");
    // Their places are free.
    let answer = Stranger::at(&issuer, &pin).asks("/v1/enrol", "{}");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[test]
fn who_comes_from_another_network_is_not_heard_by_the_issuer() {
    let (pair, issuer) = with_issuer(3600);
    let line = "life_secs = 3600";
    let narrowed = |networks: &str| format!("{line}\nnetworks = [{networks}]");
    pair.b.edit(line, &narrowed("\"10.9.0.0/16\""));
    pair.b
        .run(&["check"])
        .tells(&["ca listen", "for agents from 10.9.0.0/16"]);
    pair.b.start();
    let answer = Intruder::sends(&issuer, b"");
    assert_eq!(answer, b"");
    let series = format!("{REFUSED}{{cause=\"network_not_allowed\"}}");
    pair.b.shows(&series, 1);
    pair.b.logs(&["connection refused", "ca.networks"]);
    let words = ["network_not_allowed", "127.0.0.1"];
    pair.b.audits("session.refused", &words);
    pair.b.stop();
    pair.b
        .edit("\"10.9.0.0/16\"", "\"10.9.0.0/16\", \"127.0.0.0/8\"");
    pair.b.start();
    init(&pair, &token(&pair, "a", &issuer, "1h")).exits(0);
}

#[test]
fn an_issuer_listens_by_an_interface_that_is_there() {
    let (pair, _) = with_issuer(3600);
    let line = "life_secs = 3600";
    pair.b.edit(line, &format!("{line}\ninterface = \"none0\""));
    pair.b
        .run(&["check"])
        .exits(78)
        .tells(&["ca listen", "no network interface none0"]);
}
