//! `sealift certs`: what a site says of its certificate, and what it does about it.

use crate::support::Pair;

#[test]
fn a_site_whose_certificate_is_renewed_by_others_says_when_it_is_due() {
    let pair = Pair::new();
    // On a stopped agent and on a running one.
    let stopped = pair.b.run(&["certs", "needs-renewal", "--json"]).exits(5);
    pair.b
        .run(&["certs", "renew"])
        .exits(5)
        .tells(&["only a running agent"]);
    pair.b.start();
    let running = pair.b.run(&["certs", "needs-renewal", "--json"]).exits(5);
    let of = |text: String| -> serde_json::Value { serde_json::from_str(&text).unwrap() };
    let (stopped, running) = (of(stopped.text()), of(running.text()));
    assert_eq!(
        (&stopped["due"], &stopped["serial"]),
        (&running["due"], &running["serial"])
    );
    assert_eq!(running["source"], "files");
    pair.b
        .run(&["certs", "list"])
        .exits(0)
        .tells(&["SOURCE", "files"]);
    pair.b
        .run(&["certs", "renew"])
        .exits(2)
        .tells(&["certificates from files"]);
}
