//! A bucket on one server is the same on another, to a program that knows of no sealift:
//! whatever ends agents, slows servers down or silences them, and is switched off meanwhile.

use std::{
    collections::BTreeMap,
    thread::sleep,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use sealift_fake_kms::{FakeS3, OWNER, Put, Trouble};

use super::{
    bucket_store::{SEALED, into_bucket, server},
    buckets::from_bucket,
    endpoint::{key, row},
};
use crate::support::{
    BUCKET, PART, Pair, S3, Site, free_address, mix, run_program_in_time, wait_until,
};

const TIME_MAX: Duration = Duration::from_secs(300);
const SILENCE: Duration = Duration::from_secs(3);
/// One of so many requests is answered with 503.
const THROTTLED_EACH: u32 = 7;
/// One of so many keys has a version, or a delete marker, of the time without versioning.
const UNVERSIONED_EACH: u64 = 100;
/// What an agent may have of memory, however much there is to send.
const MEMORY_MAX: u64 = 256 << 20;

/// How many keys there are, and how long anything may take.
fn sizes() -> (u64, Duration) {
    match std::env::var("SEALIFT_TEST_FULL").is_ok_and(|full| full == "1") {
        true => (100_000, 30 * TIME_MAX),
        false => (2_000, TIME_MAX),
    }
}

/// What applications do to a bucket: what is made depends on the number of the key and of
/// the version alone.
struct Applications<'a> {
    server: &'a FakeS3,
    made: u64,
}

impl Applications<'_> {
    fn key(number: u64) -> String {
        match number % 8 {
            0 => format!("docs/{number:06}.txt"),
            1 => format!("docs/{number:06}"),
            2 => format!("a b/ä+%&<>'\"/{number}"),
            3 => format!("~!*()=@:,;$?#[]|^`{{}}\\/{number}"),
            4 => format!("folder {number}/"),
            5 => format!("日本語/🗝/{number}"),
            6 => format!("{number:06}//double"),
            _ => format!("UPPER/lower/{number:06}.tar.gz"),
        }
    }

    fn size(number: u64, version: u64) -> u64 {
        let word = mix(number * 8 + version);
        match number {
            11 => 2 * PART + word % 1000,
            222 => PART - version,
            333 => (1 << 20) + version - 1,
            _ if word.is_multiple_of(50) => word % 300_000,
            _ => word % 2_500,
        }
    }

    fn put(&mut self, number: u64, version: u64) {
        let size = Self::size(number, version);
        let words =
            (0..size.div_ceil(8)).flat_map(|n| mix(number << 40 ^ version << 32 ^ n).to_le_bytes());
        let bytes: Vec<u8> = words.take(size as usize).collect();
        let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &bytes);
        let mut headers = vec![
            ("x-amz-checksum-type", "FULL_OBJECT".to_owned()),
            (
                "x-amz-checksum-crc64nvme",
                STANDARD.encode(sum.to_be_bytes()),
            ),
        ];
        // As S3 says of what was put without one.
        let mut media_type = "binary/octet-stream".to_owned();
        if !number.is_multiple_of(3) {
            media_type = format!("text/x-{version}; charset=utf-8");
            headers.push(("x-amz-meta-owner", format!("owner {number}, \"me\"")));
            headers.push(("x-amz-meta-empty", String::new()));
        }
        headers.push(("content-type", media_type));
        if number.is_multiple_of(5) {
            headers.push(("cache-control", "no-store, max-age=5".to_owned()));
            headers.push((
                "content-disposition",
                "attachment; filename=\"a b\"".to_owned(),
            ));
            headers.push(("content-encoding", "gzip".to_owned()));
            headers.push(("content-language", "de, en".to_owned()));
            headers.push(("expires", "Fri, 27 Nov 2026 03:56:07 GMT".to_owned()));
        }
        let count = if number % 3 == 1 { 1 + number % 10 } else { 0 };
        let tags =
            (0..count).map(|n| (format!("tag {n} ü+=:/@"), format!("<{version} & {number}>")));
        let headers = headers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        let put = Put {
            bytes: bytes.into(),
            headers: headers.collect(),
            tags: tags.collect::<BTreeMap<_, _>>(),
            kms_key: None,
        };
        self.server.put(&Self::key(number), put);
        self.made += 1;
    }

    fn remove(&mut self, number: u64) {
        self.server.remove(&Self::key(number));
        self.made += 1;
    }

    /// A version of each of these keys, of every seventh one a delete marker.
    fn change(&mut self, keys: impl Iterator<Item = u64>, version: u64) {
        for number in keys {
            match (number + version) % 7 {
                0 => self.remove(number),
                _ => self.put(number, version),
            }
        }
    }
}

fn completed(pair: &Pair) -> u64 {
    pair.a.transfers("COMPLETED").0
}

/// Waits until `holds`, and asks the less often the longer that may take: it is asked by
/// running the program.
fn wait_long(what: &str, time_max: Duration, mut holds: impl FnMut() -> bool) {
    wait_until(what, time_max, || {
        let is_so = holds();
        if !is_so {
            sleep(time_max / 3_000);
        }
        is_so
    });
}

/// Waits until that many are completed; ends an agent then, and starts it again.
fn killed_at(pair: &Pair, site: &Site, objects: u64, time_max: Duration) {
    wait_long("there is something to lose", time_max, || {
        completed(pair) >= objects
    });
    holds_memory(site);
    assert!(site.kill());
    site.start();
}

/// Waits for what the sender says of its source.
fn says(pair: &Pair, reason: Option<&str>, time_max: Duration) {
    wait_long(&format!("the source says {reason:?}"), time_max, || {
        pair.a.status()["sources"][0]["reason"].as_str() == reason
    });
}

/// Holds the memory of an agent, in the life that it is in, against what it may have.
fn holds_memory(site: &Site) {
    let peak = site.memory_peak();
    println!("{}: {} MiB of memory at most", site.name, peak >> 20);
    assert!(peak < MEMORY_MAX, "{}: {peak} bytes of memory", site.name);
}

/// Agents, servers and the bucket itself fail while it is filled.
fn with_trouble(
    pair: &Pair,
    source: &FakeS3,
    store: &FakeS3,
    (keys, time_max): (u64, Duration),
) -> u64 {
    let both = |trouble| {
        source.trouble(trouble);
        store.trouble(trouble);
    };
    let mut by = Applications {
        server: source,
        made: 0,
    };
    by.change(0..keys, 1);
    by.change(0..keys, 2);
    both(Trouble::ThrottledEach(THROTTLED_EACH));
    pair.start();
    for (site, part) in [(&pair.b, 1), (&pair.a, 2), (&pair.b, 3), (&pair.a, 4)] {
        killed_at(pair, site, keys * part / 5, time_max);
    }
    by.change((0..keys).filter(|number| number % 2 == 0), 3);
    wait_long("the last agent has begun again", time_max, || {
        completed(pair) > keys
    });
    both(Trouble::Silent);
    sleep(SILENCE);
    // Whoever asks an agent gets an answer, whatever the servers do.
    assert!(completed(pair) > keys && pair.b.status().is_object());
    both(Trouble::ThrottledEach(THROTTLED_EACH));

    source.set_versioning("Suspended");
    says(pair, Some("SrcVersioningDisabled"), time_max);
    for number in (0..keys).step_by(UNVERSIONED_EACH as usize) {
        match number % (2 * UNVERSIONED_EACH) {
            0 => by.put(number + 3, 4),
            _ => by.remove(number + 3),
        }
    }
    source.set_versioning("Enabled");
    says(pair, None, time_max);
    by.change((0..keys).filter(|number| number % 2 == 1), 3);
    by.made
}

#[test]
#[ignore = "needs boto3, which cargo xtask test installs"]
fn a_bucket_is_the_same_on_another_server_whatever_went_wrong_between_them() {
    let (keys, time_max) = sizes();
    let pair = Pair::new();
    let (source, store) = (FakeS3::start(BUCKET, None), server());
    from_bucket(&pair, &source.url(), "");
    into_bucket(&pair, &store.url(), SEALED);
    let reader = key(&pair, "app", &free_address());
    let listen = format!("[endpoint]\nlisten = \"{}\"\n", reader.address);
    pair.b
        .configure(&format!("{listen}{}", row("app", BUCKET, "get\", \"list")));
    let begun = Instant::now();
    let made = with_trouble(&pair, &source, &store, (keys, time_max));
    wait_long("everything is replicated", time_max, || {
        let count = |status| pair.a.transfers(status).0;
        assert_eq!((count("FAILED"), count("SKIPPED")), (0, 0));
        (count("COMPLETED"), count("PENDING")) == (made, 0)
    });
    println!("{made} changes of {keys} keys in {:.0?}", begun.elapsed());
    for server in [&source, &store] {
        let calls = server.calls_in_share();
        assert!(
            calls > 10 * THROTTLED_EACH,
            "only {calls} calls, too few to be throttled"
        );
        server.trouble(Trouble::None);
    }
    let begun = Instant::now();
    compare(&source, &reader, time_max);
    println!("compared in {:.0?}", begun.elapsed());
    for site in [&pair.a, &pair.b] {
        holds_memory(site);
    }
}

/// A program that knows of no sealift compares what both list, say and have.
fn compare(source: &FakeS3, replica: &S3, time_max: Duration) {
    let python = format!("PYTHONPATH={}", std::env::var("SEALIFT_BOTO3").unwrap());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/s3_parity.py");
    let (one, other) = (source.url(), format!("http://{}", replica.address));
    let arguments = [
        &python,
        "python3",
        script,
        &one,
        OWNER.0,
        OWNER.1,
        BUCKET,
        &other,
        &replica.id,
        &replica.secret,
        BUCKET,
    ];
    let compared = run_program_in_time(time_max, "env", &arguments, &[0]);
    assert!(compared.text().contains(" 0 differences"), "{compared}");
}
