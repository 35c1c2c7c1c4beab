//! A rule sends what has its tags, says why it leaves out the rest, and what another rule
//! would send is told before it is in force.

use std::{collections::BTreeMap, time::Duration};

use sealift_fake_kms::{FakeS3, Put};
use serde_json::Value;

use super::buckets::from_bucket;
use crate::support::{BUCKET, Pair, wait_until};

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
}
