//! The audit log is shown leaf by leaf, and an altered one is noticed.

use std::time::Duration;

use rusqlite::Connection;

use crate::support::{Pair, Site, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);

/// Changes the log behind the back of the program.
fn alter(site: &Site, sql: &str) {
    let db = Connection::open(site.data().join("catalog.db")).unwrap();
    assert_eq!(db.execute(sql, []).unwrap(), 1, "{sql}");
}

fn pair() -> Pair {
    let pair = Pair::new();
    write_file(&pair.source.join("one"), "1");
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    pair
}

#[test]
fn the_tail_shows_the_last_records_with_and_without_the_agent() {
    let pair = pair();
    pair.b
        .run(&["keys", "create", "--alias", "alias/x"])
        .exits(0);
    let rows = pair.b.rows(&["audit", "tail", "-n", "2"]);
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!(rows[1]["kind"], "key.created", "{rows:?}");
    let index = |i: usize| rows[i]["index"].as_u64().unwrap();
    assert_eq!(index(0) + 1, index(1));
    pair.b.run(&["audit", "tail"]).exits(0).tells(&[
        "key.created",
        "alias=alias/x",
        "object.stored",
    ]);
    pair.b.stop();
    let rows = pair.b.rows(&["audit", "tail"]);
    assert_eq!(rows.last().unwrap()["kind"], "agent.stopped", "{rows:?}");
    pair.b.run(&["audit", "tail", "--follow"]).exits(5);
}

#[test]
fn a_log_that_was_not_touched_is_whole_with_and_without_the_agent() {
    let pair = pair();
    let running = pair.b.rows(&["audit", "verify"]).remove(0);
    assert_eq!(running["flaws"], serde_json::json!([]), "{running}");
    assert_eq!(running["root"].as_str().unwrap().len(), 64);
    pair.b.stop();
    let stopped = pair.b.rows(&["audit", "verify"]).remove(0);
    assert!(
        stopped["leaves"].as_u64() > running["leaves"].as_u64(),
        "{stopped}"
    );
}

#[test]
fn an_altered_leaf_is_named() {
    let pair = pair();
    pair.b.stop();
    alter(
        &pair.b,
        "UPDATE audit SET json = replace(json, 'agent', 'nobod') WHERE leaf = 1",
    );
    let ran = pair.b.run(&["audit", "verify"]).exits(4);
    ran.tells(&[
        "leaf 1 was altered",
        "the leaves do not give the stored head",
        "hint:",
    ]);
    pair.b.start();
    pair.b
        .run(&["audit", "verify"])
        .exits(4)
        .tells(&["leaf 1 was altered"]);
}

#[test]
fn a_missing_leaf_is_named() {
    let pair = pair();
    pair.b.stop();
    alter(&pair.b, "DELETE FROM audit WHERE leaf = 2");
    pair.b
        .run(&["audit", "verify"])
        .exits(4)
        .tells(&["leaf 2 is missing"]);
}
