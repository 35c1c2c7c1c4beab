//! What leaves for a peer is what its limit lets leave, also when that changes.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use crate::support::{Content, Pair, Proxy, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;
/// Between two looks whether time was lost.
const STEP: Duration = Duration::from_millis(5);

/// What passes in a time.
#[derive(Debug)]
struct Measured {
    bytes_per_sec: f64,
    /// The part of the time in which this machine had none for us.
    lost: f64,
}

fn measured(proxy: &Proxy, time: Duration) -> Measured {
    let (begun, before, mut late) = (Instant::now(), proxy.passed(), Duration::ZERO);
    while begun.elapsed() < time {
        let slept = Instant::now();
        sleep(STEP);
        late += slept.elapsed().saturating_sub(2 * STEP);
    }
    let secs = begun.elapsed().as_secs_f64();
    Measured {
        bytes_per_sec: (proxy.passed() - before) as f64 / secs,
        lost: late.as_secs_f64() / secs,
    }
}

/// Holds what passes against a limit, some times: less may pass where the machine had no
/// time for it, and more where something had gathered before. A limit that is not held is
/// not held any time.
#[track_caller]
fn assert_close(proxy: &Proxy, time: Duration, rate: u64) {
    let mut seen = Vec::new();
    for _ in 0..4 {
        let now = measured(proxy, time);
        let share = now.bytes_per_sec / rate as f64;
        let is_excused = now.lost > 0.02 && share < 0.95;
        if (0.95..=1.05).contains(&share) || is_excused {
            println!("{share:.3} of the limit, {:.3} of the time lost", now.lost);
            return;
        }
        seen.push(now);
    }
    panic!("the limit is {rate}: {seen:?}");
}

#[test]
fn a_limit_is_held_within_five_percent_and_changed_while_an_object_is_sent() {
    let pair = Pair::new();
    let proxy = Proxy::to(&pair.listen);
    pair.a.edit(&pair.listen, &proxy.address);
    pair.a.edit(
        "# [peer.limit]\n# rate_bytes_per_sec = 12500000",
        "[peer.limit]\nrate_bytes_per_sec = 2000000",
    );
    pair.start();
    let large = Content::new(7, 192 * MIB);
    large.write(&pair.source.join("large"));
    for n in 0..200 {
        write_file(&pair.source.join(format!("small-{n}")), vec![7; 40_000]);
    }
    wait_until("it is under way", TIME_MAX, || proxy.passed() > MIB);
    // What was let go at once after the rest is behind us.
    sleep(Duration::from_secs(1));
    assert_close(&proxy, Duration::from_secs(6), 2_000_000);
    let peer = &pair.a.status()["peers"][0];
    assert_eq!(peer["limit_bytes_per_second"], 2_000_000);
    let metric = "sealift_send_limit_bytes_per_second";
    pair.a.shows(metric, 2_000_000);
    // Small objects and what is asked of the peer do not wait for the large one.
    write_file(&pair.source.join("late"), "soon");
    wait_until("a small object passes", Duration::from_secs(20), || {
        let rows = pair.a.rows(&["ls", crate::support::BUCKET]);
        rows.iter()
            .any(|row| row["key"] == "late" && row["status"] == "COMPLETED")
    });

    let all_week = "[[peer.limit.times]]\nfrom_utc = \"00:00\"\nto_utc = \"24:00\"\nrate_bytes_per_sec = 8000000\n";
    pair.a
        .edit("# [[peer.limit.times]]", &format!("{all_week}#"));
    pair.a
        .run(&["check"])
        .tells(&["[peer.limit]", "sealift reload"]);
    pair.a.run(&["reload"]).exits(0).tells(&["limits"]);
    sleep(Duration::from_secs(1));
    assert_close(&proxy, Duration::from_secs(4), 8_000_000);
    let peer = &pair.a.status()["peers"][0];
    assert_eq!(peer["limit_bytes_per_second"], 8_000_000);
    assert!(peer["limit_until"].is_string(), "{peer}");

    pair.a.edit(all_week, "");
    pair.a
        .edit("[peer.limit]\nrate_bytes_per_sec = 2000000\n", "");
    pair.a.run(&["reload"]).exits(0);
    wait_until("it is no longer held back", TIME_MAX, || {
        measured(&proxy, Duration::from_millis(300)).bytes_per_sec > 9_000_000.0
            || pair.a.transfers("PENDING").0 == 0
    });
    pair.wait_completed(202, TIME_MAX);
    assert!(pair.a.status()["peers"][0]["limit_bytes_per_second"].is_null());
    pair.verify_both(TIME_MAX);
    assert!(large.is_in(&pair.get("large", "out")));
}

#[test]
fn a_limit_that_means_nothing_is_refused_with_its_line() {
    let pair = Pair::new();
    pair.a.edit("# [peer.limit]", "[peer.limit]");
    let line = pair.a.line_of("[peer.limit]").to_string();
    let refused = pair.a.run(&["check"]).exits(78);
    refused.tells(&[
        &line,
        "peer.limit",
        "a limit without a rate",
        "there is no limit",
    ]);
}
