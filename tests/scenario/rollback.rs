//! A receiver that comes back from an older copy of its data is noticed by both sides and
//! refilled by itself.

use std::{fs, path::Path, time::Duration};

use crate::support::{BUCKET, Content, PART, Pair, wait_until};

const TIME_MAX: Duration = Duration::from_secs(60);

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().unwrap().is_dir() {
            true => copy(&path, &to),
            false => drop(fs::copy(path, to).unwrap()),
        }
    }
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
}

#[test]
fn a_receiver_that_was_set_back_is_noticed_by_both_and_refilled() {
    let pair = Pair::new();
    let write = |n: u64, size| Content::new(n, size).write(&pair.source.join(format!("k{n}")));
    write(1, 5000);
    write(2, PART + 9);
    pair.start();
    pair.wait_completed(2, TIME_MAX);
    pair.b.stop();
    let older = pair.dir().join("older");
    copy(&pair.b.data(), &older);
    pair.b.start();
    for n in 3..9 {
        write(n, if n % 2 == 0 { 7000 } else { 2 * PART });
    }
    pair.wait_completed(8, TIME_MAX);
    pair.b.stop();
    fs::remove_dir_all(pair.b.data()).unwrap();
    copy(&older, &pair.b.data());
    assert_eq!(pair.b.rows(&["ls", BUCKET]).len(), 2);
    pair.b.start();
    pair.a.audits(
        "replica.rolled_back",
        &["\"peer\":\"b\"", "\"transfers\":\"6\""],
    );
    pair.b.audits("replica.rolled_back", &["\"peer\":\"a\""]);
    pair.a.logs(&["came back with an older copy", "queued=6"]);
    pair.b
        .logs(&["ERROR", "this site came back with an older copy"]);
    wait_until("what was lost is there again", TIME_MAX, || {
        pair.b.rows(&["ls", BUCKET]).len() == 8
    });
    pair.wait_completed(8, TIME_MAX);
    pair.a.stop();
    pair.b.stop();
    pair.verify_both(TIME_MAX);
}
