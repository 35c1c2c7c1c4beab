//! What is sealed in two layers has two key records, and both count.

use std::collections::BTreeMap;

use sealift_terms::{KeyId, ObjectUid, PartIndex, RecordId, SecondKey};

use super::{
    catalog::{group, mark, part, tags, upload},
    sample::{at, name, record, terms, version},
};
use crate::{
    Catalog, Commit, LedgerError, Location, MarkKind, NewVersion, PackState, ReceiptTerms,
    RecordRow, Relocation, UploadPart, UploadRow,
};

const OUTER: RecordId = RecordId([5; 16]);

/// The outer layer's record, under a key of its own.
fn outer_record() -> RecordRow {
    RecordRow {
        id: OUTER,
        cmk: KeyId::new("key-02").expect("a key id"),
        cmk_version: "7".to_owned(),
        json: r#"{"id":"05050505050505050505050505050505","provider":"aws-kms"}"#.to_owned(),
        ..record()
    }
}

fn in_two(of: &str, n: u64) -> NewVersion {
    let outer = outer_record();
    let second = SecondKey {
        record: OUTER,
        cmk: outer.cmk,
        cmk_version: outer.cmk_version,
    };
    let terms = ReceiptTerms {
        second: Some(second),
        ..terms()
    };
    NewVersion {
        second_record: Some(OUTER),
        terms: Some(terms.into()),
        ..version(of, n)
    }
}

fn group_of_both(versions: Vec<NewVersion>) -> Commit {
    Commit {
        records: vec![record(), outer_record()],
        ..group(versions)
    }
}

/// Objects by the version of the key.
async fn objects(catalog: &dyn Catalog) -> BTreeMap<String, u64> {
    let uses = catalog.key_use().await.unwrap().into_iter();
    uses.map(|of| (of.cmk.to_string(), of.objects)).collect()
}

fn counts(inner: u64, outer: u64) -> BTreeMap<String, u64> {
    BTreeMap::from([("key-01".to_owned(), inner), ("key-02".to_owned(), outer)])
}

pub(super) async fn both_key_records_are_kept_and_counted(catalog: &dyn Catalog) {
    let error = catalog.commit(group(vec![in_two("k", 1)])).await;
    let error = error.unwrap_err();
    assert!(
        matches!(error, LedgerError::NoSuchRecord(OUTER)),
        "the outer record is not there: {error}"
    );
    let mut commit = group_of_both(vec![in_two("k", 1), version("one", 2)]);
    let tagged = mark("k", 1, 9, MarkKind::Tags(tags("blue")));
    commit.marks = vec![crate::NewMark {
        second_record: Some(OUTER),
        ..tagged
    }];
    catalog.commit(commit).await.unwrap();
    let known = |of| async move { catalog.known(&name(of, "v1")).await.unwrap() };
    let row = known("k").await.unwrap();
    assert_eq!(row.second_record, Some(OUTER));
    let receipt = row.receipt.clone().unwrap();
    assert_eq!(receipt.second.map(|second| second.record), Some(OUTER));
    assert_eq!(objects(catalog).await, counts(3, 2));
    let uses = catalog.key_use().await.unwrap().into_iter();
    let providers: Vec<_> = uses.map(|of| of.provider).collect();
    assert_eq!(providers, ["", "aws-kms"], "the sample names none");
    let marks = catalog.marks(None, 9).await.unwrap();
    assert_eq!(marks[0].second_record, Some(OUTER));
    let under = catalog.version_under(OUTER).await.unwrap();
    assert_eq!(under.map(|under| under.name), Some(row.name.clone()));

    let beside = |id| async move { catalog.beside(id).await.unwrap() };
    assert_eq!(beside(record().id).await, [OUTER]);
    assert_eq!(beside(OUTER).await, [record().id]);
    assert_eq!(beside(RecordId([99; 16])).await, []);

    // Moved as it is, it counts as before; gone, it counts no more.
    let to = Location {
        file: "pack-9".to_owned(),
        ..row.location.clone()
    };
    let moved = Relocation {
        name: row.name.clone(),
        object_uid: row.object_uid,
        from: row.location,
        to,
    };
    let pack = PackState {
        file: "pack-9".to_owned(),
        synced_bytes: 9000,
        closed: true,
    };
    let moved = catalog
        .relocate(vec![moved], pack, Vec::new(), at(11))
        .await;
    assert_eq!(moved.unwrap(), 1);
    assert_eq!(objects(catalog).await, counts(3, 2));
    let mut purge = group(Vec::new());
    purge.marks = vec![mark("k", 1, 12, MarkKind::Purge)];
    catalog.commit(purge).await.unwrap();
    assert_eq!(known("k").await, None);
    assert_eq!(objects(catalog).await, counts(3, 1), "the tags are left");
}

pub(super) async fn an_upload_in_two_layers_comes_back_with_both(catalog: &dyn Catalog) {
    catalog.put_records(vec![record()]).await.unwrap();
    let row = UploadRow {
        second_record: Some(OUTER),
        ..upload(1)
    };
    let error = catalog.begin_uploads(vec![row.clone()]).await.unwrap_err();
    assert!(matches!(error, LedgerError::NoSuchRecord(OUTER)), "{error}");
    assert_eq!(catalog.upload(row.uid).await.unwrap(), None);
    catalog.put_records(vec![outer_record()]).await.unwrap();
    catalog.begin_uploads(vec![row.clone()]).await.unwrap();
    let in_two = UploadPart {
        outer_commitment: Some([9; 32]),
        ..part(1, 0, 5)
    };
    let parts = vec![in_two, part(1, 1, 6)];
    catalog.put_parts(parts.clone(), at(30)).await.unwrap();
    let uid = ObjectUid([1; 16]);
    assert_eq!(catalog.parts(uid, PartIndex(0), 9).await.unwrap(), parts);
    let touched = UploadRow {
        touched_at: at(30),
        ..row
    };
    assert_eq!(catalog.upload(uid).await.unwrap(), Some(touched));
    assert_eq!(catalog.beside(OUTER).await.unwrap(), [record().id]);
}
