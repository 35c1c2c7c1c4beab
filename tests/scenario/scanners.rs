//! What scanners of TLS find at an agent that listens.

use std::{
    fs,
    io::Write,
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::support::{Openssl, Pair, Site, free_address, run_program, wait_until};

const SUITES: [&str; 2] = ["TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

#[test]
#[ignore = "needs sslyze, which cargo xtask test installs"]
fn sslyze_finds_tls_1_3_the_configured_suites_and_that_a_certificate_is_required() {
    let pair = Pair::new();
    pair.b.start();
    let out = pair.dir().join("sslyze.json");
    let folder = std::env::var("SEALIFT_SSLYZE").unwrap();
    run_program(
        "env",
        &[
            &format!("PYTHONPATH={folder}"),
            "python3",
            "-m",
            "sslyze",
            "--mozilla_config=disable",
            &format!("--json_out={}", out.display()),
            "--sslv2",
            "--sslv3",
            "--tlsv1",
            "--tlsv1_1",
            "--tlsv1_2",
            "--tlsv1_3",
            "--compression",
            "--heartbleed",
            "--elliptic_curves",
            "--resum",
            "--early_data",
            &pair.listen,
        ],
        &[0],
    );
    let report: Value = serde_json::from_slice(&fs::read(out).unwrap()).unwrap();
    let server = &report["server_scan_results"][0];
    let connection = &server["connectivity_result"];
    assert_eq!(connection["client_auth_requirement"], "REQUIRED");
    assert_eq!(connection["highest_tls_version_supported"], "TLS_1_3");
    let results = &server["scan_result"];
    let accepted = |version: &str| {
        let result = &results[format!("{version}_cipher_suites")];
        assert_eq!(result["status"], "COMPLETED", "{version}");
        let suites = result["result"]["accepted_cipher_suites"].as_array();
        let name = |suite: &Value| suite["cipher_suite"]["name"].as_str().unwrap().to_owned();
        let mut names: Vec<_> = suites.unwrap().iter().map(name).collect();
        names.sort();
        names
    };
    for version in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", "tls_1_2"] {
        assert!(accepted(version).is_empty(), "{version}");
    }
    assert_eq!(accepted("tls_1_3"), SUITES);
    let groups = &results["elliptic_curves"]["result"]["supported_curves"];
    let groups: Vec<_> = groups.as_array().unwrap().iter().collect();
    assert_eq!(groups.len(), 1, "{groups:?}");
    assert_eq!(groups[0]["name"], "X25519");
    assert_eq!(
        results["heartbleed"]["result"]["is_vulnerable_to_heartbleed"],
        false
    );
    assert_eq!(
        results["tls_compression"]["result"]["supports_compression"],
        false
    );
    let resumption = &results["session_resumption"]["result"];
    for how in ["session_id", "tls_ticket"] {
        let found = &resumption[format!("{how}_resumption_result")];
        assert_eq!(*found, "SERVER_IS_TLS_1_3_ONLY", "{how}");
        let resumed = &resumption[format!("{how}_successful_resumptions_count")];
        assert_eq!(*resumed, 0, "{how}");
    }
    // Without a certificate it comes to no session that early data could be sent for.
    let early = &results["tls_1_3_early_data"];
    assert_eq!(early["error_reason"], "CLIENT_CERTIFICATE_NEEDED");
    pair.b.audits("session.refused", &["old_tls"]);
}

#[test]
#[ignore = "needs testssl, which cargo xtask test installs"]
fn testssl_finds_tls_1_3_the_configured_suites_no_resumption_and_no_ticket_for_early_data() {
    let pair = Pair::new();
    pair.b.start();
    let out = pair.dir().join("testssl.json");
    let ran = run_program(
        "testssl",
        &[
            "--quiet",
            "--warnings=off",
            "--color=0",
            &format!("--jsonfile={}", out.display()),
            "--protocols",
            "--server-defaults",
            "--each-cipher",
            &pair.listen,
        ],
        // It counts what it does not like, as a certificate that lives for a day.
        &(0..50).collect::<Vec<_>>(),
    );
    let findings: Value = serde_json::from_slice(&fs::read(out).unwrap()).unwrap();
    let finding = |id: &str| {
        let found = findings
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["id"] == id);
        let found = found.unwrap_or_else(|| panic!("{id} is not among the findings: {ran}"));
        found["finding"].as_str().unwrap().to_owned()
    };
    for old in ["SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2"] {
        assert_eq!(finding(old), "not offered", "{old}");
    }
    assert!(finding("TLS1_3").starts_with("offered"));
    assert_eq!(
        finding("TLS_session_ticket"),
        "no -- no lifetime advertised"
    );
    assert_eq!(finding("sessionresumption_ticket"), "not supported");
    assert!(finding("sessionresumption_ID").contains("no resumption"));
    // Of early data and of certificates of clients testssl says nothing where there is TLS 1.3
    // alone: sslyze tells of the one above, a client with both below.
    let suites = findings.as_array().unwrap().iter().filter_map(|one| {
        let id = one["id"].as_str()?;
        id.starts_with("cipher_x")
            .then(|| one["finding"].as_str().unwrap().to_owned())
    });
    let mut suites: Vec<_> = suites
        .map(|line| line.split_whitespace().last().unwrap().to_owned())
        .collect();
    suites.sort();
    assert_eq!(suites, SUITES);
}

/// A server that takes early data and resumes, until it is dropped.
struct TakesEarlyData(Child);

impl TakesEarlyData {
    fn at(address: &str, site: &Site) -> Self {
        let [certificate, key] = ["identity.crt", "identity.key"].map(|file| site.dir.join(file));
        let server = Command::new("openssl")
            .args(["s_server", "-quiet", "-tls1_3", "-early_data"])
            .args(["-alpn", "sealift/1", "-accept", address, "-cert"])
            .arg(certificate)
            .arg("-key")
            .arg(key)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(server.unwrap())
    }
}

impl Drop for TakesEarlyData {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `openssl s_client` says once it has a session to go on from, which it keeps in a file.
fn session(address: &str, kept: &Path, more: &[&str]) -> String {
    let client = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            address,
            "-tls1_3",
            "-alpn",
            "sealift/1",
        ])
        .arg("-sess_out")
        .arg(kept)
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut client = client.unwrap();
    // It comes behind the handshake.
    wait_until("there is a session", Duration::from_secs(30), || {
        let kept = fs::read_to_string(kept).unwrap_or_default();
        kept.contains("END SSL SESSION PARAMETERS") || client.try_wait().unwrap().is_some()
    });
    let _ = writeln!(client.stdin.take().unwrap(), "Q");
    let said = client.wait_with_output().unwrap();
    String::from_utf8_lossy(&said.stdout).into_owned()
}

#[test]
fn a_client_with_a_session_and_early_data_is_given_neither() {
    let pair = Pair::new();
    pair.b.start();
    let (address, dir) = (free_address(), pair.dir());
    let server = TakesEarlyData::at(&address, &pair.b);
    wait_until("it listens", Duration::from_secs(30), || {
        TcpStream::connect(&address).is_ok()
    });
    let [first, second, early] = ["first", "second", "early"].map(|file| dir.join(file));
    fs::write(&early, "early").unwrap();
    let early = early.to_str().unwrap();
    let full = session(&address, &first, &[]);
    assert!(full.contains("New, TLSv1.3"), "{full}");
    // The session is good for both where they are taken.
    let going_on = ["-sess_in", first.to_str().unwrap(), "-early_data", early];
    let taken = session(&address, &second, &going_on);
    for said in ["Reused, TLSv1.3", "Early data was accepted"] {
        assert!(taken.contains(said), "{said}: {taken}");
    }
    drop(server);
    let ran = Openssl::to(&pair.listen)
        .into_site(&pair.a.dir)
        .with(&["-tls1_3", "-sess_in", second.to_str().unwrap()])
        .with(&["-early_data", early])
        .tries();
    let said = String::from_utf8_lossy(&ran.stdout);
    for wanted in ["New, TLSv1.3", "Early data was rejected"] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert!(!said.contains("Max Early Data"), "a ticket: {said}");
}
