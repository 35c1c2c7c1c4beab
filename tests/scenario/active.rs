//! Two regions that applications write in, each replicated to the other: both list the same in
//! the end, whatever happened between.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use super::endpoint::{TIME_MAX, row};
use crate::support::{
    Answered, BUCKET, Content, Pair, Proxy, S3, Site, free_address, mix, read_answer, text,
    wait_until,
};

/// Two sites of two regions that dial each other through something that can be shut.
struct Active {
    one: Site,
    ways: [Proxy; 2],
    s3: [S3; 2],
    // Dropped last: its directory is everybody's.
    pair: Pair,
}

impl Active {
    fn new() -> Self {
        let pair = Pair::new();
        let one = pair.onward("e", "");
        let listens = address_of(&pair.b, "e");
        let ways = [Proxy::to(&listens), Proxy::to(&pair.listen)];
        pair.b.edit(&listens, &ways[0].address);
        pair.b.configure(&format!(
            "[[grant]]\nidentity = \"{}\"\nactions = [\"replicate\", \"delete\"]\n\
             bucket = \"{BUCKET}\"\n",
            one.identity
        ));
        let to_b = format!("name = \"b\"\naddress = \"{}\"", ways[1].address);
        one.edit("name = \"b\"", &to_b);
        one.configure(&format!(
            "[[source]]\nbucket = \"{BUCKET}\"\narchive = true\n\
             [[rule]]\nname = \"back\"\nbucket = \"{BUCKET}\"\npeers = [\"b\"]\n"
        ));
        let s3 = [&pair.b, &one].map(opened);
        let active = Self {
            one,
            ways,
            s3,
            pair,
        };
        for site in active.sites() {
            site.run(&["check"])
                .tells(&["rules both ways", "neither goes back"]);
            site.start();
            site.run(&["endpoint", "promote", BUCKET]).exits(0);
        }
        active
    }

    fn sites(&self) -> [&Site; 2] {
        [&self.pair.b, &self.one]
    }

    /// Lets nothing through between the two, or everything.
    fn part(&self, is_parted: bool) {
        self.ways.iter().for_each(|way| way.shut(is_parted));
    }

    /// What applications are told of all versions at a site.
    fn listed(&self, at: usize) -> String {
        get(&self.s3[at], &format!("/{BUCKET}?versions"))
            .is(200)
            .text()
    }

    /// Waits until nothing is left to send, and both list the same `versions`.
    #[track_caller]
    fn wait_equal(&self, versions: usize) {
        wait_until("both sites list the same", TIME_MAX, || {
            let (one, other) = (self.listed(0), self.listed(1));
            let settled = |site: &&Site| site.transfers("PENDING").0 == 0;
            one == other
                && one.matches("<VersionId>").count() == versions
                && self.sites().iter().all(settled)
        });
        for (key, version) in versions_in(&self.listed(0)) {
            let path = format!("/{BUCKET}/{key}?versionId={version}");
            let [one, other] = [0, 1].map(|at| get(&self.s3[at], &path));
            assert_eq!(one.status, other.status, "{path}");
            assert!(one.body == other.body, "{path} has other bytes");
            assert_eq!(one.headers.get("etag"), other.headers.get("etag"));
            let tags = format!("/{BUCKET}/{key}?tagging&versionId={version}");
            let [one, other] = [0, 1].map(|at| get(&self.s3[at], &tags).text());
            assert_eq!(tags_in(&one), tags_in(&other), "{tags}");
        }
    }

    fn text_of(&self, at: usize, key: &str) -> String {
        let got = get(&self.s3[at], &format!("/{BUCKET}/{key}"));
        match got.status {
            404 => "none".to_owned(),
            _ => got.is(200).text(),
        }
    }
}

/// Gives a site an endpoint, with a key that may do everything.
fn opened(site: &Site) -> S3 {
    let file = site.dir.join("app.secret");
    site.run(&[
        "endpoint",
        "key",
        "--id",
        "app",
        "--bucket",
        BUCKET,
        "-o",
        &text(&file),
    ])
    .exits(0);
    let s3 = S3 {
        address: free_address(),
        id: "app".to_owned(),
        secret: fs::read_to_string(file).unwrap().trim().to_owned(),
        ahead: 0,
    };
    let allowed = row("app", BUCKET, "get\", \"list\", \"put\", \"delete");
    site.configure(&format!(
        "[endpoint]\nlisten = \"{}\"\n{allowed}",
        s3.address
    ));
    s3
}

/// Where a site dials a peer.
fn address_of(site: &Site, peer: &str) -> String {
    let config = fs::read_to_string(site.config()).unwrap();
    let (_, of_peer) = config.split_once(&format!("name = \"{peer}\"")).unwrap();
    let (_, address) = of_peer.split_once("address = \"").unwrap();
    address.split_once('"').unwrap().0.to_owned()
}

fn versions_in(listing: &str) -> Vec<(String, String)> {
    let of = |entry: &str, tag: &str| {
        let (_, rest) = entry.split_once(&format!("<{tag}>")).unwrap();
        rest.split_once('<').unwrap().0.to_owned()
    };
    let entries = listing.split("<Version>").skip(1);
    entries
        .map(|entry| (of(entry, "Key"), of(entry, "VersionId")))
        .collect()
}

fn tags_in(answer: &str) -> BTreeSet<String> {
    answer.split("<Tag>").skip(1).map(str::to_owned).collect()
}

/// Reads to the end of the connection: not every answer has a length.
fn get(s3: &S3, path: &str) -> Answered {
    s3.ask("GET", path, &[("connection", "close")])
}

fn send(s3: &S3, method: &str, path: &str, body: &[u8]) -> Answered {
    let length = body.len().to_string();
    let headers = [("connection", "close"), ("content-length", &length)];
    let head = s3.head(method, path, &headers);
    let mut stream = s3.connect();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    read_answer(&mut stream, false)
}

fn put(s3: &S3, key: &str, body: &[u8]) {
    send(s3, "PUT", &format!("/{BUCKET}/{key}"), body).is(200);
}

fn remove(s3: &S3, key: &str) {
    send(s3, "DELETE", &format!("/{BUCKET}/{key}"), b"").is(204);
}

fn put_in_parts(s3: &S3, key: &str, body: &[u8]) {
    let path = format!("/{BUCKET}/{key}");
    let begun = send(s3, "POST", &format!("{path}?uploads"), b"").is(200);
    let upload = begun.all("UploadId").remove(0);
    let mut list = String::new();
    for (number, part) in (1..).zip(body.chunks(5 << 20)) {
        let to = format!("{path}?partNumber={number}&uploadId={upload}");
        let tag = send(s3, "PUT", &to, part).is(200).headers["etag"].clone();
        list += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>");
    }
    let list = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
    let done = send(
        s3,
        "POST",
        &format!("{path}?uploadId={upload}"),
        list.as_bytes(),
    );
    assert!(done.is(200).all("Code").is_empty());
}

/// Puts a tag on the latest version; whether there is one.
fn tag(s3: &S3, key: &str, value: u64) -> bool {
    let body = format!(
        "<Tagging><TagSet><Tag><Key>tag</Key><Value>{value}</Value></Tag></TagSet></Tagging>"
    );
    let told = send(
        s3,
        "PUT",
        &format!("/{BUCKET}/{key}?tagging"),
        body.as_bytes(),
    );
    match told.status {
        // There is none, or a delete marker.
        404 | 405 => false,
        _ => told.is(200).status == 200,
    }
}

/// Rows of `ls` with this status.
fn rows(site: &Site, status: &str) -> Vec<Value> {
    let mut all = site.rows(&["ls", "--versions", BUCKET]);
    all.retain(|row| row["status"] == status);
    all
}

#[test]
fn what_meets_is_settled_by_its_order_and_the_same_in_both_regions() {
    let active = Active::new();
    let ([one, other], sites) = (&active.s3, active.sites());
    put(one, "alone", b"from b");
    // It does not wait for a scan, which comes once an hour.
    wait_until("it is there", Duration::from_secs(20), || {
        active.text_of(1, "alone") == "from b"
    });
    active.wait_equal(1);
    let stands = |at: usize| {
        let got = get(&active.s3[at], &format!("/{BUCKET}/alone")).is(200);
        got.headers["x-amz-replication-status"].clone()
    };
    assert_eq!([0, 1].map(stands), ["COMPLETED", "REPLICA"]);

    active.part(true);
    put(one, "written-twice", b"earlier");
    put(other, "written-twice", b"later");
    put(one, "then-removed", b"to be removed");
    remove(other, "then-removed");
    remove(one, "then-written");
    put(other, "then-written", b"after the removal");
    assert!(tag(one, "alone", 1) && tag(other, "alone", 2));
    // What was answered is sent whatever happens.
    for site in sites {
        site.kill();
        site.start();
    }
    assert_eq!(active.text_of(0, "written-twice"), "earlier");
    assert_eq!(active.text_of(0, "then-removed"), "to be removed");
    let head = one.ask("HEAD", &format!("/{BUCKET}/written-twice"), &[]);
    assert_eq!(head.is(200).headers["x-amz-replication-status"], "PENDING");
    wait_until("three versions and tags wait", TIME_MAX, || {
        rows(sites[0], "PENDING").len() == 4
    });
    assert!(rows(sites[0], "REPLICA").is_empty());
    active.part(false);
    active.wait_equal(7);
    for at in [0, 1] {
        assert_eq!(active.text_of(at, "written-twice"), "later");
        assert_eq!(active.text_of(at, "then-removed"), "none");
        assert_eq!(active.text_of(at, "then-written"), "after the removal");
        let tags = get(&active.s3[at], &format!("/{BUCKET}/alone?tagging"));
        assert_eq!(tags.text().matches("<Value>2</Value>").count(), 1);
    }
    // Of each pair one came where the other was later already: three, at the second site.
    let settled = sites.map(|site| site.metric("sealift_conflicts_settled_total"));
    assert_eq!(settled, [Some(0), Some(3)]);

    let [ours, theirs] = sites.map(|site| {
        let completed = rows(site, "COMPLETED");
        (completed.len(), rows(site, "REPLICA").len())
    });
    // Tags are a change of their own.
    assert_eq!((ours, theirs), ((4 + 1, 3), (3 + 1, 4)));
    let told = sites[0].run(&["explain", &format!("{BUCKET}/alone")]);
    told.tells(&["written here"]);
    for site in sites {
        assert_eq!(rows(site, "SKIPPED").len(), 0, "not unless it is asked for");
        site.run(&["verify", "--deep"]).exits(0);
    }
}

#[test]
fn two_regions_that_are_parted_and_killed_list_the_same_in_the_end() {
    let is_full = std::env::var("SEALIFT_TEST_FULL").is_ok_and(|full| full == "1");
    let given = std::env::var("SEALIFT_TEST_SEED").ok();
    let seed = given.map_or_else(
        || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            now.as_nanos() as u64
        },
        |seed| seed.parse().unwrap(),
    );
    println!(
        "SEALIFT_TEST_SEED={seed} cargo test --release -p sealift --test sealift -- \
         parted_and_killed"
    );
    let active = Active::new();
    let mut chance = Chance(seed);
    let mut versions = 0;
    for round in 0..if is_full { 12 } else { 2 } {
        for step in 0..if is_full { 60 } else { 20 } {
            versions += write(&active, &mut chance);
            match chance.below(16) {
                0 | 1 => active.part(true),
                2 => active.part(false),
                // At any moment of what it sends.
                3 if step % 2 == 0 => {
                    let site = active.sites()[chance.below(2) as usize];
                    site.kill();
                    site.start();
                }
                4 => active.ways.iter().for_each(|way| {
                    way.cut();
                }),
                _ => thread::sleep(Duration::from_millis(chance.below(60))),
            }
        }
        active.part(false);
        println!("round {round}: {versions} versions");
        active.wait_equal(versions);
    }
    for site in active.sites() {
        let failed = rows(site, "FAILED");
        assert!(failed.is_empty(), "{failed:?}");
        site.run_in_time(TIME_MAX, &["verify", "--deep"]).exits(0);
    }
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = mix(self.0);
        self.0 % end
    }
}

/// Writes something to one of a few keys at one of both; how many versions that makes.
fn write(active: &Active, chance: &mut Chance) -> usize {
    let s3 = &active.s3[chance.below(2) as usize];
    let key = format!("k{}", chance.below(4));
    let mut content = |size: u64| Content::new(chance.below(1 << 30), size).bytes();
    let (small, large, parts) = (
        content(1_000),
        content((1 << 20) + 7),
        content((6 << 20) + 1),
    );
    match chance.below(12) {
        0..=4 => put(s3, &key, &small),
        5 => put(s3, &key, &large),
        6 => put_in_parts(s3, &key, &parts),
        7 | 8 => remove(s3, &key),
        _ => {
            tag(s3, &key, chance.below(1_000));
            return 0;
        }
    }
    1
}
