//! Lines that break all the time, and slow ones, still carry large objects to their end.

use std::time::Duration;

use crate::support::{Content, Pair, Proxy, resting, wait_until};

const TIME_MAX: Duration = Duration::from_secs(300);
const MIB: u64 = 1 << 20;

#[test]
#[ignore = "takes a minute: run by cargo xtask test"]
fn a_large_object_arrives_over_a_line_that_breaks_every_few_hundred_kilobytes() {
    let pair = Pair::new();
    let proxy = Proxy::to(&pair.listen);
    // No part of 8 MiB ever gets through in one piece.
    proxy.slow_down(3_000_000);
    proxy.cut_each_after(400_000);
    pair.a.edit(&pair.listen, &proxy.address);
    let large = Content::new(7, 64 * MIB);
    large.write(&pair.source.join("large"));
    pair.start();
    // Now and then all connections are gone, and with them the session.
    for _ in 0..2 {
        let passed = proxy.passed();
        wait_until("some of it passes", TIME_MAX, || {
            proxy.passed() > passed + 8 * MIB
        });
        proxy.cut();
    }
    let taken = pair.wait_completed(1, TIME_MAX);
    let (passed, cuts) = (proxy.passed(), proxy.cuts());
    let continued = pair.a.metric("sealift_part_bytes_continued_total").unwrap();
    println!("{passed} bytes passed over {cuts} lines in {taken:.1?}, {continued} were kept");
    assert!(cuts > 60, "{cuts}");
    assert!(passed < 64 * MIB * 6 / 5, "{passed} bytes for {}", 64 * MIB);
    assert!(continued > 64 * MIB, "{continued}");
    assert!(pair.a.metric("sealift_parts_interrupted_total").unwrap() > 60);
    pair.verify_both(TIME_MAX);
    assert!(large.is_in(&pair.get("large", "out")));
    // And what nobody asked for any more takes up nothing.
    pair.b.shows("sealift_unfinished_uploads", 0);
    pair.stop();
}

#[test]
fn objects_are_cut_as_the_line_is_slow_and_an_upload_keeps_its_cut() {
    let part_bytes = |pair: &Pair| pair.a.metric("sealift_part_bytes");
    let pair = Pair::new();
    pair.a.edit(
        "# [peer.limit]\n# rate_bytes_per_sec = 12500000",
        "[peer.limit]\nrate_bytes_per_sec = 400000",
    );
    pair.start();
    // Two million in five seconds.
    wait_until("a session in smaller parts", TIME_MAX, || {
        part_bytes(&pair) == Some(MIB)
    });
    let large = Content::new(7, 5 * MIB);
    large.write(&pair.source.join("large"));
    wait_until("two parts are there", TIME_MAX, || {
        pair.a.status()["under_way"][0]["stored"].as_u64() >= Some(2 * MIB)
    });
    // Both begin anew, and the line is fast: the object goes on as it began.
    assert!(pair.a.kill() && pair.b.kill());
    pair.a.edit(
        "rate_bytes_per_sec = 400000",
        "rate_bytes_per_sec = 100000000",
    );
    pair.start();
    wait_until("a session in parts of 8 MiB", TIME_MAX, || {
        part_bytes(&pair) == Some(8 * MIB)
    });
    pair.wait_completed(1, TIME_MAX);
    let (file, _, _) = resting(&pair.b, "large");
    let inspected = pair.b.rows(&["inspect", file.to_str().unwrap()]);
    assert_eq!(inspected[0]["part_bytes"], MIB, "{inspected:?}");
    pair.verify_both(TIME_MAX);
    assert!(large.is_in(&pair.get("large", "out")));
}
