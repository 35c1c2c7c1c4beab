//! An agent that is told to end does, within its limit or at once.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Pair, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);

/// `a` has an object under way that does not come to its end: `b` stands still.
fn under_way(drain_secs: u64) -> Pair {
    let pair = Pair::new();
    let drain = format!("[limits]\ndrain_secs = {drain_secs}\n# [limits]");
    pair.a.edit("# [limits]", &drain);
    write_file(&pair.source.join("first"), "arrives");
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    pair.b.signal(Signal::STOP);
    write_file(&pair.source.join("second"), "does not");
    wait_until("it is under way", TIME_MAX, || {
        pair.a.status()["under_way"][0]["key"] == "second"
    });
    pair
}

#[test]
fn what_is_in_flight_is_waited_for_no_longer_than_the_limit() {
    let pair = under_way(3);
    let begun = Instant::now();
    pair.a.signal(Signal::TERM);
    assert_eq!(pair.a.ends(TIME_MAX), 0);
    let taken = begun.elapsed();
    assert!(taken > Duration::from_secs(2), "it did not wait: {taken:?}");
    pair.a
        .logs(&["not everything in flight was finished in time"]);
    // It was not lost.
    pair.b.signal(Signal::CONT);
    pair.a.start();
    pair.wait_completed(2, TIME_MAX);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let pair = under_way(600);
    pair.a.signal(Signal::TERM);
    pair.a.logs(&["a second signal stops at once"]);
    std::thread::sleep(Duration::from_secs(2));
    assert!(pair.a.runs(), "it did not wait for what is in flight");
    // Long before the limit.
    pair.a.signal(Signal::TERM);
    assert_eq!(pair.a.ends(TIME_MAX), 0);
    pair.b.signal(Signal::CONT);
    pair.a.start();
    pair.wait_completed(2, TIME_MAX);
}
