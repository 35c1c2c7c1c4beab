//! The receiver's disk holds no plaintext, at no time.

use std::time::Duration;

use crate::support::{Content, Pair, Plaintext, files_below, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);

/// Objects of all kinds of resting: in packs, in files of their own, of several parts.
fn write_objects(pair: &Pair) {
    for size in [24, 100, 5000, 20_000, 300_000, 1 << 20, 3 << 20, 20 << 20] {
        Content::new(size, size).write(&pair.source.join(format!("random/{size}")));
    }
    // Text, as people have it: every line tells its place.
    let line = |n: u32| {
        format!(
            "entry {n:06}: {} coins were paid to the lighthouse keeper\n",
            n * 37
        )
    };
    let text: String = (0..20_000).map(line).collect();
    write_file(&pair.source.join("text/ledger.txt"), &text);
    write_file(&pair.source.join("text/small.txt"), line(777_777));
}

#[track_caller]
fn assert_none(plaintext: &Plaintext, pair: &Pair, when: &str) {
    for site in [&pair.a, &pair.b] {
        let found = plaintext.find_below(&site.data());
        assert!(
            found.is_none(),
            "plaintext in {}'s data {when}: {found:?}",
            site.name
        );
    }
}

#[test]
fn no_24_bytes_of_any_object_are_found_in_the_data_directories() {
    let pair = Pair::new();
    write_objects(&pair);
    let plaintext = Plaintext::below(&pair.source);
    assert!(
        plaintext.find_below(&pair.source).is_some(),
        "the search finds nothing"
    );
    pair.start();
    let objects = files_below(&pair.source).len() as u64;
    wait_until("all is completed", TIME_MAX, || {
        assert_none(&plaintext, &pair, "while it is replicated");
        pair.a.transfers("COMPLETED").0 == objects
    });
    assert_none(&plaintext, &pair, "when all is completed");
    pair.b.run(&["verify", "--deep"]).exits(0);
    pair.get("random/20971520", "out");
    assert_none(&plaintext, &pair, "after reading");
    pair.stop();
    assert_none(&plaintext, &pair, "when the agents are stopped");
}

#[test]
fn no_plaintext_is_left_behind_by_agents_that_are_killed_in_a_transfer() {
    let pair = Pair::new();
    write_objects(&pair);
    for n in 0..6 {
        Content::new(1000 + n, 40 << 20).write(&pair.source.join(format!("large/{n}")));
    }
    let plaintext = Plaintext::below(&pair.source.join("large/3").with_file_name(""));
    pair.start();
    wait_until("objects are on their way", TIME_MAX, || {
        pair.b.metric("sealift_received_bytes_total") > Some(60 << 20)
    });
    pair.b.kill();
    pair.a.kill();
    assert_none(&plaintext, &pair, "after the agents were killed");
    let left = files_below(&pair.b.data()).values().sum::<u64>();
    assert!(
        left > 20 << 20,
        "only {left} bytes were there to be searched"
    );
}

#[test]
fn user_metadata_and_checksums_are_not_in_the_clear_in_the_databases() {
    let pair = Pair::new();
    let content = Content::new(77, 100_000);
    content.write(&pair.source.join("object"));
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    pair.stop();
    let checksum = crc64_nvme(&content.bytes()).to_be_bytes();
    let turned: Vec<u8> = checksum.iter().rev().copied().collect();
    let hex = checksum
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>();
    for path in files_below(&pair.b.data()).into_keys() {
        let bytes = std::fs::read(&path).unwrap();
        for needle in [&checksum[..], &turned, hex.as_bytes()] {
            let found = bytes.windows(needle.len()).any(|window| window == needle);
            assert!(!found, "the checksum stands in {}", path.display());
        }
    }
}

/// CRC-64/NVME, bit by bit: an implementation of its own.
fn crc64_nvme(bytes: &[u8]) -> u64 {
    const POLYNOMIAL: u64 = 0x9a6c_9329_ac4b_c9b5;
    !bytes.iter().fold(!0_u64, |crc, byte| {
        (0..8).fold(crc ^ u64::from(*byte), |crc, _| {
            (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg())
        })
    })
}

#[test]
fn the_checksum_searched_for_is_the_standard_one() {
    assert_eq!(crc64_nvme(b"123456789"), 0xae8b_1486_0a79_9888);
}
