//! An authority is backed up, lost, and made again.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use crate::support::{Pair, run};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn an_authority_that_was_lost_issues_again_from_its_backup() {
    let pair = Pair::new();
    let (ca, file) = (pair.authority(), pair.dir().join("ca.backup"));
    let secret = ca.with_extension("passphrase");
    let (dir, out, secret) = (text(&ca), text(&file), text(&secret));
    let backup = [
        "ca",
        "backup",
        "--dir",
        dir,
        "--out",
        out,
        "--passphrase-file",
        secret,
    ];
    let check = ["check", "--offline", "--ca", dir];
    let words = ["warn  ca backup", "in no backup", "sealift ca backup --dir"];
    pair.b.run(&check).exits(0).tells(&words);
    run(backup).exits(0).tells(&["9 files"]);
    let words = ["ok    ca backup", "is in a verified backup"];
    pair.b.run(&check).exits(0).tells(&words);
    // What changed since is in no backup.
    let bundle = fs::read(ca.join("bundle.json")).unwrap();
    fs::write(ca.join("bundle.json"), [&bundle[..], b"\n"].concat()).unwrap();
    pair.b.run(&check).exits(0).tells(&["warn  ca backup"]);
    fs::write(ca.join("bundle.json"), bundle).unwrap();
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );

    let restore = [
        "ca",
        "restore",
        "--dir",
        dir,
        "--from",
        out,
        "--passphrase-file",
        secret,
    ];
    run(restore)
        .exits(1)
        .tells(&["holds a certificate authority already"]);
    fs::rename(&ca, pair.dir().join("lost")).unwrap();
    let wrong = pair.dir().join("wrong");
    fs::write(&wrong, "battery staple\n").unwrap();
    fs::set_permissions(&wrong, fs::Permissions::from_mode(0o600)).unwrap();
    let refused = [
        "ca",
        "restore",
        "--dir",
        dir,
        "--from",
        out,
        "--passphrase-file",
        text(&wrong),
    ];
    run(refused).exits(12).tells(&["does not open the backup"]);
    assert!(!ca.exists());
    run(restore).exits(0).tells(&["region-a, region-b"]);
    pair.b.run(&check).exits(0).tells(&words);
    pair.issue("b", &pair.b.dir);
    pair.b.run(&["check", "--offline"]).exits(0);
}
