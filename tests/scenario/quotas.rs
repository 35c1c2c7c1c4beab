//! A bucket holds what its quota lets it, and says so; what is beyond that waits.

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use crate::support::{BUCKET, Content, Pair, wait_until};

const TIME_MAX: Duration = Duration::from_secs(60);

#[test]
fn what_is_beyond_a_quota_waits_and_comes_once_it_is_raised() {
    let pair = Pair::new();
    let key = format!("key = \"alias/{BUCKET}\"");
    pair.b.edit(&key, &format!("{key}\nquota_objects = 2"));
    Content::new(1, 700).write(&pair.source.join("one"));
    Content::new(2, 3_000_000).write(&pair.source.join("two"));
    pair.start();
    pair.wait_completed(2, TIME_MAX);
    Content::new(3, 700).write(&pair.source.join("three"));
    wait_until("the third one is explained", TIME_MAX, || {
        let said = pair.a.run(&["explain", &format!("{BUCKET}/three")]).said();
        said.contains("PENDING")
            && said.contains("DstQuotaExceeded")
            && said.contains("its quota is 2")
    });
    assert_eq!(pair.b.rows(&["ls", BUCKET]).len(), 2);
    let bucket = pair.b.status()["buckets"][0].clone();
    assert_eq!(bucket["quota_objects"], 2, "{bucket}");
    assert!(bucket["quota_bytes"].is_null(), "{bucket}");
    // The sender is told that it may try again.
    pair.b.edit(
        "quota_objects = 2",
        "quota_objects = 3\nquota_bytes = 4000000",
    );
    pair.b.run(&["reload"]).exits(0);
    pair.wait_completed(3, TIME_MAX);
    pair.b.edit("quota_bytes = 4000000", "quota_bytes = 0");
    let line = pair.b.line_of("quota_bytes = 0").to_string();
    pair.b
        .run(&["check", "--offline"])
        .exits(78)
        .tells(&["bucket.quota_bytes", &line]);
}

/// The section of B's only peer, with these lines in it.
fn limit_peer(pair: &Pair, lines: &str) {
    pair.b.edit(
        "# [peer.quota]\n# bytes = ",
        &format!("[peer.quota]\n{lines}\n# bytes = "),
    );
}

fn explains(pair: &Pair, key: &str, words: &[&str]) {
    let object = format!("{BUCKET}/{key}");
    wait_until(&format!("{key} is explained"), TIME_MAX, || {
        let said = pair.a.run(&["explain", &object]).said();
        words.iter().all(|word| said.contains(word))
    });
}

#[test]
fn what_a_peer_brings_is_held_to_its_quota_over_a_restart() {
    let pair = Pair::new();
    limit_peer(&pair, "objects = 2\nunfinished_bytes = 20000000");
    Content::new(1, 700).write(&pair.source.join("one"));
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    // It would never fit: it is not begun.
    Content::new(4, 20_000_001).write(&pair.source.join("large"));
    explains(
        &pair,
        "large",
        &["PENDING", "DstQuotaExceeded", "20000001 bytes unfinished"],
    );
    Content::new(2, 20_000_000).write(&pair.source.join("two"));
    wait_until("what fits is there, whatever waits", TIME_MAX, || {
        pair.a.transfers("COMPLETED").0 == 2
    });
    Content::new(3, 700).write(&pair.source.join("three"));
    let beyond = [
        "PENDING",
        "DstQuotaExceeded",
        "agent/a brought",
        "its quota is 2",
    ];
    explains(&pair, "three", &beyond);
    let told = |pair: &Pair| pair.b.status()["peers"][0]["brought"].clone();
    let brought = told(&pair);
    assert_eq!(brought["objects"], 2, "{brought}");
    assert_eq!(brought["bytes"], 20_000_700, "{brought}");
    assert_eq!(brought["quota_objects"], 2, "{brought}");
    assert_eq!(brought["quota_unfinished_bytes"], 20_000_000, "{brought}");
    assert!(brought["quota_bytes"].is_null(), "{brought}");
    pair.b.shows("sealift_peer_held", 20_000_702);

    // What is counted is known after a restart.
    pair.b.stop();
    pair.b.start();
    pair.a.run(&["retry"]).exits(0);
    explains(&pair, "three", &beyond);
    assert_eq!(told(&pair)["objects"], 2);
    assert_eq!(pair.b.rows(&["ls", BUCKET]).len(), 2);

    // Another quota is taken up at once, and the sender is told.
    pair.b.edit(
        "objects = 2\nunfinished_bytes = 20000000",
        "objects = 4\nunfinished_bytes = 20000001",
    );
    pair.b
        .run(&["check"])
        .tells(&["[peer.quota]", "sealift reload"]);
    pair.b.run(&["reload"]).exits(0);
    pair.wait_completed(4, TIME_MAX);
    pair.verify_both(TIME_MAX);
}

/// Seconds of processor time that a process has used.
fn busy_secs(pid: i32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    // User and system time, in hundredths of a second.
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

#[test]
fn a_peer_is_taken_from_no_faster_than_its_rate_and_nothing_fails() {
    let pair = Pair::new();
    limit_peer(&pair, "rate_bytes_per_sec = 2000000");
    pair.start();
    let large = Content::new(7, 48 << 20);
    large.write(&pair.source.join("large"));
    for n in 0..50 {
        Content::new(n, 40_000).write(&pair.source.join(format!("small-{n}")));
    }
    let came = || pair.b.metric("sealift_received_bytes_total").unwrap_or(0);
    wait_until("it is under way", TIME_MAX, || came() > 1_000_000);
    let (begun, before, busy) = (Instant::now(), came(), busy_secs(pair.b.pid()));
    sleep(Duration::from_secs(5));
    let secs = begun.elapsed().as_secs_f64();
    let rate = (came() - before) as f64 / secs;
    assert!(
        (1_700_000.0..=2_150_000.0).contains(&rate),
        "{rate:.0} bytes a second, the limit is 2000000"
    );
    // It waits, and does not look again and again.
    let busy = (busy_secs(pair.b.pid()) - busy) / secs;
    assert!(busy < 0.5, "{busy:.2} of a processor");
    let metric = "sealift_receive_limit_bytes_per_second";
    pair.b.shows(metric, 2_000_000);
    assert_eq!(
        pair.b.status()["peers"][0]["brought"]["limit_bytes_per_second"],
        2_000_000
    );
    assert_eq!(pair.b.metric("sealift_offers_refused_total"), Some(0));
    // What is under way is taken as fast as it comes once there is no limit.
    pair.b
        .edit("[peer.quota]\nrate_bytes_per_sec = 2000000\n", "");
    pair.b.run(&["reload"]).exits(0);
    pair.wait_completed(51, Duration::from_secs(20));
    assert_eq!(pair.b.metric("sealift_offers_refused_total"), Some(0));
    assert!(large.is_in(&pair.get("large", "out")));
    pair.verify_both(TIME_MAX);
}
