//! The S3 endpoint in the replica's region after fail-over: a bucket that was promoted takes
//! writes, durable before they are answered, sealed as they come.

use std::{fs, io::Write, thread, time::Duration};

use super::{
    clients,
    endpoint::{Fronted, TIME_MAX, key, row, text},
};
use crate::support::{
    Answered, BUCKET, Content, Pair, S3, run_program, run_program_in_time, wait_until, write_file,
};

/// How long an object of several GiB may take on its way here and back.
const LARGE_TIME_MAX: Duration = Duration::from_secs(900);
/// What an agent may take, whatever passes through it.
const AGENT_BYTES_MAX: u64 = 256 << 20;

/// An endpoint whose key may do everything, and whose bucket takes writes.
pub(super) fn promoted(objects: u64, fill: impl FnOnce(&crate::support::Pair)) -> Fronted {
    let fronted = Fronted::allowed("get\", \"list\", \"put\", \"delete", "");
    fill(&fronted.pair);
    fronted.pair.start();
    fronted.pair.wait_completed(objects, TIME_MAX);
    promote(&fronted);
    fronted
}

fn promote(fronted: &Fronted) {
    let args = ["endpoint", "promote", BUCKET];
    fronted
        .pair
        .b
        .run(&args)
        .exits(0)
        .tells(&["promoted", BUCKET]);
}

fn send(s3: &S3, method: &str, path: &str, body: &[u8]) -> Answered {
    let length = body.len().to_string();
    // An answer that takes long has no length: it ends with its connection.
    let headers = [("connection", "close"), ("content-length", &length)];
    let head = s3.head(method, path, &headers);
    let mut stream = s3.connect();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    crate::support::read_answer(&mut stream, false)
}

fn put(s3: &S3, path: &str, body: &[u8]) -> u16 {
    send(s3, "PUT", path, body).status
}

#[test]
fn a_bucket_of_replicas_takes_writes_from_its_promotion_to_its_demotion() {
    let fronted = Fronted::allowed("get\", \"list\", \"put\", \"delete", "");
    let (s3, pair) = (&fronted.s3, &fronted.pair);
    write_file(&pair.source.join("a"), "theirs");
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    let path = fronted.path("a");
    let refused = s3.ask("PUT", &path, &[("content-length", "0")]);
    let refused = refused.fails(403, "AccessDenied");
    assert!(
        refused.text().contains("sealift endpoint promote"),
        "{}",
        refused.text()
    );
    s3.ask("DELETE", &path, &[]).fails(403, "AccessDenied");
    s3.ask(
        "POST",
        &format!("{path}?uploads"),
        &[("content-length", "0")],
    )
    .fails(403, "AccessDenied");
    pair.b
        .run(&["endpoint", "promote"])
        .exits(0)
        .tells(&["no bucket takes writes"]);
    pair.b.run(&["endpoint", "promote", "elsewhere"]).exits(10);

    promote(&fronted);
    assert_eq!(put(s3, &path, b"ours"), 200);
    assert_eq!(s3.get(&path).is(200).text(), "ours");
    // Content says how long it is, and is not longer than may be.
    s3.ask("PUT", &path, &[]).fails(411, "MissingContentLength");
    s3.ask("PUT", &path, &[("content-length", "5368709121")])
        .fails(400, "EntityTooLarge");
    let many = format!("/{BUCKET}?delete");
    s3.ask("POST", &many, &[("content-length", "4194305")])
        .fails(400, "EntityTooLarge");
    // What readers of XML differ about removes nothing.
    let list = b"<Delete><Object><Key>a<![CDATA[b]]></Key></Object></Delete>";
    send(s3, "POST", &many, list).fails(400, "MalformedXML");
    assert_eq!(s3.get(&path).is(200).text(), "ours");
    // What comes from the source after that is later, and the latest.
    write_file(&pair.source.join("a"), "theirs again");
    pair.wait_completed(2, TIME_MAX);
    assert_eq!(s3.get(&path).is(200).text(), "theirs again");
    let versions = s3.get(&format!("/{BUCKET}?versions")).is(200);
    assert_eq!(versions.all("Version").len(), 3);
    s3.ask("DELETE", &path, &[]).is(204);
    s3.get(&path).fails(404, "NoSuchKey");

    // It stands over a restart, and can be taken back while the agent is stopped.
    pair.b.stop();
    pair.b.start();
    assert_eq!(put(s3, &path, b"after a restart"), 200);
    pair.b.stop();
    pair.b
        .run(&["endpoint", "demote", BUCKET])
        .exits(0)
        .tells(&["no bucket takes writes"]);
    pair.b.start();
    let refused = s3.ask("PUT", &path, &[("content-length", "0")]);
    refused.fails(403, "AccessDenied");
    assert_eq!(s3.get(&path).is(200).text(), "after a restart");
    // What came is a replica; what was written here is sent nowhere without a rule.
    let rows = pair.b.rows(&["ls", "--versions", BUCKET]);
    let count = |status| rows.iter().filter(|row| row["status"] == status).count();
    assert_eq!((count("REPLICA"), count("SKIPPED")), (2, 3), "{rows:?}");
    let restored = pair.dir().join("restored");
    pair.b.run(&["restore", BUCKET, &text(&restored)]).exits(0);
    assert_eq!(fs::read(restored.join("a")).unwrap(), b"after a restart");
    pair.b
        .audits("administration", &["endpoint promote", BUCKET]);
    pair.b.audits("object.stored", &["access-key:app"]);
    pair.b.audits("object.delete_marked", &["access-key:app"]);
    pair.b.run(&["verify", "--deep"]).exits(0);
}

#[test]
fn what_was_answered_is_there_after_a_kill() {
    let fronted = promoted(0, |_| ());
    let (s3, pair) = (&fronted.s3, &fronted.pair);
    let mut kept = Vec::new();
    for round in 0..3u64 {
        for number in 0..4u64 {
            let size = [9, 70_000, 3 << 20, 9 << 20][number as usize];
            let name = format!("k{round}-{number}");
            let content = Content::new(round * 10 + number, size).bytes();
            assert_eq!(put(s3, &fronted.path(&name), &content), 200);
            kept.push((name, content));
        }
        // One is on its way when the agent is killed.
        let path = fronted.path(&format!("cut{round}"));
        let mut stream = s3.connect();
        let head = s3.head("PUT", &path, &[("content-length", "20000000")]);
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&vec![7; 10 << 20]).unwrap();
        pair.b.kill();
        pair.b.start();
        s3.get(&path).fails(404, "NoSuchKey");
        for (name, content) in &kept {
            assert!(
                s3.get(&fronted.path(name)).is(200).body == *content,
                "{name}"
            );
        }
    }
    pair.b.run(&["verify", "--deep"]).exits(0);
    wait_until("nothing is left of what was cut off", TIME_MAX, || {
        staged(&fronted).is_empty()
    });
}

#[test]
fn parts_that_were_answered_are_there_after_a_kill() {
    let fronted = promoted(0, |_| ());
    let (s3, pair) = (&fronted.s3, &fronted.pair);
    let path = fronted.path("in-parts");
    let begun = send(s3, "POST", &format!("{path}?uploads"), b"").is(200);
    let upload = begun.all("UploadId").remove(0);
    let content = Content::new(6, (13 << 20) + 5).bytes();
    let mut list = String::new();
    for (number, part) in (1..).zip(content.chunks(6 << 20)) {
        let to = format!("{path}?partNumber={number}&uploadId={upload}");
        let stored = send(s3, "PUT", &to, part).is(200);
        let tag = &stored.headers["etag"];
        list += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>");
        pair.b.kill();
        pair.b.start();
    }
    let list = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
    s3.get(&path).fails(404, "NoSuchKey");
    let done = send(
        s3,
        "POST",
        &format!("{path}?uploadId={upload}"),
        list.as_bytes(),
    );
    assert!(done.is(200).all("Code").is_empty());
    pair.b.kill();
    pair.b.start();
    assert!(s3.get(&path).is(200).body == content);
    assert!(staged(&fronted).is_empty(), "{:?}", staged(&fronted));
    pair.b.run(&["verify", "--deep"]).exits(0);
}

fn staged(fronted: &Fronted) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![fronted.pair.b.data().join("staging")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.path().is_dir() {
                true => folders.push(entry.path()),
                false => found.push(entry.path()),
            }
        }
    }
    found
}

#[test]
fn applications_that_write_slowly_hold_little() {
    let fronted = promoted(0, |_| ());
    let (s3, b) = (&fronted.s3, &fronted.pair.b);
    let before = b.memory_peak();
    let slow: Vec<_> = (0..40)
        .map(|number| {
            let path = fronted.path(&format!("slow{number}"));
            let mut stream = s3.connect();
            let head = s3.head("PUT", &path, &[("content-length", "90000000")]);
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&[1; 400_000]).unwrap();
            stream
        })
        .collect();
    thread::sleep(Duration::from_millis(500));
    assert_eq!(put(s3, &fronted.path("other"), b"other"), 200);
    let grown = b.memory_peak() - before;
    assert!(
        grown < 64 << 20,
        "{grown} bytes for applications that write slowly"
    );
    drop(slow);
    wait_until("what they held is given back", TIME_MAX, || {
        b.metric("sealift_memory_budget_used_bytes") == Some(0) && staged(&fronted).is_empty()
    });
    b.shows("sealift_endpoint_written_bytes_total", 5);
}

/// Bytes of an object of many parts, and of a part: of several GiB where everything is tested.
fn large() -> (u64, u64) {
    match std::env::var("SEALIFT_TEST_FULL").is_ok_and(|full| full == "1") {
        true => (5 << 30, 64 << 20),
        false => ((40 << 20) + 7, 8 << 20),
    }
}

#[test]
#[ignore = "needs boto3, which cargo xtask test installs"]
fn boto3_uploads_an_object_of_many_large_parts_and_the_agent_stays_small() {
    let (size, part) = large();
    // Its parts rest beside it until it is put together: on a disk, as this is of memory.
    let pair = Pair::alone_in(&std::env::temp_dir());
    let fronted = Fronted::before(pair, "get\", \"list\", \"put", "");
    let (s3, b) = (&fronted.s3, &fronted.pair.b);
    fronted.pair.start();
    promote(&fronted);
    let python = format!("PYTHONPATH={}", std::env::var("SEALIFT_BOTO3").unwrap());
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/endpoint_large.py"
    );
    let place = text(&b.dir);
    let (url, [size, part]) = (
        format!("http://{}", s3.address),
        [size, part].map(|bytes| bytes.to_string()),
    );
    let whom = [&url, &s3.id, &s3.secret, BUCKET, &size, &part];
    let args = ["-C", &place, &python, "python3", script];
    let began = std::time::Instant::now();
    let uploaded = run_program_in_time(LARGE_TIME_MAX, "env", &[&args[..], &whom].concat(), &[0]);
    uploaded.tells(&["came whole", &size]);
    let peak = b.memory_peak();
    println!("{} MiB at most, {:.1?}", peak >> 20, began.elapsed());
    assert!(peak < AGENT_BYTES_MAX, "it took {peak} bytes");
    wait_until("its parts are gone", TIME_MAX, || {
        staged(&fronted).is_empty()
    });
}

#[test]
#[ignore = "needs boto3, which cargo xtask test installs"]
fn boto3_writes_to_a_promoted_bucket_as_it_writes_to_s3() {
    let fronted = promoted(0, |_| ());
    let (s3, pair) = (&fronted.s3, &fronted.pair);
    let reader = key(pair, "reader", &s3.address);
    pair.b.configure(&row("reader", BUCKET, "get\", \"list"));
    pair.b.run(&["reload"]).exits(0);
    let folder = std::env::var("SEALIFT_BOTO3").unwrap();
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/endpoint_writes.py"
    );
    let (python, place) = (format!("PYTHONPATH={folder}"), text(&pair.b.dir));
    let url = format!("http://{}", s3.address);
    let args = [
        "-C",
        &place,
        &python,
        "python3",
        script,
        &url,
        &s3.id,
        &s3.secret,
        BUCKET,
        &reader.id,
        &reader.secret,
    ];
    run_program("env", &args, &[0]).tells(&["as S3 does"]);
    pair.b.run(&["verify", "--deep"]).exits(0);
    wait_until("nothing is left of what was cut off", TIME_MAX, || {
        staged(&fronted).is_empty()
    });
}

#[test]
#[ignore = "needs rclone, which cargo xtask test installs"]
fn rclone_brings_a_folder_to_a_promoted_bucket_and_finds_it_the_same() {
    let fronted = promoted(1, |pair| {
        write_file(&pair.source.join("dir/theirs"), "theirs")
    });
    clients::rclone_syncs(&fronted.s3, &fronted.pair.b.dir);
    fronted
        .s3
        .get(&fronted.path("dir/theirs"))
        .fails(404, "NoSuchKey");
    fronted.pair.b.run(&["verify", "--deep"]).exits(0);
}

#[test]
#[ignore = "needs restic, which cargo xtask test installs"]
fn restic_keeps_backups_in_a_promoted_bucket() {
    let fronted = promoted(0, |_| ());
    clients::restic_backs_up(&fronted.s3, &fronted.pair.b.dir);
    fronted.pair.b.run(&["verify", "--deep"]).exits(0);
}

#[test]
#[ignore = "needs s3cmd, which cargo xtask test installs"]
fn s3cmd_brings_objects_takes_them_and_removes_them() {
    let fronted = promoted(0, |_| ());
    clients::s3cmd_copies(&fronted.s3, &fronted.pair.b.dir);
    fronted.pair.b.run(&["verify", "--deep"]).exits(0);
}

#[test]
#[ignore = "needs the AWS CLI and curl, which cargo xtask test installs"]
fn the_aws_cli_syncs_asks_and_signs_for_others() {
    let fronted = promoted(0, |_| ());
    clients::the_aws_cli_syncs(&fronted.s3, &fronted.pair.b.dir);
    fronted.pair.b.run(&["verify", "--deep"]).exits(0);
}
