use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use sealift_terms::{Audit, AuditKind, AuditRecord, Reason, limits};

use super::{catalog_at, journal_at};
use crate::{
    AuditLog, Journal, Refusal, Settlement, TransferOutcome,
    conformance::sample::{at, peer, put},
};

#[tokio::test]
async fn the_queue_of_audit_records_is_bounded_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.db");
    let log = catalog_at(&path).audit();
    // Another process's lock holds the writer up, so that records pile up.
    let db = Connection::open(&path).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let record = || AuditRecord::new(at(1), AuditKind::SessionOpened, "agent");
    let mut taken = 0;
    let refused = loop {
        match log.record(record()) {
            Ok(()) => taken += 1,
            Err(refused) => break refused,
        }
        assert!(taken < 3 * limits::AUDIT_QUEUE_MAX);
    };
    assert!(taken >= limits::AUDIT_QUEUE_MAX);
    assert_eq!(log.ready().unwrap_err(), refused);
    assert!(refused.cause.contains("wait"), "{refused}");
    db.execute_batch("ROLLBACK").unwrap();
    log.flush().await.unwrap();
    log.ready().unwrap();
    log.record(record()).unwrap();
    log.flush().await.unwrap();
    assert_eq!(log.head().await.unwrap().size, taken as u64 + 1);
}

#[tokio::test]
async fn networks_above_the_limit_are_counted_together() {
    let dir = tempfile::tempdir().unwrap();
    let log = catalog_at(&dir.path().join("catalog.db")).audit();
    let networks = u32::try_from(limits::REFUSAL_NETWORKS_MAX).unwrap();
    for n in 0..networks + 500 {
        let source = Some(Ipv4Addr::from(n << 8).into());
        let refusal = Refusal {
            at: at(1),
            kind: AuditKind::SessionRefused,
            cause: "flood".to_owned(),
            source,
            details: BTreeMap::new(),
        };
        log.refused(refusal).unwrap();
    }
    log.settle_refusals(at(1000)).unwrap();
    log.flush().await.unwrap();
    // One each, one for the first of the rest, one for the 499 after it.
    let size = log.head().await.unwrap().size;
    assert_eq!(size, u64::from(networks) + 2);
    let last = log.leaves(size - 1, 1).await.unwrap();
    assert!(
        last[0].json.contains(r#""count":"499""#),
        "{}",
        last[0].json
    );
}

#[tokio::test]
async fn evidence_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal_at(&dir.path().join("journal.db"));
    journal.record(vec![put("k", 1, 1)], at(1)).await.unwrap();
    let leased = journal.lease(&peer("b"), 1, at(1)).await.unwrap();
    let outcome = TransferOutcome::Failed {
        reason: Reason::PolicyDenied,
        evidence: "ü".repeat(limits::EVIDENCE_BYTES_MAX),
    };
    let id = leased[0].id;
    journal
        .settle(vec![Settlement {
            id,
            at: at(2),
            outcome,
        }])
        .await
        .unwrap();
    let row = journal.transfer(id).await.unwrap().unwrap();
    assert_eq!(row.evidence.unwrap().len(), limits::EVIDENCE_BYTES_MAX);
}

#[tokio::test]
async fn an_unwritable_log_refuses_until_it_can_be_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.db");
    let log = catalog_at(&path).audit();
    let db = Connection::open(&path).unwrap();
    db.execute_batch("ALTER TABLE audit RENAME TO elsewhere")
        .unwrap();
    let record = || AuditRecord::new(at(1), AuditKind::SessionOpened, "agent");
    log.record(record()).unwrap();
    assert!(log.flush().await.is_err());
    let refused = log.record(record()).unwrap_err();
    assert!(refused.cause.contains("audit"), "{refused}");
    db.execute_batch("ALTER TABLE elsewhere RENAME TO audit")
        .unwrap();
    log.flush().await.unwrap();
    log.record(record()).unwrap();
    log.flush().await.unwrap();
    assert_eq!(log.head().await.unwrap().size, 2, "the first was kept");
}

#[tokio::test]
async fn a_steady_stream_of_records_is_written_without_anybody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = catalog_at(&dir.path().join("catalog.db"));
    let log = catalog.audit();
    let begun = Instant::now();
    // More often than records wait for company.
    while log.head().await.unwrap().size == 0 {
        let record = AuditRecord::new(at(1), AuditKind::KeyUnwrapped, "agent");
        log.record(record).unwrap();
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "nothing is written"
        );
        std::thread::sleep(Duration::from_millis(4));
    }
}
