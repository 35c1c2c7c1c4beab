//! Users of the machine who are not the agent's own: each right is theirs by a row of the
//! configuration, and what is refused is on record.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::support::{BUCKET, Pair, Ran, run_as, tell, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);
/// A user and a group that own nothing here.
const USER: u32 = 64_001;
const GROUP: u32 = 64_002;

/// What an operator needs: the program, a configuration that says where the socket is, and
/// a place for what they get.
struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    fn new(pair: &Pair) -> Self {
        let dir = tempfile::tempdir().unwrap();
        open_to_all(dir.path());
        let sockets = dir.path().join("run");
        fs::create_dir(&sockets).unwrap();
        open_to_all(&sockets);
        let socket = sockets.join("operators.sock");
        let text = fs::read_to_string(pair.b.config()).unwrap();
        let text = text.replacen("[admin]", &format!("[admin]\nsocket = {socket:?}"), 1);
        assert!(text.contains("operators.sock"), "{text}");
        write_file(&pair.b.config(), text);
        let desk = Self { dir };
        let minimal = format!(
            "[site]\ndata_dir = {:?}\n[admin]\nsocket = {socket:?}\n",
            pair.dir().join("b/data")
        );
        write_file(&desk.config(), minimal);
        fs::set_permissions(desk.config(), fs::Permissions::from_mode(0o644)).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_sealift"), desk.program()).unwrap();
        desk
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("sealift.toml")
    }

    fn program(&self) -> PathBuf {
        self.dir.path().join("sealift")
    }

    /// A name in a directory of the operator's own; there is a passphrase behind one of them.
    fn own(&self, name: &str) -> String {
        let home = self.dir.path().join("home");
        fs::create_dir_all(&home).unwrap();
        let path = home.join(name);
        if name == "passphrase" {
            write_file(&path, "correct horse battery\n");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            chown(&path, Some(USER), Some(GROUP)).unwrap();
        }
        chown(&home, Some(USER), Some(GROUP)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Runs a command as an operator.
    fn run(&self, arguments: &[&str]) -> Ran {
        let config = self.config();
        let arguments = [arguments, &["-c", config.to_str().unwrap()]].concat();
        run_as(USER, GROUP, &self.program(), &arguments)
    }
}

fn open_to_all(directory: &Path) {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Adds a row, and has it taken up.
fn allow(pair: &Pair, row: &str) {
    let mut text = fs::read_to_string(pair.b.config()).unwrap();
    text.push_str(&format!("\n[[operator]]\n{row}\n"));
    write_file(&pair.b.config(), text);
    pair.b.run(&["reload"]).exits(0);
}

#[test]
fn an_operator_may_do_what_a_row_allows_and_nothing_else() {
    if !rustix::process::geteuid().is_root() {
        tell("operators were left out: it takes the superuser to be somebody else");
        return;
    }
    let pair = Pair::new();
    write_file(&pair.source.join("one"), "content");
    let desk = Desk::new(&pair);
    pair.start();
    pair.wait_completed(1, TIME_MAX);
    let (object, alias) = (format!("{BUCKET}/one"), format!("alias/{BUCKET}"));
    pair.b.rows(&["keys", "create", "alias/other"]);
    pair.b
        .rows(&["keys", "create", "alias/shared", "--multi-region"]);

    // Each right alone, with what it allows.
    let (out, secret) = (desk.own("keys.backup"), desk.own("passphrase"));
    let rights: [(&str, &[&str]); 11] = [
        ("look", &["ls", BUCKET]),
        ("open", &["get", &object]),
        (
            "seal",
            &["keys", "rewrap", "--to", &alias, "--bucket", BUCKET],
        ),
        ("create", &["keys", "create", "alias/made"]),
        ("rotate", &["keys", "rotate", &alias]),
        ("retire", &["keys", "enable", &alias]),
        // Where it leads already there is nothing to do.
        ("replicate", &["keys", "promote", "alias/shared"]),
        (
            "backup",
            &["keys", "backup", &out, "--passphrase-file", &secret],
        ),
        ("read-audit", &["audit", "tail"]),
        ("administer", &["reload"]),
        ("administer", &["endpoint", "promote", BUCKET]),
    ];
    for (right, command) in &rights {
        let refused = desk.run(command).exits(12);
        refused.tells(&["no [[operator]] allows uid:64001", "hint:"]);
        pair.b.audits("access.denied", &["uid:64001", right]);
    }
    for (right, command) in &rights {
        // To be wrapped anew, a record is opened first.
        let more = if *right == "seal" { ", \"open\"" } else { "" };
        let every = if *right == "backup" { ", \"*\"" } else { "" };
        allow(
            &pair,
            &format!(
                "user = \"{USER}\"\nactions = [\"{right}\"{more}]\n\
                 keys = [\"{alias}\", \"alias/made\", \"alias/shared\"{every}]\nbuckets = [\"{BUCKET}\"]"
            ),
        );
        desk.run(command).exits(0);
        if *right == "rotate" {
            // Under another name it would be covered by other rows.
            let set = ["keys", "set", "alias/made"];
            let renamed = [&set[..], &["--alias", "alias/elsewhere"]].concat();
            desk.run(&renamed).exits(12).tells(&["administer"]);
            let described = [&set[..], &["--description", "of theirs"]].concat();
            desk.run(&described).exits(0);
        }
    }
    // Not for another key or every bucket, and not another right.
    desk.run(&["keys", "rotate", "alias/other"]).exits(12);
    desk.run(&["ls"]).exits(12).tells(&["every bucket"]);
    desk.run(&["keys", "create", "alias/more"]).exits(12);

    // A group counts as well; the agent's own user needs no row.
    allow(
        &pair,
        &format!("group = \"{GROUP}\"\nactions = [\"look\"]\nbuckets = [\"*\"]"),
    );
    desk.run(&["ls"]).exits(0);
    pair.b.run(&["ls"]).exits(0);
    pair.b.stop();
    // A stopped site is its owner's: the data directory is closed to everybody else.
    let refused = desk.run(&["status"]);
    assert_ne!(refused.code, 0);
}

#[test]
fn objects_of_a_region_that_a_bucket_or_a_rule_does_not_allow_go_nowhere() {
    let pair = Pair::new();
    write_file(&pair.source.join("one"), "content");
    let key = format!("key = \"alias/{BUCKET}\"");
    let kept = format!("{key}\nallowed_regions = [\"region-c\"]");
    pair.b.edit(&key, &kept);
    pair.start();
    let failed = || pair.a.rows(&["ls", "--status", "FAILED"]);
    crate::support::wait_until("the object is refused", TIME_MAX, || !failed().is_empty());
    assert_eq!(failed()[0]["reason"], "ResidencyDenied");
    let explained = pair.a.run(&["explain", &format!("{BUCKET}/one")]);
    explained.tells(&["ResidencyDenied", "keeps objects of region region-a out"]);
    pair.b.audits("access.denied", &["ResidencyDenied"]);
    // Allowed, it comes by itself.
    pair.b.edit("region-c", "region-a");
    pair.b.run(&["reload"]).exits(0);
    pair.wait_completed(1, TIME_MAX);

    // A rule that would send them out of its regions is refused where it is written.
    pair.a
        .edit("[[rule]]", "[[rule]]\nallowed_regions = [\"region-c\"]");
    let refused = pair.a.run(&["reload"]).exits(78);
    refused.tells(&["rule.allowed_regions", "ResidencyDenied", "region-b"]);
}
