//! Ready is: listening, certificate valid, keys usable, journal writable. A peer that is
//! not there is no reason.

use std::time::Duration;

use rusqlite::Connection;

use crate::support::{BACKDATED, Pair, Site, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);

#[track_caller]
fn becomes_unready(site: &Site, why: &str) {
    wait_until(&format!("it is not ready: {why}"), TIME_MAX, || {
        let (code, told) = site.get("/ready").unwrap_or_default();
        code == 503 && told.contains(why)
    });
    site.shows("sealift_ready", 0);
}

#[track_caller]
fn becomes_ready(site: &Site) {
    wait_until("it is ready", TIME_MAX, || {
        site.get("/ready").is_some_and(|(code, _)| code == 200)
    });
    site.shows("sealift_ready", 1);
}

#[test]
fn an_agent_whose_peer_is_not_there_is_ready() {
    let pair = Pair::new();
    pair.a.start();
    becomes_ready(&pair.a);
}

#[test]
fn an_agent_whose_key_is_disabled_is_not_ready_until_it_is_enabled() {
    let pair = Pair::new();
    pair.b.start();
    becomes_ready(&pair.b);
    let keys = pair.b.rows(&["keys", "list"]);
    let key = keys[0]["id"].as_str().unwrap();
    pair.b.run(&["keys", "disable", key]).exits(0);
    becomes_unready(&pair.b, "the key of bucket photos");
    pair.b.run(&["keys", "enable", key]).exits(0);
    becomes_ready(&pair.b);
}

#[test]
fn an_agent_whose_journal_cannot_be_written_is_not_ready_until_it_can() {
    let pair = Pair::new();
    pair.a.start();
    becomes_ready(&pair.a);
    let other = Connection::open(pair.a.data().join("journal.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    becomes_unready(&pair.a, "the journal cannot be written");
    other.execute_batch("ROLLBACK").unwrap();
    becomes_ready(&pair.a);
}

#[test]
fn an_agent_whose_certificate_ended_is_not_ready_until_it_has_another() {
    let pair = Pair::new();
    pair.certify_b(BACKDATED + Duration::from_secs(12));
    pair.b.start();
    becomes_unready(&pair.b, "the certificate ended");
    let alarms = pair.b.status()["alarms"].to_string();
    for word in ["certificate_late", "the certificate ended"] {
        assert!(alarms.contains(word), "{alarms}");
    }
    pair.certify_b(BACKDATED + Duration::from_secs(3600));
    pair.b.run(&["reload"]).exits(0);
    becomes_ready(&pair.b);
}

#[test]
fn transfers_that_wait_for_more_than_a_day_raise_one_alarm() {
    let pair = Pair::new();
    pair.a.start();
    write_file(&pair.source.join("object"), "nobody takes it");
    wait_until("it waits", TIME_MAX, || pair.a.transfers("PENDING").0 == 1);
    pair.a.stop();
    assert!(!pair.a.log().contains("24 hours"));
    let journal = Connection::open(pair.a.data().join("journal.db")).unwrap();
    let sql = "UPDATE transfers SET recorded_at = recorded_at - 2 * 86400000";
    assert_eq!(journal.execute(sql, []).unwrap(), 1);
    drop(journal);
    pair.a.start();
    pair.a.logs(&["ERROR", "24 hours", "peer=b"]);
    pair.a.audits(
        "transfers.overdue",
        &["\"peer\":\"b\"", "\"objects\":\"1\""],
    );
}
