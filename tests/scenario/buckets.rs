//! A bucket of an S3 store is replicated as a directory is: with its versions, what it says
//! of them, and what goes wrong at it.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use sealift_fake_kms::{FakeS3, OWNER, Put, Trouble};
use serde_json::Value;

use crate::support::{BUCKET, Content, Moto, PART, Pair, run_program, text, wait_until};

const TIME_MAX: Duration = Duration::from_secs(120);

fn secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Makes the source of `a` a bucket at `url`, with these settings of it as well.
pub(super) fn from_bucket(pair: &Pair, url: &str, more: &str) {
    let (id, key) = OWNER;
    let credentials = format!("[default]\naws_access_key_id={id}\naws_secret_access_key={key}\n");
    secret(&pair.a.dir.join("aws-credentials"), &credentials);
    pair.a.edit(
        &format!("directory = \"{}\"", text(&pair.source)),
        &format!(
            "scan_interval_secs = 2\n[source.s3]\nregion = \"eu-west-1\"\nendpoint = \"{url}\"\n\
             credentials_file = \"aws-credentials\"\n{more}"
        ),
    );
}

pub(super) fn put(bytes: Vec<u8>) -> Put {
    Put {
        bytes: bytes.into(),
        ..Put::default()
    }
}

/// A version of a key at `b`, with what its source said of it; the latest first.
pub(super) fn versions(pair: &Pair, key: &str) -> Vec<Value> {
    let object = format!("{BUCKET}/{key}");
    let ran = pair.b.run(&["inspect", "--facts", "--json", &object]);
    if ran.code == 10 {
        Vec::new()
    } else {
        ran.exits(0).rows()
    }
}

#[test]
fn what_is_put_overwritten_and_removed_in_a_bucket_is_so_in_the_other_region() {
    let pair = Pair::new();
    let roots = pair.a.dir.join("s3-roots.pem");
    let server = FakeS3::start(BUCKET, Some(&roots));
    let queue = format!(
        "roots_file = \"s3-roots.pem\"\nqueue_url = \"{}\"",
        server.queue_url()
    );
    from_bucket(&pair, &server.url(), &queue);
    let mut objects: BTreeMap<String, Content> = (0..40)
        .map(|n| (format!("in/{n:02} ä+b"), Content::new(n, n * 40_000)))
        .collect();
    objects.insert("in/large".to_owned(), Content::new(99, 2 * PART + 12_345));
    let mut ids = BTreeMap::new();
    for (key, content) in &objects {
        let object = Put {
            headers: vec![
                ("content-type".to_owned(), "text/x-test".to_owned()),
                ("x-amz-meta-owner".to_owned(), "Zoë".to_owned()),
            ],
            tags: BTreeMap::from([("class".to_owned(), "a & b".to_owned())]),
            ..put(content.bytes())
        };
        ids.insert(key.clone(), server.put(key, object));
    }
    pair.start();
    pair.wait_completed(41, TIME_MAX);
    for (n, (key, content)) in objects.iter().enumerate() {
        assert!(content.is_in(&pair.get(key, &format!("out-{n}"))), "{key}");
        let rows = versions(&pair, key);
        assert_eq!(rows[0]["version"], ids[key].as_str());
        let facts = &rows[0]["facts"];
        assert_eq!(facts["content_type"], "text/x-test", "{facts}");
        assert_eq!(facts["metadata"]["owner"], "Zoë");
        assert_eq!(facts["tags"]["class"], "a & b");
        assert_eq!(facts["source_region"], "region-a");
    }
    // Both are told by the queue, and by the next scan otherwise.
    let key = "in/07 ä+b";
    let second = server.put(key, put(b"the second".to_vec()));
    wait_until("the second version is there", TIME_MAX, || {
        versions(&pair, key)
            .first()
            .is_some_and(|row| row["version"] == second.as_str())
    });
    let marker = server.remove("in/08 ä+b");
    wait_until("the delete marker is there", TIME_MAX, || {
        versions(&pair, "in/08 ä+b")
            .first()
            .is_some_and(|row| row["version"] == marker.as_str())
    });
    let first = ids[key].as_str();
    let object = format!("{BUCKET}/{key}");
    let ran = pair.b.run(&[
        "get",
        "--version",
        first,
        "-o",
        &text(&pair.dir().join("first")),
        &object,
    ]);
    ran.exits(0);
    assert!(objects[key].is_in(&pair.dir().join("first")));
    assert_eq!(pair.b.run(&["get", &object]).exits(0).text(), "the second");
    pair.b
        .run(&["get", &format!("{BUCKET}/in/08 ä+b")])
        .exits(10);
    assert_eq!(pair.b.rows(&["ls", BUCKET]).len(), 40);
    pair.verify_both(TIME_MAX);
}

#[test]
fn tags_that_change_follow_without_the_bytes_and_only_an_event_tells_of_them() {
    let pair = Pair::new();
    let server = FakeS3::start(BUCKET, None);
    let queue = format!("queue_url = \"{}\"", server.queue_url());
    from_bucket(&pair, &server.url(), &queue);
    let first = server.put("k", put(b"one".to_vec()));
    let second = server.put("k", put(b"two".to_vec()));
    pair.start();
    pair.wait_completed(2, TIME_MAX);
    server.asked();
    let tags = |class: &str| BTreeMap::from([("class".to_owned(), class.to_owned())]);
    let has = |version: &str, class: &str| {
        wait_until(&format!("{version} has {class}"), TIME_MAX, || {
            let rows = versions(&pair, "k");
            let row = rows.iter().find(|row| row["version"] == version).unwrap();
            row["facts"]["tags"]["class"] == class
        });
    };
    server.tag("k", &first, tags("a"));
    has(&first, "a");
    server.tag("k", &second, tags("b"));
    server.tag("k", &first, tags("c"));
    has(&second, "b");
    has(&first, "c");
    let asked = server.asked();
    let reads = asked
        .iter()
        .filter(|action| action.contains("GetObjectVersion"));
    let of_content = reads.filter(|action| !action.contains("Tagging")).count();
    assert_eq!(of_content, 0, "{asked:?}");
    let said = pair.a.run(&["explain", &format!("{BUCKET}/k")]).said();
    assert!(said.contains("COMPLETED"), "{said}");
    // What changed of tags is no object of its own once it is there.
    wait_until("the key is listed once", TIME_MAX, || {
        pair.a.rows(&["ls", BUCKET]).len() == 1
    });
    let all = pair.a.run(&["ls", "--versions", BUCKET]).exits(0);
    all.tells(&["      tags  "]);
    pair.b.run(&["verify", "--deep"]).exits(0);
}

#[test]
fn every_version_arrives_those_from_before_and_those_between_two_scans() {
    let pair = Pair::new();
    let server = FakeS3::start(BUCKET, None);
    from_bucket(&pair, &server.url(), "");
    let mut wanted: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut act = |key: &'static str, what: &[&str]| {
        let ids = what.iter().map(|content| match *content {
            "removed" => server.remove(key),
            content => server.put(key, put(content.into())),
        });
        wanted.entry(key).or_default().extend(ids);
    };
    act("k", &["one", "two", "three"]);
    act("gone", &["one", "removed"]);
    // More than a listing carries along.
    act("deep", &["x"; 20]);
    pair.start();
    pair.wait_completed(25, TIME_MAX);
    // Nobody looks while all of this happens.
    pair.a.stop();
    act("k", &["four", "five", "removed", "six"]);
    act("gone", &["two", "removed"]);
    act("brief", &["one", "removed"]);
    act("deep", &["y"; 18]);
    pair.a.start();
    pair.wait_completed(25 + 26, TIME_MAX);
    for (key, ids) in &wanted {
        let there = versions(&pair, key);
        let there: Vec<_> = there.iter().map(|row| row["version"].as_str()).collect();
        let ids: Vec<_> = ids.iter().rev().map(|id| Some(id.as_str())).collect();
        assert_eq!(there, ids, "{key}");
    }
    let object = format!("{BUCKET}/k");
    let second = wanted["k"][1].as_str();
    let ran = pair.b.run(&["get", "--version", second, &object]);
    assert_eq!(ran.exits(0).text(), "two");
    assert_eq!(pair.b.rows(&["ls", BUCKET]).len(), 2);
    // Whoever looks again finds nothing new.
    pair.a.stop();
    pair.a.start();
    let scanned = pair.a.status()["sources"][0]["scanned"].clone();
    wait_until("it was scanned again", TIME_MAX, || {
        pair.a.status()["sources"][0]["scanned"] != scanned
    });
    pair.wait_completed(25 + 26, TIME_MAX);
    pair.verify_both(TIME_MAX);
}

#[test]
fn what_is_archived_or_under_a_key_of_its_writers_is_left_out_counted_and_comes_once_it_can() {
    let pair = Pair::new();
    let server = FakeS3::start(BUCKET, None);
    from_bucket(&pair, &server.url(), "");
    let large = Content::new(3, PART + 5).bytes();
    let glacier = ("x-amz-storage-class", "GLACIER");
    let theirs = ("x-amz-server-side-encryption-customer-algorithm", "AES256");
    for (key, bytes, (name, value)) in [
        ("small", b"small".to_vec(), glacier),
        ("large", large.clone(), glacier),
        ("theirs", b"theirs".to_vec(), theirs),
        ("theirs-large", large, theirs),
    ] {
        let headers = vec![(name.to_owned(), value.to_owned())];
        server.put(
            key,
            Put {
                headers,
                ..put(bytes)
            },
        );
    }
    server.put("plain", put(b"plain".to_vec()));
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    wait_until("four are left out", TIME_MAX, || {
        pair.a.transfers("SKIPPED").0 == 4
    });
    let skipped = pair.a.rows(&["ls", BUCKET, "--status", "SKIPPED"]);
    let is_why = |row: &Value| row["reason"] == "SkippedUnreadable";
    assert!(
        skipped.len() == 4 && skipped.iter().all(is_why),
        "{skipped:?}"
    );
    for (key, word) in [("large", "restore it"), ("theirs-large", "SSE-C")] {
        let object = format!("{BUCKET}/{key}");
        let said = pair.a.run(&["explain", &object]).said();
        assert!(said.contains(word), "{said}");
    }
    for key in ["small", "large"] {
        server.restore(key);
        let object = format!("{BUCKET}/{key}");
        let batch = ["batch", "replicate", &object, "--status", "SKIPPED"];
        pair.a.run_in_time(TIME_MAX, &batch).exits(0);
    }
    pair.wait_completed(3, TIME_MAX);
    assert_eq!(pair.a.transfers("SKIPPED").0, 2);
    pair.verify_both(TIME_MAX);
}

#[test]
fn a_manifest_names_versions_as_an_inventory_does_and_what_goes_nowhere_is_told_part_by_part() {
    let pair = Pair::new();
    let server = FakeS3::start(BUCKET, None);
    from_bucket(&pair, &server.url(), "");
    server.set_versioning("Suspended");
    assert_eq!(server.put("k", put(b"before".to_vec())), "null");
    server.set_versioning("Enabled");
    server.put("k", put(b"since".to_vec()));
    pair.start();
    pair.wait_completed(2, TIME_MAX);
    let manifest = pair.dir().join("manifest.csv");
    let lines = ["k,null", "k,never", "missing,", "k,"].map(|line| format!("{BUCKET},{line}\n"));
    fs::write(&manifest, format!("{}elsewhere,k,\n", lines.concat())).unwrap();
    let manifest = text(&manifest);
    let batch = ["batch", "replicate", "--manifest", &manifest];
    let told = pair.a.run(&[&batch[..], &["--dry-run"]].concat()).exits(3);
    let said = told.said();
    for line in [
        "photos/k version never: the latest version of the key is",
        "photos/missing: its source has no such key",
        "elsewhere/k: no [[source]] of this site is bucket elsewhere\n",
        "2 versions would be offered",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let rows = pair
        .a
        .run(&[&batch[..], &["--json"]].concat())
        .exits(3)
        .rows();
    let there = rows.iter().filter(|row| row["result"] == "replicated");
    let there: Vec<_> = there.filter_map(|row| row["version"].as_str()).collect();
    // Each is told of as it settles.
    let is_null = |version: &&str| version.starts_with("null~");
    assert_eq!(there.len(), 2, "{rows:?}");
    assert!(there.iter().any(is_null), "{rows:?}");
    let unknown = ["batch", "replicate", BUCKET, "--rule", "zz"];
    pair.a
        .run(&unknown)
        .exits(10)
        .tells(&["rule zz", "[[rule]]"]);
}

#[test]
fn a_bucket_in_trouble_puts_its_objects_off_with_the_reason_until_it_is_over() {
    let pair = Pair::new();
    let server = FakeS3::start(BUCKET, None);
    from_bucket(&pair, &server.url(), "kms_keys = [\"arn:ours\"]");
    let under = |key: &str| Put {
        kms_key: Some(key.to_owned()),
        ..put(b"encrypted there".to_vec())
    };
    server.put("plain", put(b"plain".to_vec()));
    server.put("ours", under("arn:ours"));
    server.put("other", under("arn:other"));
    server.deny_key("arn:ours", true);
    pair.start();
    let told = |key: &str, words: &[&str]| {
        wait_until(
            &format!("{key} is explained by {words:?}"),
            TIME_MAX,
            || {
                let said = pair.a.run(&["explain", &format!("{BUCKET}/{key}")]).said();
                words.iter().all(|word| said.contains(word))
            },
        );
    };
    told("other", &["SKIPPED", "SkippedKmsNotSelected", "arn:other"]);
    told("ours", &["PENDING", "SrcKmsDecryptDenied"]);
    assert_eq!(pair.a.transfers("SKIPPED").0, 1);
    let skipped = pair.a.rows(&["ls", BUCKET, "--status", "SKIPPED"]);
    assert_eq!(skipped[0]["key"], "other", "{skipped:?}");
    server.throttle_key("arn:ours", true);
    server.deny_key("arn:ours", false);
    told("ours", &["PENDING", "SrcKmsThrottled", "KMS.Throttling"]);
    server.throttle_key("arn:ours", false);
    pair.wait_completed(2, TIME_MAX);

    let source_says = |reason: Option<&str>| {
        wait_until(&format!("the source says {reason:?}"), TIME_MAX, || {
            pair.a.status()["sources"][0]["reason"].as_str() == reason
        });
    };
    server.set_versioning("Suspended");
    source_says(Some("SrcVersioningDisabled"));
    let checked = pair.a.run(&["check"]);
    assert_ne!(checked.code, 0);
    assert!(
        checked.said().contains("s3:GetBucketVersioning"),
        "{checked}"
    );
    // Neither does a rule for it come into force.
    pair.a
        .edit("# prefix = \"only/below/\"", "delete_markers = false");
    let refused = pair.a.run(&["apply"]).exits(78);
    refused.tells(&["SrcVersioningDisabled", BUCKET]);
    server.set_versioning("Enabled");
    source_says(None);
    pair.a.run(&["apply"]).exits(0);
    for (trouble, reason) in [
        (Trouble::Throttled, "SrcUnavailable"),
        (Trouble::Denied, "SrcGetDenied"),
        (Trouble::Unreachable, "SrcUnavailable"),
    ] {
        server.trouble(trouble);
        source_says(Some(reason));
    }
    server.trouble(Trouble::None);
    server.put("later", put(b"later".to_vec()));
    pair.wait_completed(3, TIME_MAX);
    pair.a.run(&["check"]).exits(0);
}

/// Every version that the store's own client lists, at `b` as at the store.
fn is_the_same(pair: &Pair, moto: &Moto, round: &str) {
    for row in moto.boto3("list").rows() {
        let key = row["key"].as_str().unwrap();
        let found = versions(pair, key);
        let Some(row_there) = found
            .iter()
            .find(|found| found["version"] == row["version"])
        else {
            panic!("{key} {} is not in {found:?}", row["version"]);
        };
        if row["kind"] == "delete-marker" {
            assert_eq!(row_there["kind"], "delete-marker");
            continue;
        }
        let facts = &row_there["facts"];
        for fact in ["size", "etag", "content_type", "metadata", "tags"] {
            let is_empty = row[fact].as_object().is_some_and(serde_json::Map::is_empty);
            assert!(
                is_empty || facts[fact] == row[fact],
                "{key} {fact}: {row} {facts}"
            );
        }
        let out = pair.dir().join(format!("{round}-out"));
        let _ = fs::remove_file(&out);
        let version = row["version"].as_str().unwrap();
        let object = format!("{BUCKET}/{key}");
        let get = ["get", "--version", version, "-o", &text(&out), &object];
        pair.b.run(&get).exits(0);
        let sum = run_program("sha256sum", &[&text(&out)], &[0]).text();
        assert!(
            sum.starts_with(row["sha256"].as_str().unwrap()),
            "{key}: {sum} {row}"
        );
    }
}

#[test]
#[ignore = "needs moto and boto3, which cargo xtask test installs"]
fn a_bucket_of_a_store_that_is_not_ours_arrives_version_by_version_and_tag_by_tag() {
    let pair = Pair::new();
    let moto = Moto::start(pair.dir());
    let made: Value = moto.boto3("make").rows().remove(0);
    let queue = format!("queue_url = \"{}\"", made["queue"].as_str().unwrap());
    from_bucket(&pair, &moto.url, &queue);
    moto.boto3("fill");
    pair.start();
    pair.wait_completed(30, TIME_MAX);
    is_the_same(&pair, &moto, "filled");
    moto.boto3("change");
    // Three more versions, two delete markers.
    pair.wait_completed(35, TIME_MAX);
    is_the_same(&pair, &moto, "changed");
    assert_eq!(
        moto.boto3("left").text().trim(),
        "0",
        "messages left in the queue"
    );
    moto.boto3("suspend");
    wait_until("the source says so", TIME_MAX, || {
        pair.a.status()["sources"][0]["reason"] == "SrcVersioningDisabled"
    });
}
