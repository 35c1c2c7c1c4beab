//! A bucket holds what its quota lets it, and says so; what is beyond that waits.

use std::time::Duration;

use crate::support::{BUCKET, Content, Pair, wait_until};

const TIME_MAX: Duration = Duration::from_secs(60);

#[test]
fn what_is_beyond_a_quota_waits_and_comes_once_it_is_raised() {
    let pair = Pair::new();
    let key = format!("key = \"alias/{BUCKET}\"");
    pair.b.edit(&key, &format!("{key}\nquota_objects = 2"));
    Content::new(1, 700).write(&pair.source.join("one"));
    Content::new(2, 3_000_000).write(&pair.source.join("two"));
    pair.start();
    pair.wait_completed(2, TIME_MAX);
    Content::new(3, 700).write(&pair.source.join("three"));
    wait_until("the third one is explained", TIME_MAX, || {
        let said = pair.a.run(&["explain", &format!("{BUCKET}/three")]).said();
        said.contains("PENDING")
            && said.contains("DstQuotaExceeded")
            && said.contains("its quota is 2")
    });
    assert_eq!(pair.b.rows(&["ls", BUCKET]).len(), 2);
    let bucket = pair.b.status()["buckets"][0].clone();
    assert_eq!(bucket["quota_objects"], 2, "{bucket}");
    assert!(bucket["quota_bytes"].is_null(), "{bucket}");
    // The sender is told that it may try again.
    pair.b.edit(
        "quota_objects = 2",
        "quota_objects = 3\nquota_bytes = 4000000",
    );
    pair.b.run(&["reload"]).exits(0);
    pair.wait_completed(3, TIME_MAX);
    pair.b.edit("quota_bytes = 4000000", "quota_bytes = 0");
    let line = pair.b.line_of("quota_bytes = 0").to_string();
    pair.b
        .run(&["check", "--offline"])
        .exits(78)
        .tells(&["bucket.quota_bytes", &line]);
}
