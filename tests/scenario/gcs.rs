//! A bucket that speaks as Google's does is replicated: its generations, what it says of them,
//! what is deleted and comes back, and what goes wrong at it.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, time::Duration};

use sealift_fake_kms::{FakeS3, OWNER, Put, Trouble};

use super::buckets::{put, versions};
use crate::support::{BUCKET, Content, PART, Pair, text, wait_until};

const TIME_MAX: Duration = Duration::from_secs(180);

/// Makes the source of `a` a bucket at `server`, with these settings of it as well.
fn from_google(pair: &Pair, server: &FakeS3, more: &str) {
    let (id, key) = OWNER;
    let hmac = format!("[default]\naws_access_key_id={id}\naws_secret_access_key={key}\n");
    let file = pair.a.dir.join("gcs-hmac");
    fs::write(&file, hmac).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    pair.a.edit(
        &format!("directory = \"{}\"", text(&pair.source)),
        &format!(
            "scan_interval_secs = 1\n[source.gcs]\nendpoint = \"{}\"\n\
             credentials_file = \"gcs-hmac\"\n{more}",
            server.url()
        ),
    );
}

fn with(bytes: Vec<u8>, headers: &[(&str, &str)]) -> Put {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Put {
        headers: headers.iter().map(owned).collect(),
        ..put(bytes)
    }
}

/// Waits until `b` has these versions of a key, the latest first.
fn has(pair: &Pair, key: &str, wanted: &[&str]) {
    wait_until(&format!("{key} has {wanted:?}"), TIME_MAX, || {
        let there = versions(pair, key);
        let there: Vec<_> = there
            .iter()
            .filter_map(|row| row["version"].as_str())
            .collect();
        there == wanted
    });
}

#[test]
fn generations_arrive_with_what_is_said_of_them_and_so_do_deletes_and_undeletes() {
    let pair = Pair::new();
    let roots = pair.a.dir.join("gcs-roots.pem");
    let server = FakeS3::start_google(BUCKET, Some(&roots));
    from_google(&pair, &server, "roots_file = \"gcs-roots.pem\"");
    let mut objects: BTreeMap<String, Content> = (0..20)
        .map(|n| (format!("in/{n:02} ä+b"), Content::new(n, n * 40_000)))
        .collect();
    objects.insert("in/large".to_owned(), Content::new(99, 2 * PART + 12_345));
    let headers = [
        ("content-type", "text/x-test"),
        ("content-encoding", "gzip"),
        ("content-language", "de"),
        ("x-goog-storage-class", "NEARLINE"),
        ("x-goog-meta-owner", "Zoë"),
    ];
    for (key, content) in &objects {
        server.put(key, with(content.bytes(), &headers));
    }
    let (one, two) = (
        server.put("k", put(b"one".into())),
        server.put("k", put(b"two".into())),
    );
    pair.start();
    pair.wait_completed(23, TIME_MAX);
    for (n, (key, content)) in objects.iter().enumerate() {
        assert!(content.is_in(&pair.get(key, &format!("out-{n}"))), "{key}");
        let facts = &versions(&pair, key)[0]["facts"];
        assert_eq!(facts["content_type"], "text/x-test", "{facts}");
        assert_eq!(facts["metadata"]["owner"], "Zoë");
        for (name, value) in &headers[1..3] {
            assert_eq!(facts["system"][name], *value, "{facts}");
        }
        assert_eq!(facts["system"]["storage-class"], "NEARLINE");
        assert_eq!(facts["system"]["metageneration"], "1");
    }
    has(&pair, "k", &[&two, &one]);
    server.remove("k");
    let marker = format!("{two}~deleted");
    has(&pair, "k", &[&marker, &two, &one]);
    let object = format!("{BUCKET}/k");
    pair.b.run(&["get", &object]).exits(10);
    let again = server.undelete("k", &one);
    has(&pair, "k", &[&again, &marker, &two, &one]);
    assert_eq!(pair.b.run(&["get", &object]).exits(0).text(), "one");
    // What happens while nobody looks: the last generation of three, and one that is deleted.
    pair.a.stop();
    let three = server.put("k", put(b"three".into()));
    let brief = server.put("brief", put(b"brief".into()));
    server.remove("brief");
    pair.a.start();
    has(&pair, "k", &[&three, &again, &marker, &two, &one]);
    has(&pair, "brief", &[&format!("{brief}~deleted"), &brief]);
    let checked = pair.a.run(&["check"]).exits(0);
    checked.tells(&[
        "storage.buckets.get",
        "storage.objects.list",
        "storage.objects.get",
    ]);
    let policy = pair.a.run(&["policy"]);
    policy.tells(&[
        "google_roles",
        "storage.objects.get",
        &format!("gs://{BUCKET}"),
    ]);
    pair.a.run(&["plan"]).exits(0);
    pair.verify_both(TIME_MAX);
}

#[test]
fn a_bucket_in_trouble_puts_its_objects_off_with_the_reason_until_it_is_over() {
    const RING: &str = "projects/p/locations/eu/keyRings/r/cryptoKeys";
    let pair = Pair::new();
    let server = FakeS3::start_google(BUCKET, None);
    let ours = format!("{RING}/ours/cryptoKeyVersions/1");
    from_google(&pair, &server, &format!("kms_keys = [\"{RING}/ours\"]"));
    let under = |key: &str| Put {
        kms_key: Some(key.to_owned()),
        ..put(b"encrypted there".to_vec())
    };
    server.put("plain", put(b"plain".to_vec()));
    server.put("ours", under(&ours));
    server.put("other", under(&format!("{RING}/other/cryptoKeyVersions/7")));
    let of_writer = [("x-goog-encryption-key-sha256", "AQID")];
    server.put("theirs", with(b"x".to_vec(), &of_writer));
    server.put(
        "spoilt",
        with(b"x".to_vec(), &[("x-goog-hash", "crc32c=AQIDBA==")]),
    );
    server.deny_key(&ours, true);
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
    told(
        "other",
        &["SKIPPED", "SkippedKmsNotSelected", "cryptoKeys/other"],
    );
    told(
        "theirs",
        &["SKIPPED", "SkippedUnreadable", "customer encryption key"],
    );
    told("spoilt", &["FAILED", "ChecksumMismatch", "crc32c"]);
    told("ours", &["PENDING", "SrcKmsDecryptDenied"]);
    server.deny_key(&ours, false);
    wait_until("what may be read is there", TIME_MAX, || {
        pair.a.transfers("COMPLETED").0 == 2
    });
    assert!(versions(&pair, "spoilt").is_empty());

    let source_says = |reason: Option<&str>| {
        wait_until(&format!("the source says {reason:?}"), TIME_MAX, || {
            pair.a.status()["sources"][0]["reason"].as_str() == reason
        });
    };
    server.set_versioning("Suspended");
    source_says(Some("SrcVersioningDisabled"));
    let checked = pair.a.run(&["check"]);
    assert_ne!(checked.code, 0);
    checked.tells(&["storage.buckets.get", "is Suspended"]);
    // Neither does a rule for it come into force.
    let prefix = "# prefix = \"only/below/\"";
    pair.a.edit(prefix, "delete_markers = false");
    let refused = pair.a.run(&["apply"]).exits(78);
    refused.tells(&["SrcVersioningDisabled", BUCKET]);
    server.set_versioning("Enabled");
    source_says(None);
    for (trouble, reason) in [
        (Trouble::Throttled, "SrcUnavailable"),
        (Trouble::Denied, "SrcGetDenied"),
        (Trouble::Unreachable, "SrcUnavailable"),
    ] {
        server.trouble(trouble);
        source_says(Some(reason));
    }
    server.trouble(Trouble::None);
    server.deny("storage.objects.list", true);
    source_says(Some("SrcGetDenied"));
    let checked = pair.a.run(&["check"]);
    assert_ne!(checked.code, 0);
    checked.tells(&["allow storage.objects.list"]);
    server.deny("storage.objects.list", false);
    source_says(None);
}

#[test]
fn a_bucket_that_says_nothing_holds_nothing_up_and_is_gone_on_with_when_it_speaks() {
    let pair = Pair::new();
    let server = FakeS3::start_google(BUCKET, None);
    from_google(&pair, &server, "");
    server.put("a", put(b"a".to_vec()));
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    server.trouble(Trouble::Silent);
    wait_until(
        "it took a request that it does not answer",
        TIME_MAX,
        || server.unanswered() > 0,
    );
    // Whoever asks the agent gets an answer all the same.
    assert_eq!(pair.a.transfers("COMPLETED").0, 1);
    server.put("later", put(b"later".to_vec()));
    server.trouble(Trouble::ThrottledEach(3));
    pair.wait_completed(2, TIME_MAX);
    assert_eq!(versions(&pair, "later").len(), 1);
}

#[test]
fn what_is_lost_while_no_generations_are_kept_is_gone_and_nothing_else_is() {
    let pair = Pair::new();
    let server = FakeS3::start_google(BUCKET, None);
    from_google(&pair, &server, "");
    for n in 0..20 {
        server.put(&format!("k{n:02}"), put(format!("one of {n}").into_bytes()));
    }
    pair.start();
    pair.wait_completed(20, TIME_MAX);
    server.set_versioning("Suspended");
    wait_until("the source says so", TIME_MAX, || {
        pair.a.status()["sources"][0]["reason"] == "SrcVersioningDisabled"
    });
    // Overwritten twice, of which the first is nowhere any more; and one is removed.
    let lost = server.put("k00", put(b"lost".to_vec()));
    let last = server.put("k00", put(b"last".to_vec()));
    server.remove("k01");
    server.set_versioning("Enabled");
    wait_until("both are known of", TIME_MAX, || {
        let removed = versions(&pair, "k01");
        let removed = removed
            .first()
            .is_some_and(|row| row["kind"] == "delete-marker");
        removed && versions(&pair, "k00").len() == 2
    });
    let there = versions(&pair, "k00");
    assert_eq!(there[0]["version"], last.as_str());
    assert!(there.iter().all(|row| row["version"] != lost.as_str()));
    assert_eq!(pair.b.rows(&["ls", BUCKET]).len(), 19);
    pair.verify_both(TIME_MAX);
}
