//! What scanners of TLS find at an agent that listens.

use std::fs;

use serde_json::Value;

use crate::support::{Pair, run_program};

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
