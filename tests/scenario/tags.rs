//! A rule sends what has its tags, says why it leaves out the rest, and what another rule
//! would send is told before it is in force.

use std::{collections::BTreeMap, fs, time::Duration};

use rusqlite::Connection;
use sealift_fake_kms::{FakeS3, Put};
use serde_json::Value;

use super::buckets::{from_bucket, versions};
use crate::support::{BUCKET, Pair, text, wait_until};

const TIME_MAX: Duration = Duration::from_secs(120);

fn put(server: &FakeS3, key: &str, tags: &[(&str, &str)]) {
    let tags = tags.iter();
    let object = Put {
        bytes: key.as_bytes().to_vec().into(),
        tags: tags
            .map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned()))
            .collect::<BTreeMap<_, _>>(),
        ..Put::default()
    };
    server.put(key, object);
}

fn keys(rows: &[Value]) -> Vec<&str> {
    rows.iter().filter_map(|row| row["key"].as_str()).collect()
}

#[test]
fn what_has_the_tags_of_a_rule_goes_and_explain_says_why_the_rest_does_not() {
    let pair = Pair::new();
    let server = FakeS3::start(BUCKET, None);
    from_bucket(&pair, &server.url(), "");
    let tags = r#"tags = { class = "hot", keep = "yes" }"#;
    pair.a
        .edit("peers = [\"b\"", &format!("{tags}\npeers = [\"b\""));
    put(
        &server,
        "hot",
        &[("class", "hot"), ("keep", "yes"), ("more", "1")],
    );
    put(&server, "half", &[("class", "hot")]);
    put(&server, "cold", &[("class", "cold"), ("keep", "yes")]);
    put(&server, "none", &[]);
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    wait_until("the rest is left out", TIME_MAX, || {
        pair.a.transfers("SKIPPED").0 == 3
    });
    assert_eq!(keys(&pair.b.rows(&["ls", BUCKET])), ["hot"]);
    let explain = |key: &str| pair.a.run(&["explain", &format!("{BUCKET}/{key}")]).said();
    let cold = explain("cold");
    for told in [
        "SKIPPED",
        "SkippedFiltered",
        "class=hot, keep=yes",
        "class=cold",
    ] {
        assert!(cold.contains(told), "{told}: {cold}");
    }
    assert!(explain("none").contains("had none"), "{}", explain("none"));

    // A delete marker goes where a version of its key does, and nowhere else.
    server.remove("hot");
    server.remove("half");
    wait_until("the marker is there", TIME_MAX, || {
        pair.b.rows(&["ls", BUCKET]).is_empty()
    });
    let half = explain("half");
    assert!(half.contains("nothing that it comes behind"), "{half}");
    // Another version is another one, with tags of its own.
    put(&server, "half", &[("class", "hot"), ("keep", "yes")]);
    wait_until("it is there now", TIME_MAX, || {
        keys(&pair.b.rows(&["ls", BUCKET])) == ["half"]
    });

    // Other tags: what that would do is told, and then done.
    pair.a
        .edit(tags, r#"tags = { keep = "yes", class = "cold" }"#);
    let plan = pair.a.run(&["plan", "--objects"]).said();
    for told in ["class=hot, keep=yes → class=cold, keep=yes", "cold", "half"] {
        assert!(plan.contains(told), "{told}: {plan}");
    }
    let ways = pair.a.rows(&["plan"]);
    let count = |change: &str| -> u64 {
        let of = ways.iter().filter(|row| row["change"] == change);
        of.filter_map(|row| row["objects"].as_u64()).sum()
    };
    assert_eq!((count("sent"), count("ended")), (1, 1), "{ways:?}");
    pair.a.run(&["apply"]).exits(0);
    wait_until("what has them is there", TIME_MAX, || {
        keys(&pair.b.rows(&["ls", BUCKET])) == ["cold", "half"]
    });

    // A batch of what has a tag, as far as a rule sends it.
    let batch = [
        "batch",
        "replicate",
        BUCKET,
        "--tag",
        "class=cold",
        "--dry-run",
    ];
    let rows = pair.a.rows(&batch);
    assert_eq!(rows.last().unwrap()["planned"], 1, "{rows:?}");
    assert_eq!(rows[0]["key"], "cold");
    let both = [&batch[..], &["--tag", "class=hot"]].concat();
    pair.a
        .run(&both)
        .exits(2)
        .tells(&["--tag", "both cold and hot"]);
    let none = [&batch[..], &["--tag", "more=1"]].concat();
    assert_eq!(pair.a.rows(&none).last().unwrap()["planned"], 0);
    let (first, last) = ("2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z");
    for (setting, time, count) in [
        ("--modified-since", first, 1),
        ("--modified-since", last, 0),
        ("--modified-until", first, 0),
        ("--modified-until", last, 1),
    ] {
        let rows = pair.a.rows(&[&batch[..], &[setting, time]].concat());
        assert_eq!(rows.last().unwrap()["planned"], count, "{setting} {time}");
    }
    // What its tags leave out is not offered, whatever became of it and whatever is asked for.
    for more in [&[][..], &["--status", "SKIPPED", "--versions"]] {
        let hot = ["batch", "replicate", BUCKET, "--tag", "class=hot"];
        let rows = pair.a.rows(&[&hot[..], more].concat());
        let summary = rows.last().unwrap();
        let counts = ["replicated", "failed", "left_out"].map(|of| summary[of].as_u64());
        assert_eq!(counts, [Some(0), Some(0), Some(1)], "{rows:?}");
        let told = ["key", "result", "reason"].map(|of| rows[0][of].as_str());
        let left_out = ["half", "left-out", "SkippedFiltered"].map(Some);
        assert_eq!(told, left_out, "{rows:?}");
    }
    assert_eq!(
        keys(&pair.b.rows(&["ls", BUCKET])),
        ["cold", "half"],
        "nothing else came"
    );
}

#[test]
fn an_archive_goes_on_by_the_tags_that_its_versions_came_with() {
    let pair = Pair::new();
    let server = FakeS3::start(BUCKET, None);
    from_bucket(&pair, &server.url(), "");
    let c = pair.onward("c", "tags = { class = \"warm\" }\n");
    put(&server, "hot", &[("class", "warm")]);
    put(&server, "cold", &[("class", "cold")]);
    pair.start();
    c.start();
    pair.wait_completed(2, TIME_MAX);
    wait_until("the hot one went on", TIME_MAX, || {
        keys(&c.rows(&["ls", BUCKET])) == ["hot"]
    });
    wait_until("the cold one is left out", TIME_MAX, || {
        pair.b.transfers("SKIPPED").0 == 1
    });
    server.remove("hot");
    server.remove("cold");
    wait_until("the marker went on", TIME_MAX, || {
        c.rows(&["ls", BUCKET]).is_empty()
    });
    wait_until("the other marker is left out", TIME_MAX, || {
        pair.b.transfers("SKIPPED").0 == 2
    });
    pair.b.edit("class = \"warm\"", "class = \"cold\"");
    pair.b.run(&["apply"]).exits(0);
    wait_until("both versions of the cold one went on", TIME_MAX, || {
        let ran = c.run(&["ls", "--versions", "--json", BUCKET]);
        ran.exits(0)
            .rows()
            .iter()
            .filter(|row| row["key"] == "cold")
            .count()
            == 2
    });
}

/// Has `b` forget a version of a key, as no part of sealift ever does. It is not the last one
/// that it took: what lacks that is noticed when the next session begins.
fn forget(pair: &Pair, server: &FakeS3, key: &str) {
    let before = pair.a.transfers("COMPLETED").0;
    put(server, "last", &[("class", "a")]);
    pair.wait_completed(before + 1, TIME_MAX);
    pair.b.stop();
    let catalog = Connection::open(pair.b.data().join("catalog.db")).unwrap();
    let sql = "DELETE FROM versions WHERE key = ?1";
    assert_eq!(catalog.execute(sql, [key]).unwrap(), 1);
    drop(catalog);
    pair.b.start();
}

#[test]
fn tags_that_drifted_are_found_by_a_batch_and_sent_without_bytes() {
    let pair = Pair::new();
    let server = FakeS3::start(BUCKET, None);
    // Nothing tells of tags that change.
    from_bucket(&pair, &server.url(), "");
    let ids = ["drifted", "lost", "same"].map(|key| {
        let object = Put {
            bytes: key.as_bytes().to_vec().into(),
            tags: [("class".to_owned(), "a".to_owned())].into(),
            ..Put::default()
        };
        server.put(key, object)
    });
    pair.start();
    pair.wait_completed(3, TIME_MAX);
    server.tag(
        "drifted",
        &ids[0],
        [("class".to_owned(), "b".to_owned())].into(),
    );
    forget(&pair, &server, "lost");
    pair.a.shows("sealift_sessions", 1);
    server.asked();

    let report = text(&pair.dir().join("report.csv"));
    let batch = ["batch", "replicate", BUCKET, "--tags-only"];
    let dry = pair.a.rows(&[&batch[..], &["--dry-run"]].concat());
    let summary = dry.last().unwrap();
    assert_eq!(
        (&summary["planned"], &summary["same"]),
        (&2.into(), &2.into())
    );
    assert_eq!(summary["bytes"], 4, "of what is not there");
    let of_drifted = dry.iter().find(|row| row["key"] == "drifted").unwrap();
    assert_eq!(
        (&of_drifted["tags_only"], &of_drifted["size"]),
        (&true.into(), &0.into())
    );
    assert_eq!(versions(&pair, "drifted")[0]["facts"]["tags"]["class"], "a");

    let ran = pair.a.run_in_time(
        TIME_MAX,
        &[&batch[..], &["--json", "--report", &report]].concat(),
    );
    let rows = ran.exits(0).rows();
    let summary = rows.last().unwrap();
    assert_eq!(
        (&summary["replicated"], &summary["same"]),
        (&2.into(), &2.into())
    );
    assert_eq!(versions(&pair, "drifted")[0]["facts"]["tags"]["class"], "b");
    assert_eq!(versions(&pair, "lost")[0]["facts"]["tags"]["class"], "a");
    let read = server
        .asked()
        .iter()
        .filter(|action| *action == "s3:GetObjectVersion")
        .count();
    assert_eq!(read, 1, "the one that was not there");
    let written = fs::read_to_string(&report).unwrap();
    assert_eq!(written.matches("its tags alone").count(), 1, "{written}");
    assert_eq!(written.matches(",same,4,b").count(), 2, "{written}");
    let again = pair
        .a
        .run_in_time(TIME_MAX, &[&batch[..], &["--json"]].concat());
    assert_eq!(again.exits(0).rows().last().unwrap()["same"], 4);
}

#[test]
fn a_version_that_is_not_there_is_sent_whole_when_its_tags_change() {
    let pair = Pair::new();
    let server = FakeS3::start(BUCKET, None);
    let queue = format!("queue_url = \"{}\"", server.queue_url());
    from_bucket(&pair, &server.url(), &queue);
    let id = server.put(
        "k",
        Put {
            bytes: b"content".to_vec().into(),
            ..Put::default()
        },
    );
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    forget(&pair, &server, "k");
    server.tag("k", &id, [("class".to_owned(), "a".to_owned())].into());
    pair.wait_completed(3, TIME_MAX);
    assert_eq!(versions(&pair, "k")[0]["facts"]["tags"]["class"], "a");
    let object = format!("{BUCKET}/k");
    assert_eq!(pair.b.run(&["get", &object]).exits(0).text(), "content");
}

#[test]
fn tags_of_a_directory_are_asked_for_in_vain_and_refused() {
    let pair = Pair::new();
    pair.start();
    pair.a.edit(
        "peers = [\"b\"",
        "tags = { class = \"hot\" }\npeers = [\"b\"",
    );
    let line = pair.a.line_of("tags = {").to_string();
    for command in [&["check", "--offline"][..], &["plan"], &["apply"]] {
        let ran = pair.a.run(command);
        ran.exits(78)
            .tells(&["rule.tags", &line, "is a directory", "files have none"]);
    }
    let batch = ["batch", "replicate", BUCKET, "--tag", "class=hot"];
    let ran = pair.a.run(&batch);
    ran.exits(2).tells(&["--tag", "is a directory"]);
    let batch = ["batch", "replicate", BUCKET, "--tags-only"];
    let ran = pair.a.run(&batch);
    ran.exits(2).tells(&["--tags-only", "is a directory"]);
}
