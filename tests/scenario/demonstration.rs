//! `sealift demo`: everything at once, as a newcomer sees it.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Content, Ran, Turn, roomy_dir, run, run_in_time};

const TIME_MAX: Duration = Duration::from_secs(180);

/// The last line of standard output, which must have the documented fields.
fn summary(ran: &Ran) -> Value {
    let summary = ran.rows().pop().unwrap();
    let fields = [
        "objects",
        "bytes",
        "completed",
        "failed",
        "verified",
        "seconds",
        "tls",
        "workdir",
    ];
    for field in fields {
        assert!(!summary[field].is_null(), "no {field}: {ran}");
    }
    assert_eq!(summary["tls"]["version"], "TLSv1.3", "{ran}");
    assert_eq!(summary["tls"]["suite"], "TLS13_AES_256_GCM_SHA384", "{ran}");
    assert_eq!(summary["tls"]["group"], "X25519MLKEM768", "{ran}");
    summary
}

#[test]
fn the_demonstration_replicates_and_verifies_a_directory() {
    let _turn = Turn::beside();
    let dir = tempfile::tempdir().unwrap();
    let (source, workdir) = (dir.path().join("source"), dir.path().join("work"));
    let sizes = [0, 1, 5000, 70_000, 1 << 20, (1 << 20) + 1, 9 << 20];
    for (seed, size) in sizes.into_iter().enumerate() {
        Content::new(seed as u64, size).write(&source.join(format!("d/{size}")));
    }
    let (source, workdir) = (source.to_str().unwrap(), workdir.to_str().unwrap());
    let ran = run_in_time(TIME_MAX, ["demo", source, "--workdir", workdir, "--json"]).exits(0);
    let summary = summary(&ran);
    for field in ["objects", "completed", "verified"] {
        assert_eq!(summary[field], sizes.len(), "{field}: {ran}");
    }
    assert_eq!(summary["bytes"], sizes.iter().sum::<u64>(), "{ran}");
    assert_eq!(summary["failed"], 0, "{ran}");

    // What it leaves are ordinary sites.
    for site in ["a", "b"] {
        let config = format!("{workdir}/{site}/sealift.toml");
        run(["status", "-c", &config]).exits(0).tells(&["stopped"]);
        run(["verify", "--deep", "-c", &config]).exits(0);
        let listed = run(["ls", "--json", "-c", &config]).exits(0).rows();
        assert_eq!(listed.len(), sizes.len());
    }
}

#[test]
fn the_demonstration_for_people_tells_what_was_negotiated_and_what_to_do_next() {
    let _turn = Turn::beside();
    let dir = tempfile::tempdir().unwrap();
    let (source, workdir) = (dir.path().join("source"), dir.path().join("work"));
    Content::new(1, 100).write(&source.join("only"));
    let (source, workdir) = (source.to_str().unwrap(), workdir.to_str().unwrap());
    let ran = run_in_time(TIME_MAX, ["demo", source, "--workdir", workdir]).exits(0);
    let negotiated = "TLSv1.3, TLS13_AES_256_GCM_SHA384, X25519MLKEM768";
    ran.tells(&[
        "COMPLETED",
        "verified",
        negotiated,
        "version 1",
        "sealift status -c",
    ]);
}

#[test]
#[ignore = "large: run by cargo xtask test"]
fn the_demonstration_passes_on_its_own_set() {
    let _turn = Turn::alone();
    let dir = tempfile::tempdir_in(roomy_dir(2 << 30)).unwrap();
    let workdir = dir.path().join("work");
    let workdir = workdir.to_str().unwrap();
    let ran = run_in_time(TIME_MAX, ["demo", "--workdir", workdir, "--json"]).exits(0);
    let summary = summary(&ran);
    let objects = summary["objects"].as_u64().unwrap();
    assert!(objects >= 200, "{ran}");
    assert_eq!(summary["verified"], objects, "{ran}");
    println!("{summary}");
}
