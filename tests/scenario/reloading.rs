//! A reload is taken up as a whole or not at all, and what was given up is tried again.

use std::{fs, time::Duration};

use crate::support::{AuditLeaf, BUCKET, Pair, Site, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);

fn loads(site: &Site) -> usize {
    let leaves = AuditLeaf::all(&site.data());
    leaves
        .iter()
        .filter(|leaf| leaf.is("config.loaded"))
        .count()
}

#[test]
fn a_reload_that_fails_changes_nothing() {
    let pair = Pair::new();
    pair.start();
    write_file(&pair.source.join("one"), "before");
    pair.wait_completed(1, TIME_MAX);
    let before = loads(&pair.a);
    // Another agent's certificate, and beside it a rule that covers nothing.
    pair.issue("c", &pair.dir().join("other"));
    for file in ["identity.crt", "identity.key"] {
        fs::rename(
            pair.a.dir.join(file),
            pair.a.dir.join(format!("{file}.own")),
        )
        .unwrap();
        fs::copy(pair.dir().join("other").join(file), pair.a.dir.join(file)).unwrap();
    }
    pair.a
        .edit("# prefix = \"only/below/\"", "prefix = \"nothing/\"");
    pair.a.run(&["reload"]).exits(12).tells(&["identity"]);
    assert_eq!(
        loads(&pair.a),
        before,
        "what was not loaded is on record as loaded"
    );
    write_file(&pair.source.join("two"), "after");
    pair.wait_completed(2, TIME_MAX);
    for file in ["identity.crt", "identity.key"] {
        fs::rename(
            pair.a.dir.join(format!("{file}.own")),
            pair.a.dir.join(file),
        )
        .unwrap();
    }
    pair.a.run(&["reload"]).exits(0);
    wait_until("it is on record", TIME_MAX, || loads(&pair.a) == before + 1);
    // The rule that is in force now covers nothing.
    write_file(&pair.source.join("three"), "not covered");
    wait_until("what no rule covers is listed with why", TIME_MAX, || {
        let rows = pair.a.rows(&["ls", BUCKET]);
        let three = rows.iter().find(|row| row["key"] == "three");
        three.is_some_and(|row| row["reason"] == "SkippedFiltered")
    });
}

#[test]
fn what_a_peer_refused_is_sent_once_it_allows_it() {
    let pair = Pair::new();
    let granted = "actions = [\"replicate\", \"delete\"]";
    pair.b.edit(granted, "actions = [\"read\"]");
    write_file(&pair.source.join("object"), "refused at first");
    pair.start();
    wait_until("it is given up", TIME_MAX, || {
        pair.a.transfers("FAILED").0 == 1
    });
    // The agent that refused is told, and no one else does anything.
    pair.b.edit("actions = [\"read\"]", granted);
    pair.b.run(&["reload"]).exits(0);
    pair.wait_completed(1, TIME_MAX);
    pair.b.run(&["get", &format!("{BUCKET}/object")]).exits(0);
}

#[test]
fn a_delete_marker_without_a_grant_waits_and_is_stored_once_granted() {
    let pair = Pair::new();
    let granted = "actions = [\"replicate\", \"delete\"]";
    pair.b.edit(granted, "actions = [\"replicate\"]");
    write_file(&pair.source.join("object"), "removed soon");
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    fs::remove_file(pair.source.join("object")).unwrap();
    wait_until("it waits, and says why", TIME_MAX, || {
        let rows = pair
            .a
            .rows(&["ls", BUCKET, "--versions", "--status", "PENDING"]);
        rows.iter().any(|row| row["reason"] == "DstDeleteDenied")
    });
    pair.b.edit("actions = [\"replicate\"]", granted);
    pair.b.run(&["reload"]).exits(0);
    pair.a.run(&["retry"]).exits(0);
    pair.wait_completed(2, TIME_MAX);
}

#[test]
fn a_reload_that_needs_another_directory_needs_a_restart() {
    let pair = Pair::new();
    pair.b.start();
    pair.b.logs(&["only the data directory can be written"]);
    let elsewhere = pair.dir().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::copy(
        pair.b.dir.join("bundle.json"),
        elsewhere.join("bundle.json"),
    )
    .unwrap();
    let own = "trust_bundle = \"bundle.json\"";
    let other = format!(
        "trust_bundle = \"{}\"",
        elsewhere.join("bundle.json").display()
    );
    pair.b.edit(own, &other);
    pair.b
        .run(&["reload"])
        .exits(78)
        .tells(&["restart needed", "elsewhere"]);
    pair.b.stop();
    pair.b.start();
    pair.b.run(&["reload"]).exits(0);
}
