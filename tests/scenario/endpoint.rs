//! The S3 endpoint in the replica's region: what is archived, for those who may read it.

use std::{
    fs,
    io::{Read, Write},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::support::{
    Answered, BUCKET, Content, Pair, Ran, S3, free_address, mix, read_answer, run_program,
    wait_until, write_file,
};

pub(super) fn text(path: &std::path::Path) -> String {
    path.to_str().unwrap().to_owned()
}

pub(super) const TIME_MAX: Duration = Duration::from_secs(60);

/// Two agents of which `b` has an endpoint, with a key for it.
pub(super) struct Fronted {
    pub(super) pair: Pair,
    pub(super) s3: S3,
}

impl Fronted {
    fn new() -> Self {
        Self::with("")
    }

    /// With more in the configuration of `b`.
    fn with(more: &str) -> Self {
        Self::allowed("get\", \"list", more)
    }

    /// With these rights for its key.
    pub(super) fn allowed(rights: &str, more: &str) -> Self {
        Self::before(Pair::new(), rights, more)
    }

    /// With these sites, which are not started yet.
    pub(super) fn before(pair: Pair, rights: &str, more: &str) -> Self {
        let s3 = key(&pair, "app", &free_address());
        let endpoint = format!("[endpoint]\nlisten = \"{}\"\n", s3.address);
        pair.b
            .configure(&format!("{more}\n{endpoint}{}", row("app", BUCKET, rights)));
        Self { pair, s3 }
    }

    /// Replicates what is in the source, and waits for it.
    fn running(objects: u64, fill: impl FnOnce(&Pair)) -> Self {
        let fronted = Self::new();
        fill(&fronted.pair);
        fronted.pair.start();
        fronted.pair.wait_completed(objects, TIME_MAX);
        fronted
    }

    pub(super) fn path(&self, key: &str) -> String {
        format!("/{BUCKET}/{key}")
    }
}

/// Runs rclone without what an environment may say of AWS: it cannot do with some of that.
#[track_caller]
pub(super) fn rclone(arguments: &[&str], codes: &[i32]) -> Ran {
    let alone = ["-u", "AWS_CA_BUNDLE", "rclone"];
    run_program("env", &[&alone[..], arguments].concat(), codes)
}

/// Makes an access key as a person would; whoever has it.
pub(super) fn key(pair: &Pair, id: &str, address: &str) -> S3 {
    let file = pair.b.dir.join(format!("{id}.secret"));
    let args = ["endpoint", "key", "--id", id, "--bucket", BUCKET, "-o"];
    pair.b
        .run(&[&args[..], &[&text(&file)]].concat())
        .exits(0)
        .tells(&[id, "[[endpoint.key]]"]);
    let secret = fs::read_to_string(file).unwrap();
    S3 {
        address: address.to_owned(),
        id: id.to_owned(),
        secret: secret.trim().to_owned(),
        ahead: 0,
    }
}

pub(super) fn row(id: &str, bucket: &str, rights: &str) -> String {
    format!(
        "[[endpoint.key]]\nid = \"{id}\"\nsecret_file = \"{id}.secret\"\n\
         buckets = [\"{bucket}\"]\nrights = [\"{rights}\"]\n"
    )
}

#[test]
fn what_is_archived_is_read_whole_in_ranges_and_as_it_was() {
    let content = Content::new(5, (9 << 20) + 4321);
    let fronted = Fronted::running(3, |pair| {
        content.write(&pair.source.join("deep/large object"));
        write_file(&pair.source.join("small"), "the first");
        write_file(&pair.source.join("empty"), "");
    });
    let (s3, pair) = (&fronted.s3, &fronted.pair);
    let bytes = content.bytes();
    let large = fronted.path("deep/large%20object");
    let whole = s3
        .ask("GET", &large, &[("x-amz-checksum-mode", "ENABLED")])
        .is(200);
    assert!(whole.body == bytes, "{} bytes", whole.body.len());
    assert_eq!(whole.headers["x-amz-checksum-type"], "FULL_OBJECT");
    assert!(whole.headers["etag"].starts_with("\"sealift-"), "{whole:?}");
    for (range, part) in [
        ("bytes=0-0", 0..1),
        ("bytes=8388600-8388620", 8_388_600..8_388_621),
        ("bytes=9441000-", 9_441_000..bytes.len()),
        ("bytes=-5", bytes.len() - 5..bytes.len()),
        ("bytes=262143-524289", 262_143..524_290),
    ] {
        let got = s3.ask("GET", &large, &[("range", range)]).is(206);
        assert!(got.body == bytes[part.clone()], "{range}");
        let told = format!("bytes {}-{}/{}", part.start, part.end - 1, bytes.len());
        assert_eq!(got.headers["content-range"], told);
    }
    s3.ask("GET", &large, &[("range", "bytes=99999999-")])
        .fails(416, "InvalidRange");
    let head = s3.ask("HEAD", &large, &[]).is(200);
    assert_eq!(head.headers["content-length"], bytes.len().to_string());
    assert_eq!(head.headers["etag"], whole.headers["etag"]);
    for answered in [&head, &whole] {
        assert_eq!(answered.headers["x-amz-replication-status"], "REPLICA");
    }
    assert_eq!(s3.get(&fronted.path("empty")).is(200).body, b"");

    let first = s3.get(&fronted.path("small")).is(200);
    assert_eq!(first.text(), "the first");
    let (tag, version) = (&first.headers["etag"], &first.headers["x-amz-version-id"]);
    let small = fronted.path("small");
    s3.ask("GET", &small, &[("if-none-match", tag)]).is(304);
    s3.ask("GET", &small, &[("if-match", "\"other\"")])
        .fails(412, "PreconditionFailed");
    write_file(&pair.source.join("small"), "the second");
    pair.wait_completed(4, TIME_MAX);
    assert_eq!(s3.get(&small).is(200).text(), "the second");
    let old = format!("{small}?versionId={version}");
    assert_eq!(s3.get(&old).is(200).text(), "the first");
    assert_ne!(s3.get(&small).headers["etag"], *tag);
    fs::remove_file(pair.source.join("small")).unwrap();
    pair.wait_completed(5, TIME_MAX);
    let gone = s3.get(&small).fails(404, "NoSuchKey");
    assert_eq!(gone.headers["x-amz-delete-marker"], "true");
    let marker = format!("{small}?versionId={}", gone.headers["x-amz-version-id"]);
    s3.get(&marker).fails(405, "MethodNotAllowed");
    assert_eq!(s3.get(&old).is(200).text(), "the first");
    s3.get(&fronted.path("never")).fails(404, "NoSuchKey");
    s3.get(&format!("{small}?versionId=never"))
        .fails(404, "NoSuchVersion");
    pair.b
        .audits("object.opened", &["access-key:app", "deep/large object"]);
    let served = pair.b.metric("sealift_endpoint_bytes_total").unwrap();
    assert!(served > bytes.len() as u64, "{served}");
}

#[test]
fn listings_tell_what_is_there_page_by_page() {
    let fronted = Fronted::running(7, |pair| {
        for key in ["a", "dir/a", "dir/b", "dir/deep/c", "dir0", "plus+ä", "z"] {
            write_file(&pair.source.join(key), key);
        }
    });
    let (s3, pair) = (&fronted.s3, &fronted.pair);
    assert_eq!(s3.get("/").is(200).all("Name"), [BUCKET]);
    s3.ask("HEAD", &format!("/{BUCKET}"), &[]).is(200);
    let location = s3.get(&format!("/{BUCKET}?location")).is(200);
    assert!(location.text().contains("region-b"), "{}", location.text());
    assert_eq!(
        s3.get(&format!("/{BUCKET}?versioning"))
            .is(200)
            .all("Status"),
        ["Enabled"]
    );
    let list = |query: &str| s3.get(&format!("/{BUCKET}?{query}")).is(200);
    let all = ["a", "dir/a", "dir/b", "dir/deep/c", "dir0", "plus+ä", "z"];
    assert_eq!(list("list-type=2").all("Key"), all);
    assert_eq!(list("").all("Key"), all);
    assert_eq!(list("list-type=2&start-after=dir%2Fb").all("Key"), all[3..]);
    let encoded = list("encoding-type=url&list-type=2&prefix=plus");
    assert_eq!(encoded.all("Key"), ["plus%2B%C3%A4"]);
    let rolled = list("delimiter=%2F&list-type=2");
    assert_eq!(rolled.all("Key"), ["a", "dir0", "plus+ä", "z"]);
    assert!(
        rolled
            .text()
            .contains("<CommonPrefixes><Prefix>dir/</Prefix>"),
        "{}",
        rolled.text()
    );
    for pages in [1, 2, 3, 100] {
        let (mut keys, mut token) = (Vec::new(), String::new());
        loop {
            let page = list(&format!("{token}list-type=2&max-keys={pages}"));
            keys.extend(page.all("Key"));
            match page.all("NextContinuationToken").first() {
                Some(next) => token = format!("continuation-token={next}&"),
                None => break,
            }
        }
        assert_eq!(keys, all, "{pages} a page");
    }
    write_file(&pair.source.join("a"), "again");
    fs::remove_file(pair.source.join("z")).unwrap();
    pair.wait_completed(9, TIME_MAX);
    assert_eq!(list("list-type=2").all("Key"), all[..6]);
    let versions = list("versions");
    assert_eq!(versions.all("Version").len(), 8);
    assert_eq!(versions.all("DeleteMarker").len(), 1);
    let latest = versions.all("IsLatest");
    assert_eq!(latest.iter().filter(|is| *is == "true").count(), 7);
    let page = list("max-keys=1&versions");
    let (key, version) = (page.all("NextKeyMarker"), page.all("NextVersionIdMarker"));
    let next = list(&format!(
        "key-marker={}&max-keys=1&version-id-marker={}&versions",
        key[0], version[0]
    ));
    assert_eq!(
        (next.all("Key"), next.all("IsLatest")),
        (vec!["a".to_owned()], vec!["false".to_owned()])
    );
    s3.get(&format!("/{BUCKET}?list-type=2&max-keys=-1"))
        .fails(400, "InvalidArgument");
    s3.get(&format!("/{BUCKET}?continuation-token=made-up&list-type=2"))
        .fails(400, "InvalidArgument");
}

#[test]
fn whoever_is_not_allowed_is_refused_with_why_and_on_record() {
    let fronted = Fronted::running(1, |pair| write_file(&pair.source.join("a"), "secret"));
    let (s3, pair) = (&fronted.s3, &fronted.pair);
    let (path, b) = (fronted.path("a"), &pair.b);
    s3.bare(&path).fails(403, "AccessDenied");
    let with = |change: fn(&mut S3)| {
        let mut other = s3.clone();
        change(&mut other);
        other
    };
    let wrong = with(|s3| s3.secret.replace_range(..1, "~"));
    wrong.get(&path).fails(403, "SignatureDoesNotMatch");
    with(|s3| s3.id = "nobody".to_owned())
        .get(&path)
        .fails(403, "InvalidAccessKeyId");
    with(|s3| s3.ahead = 1000)
        .get(&path)
        .fails(403, "RequestTimeTooSkewed");
    with(|s3| s3.ahead = -1000)
        .get(&path)
        .fails(403, "RequestTimeTooSkewed");
    with(|s3| s3.ahead = 600).get(&path).is(200);
    s3.bare(&s3.presigned(&path, 60)).is(200);
    with(|s3| s3.ahead = -120)
        .bare(&with(|s3| s3.ahead = -120).presigned(&path, 60))
        .fails(403, "AccessDenied");
    s3.bare(&wrong.presigned(&path, 60))
        .fails(403, "SignatureDoesNotMatch");
    s3.bare(&s3.presigned(&path, 60).replace("/a?", "/b?"))
        .fails(403, "SignatureDoesNotMatch");
    // A presigned URL that hides behind another signature, in its own words and in others.
    let presigned = s3.presigned(&path, 30 * 86_400);
    let hidden = presigned.replace("X-Amz-Signature", "X-Amz-Signatur%65");
    for url in [&presigned, &hidden] {
        let head = s3.head("GET", &path, &[]).replacen(&path, url, 1);
        let mut stream = s3.connect();
        stream.write_all(head.as_bytes()).unwrap();
        read_answer(&mut stream, false).fails(400, "AuthorizationHeaderMalformed");
    }
    s3.get("/elsewhere/a").fails(403, "AccessDenied");
    for (method, query) in [("PUT", ""), ("DELETE", ""), ("POST", "?uploads")] {
        let refused = s3.ask(
            method,
            &format!("{path}{query}"),
            &[("content-length", "0")],
        );
        let refused = refused.fails(403, "AccessDenied");
        assert!(
            refused.text().contains("no [[endpoint.key]]"),
            "{}",
            refused.text()
        );
    }
    s3.ask("PUT", &path, &[("content-length", "1000000000")])
        .fails(403, "AccessDenied");
    s3.get(&format!("{path}?acl")).fails(501, "NotImplemented");
    b.audits(
        "session.refused",
        &["endpoint_wrong_signature", "PeerIdentityRefused", "app"],
    );
    b.audits("session.refused", &["endpoint_skewed", "ClockSkew"]);
    b.audits("session.refused", &["endpoint_unsigned"]);
    b.audits(
        "access.denied",
        &[
            "access-key:app",
            "GetObject",
            "elsewhere",
            "no [[endpoint.key]]",
        ],
    );
    assert!(b.metric("sealift_endpoint_refused_total").unwrap() >= 8);
    assert!(!b.log().contains(&s3.secret));
}

#[test]
fn a_reload_takes_up_other_keys_and_rights() {
    let fronted = Fronted::running(1, |pair| write_file(&pair.source.join("a"), "a"));
    let (s3, b) = (&fronted.s3, &fronted.pair.b);
    let other = key(&fronted.pair, "lister", &s3.address);
    other
        .get(&fronted.path("a"))
        .fails(403, "InvalidAccessKeyId");
    b.configure(&row("lister", BUCKET, "list"));
    b.run(&["reload"]).exits(0);
    other.get(&fronted.path("a")).fails(403, "AccessDenied");
    other.get(&format!("/{BUCKET}?list-type=2")).is(200);
    // Another secret under the same id.
    fs::remove_file(b.dir.join("app.secret")).unwrap();
    let renewed = key(&fronted.pair, "app", &s3.address);
    s3.get(&fronted.path("a")).is(200);
    b.run(&["reload"]).exits(0);
    s3.get(&fronted.path("a"))
        .fails(403, "SignatureDoesNotMatch");
    renewed.get(&fronted.path("a")).is(200);
    let elsewhere = free_address();
    b.edit(&s3.address, &elsewhere);
    b.run(&["reload"])
        .exits(78)
        .tells(&["restart", "[endpoint]"]);
    b.run(&["check"]).tells(&["S3 endpoint"]);
}

#[test]
fn a_key_that_cannot_be_used_is_told_as_s3_tells_it() {
    let fronted = Fronted::running(1, |pair| write_file(&pair.source.join("a"), "a"));
    let (s3, b) = (&fronted.s3, &fronted.pair.b);
    s3.get(&fronted.path("a")).is(200);
    b.run(&["keys", "disable", &format!("alias/{BUCKET}")])
        .exits(0);
    let mut last: Option<Answered> = None;
    wait_until("the key is not used any more", TIME_MAX, || {
        let answered = s3.get(&fronted.path("a"));
        let is_refused = answered.status != 200;
        last = Some(answered);
        is_refused
    });
    let last = last.unwrap().fails(400, "KMS.DisabledException");
    assert!(last.text().contains("DstKmsKeyDisabled"), "{}", last.text());
    s3.ask("HEAD", &fronted.path("a"), &[]).is(200);
    b.run(&["keys", "enable", &format!("alias/{BUCKET}")])
        .exits(0);
    wait_until("it is again", TIME_MAX, || {
        s3.get(&fronted.path("a")).status == 200
    });
}

#[test]
fn readers_that_do_not_read_hold_little_and_keep_nobody_waiting() {
    let content = Content::new(3, 64 << 20);
    let fronted = Fronted::running(2, |pair| {
        content.write(&pair.source.join("large"));
        write_file(&pair.source.join("small"), "small");
    });
    let (s3, b) = (&fronted.s3, &fronted.pair.b);
    let before = b.memory_peak();
    let path = fronted.path("large");
    // Each asks, and takes nothing but the head.
    let mut idle: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = s3.connect();
            stream
                .write_all(s3.head("GET", &path, &[]).as_bytes())
                .unwrap();
            let mut first = [0; 16];
            stream.read_exact(&mut first).unwrap();
            stream
        })
        .collect();
    assert_eq!(s3.get(&fronted.path("small")).is(200).text(), "small");
    // Below a tenth of what they asked for: pieces, what HTTP buffers, and what an allocator
    // keeps for threads that are busy at the same moment.
    let grown = b.memory_peak() - before;
    assert!(
        grown < 96 << 20,
        "{grown} bytes for readers that do not read"
    );
    let used = b.metric("sealift_memory_budget_used_bytes").unwrap();
    assert!((1..=24 << 20).contains(&used), "{used}");
    assert!(b.metric("sealift_endpoint_connections").unwrap() >= 20);
    // One goes on after all, and gets all of it.
    let mut slow = 0;
    let mut piece = vec![0; 1 << 20];
    while slow < 64 << 20 {
        slow += idle[0].read(&mut piece).unwrap();
    }
    drop(idle);
    wait_until("what they held is given back", TIME_MAX, || {
        b.metric("sealift_memory_budget_used_bytes") == Some(0)
    });
}

#[test]
fn more_connections_than_there_may_be_wait_for_their_turn() {
    let fronted = Fronted::running(1, |pair| write_file(&pair.source.join("a"), "a"));
    let s3 = &fronted.s3;
    let held: Vec<_> = (0..sealift_terms::limits::ENDPOINT_CONNECTIONS_MAX)
        .map(|_| s3.connect())
        .collect();
    wait_until("all of them are open", TIME_MAX, || {
        fronted.pair.b.metric("sealift_endpoint_connections") == Some(held.len() as u64)
    });
    let waiting = thread::spawn({
        let (s3, path) = (s3.clone(), fronted.path("a"));
        move || s3.get(&path).is(200).text()
    });
    thread::sleep(Duration::from_secs(1));
    assert!(!waiting.is_finished(), "it did not wait");
    drop(held);
    assert_eq!(waiting.join().unwrap(), "a");
}

#[test]
fn a_stop_finishes_what_is_being_read() {
    let content = Content::new(4, 32 << 20);
    let fronted = Fronted::running(1, |pair| content.write(&pair.source.join("large")));
    let (s3, b) = (&fronted.s3, &fronted.pair.b);
    let mut idle = s3.connect();
    let mut stream = s3.connect();
    let head = s3.head("GET", &fronted.path("large"), &[]);
    stream.write_all(head.as_bytes()).unwrap();
    let mut first = [0; 1];
    stream.read_exact(&mut first).unwrap();
    b.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(500));
    assert!(b.runs(), "it did not wait for the reader");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(&content.bytes()), "{} bytes", rest.len());
    assert_eq!(
        idle.read(&mut first).unwrap(),
        0,
        "an idle connection is closed"
    );
    assert_eq!(b.ends(TIME_MAX), 0);
}

#[test]
fn requests_of_any_bytes_are_answered_or_closed_and_the_next_is_served() {
    let fronted = Fronted::running(1, |pair| write_file(&pair.source.join("a"), "a"));
    let (s3, b) = (&fronted.s3, &fronted.pair.b);
    let good = s3.head("GET", &fronted.path("a"), &[("range", "bytes=0-0")]);
    let presigned = s3.presigned(&fronted.path("a"), 60);
    let presigned = format!("GET {presigned} HTTP/1.1\r\nhost: {}\r\n\r\n", s3.address);
    let began = Instant::now();
    let mut state = 11;
    let mut next = |below: usize| {
        state = mix(state);
        (state % below as u64) as usize
    };
    for round in 0..600 {
        let mut bytes = if round % 2 == 0 { &good } else { &presigned }
            .clone()
            .into_bytes();
        for _ in 0..1 + next(6) {
            let at = next(bytes.len().max(1));
            if bytes.len() < 2 {
                break;
            }
            match next(4) {
                0 => bytes[at] = next(256) as u8,
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, next(256) as u8),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let mut stream = s3.connect();
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        // Neither the endpoint's failure, nor (but for what was spoilt where nothing is
        // signed) an answer.
        assert!(
            !answer.starts_with("HTTP/1.1 5") || answer.contains("501"),
            "{answer}"
        );
    }
    println!("600 spoilt requests in {:.1?}", began.elapsed());
    assert!(b.runs());
    assert_eq!(s3.get(&fronted.path("a")).is(200).text(), "a");
}

#[test]
#[ignore = "needs boto3, which cargo xtask test installs"]
fn boto3_reads_a_replica_as_it_reads_s3() {
    let content = Content::new(8, 64 << 20);
    let fronted = Fronted::running(5, |pair| {
        content.write(&pair.source.join("large"));
        for key in ["a", "dir/b ä+%", "dir/c", "gone"] {
            write_file(&pair.source.join(key), key);
        }
    });
    let (s3, pair) = (&fronted.s3, &fronted.pair);
    write_file(&pair.source.join("a"), "a again");
    fs::remove_file(pair.source.join("gone")).unwrap();
    pair.wait_completed(7, TIME_MAX);
    let folder = std::env::var("SEALIFT_BOTO3").unwrap();
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/endpoint_reads.py"
    );
    let python = format!("PYTHONPATH={folder}");
    let url = format!("http://{}", s3.address);
    let large = text(&pair.source.join("large"));
    let args = [
        &python, "python3", script, &url, &s3.id, &s3.secret, BUCKET, &large,
    ];
    run_program("env", &args, &[0]).tells(&["as S3 does"]);
}

#[test]
#[ignore = "needs rclone and curl, which cargo xtask test installs"]
fn rclone_and_curl_read_a_replica_too() {
    let content = Content::new(8, 20 << 20);
    let fronted = Fronted::running(3, |pair| {
        content.write(&pair.source.join("large"));
        write_file(&pair.source.join("dir/b ä+%"), "b");
        write_file(&pair.source.join("c"), "c");
    });
    let (s3, pair) = (&fronted.s3, &fronted.pair);
    let remote = format!(
        ":s3,provider=Other,env_auth=false,force_path_style=true,access_key_id={},\
         secret_access_key={},endpoint='http://{}':{BUCKET}",
        s3.id, s3.secret, s3.address
    );
    let source = text(&pair.source);
    // Byte by byte: there is no MD5 to compare.
    let args = ["check", "--download", "--retries", "1", &source, &remote];
    rclone(&args, &[0]).tells(&["0 differences", "3 matching"]);
    let out = pair.dir().join("copied");
    rclone(&["copy", "--retries", "1", &remote, &text(&out)], &[0]);
    assert!(content.is_in(&out.join("large")));
    let refused = [
        "copyto",
        "--retries",
        "1",
        &text(&out.join("c")),
        &format!("{remote}/new"),
    ];
    rclone(&refused, &[1, 3, 4, 5, 6, 7]).tells(&["AccessDenied"]);
    let user = format!("{}:{}", s3.id, s3.secret);
    let url = format!("http://{}/{BUCKET}/c", s3.address);
    let args = [
        "-sS",
        "--fail",
        "--aws-sigv4",
        "aws:amz:region-b:s3",
        "--user",
        &user,
    ];
    let hash = "x-amz-content-sha256: UNSIGNED-PAYLOAD";
    run_program("curl", &[&args[..], &["-H", hash, &url]].concat(), &[0]).tells(&["c"]);
}
