//! Sealed objects rest in a container of Azure Blob Storage, and come from one; and rest in a
//! bucket that speaks as Google's does.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use sealift_fake_kms::{FakeS3, OWNER, Trouble};
use serde_json::Value;

use crate::support::{
    ACCOUNT, Azurite, BUCKET, Content, KEY, PART, Pair, Site, files_below, run_program, text,
    wait_until,
};

const TIME_MAX: Duration = Duration::from_secs(180);
const CONTAINER: &str = "kept";

fn secret(site: &Site, name: &str, text: &str) {
    let file = site.dir.join(name);
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// How many objects: a few hundred on demand.
fn count() -> u64 {
    match std::env::var("SEALIFT_TEST_FULL").is_ok_and(|full| full == "1") {
        true => 300,
        false => 40,
    }
}

/// Lets what arrives at `b` rest in a container.
fn into_container(pair: &Pair, azurite: &Azurite) {
    secret(&pair.b, "azure-key", KEY);
    pair.b.configure(&format!(
        "[store.azure]\naccount = \"{ACCOUNT}\"\nendpoint = \"{}\"\ncontainer = \"{CONTAINER}\"\n\
         prefix = \"site-b/\"\nkey_file = \"azure-key\"\naccess_tier = \"Cool\"\n",
        azurite.url
    ));
}

/// Makes the source of `a` a container of an account at `url`, for whoever shows this signature.
pub(super) fn from_container(
    pair: &Pair,
    url: &str,
    (account, sas): (&str, &str),
    keeps_versions: bool,
) {
    secret(&pair.a, "azure-sas", sas);
    let section = format!(
        "scan_interval_secs = 1\n[source.azure]\naccount = \"{account}\"\nendpoint = \"{url}\"\n\
         container = \"{BUCKET}\"\nsas_file = \"azure-sas\"\nversions = {keeps_versions}\n"
    );
    let directory = format!("directory = \"{}\"", text(&pair.source));
    pair.a.edit(&directory, &section);
}

fn archived(site: &Site) -> Vec<Value> {
    let mut rows = site.rows(&["ls", BUCKET, "--versions"]);
    for row in &mut rows {
        row.as_object_mut().unwrap().remove("stored_at");
    }
    rows
}

#[test]
#[ignore = "needs Azurite and azure-storage-blob, which cargo xtask test installs"]
fn what_is_acknowledged_is_in_the_container_and_comes_back_from_it_alone() {
    let pair = Pair::new();
    let azurite = Azurite::start(pair.dir(), CONTAINER);
    into_container(&pair, &azurite);
    let mut objects: Vec<(String, Content)> = (0..count())
        .map(|n| (format!("small-{n}"), Content::new(n, n * 3_000)))
        .collect();
    objects.push(("middling".to_owned(), Content::new(998, PART - 5)));
    objects.push(("large".to_owned(), Content::new(999, 4 * PART + 12_345)));
    for (key, content) in &objects {
        content.write(&pair.source.join(key));
    }
    let all = objects.len() as u64;
    pair.start();
    pair.wait_completed(all, TIME_MAX);
    for (n, (key, content)) in objects.iter().enumerate() {
        assert!(content.is_in(&pair.get(key, &format!("out-{n}"))), "{key}");
    }
    pair.verify_both(TIME_MAX);
    wait_until("nothing is staged", TIME_MAX, || {
        files_below(&pair.b.data().join("staging")).is_empty()
    });
    assert!(!pair.b.data().join("store").exists());
    let mut content = 0;
    for row in azurite.client("tiers").rows() {
        let key = row["key"].as_str().unwrap();
        let is_content = key.contains("/objects/") || key.contains("/packs/");
        assert_eq!(
            row["tier"],
            if is_content { "Cool" } else { "Hot" },
            "{row}"
        );
        content += u64::from(is_content);
    }
    assert!(content >= 3, "{content}");
    let put = pair
        .b
        .metric("sealift_store_requests_total{request=\"PutBlock\"}");
    assert!(put >= Some(4), "{put:?}");
    let checked = pair.b.run(&["check"]);
    checked.tells(&["store in a bucket: If-None-Match", "container kept"]);
    comes_back(&pair, all);
}

/// Another machine with its keys, and without its catalog.
fn comes_back(pair: &Pair, all: u64) {
    let before = archived(&pair.b);
    pair.stop();
    for file in [
        "catalog.db",
        "catalog.db-wal",
        "catalog.db-shm",
        "journal.db",
    ] {
        let _gone_already = fs::remove_file(pair.b.data().join(file));
    }
    let rows = pair.b.rows(&["verify", "--rebuild-catalog", "--deep"]);
    let rebuilt = rows.iter().find_map(|row| row.get("rebuilt")).unwrap();
    assert_eq!(
        (&rebuilt["versions"], &rebuilt["findings"]),
        (&all.into(), &0.into())
    );
    assert_eq!(archived(&pair.b), before);
    pair.start();
    Content::new(7, 100).write(&pair.source.join("later"));
    pair.wait_completed(all + 1, TIME_MAX);
}

#[test]
#[ignore = "needs Azurite and azure-storage-blob, which cargo xtask test installs"]
fn a_receiver_that_is_killed_in_the_middle_of_a_large_object_goes_on_with_its_blocks() {
    let pair = Pair::new();
    let azurite = Azurite::start(pair.dir(), CONTAINER);
    into_container(&pair, &azurite);
    pair.a.edit(
        "# [peer.limit]\n# rate_bytes_per_sec = 12500000",
        "[peer.limit]\nrate_bytes_per_sec = 12500000",
    );
    let content = Content::new(5, 12 * PART + 1);
    content.write(&pair.source.join("large"));
    pair.start();
    wait_until("some of its blocks are there", TIME_MAX, || {
        let blocks = azurite.client("blocks").rows();
        blocks.iter().any(|row| row["blocks"].as_u64() >= Some(3))
    });
    assert!(pair.b.kill());
    assert!(
        azurite
            .client("list")
            .rows()
            .iter()
            .all(|row| { !row["key"].as_str().unwrap().contains("/objects/") }),
        "it is half a file"
    );
    pair.b.start();
    pair.wait_completed(1, TIME_MAX);
    let sent = pair
        .b
        .metric("sealift_store_requests_total{request=\"PutBlock\"}")
        .unwrap();
    // Thirteen parts, of which three at least were there.
    assert!(sent <= 10, "{sent} blocks after the restart");
    assert!(content.is_in(&pair.get("large", "out")));
    pair.verify_both(TIME_MAX);
}

#[test]
fn a_bucket_of_google_holds_what_is_acknowledged_and_gives_it_back_after_a_kill_and_alone() {
    let pair = Pair::new();
    let server = FakeS3::start_google("sealed", None);
    server.set_versioning("");
    let (id, key) = OWNER;
    let hmac = format!("[default]\naws_access_key_id={id}\naws_secret_access_key={key}\n");
    secret(&pair.b, "gcs-hmac", &hmac);
    pair.b.configure(&format!(
        "[store.gcs]\nendpoint = \"{}\"\nbucket = \"sealed\"\nprefix = \"site-b/\"\n\
         credentials_file = \"gcs-hmac\"\n",
        server.url()
    ));
    let mut objects: Vec<(String, Content)> = (0..count())
        .map(|n| (format!("small-{n}"), Content::new(n, n * 3_000)))
        .collect();
    objects.push(("large".to_owned(), Content::new(999, 12 * PART + 1)));
    for (key, content) in &objects {
        content.write(&pair.source.join(key));
    }
    let all = objects.len() as u64;
    server.trouble(Trouble::Slow(Duration::from_millis(300)));
    pair.start();
    let mut parts = 0;
    wait_until("some of its parts are there", TIME_MAX, || {
        let asked = server.asked();
        let part = |action: &&String| *action == "s3:PutObject (part)";
        parts += asked.iter().filter(part).count();
        parts >= 3
    });
    assert!(pair.b.kill());
    server.trouble(Trouble::None);
    pair.b.start();
    pair.wait_completed(all, TIME_MAX);
    let asked = server.asked();
    let part = |action: &&String| *action == "s3:PutObject (part)";
    // Thirteen parts, and those that were on their way when it was killed once more.
    let sent = parts + asked.iter().filter(part).count();
    assert!((13..=13 + 8).contains(&sent), "{sent}");
    assert!(server.open_uploads().is_empty());
    for (n, (key, content)) in objects.iter().enumerate() {
        assert!(content.is_in(&pair.get(key, &format!("out-{n}"))), "{key}");
    }
    let checked = pair.b.run(&["check"]);
    checked.tells(&["storage.objects.create", "storage.multipartUploads.abort"]);
    pair.b
        .run(&["policy"])
        .tells(&["google_roles", "storage.multipartUploads.create"]);
    comes_back(&pair, all);
}

/// What the container's own client lists, at `b` as at the account.
fn is_the_same(pair: &Pair, azurite: &Azurite, round: &str) {
    let rows = azurite.client("list").rows();
    assert!(rows.len() >= 30);
    for row in rows {
        let key = row["key"].as_str().unwrap();
        let object = format!("{BUCKET}/{key}");
        let found = pair.b.rows(&["inspect", "--facts", &object]);
        let facts = &found[0]["facts"];
        for fact in ["size", "content_type", "metadata", "tags"] {
            let is_empty = row[fact].as_object().is_some_and(serde_json::Map::is_empty);
            assert!(is_empty || facts[fact] == row[fact], "{key}: {row} {facts}");
        }
        let out = pair.dir().join(format!("{round}-out"));
        let _none_yet = fs::remove_file(&out);
        let get = ["get", "-o", &text(&out), &format!("{BUCKET}/{key}")];
        pair.b.run(&get).exits(0);
        let sum = run_program("sha256sum", &[&text(&out)], &[0]).text();
        assert!(sum.starts_with(row["sha256"].as_str().unwrap()), "{key}");
    }
}

#[test]
#[ignore = "needs Azurite and azure-storage-blob, which cargo xtask test installs"]
fn a_container_arrives_with_its_metadata_and_its_tags_and_so_do_changes() {
    let pair = Pair::new();
    let azurite = Azurite::start(pair.dir(), BUCKET);
    let sas = azurite.client("sas").text();
    // Azurite keeps no versions.
    from_container(&pair, &azurite.url, (ACCOUNT, &sas), false);
    azurite.client("fill");
    pair.start();
    pair.wait_completed(30, TIME_MAX);
    is_the_same(&pair, &azurite, "filled");
    azurite.client("change");
    // Two versions more, and a delete marker.
    pair.wait_completed(33, TIME_MAX);
    is_the_same(&pair, &azurite, "changed");
    let gone = format!("{BUCKET}/in/02 \u{e4}+b");
    pair.b.run(&["get", "-o", "/dev/null", &gone]).exits(10);
    let checked = pair.a.run(&["check"]);
    checked.tells(&["ListBlobs", "containers/blobs/read"]);
}
