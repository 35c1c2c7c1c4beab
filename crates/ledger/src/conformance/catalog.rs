//! Commits, listings, marks, uploads.

use std::collections::{BTreeMap, HashSet};

use sealift_terms::{AuditKind, AuditRecord, Checksum, ObjectUid, PartIndex, PartSize, RecordId};

use super::sample::{
    at, bucket, checksum, facts, key, name, order, record, session, terms, version,
};
use crate::{
    AuditLog, Catalog, Commit, LedgerError, ListVersions, ListedVersion, Location, MarkKind,
    NewMark, NewVersion, Outcome, PackState, RecordRow, Standing, UploadPart, UploadRow,
    VersionKind,
};

pub(super) fn group(versions: Vec<NewVersion>) -> Commit {
    Commit {
        at: at(10),
        records: vec![record()],
        versions,
        ..Commit::default()
    }
}

pub(super) fn mark(of: &str, n: u64, order_of: u64, kind: MarkKind) -> NewMark {
    NewMark {
        name: name(of, &format!("v{n}")),
        order: order(order_of),
        kind,
        object_uid: ObjectUid([9; 16]),
        record: RecordId([2; 16]),
        second_record: None,
        location: Location {
            file: "pack-2".to_owned(),
            offset: 16,
            length: 300,
        },
        sequence: order_of,
    }
}

pub(super) fn tags(value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("team".to_owned(), value.to_owned())])
}

pub(super) async fn a_commit_is_known_with_its_receipt(catalog: &dyn Catalog) {
    let new = version("ä", 1);
    assert_eq!(catalog.known(&new.name).await.unwrap(), None);
    let done = catalog.commit(group(vec![new.clone()])).await.unwrap();
    let row = catalog.known(&new.name).await.unwrap().unwrap();
    assert_eq!(done.outcomes, [Outcome::Stored(Box::new(row.clone()))]);
    assert_eq!((&row.name, &row.order), (&new.name, &new.order));
    assert_eq!((&row.facts, &row.location), (&facts(100), &new.location));
    assert_eq!(row.checksum, Some(checksum()));
    assert_eq!((row.object_uid, row.record), (new.object_uid, new.record));
    assert_eq!((row.sequence, row.stored_at), (done.sequence, at(10)));
    let site = catalog.site();
    assert_eq!(site.sequence, done.sequence);
    assert_eq!(row.receipt, Some(row.receipt_on(&terms(), site)));
    let receipt = row.receipt.unwrap();
    assert_eq!((receipt.site, receipt.epoch), (site.site, site.epoch));
}

pub(super) async fn latest_is_the_highest_order_whatever_came_first(catalog: &dyn Catalog) {
    let latest = || async { catalog.latest(&bucket(), &key("k")).await.unwrap() };
    assert_eq!(latest().await, None);
    for (n, expected) in [(5, 5), (3, 5), (9, 9), (8, 9)] {
        catalog.commit(group(vec![version("k", n)])).await.unwrap();
        assert_eq!(latest().await.unwrap().order, order(expected));
    }
    let mut marker = version("k", 10);
    marker.kind = VersionKind::DeleteMarker;
    marker.checksum = None;
    catalog.commit(group(vec![marker])).await.unwrap();
    assert_eq!(latest().await.unwrap().kind, VersionKind::DeleteMarker);
}

pub(super) async fn the_same_version_again_is_known_or_a_conflict(catalog: &dyn Catalog) {
    catalog.commit(group(vec![version("k", 1)])).await.unwrap();
    let stored = catalog.known(&name("k", "v1")).await.unwrap().unwrap();
    let mut same = version("k", 1);
    same.location.file = "elsewhere".to_owned();
    let mut other = same.clone();
    other.checksum = Some(Checksum::crc64nvme(1));
    let done = catalog.commit(group(vec![same, other])).await.unwrap();
    let there = Box::new(stored);
    assert_eq!(
        done.outcomes,
        [Outcome::Known(there.clone()), Outcome::Conflict(there)]
    );
    assert_eq!(catalog.buckets().await.unwrap()[0].objects, 1);
    let files = catalog.files(None, 9).await.unwrap();
    assert_eq!(files.len(), 1, "what was written in vain is not known");
}

pub(super) async fn a_version_sealed_anew_takes_the_place_of_that_sealing_alone(
    catalog: &dyn Catalog,
) {
    catalog.commit(group(vec![version("k", 1)])).await.unwrap();
    let before = catalog.buckets().await.unwrap();
    let brought = catalog.senders().await.unwrap();
    assert_eq!((brought[0].objects, brought[0].bytes), (1, before[0].bytes));
    assert_eq!(brought[0].sender, session().sender);
    let old = catalog.known(&name("k", "v1")).await.unwrap().unwrap();
    let anew = |uid: u8, replaces| {
        let mut anew = version("k", 1);
        anew.object_uid = ObjectUid([uid; 16]);
        anew.location.file = "pack-2".to_owned();
        anew.sequence = catalog.reserve_sequence();
        anew.replaces = replaces;
        anew
    };
    for (uid, replaces) in [(50, None), (51, Some(ObjectUid([99; 16])))] {
        let committed = catalog.commit(group(vec![anew(uid, replaces)])).await;
        let outcomes = committed.unwrap().outcomes;
        assert!(matches!(outcomes[..], [Outcome::Known(_)]), "{outcomes:?}");
    }
    let mut other = anew(52, Some(old.object_uid));
    other.facts.size += 1;
    let committed = catalog.commit(group(vec![other])).await.unwrap();
    assert!(matches!(committed.outcomes[..], [Outcome::Conflict(_)]));

    let committed = catalog.commit(group(vec![anew(53, Some(old.object_uid))]));
    let outcomes = committed.await.unwrap().outcomes;
    assert!(matches!(outcomes[..], [Outcome::Stored(_)]), "{outcomes:?}");
    let new = catalog.known(&name("k", "v1")).await.unwrap().unwrap();
    assert_eq!(new.object_uid, ObjectUid([53; 16]));
    assert!(new.sequence > old.sequence);
    assert_eq!((&new.facts, &new.order), (&old.facts, &old.order));
    assert_eq!(catalog.buckets().await.unwrap(), before);
    assert_eq!(catalog.senders().await.unwrap(), brought);
    let files = catalog.files(None, 9).await.unwrap();
    let objects: Vec<_> = files.iter().map(|file| file.objects).collect();
    assert_eq!(objects, [0, 1]);
}

pub(super) async fn a_group_is_looked_up_as_its_versions_one_by_one(catalog: &dyn Catalog) {
    let keys = ["a", "b", "c", "d"];
    let stored = keys.iter().take(3).map(|key| version(key, 1)).collect();
    catalog.commit(group(stored)).await.unwrap();
    let mut purge = group(Vec::new());
    purge.marks = vec![mark("c", 1, 9, MarkKind::Purge)];
    catalog.commit(purge).await.unwrap();
    let known = |key| async move { catalog.known(&name(key, "v1")).await.unwrap() };
    let stands = [
        Standing::Known(Box::new(known("a").await.unwrap())),
        Standing::Known(Box::new(known("b").await.unwrap())),
        Standing::Purged,
        Standing::Unknown,
    ];
    // A few at a time, and many: in the order they were asked for.
    for times in [1, 20] {
        let all = keys.len() * times;
        let names = keys.iter().cycle().take(all).map(|key| name(key, "v1"));
        let found = catalog.standing(names.collect()).await.unwrap();
        assert!(
            found.iter().eq(stands.iter().cycle().take(all)),
            "{found:?}"
        );
    }
    assert_eq!(catalog.standing(Vec::new()).await.unwrap(), []);
}

pub(super) async fn sequences_grow_in_the_order_of_commits(catalog: &dyn Catalog) {
    let (first, second) = (catalog.reserve_sequence(), catalog.reserve_sequence());
    assert!(second > first);
    let (mut early, mut late) = (version("a", 1), version("b", 2));
    early.sequence = first;
    late.sequence = second;
    let late = catalog.commit(group(vec![late])).await.unwrap();
    assert!(late.sequence >= second);
    let early = catalog.commit(group(vec![early])).await.unwrap();
    assert!(early.sequence > late.sequence, "it became durable later");
    assert!(catalog.reserve_sequence() > early.sequence);
    assert_eq!(catalog.site().sequence, early.sequence);
    let nothing = catalog.commit(group(Vec::new())).await.unwrap();
    assert_eq!(nothing.sequence, 0);
    assert_eq!(catalog.site().sequence, early.sequence);
}

pub(super) async fn a_commit_is_whole_or_nothing(catalog: &dyn Catalog, log: &dyn AuditLog) {
    let mut orphan = version("b", 2);
    orphan.record = RecordId([99; 16]);
    let mut bad = group(vec![version("a", 1), orphan]);
    bad.audit = vec![AuditRecord::new(at(1), AuditKind::ObjectStored, "agent")];
    let before = (catalog.site(), log.head().await.unwrap());
    let error = catalog.commit(bad).await.unwrap_err();
    assert!(matches!(error, LedgerError::NoSuchRecord(_)), "{error}");
    assert_eq!(catalog.known(&name("a", "v1")).await.unwrap(), None);
    assert_eq!(catalog.record(record().id).await.unwrap(), None);
    assert_eq!(before, (catalog.site(), log.head().await.unwrap()));
    catalog.commit(group(vec![version("a", 1)])).await.unwrap();
}

pub(super) async fn listings_go_on_where_they_ended(catalog: &dyn Catalog) {
    let mut names = ["a", "a/b", "a/ü", "a0", "b", "ä", "日"];
    let mut versions = Vec::new();
    for n in 1..=3 {
        versions.extend(names.iter().map(|name| version(name, n)));
    }
    catalog.commit(group(versions)).await.unwrap();
    names.sort_unstable_by_key(|name| name.as_bytes());
    let all = listed(catalog, "", true).await;
    let expected = names.iter().flat_map(|name| [3, 2, 1].map(|n| (*name, n)));
    let expected: Vec<_> = expected.map(|(name, n)| (name.to_owned(), n)).collect();
    assert_eq!(all, expected, "newest first within a key");
    let latest = listed(catalog, "", false).await;
    let expected: Vec<_> = names.iter().map(|name| ((*name).to_owned(), 3)).collect();
    assert_eq!(latest, expected);
    let below = listed(catalog, "a/", false).await;
    assert_eq!(below, [("a/b".to_owned(), 3), ("a/ü".to_owned(), 3)]);
    assert_eq!(listed(catalog, "c", true).await, []);
}

async fn listed(catalog: &dyn Catalog, prefix: &str, all: bool) -> Vec<(String, u64)> {
    let mut list = ListVersions {
        bucket: bucket(),
        prefix: prefix.to_owned(),
        all,
        after: None,
        limit: 2,
    };
    let mut found = Vec::new();
    loop {
        let page = catalog.versions(&list).await.unwrap();
        assert!(page.rows.len() <= 2);
        let short = catalog.listed(&list).await.unwrap();
        let rows: Vec<_> = page.rows.iter().map(ListedVersion::from).collect();
        assert_eq!((short.rows, &short.next), (rows, &page.next));
        let rows = page.rows.into_iter();
        found.extend(rows.map(|row| (row.name.key.as_str().to_owned(), row.order.change)));
        list.after = page.next;
        if list.after.is_none() {
            return found;
        }
    }
}

pub(super) async fn tags_and_purges_take_effect(catalog: &dyn Catalog) {
    catalog.commit(group(vec![version("k", 1)])).await.unwrap();
    let row = || async { catalog.known(&name("k", "v1")).await.unwrap() };
    for (n, value, expected) in [(5, "five", "five"), (4, "four", "five"), (6, "six", "six")] {
        let mut commit = group(Vec::new());
        commit.marks = vec![mark("k", 1, n, MarkKind::Tags(tags(value)))];
        catalog.commit(commit).await.unwrap();
        let row = row().await.unwrap();
        assert_eq!(row.facts.tags, tags(expected));
        assert_eq!(row.facts.metadata, facts(0).metadata);
    }
    assert_eq!(row().await.unwrap().tags_order, Some(order(6)));
    assert_eq!(catalog.key_use().await.unwrap()[0].objects, 2);
    assert!(!catalog.purged(&name("k", "v1")).await.unwrap());
    let mut commit = group(Vec::new());
    commit.marks = vec![mark("k", 1, 7, MarkKind::Purge)];
    catalog.commit(commit).await.unwrap();
    assert_eq!(row().await, None);
    let key_use = catalog.key_use().await.unwrap();
    assert_eq!(key_use[0].bytes, 0, "the purge took it");
    assert!(catalog.purged(&name("k", "v1")).await.unwrap());
    assert_eq!(catalog.buckets().await.unwrap()[0].objects, 0);
    assert!(catalog.senders().await.unwrap().is_empty());
    let mut back = version("k", 1);
    back.sequence = catalog.reserve_sequence();
    let done = catalog.commit(group(vec![back])).await.unwrap();
    assert_eq!(done.outcomes, [Outcome::Purged]);
}

pub(super) fn upload(n: u8) -> UploadRow {
    UploadRow {
        uid: ObjectUid([n; 16]),
        record: record().id,
        second_record: None,
        name: name("big", "v1"),
        order: order(1),
        facts: facts(1 << 30),
        part_size: PartSize::DEFAULT,
        file: format!("staged-{n}"),
        origin: session().sender,
        begun_at: at(i64::from(n)),
        touched_at: at(i64::from(n)),
    }
}

pub(super) fn part(n: u8, index: u32, commitment: u8) -> UploadPart {
    UploadPart {
        uid: ObjectUid([n; 16]),
        index: PartIndex(index),
        commitment: [commitment; 32],
        outer_commitment: None,
        crc64: u64::from(index) + 7,
    }
}

pub(super) async fn uploads_and_parts_are_kept_until_the_commit(catalog: &dyn Catalog) {
    let error = catalog.begin_uploads(vec![upload(1)]).await.unwrap_err();
    assert!(matches!(error, LedgerError::NoSuchRecord(_)), "{error}");
    catalog.put_records(vec![record()]).await.unwrap();
    catalog
        .begin_uploads(vec![upload(1), upload(2)])
        .await
        .unwrap();
    let newest = catalog.upload_of(&name("big", "v1")).await.unwrap();
    assert_eq!(newest, Some(upload(2)));
    let uid = upload(1).uid;
    let parts = vec![part(1, 2, 20), part(1, 0, 5), part(1, 1, 6), part(7, 0, 1)];
    catalog.put_parts(parts, at(50)).await.unwrap();
    catalog
        .put_parts(vec![part(1, 0, 10)], at(60))
        .await
        .unwrap();
    catalog.forget_parts(uid, vec![PartIndex(1)]).await.unwrap();
    let parts = catalog.parts(uid, PartIndex(0), 9).await.unwrap();
    assert_eq!(parts, [part(1, 0, 10), part(1, 2, 20)]);
    let rest = catalog.parts(uid, PartIndex(1), 9).await.unwrap();
    assert_eq!(rest, [part(1, 2, 20)]);
    let orphan = catalog.parts(ObjectUid([7; 16]), PartIndex(0), 9).await;
    assert_eq!(orphan.unwrap(), [], "no upload, no parts");
    let touched = catalog.upload(uid).await.unwrap().unwrap();
    assert_eq!(touched.touched_at, at(60));
    let page = catalog.uploads(Some(uid), 9).await.unwrap();
    assert_eq!(page, [upload(2)]);
    let mut finished = group(vec![version("big", 1)]);
    finished.uploads = vec![uid];
    catalog.commit(finished).await.unwrap();
    assert_eq!(catalog.upload(uid).await.unwrap(), None);
    assert_eq!(catalog.parts(uid, PartIndex(0), 9).await.unwrap(), []);
    catalog.remove_uploads(vec![upload(2).uid]).await.unwrap();
    assert_eq!(catalog.uploads(None, 9).await.unwrap(), []);
}

pub(super) async fn packs_files_and_key_versions_are_counted(catalog: &dyn Catalog) {
    let mut large = version("large", 3);
    large.location = Location {
        file: "large-3".to_owned(),
        offset: 0,
        length: 9000,
    };
    let mut commit = group(vec![version("a", 1), version("b", 2), large]);
    let pack = |synced_bytes, closed| PackState {
        file: "pack-1".to_owned(),
        synced_bytes,
        closed,
    };
    commit.packs = vec![pack(4000, false)];
    catalog.commit(commit).await.unwrap();
    let files = catalog.files(None, 9).await.unwrap();
    let facts = files.iter().map(|file| {
        let sums = (file.synced_bytes, file.objects, file.live_bytes);
        (file.file.as_str(), sums, file.closed)
    });
    let facts: Vec<_> = facts.collect();
    assert_eq!(
        facts,
        [
            ("large-3", (9000, 1, 9000), true),
            ("pack-1", (4000, 2, 1000), false)
        ]
    );
    let after = catalog.files(Some("large-3"), 9).await.unwrap();
    assert_eq!(after.len(), 1);
    assert_eq!(catalog.open_packs().await.unwrap(), after);
    let mut close = group(Vec::new());
    close.packs = vec![pack(4000, true)];
    catalog.commit(close).await.unwrap();
    assert_eq!(catalog.open_packs().await.unwrap(), []);

    let second = RecordRow {
        id: RecordId([3; 16]),
        ..record()
    };
    let wrapped_again = RecordRow {
        cmk_version: "2".to_owned(),
        ..record()
    };
    let records = vec![second.clone(), wrapped_again.clone()];
    catalog.put_records(records).await.unwrap();
    let key_use = catalog.key_use().await.unwrap();
    let sums = key_use
        .iter()
        .map(|u| (u.cmk_version.as_str(), u.records, u.objects, u.bytes));
    let bytes = catalog.buckets().await.unwrap()[0].bytes;
    assert!(bytes > 0);
    assert_eq!(
        sums.collect::<Vec<_>>(),
        [("1", 1, 0, 0), ("2", 1, 3, bytes)]
    );
    let found = catalog.record(record().id).await.unwrap();
    assert_eq!(found, Some(wrapped_again));
    let page = catalog.records(Some(record().id), 9).await.unwrap();
    assert_eq!(page, [second]);
    let ids = catalog.records(None, 9).await.unwrap();
    assert_eq!(ids.iter().map(|r| r.id).collect::<HashSet<_>>().len(), 2);
}
