//! Two regions or three that applications write in, each replicated to all others: all list the
//! same in the end, whatever happened between.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use super::{
    endpoint::{TIME_MAX, row},
    purging::{GRANT, PURGES},
};
use crate::support::{
    Answered, BUCKET, Content, Pair, Proxy, S3, Site, free_address, mix, read_answer, text,
    wait_until,
};

/// Sites of as many regions that dial each other through something that can be shut.
struct Active<const N: usize> {
    /// All but the first, which is `b` of the pair.
    others: Vec<Site>,
    ways: Vec<Proxy>,
    s3: [S3; N],
    // Dropped last: its directory is everybody's.
    pair: Pair,
}

/// Their names: each is of a region of its own.
const NAMES: [&str; 3] = ["b", "e", "g"];

impl<const N: usize> Active<N> {
    /// Sites that send what is written there to all others, by a rule with these settings.
    fn new(rule: &str) -> Self {
        let pair = Pair::new();
        let joined = NAMES[1..N].iter().map(|name| pair.beside(name));
        let (others, mut listens): (Vec<_>, Vec<_>) = joined.unzip();
        listens.insert(0, pair.listen.clone());
        let sites: [&Site; N] = std::array::from_fn(|at| match at {
            0 => &pair.b,
            at => &others[at - 1],
        });
        let mut ways = Vec::new();
        for (at, site) in sites.iter().enumerate() {
            for (to, other) in sites.iter().enumerate().filter(|(to, _)| *to != at) {
                let way = Proxy::to(&listens[to]);
                know(site, other, &way.address);
                ways.push(way);
            }
            let named = sites.iter().map(|site| site.name.as_str());
            let peers: Vec<_> = named.filter(|name| *name != site.name).collect();
            // Of three each sends what is written there, and nobody sends it on.
            let replicas = N == 2;
            site.configure(&format!(
                "[[source]]\nbucket = \"{BUCKET}\"\narchive = true\n\
                 [[rule]]\nname = \"around\"\nbucket = \"{BUCKET}\"\npeers = {peers:?}\n\
                 replicas = {replicas}\n{rule}\n"
            ));
        }
        let s3 = sites.map(opened);
        for site in sites {
            site.run(&["check"])
                .tells(&["rules both ways", "neither goes back"]);
            site.start();
            site.run(&["endpoint", "promote", BUCKET]).exits(0);
        }
        Self {
            others,
            ways,
            s3,
            pair,
        }
    }

    fn sites(&self) -> [&Site; N] {
        std::array::from_fn(|at| match at {
            0 => &self.pair.b,
            at => &self.others[at - 1],
        })
    }

    /// Lets nothing through between any two, or everything.
    fn part(&self, is_parted: bool) {
        self.ways.iter().for_each(|way| way.shut(is_parted));
    }

    /// What applications are told of all versions at a site.
    fn listed(&self, at: usize) -> String {
        get(&self.s3[at], &format!("/{BUCKET}?versions"))
            .is(200)
            .text()
    }

    /// Waits until nothing is left to send, and all list the same `versions`.
    #[track_caller]
    fn wait_equal(&self, versions: usize) {
        wait_until("all sites list the same", TIME_MAX, || {
            let listed: Vec<_> = (0..N).map(|at| self.listed(at)).collect();
            let settled = |site: &&Site| site.transfers("PENDING").0 == 0;
            listed.iter().all(|one| *one == listed[0])
                && listed[0].matches("<VersionId>").count() == versions
                && self.sites().iter().all(settled)
        });
        for (key, version) in versions_in(&self.listed(0)) {
            let path = format!("/{BUCKET}/{key}?versionId={version}");
            let tags = format!("/{BUCKET}/{key}?tagging&versionId={version}");
            let one = get(&self.s3[0], &path);
            let its_tags = tags_in(&get(&self.s3[0], &tags).text());
            for s3 in &self.s3[1..] {
                let other = get(s3, &path);
                assert_eq!(one.status, other.status, "{path}");
                assert!(one.body == other.body, "{path} has other bytes");
                assert_eq!(one.headers.get("etag"), other.headers.get("etag"));
                assert_eq!(its_tags, tags_in(&get(s3, &tags).text()), "{tags}");
            }
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
    let allowed = row(
        "app",
        BUCKET,
        "get\", \"list\", \"put\", \"delete\", \"purge",
    );
    site.configure(&format!(
        "[endpoint]\nlisten = \"{}\"\n{allowed}",
        s3.address
    ));
    s3
}

/// Lets a site dial another one at `address`, and the other bring what is written there.
fn know(site: &Site, other: &Site, address: &str) {
    let config = fs::read_to_string(site.config()).unwrap();
    let known = format!("name = \"{}\"\n", other.name);
    if config.contains(&known) {
        site.edit(&known, &format!("{known}address = \"{address}\"\n"));
        return site.edit(GRANT, PURGES);
    }
    site.configure(&format!(
        "[[peer]]\nname = \"{}\"\nidentity = \"{identity}\"\ntrust_bundle = \"bundle.json\"\n\
         address = \"{address}\"\n[[grant]]\nidentity = \"{identity}\"\n{PURGES}\n\
         bucket = \"{BUCKET}\"\n",
        other.name,
        identity = other.identity
    ));
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
    let active = Active::<2>::new("");
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
    let is_full = is_full();
    parted_and_killed::<2>(if is_full { (12, 60) } else { (2, 20) });
}

#[test]
fn three_regions_that_are_parted_and_killed_list_the_same_in_the_end() {
    parted_and_killed::<3>(if is_full() { (12, 60) } else { (1, 24) });
}

fn is_full() -> bool {
    std::env::var("SEALIFT_TEST_FULL").is_ok_and(|full| full == "1")
}

/// Writes at random while the way is cut here and there and sites are killed, in as many rounds
/// of so many steps.
fn parted_and_killed<const N: usize>((rounds, steps): (usize, usize)) {
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
    let active = Active::<N>::new("");
    let mut chance = Chance(seed);
    let mut versions = 0;
    for round in 0..rounds {
        for step in 0..steps {
            versions += write(&active, &mut chance);
            match chance.below(16) {
                0 => active.part(true),
                1 => active.ways[chance.below(active.ways.len() as u64) as usize].shut(true),
                2 => active.part(false),
                // At any moment of what it sends.
                3 if step % 2 == 0 => {
                    let site = active.sites()[chance.below(N as u64) as usize];
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

#[test]
fn what_is_purged_where_it_was_written_is_purged_in_all_three_regions_and_does_not_come_back() {
    let active = Active::<3>::new("version_deletes = true\npurge_hold_secs = 1");
    for (at, key) in [(0, "k"), (0, "k"), (2, "other")] {
        put(&active.s3[at], key, format!("written at {at}").as_bytes());
    }
    active.wait_equal(3);
    put(&active.s3[1], "k", b"written at 1");
    active.wait_equal(4);
    let oldest_of = |key: &str| {
        let mut all = versions_in(&active.listed(0)).into_iter();
        let last = all.rfind(|(of, _)| of == key).unwrap();
        format!("/{BUCKET}/{key}?versionId={}", last.1)
    };
    let purge = |at: usize, path: &str| send(&active.s3[at], "DELETE", path, b"").is(204);
    // Where it came to it goes from there alone: docs/endpoint.md says so.
    let first = oldest_of("k");
    let (_, id) = first.split_once("versionId=").unwrap();
    purge(1, &first);
    assert!(!active.listed(1).contains(id) && active.listed(0).contains(id));
    for (left, (at, key)) in [(3, (0, "k")), (2, (0, "k")), (1, (2, "other"))] {
        purge(at, &oldest_of(key));
        active.wait_equal(left);
    }
    // It does not come back, whoever looks through everything again.
    for site in active.sites() {
        site.kill();
        site.start();
    }
    put(&active.s3[2], "behind", b"it");
    active.wait_equal(2);
    assert_eq!(active.text_of(0, "k"), "written at 1");
    for site in active.sites() {
        site.run(&["verify", "--deep"]).exits(0);
    }
}

#[test]
fn tags_that_a_region_hears_of_before_their_version_are_taken_once_that_has_come() {
    let active = Active::<3>::new("");
    let sites = active.sites();
    let tags_at = |at: usize| {
        let tags = get(&active.s3[at], &format!("/{BUCKET}/k?tagging"));
        tags_in(&tags.text())
    };
    let have = |value: u64, all: &[usize]| {
        wait_until(&format!("{all:?} have tag {value}"), TIME_MAX, || {
            let tag = format!("<Key>tag</Key><Value>{value}</Value>");
            all.iter()
                .all(|at| tags_at(*at).iter().any(|tags| tags.contains(&tag)))
        });
    };
    // One is away while another writes a version and a third one puts the last tags on it.
    sites[0].kill();
    put(&active.s3[1], "k", b"written at 1");
    assert!(tag(&active.s3[1], "k", 1));
    have(1, &[1, 2]);
    assert!(tag(&active.s3[2], "k", 2));
    have(2, &[1, 2]);
    // It comes back, and who has the version is away.
    sites[1].kill();
    sites[0].start();
    wait_until("the tags wait", TIME_MAX, || {
        let waits = rows(sites[2], "PENDING");
        waits.iter().any(|row| row["reason"] == "DstObjectDamaged")
    });
    sites[1].start();
    active.wait_equal(1);
    have(2, &[0, 1, 2]);
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = mix(self.0);
        self.0 % end
    }
}

/// Writes something to one of a few keys at one of them; how many versions that makes.
fn write<const N: usize>(active: &Active<N>, chance: &mut Chance) -> usize {
    let s3 = &active.s3[chance.below(N as u64) as usize];
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
