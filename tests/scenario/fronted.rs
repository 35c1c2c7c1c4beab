//! The S3 endpoint in the source's region: a bucket in front of its source passes on what
//! applications do, and what they write is in the other region at once.

use std::{collections::BTreeSet, fs, io::Write, net::TcpListener, path::Path, time::Duration};

use rusqlite::Connection;
use sealift_fake_kms::{FakeS3, OWNER, Put, Trouble};
use serde_json::Value;

use super::endpoint::{TIME_MAX, row, text};
use crate::support::{
    Answered, AuditLeaf, BUCKET, Content, Moto, Pair, S3, Site, free_address, read_answer,
    run_program, wait_until,
};

/// The bucket's name at its store.
pub(super) const AT_STORE: &str = "the-store";
const ALL: &str = "get\", \"list\", \"put\", \"delete";

/// Two agents of which `a` stands in front of its source, a bucket at `url`, which is not
/// scanned but at its start.
pub(super) struct InFront {
    pub(super) pair: Pair,
    pub(super) s3: S3,
}

impl InFront {
    pub(super) fn of(url: &str, bucket: &str, more: &str) -> Self {
        Self::allowed(url, bucket, more, ALL)
    }

    fn allowed(url: &str, bucket: &str, more: &str, rights: &str) -> Self {
        let pair = Pair::new();
        let (id, secret) = OWNER;
        let credentials =
            format!("[default]\naws_access_key_id={id}\naws_secret_access_key={secret}\n");
        private(&pair.a.dir.join("aws-credentials"), &credentials);
        pair.a.edit(
            &format!("directory = \"{}\"", text(&pair.source)),
            &format!(
                "scan_interval_secs = 86400\nfronted = true\n{more}\n[source.s3]\n\
                 region = \"eu-west-1\"\nendpoint = \"{url}\"\nbucket = \"{bucket}\"\n\
                 credentials_file = \"aws-credentials\""
            ),
        );
        let s3 = key(&pair, "app");
        pair.a.configure(&format!(
            "[endpoint]\nlisten = \"{}\"\n{}",
            s3.address,
            row("app", BUCKET, rights)
        ));
        Self { pair, s3 }
    }

    fn put(&self, key: &str, content: &[u8]) -> Answered {
        self.send("PUT", &format!("/{BUCKET}/{key}"), &[], content)
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answered {
        send(&self.s3, method, path, headers, body)
    }
}

pub(super) fn send(
    s3: &S3,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answered {
    let length = body.len().to_string();
    let own = [("connection", "close"), ("content-length", &length)];
    let head = s3.head(method, path, &[&own[..], headers].concat());
    let mut stream = s3.connect();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    read_answer(&mut stream, false)
}

fn private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Makes an access key at `a`.
fn key(pair: &Pair, id: &str) -> S3 {
    let file = pair.a.dir.join(format!("{id}.secret"));
    let args = ["endpoint", "key", "--id", id, "--bucket", BUCKET, "-o"];
    pair.a.run(&[&args[..], &[&text(&file)]].concat()).exits(0);
    let secret = fs::read_to_string(file).unwrap();
    S3 {
        address: free_address(),
        id: id.to_owned(),
        secret: secret.trim().to_owned(),
        ahead: 0,
    }
}

/// The versions of a key at `b`, the latest first.
fn versions(pair: &Pair, key: &str) -> Vec<Value> {
    let ran = pair
        .b
        .run(&["inspect", "--facts", "--json", &format!("{BUCKET}/{key}")]);
    match ran.code {
        10 => Vec::new(),
        _ => ran.exits(0).rows(),
    }
}

fn ids(rows: &[Value]) -> Vec<String> {
    let id = |row: &Value| row["version"].as_str().unwrap().to_owned();
    rows.iter().map(id).collect()
}

#[test]
fn what_is_written_in_front_of_a_source_is_in_the_other_region_at_once_and_once() {
    let store = FakeS3::start(BUCKET, None);
    // To remove a version for good takes a right of its own.
    let rights = format!("{ALL}\", \"purge");
    let front = InFront::allowed(&store.url(), BUCKET, "", &rights);
    let pair = &front.pair;
    store.put("before", Put::default());
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    let scanned = pair.a.status()["sources"][0]["scanned"].clone();
    let large = Content::new(3, (9 << 20) + 77).bytes();
    let mut given = Vec::new();
    for content in [&b"one"[..], b"", &large] {
        let said = ("x-amz-meta-owner", "me");
        let answered = front.send("PUT", &format!("/{BUCKET}/k"), &[said], content);
        given.push(answered.is(200).headers["x-amz-version-id"].clone());
        let got = front.s3.get(&format!("/{BUCKET}/k")).is(200);
        assert!(got.body == content && got.headers["x-amz-meta-owner"] == "me");
    }
    pair.wait_completed(4, TIME_MAX);
    let rows = versions(pair, "k");
    given.reverse();
    assert_eq!(
        ids(&rows),
        given,
        "each once, and in the order of the store"
    );
    assert_eq!(rows[0]["facts"]["metadata"]["owner"], "me");
    let out = pair.get("k", "k");
    assert!(fs::read(out).unwrap() == large);
    // Removed, and tagged.
    let marker = front.s3.ask("DELETE", &format!("/{BUCKET}/k"), &[]).is(204);
    front.put("tagged", b"t").is(200);
    let tags = "<Tagging><TagSet><Tag><Key>x</Key><Value>y</Value></Tag></TagSet></Tagging>";
    let path = format!("/{BUCKET}/tagged?tagging");
    front.send("PUT", &path, &[], tags.as_bytes()).is(200);
    pair.wait_completed(7, TIME_MAX);
    let latest = &versions(pair, "k")[0];
    assert_eq!(
        latest["version"],
        marker.headers["x-amz-version-id"].as_str()
    );
    assert_eq!(versions(pair, "tagged")[0]["facts"]["tags"]["x"], "y");
    // A version that is removed for good is no version of the source any more: what is below
    // it is the latest, as in the store.
    let path = format!(
        "/{BUCKET}/k?versionId={}",
        latest["version"].as_str().unwrap()
    );
    front.s3.ask("DELETE", &path, &[]).is(204);
    wait_until("the object is back", TIME_MAX, || {
        let rows = versions(pair, "k");
        rows.first().is_some_and(|row| row["size"] == large.len())
    });
    assert_eq!(
        pair.a.status()["sources"][0]["scanned"],
        scanned,
        "nobody scanned"
    );
    // A scan finds nothing new.
    let before = pair.a.transfers("COMPLETED");
    pair.a.stop();
    pair.a.start();
    wait_until("it was scanned again", TIME_MAX, || {
        pair.a.status()["sources"][0]["scanned"] != scanned
    });
    assert_eq!(pair.a.transfers("COMPLETED"), before);
    pair.verify_both(TIME_MAX);
}

/// What the sender and applications ask of the store is what `sealift policy` prints, and all of it.
#[test]
fn the_policy_that_is_printed_allows_exactly_what_is_asked_of_the_store() {
    let store = FakeS3::start(BUCKET, None);
    let front = InFront::allowed(&store.url(), BUCKET, "", &format!("{ALL}\", \"purge"));
    let pair = &front.pair;
    let locked = [
        ("x-amz-object-lock-mode", "GOVERNANCE"),
        (
            "x-amz-object-lock-retain-until-date",
            "2030-01-01T00:00:00Z",
        ),
        ("x-amz-object-lock-legal-hold", "ON"),
    ];
    let headers = locked.map(|(name, value)| (name.to_owned(), value.to_owned()));
    store.put(
        "locked",
        Put {
            headers: headers.into(),
            ..Put::default()
        },
    );
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    let at = |path: &str| format!("/{BUCKET}{path}");
    for query in ["?location", "?list-type=2", "?uploads"] {
        front.s3.get(&at(query)).is(200);
    }
    let put = front
        .send("PUT", &at("/k"), &[("x-amz-tagging", "a=b")], b"k")
        .is(200);
    let version = format!("versionId={}", put.headers["x-amz-version-id"]);
    let tags = b"<Tagging><TagSet></TagSet></Tagging>";
    let attributes = [("x-amz-object-attributes", "ETag")];
    front.s3.get(&at("/k")).is(200);
    front.s3.get(&at("/k?tagging")).is(200);
    for more in [String::new(), format!("&{version}")] {
        front
            .s3
            .ask("GET", &at(&format!("/k?attributes{more}")), &attributes)
            .is(200);
        front
            .send("PUT", &at(&format!("/k?tagging{more}")), &[], tags)
            .is(200);
        front
            .s3
            .ask("DELETE", &at(&format!("/k?tagging{more}")), &[]);
    }
    let begun = front.send("POST", &at("/large?uploads"), &[], b"").is(200);
    let begun = String::from_utf8(begun.body).unwrap();
    let id = begun.split("<UploadId>").nth(1).unwrap();
    let upload = format!("uploadId={}", id.split('<').next().unwrap());
    front.s3.get(&at(&format!("/large?{upload}"))).is(200);
    front
        .s3
        .ask("DELETE", &at(&format!("/large?{upload}")), &[])
        .is(204);
    front.s3.ask("DELETE", &at("/k"), &[]).is(204);
    front
        .s3
        .ask("DELETE", &at(&format!("/k?{version}")), &[])
        .is(204);
    let printed = pair.a.rows(&["policy"]).remove(0);
    let statements = printed["iam_policy"]["Statement"]
        .as_array()
        .unwrap()
        .iter();
    let actions = statements.flat_map(|one| one["Action"].as_array().unwrap());
    let printed: BTreeSet<String> = actions
        .map(|action| action.as_str().unwrap().to_owned())
        .collect();
    let mut asked = BTreeSet::new();
    wait_until("all of it is asked for", TIME_MAX, || {
        let new = store.asked().into_iter();
        // What is one action of several calls has the call behind it.
        asked.extend(new.map(|action| action.split(' ').next().unwrap().to_owned()));
        asked.is_superset(&printed)
    });
    assert_eq!(asked, printed);
}

#[test]
fn a_write_whose_answer_never_came_is_settled_by_the_next_agent() {
    let store = FakeS3::start(BUCKET, None);
    let front = InFront::of(&store.url(), BUCKET, "");
    let pair = &front.pair;
    pair.start();
    front.put("k", b"first").is(200);
    pair.wait_completed(1, TIME_MAX);
    // The store has it, and the agent dies before it hears of that.
    store.trouble(Trouble::Late(Duration::from_secs(3600)));
    let head = front
        .s3
        .head("PUT", &format!("/{BUCKET}/k"), &[("content-length", "6")]);
    let mut stream = front.s3.connect();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(b"second").unwrap();
    wait_until("the store has it", TIME_MAX, || {
        store
            .bytes("k")
            .is_some_and(|bytes| &bytes[..] == b"second")
    });
    let unsettled = |site: &Site| site.status()["sources"][0]["unsettled"].clone();
    assert_eq!(unsettled(&pair.a), 1);
    assert_eq!(pair.a.metric("sealift_source_unsettled"), Some(1));
    assert!(pair.a.kill());
    // Nobody runs that could settle it, and it is told all the same.
    let left = pair.a.status();
    let source = &left["sources"][0];
    assert!(
        source["unsettled"] == 1 && source["oldest_unsettled_secs"].is_u64(),
        "{left}"
    );
    store.trouble(Trouble::None);
    pair.a.start();
    pair.wait_completed(2, TIME_MAX);
    wait_until("nothing is unsettled", TIME_MAX, || unsettled(&pair.a) == 0);
    assert_eq!(pair.a.metric("sealift_source_unsettled"), Some(0));
    assert_eq!(versions(pair, "k").len(), 2);
    assert_eq!(fs::read(pair.get("k", "k")).unwrap(), b"second");
    // One that never went out is forgotten, and one whose answer was lost is found at once.
    store.lose_answers("s3:PutObject", 1);
    front.put("k", b"third").fails(503, "SlowDown");
    pair.wait_completed(3, TIME_MAX);
    assert_eq!(fs::read(pair.get("k", "k-3")).unwrap(), b"third");
    store.fail("s3:PutObject", 1);
    front.put("never", b"").fails(503, "SlowDown");
    front.put("k", b"fourth").is(200);
    pair.wait_completed(4, TIME_MAX);
    assert!(versions(pair, "never").is_empty());
    pair.verify_both(TIME_MAX);
}

#[test]
fn a_synchronous_bucket_answers_when_the_replica_is_durable_or_says_that_it_is_not() {
    let store = FakeS3::start(BUCKET, None);
    let front = InFront::of(
        &store.url(),
        BUCKET,
        "synchronous = true\nsynchronous_secs = 3",
    );
    let pair = &front.pair;
    pair.start();
    for number in 0..3 {
        let key = format!("k{number}");
        let answered = front.put(&key, key.as_bytes()).is(200);
        // Nobody has to wait for it.
        let there = ids(&versions(pair, &key));
        assert_eq!(there, [answered.headers["x-amz-version-id"].as_str()]);
    }
    front
        .s3
        .ask("DELETE", &format!("/{BUCKET}/k0"), &[])
        .is(204);
    assert_eq!(versions(pair, "k0").len(), 2);
    pair.b.stop();
    let pending = front.put("k1", b"alone").fails(409, "ReplicationPending");
    let version = &pending.headers["x-amz-version-id"];
    assert!(pending.text().contains(version) && pending.text().contains("PENDING to b"));
    assert_eq!(&store.bytes("k1").unwrap()[..], b"alone");
    pair.b.start();
    pair.wait_completed(5, TIME_MAX);
    assert_eq!(&ids(&versions(pair, "k1"))[0], version);
}

#[test]
fn whoever_reads_in_front_of_a_source_is_told_how_the_version_stands() {
    let store = FakeS3::start(BUCKET, None);
    let front = InFront::of(&store.url(), BUCKET, "");
    let (pair, s3) = (&front.pair, &front.s3);
    let far = pair.destination("c", str::to_owned);
    pair.a
        .edit("# prefix = \"only/below/\"", "prefix = \"in/\"");
    let granted = "actions = [\"replicate\", \"delete\"]";
    far.edit(granted, "actions = [\"delete\"]");
    pair.start();
    let path = |key: &str| format!("/{BUCKET}/{key}");
    let stands = |method: &str, path: &str| {
        let answered = s3.ask(method, path, &[("connection", "close")]).is(200);
        answered.headers.get("x-amz-replication-status").cloned()
    };
    let of = |path: &str| {
        let [head, get] = ["HEAD", "GET"].map(|method| stands(method, path));
        assert_eq!(head, get, "{path}");
        head.unwrap_or_else(|| "none".to_owned())
    };
    let put = |key: &str| {
        let answered = front.put(key, key.as_bytes()).is(200);
        answered.headers["x-amz-version-id"].clone()
    };
    // At once, whether the journal has its transfers yet or not.
    let first = put("in/k");
    assert_eq!(of(&path("in/k")), "PENDING");
    assert_eq!(
        of(&format!("{}?versionId={first}", path("in/k"))),
        "PENDING"
    );
    put("out/k");
    assert_eq!(of(&path("out/k")), "none");
    // One of two has it.
    wait_until("one has it", TIME_MAX, || {
        pair.a.transfers("COMPLETED").0 == 1
    });
    assert_eq!(of(&path("in/k")), "PENDING");
    far.start();
    wait_until("the other refuses it", TIME_MAX, || {
        pair.a.transfers("FAILED").0 == 1
    });
    assert_eq!(of(&path("in/k")), "FAILED");
    far.stop();
    far.edit("actions = [\"delete\"]", granted);
    far.start();
    pair.a.run(&["retry"]).exits(0);
    pair.wait_completed(2, TIME_MAX);
    assert_eq!(of(&path("in/k")), "COMPLETED");
    // Each version stands by itself; the latest is another one now.
    pair.b.stop();
    put("in/k");
    assert_eq!(of(&path("in/k")), "PENDING");
    let older = format!("{}?versionId={first}", path("in/k"));
    assert_eq!(of(&older), "COMPLETED");
    // Of what is not there nothing is said.
    let never = s3.get(&path("in/never")).fails(404, "NoSuchKey");
    assert!(!never.headers.contains_key("x-amz-replication-status"));
}

#[test]
fn a_store_that_is_away_and_a_key_that_may_not_are_told_so() {
    let store = FakeS3::start(BUCKET, None);
    let front = InFront::of(&store.url(), BUCKET, "");
    let (pair, s3) = (&front.pair, &front.s3);
    let reader = key(pair, "reader");
    let reader = S3 {
        address: s3.address.clone(),
        ..reader
    };
    pair.a.configure(&row("reader", BUCKET, "get"));
    pair.start();
    front.put("k", b"k").is(200);
    pair.wait_completed(1, TIME_MAX);
    let path = format!("/{BUCKET}/k");
    reader.get(&path).is(200);
    reader.ask("DELETE", &path, &[]).fails(403, "AccessDenied");
    reader
        .get(&format!("/{BUCKET}?list-type=2"))
        .fails(403, "AccessDenied");
    pair.a
        .audits("access.denied", &["access-key:reader", "DeleteObject"]);
    s3.get(&format!("/{BUCKET}?policy"))
        .fails(501, "NotImplemented");
    s3.ask("GET", &path, &[("x-amz-request-payer", "requester")])
        .fails(501, "NotImplemented");
    store.deny("s3:PutObject", true);
    let denied = front.put("k", b"no").fails(403, "AccessDenied");
    assert!(denied.text().contains("to the agent"), "{}", denied.text());
    store.deny("s3:PutObject", false);
    store.trouble(Trouble::Unreachable);
    for answered in [s3.get(&path), front.put("k", b"away")] {
        let told = answered.fails(503, "ServiceUnavailable").text();
        assert!(told.contains("SrcUnavailable"), "{told}");
    }
    store.trouble(Trouble::None);
    front.put("k", b"back").is(200);
    pair.wait_completed(2, TIME_MAX);
    // Content that is not what it is said to be is nowhere.
    let long = vec![7; 300_000];
    let sum = ("x-amz-checksum-crc32", "AAAAAA==");
    front
        .send("PUT", &format!("/{BUCKET}/bad"), &[sum], &long)
        .fails(400, "BadDigest");
    assert!(store.bytes("bad").is_none());
}

/// Records of `a` of this kind that hold all of these words.
fn records(pair: &Pair, kind: &str, words: &[&str]) -> usize {
    let leaves = AuditLeaf::all(&pair.a.data());
    let found = leaves.iter().filter(|leaf| leaf.is(kind));
    found.filter(|leaf| leaf.tells(words)).count()
}

#[test]
fn what_is_done_in_front_of_a_source_is_on_record_with_what_came_of_it() {
    let store = FakeS3::start(BUCKET, None);
    let front = InFront::of(&store.url(), BUCKET, "");
    let (pair, s3) = (&front.pair, &front.s3);
    pair.start();
    let put = front.put("k", b"k").is(200);
    let version = &put.headers["x-amz-version-id"];
    let of_k = ["\"access-key:app\"", "\"key\":\"k\"", version];
    let done = ["\"PutObject\"", "\"done\"", "\"200\""];
    pair.a
        .audits("source.written", &[&of_k[..], &done].concat());
    // Alike reads are one record, and a count when their minute is over, or the agent ends.
    let path = format!("/{BUCKET}/k");
    for _ in 0..3 {
        s3.get(&path).is(200);
    }
    s3.ask("HEAD", &path, &[]).is(200);
    let read = [&of_k[..], &["\"GetObject\""]].concat();
    pair.a.audits("source.read", &read);
    s3.get(&format!("/{BUCKET}/never")).fails(404, "NoSuchKey");
    // What was copied was read; what the store refuses was tried.
    let from = format!("/{BUCKET}/k");
    let copied = [("x-amz-copy-source", from.as_str())];
    front
        .send("PUT", &format!("/{BUCKET}/c"), &copied, b"")
        .is(200);
    pair.a
        .audits("source.read", &["\"CopyObject\"", "\"key\":\"k\""]);
    pair.a.audits(
        "source.written",
        &["\"CopyObject\"", "\"key\":\"c\"", "\"done\""],
    );
    store.deny("s3:PutObject", true);
    front.put("denied", b"").fails(403, "AccessDenied");
    // Lists that the store might read otherwise reach nobody.
    let many = format!("/{BUCKET}?delete");
    for more in [
        "<s3:Object><s3:Key>c</s3:Key></s3:Object>",
        "<Object><Key>k<![CDATA[c]]></Key></Object>",
    ] {
        let list = format!("<Delete xmlns:s3=\"x\"><Object><Key>k</Key></Object>{more}</Delete>");
        let refused = front.send("POST", &many, &[], list.as_bytes());
        refused.fails(400, "MalformedXML");
    }
    assert_eq!(store.keys(), ["c", "k"]);
    store.deny("s3:PutObject", false);
    pair.a
        .audits("source.written", &["\"denied\"", "\"refused\"", "\"403\""]);
    store.lose_answers("s3:PutObject", 1);
    front.put("lost", b"").fails(503, "SlowDown");
    pair.a
        .audits("source.written", &["\"lost\"", "\"unknown\""]);
    let gone = s3.ask("DELETE", &path, &[]).is(204);
    let marker = &gone.headers["x-amz-version-id"];
    pair.a.audits(
        "source.written",
        &["\"DeleteObject\"", "\"key\":\"k\"", marker, "\"done\""],
    );
    pair.a.stop();
    assert_eq!(records(pair, "source.read", &["never"]), 0);
    assert_eq!(records(pair, "source.read", &read), 2);
    let counted = [&read[..], &["\"count\":\"2\""]].concat();
    assert_eq!(records(pair, "source.read", &counted), 1);
    pair.a.run(&["audit", "verify"]).exits(0);
}

#[test]
fn what_cannot_be_put_on_record_does_not_reach_the_store() {
    let store = FakeS3::start(BUCKET, None);
    let front = InFront::of(&store.url(), BUCKET, "");
    let (pair, s3) = (&front.pair, &front.s3);
    pair.start();
    front.put("before", b"").is(200);
    let path = format!("/{BUCKET}/before");
    // Somebody else holds the database: its next commit fails, and from then on nothing is
    // taken.
    let held = Connection::open(pair.a.data().join("catalog.db")).unwrap();
    held.busy_timeout(TIME_MAX).unwrap();
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    wait_until("nothing is taken any more", TIME_MAX, || {
        front.put("meanwhile", b"").status == 503
    });
    let told = front.put("refused", b"").fails(503, "ServiceUnavailable");
    assert!(told.text().contains("AuditUnavailable"), "{}", told.text());
    assert!(store.bytes("refused").is_none());
    s3.get(&path).fails(503, "ServiceUnavailable");
    held.execute_batch("ROLLBACK").unwrap();
    wait_until("it is taken again", TIME_MAX, || {
        front.put("after", b"").status == 200
    });
    s3.get(&path).is(200);
    pair.a
        .audits("source.written", &["\"meanwhile\"", "\"done\""]);
    assert_eq!(
        records(
            pair,
            "source.written",
            &["\"refused\"", "\"key\":\"refused\""]
        ),
        0
    );
}

#[test]
fn a_configuration_that_cannot_be_in_front_is_refused() {
    let pair = Pair::new();
    let directory = format!("directory = \"{}\"", text(&pair.source));
    pair.a
        .edit(&directory, &format!("{directory}\nfronted = true"));
    pair.a
        .run(&["check", "--offline"])
        .exits(78)
        .tells(&["source.fronted", "[source.s3]"]);
    pair.a.edit("fronted = true", "synchronous = true");
    pair.a
        .run(&["check", "--offline"])
        .exits(78)
        .tells(&["source.synchronous", "fronted"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let s3 = format!(
        "fronted = true\n[source.s3]\nregion = \"eu-west-1\"\nendpoint = \"{url}\"\n\
         credentials_from = \"instance\""
    );
    pair.a
        .edit(&format!("{directory}\nsynchronous = true"), &s3);
    pair.a
        .run(&["check", "--offline"])
        .exits(78)
        .tells(&["source.fronted", "[endpoint]"]);
}

#[test]
#[ignore = "needs boto3 and moto, which cargo xtask test installs"]
fn boto3_works_in_front_of_a_store_as_it_works_on_it_and_the_replica_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let moto = Moto::start(dir.path());
    let front = InFront::of(&moto.url, AT_STORE, "");
    let pair = &front.pair;
    let boto3 = |what: &str| {
        let folder = format!("PYTHONPATH={}", std::env::var("SEALIFT_BOTO3").unwrap());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/front.py");
        let (place, url) = (text(dir.path()), format!("http://{}", front.s3.address));
        let (id, secret) = (front.s3.id.as_str(), front.s3.secret.as_str());
        let args = [
            "-C", &place, &folder, "python3", script, &url, id, secret, BUCKET,
        ];
        let there = [&moto.url, OWNER.0, OWNER.1, AT_STORE, what];
        run_program("env", &[&args[..], &there].concat(), &[0])
    };
    boto3("make");
    pair.start();
    let rows = boto3("work").rows();
    assert!(rows.len() > 40, "{} versions", rows.len());
    // Beside the versions there are two changes of tags.
    pair.wait_completed(rows.len() as u64 + 2, TIME_MAX);
    for row in &rows {
        let (key, version) = (
            row["key"].as_str().unwrap(),
            row["version"].as_str().unwrap(),
        );
        let there = versions(pair, key);
        let found = there.iter().find(|found| found["version"] == version);
        let found = found.unwrap_or_else(|| panic!("{key} {version} is not in {there:?}"));
        let Some(digest) = row["sha256"].as_str() else {
            continue;
        };
        let tags = &found["facts"]["tags"];
        let has_none = row["tags"].as_object().is_some_and(|tags| tags.is_empty());
        assert!(
            *tags == row["tags"] || has_none && tags.is_null(),
            "{key} {tags} {row}"
        );
        if row["latest"] == true {
            assert_eq!(&ids(&there)[0], version, "{key}");
        }
        let out = pair.dir().join("out");
        let object = format!("{BUCKET}/{key}");
        let out_text = text(&out);
        pair.b
            .run(&["get", "--version", version, "-o", &out_text, &object])
            .exits(0);
        let bytes = fs::read(&out).unwrap();
        let sum = ring::digest::digest(&ring::digest::SHA256, &bytes);
        let sum: String = sum.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(sum, digest, "{key} {version}");
        fs::remove_file(&out).unwrap();
    }
    // Of many that were removed at once each is on record.
    for key in ["many/00", "many/09"] {
        pair.a.audits(
            "source.written",
            &["\"DeleteObjects\"", &format!("\"{key}\""), "\"done\""],
        );
    }
    pair.verify_both(TIME_MAX);
}
