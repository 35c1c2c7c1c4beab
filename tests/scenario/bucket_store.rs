//! Sealed objects rest in a bucket: what is acknowledged is there, whatever ends the receiver
//! and whatever the bucket says meanwhile.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use sealift_fake_kms::{FakeS3, OWNER, Trouble};
use serde_json::Value;

use crate::support::{BUCKET, Content, Moto, PART, Pair, Site, files_below, wait_until};

const TIME_MAX: Duration = Duration::from_secs(120);
pub(super) const SEALED: &str = "sealed";

/// Lets what arrives at `b` rest in a bucket.
pub(super) fn into_bucket(pair: &Pair, url: &str, bucket: &str) {
    let (id, key) = OWNER;
    let credentials = format!("[default]\naws_access_key_id={id}\naws_secret_access_key={key}\n");
    let file = pair.b.dir.join("aws-credentials");
    fs::write(&file, credentials).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    pair.b.configure(&format!(
        "[store.s3]\nregion = \"eu-west-1\"\nendpoint = \"{url}\"\nbucket = \"{bucket}\"\n\
         prefix = \"site-b/\"\ncredentials_file = \"aws-credentials\"\n"
    ));
}

pub(super) fn server() -> FakeS3 {
    let server = FakeS3::start(SEALED, None);
    server.set_versioning("");
    server
}

fn keys_below(server: &FakeS3, folder: &str) -> usize {
    let prefix = format!("site-b/{folder}/");
    let keys = server.keys();
    keys.iter().filter(|key| key.starts_with(&prefix)).count()
}

fn archived(site: &Site) -> Vec<Value> {
    let mut rows = site.rows(&["ls", BUCKET, "--versions"]);
    for row in &mut rows {
        row.as_object_mut().unwrap().remove("stored_at");
    }
    rows
}

#[test]
fn what_is_acknowledged_is_in_the_bucket_and_comes_back_from_it_alone() {
    let pair = Pair::new();
    let server = server();
    into_bucket(&pair, &server.url(), SEALED);
    pair.b.run(&["check"]);
    let mut objects: Vec<(String, Content)> = (0..40)
        .map(|n| (format!("small-{n}"), Content::new(n, n * 20_000)))
        .collect();
    objects.push(("middling".to_owned(), Content::new(98, PART - 5)));
    objects.push(("large".to_owned(), Content::new(99, 4 * PART + 12_345)));
    for (key, content) in &objects {
        content.write(&pair.source.join(key));
    }
    pair.start();
    pair.wait_completed(42, TIME_MAX);
    assert_eq!(keys_below(&server, "objects"), 2);
    assert!(keys_below(&server, "packs") >= 1 && keys_below(&server, "records") >= 1);
    for (n, (key, content)) in objects.iter().enumerate() {
        assert!(content.is_in(&pair.get(key, &format!("out-{n}"))), "{key}");
    }
    pair.verify_both(TIME_MAX);
    // Nothing of it is on this machine any more.
    wait_until("nothing is staged", TIME_MAX, || {
        files_below(&pair.b.data().join("staging")).is_empty()
    });
    assert!(!pair.b.data().join("store").exists());
    assert!(
        pair.b
            .metric("sealift_store_requests_total{request=\"UploadPart\"}")
            >= Some(4)
    );
    let before = archived(&pair.b);
    pair.stop();

    // Another machine with its keys, and without its catalog.
    for file in [
        "catalog.db",
        "catalog.db-wal",
        "catalog.db-shm",
        "journal.db",
    ] {
        let _gone_already = fs::remove_file(pair.b.data().join(file));
    }
    pair.b.run(&["status"]).tells(&["rebuild-catalog"]);
    let rows = pair.b.rows(&["verify", "--rebuild-catalog", "--deep"]);
    let rebuilt = rows.iter().find_map(|row| row.get("rebuilt")).unwrap();
    assert_eq!(
        (&rebuilt["versions"], &rebuilt["findings"]),
        (&42.into(), &0.into())
    );
    assert_eq!(archived(&pair.b), before);
    pair.start();
    Content::new(7, 100).write(&pair.source.join("later"));
    wait_until("everything is settled again", TIME_MAX, || {
        let count = |status| pair.a.transfers(status).0;
        (count("COMPLETED"), count("FAILED"), count("PENDING")) == (43, 0, 0)
    });
}

#[test]
fn a_receiver_that_is_killed_in_the_middle_of_a_large_object_sends_only_what_is_missing() {
    let pair = Pair::new();
    let server = server();
    into_bucket(&pair, &server.url(), SEALED);
    let content = Content::new(5, 12 * PART + 1);
    content.write(&pair.source.join("large"));
    server.trouble(Trouble::Slow(Duration::from_millis(300)));
    pair.start();
    let mut parts = 0;
    let mut count = || {
        let asked = server.asked();
        parts += asked
            .iter()
            .filter(|action| *action == "s3:PutObject (part)")
            .count();
        parts
    };
    wait_until("some of its parts are there", TIME_MAX, || count() >= 3);
    assert!(pair.b.kill());
    server.trouble(Trouble::None);
    assert_eq!(keys_below(&server, "objects"), 0, "it is half a file");
    assert_eq!(server.open_uploads().len(), 1);
    pair.b.start();
    pair.wait_completed(1, TIME_MAX);
    // Thirteen parts, and those that were on their way when it was killed once more.
    let sent = count();
    assert!((13..=13 + 8).contains(&sent), "{sent}");
    let through = pair
        .a
        .metric("sealift_sent_bytes_total{peer=\"b\"}")
        .unwrap();
    assert!(
        through < 24 * PART,
        "{through} bytes were sent over the tunnel"
    );
    assert!(server.open_uploads().is_empty());
    assert!(content.is_in(&pair.get("large", "out")));
    pair.verify_both(TIME_MAX);
}

#[test]
fn a_bucket_in_trouble_puts_objects_off_with_the_reason_and_loses_none() {
    let pair = Pair::new();
    let server = server();
    into_bucket(&pair, &server.url(), SEALED);
    Content::new(1, 1000).write(&pair.source.join("before"));
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    let told = |key: &str, word: &str| {
        wait_until(&format!("{key} is explained by {word}"), TIME_MAX, || {
            let said = pair.a.run(&["explain", &format!("{BUCKET}/{key}")]).said();
            said.contains(word) && said.contains("PENDING")
        });
    };
    let large = Content::new(3, 3 * PART + 7);
    for (n, (action, reason)) in [
        ("s3:PutObject", "DstPutDenied"),
        ("s3:PutObject (part)", "DstPutDenied"),
        ("s3:PutObject (complete)", "DstPutDenied"),
    ]
    .into_iter()
    .enumerate()
    {
        server.deny(action, true);
        let key = format!("denied-{n}");
        large.write(&pair.source.join(&key));
        told(&key, reason);
        if action == "s3:PutObject" {
            let checked = pair.b.run(&["check"]);
            assert_ne!(checked.code, 0);
            assert!(checked.said().contains("s3:PutObject"), "{checked}");
        }
        server.deny(action, false);
        pair.wait_completed(2 + n as u64, TIME_MAX);
    }
    server.trouble(Trouble::Throttled);
    large.write(&pair.source.join("throttled"));
    Content::new(4, 1000).write(&pair.source.join("small"));
    told("throttled", "DstStoreUnavailable");
    told("small", "DstStoreUnavailable");
    server.trouble(Trouble::None);
    pair.wait_completed(6, TIME_MAX);
    for (n, key) in ["denied-0", "denied-1", "denied-2", "throttled"]
        .iter()
        .enumerate()
    {
        assert!(large.is_in(&pair.get(key, &format!("out-{n}"))), "{key}");
    }
    pair.verify_both(TIME_MAX);
}

#[test]
#[ignore = "needs moto and boto3, which cargo xtask test installs"]
fn a_store_that_is_not_ours_holds_what_is_sealed() {
    let pair = Pair::new();
    let moto = Moto::start(pair.dir());
    moto.boto3("make");
    into_bucket(&pair, &moto.url, BUCKET);
    pair.start();
    // Before anything is sealed: afterwards it demands a backup of the keys.
    pair.b.run(&["check"]).exits(0);
    let mut objects: Vec<(String, Content)> = (0..5)
        .map(|n| (format!("small-{n}"), Content::new(n, n * 1000)))
        .collect();
    objects.push(("large".to_owned(), Content::new(99, 3 * PART + 12_345)));
    for (key, content) in &objects {
        content.write(&pair.source.join(key));
    }
    pair.wait_completed(6, TIME_MAX);
    for (n, (key, content)) in objects.iter().enumerate() {
        assert!(content.is_in(&pair.get(key, &format!("out-{n}"))), "{key}");
    }
    pair.verify_both(TIME_MAX);
}

#[test]
fn small_packs_are_merged_by_few_requests_and_a_kill_on_the_way_loses_nothing() {
    let pair = Pair::new();
    let server = server();
    into_bucket(&pair, &server.url(), SEALED);
    pair.start();
    let objects: Vec<_> = (0..10).map(|n| Content::new(n, 3000 + n)).collect();
    for (n, content) in objects.iter().enumerate() {
        content.write(&pair.source.join(format!("small-{n}")));
        pair.wait_completed(1 + n as u64, TIME_MAX);
    }
    let before = keys_below(&server, "packs");
    assert!(before >= objects.len(), "{before} packs");
    pair.b.stop();
    // Killed when the merged pack is there, and the others are not all gone.
    server.asked();
    server.trouble(Trouble::Slow(Duration::from_millis(100)));
    pair.b.start();
    wait_until("a pack came or went", TIME_MAX, || {
        keys_below(&server, "packs") != before
    });
    assert!(pair.b.kill());
    assert!(keys_below(&server, "packs") > 1, "it was over");
    server.trouble(Trouble::None);
    let asked = server.asked();
    let count = |action: &str| asked.iter().filter(|asked| *asked == action).count();
    // Each was opened and read; the lease and what a start looks at are beside that.
    let read = count("s3:GetObject");
    assert!((2 * before..3 * before + 10).contains(&read), "{read}");
    pair.b.start();
    wait_until("one pack is left", TIME_MAX, || {
        keys_below(&server, "packs") == 1
    });
    for (n, content) in objects.iter().enumerate() {
        let got = pair.get(&format!("small-{n}"), &format!("out-{n}"));
        assert!(content.is_in(&got), "small-{n}");
    }
    pair.verify_both(TIME_MAX);
}

#[test]
fn a_bucket_that_has_to_keep_versions_takes_nothing_in_while_it_does_not() {
    let pair = Pair::new();
    let server = server();
    into_bucket(&pair, &server.url(), SEALED);
    pair.b.configure("require_versioning = true");
    let checked = pair.b.run(&["check"]);
    assert_ne!(checked.code, 0);
    let said = checked.said();
    assert!(
        said.contains("s3:GetBucketVersioning") && said.contains("require_versioning"),
        "{checked}"
    );
    // It starts all the same.
    pair.start();
    Content::new(1, 1000).write(&pair.source.join("small"));
    Content::new(2, 2 * PART).write(&pair.source.join("large"));
    for key in ["small", "large"] {
        wait_until("it waits, and says why", TIME_MAX, || {
            let said = pair.a.run(&["explain", &format!("{BUCKET}/{key}")]).said();
            said.contains("DstVersioningDisabled") && said.contains("PENDING")
        });
    }
    assert_eq!(keys_below(&server, "objects"), 0);
    server.set_versioning("Enabled");
    pair.wait_completed(2, TIME_MAX);
    pair.b.run(&["check"]).tells(&["keeps versions"]);
    // What rests there is read by an agent that starts while it is off.
    pair.b.stop();
    server.set_versioning("Suspended");
    pair.b.start();
    let got = pair.get("small", "out");
    assert!(Content::new(1, 1000).is_in(&got));
    Content::new(3, 1000).write(&pair.source.join("late"));
    wait_until("it waits, and says why", TIME_MAX, || {
        let said = pair.a.run(&["explain", &format!("{BUCKET}/late")]).said();
        said.contains("DstVersioningDisabled") && said.contains("PENDING")
    });
    server.set_versioning("Enabled");
    pair.wait_completed(3, TIME_MAX);
    pair.verify_both(TIME_MAX);
}
