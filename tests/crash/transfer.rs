//! `kill -9` in the middle of a large object.

use std::time::Duration;

use crate::support::{Content, PART, Pair, Site, roomy_dir, wait_until};

const SIZE: u64 = 2 << 30;
const TIME_MAX: Duration = Duration::from_secs(180);
/// Connections of a session, with parts in flight on each; and what was received or
/// recorded, and not yet acknowledged, when the lights went out.
const REPEATED_MAX: u64 = (2 * 2 + 4) * PART;

struct Killed {
    pair: Pair,
    content: Content,
}

/// A transfer that is half done.
fn half_done() -> Killed {
    let pair = Pair::alone_in(&roomy_dir(2 * SIZE));
    let content = Content::new(11, SIZE);
    content.write(&pair.source.join("large"));
    pair.start();
    wait_until("half of it was received", TIME_MAX, || {
        pair.b.metric("sealift_received_bytes_total") > Some(SIZE / 2)
    });
    let (completed, _) = pair.a.transfers("COMPLETED");
    assert_eq!(completed, 0, "it was completed before anyone was killed");
    Killed { pair, content }
}

impl Killed {
    fn ends_well(&self, taken: Duration) {
        println!("completed {taken:.1?} after the restart");
        self.pair.verify_both(TIME_MAX);
        let out = self.pair.get("large", "out");
        assert!(self.content.is_in(&out));
        let versions = self.pair.b.rows(&["ls", "--versions"]);
        assert_eq!(versions.len(), 1, "{versions:?}");
    }
}

/// What `site` counted and nobody else: the other one was killed.
fn assert_not_repeated(site: &Site, metric: &str) {
    let bytes = site.metric(metric).unwrap();
    let repeated = bytes.saturating_sub(SIZE);
    println!("{} MiB of 2048 MiB were sent again", repeated >> 20);
    assert!(bytes >= SIZE, "{bytes}");
    assert!(repeated <= REPEATED_MAX, "{repeated} bytes were sent again");
}

#[test]
#[ignore = "large: run by cargo xtask test"]
fn a_receiver_killed_in_a_transfer_of_2_gib_goes_on_where_it_was() {
    let killed = half_done();
    let pair = &killed.pair;
    pair.b.kill();
    pair.b.start();
    let taken = pair.wait_completed(1, TIME_MAX);
    assert_not_repeated(&pair.a, "sealift_sent_bytes_total");
    killed.ends_well(taken);
}

#[test]
#[ignore = "large: run by cargo xtask test"]
fn a_sender_killed_in_a_transfer_of_2_gib_goes_on_where_it_was() {
    let killed = half_done();
    let pair = &killed.pair;
    pair.a.kill();
    pair.a.start();
    let taken = pair.wait_completed(1, TIME_MAX);
    assert_not_repeated(&pair.b, "sealift_received_bytes_total");
    killed.ends_well(taken);
}
