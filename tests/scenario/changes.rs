//! What changes in the source arrives soon.

use std::{
    fs,
    io::Write,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{BUCKET, Content, Pair, Site, wait_for, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);
/// Changes arrive within two seconds of being closed, and it is printed how soon they did.
/// A machine that has no time for us gets as long as it takes, short of a scan.
const SOON: Duration = Duration::from_secs(40);

/// All versions of a key at the receiver, the latest first.
fn versions(site: &Site, key: &str) -> Vec<Value> {
    let mut rows = site.rows(&["ls", "--versions", &format!("{BUCKET}/{key}")]);
    rows.retain(|row| row["key"] == key);
    rows.sort_by_key(|row| row["latest"] != true);
    rows
}

/// Waits until the latest version of `key` is such, and tells how long that took.
#[track_caller]
fn soon(what: &str, pair: &Pair, key: &str, mut is: impl FnMut(&[Value]) -> bool) -> Vec<Value> {
    let (rows, taken) = wait_for(what, SOON, || {
        let rows = versions(&pair.b, key);
        (!rows.is_empty() && is(&rows)).then_some(rows)
    });
    println!("{what} after {taken:.2?}");
    rows
}

fn running() -> Pair {
    let pair = Pair::new();
    write_file(&pair.source.join("first"), "the first");
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    pair
}

#[test]
fn a_new_file_arrives_within_seconds_of_being_closed() {
    let pair = running();
    write_file(&pair.source.join("new/directory/file"), "something new");
    let rows = soon("the new file is there", &pair, "new/directory/file", |_| {
        true
    });
    assert_eq!(rows[0]["size"], 13);
    let out = pair.get("new/directory/file", "out");
    assert_eq!(fs::read_to_string(out).unwrap(), "something new");
}

#[test]
fn a_changed_file_arrives_as_a_version_and_the_old_one_can_still_be_had() {
    let pair = running();
    write_file(&pair.source.join("first"), "the second");
    let rows = soon("the new version is there", &pair, "first", |rows| {
        rows.len() == 2
    });
    assert_eq!(
        (&rows[0]["latest"], &rows[1]["latest"]),
        (&true.into(), &false.into())
    );
    let out = pair.get("first", "out");
    assert_eq!(fs::read_to_string(out).unwrap(), "the second");
    let old = rows[1]["version"].as_str().unwrap();
    let object = format!("{BUCKET}/first");
    let ran = pair.b.run(&["get", "--version", old, &object]).exits(0);
    assert_eq!(ran.text(), "the first");
    pair.verify_both(TIME_MAX);
}

#[test]
fn a_removed_file_arrives_as_a_delete_marker_and_its_versions_stay() {
    let pair = running();
    // More than half of a source at once would be held back.
    for n in 0..4 {
        write_file(&pair.source.join(format!("other-{n}")), "stays");
    }
    pair.wait_completed(5, TIME_MAX);
    fs::remove_file(pair.source.join("first")).unwrap();
    let rows = soon("the delete marker is there", &pair, "first", |rows| {
        rows[0]["kind"] == "delete-marker"
    });
    assert_eq!(rows.len(), 2, "{rows:?}");
    let object = format!("{BUCKET}/first");
    pair.b.run(&["get", &object]).exits(10);
    let old = rows[1]["version"].as_str().unwrap();
    let ran = pair.b.run(&["get", "--version", old, &object]).exits(0);
    assert_eq!(ran.text(), "the first");
    let listed = pair.b.rows(&["ls", BUCKET]);
    assert!(listed.iter().all(|row| row["key"] != "first"), "{listed:?}");
    pair.verify_both(TIME_MAX);
}

#[test]
fn a_file_that_is_renamed_into_place_arrives() {
    let pair = running();
    let content = Content::new(3, 3_000_000);
    let beside = pair.dir().join("beside");
    content.write(&beside);
    fs::rename(&beside, pair.source.join("renamed")).unwrap();
    soon("the renamed file is there", &pair, "renamed", |_| true);
    assert!(content.is_in(&pair.get("renamed", "out")));
}

#[test]
fn a_file_that_is_written_in_pieces_arrives_whole() {
    let pair = running();
    let content = Content::new(4, 600_000);
    let mut file = fs::File::create(pair.source.join("pieces")).unwrap();
    let begun = Instant::now();
    let pieces = content.bytes();
    for piece in pieces.chunks(60_000) {
        file.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_millis(150));
    }
    drop(file);
    println!("written in {:.1?}", begun.elapsed());
    soon("the latest version is whole", &pair, "pieces", |rows| {
        rows[0]["size"] == 600_000
    });
    assert!(content.is_in(&pair.get("pieces", "out")));
    pair.verify_both(TIME_MAX);
}

#[test]
fn two_changes_with_the_same_size_one_after_the_other_both_leave_the_last_content() {
    let pair = running();
    for round in 0..5 {
        let path = pair.source.join("same-size");
        write_file(&path, format!("content {round} A"));
        write_file(&path, format!("content {round} B"));
        let last = format!("content {round} B");
        let object = format!("{BUCKET}/same-size");
        wait_for("the last content is there", SOON, || {
            let ran = pair.b.run(&["get", &object]);
            (ran.text() == last).then_some(())
        });
    }
}

#[test]
fn what_changed_while_the_sender_was_stopped_arrives_when_it_starts() {
    let pair = running();
    pair.a.stop();
    write_file(&pair.source.join("first"), "changed meanwhile");
    write_file(&pair.source.join("second"), "new meanwhile");
    pair.a.start();
    soon("the changed one is there", &pair, "first", |rows| {
        rows.len() == 2
    });
    soon("the new one is there", &pair, "second", |_| true);
}

#[test]
fn a_source_that_is_not_there_any_more_is_an_error_and_deletes_nothing() {
    let pair = running();
    fs::rename(&pair.source, pair.dir().join("away")).unwrap();
    pair.a.stop();
    // Nor is it taken for an empty one by an agent that starts without it.
    pair.a.start();
    wait_for("the source is told as away", TIME_MAX, || {
        let told = pair.a.status()["sources"][0]["reason"] == "SrcUnavailable";
        told.then_some(())
    });
    fs::rename(pair.dir().join("away"), &pair.source).unwrap();
    let rows = versions(&pair.b, "first");
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0]["kind"], "put");
}

#[test]
fn removals_of_most_of_a_source_are_held_and_told_as_such_until_they_are_accepted() {
    let pair = running();
    for n in 0..13 {
        write_file(&pair.source.join(format!("k{n}")), "content");
    }
    pair.wait_completed(14, TIME_MAX);
    let accept = ["retry", "--accept-deletes"];
    pair.a
        .run(&accept)
        .exits(0)
        .tells(&["no removals are held"]);
    for n in 0..10 {
        fs::remove_file(pair.source.join(format!("k{n}"))).unwrap();
    }
    wait_for("they are held", SOON, || {
        (pair.a.status()["sources"][0]["deletes_held"] == 10).then_some(())
    });
    pair.a.logs(&["removals are held", "vanished=10", "of=14"]);
    let held = format!("{BUCKET}/k3");
    let words = ["its removal is held", "sealift retry --accept-deletes"];
    pair.a.run(&["explain", &held]).exits(0).tells(&words);
    let ran = pair.a.run(&["ls", &held]).exits(0);
    assert!(ran.text().contains("its removal is held"), "{ran}");
    let listed = pair.a.rows(&["ls", BUCKET]);
    let held = listed.iter().filter(|row| row["removal_held"] == true);
    assert_eq!(held.count(), 10, "{listed:?}");
    pair.a
        .run(&accept)
        .exits(0)
        .tells(&["10 removals in 1 source accepted"]);
    pair.wait_completed(24, TIME_MAX);
    assert_eq!(pair.b.rows(&["ls", BUCKET]).len(), 4);
}
