use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use rusqlite::Connection;

use super::{catalog_at, journal_at};
use crate::{
    Catalog, Commit, Enlist, Examined, Journal, LedgerError, MarkKind, NewMark, Settlement,
    SqliteJournal, Touched, TransferOutcome, UploadPart, UploadRow, VersionKind,
    conformance::sample::{
        TestSealer, at, checksum, facts, name, order, peer, put, receipt, record, session, version,
    },
    examine_catalog, examine_journal, key_use_in,
};
use sealift_terms::{ObjectUid, PartIndex, PartSize};

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    drop(journal_at(&path));
    let db = Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let before = fs::read(&path).unwrap();
    let error = SqliteJournal::open(&path, TestSealer::shared())
        .err()
        .unwrap();
    assert!(
        matches!(error, LedgerError::NewerSchema { found: 99, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("run the newer sealift"));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_database_is_looked_at_from_outside_and_what_would_not_open_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.db");
    assert_eq!(examine_catalog(&path).unwrap(), Examined::Nothing);
    fs::write(&path, "").unwrap();
    assert_eq!(examine_catalog(&path).unwrap(), Examined::Nothing);
    let open = catalog_at(&path);
    assert_eq!(
        examine_catalog(&path).unwrap(),
        Examined::Whole { leaves: 0 }
    );
    assert!(matches!(
        examine_journal(&path),
        Err(LedgerError::WrongDatabase { .. })
    ));
    drop(open);
    fs::write(&path, [0xA5; 8192]).unwrap();
    assert!(matches!(
        examine_catalog(&path),
        Err(LedgerError::WrongDatabase { .. })
    ));
}

#[test]
fn what_is_no_journal_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.db");
    drop(catalog_at(&path));
    let text = dir.path().join("text.db");
    fs::write(
        &text,
        "no database at all, but long enough to look at".repeat(90),
    )
    .unwrap();
    let foreign = dir.path().join("foreign.db");
    let db = Connection::open(&foreign).unwrap();
    db.execute_batch("CREATE TABLE t (a)").unwrap();
    drop(db);
    for path in [path, text, foreign] {
        let error = SqliteJournal::open(&path, TestSealer::shared())
            .err()
            .unwrap();
        assert!(
            matches!(error, LedgerError::WrongDatabase { .. }),
            "{}: {error}",
            path.display()
        );
    }
}

#[tokio::test]
async fn a_damaged_file_is_found_when_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let journal = journal_at(&path);
    let changes = (1..500).map(|n| put(&format!("key-{n}"), n, 1)).collect();
    journal.record(changes, at(1)).await.unwrap();
    journal.check_integrity().await.unwrap();
    drop(journal);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    let error = SqliteJournal::open(&path, TestSealer::shared())
        .err()
        .unwrap();
    assert!(matches!(error, LedgerError::Damaged { .. }), "{error}");
}

#[test]
fn files_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.db");
    let _open = catalog_at(&path);
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.path());
    }
}

fn files_of(dir: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        bytes.extend(fs::read(entry.unwrap().path()).unwrap());
    }
    bytes
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test]
async fn no_metadata_tag_or_checksum_lies_in_the_clear() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal_at(&dir.path().join("journal.db"));
    journal
        .record(vec![put("plain-name", 1, 10)], at(1))
        .await
        .unwrap();
    let leased = journal.lease(&peer("b"), 1, at(1)).await.unwrap();
    let outcome = TransferOutcome::Completed(Box::new(receipt(&leased[0].change.name, 1)));
    let id = leased[0].id;
    let settlement = Settlement {
        id,
        at: at(2),
        outcome,
    };
    journal.settle(vec![settlement]).await.unwrap();

    let catalog = catalog_at(&dir.path().join("catalog.db"));
    let tagged = version("plain-name", 1);
    let tags = MarkKind::Tags(facts(0).tags);
    let mark = NewMark {
        name: tagged.name.clone(),
        order: order(2),
        kind: tags,
        object_uid: tagged.object_uid,
        record: tagged.record,
        second_record: None,
        location: tagged.location.clone(),
        sequence: 2,
    };
    let commit = Commit {
        records: vec![record()],
        versions: vec![tagged],
        marks: vec![mark],
        ..Commit::default()
    };
    catalog.commit(commit).await.unwrap();
    let upload = UploadRow {
        uid: ObjectUid([1; 16]),
        record: record().id,
        second_record: None,
        name: name("plain-name", "v7"),
        order: order(7),
        facts: facts(9),
        part_size: PartSize::DEFAULT,
        file: "staged".to_owned(),
        origin: session().sender,
        begun_at: at(1),
        touched_at: at(1),
    };
    let crc64 = u64::from_be_bytes(checksum().value().try_into().unwrap());
    let part = UploadPart {
        uid: upload.uid,
        index: PartIndex(0),
        commitment: [5; 32],
        outer_commitment: None,
        crc64,
    };
    catalog.begin_uploads(vec![upload]).await.unwrap();
    catalog.put_parts(vec![part], at(1)).await.unwrap();

    let bytes = files_of(dir.path());
    assert!(holds(&bytes, b"plain-name"), "names are in the clear");
    let base64 = checksum().value_base64();
    let secrets: [&[u8]; 8] = [
        b"very-private-metadata",
        b"patient-name",
        b"secret-tag-value",
        b"image/x-sample",
        b"etag-in-the-source",
        base64.as_bytes(),
        &crc64.to_be_bytes(),
        &crc64.to_le_bytes(),
    ];
    for secret in secrets {
        assert!(
            !holds(&bytes, secret),
            "{:?}",
            String::from_utf8_lossy(secret)
        );
    }
}

/// As every release before this one left it.
fn without_bytes_of_records(path: &Path) {
    let db = Connection::open(path).unwrap();
    let sql = "ALTER TABLE records DROP COLUMN bytes; DROP TABLE notes; DROP TABLE senders; PRAGMA user_version = 4";
    db.execute_batch(sql).unwrap();
}

#[tokio::test]
async fn bytes_of_key_versions_are_counted_in_a_catalog_of_an_older_release() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.db");
    let catalog = catalog_at(&path);
    let mut deleted = version("c", 3);
    deleted.kind = VersionKind::DeleteMarker;
    let commit = Commit {
        records: vec![record()],
        versions: vec![version("a", 1), version("b", 2), deleted],
        ..Commit::default()
    };
    catalog.commit(commit).await.unwrap();
    let counted = catalog.key_use().await.unwrap();
    assert_eq!((counted[0].objects, counted[0].bytes), (3, 200));
    drop(catalog);
    without_bytes_of_records(&path);
    // Looked at before anything has migrated it.
    let seen = key_use_in(&path).unwrap();
    assert_eq!((seen[0].objects, seen[0].bytes), (3, 0));
    let catalog = catalog_at(&path);
    assert_eq!(catalog.key_use().await.unwrap(), counted);
    assert_eq!(key_use_in(&path).unwrap(), counted);
}

#[tokio::test]
async fn sealed_facts_moved_to_another_row_do_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let journal = journal_at(&path);
    let changes = vec![put("a", 1, 10), put("b", 2, 10)];
    let ids = journal.record(changes, at(1)).await.unwrap();
    let db = Connection::open(&path).unwrap();
    db.execute(
        "UPDATE transfers SET facts = (SELECT facts FROM transfers WHERE id = 1) WHERE id = 2",
        [],
    )
    .unwrap();
    let error = journal.transfer(ids[1]).await.unwrap_err();
    assert!(matches!(error, LedgerError::Facts { .. }), "{error}");
    let sealer = TestSealer::shared();
    let sealed = sealer.seal(b"here", b"facts").unwrap();
    assert!(sealer.open(b"there", &sealed).is_err());
}

/// A catalog as it was before there were two layers.
fn set_back_to_one_layer(path: &Path) {
    let db = Connection::open(path).unwrap();
    for index in [
        "versions_inner",
        "versions_outer",
        "marks_inner",
        "marks_outer",
    ] {
        db.execute_batch(&format!("DROP INDEX {index}")).unwrap();
    }
    for (table, column) in [
        ("versions", "second_record"),
        ("marks", "second_record"),
        ("uploads", "second_record"),
        ("parts", "outer_commitment"),
        ("records", "bytes"),
    ] {
        let sql = format!("ALTER TABLE {table} DROP COLUMN {column}");
        db.execute_batch(&sql).unwrap();
    }
    db.execute_batch("DROP TABLE notes; DROP TABLE senders")
        .unwrap();
    db.pragma_update(None, "user_version", 3).unwrap();
}

#[tokio::test]
async fn a_catalog_from_before_two_layers_is_taken_up_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.db");
    let catalog = catalog_at(&path);
    let commit = Commit {
        records: vec![record()],
        versions: vec![version("k", 1)],
        ..Commit::default()
    };
    catalog.commit(commit).await.unwrap();
    let before = catalog.known(&name("k", "v1")).await.unwrap();
    drop(catalog);
    set_back_to_one_layer(&path);
    let catalog = catalog_at(&path);
    let row = catalog.known(&name("k", "v1")).await.unwrap();
    assert_eq!(row, before);
    assert_eq!(row.unwrap().second_record, None);
}

/// Makes the newest journal one of schema 7.
const OLDER_THAN_8: &str = "DROP INDEX transfers_oldest;
    ALTER TABLE transfers DROP COLUMN of_batch;
    CREATE INDEX transfers_oldest ON transfers (rule, peer, recorded_at) WHERE status = 0;
    PRAGMA user_version = 7;";

#[tokio::test]
async fn what_a_batch_of_an_older_journal_alone_wants_is_not_late() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let journal = journal_at(&path);
    journal.record(vec![put("k", 1, 1)], at(1)).await.unwrap();
    let batch = journal.begin_batch("photos", at(2)).await.unwrap().unwrap();
    let what = Enlist {
        versions: Vec::new(),
        new: vec![put("new", 2, 1)],
    };
    journal.enlist(batch, what, at(0)).await.unwrap();
    drop(journal);
    let db = Connection::open(&path).unwrap();
    db.execute_batch(OLDER_THAN_8).unwrap();
    drop(db);
    let journal = journal_at(&path);
    let counts = journal.counts().await.unwrap();
    assert_eq!((counts.len(), counts[0].objects), (1, 2));
    assert_eq!(counts[0].oldest, Some(at(1)), "not the batch's");
}

#[tokio::test]
async fn a_journal_from_before_scans_were_remembered_knows_what_it_has_scanned() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let journal = journal_at(&path);
    let changes = vec![put("k", 1, 1)];
    journal.record(changes, at(1)).await.unwrap();
    drop(journal);
    let db = Connection::open(&path).unwrap();
    db.execute_batch(OLDER_THAN_8).unwrap();
    db.execute_batch(
        "DROP TABLE scanned; DROP TABLE followed; DROP TABLE intents; DROP TABLE batches;
         DROP TABLE batched",
    )
    .unwrap();
    db.pragma_update(None, "user_version", 2).unwrap();
    drop(db);
    let journal = journal_at(&path);
    let bucket = crate::conformance::sample::bucket();
    assert!(journal.is_scanned(&bucket).await.unwrap());
    let other = sealift_terms::BucketName::new("other").unwrap();
    assert!(!journal.is_scanned(&other).await.unwrap());
}

#[tokio::test]
async fn an_intent_of_an_older_journal_may_be_of_tags_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    drop(journal_at(&path));
    let db = Connection::open(&path).unwrap();
    let older = "ALTER TABLE intents DROP COLUMN tags; ALTER TABLE intents DROP COLUMN version;
                 INSERT INTO intents (bucket, key, at) VALUES ('photos', 'k', 7);
                 PRAGMA user_version = 6";
    db.execute_batch(OLDER_THAN_8).unwrap();
    db.execute_batch(older).unwrap();
    drop(db);
    let journal = journal_at(&path);
    let bucket = sealift_terms::BucketName::new("photos").unwrap();
    let left = journal.intents(&bucket, 0, 9).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].key.as_str(), left[0].at.as_millis()), ("k", 7));
    assert_eq!(left[0].touched, Touched::Tags(None));
}

#[tokio::test]
async fn what_each_sender_brought_is_counted_in_a_catalog_of_an_older_release() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.db");
    let catalog = catalog_at(&path);
    let mut deleted = version("c", 3);
    deleted.kind = VersionKind::DeleteMarker;
    let mut found = version("d", 4);
    found.terms = None;
    let commit = Commit {
        records: vec![record()],
        versions: vec![version("a", 1), version("b", 2), deleted, found],
        ..Commit::default()
    };
    catalog.commit(commit).await.unwrap();
    let counted = catalog.senders().await.unwrap();
    assert_eq!(counted.len(), 1, "{counted:?}");
    assert_eq!((counted[0].objects, counted[0].bytes), (2, 200));
    drop(catalog);
    let db = Connection::open(&path).unwrap();
    db.execute_batch("DROP TABLE senders; PRAGMA user_version = 6")
        .unwrap();
    drop(db);
    let catalog = catalog_at(&path);
    assert_eq!(catalog.senders().await.unwrap(), counted);
}
