//! A pair of which `b` issues certificates, and what is asked of it.

use std::{fs, time::Duration};

use super::{
    content::write_file,
    pair::{BUCKET, Pair, free_address},
    program::{Ran, run, text},
    site::Site,
    wait::wait_until,
};

/// `b` issues, too.
pub(crate) fn with_issuer(life_secs: u64) -> (Pair, String) {
    let pair = Pair::new();
    let address = free_address();
    let directory = pair.authority();
    let section = format!(
        "[ca]\ndirectory = \"{}\"\nlisten = \"{address}\"\nlife_secs = {life_secs}\n\n[keys]",
        directory.display()
    );
    pair.b.edit("[keys]", &section);
    (pair, address)
}

/// A token for an agent.
pub(crate) fn token(pair: &Pair, name: &str, issuer: &str, ttl: &str) -> String {
    token_for(pair, name, issuer, &["--ttl", ttl])
}

/// The same with other flags.
pub(crate) fn token_for(pair: &Pair, name: &str, issuer: &str, flags: &[&str]) -> String {
    let directory = pair.authority();
    let region = format!("region-{name}");
    let made = [
        "ca",
        "token",
        "--dir",
        directory.to_str().unwrap(),
        "--region",
        &region,
        "--name",
        name,
        "--issuer",
        issuer,
        "--issuer-identity",
        &pair.b.identity,
        "--json",
    ];
    let ran = run([&made, flags].concat());
    let row: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    row["token"].as_str().unwrap().to_owned()
}

/// Takes away all that `init` makes but the private key.
pub(crate) fn forget_site(site: &Site) {
    for file in ["identity.crt", "bundle.json", "root.key", "sealift.toml"] {
        let _ = fs::remove_file(site.dir.join(file));
    }
    let _ = fs::remove_dir_all(site.data());
}

/// Makes the site of `a` anew, with a token.
pub(crate) fn init(pair: &Pair, token: &str) -> Ran {
    forget_site(&pair.a);
    fs::remove_file(pair.a.dir.join("identity.key")).unwrap();
    write_file(&pair.a.dir.join("token"), token);
    init_again(pair)
}

/// Once more, with the key it has.
pub(crate) fn init_again(pair: &Pair) -> Ran {
    let file = pair.a.dir.join("token");
    let peer = format!("b,{},bundle.json,{}", pair.b.identity, pair.listen);
    let source = format!("{BUCKET}={}", pair.source.display());
    pair.a.run(&[
        "init",
        "--token-file",
        file.to_str().unwrap(),
        "--data-dir",
        "data",
        "--admin",
        &pair.a.admin,
        "--peer",
        &peer,
        "--source",
        &source,
    ])
}

/// Of the certificate that a site shows.
pub(crate) fn serial(site: &Site) -> String {
    let row = &site.rows(&["certs", "list"])[0];
    row["serial"].as_str().unwrap().to_owned()
}

/// From now on a site renews at the issuer, `b`.
pub(crate) fn renewed_by_b(pair: &Pair, site: &Site, issuer: &str) {
    let line = format!(
        "issuer = {{ address = \"{issuer}\", identity = \"{}\" }}",
        pair.b.identity
    );
    let bundle = "trust_bundle = \"bundle.json\"";
    site.edit(bundle, &format!("{bundle}\n{line}"));
}

/// The first step of a CA roll-over.
pub(crate) fn announce(pair: &Pair, more: &[&str]) -> Ran {
    let passphrase = text(&pair.authority().with_extension("passphrase"));
    let announce = [
        "ca",
        "rollover",
        "announce",
        "--passphrase-file",
        &passphrase,
    ];
    pair.b.run(&[&announce, more].concat())
}

/// Takes a further one as soon as it is not refused; how often it was.
#[track_caller]
pub(crate) fn step(pair: &Pair, step: &str, time_max: Duration) -> u32 {
    let mut refused = 0;
    wait_until(&format!("the step {step} is taken"), time_max, || {
        let ran = pair.b.run(&["ca", "rollover", step]);
        assert!([0, 5].contains(&ran.code), "{}", ran.said());
        refused += u32::from(ran.code == 5);
        ran.code == 0
    });
    refused
}
