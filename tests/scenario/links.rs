//! Connections that are made, how they do and why they are gone can be seen.

use std::time::Duration;

use crate::support::{Content, Pair, wait_until};

const TIME_MAX: Duration = Duration::from_secs(60);

#[test]
fn connections_are_seen_while_they_stand_and_when_they_are_lost() {
    let pair = Pair::new();
    Content::new(1, 20_000_000).write(&pair.source.join("one"));
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    // Control, and two for data over a line this short.
    wait_until("three connections are seen", TIME_MAX, || {
        pair.a.metric("sealift_links") == Some(3)
    });
    pair.b.shows("sealift_links", 3);
    pair.a.shows("sealift_links_opened_total", 3);
    pair.a.logs(&["a link is there", "peer=b"]);
    wait_until("they were looked at after the transfer", TIME_MAX, || {
        pair.a
            .metric("sealift_link_delivery_bytes_per_second")
            .unwrap_or(0)
            > 100_000
    });
    let rtt = pair.a.metric("sealift_link_rtt_microseconds").unwrap();
    assert!(rtt > 0 && rtt < 1_000_000, "{rtt}");
    let peer = &pair.a.status()["peers"][0];
    assert_eq!(peer["links"], 3, "{peer}");
    assert!(peer["rtt_micros"].as_u64() > Some(0), "{peer}");
    assert!(peer["retransmits"].is_u64(), "{peer}");
    // Within a machine nothing is paced.
    let congestion = peer["congestion"][0].as_str().unwrap();
    assert!(["cubic", "reno"].contains(&congestion), "{peer}");
    pair.a
        .run(&["status"])
        .exits(0)
        .tells(&["RTT", " ms", "SENT AGAIN"]);

    assert!(pair.b.kill());
    pair.a
        .logs(&["a link is lost", "peer=b", "reason=PeerUnreachable"]);
    wait_until("all three are counted", TIME_MAX, || {
        pair.a.metric("sealift_links_ended_total") == Some(3)
    });
    pair.a.shows("sealift_links", 0);
    // What was sent again on them stays counted.
    assert!(pair.a.metric("sealift_link_retransmits_total").is_some());
}
