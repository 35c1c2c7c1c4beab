//! What was done so long ago that the journal has little of it left.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use rusqlite::Connection;
use sealift_fake_kms::{AZURE_ACCOUNT, AzurePut, FakeAzure, FakeS3};

use super::{
    buckets::{from_bucket, put, versions},
    clouds::from_container,
    rollback::copy,
};
use crate::support::{BUCKET, Pair, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(120);
const DAY_MS: i64 = 86_400_000;

/// Lets 31 days go by for what the journal of `a` has settled; so many rows are left of it.
fn age(pair: &Pair, rows: i64) {
    pair.a.stop();
    let journal = Connection::open(pair.a.data().join("journal.db")).unwrap();
    journal.busy_timeout(Duration::from_secs(10)).unwrap();
    let sql = "UPDATE transfers SET updated_at = updated_at - ?1, recorded_at = recorded_at - ?1";
    journal.execute(sql, [31 * DAY_MS]).unwrap();
    pair.a.start();
    wait_until("old rows are folded away", TIME_MAX, || {
        let sql = "SELECT count(*) FROM transfers";
        journal
            .query_row(sql, [], |row| row.get::<_, i64>(0))
            .unwrap()
            == rows
    });
}

/// Gives `b` back the data that it had in `older`.
fn set_back(pair: &Pair, older: &std::path::Path) {
    pair.b.stop();
    fs::remove_dir_all(pair.b.data()).unwrap();
    copy(older, &pair.b.data());
    pair.b.start();
}

fn keep_copy(pair: &Pair) -> std::path::PathBuf {
    pair.b.stop();
    let older = pair.dir().join("older");
    copy(&pair.b.data(), &older);
    pair.b.start();
    older
}

#[test]
fn a_receiver_from_a_copy_older_than_the_journals_rows_keeps_nothing_that_was_deleted_since() {
    let pair = Pair::new();
    for key in ["deleted", "kept"] {
        write_file(&pair.source.join(key), key);
    }
    pair.start();
    pair.wait_completed(2, TIME_MAX);
    let older = keep_copy(&pair);
    fs::remove_file(pair.source.join("deleted")).unwrap();
    pair.wait_completed(3, TIME_MAX);
    age(&pair, 2);
    set_back(&pair, &older);
    wait_until("what was deleted is so again", TIME_MAX, || {
        pair.b.rows(&["ls", BUCKET]).len() == 1
    });
    pair.verify_both(TIME_MAX);
}

#[test]
fn a_destination_that_lost_everything_long_ago_is_filled_from_the_journal_and_the_buckets_listing()
{
    let pair = Pair::new();
    let server = FakeS3::start(BUCKET, None);
    let queue = format!("queue_url = \"{}\"", server.queue_url());
    from_bucket(&pair, &server.url(), &queue);
    pair.start();
    let older = keep_copy(&pair);
    let of = |key: &str, contents: &[&str]| -> Vec<String> {
        let contents = contents.iter();
        let ids = contents.map(|content| match *content {
            "removed" => server.remove(key),
            content => server.put(key, put(content.into())),
        });
        ids.collect()
    };
    let wanted = BTreeMap::from([
        ("gone", of("gone", &["one", "removed"])),
        ("k", of("k", &["one", "two", "three"])),
        ("tagged", of("tagged", &["one"])),
        ("undeleted", of("undeleted", &["one", "removed"])),
    ]);
    pair.wait_completed(8, TIME_MAX);
    let class = BTreeMap::from([("class".to_owned(), "a".to_owned())]);
    server.tag("tagged", &wanted["tagged"][0], class);
    pair.wait_completed(9, TIME_MAX);
    age(&pair, 5);
    set_back(&pair, &older);
    let there = |key: &str| -> Vec<String> {
        let rows = versions(&pair, key);
        let ids = rows
            .iter()
            .map(|row| row["version"].as_str().unwrap().to_owned());
        ids.collect()
    };
    wait_until("all that is the latest is there again", TIME_MAX, || {
        wanted
            .iter()
            .all(|(key, ids)| there(key) == [ids.last().unwrap().clone()])
    });
    assert_eq!(versions(&pair, "tagged")[0]["facts"]["tags"]["class"], "a");

    // What is the latest again goes above the marker that was sent meanwhile.
    server.purge("undeleted", &wanted["undeleted"][1]);
    let object = format!("{BUCKET}/undeleted");
    wait_until("what was undeleted can be read", TIME_MAX, || {
        pair.b.run(&["get", &object]).code == 0
    });
    assert_eq!(pair.b.run(&["get", &object]).exits(0).text(), "one");

    // The rest is in the bucket, and nowhere in the journal.
    let batch = ["batch", "replicate", BUCKET, "--versions"];
    let dry = pair.a.run(&[&batch[..], &["--dry-run", "--json"]].concat());
    let planned: BTreeSet<_> = dry
        .exits(0)
        .rows()
        .iter()
        .map(|row| row["version"].to_string())
        .collect();
    assert!(
        planned.contains(&format!("\"{}\"", wanted["k"][0])),
        "{planned:?}"
    );
    pair.a.run_in_time(TIME_MAX, &batch).exits(0);
    for key in ["gone", "k", "tagged"] {
        let ids: Vec<_> = wanted[key].iter().rev().cloned().collect();
        assert_eq!(there(key), ids, "{key}");
    }
    pair.verify_both(TIME_MAX);
}

/// Whatever it is said to be: an account without versions tells nobody.
#[test]
fn a_blob_of_azure_that_is_undeleted_long_after_it_was_sent_can_be_read_again() {
    for keeps_versions in [true, false] {
        let pair = Pair::new();
        let server = FakeAzure::start(BUCKET, false, None);
        let url = server.url();
        from_container(&pair, &url, (AZURE_ACCOUNT, "sig=x"), keeps_versions);
        let blob = |text: &'static str| AzurePut {
            bytes: text.into(),
            ..AzurePut::default()
        };
        server.put("undeleted", blob("one"));
        server.put("kept", blob("two"));
        pair.start();
        pair.wait_completed(2, TIME_MAX);
        server.remove("undeleted");
        pair.wait_completed(3, TIME_MAX);
        age(&pair, 2);
        let object = format!("{BUCKET}/undeleted");
        pair.b.run(&["get", &object]).exits(10);
        server.undelete("undeleted");
        wait_until("what was undeleted can be read", TIME_MAX, || {
            pair.b.run(&["get", &object]).code == 0
        });
        assert_eq!(pair.b.run(&["get", &object]).exits(0).text(), "one");
        pair.verify_both(TIME_MAX);
    }
}
