//! What a running agent tidies up by itself.

use std::time::Duration;

use rusqlite::Connection;

use crate::support::{Content, Pair, Site, files_below, wait_until, write_file};

const TIME_MAX: Duration = Duration::from_secs(60);
const DAY_MS: i64 = 86_400_000;

fn database(site: &Site, name: &str) -> Connection {
    let db = Connection::open(site.data().join(name)).unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    db
}

fn count(db: &Connection, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    db.query_row(&sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn rows_of_transfers_done_thirty_days_ago_fold_into_one_per_key() {
    let pair = Pair::new();
    pair.start();
    for (n, text) in ["first", "second", "third"].iter().enumerate() {
        write_file(&pair.source.join("k"), text);
        pair.wait_completed(n as u64 + 1, TIME_MAX);
    }
    pair.a.stop();
    let journal = database(&pair.a, "journal.db");
    assert_eq!(count(&journal, "transfers"), 3);
    let sql = "UPDATE transfers SET updated_at = updated_at - ?1";
    journal.execute(sql, [31 * DAY_MS]).unwrap();
    pair.a.start();
    wait_until("two rows are folded away", TIME_MAX, || {
        count(&journal, "transfers") == 1
    });
    // Nothing of it is sent again.
    assert_eq!(pair.a.transfers("PENDING").0, 0);
}

#[test]
fn an_upload_without_progress_for_seven_days_is_deleted_and_reported() {
    let pair = Pair::new();
    Content::new(1, 512 << 20).write(&pair.source.join("large"));
    pair.start();
    let catalog = database(&pair.b, "catalog.db");
    wait_until("a part of it is durable", TIME_MAX, || {
        count(&catalog, "parts") > 0
    });
    assert!(pair.a.kill());
    pair.b.stop();
    let sql = "UPDATE uploads SET touched_at = touched_at - ?1";
    assert_eq!(catalog.execute(sql, [8 * DAY_MS]).unwrap(), 1);
    let staging = pair.b.data().join("staging");
    assert_eq!(files_below(&staging).len(), 1);
    pair.b.start();
    pair.b.audits("upload.expired", &["large"]);
    wait_until("its file is gone", TIME_MAX, || {
        files_below(&staging).is_empty()
    });
    assert_eq!(count(&catalog, "uploads"), 0);
}
