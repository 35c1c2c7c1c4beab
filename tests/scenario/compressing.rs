//! What a slow line carries is compressed where that pays, and nothing else is.

use std::time::Duration;

use crate::support::{Content, Pair, Proxy, write_file};

const TIME_MAX: Duration = Duration::from_secs(90);
const MIB: u64 = 1 << 20;
const COMPRESSED: &str = "sealift_compressed_bytes_total";

/// Lines as in a log: they come down to a small part of their length.
fn log(lines: usize) -> Vec<u8> {
    let line = |n: usize| {
        format!(
            "2026-11-26T17:{:02}:{:02}Z request {n} took {} ms\n",
            n / 60 % 60,
            n % 60,
            n % 97
        )
    };
    (0..lines).map(line).collect::<String>().into_bytes()
}

/// A pair whose line carries four megabytes a second and connection.
fn slow_pair() -> (Pair, Proxy) {
    let pair = Pair::new();
    let proxy = Proxy::to(&pair.listen);
    proxy.slow_down(4_000_000);
    pair.a.edit(&pair.listen, &proxy.address);
    (pair, proxy)
}

#[test]
fn a_slow_line_carries_less_than_what_arrives_over_it() {
    let (pair, proxy) = slow_pair();
    let text = log(700_000);
    let length = text.len() as u64;
    write_file(&pair.source.join("log"), &text);
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    let (passed, compressed) = (proxy.passed(), pair.a.metric(COMPRESSED).unwrap());
    println!("{length} bytes arrived, {passed} passed, {compressed} were compressed");
    // The beginning goes as it is, until the line is known to be slow.
    assert!(passed < length * 2 / 3, "{passed} of {length}");
    assert!(compressed > length / 3, "{compressed} of {length}");
    assert!(
        pair.a
            .metric("sealift_compression_saved_bytes_total")
            .unwrap()
            > length / 3
    );
    pair.verify_both(TIME_MAX);
    let got = pair.get("log", "out");
    assert!(std::fs::read(got).unwrap() == text, "it is another one");
}

#[test]
fn what_does_not_get_shorter_travels_as_it_is() {
    let (pair, proxy) = slow_pair();
    let noise = Content::new(3, 24 * MIB);
    noise.write(&pair.source.join("noise"));
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    assert_eq!(pair.a.metric(COMPRESSED), Some(0));
    let passed = proxy.passed();
    assert!(passed > 24 * MIB && passed < 25 * MIB, "{passed}");
    assert!(noise.is_in(&pair.get("noise", "out")));
}

#[test]
fn a_site_that_wants_none_gets_none() {
    let (pair, proxy) = slow_pair();
    pair.b.configure("[limits]\ncompression = \"off\"");
    let text = log(300_000);
    write_file(&pair.source.join("log"), &text);
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    assert_eq!(pair.a.metric(COMPRESSED), Some(0));
    assert!(proxy.passed() > text.len() as u64);
}

#[test]
fn under_a_low_limit_text_is_sent_faster_than_the_limit() {
    let pair = Pair::new();
    let proxy = Proxy::to(&pair.listen);
    pair.a.edit(&pair.listen, &proxy.address);
    pair.a.edit(
        "# [peer.limit]\n# rate_bytes_per_sec = 12500000",
        "[peer.limit]\nrate_bytes_per_sec = 1000000",
    );
    let text = log(400_000);
    write_file(&pair.source.join("log"), &text);
    for n in 0..20 {
        write_file(&pair.source.join(format!("small-{n}")), &text[..50_000]);
    }
    pair.start();
    pair.wait_completed(21, TIME_MAX);
    let (length, passed) = (text.len() as u64 + 20 * 50_000, proxy.passed());
    println!("{length} bytes arrived, {passed} passed");
    assert!(passed < length / 2, "{passed} of {length}");
    pair.a.shows(COMPRESSED, length);
    pair.verify_both(TIME_MAX);
}
