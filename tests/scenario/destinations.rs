//! Several destinations: one that is dead or slow holds up neither another nor the
//! source, and somebody is told.

use std::{fs, time::Duration};

use crate::support::{BUCKET, Content, Pair, Proxy, Site, wait_until};

const TIME_MAX: Duration = Duration::from_secs(60);
/// More than a sender takes up at once.
const OBJECTS: u64 = 3000;
/// More large ones than are open at once.
const LARGE: u64 = 80;

fn write_many(pair: &Pair) {
    for n in 0..OBJECTS {
        Content::new(n, 700 + n % 90).write(&pair.source.join(format!("small/{n}")));
    }
    for n in 0..LARGE {
        Content::new(n, 1_200_000 + n).write(&pair.source.join(format!("large/{n}")));
    }
}

/// Transfers to one peer with this status.
fn transfers(site: &Site, peer: &str, status: &str) -> u64 {
    let report = site.status();
    let rules = report["rules"].as_array().unwrap();
    let counts = rules
        .iter()
        .filter(|rule| rule["peer"] == peer)
        .flat_map(|rule| rule["counts"].as_array().unwrap())
        .filter(|count| count["status"] == status);
    counts.map(|count| count["objects"].as_u64().unwrap()).sum()
}

fn wait_completed(site: &Site, peer: &str, objects: u64) -> Duration {
    wait_until(
        &format!("{objects} objects are completed at {peer}"),
        TIME_MAX,
        || transfers(site, peer, "COMPLETED") == objects,
    )
}

/// Everything arrives at b, whatever is with c; what is new and what is removed does, too.
fn assert_b_is_served(pair: &Pair) {
    let taken = wait_completed(&pair.a, "b", OBJECTS + LARGE);
    println!("{OBJECTS} small and {LARGE} large objects are at b after {taken:.1?}");
    fs::remove_file(pair.source.join("small/7")).unwrap();
    Content::new(9, 4000).write(&pair.source.join("late"));
    wait_completed(&pair.a, "b", OBJECTS + LARGE + 2);
    let keys = pair.b.rows(&["ls", BUCKET]).len() as u64;
    assert_eq!(keys, OBJECTS + LARGE);
}

#[test]
fn a_dead_destination_blocks_neither_another_nor_the_source() {
    let pair = Pair::new();
    let c = pair.destination("c", str::to_owned);
    write_many(&pair);
    pair.start();
    assert_b_is_served(&pair);
    assert_eq!(transfers(&pair.a, "c", "COMPLETED"), 0);
    assert_eq!(transfers(&pair.a, "c", "PENDING"), OBJECTS + LARGE + 2);
    // It comes to life: all of it arrives there as well, but for what is gone by now.
    c.start();
    wait_until("nothing is pending for c", TIME_MAX, || {
        transfers(&pair.a, "c", "PENDING") == 0
    });
    assert_eq!(transfers(&pair.a, "c", "COMPLETED"), OBJECTS + LARGE + 1);
    c.run(&["verify", "--deep"]).exits(0);
}

#[test]
fn a_very_slow_destination_blocks_neither_another_nor_the_source() {
    let pair = Pair::new();
    let mut proxy = None;
    let c = pair.destination("c", |listen| {
        let proxy = proxy.insert(Proxy::to(listen));
        proxy.slow_down(20_000);
        proxy.address.clone()
    });
    c.start();
    write_many(&pair);
    pair.start();
    assert_b_is_served(&pair);
    let slow = transfers(&pair.a, "c", "COMPLETED");
    println!("{slow} at the slow one meanwhile");
    assert!(slow < OBJECTS / 2, "{slow} is not slow");
    proxy.as_ref().unwrap().slow_down(0);
    wait_until("nothing is pending for c", TIME_MAX, || {
        transfers(&pair.a, "c", "PENDING") == 0
    });
}

fn alarms(site: &Site) -> Vec<String> {
    let report = site.status();
    let alarms = report["alarms"].as_array().cloned().unwrap_or_default();
    let text = |alarm: &serde_json::Value| alarm["evidence"].as_str().unwrap().to_owned();
    alarms.iter().map(text).collect()
}

#[test]
fn a_destination_that_does_not_answer_raises_an_alarm_and_its_end_is_told() {
    let pair = Pair::new();
    pair.a.configure("[watchdog]\nstalled_after_secs = 3");
    Content::new(1, 900).write(&pair.source.join("before"));
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    assert!(alarms(&pair.a).is_empty());
    pair.b.freeze(true);
    Content::new(2, 900).write(&pair.source.join("after"));
    wait_until("there is an alarm", TIME_MAX, || {
        !alarms(&pair.a).is_empty()
    });
    let alarm = alarms(&pair.a).remove(0);
    assert!(
        alarm.contains("peer b") && alarm.contains("1 pending"),
        "{alarm}"
    );
    pair.a
        .run(&["status"])
        .exits(0)
        .tells(&["stalled", "peer b"]);
    pair.a.logs(&["replication is stalled"]);
    pair.a.audits("replication.stalled", &["b"]);
    pair.a.shows("sealift_stalled", 1);
    pair.b.freeze(false);
    pair.wait_completed(2, TIME_MAX);
    wait_until("the alarm is over", TIME_MAX, || alarms(&pair.a).is_empty());
    pair.a.audits("replication.resumed", &["b"]);
    pair.a.shows("sealift_stalled", 0);
}

#[test]
fn a_session_that_swallows_everything_is_replaced() {
    let pair = Pair::new();
    let mut proxy = None;
    pair.a.edit(&pair.listen, {
        let proxy = proxy.insert(Proxy::to(&pair.listen));
        &proxy.address
    });
    pair.a.configure("[watchdog]\nstalled_after_secs = 3");
    Content::new(1, 900).write(&pair.source.join("before"));
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    assert!(proxy.as_ref().unwrap().swallow() > 0);
    Content::new(2, 900).write(&pair.source.join("after"));
    // Long before the silence of the links alone would be noticed, which takes a minute.
    let taken = pair.wait_completed(2, Duration::from_secs(30));
    println!("replaced after {taken:.1?}");
    pair.a.shows("sealift_sessions_given_up_total", 1);
}
