//! A catalog that was lost or damaged is made anew from the store and the keys.

use std::{fs, time::Duration};

use rusqlite::Connection;
use serde_json::Value;

use crate::support::{BUCKET, Content, PART, Pair, Site, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);

/// What is archived, without when it was stored.
fn archived(site: &Site) -> Vec<Value> {
    let mut rows = site.rows(&["ls", BUCKET, "--versions"]);
    for row in &mut rows {
        row.as_object_mut().unwrap().remove("stored_at");
    }
    rows
}

fn filled() -> Pair {
    let pair = Pair::new();
    Content::new(1, 5000).write(&pair.source.join("small"));
    Content::new(2, 2 * PART + 99).write(&pair.source.join("large"));
    write_file(&pair.source.join("removed"), "before");
    pair.start();
    pair.wait_completed(3, TIME_MAX);
    fs::remove_file(pair.source.join("removed")).unwrap();
    pair.wait_completed(4, TIME_MAX);
    pair.a.stop();
    pair
}

#[test]
fn a_lost_catalog_is_made_anew_and_the_site_goes_on() {
    let pair = filled();
    pair.b
        .run(&["verify", "--rebuild-catalog"])
        .exits(5)
        .tells(&["stop it first"]);
    let before = archived(&pair.b);
    assert_eq!(before.len(), 4);
    pair.b.stop();
    for file in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
        let path = pair.b.data().join(file);
        assert!(fs::remove_file(path).is_ok() || file != "catalog.db");
    }
    let rows = pair.b.rows(&["verify", "--rebuild-catalog", "--deep"]);
    let rebuilt = rows.iter().find_map(|row| row.get("rebuilt")).unwrap();
    assert_eq!(rebuilt["versions"], 4, "{rebuilt}");
    assert_eq!(rebuilt["findings"], 0, "{rebuilt}");
    assert_eq!(rows.last().unwrap()["summary"]["verified"]["objects"], 4);
    assert_eq!(archived(&pair.b), before);
    pair.b.audits(
        "catalog.rebuilt",
        &["uid:", "offline", "\"versions\":\"4\""],
    );
    // Its senders notice and offer everything again; of the version that is gone from the
    // source they ask whether b has it.
    pair.start();
    pair.a.audits("replica.rolled_back", &["\"peer\":\"b\""]);
    pair.b.audits("replica.rolled_back", &["\"peer\":\"a\""]);
    write_file(&pair.source.join("new"), "goes on");
    wait_until("everything is settled again", TIME_MAX, || {
        let count = |status| pair.a.transfers(status).0;
        (count("COMPLETED"), count("FAILED"), count("PENDING")) == (5, 0, 0)
    });
    let after = archived(&pair.b);
    assert!(before.iter().all(|row| after.contains(row)), "{after:?}");
    assert_eq!(after.len(), 5);
    pair.b.run(&["verify", "--deep"]).exits(0);
}

#[test]
fn a_catalog_that_was_not_finished_is_refused_by_everything_but_the_rebuild() {
    let pair = filled();
    pair.b.stop();
    // As a rebuild leaves it that is cut off after its first step.
    let catalog = Connection::open(pair.b.data().join("catalog.db")).unwrap();
    let cut_off = "UPDATE site SET rebuilding = 1; DELETE FROM versions; DELETE FROM files;";
    catalog.execute_batch(cut_off).unwrap();
    drop(catalog);
    for command in [&["up"][..], &["ls"], &["status"], &["verify"]] {
        let ran = pair.b.run(command).exits(4);
        ran.tells(&["was not finished", "sealift verify --rebuild-catalog"]);
    }
    pair.b
        .run(&["verify", "--rebuild-catalog"])
        .exits(0)
        .tells(&["rebuilt   4 versions"]);
    pair.b
        .run(&["verify", "--deep"])
        .exits(0)
        .tells(&["4 objects"]);
}

#[test]
fn what_a_rebuild_could_not_take_over_is_kept_until_another_one_can() {
    let pair = filled();
    pair.b.stop();
    for file in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
        let _ = fs::remove_file(pair.b.data().join(file));
    }
    // Both copies of the key records are gone: nothing opens.
    let records = pair.b.data().join("store/records");
    let aside = pair.b.data().join("records-aside");
    fs::rename(&records, &aside).unwrap();
    pair.b
        .run(&["verify", "--rebuild-catalog"])
        .exits(4)
        .tells(&["rebuilt   0 versions"]);
    let packs = || {
        fs::read_dir(pair.b.data().join("store/packs"))
            .unwrap()
            .count()
    };
    assert_eq!(packs(), 1);
    pair.b.start();
    pair.b.logs(&["a pack is not compacted"]);
    pair.b.stop();
    assert_eq!(packs(), 1, "it may be all that is left");
    // They were in a backup of the file system.
    fs::remove_dir_all(&records).unwrap_or_default();
    fs::rename(&aside, &records).unwrap();
    pair.b
        .run(&["verify", "--rebuild-catalog"])
        .exits(0)
        .tells(&["rebuilt   4 versions"]);
    pair.b.run(&["verify", "--deep"]).exits(0);
}
