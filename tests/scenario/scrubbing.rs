//! Damage is found by the scrub, and mended from the source by itself.

use std::{fs, path::PathBuf, time::Duration};

use serde_json::Value;

use crate::support::{BUCKET, Content, PART, Pair, Site, flip, resting, wait_until};

const TIME_MAX: Duration = Duration::from_secs(60);

/// Flips a bit in the middle of an object's sealed bytes; where these rest.
fn damage(site: &Site, key: &str) -> PathBuf {
    let (path, offset, length) = resting(site, key);
    flip(&path, offset + length / 2);
    path
}

fn scrub(site: &Site) -> (Value, Vec<Value>) {
    let mut rows = site.rows(&["scrub"]);
    (rows.remove(0), rows)
}

fn quarantined(site: &Site, state: &str) -> u64 {
    scrub(site).0[state].as_u64().unwrap()
}

#[test]
fn damage_is_found_by_the_scrub_and_comes_again_from_the_source_by_itself() {
    let pair = Pair::new();
    pair.b.configure("[scrub]\nrate_bytes_per_sec = 1073741824");
    let (small, large) = (Content::new(1, 5000), Content::new(2, 2 * PART + 99));
    small.write(&pair.source.join("small"));
    large.write(&pair.source.join("large"));
    Content::new(3, 7000).write(&pair.source.join("sound"));
    pair.start();
    pair.wait_completed(3, TIME_MAX);
    let files = [damage(&pair.b, "small"), damage(&pair.b, "large")];
    pair.b.run(&["verify", "--deep"]).exits(4);
    pair.b.run(&["scrub", "--now"]).exits(0);
    wait_until("both came again", TIME_MAX, || {
        quarantined(&pair.b, "repaired") == 2 && quarantined(&pair.b, "damaged") == 0
    });
    for (key, content) in [("small", small), ("large", large)] {
        assert!(content.is_in(&pair.get(key, key)), "{key}");
        pair.a.audits("replica.damaged", &[key]);
        pair.b.audits("object.damaged", &[key, "quarantined"]);
        pair.b.audits("object.repaired", &[key]);
    }
    pair.wait_completed(3, TIME_MAX);
    pair.verify_both(TIME_MAX);
    assert!(
        files.iter().all(|file| file.exists()),
        "nothing was deleted"
    );
    let (_, rows) = scrub(&pair.b);
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(
        rows.iter().all(|row| row["repaired_at"].is_string()),
        "{rows:?}"
    );
    pair.b.shows("sealift_scrub_findings_total", 2);
    assert!(pair.b.metric("sealift_scrub_bytes_total") > Some(2 * PART));
    pair.b
        .run(&["status"])
        .exits(0)
        .tells(&["2 findings", "2 repaired"]);
    let versions = pair.b.rows(&["ls", "--versions"]);
    assert_eq!(versions.len(), 3, "{versions:?}");
}

#[test]
fn what_cannot_come_again_stays_in_quarantine_and_somebody_is_told() {
    let pair = Pair::new();
    Content::new(1, 1_500_000).write(&pair.source.join("object"));
    Content::new(2, 5000).write(&pair.source.join("sound"));
    pair.start();
    pair.wait_completed(2, TIME_MAX);
    pair.a.stop();
    let file = damage(&pair.b, "object");
    pair.b.run(&["scrub", "--now"]).exits(0);
    wait_until("it is in quarantine", TIME_MAX, || {
        quarantined(&pair.b, "damaged") == 1
    });
    let object = format!("{BUCKET}/object");
    pair.b
        .run(&["get", &object])
        .exits(4)
        .tells(&["quarantine"]);
    pair.b
        .run(&["status"])
        .exits(0)
        .tells(&["damaged", "1 versions are in quarantine"]);
    pair.b
        .run(&["explain", &object])
        .exits(0)
        .tells(&["DstObjectDamaged"]);
    pair.b.run(&["verify", "--deep"]).exits(4).tells(&[&object]);
    pair.b
        .run(&["scrub"])
        .exits(0)
        .tells(&[&object, "DstObjectDamaged"]);
    // Its source has another version by now: that one comes, the damaged one does not.
    let other = Content::new(9, 1_400_000);
    other.write(&pair.source.join("object"));
    pair.a.start();
    pair.b.logs(&["asked for"]);
    wait_until("the new version is there", TIME_MAX, || {
        pair.b.rows(&["ls", BUCKET, "--versions"]).len() == 3
    });
    assert!(other.is_in(&pair.get("object", "out")));
    wait_until("nothing is pending", TIME_MAX, || {
        pair.a.transfers("PENDING").0 == 0
    });
    assert_eq!(quarantined(&pair.b, "damaged"), 1);
    assert!(file.exists());
    pair.b.stop();
    assert_eq!(quarantined(&pair.b, "damaged"), 1, "it is remembered");
}

#[test]
fn a_receiver_that_lost_its_store_is_refilled_from_the_source() {
    let pair = Pair::new();
    for n in 0..20 {
        Content::new(n, 3000 + n).write(&pair.source.join(format!("small/{n}")));
    }
    Content::new(90, 3_000_000).write(&pair.source.join("large"));
    pair.start();
    pair.wait_completed(21, TIME_MAX);
    pair.b.stop();
    // Lost for good; whoever says so puts an empty store there.
    let store = pair.b.data().join("store");
    fs::remove_dir_all(&store).unwrap();
    pair.b.run(&["up"]).exits(1).tells(&["mounted"]);
    fs::create_dir(&store).unwrap();
    pair.b.run(&["up"]).exits(1).tells(&["mounted"]);
    fs::write(store.join(".sealift-store"), "").unwrap();
    pair.b.start();
    pair.b.run(&["scrub", "--now"]).exits(0);
    wait_until("all of it came again", TIME_MAX, || {
        quarantined(&pair.b, "repaired") == 21 && quarantined(&pair.b, "damaged") == 0
    });
    pair.wait_completed(21, TIME_MAX);
    pair.verify_both(TIME_MAX);
}
