use std::time::Instant;

use super::journal_at;
use crate::{
    Journal, NewChange, Settlement, TransferOutcome,
    conformance::sample::{at, peer, put, receipt},
};

/// With no more facts than a directory has.
fn of_a_directory(mut new: NewChange) -> NewChange {
    let facts = &mut new.change.facts;
    facts.metadata.clear();
    facts.tags.clear();
    facts.content_type = None;
    facts.etag = None;
    new
}

/// Run with `--release -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn rows_a_second_in_batches_of_500() {
    const BATCHES: u64 = 200;
    const ROWS: u64 = 500;
    let dir =
        tempfile::tempdir_in(std::env::var("SPEED_DIR").unwrap_or("/tmp".to_owned())).unwrap();
    let path = dir.path().join("journal.db");
    let journal = journal_at(&path);
    let begun = Instant::now();
    for batch in 0..BATCHES {
        let keys = (1..=ROWS).map(|n| batch * ROWS + n);
        let changes = keys.map(|n| of_a_directory(put(&format!("folder/object-{n:08}"), n, 4096)));
        journal.record(changes.collect(), at(1)).await.unwrap();
    }
    let recorded = begun.elapsed();
    let mut settled = 0;
    loop {
        let leased = journal.lease(&peer("b"), 500, at(2)).await.unwrap();
        if leased.is_empty() {
            break;
        }
        settled += leased.len() as u64;
        let settle = leased.iter().map(|transfer| Settlement {
            id: transfer.id,
            at: at(3),
            outcome: TransferOutcome::Completed(Box::new(receipt(&transfer.change.name, 1))),
        });
        journal.settle(settle.collect()).await.unwrap();
    }
    let all = begun.elapsed();
    assert_eq!(settled, BATCHES * ROWS);
    let per_second = |seconds: f64| (settled as f64 / seconds) as u64;
    println!(
        "record {} rows/s, lease and complete {} rows/s, all {} rows/s",
        per_second(recorded.as_secs_f64()),
        per_second((all - recorded).as_secs_f64()),
        per_second(all.as_secs_f64())
    );
    drop(journal);
    let files = [path.clone(), path.with_extension("db-wal")];
    let bytes = files.iter().filter_map(|file| file.metadata().ok());
    let bytes: u64 = bytes.map(|file| file.len()).sum();
    println!(
        "{} bytes a row, what is known of its key included",
        bytes / settled
    );
}
