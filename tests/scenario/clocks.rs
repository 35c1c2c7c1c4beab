//! Clocks that differ and authorities that end are told before anything stops for them.

use std::time::Duration;

use sealift_host::{OsClock, OsRng};
use sealift_identity::RootAuthority;
use sealift_terms::{Clock, Timestamp};

use crate::support::{Pair, Rogue, Site, wait_until};

const TIME_MAX: Duration = Duration::from_secs(30);
const DAY: Duration = Duration::from_secs(86_400);

/// A clock that stands still.
#[derive(Debug)]
struct Held(Timestamp);

impl Clock for Held {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// The evidence of an alarm that is up.
fn alarm(site: &Site, wanted: &str) -> Option<String> {
    let report = site.status();
    let mut alarms = report["alarms"].as_array().into_iter().flatten();
    let found = alarms.find(|alarm| alarm["alarm"] == wanted)?;
    found["evidence"].as_str().map(str::to_owned)
}

#[test]
fn a_peers_clock_that_is_far_away_is_a_metric_and_an_alarm_until_it_is_heard_to_be_right() {
    let pair = Pair::new();
    pair.b.start();
    let rogue = Rogue::with_identity_of(&pair.a);
    let skew = || pair.b.metric("sealift_peer_clock_skew_seconds{peer=\"a\"}");
    assert_eq!(alarm(&pair.b, "clock"), None);
    let ahead = rogue.begins_ahead(Duration::from_secs(7200)).unwrap();
    wait_until("it is seen", TIME_MAX, || {
        skew().is_some_and(|secs| (7100..=7200).contains(&secs))
    });
    let evidence = alarm(&pair.b, "clock").unwrap();
    assert!(evidence.contains("the clock of a is 7"), "{evidence}");
    pair.b.logs(&["the clocks differ", "ClockSkew"]);
    // The session lives, and says nothing more of its time.
    let right = rogue.begins_ahead(Duration::ZERO).unwrap();
    wait_until("it is right", TIME_MAX, || {
        skew().is_some_and(|secs| secs < 60)
    });
    assert_eq!(alarm(&pair.b, "clock"), None);
    drop((ahead, right));
}

#[test]
fn a_root_that_ends_soon_is_a_warning_a_metric_and_an_alarm() {
    let pair = Pair::new();
    assert!(!pair.b.run(&["check"]).said().contains("roots of"));
    // It lives for ten years, of which twenty days are left.
    let made = OsClock.now().minus(DAY * 3630);
    let root = RootAuthority::generate("old.org", &Held(made), &OsRng).unwrap();
    let bundle = root.bundle(1).unwrap();
    bundle.save(&pair.b.dir.join("old.json")).unwrap();
    let identity = "spiffe://old.org/region/r/agent/z";
    pair.b.configure(&format!(
        "[[peer]]\nname = \"z\"\nidentity = \"{identity}\"\ntrust_bundle = \"old.json\"\n"
    ));
    let ends = bundle.life().unwrap().until;
    let check = pair.b.run(&["check"]);
    check.tells(&["roots of z", &format!("ends at {ends}")]);
    pair.b.start();
    let series = format!("sealift_bundle_expiration_timestamp_seconds{{identity=\"{identity}\"}}");
    wait_until("it is shown", TIME_MAX, || {
        pair.b.metric(&series) == u64::try_from(ends.as_secs()).ok()
    });
    let evidence = alarm(&pair.b, "authority").unwrap();
    assert!(evidence.contains("vouches for z"), "{evidence}");
    // Those of the site itself and of its other peer live for years.
    let later = u64::try_from(ends.plus(DAY * 1000).as_secs()).unwrap();
    for metric in [
        format!(
            "sealift_bundle_expiration_timestamp_seconds{{identity=\"{}\"}}",
            pair.b.identity
        ),
        format!(
            "sealift_ca_expiration_timestamp_seconds{{ca=\"{}\"}}",
            pair.b.identity
        ),
    ] {
        assert!(pair.b.metric(&metric) > Some(later), "{metric}");
    }
    assert_eq!(pair.b.status()["alarms"].as_array().unwrap().len(), 1);
}
