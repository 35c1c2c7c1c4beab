//! Tags that are changed follow to the other region, whatever is in the way of reading them: a
//! store that throttles or is silent, a right that is missing, an agent that is killed.

use std::{collections::BTreeMap, io::Write, time::Duration};

use sealift_fake_kms::{FakeS3, Put, Trouble};
use serde_json::Value;

use super::{
    buckets::{from_bucket, versions},
    endpoint::TIME_MAX,
    fronted::{InFront, send},
};
use crate::support::{Answered, BUCKET, Pair, Site, wait_until};

/// How the sender reads the tags of a version.
const READS_TAGS: &str = "s3:GetObjectVersionTagging";
/// More calls than an agent makes of one.
const EVERY: u32 = u32::MAX;

fn unsettled(site: &Site) -> Value {
    site.status()["sources"][0]["unsettled"].clone()
}

fn tagging(value: &str) -> String {
    format!("<Tagging><TagSet><Tag><Key>x</Key><Value>{value}</Value></Tag></TagSet></Tagging>")
}

fn tag(front: &InFront, key: &str, value: &str) -> Answered {
    let path = format!("/{BUCKET}/{key}?tagging");
    send(&front.s3, "PUT", &path, &[], tagging(value).as_bytes())
}

fn wait_for_tag(pair: &Pair, key: &str, value: &str) {
    wait_until("the tag is there", TIME_MAX, || {
        let rows = versions(pair, key);
        rows.first()
            .is_some_and(|row| row["facts"]["tags"]["x"] == value)
    });
}

/// The names that are left out because they cannot be read.
fn unreadable(site: &Site) -> Vec<String> {
    let rows = site.rows(&["ls", "--status", "SKIPPED"]);
    let unreadable = rows
        .iter()
        .filter(|row| row["reason"] == "SkippedUnreadable");
    unreadable
        .map(|row| row["key"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn tags_that_are_changed_in_front_of_a_source_are_sent_whatever_is_in_the_way() {
    let store = FakeS3::start(BUCKET, None);
    let front = InFront::of(&store.url(), BUCKET, "");
    let pair = &front.pair;
    pair.start();
    send(&front.s3, "PUT", &format!("/{BUCKET}/k"), &[], b"k").is(200);
    pair.wait_completed(1, TIME_MAX);
    // The store says that it did it, and then throttles whoever reads the tags.
    store.fail(READS_TAGS, EVERY);
    tag(&front, "k", "throttled").is(200);
    wait_until("it is said that tags cannot be read", TIME_MAX, || {
        pair.a.status()["sources"][0]["reason"].is_string()
    });
    assert_eq!(unsettled(&pair.a), 1);
    assert!(pair.a.kill());
    store.fail(READS_TAGS, 0);
    pair.a.start();
    wait_for_tag(pair, "k", "throttled");
    wait_until("nothing is unsettled", TIME_MAX, || unsettled(&pair.a) == 0);
    // The agent dies before it hears of it.
    store.trouble(Trouble::Late(Duration::from_secs(3600)));
    let body = tagging("late");
    let length = body.len().to_string();
    let path = format!("/{BUCKET}/k?tagging");
    let head = front.s3.head("PUT", &path, &[("content-length", &length)]);
    let mut stream = front.s3.connect();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    wait_until("the store has it", TIME_MAX, || {
        store.tag_of("k", "x").is_some_and(|value| value == "late")
    });
    assert!(pair.a.kill());
    store.trouble(Trouble::None);
    pair.a.start();
    wait_for_tag(pair, "k", "late");
    // The answer is lost.
    store.lose_answers("s3:PutObjectTagging", 1);
    tag(&front, "k", "lost").fails(503, "SlowDown");
    wait_for_tag(pair, "k", "lost");
    // Who may not read them is told so, and sends them once it may.
    store.deny(READS_TAGS, true);
    tag(&front, "k", "denied").is(200);
    wait_until("it is listed", TIME_MAX, || unreadable(&pair.a) == ["k"]);
    assert_eq!(unsettled(&pair.a), 1);
    store.deny(READS_TAGS, false);
    pair.a.stop();
    pair.a.start();
    wait_for_tag(pair, "k", "denied");
    wait_until("it is listed no more", TIME_MAX, || {
        unreadable(&pair.a).is_empty() && unsettled(&pair.a) == 0
    });
    pair.verify_both(TIME_MAX);
}

#[test]
fn a_synchronous_write_of_which_nobody_knows_where_it_goes_is_pending() {
    let store = FakeS3::start(BUCKET, None);
    let waits = "synchronous = true";
    let front = InFront::of(&store.url(), BUCKET, waits);
    let pair = &front.pair;
    pair.a
        .edit("peers = [\"b\"", "tags = { x = \"hot\" }\npeers = [\"b\"");
    pair.start();
    let path = format!("/{BUCKET}/k");
    let write = |tags: &str| send(&front.s3, "PUT", &path, &[("x-amz-tagging", tags)], b"k");
    write("x=hot").is(200);
    assert_eq!(versions(pair, "k").len(), 1);
    // What the rule leaves out is not waited for.
    write("x=cold").is(200);
    assert_eq!(versions(pair, "k").len(), 1);
    store.deny(READS_TAGS, true);
    let pending = write("x=hot").fails(409, "ReplicationPending");
    assert!(pending.text().contains("tags"), "{}", pending.text());
    let head = front
        .s3
        .ask("HEAD", &path, &[("connection", "close")])
        .is(200);
    assert_eq!(head.headers["x-amz-replication-status"], "PENDING");
    assert_eq!(unsettled(&pair.a), 1);
    wait_until("it is listed", TIME_MAX, || unreadable(&pair.a) == ["k"]);
    store.deny(READS_TAGS, false);
    pair.a.stop();
    pair.a.start();
    wait_until("it is there", TIME_MAX, || versions(pair, "k").len() == 2);
    let version = &pending.headers["x-amz-version-id"];
    assert_eq!(versions(pair, "k")[0]["version"], version.as_str());
    wait_until("nothing is unsettled", TIME_MAX, || unsettled(&pair.a) == 0);
}

#[test]
fn events_of_tags_that_may_not_be_read_are_taken_and_keep_nothing_waiting() {
    let pair = Pair::new();
    let store = FakeS3::start(BUCKET, None);
    from_bucket(
        &pair,
        &store.url(),
        &format!("queue_url = \"{}\"", store.queue_url()),
    );
    let object = |key: &str| Put {
        bytes: key.as_bytes().to_vec().into(),
        ..Put::default()
    };
    let version = store.put("k", object("k"));
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    store.deny(READS_TAGS, true);
    store.tag(
        "k",
        &version,
        BTreeMap::from([("x".to_owned(), "new".to_owned())]),
    );
    store.remove("never");
    wait_until("all messages are deleted", TIME_MAX, || store.events() == 0);
    assert_eq!(unreadable(&pair.a), ["k"]);
    // What came with it is known, and scans come to their end.
    pair.wait_completed(2, TIME_MAX);
    let scanned = || pair.a.status()["sources"][0]["scanned"].clone();
    let before = scanned();
    wait_until("a scan", TIME_MAX, || scanned() != before);
    assert_eq!(unreadable(&pair.a), ["k"]);
    assert_eq!(pair.a.metric("sealift_source_failing"), Some(0));
    assert_eq!(unsettled(&pair.a), 1);
    // It outlasts the agent, and goes once it may.
    pair.a.stop();
    store.deny(READS_TAGS, false);
    pair.a.start();
    wait_for_tag(&pair, "k", "new");
    wait_until("it is listed no more", TIME_MAX, || {
        unreadable(&pair.a).is_empty() && unsettled(&pair.a) == 0
    });
}
