//! What goes where, by rules: planned, applied, imported, and sent again in batches.

use std::{fs, time::Duration};

use serde_json::Value;

use crate::support::{BUCKET, Pair, Site, run, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);
const PREFIX: &str = "# prefix = \"only/below/\"";

/// What a plan says of objects: change, how many, and where they go.
fn ways(rows: &[Value]) -> Vec<(String, u64, String)> {
    let ways = rows.iter().filter(|row| row["objects"].is_u64());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    ways.map(|row| {
        let objects = row["objects"].as_u64().unwrap();
        (text(&row["change"]), objects, text(&row["peer"]))
    })
    .collect()
}

#[test]
fn a_plan_says_what_a_change_would_do_and_apply_does_it_once() {
    let pair = Pair::new();
    for key in ["logs/1", "logs/2", "logs/3", "other/1", "other/2"] {
        write_file(&pair.source.join(key), key);
    }
    pair.a.edit(PREFIX, "prefix = \"logs/\"");
    pair.a.run(&["plan"]).exits(5).tells(&["no agent runs"]);
    pair.start();
    pair.wait_completed(3, TIME_MAX);
    pair.a.run(&["plan"]).exits(0).tells(&["nothing differs"]);
    pair.a.run(&["apply"]).exits(0).tells(&["nothing to apply"]);

    pair.a.edit("prefix = \"logs/\"", "priority = 7");
    let rows = pair.a.rows(&["plan", "--objects"]);
    assert_eq!(ways(&rows), [("sent".to_owned(), 2, "b".to_owned())]);
    let named = rows.iter().filter_map(|row| row["key"].as_str());
    assert_eq!(named.collect::<Vec<_>>(), ["other/1", "other/2"]);
    let differs = rows.iter().find(|row| row["differs"].is_array()).unwrap();
    let differs: Vec<_> = differs["differs"].as_array().unwrap().iter().collect();
    assert_eq!(differs, ["prefix: \"logs/\" → \"\"", "priority: 0 → 7"]);
    pair.a
        .run(&["plan"])
        .exits(0)
        .tells(&["2 objects", "would be sent to b", "sealift apply"]);
    // Nothing was done.
    assert_eq!(pair.a.transfers("COMPLETED").0, 3);
    pair.a
        .run(&["apply"])
        .exits(0)
        .tells(&["would be sent to b"]);
    pair.wait_completed(5, TIME_MAX);
    pair.a.run(&["apply"]).exits(0).tells(&["nothing to apply"]);

    // Less than before: what is there stays.
    pair.a.edit("priority = 7", "prefix = \"other/\"");
    let rows = pair.a.rows(&["plan"]);
    assert_eq!(ways(&rows), [("ended".to_owned(), 3, "b".to_owned())]);
    // What cannot work, or not without a restart, is taken up in no part.
    pair.a.edit("prefix = \"other/\"", "prefix = 7");
    for command in ["plan", "apply"] {
        pair.a.run(&[command]).exits(78);
    }
    pair.a.edit("prefix = 7", "prefix = \"other/\"");
    pair.a
        .edit("# scan_interval_secs = 60", "scan_interval_secs = 7");
    pair.a.run(&["plan"]).exits(0).tells(&["needs a restart"]);
    pair.a.run(&["apply"]).exits(78).tells(&["restart needed"]);
    write_file(&pair.source.join("logs/4"), "by the rules in force");
    pair.wait_completed(6, TIME_MAX);
    pair.a
        .run(&["apply", "--set", "log.level=debug"])
        .exits(2)
        .tells(&["--set"]);
}

#[test]
fn the_only_rule_of_a_peer_is_taken_away_and_put_back_while_the_agent_runs() {
    let pair = Pair::new();
    write_file(&pair.source.join("before"), "sent");
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    let rule = format!(
        "[[rule]]\nname = \"{BUCKET}\"\nbucket = \"{BUCKET}\"\n{PREFIX}\npeers = [\"b\"]\n"
    );
    pair.a.edit(&rule, "# none\n");
    let ended = pair.a.rows(&["plan"]);
    assert_eq!(ways(&ended), [("ended".to_owned(), 1, "b".to_owned())]);
    pair.a.run(&["apply"]).exits(0);
    write_file(&pair.source.join("meanwhile"), "goes nowhere");
    wait_until("it is known", TIME_MAX, || {
        pair.a.status()["sources"][0]["objects"] == 2
    });
    assert_eq!(there(&pair), ["before"]);
    pair.a.edit("# none\n", &rule);
    pair.a.run(&["apply"]).exits(0);
    pair.wait_completed(2, TIME_MAX);
    assert_eq!(there(&pair), ["before", "meanwhile"]);
}

fn skipped(site: &Site, count: u64) {
    wait_until(&format!("{count} transfers are left out"), TIME_MAX, || {
        site.transfers("SKIPPED").0 == count && site.transfers("PENDING").0 == 0
    });
}

/// The keys that `b` has, the latest versions of them.
fn there(pair: &Pair) -> Vec<String> {
    let rows = pair.b.rows(&["ls", BUCKET]);
    let keys = rows.iter().filter_map(|row| row["key"].as_str());
    keys.map(str::to_owned).collect()
}

#[test]
fn a_rule_leaves_out_what_was_there_before_and_delete_markers_until_it_is_told_otherwise() {
    let pair = Pair::new();
    for key in ["old-1", "old-2", "old-3"] {
        write_file(&pair.source.join(key), key);
    }
    pair.a
        .edit(PREFIX, "existing_objects = false\ndelete_markers = false");
    pair.start();
    skipped(&pair.a, 3);
    write_file(&pair.source.join("new"), "new");
    pair.wait_completed(1, TIME_MAX);
    fs::remove_file(pair.source.join("new")).unwrap();
    skipped(&pair.a, 4);
    assert_eq!(there(&pair), ["new"]);
    for (key, setting) in [("old-1", "existing_objects"), ("new", "delete_markers")] {
        pair.a
            .run(&["explain", &format!("{BUCKET}/{key}")])
            .exits(0)
            .tells(&["SkippedFiltered", setting]);
    }
    pair.a.run(&["status"]).exits(0).tells(&["SKIPPED"]);

    // A dry run says what a batch would send, and sends nothing.
    let batch = ["batch", "replicate", BUCKET, "--status", "SKIPPED"];
    let rows = pair.a.rows(&[&batch[..], &["--dry-run"]].concat());
    let summary = rows.last().unwrap();
    // What its rule does not send is not sent by a batch either.
    let counts = ["planned", "left_out"].map(|of| summary[of].as_u64());
    assert_eq!(counts, [Some(3), Some(1)], "{summary}");
    let offered = &summary["peers"]["b"];
    assert_eq!(offered["delete_markers"], 0);
    // Its key service is asked once for the bucket, or else for each of the three.
    let calls = ["key_calls", "key_calls_without_bucket_keys"].map(|of| offered[of].as_u64());
    assert_eq!(calls, [Some(1), Some(3)], "{offered}");
    // Without being told so it takes nothing that is left out.
    let rows = pair.a.rows(&["batch", "replicate", BUCKET, "--dry-run"]);
    let summary = rows.last().unwrap();
    let counts = ["planned", "left_out"].map(|of| summary[of].as_u64());
    assert_eq!(counts, [Some(0), Some(4)], "{summary}");
    skipped(&pair.a, 4);

    // Told to send what is there, it makes up for it; a restart does not do so again.
    pair.a
        .edit("existing_objects = false", "existing_objects = true");
    let rows = pair.a.rows(&["plan"]);
    assert_eq!(ways(&rows), [("sent".to_owned(), 3, "b".to_owned())]);
    pair.a.run(&["apply"]).exits(0);
    pair.wait_completed(4, TIME_MAX);
    assert_eq!(there(&pair), ["new", "old-1", "old-2", "old-3"]);
    pair.a.stop();
    pair.a
        .edit("existing_objects = true", "existing_objects = false");
    pair.a.start();
    write_file(&pair.source.join("newer"), "after a restart");
    pair.wait_completed(5, TIME_MAX);
    // The delete marker goes once its rule sends such.
    pair.a
        .run(&batch)
        .exits(0)
        .tells(&["0 versions are there", "1 left out by rules"]);
    pair.a
        .edit("delete_markers = false", "delete_markers = true");
    let rows = pair.a.rows(&["plan"]);
    assert_eq!(ways(&rows), [("removed".to_owned(), 1, "b".to_owned())]);
    pair.a.run(&["apply"]).exits(0).tells(&["1 delete marker"]);
    pair.wait_completed(6, TIME_MAX);
    assert_eq!(there(&pair), ["newer", "old-1", "old-2", "old-3"]);
    assert_eq!(pair.a.transfers("SKIPPED").0, 0);
}

#[test]
fn what_waits_does_not_leave_once_no_rule_sends_it_and_removals_are_made_up_for() {
    let pair = Pair::new();
    for key in ["f1", "zzz/1"] {
        write_file(&pair.source.join(key), key);
    }
    pair.a.edit(PREFIX, "prefix = \"\"");
    pair.start();
    pair.wait_completed(2, TIME_MAX);
    pair.b.stop();
    for key in ["f2", "zzz/2"] {
        write_file(&pair.source.join(key), key);
    }
    wait_until("both wait", TIME_MAX, || pair.a.transfers("PENDING").0 == 2);
    pair.a.edit("prefix = \"\"", "prefix = \"zzz/\"");
    let rows = pair.a.rows(&["plan"]);
    assert_eq!(ways(&rows), [("ended".to_owned(), 2, "b".to_owned())]);
    pair.a.run(&["apply"]).exits(0);
    wait_until("it is left out", TIME_MAX, || {
        pair.a.transfers("SKIPPED").0 == 1
    });
    let f2 = format!("{BUCKET}/f2");
    pair.a
        .run(&["explain", &f2])
        .exits(0)
        .tells(&["SkippedFiltered", "no rule in force sends it to b"]);
    // Nor by a batch, whatever it is told to take.
    pair.b.start();
    pair.wait_completed(3, TIME_MAX);
    let batch = ["batch", "replicate", BUCKET];
    pair.a
        .run(&batch)
        .exits(0)
        .tells(&["2 versions are there", "2 left out by rules"]);
    let skipped = [&batch[..], &["--status", "SKIPPED", "--dry-run", "--json"]].concat();
    let summary = pair.a.run(&skipped).exits(0).rows().pop().unwrap();
    let counts = ["planned", "left_out"].map(|of| summary[of].as_u64());
    assert_eq!(counts, [Some(0), Some(1)], "{summary}");
    assert_eq!(there(&pair), ["f1", "zzz/1", "zzz/2"]);

    // A removal that no rule sends is told, and made up for with what was left out.
    fs::remove_file(pair.source.join("f1")).unwrap();
    let f1 = format!("{BUCKET}/f1");
    wait_until("it is known to be gone", TIME_MAX, || {
        let explained = pair.a.run(&["explain", &f1, "--json"]).rows();
        explained.iter().any(|row| row["kind"] == "delete-marker")
    });
    pair.a
        .run(&["explain", &f1])
        .exits(0)
        .tells(&["SkippedFiltered", "while no rule sent that"]);
    pair.a.edit("prefix = \"zzz/\"", "prefix = \"\"");
    let mut found = ways(&pair.a.rows(&["plan"]));
    found.sort();
    let [removed, sent] = ["removed", "sent"].map(|of| (of.to_owned(), 1, "b".to_owned()));
    assert_eq!(found, [removed, sent]);
    pair.a.run(&["apply"]).exits(0);
    pair.wait_completed(5, TIME_MAX);
    assert_eq!(there(&pair), ["f2", "zzz/1", "zzz/2"]);
}

#[test]
fn a_batch_sends_what_a_manifest_names_reports_each_and_goes_on_where_it_was() {
    let pair = Pair::new();
    for n in 0..250 {
        write_file(
            &pair.source.join(format!("a b/{n:03}")),
            format!("content {n}"),
        );
    }
    let (manifest, report) = (
        pair.dir().join("manifest.csv"),
        pair.dir().join("report.csv"),
    );
    let (manifest_text, report_text) = (manifest.to_str().unwrap(), report.to_str().unwrap());
    pair.start();
    pair.wait_completed(250, TIME_MAX);
    // As an S3 inventory has it, with one that nobody knows.
    let lines = (0..240).map(|n| format!("\"{BUCKET}\",\"a+b%2F{n:03}\",\"9\"\n"));
    let lines: String = lines.chain([format!("{BUCKET},unknown,1\n")]).collect();
    fs::write(&manifest, lines).unwrap();
    let named = [
        "batch",
        "replicate",
        "--manifest",
        manifest_text,
        "--schema",
        "Bucket, Key, Size",
        "--url-encoded",
        "--report",
        report_text,
    ];
    pair.b.stop();
    // With nobody there all of it is queued, and waits.
    let queued = ["batch", "replicate", BUCKET, "--no-wait"];
    pair.a
        .run(&queued)
        .exits(0)
        .tells(&["250 versions are queued"]);
    assert_eq!(pair.a.transfers("PENDING").0, 250);
    pair.b.start();
    pair.wait_completed(250, TIME_MAX);
    let rows = pair
        .a
        .run(&[&named[..], &["--json"]].concat())
        .exits(3)
        .rows();
    let summary = rows.last().unwrap();
    assert_eq!(
        (&summary["replicated"], &summary["failed"]),
        (&240.into(), &1.into())
    );
    let text = fs::read_to_string(&report).unwrap();
    assert_eq!(text.lines().count(), 242);
    assert_eq!(text.matches(",replicated,").count(), 240);
    assert!(text.contains("unknown,,failed"), "{text}");
    pair.a.audits("administration", &["batch replicate"]);
    // Only what failed is tried again.
    pair.a.run(&named).exits(2).tells(&["there already"]);
    let rows = pair
        .a
        .run(&[&named[..], &["--resume", "--json"]].concat())
        .exits(3)
        .rows();
    let summary = rows.last().unwrap();
    assert_eq!(
        (&summary["skipped"], &summary["failed"]),
        (&240.into(), &1.into())
    );
}

#[test]
fn a_batch_takes_what_its_filter_selects_and_says_what_is_not_there() {
    let pair = Pair::new();
    for key in ["in/1", "in/2", "out/1"] {
        write_file(&pair.source.join(key), key);
    }
    pair.start();
    pair.wait_completed(3, TIME_MAX);
    let within = format!("{BUCKET}/in/");
    let planned = |more: &[&str]| {
        let batch = ["batch", "replicate", &within, "--dry-run"];
        let rows = pair.a.rows(&[&batch[..], more].concat());
        rows.last().unwrap()["planned"].as_u64().unwrap()
    };
    let (past, future) = ("2000-01-01T00:00:00Z", "2999-01-01T00:00:00Z");
    for (more, count) in [
        (&[][..], 2),
        (&["--status", "COMPLETED", "--status", "FAILED"], 2),
        (&["--status", "FAILED"], 0),
        (&["--since", past, "--until", future], 2),
        (&["--since", future], 0),
        (&["--until", past], 0),
        (&["--rule", BUCKET, "--peer", "b"], 2),
    ] {
        assert_eq!(planned(more), count, "{more:?}");
    }
    pair.a
        .run(&["batch", "replicate", BUCKET, "--peer", "nobody"])
        .exits(10);
    pair.a.run(&["batch", "replicate", "none"]).exits(10);
    // A prefix that no key has is told from one of which nothing is as it is asked for.
    let nothing = format!("{BUCKET}/zz");
    for more in [&[][..], &["--dry-run"], &["--versions"]] {
        pair.a
            .run(&[&["batch", "replicate", &nothing], more].concat())
            .exits(10)
            .tells(&[&format!("no version at {nothing}"), "sealift ls"]);
    }
    for of in [&nothing, &within] {
        pair.a
            .run(&["batch", "replicate", of, "--status", "FAILED"])
            .exits(0)
            .tells(&[&format!(
                "no version is what was asked for: {of} --status FAILED"
            )]);
    }
    pair.a
        .run(&["batch", "replicate", BUCKET, "--rule", "other"])
        .exits(10)
        .tells(&["no rule other at this site", "[[rule]]"]);
    pair.a.stop();
    pair.a
        .run(&["batch", "replicate", BUCKET])
        .exits(5)
        .tells(&["--no-wait"]);
    pair.a
        .run(&["batch", "replicate", BUCKET, "--no-wait"])
        .exits(0);
    pair.a.start();
    pair.wait_completed(3, TIME_MAX);
    pair.b.run(&["verify", "--deep"]).exits(0);
}

#[test]
fn a_missed_rpo_is_told_and_so_is_its_recovery() {
    let pair = Pair::new();
    pair.a.edit(PREFIX, "rpo_secs = 2");
    pair.start();
    write_file(&pair.source.join("one"), "in time");
    pair.wait_completed(1, TIME_MAX);
    let alarms = || pair.a.status()["alarms"].to_string();
    // On a machine that is busy the first one was late as well.
    wait_until("it is held", TIME_MAX, || !alarms().contains("rpo missed"));
    let missed = pair.a.metric("sealift_rpo_missed_total").unwrap();
    pair.b.freeze(true);
    write_file(&pair.source.join("two"), "late");
    wait_until("the RPO is missed", TIME_MAX, || {
        alarms().contains("rpo missed")
    });
    pair.a.logs(&["the RPO is missed", BUCKET]);
    pair.a.audits("rpo.missed", &["b", "2"]);
    pair.a.shows("sealift_rpo_missed", 1);
    assert_eq!(pair.a.status()["rules"][0]["rpo_secs"], 2);
    pair.b.freeze(false);
    pair.wait_completed(2, TIME_MAX);
    wait_until("it is held again", TIME_MAX, || {
        !alarms().contains("rpo missed")
    });
    pair.a.audits("rpo.recovered", &["b"]);
    pair.a.shows("sealift_rpo_missed", 0);
    pair.a.shows("sealift_rpo_missed_total", missed + 1);
    // How long both took, in bounds: the second one waited for longer than its RPO.
    let lag = pair.a.status()["rules"][0]["lag"].clone();
    assert_eq!(lag["objects"], 2, "{lag}");
    assert!(lag["p99_secs"].as_f64().unwrap() >= 5.0, "{lag}");
    assert!(lag["p50_secs"].as_f64().unwrap() <= lag["p99_secs"].as_f64().unwrap());
    let count = pair.a.metric("sealift_replication_lag_seconds_count");
    assert_eq!(count, Some(2));
    pair.a.run(&["status"]).exits(0).tells(&["LAG P95"]);
}

#[test]
fn rules_of_an_s3_replication_configuration_can_be_used_as_they_are_printed() {
    let pair = Pair::new();
    let file = pair.dir().join("replication.json");
    fs::write(
        &file,
        r#"{"ReplicationConfiguration": {"Role": "arn:aws:iam::1:role/r", "Rules": [
            {"ID": "Logs (all)", "Priority": 2, "Status": "Enabled", "Filter": {"Prefix": "logs/"},
             "DeleteMarkerReplication": {"Status": "Enabled"},
             "Destination": {"Bucket": "arn:aws:s3:::backup", "StorageClass": "GLACIER",
                "ReplicationTime": {"Status": "Enabled", "Time": {"Minutes": 15}}}},
            {"ID": "tagged", "Priority": 1, "Status": "Disabled",
             "Filter": {"Tag": {"Key": "a", "Value": "1"}},
             "Destination": {"Bucket": "arn:aws:s3:::backup"}}]}}"#,
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let generate = ["generate", "rules", "--from-s3", file, "--bucket", BUCKET];
    // S3 leaves objects under KMS out of both rules: more would be sent than they say.
    let named = [&generate[..], &["--peer", "backup=b"]].concat();
    run(&named).exits(3).tells(&[
        "# name = \"logs--all\"",
        "SseKmsEncryptedObjects is not Enabled",
    ]);
    let peer = [&named[..], &["--kms-objects", "leave-out"]].concat();
    let printed = run(&peer).exits(3).tells(&[
        "name = \"logs--all\"",
        "rpo_secs = 900",
        "replicas = false",
        "where the source says kms_keys = []",
        "GLACIER",
        "# tags = { \"a\" = \"1\" }",
    ]);
    // It takes the place of the rule there is.
    let config = fs::read_to_string(pair.a.config()).unwrap();
    let at = config.find("[[rule]]").unwrap();
    let behind = at + config[at..].find("peers = [\"b\"]").unwrap() + "peers = [\"b\"]".len();
    let config = format!("{}{}{}", &config[..at], printed.text(), &config[behind..]);
    fs::write(pair.a.config(), config).unwrap();
    for key in ["logs/1", "other"] {
        write_file(&pair.source.join(key), key);
    }
    pair.start();
    // The form says nothing of existing objects: S3 leaves those out then.
    skipped(&pair.a, 1);
    write_file(&pair.source.join("logs/2"), "new");
    pair.wait_completed(1, TIME_MAX);
    let rows = run([&peer[..], &["--json"]].concat()).exits(3).rows();
    assert_eq!(
        (&rows[0]["maps"], &rows[1]["maps"]),
        (&true.into(), &false.into())
    );
    // Nobody is said to archive it.
    run(generate).exits(3).tells(&["--peer backup=PEER"]);
    let twice = [&named[..], &["--peer", "backup=c"]].concat();
    run(&twice).exits(2).tells(&["backup=b and backup=c"]);
    let unused = [&named[..], &["--peer", "bakcup=c"]].concat();
    run(&unused)
        .exits(3)
        .tells(&["no rule replicates to bakcup"]);
    fs::write(file, "no configuration").unwrap();
    run(peer).exits(2).tells(&["--from-s3", "aws s3api"]);
}

/// `kms_keys` is of a source, and not of a rule: what S3 keeps apart by rules is not kept apart here.
#[test]
fn objects_under_kms_that_one_rule_selects_and_another_leaves_out_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("replication.json");
    fs::write(
        &file,
        r#"{"Rules": [
            {"ID": "all", "Status": "Enabled", "Filter": {"Prefix": "a/"},
             "SourceSelectionCriteria": {"SseKmsEncryptedObjects": {"Status": "Enabled"},
                "ReplicaModifications": {"Status": "Enabled"}},
             "Destination": {"Bucket": "backup"}},
            {"ID": "plain", "Status": "Enabled", "Filter": {"Prefix": "b/"},
             "SourceSelectionCriteria": {"SseKmsEncryptedObjects": {"Status": "Disabled"}},
             "Destination": {"Bucket": "backup"}}]}"#,
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let generate = ["generate", "rules", "--from-s3", file, "--bucket", BUCKET];
    let generate = [&generate[..], &["--peer", "backup=b", "--json"]].concat();
    let maps = |more: &[&str], code: i32| {
        let rows = run([&generate[..], more].concat()).exits(code).rows();
        let maps = rows.iter().map(|row| row["maps"] == true);
        (maps.collect::<Vec<_>>(), rows)
    };
    let (none, rows) = maps(&[], 3);
    assert_eq!(none, [true, false]);
    let notes = rows[0]["notes"].to_string();
    assert!(notes.contains("comes back by a rule there"), "{notes}");
    assert_eq!(maps(&["--kms-objects", "leave-out"], 3).0, [true, false]);
    assert_eq!(maps(&["--kms-objects", "send"], 0).0, [true, true]);
}
