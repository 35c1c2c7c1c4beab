//! Certificates from a server that speaks ACME: pebble, for the protocol.

use std::{fs, time::Duration};

use crate::support::{Pair, Pebble, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);
const NAME: &str = "b.example.org";

/// A pair whose receiver has its certificates from pebble and is known by its DNS name.
fn with_pebble(challenge: &str) -> (Pair, Pebble) {
    let pair = Pair::new();
    let pebble = Pebble::start(&pair.dir().join("pebble"));
    for site in [&pair.a, &pair.b] {
        fs::write(site.dir.join("pebble-root.pem"), pebble.root()).unwrap();
    }
    let (own, acme) = (&pair.b.identity, &pebble);
    pair.b.edit(
        "certificate = \"identity.crt\"",
        &format!("agent = \"{own}\"\ndns_name = \"{NAME}\""),
    );
    let section = format!(
        "[identity.acme]\ndirectory = \"{}\"\nroots_file = \"{}\"\nchallenge = \"{challenge}\"\n\
         listen = \"{}\"\nterms_agreed = true\n\n[keys]",
        acme.directory,
        acme.roots.display(),
        acme.answers,
    );
    pair.b.edit("private_key_file = \"identity.key\"", "");
    pair.b.edit(
        "trust_bundle = \"bundle.json\"",
        "trust_bundle = \"pebble-root.pem\"",
    );
    pair.b.edit("[keys]", &section);
    for file in ["identity.crt", "identity.key"] {
        fs::remove_file(pair.b.dir.join(file)).unwrap();
    }
    let known = format!("trust_bundle = \"pebble-root.pem\"\ndns_name = \"{NAME}\"\naddress");
    pair.a
        .edit("trust_bundle = \"bundle.json\"\naddress", &known);
    (pair, pebble)
}

fn is_replicated(challenge: &str) {
    let (pair, pebble) = with_pebble(challenge);
    pair.b
        .run(&["check", "--offline"])
        .tells(&["certificate", "none yet"]);
    pair.b.start();
    pair.a.start();
    write_file(
        &pair.source.join("one"),
        "to a receiver that is known by its name",
    );
    pair.wait_completed(1, TIME_MAX);
    let row = &pair.b.rows(&["certs", "list"])[0];
    assert_eq!(
        (&row["source"], &row["identity"]),
        (&"acme".into(), &pair.b.identity.as_str().into())
    );
    pair.b.run(&["certs", "needs-renewal"]).exits(5);
    // Another one, while it goes on.
    pair.b.run(&["certs", "renew"]).exits(0);
    let renewed = &pair.b.rows(&["certs", "list"])[0];
    assert_ne!(row["serial"], renewed["serial"]);
    pair.b.audits(
        "certificate.replaced",
        &[renewed["serial"].as_str().unwrap(), "acme"],
    );
    write_file(&pair.source.join("two"), "after it was renewed");
    pair.wait_completed(2, TIME_MAX);
    pair.b.shows("sealift_cert_refreshes_total", 1);
    assert!(pair.b.metric("sealift_cert_renewal_timestamp_seconds") > Some(0));
    // A restart goes on with what it has, and with the same account; so it does when
    // nobody is there to ask.
    let account = fs::read(pair.b.data().join("acme-account")).unwrap();
    pair.b.stop();
    drop(pebble);
    pair.b.start();
    assert_eq!(
        pair.b.rows(&["certs", "list"])[0]["serial"],
        renewed["serial"]
    );
    assert_eq!(
        fs::read(pair.b.data().join("acme-account")).unwrap(),
        account
    );
    write_file(&pair.source.join("three"), "after a restart");
    pair.wait_completed(3, TIME_MAX);
    assert_ne!(pair.b.run(&["certs", "renew"]).code, 0);
    wait_until("the failure is counted", TIME_MAX, || {
        pair.b.metric("sealift_cert_refreshes_total") == Some(1)
    });
}

#[test]
#[ignore = "needs pebble: run by cargo xtask test"]
fn a_receiver_proves_its_name_to_an_acme_server_over_http() {
    is_replicated("http-01");
}

#[test]
#[ignore = "needs pebble: run by cargo xtask test"]
fn a_receiver_proves_its_name_to_an_acme_server_in_a_handshake() {
    is_replicated("tls-alpn-01");
}
