//! An identity on the deny list is let in no more, whatever its certificate says.

use std::{thread::sleep, time::Duration};

use crate::support::{Pair, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);
/// How long a denied identity is good for something: what is promised. It takes a second.
const CUT_OFF_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn a_denied_identity_is_cut_off_at_once_and_comes_back_when_that_is_lifted() {
    let pair = Pair::new();
    write_file(&pair.source.join("before"), "allowed");
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    pair.b
        .run(&["ca", "deny"])
        .exits(0)
        .tells(&["nobody is denied"]);
    let identity = pair.a.identity.as_str();
    let why = ["--reason", "its key was copied"];
    pair.b
        .run(&[&["ca", "deny", identity][..], &why].concat())
        .exits(0)
        .tells(&[identity, "its key was copied"]);
    wait_until("its links are closed", CUT_OFF_WITHIN, || {
        pair.b.log().contains("a link is closed")
    });
    pair.b
        .audits("administration", &["deny", identity, "its key was copied"]);
    write_file(&pair.source.join("after"), "refused");
    pair.b.logs(&["connection refused", "denied"]);
    // Neither a reload nor a restart lets it in.
    pair.b.run(&["reload"]).exits(0);
    pair.b.stop();
    pair.b.run(&["ca", "deny"]).exits(0).tells(&[identity]);
    pair.b.start();
    sleep(Duration::from_secs(3));
    assert_eq!(pair.a.transfers("COMPLETED").0, 1);
    assert_eq!(pair.a.transfers("PENDING").0, 1);
    let own = pair.b.identity.as_str();
    pair.b.run(&["ca", "deny", own]).exits(2).tells(&["own"]);
    pair.b
        .run(&["ca", "deny", identity, "--lift"])
        .exits(0)
        .tells(&["nobody is denied"]);
    pair.wait_completed(2, TIME_MAX);
    pair.b
        .run(&["ca", "deny", identity, "--lift"])
        .exits(2)
        .tells(&["not on the deny list"]);
}

#[test]
fn who_is_denied_while_the_agent_is_stopped_is_refused_once_it_runs() {
    let pair = Pair::new();
    write_file(&pair.source.join("object"), "refused");
    let identity = pair.a.identity.as_str();
    pair.b.run(&["ca", "deny", identity]).exits(0);
    pair.start();
    pair.b.logs(&["connection refused", "denied"]);
    assert_eq!(pair.a.transfers("COMPLETED").0, 0);
}
