use rusqlite::Connection;
use sealift_terms::{Audit, AuditKind, AuditRecord};

use super::catalog_at;
use crate::{AuditLog, Flaw, conformance::sample::at, merkle};

/// The flaws found after `sql` was run on a log of ten leaves.
async fn flaws_after(sql: &str) -> Vec<Flaw> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.db");
    let log = catalog_at(&path).audit();
    for n in 0..10 {
        let record = AuditRecord::new(at(n), AuditKind::KeyUnwrapped, "agent").with("n", n);
        log.record(record).unwrap();
    }
    log.flush().await.unwrap();
    assert_eq!(log.verify().await.unwrap().flaws, []);
    let db = Connection::open(&path).unwrap();
    db.create_scalar_function(
        "leaf_hash",
        1,
        rusqlite::functions::FunctionFlags::SQLITE_UTF8,
        |call| Ok(merkle::leaf_hash(call.get::<String>(0)?.as_bytes()).to_vec()),
    )
    .unwrap();
    db.execute_batch(sql).unwrap();
    log.verify().await.unwrap().flaws
}

#[tokio::test]
async fn an_altered_leaf_is_named() {
    let flaws =
        flaws_after("UPDATE audit SET json = replace(json, 'agent', 'nobody') WHERE leaf = 3")
            .await;
    assert_eq!(
        flaws,
        [
            Flaw::LeafAltered { index: 3 },
            Flaw::HeadDiffers { stored: 10 }
        ]
    );
}

#[tokio::test]
async fn a_leaf_altered_with_its_hash_is_found_by_the_head() {
    let flaws = flaws_after(
        "UPDATE audit SET json = replace(json, 'agent', 'nobody') WHERE leaf = 3;
         UPDATE audit SET hash = leaf_hash(json)",
    )
    .await;
    assert_eq!(flaws, [Flaw::HeadDiffers { stored: 10 }]);
}

#[tokio::test]
async fn leaves_taken_out_or_off_the_end_are_found() {
    let flaws = flaws_after("DELETE FROM audit WHERE leaf = 4").await;
    assert_eq!(
        flaws,
        [
            Flaw::LeafMissing { index: 4 },
            Flaw::HeadDiffers { stored: 10 }
        ]
    );
    let flaws = flaws_after("DELETE FROM audit WHERE leaf > 7").await;
    assert_eq!(flaws, [Flaw::HeadDiffers { stored: 10 }]);
}

#[tokio::test]
async fn leaves_that_changed_places_are_found() {
    let flaws = flaws_after(
        "UPDATE audit SET leaf = 99 WHERE leaf = 1; UPDATE audit SET leaf = 1 WHERE leaf = 2;
         UPDATE audit SET leaf = 2 WHERE leaf = 99",
    )
    .await;
    assert_eq!(
        flaws,
        [
            Flaw::LeafMisplaced { index: 1 },
            Flaw::LeafMisplaced { index: 2 },
            Flaw::HeadDiffers { stored: 10 }
        ]
    );
}
