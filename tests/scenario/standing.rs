//! A session does not outlive the certificates it was begun with.

use std::time::Duration;

use crate::support::{Pair, Site, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);

#[test]
fn links_end_with_the_certificate_and_new_ones_wait_for_another() {
    let pair = Pair::new();
    write_file(&pair.source.join("before"), "in time");
    pair.certify(&pair.a, Duration::from_secs(40));
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    // It moves in time, in vain: there is no fresher certificate. Whichever end looks first
    // closes the last links, and the other hears that they are cut off.
    wait_until("its links are closed", TIME_MAX, || {
        let closed = |site: &Site| site.log().contains("a link is closed peer=");
        closed(&pair.a) || closed(&pair.b)
    });
    for site in [&pair.a, &pair.b] {
        site.audits("session.closed", &[&pair.a.identity]);
    }
    write_file(&pair.source.join("after"), "too late");
    wait_until("the sender says why", TIME_MAX, || {
        !pair.a.status()["peers"][0]["reason"].is_null()
    });
    pair.b.logs(&["connection refused", "expired"]);
    assert_eq!(pair.a.transfers("COMPLETED").0, 1);
    // With another it goes on, without a restart.
    pair.certify(&pair.a, Duration::from_secs(3600));
    pair.a.run(&["reload"]).exits(0);
    pair.wait_completed(2, TIME_MAX);
}

#[test]
fn a_certificate_that_is_replaced_on_disk_is_taken_up_by_itself() {
    let pair = Pair::new();
    write_file(&pair.source.join("before"), "under the first");
    pair.certify(&pair.a, Duration::from_secs(50));
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    let own = |site: &Site| site.rows(&["certs", "list"])[0]["serial"].clone();
    let first = own(&pair.a);
    let peers = &pair.b.rows(&["certs", "list"])[1..];
    assert_eq!(peers[0]["peer"], "a", "{peers:?}");
    assert_eq!(peers[0]["serial"], first, "what a shows is what b sees");
    // Half written: the one that was there stays in force.
    let certificate = pair.a.dir.join("identity.crt");
    std::fs::write(&certificate, "-----BEGIN CERTIFICATE-----\nMIIB").unwrap();
    pair.a.logs(&["cannot be taken up", "identity.crt"]);
    write_file(&pair.source.join("meanwhile"), "under the first, still");
    pair.wait_completed(2, TIME_MAX);
    pair.certify(&pair.a, Duration::from_secs(3600));
    pair.a.audits("certificate.replaced", &[&pair.a.identity]);
    pair.a.shows("sealift_cert_refreshes_total", 2);
    let second = own(&pair.a);
    assert_ne!(second, first);
    // The links that were begun with the first end with it, and nobody has to do anything.
    wait_until("the links of the first are closed", TIME_MAX, || {
        let closed = |site: &Site| site.log().contains("a link is closed");
        closed(&pair.a) || closed(&pair.b)
    });
    write_file(&pair.source.join("after"), "under the second");
    pair.wait_completed(3, TIME_MAX);
    assert_eq!(pair.b.rows(&["certs", "list"])[1]["serial"], second);
    pair.b.stop();
    let stopped = pair.b.rows(&["certs", "list"]);
    assert_eq!(stopped[0]["identity"], pair.b.identity.as_str());
    assert!(stopped[1]["serial"].is_null(), "nobody is connected");
}
