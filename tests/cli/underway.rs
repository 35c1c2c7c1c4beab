//! What is on its way is told as such.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::{BUCKET, Content, Pair, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);

#[test]
fn an_object_on_its_way_is_told_by_status_and_explain_and_a_second_signal_cuts_it_short() {
    let pair = Pair::new();
    write_file(&pair.source.join("first"), "content");
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    // The receiver stands still: what is offered stays on its way.
    pair.b.signal(Signal::STOP);
    Content::new(9, 40 << 20).write(&pair.source.join("large"));
    let object = format!("{BUCKET}/large");
    wait_until("it is on its way", TIME_MAX, || {
        let ran = pair.a.run(&["explain", &object]);
        ran.text().contains("it is on its way")
    });
    let ran = pair.a.run(&["explain", &object]).exits(0);
    assert!(!ran.text().contains("next try"), "{ran}");
    let status = pair.a.status();
    let under_way = &status["under_way"][0];
    assert_eq!(under_way["key"], "large", "{status}");
    assert_eq!(under_way["size"], 40 << 20);
    let ran = pair.a.run(&["status"]).exits(0);
    ran.tells(&["UNDER WAY", &object]);

    pair.a.signal(Signal::TERM);
    pair.a.logs(&["a second signal stops at once"]);
    pair.a.signal(Signal::TERM);
    pair.a.logs(&["stopping at once"]);
    assert_eq!(pair.a.ends(TIME_MAX), 0);
    let told = pair.a.log().matches("a second signal stops").count();
    assert_eq!(told, 1);
    pair.b.signal(Signal::CONT);
}
