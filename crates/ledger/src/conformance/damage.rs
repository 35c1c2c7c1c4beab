//! Damaged versions, and what the scrub remembers.

use sealift_terms::{Checksum, ObjectUid};

use super::{
    catalog::{group, mark},
    sample::{at, name, version},
};
use crate::{
    Catalog, DamagedVersion, ListQuarantined, Location, MarkKind, Outcome, PackState, Relocation,
};

fn damage(of: &str, n: u8) -> DamagedVersion {
    DamagedVersion {
        name: name(of, &format!("v{n}")),
        object_uid: ObjectUid([n; 16]),
        cause: "a tag is wrong".to_owned(),
    }
}

fn all() -> ListQuarantined {
    ListQuarantined {
        limit: 9,
        ..ListQuarantined::default()
    }
}

pub(super) async fn a_damaged_version_is_taken_again_and_its_bytes_are_remembered(
    catalog: &dyn Catalog,
) {
    catalog
        .commit(group(vec![version("k", 1), version("other", 2)]))
        .await
        .unwrap();
    let before = catalog.buckets().await.unwrap();
    let put = catalog
        .quarantine(vec![damage("k", 1)], Vec::new(), at(7))
        .await;
    assert_eq!(put.unwrap(), 1);
    let again = catalog
        .quarantine(vec![damage("k", 1)], Vec::new(), at(8))
        .await;
    assert_eq!(again.unwrap(), 0, "it is there already");
    let row = catalog.known(&name("k", "v1")).await.unwrap().unwrap();
    assert!(row.quarantined);
    assert!(
        !catalog
            .known(&name("other", "v2"))
            .await
            .unwrap()
            .unwrap()
            .quarantined
    );
    let count = catalog.quarantine_count().await.unwrap();
    assert_eq!((count.damaged, count.repaired), (1, 0));

    it_comes_again(catalog).await;
    assert_eq!(
        catalog.buckets().await.unwrap(),
        before,
        "nothing is counted twice"
    );
    its_bytes_are_remembered(catalog).await;
}

/// The damaged version, elsewhere.
async fn it_comes_again(catalog: &dyn Catalog) {
    // Other content under the same name is refused as ever.
    let mut other = version("k", 1);
    other.checksum = Some(Checksum::crc64nvme(1));
    let refused = catalog.commit(group(vec![other])).await.unwrap();
    assert!(matches!(refused.outcomes[0], Outcome::Conflict(_)));

    let mut whole = version("k", 1);
    whole.object_uid = ObjectUid([99; 16]);
    whole.location = Location {
        file: "pack-2".to_owned(),
        offset: 16,
        length: 500,
    };
    let taken = catalog.commit(group(vec![whole.clone()])).await.unwrap();
    assert!(matches!(taken.outcomes[0], Outcome::Stored(_)));
    let row = catalog.known(&name("k", "v1")).await.unwrap().unwrap();
    assert!(!row.quarantined);
    assert_eq!(
        (row.object_uid, &row.location),
        (whole.object_uid, &whole.location)
    );
    let files = catalog.files(None, 9).await.unwrap();
    let objects: Vec<_> = files
        .iter()
        .map(|file| (file.file.as_str(), file.objects))
        .collect();
    assert_eq!(objects, [("pack-1", 1), ("pack-2", 1)]);
}

async fn its_bytes_are_remembered(catalog: &dyn Catalog) {
    let kept = catalog.quarantined(&all()).await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(
        (kept[0].object_uid, kept[0].found_at),
        (ObjectUid([1; 16]), at(7))
    );
    assert_eq!(kept[0].location.file, "pack-1");
    assert!(kept[0].repaired_at.is_some());
    let open = ListQuarantined {
        repaired: Some(false),
        ..all()
    };
    assert_eq!(catalog.quarantined(&open).await.unwrap(), []);
    assert!(
        !catalog.forget_file("pack-1").await.unwrap(),
        "something rests in it"
    );
    let gone = catalog
        .forget_quarantined(vec![kept[0].id], Vec::new())
        .await;
    assert_eq!(gone.unwrap(), 1);
    assert_eq!(catalog.quarantined(&all()).await.unwrap(), []);
}

pub(super) async fn only_the_sealing_that_was_examined_is_put_in_quarantine(catalog: &dyn Catalog) {
    catalog.commit(group(vec![version("k", 1)])).await.unwrap();
    let mut stale = damage("k", 1);
    stale.object_uid = ObjectUid([77; 16]);
    let put = catalog
        .quarantine(vec![stale, damage("nowhere", 3)], Vec::new(), at(7))
        .await;
    assert_eq!(put.unwrap(), 0);
    catalog
        .quarantine(vec![damage("k", 1)], Vec::new(), at(7))
        .await
        .unwrap();
    let kept = catalog.quarantined(&all()).await.unwrap();
    let forgotten = catalog
        .forget_quarantined(vec![kept[0].id], Vec::new())
        .await;
    assert_eq!(forgotten.unwrap(), 0, "what is damaged is not forgotten");
    let in_file = ListQuarantined {
        file: Some("elsewhere".to_owned()),
        ..all()
    };
    assert_eq!(catalog.quarantined(&in_file).await.unwrap(), []);
}

pub(super) async fn what_was_copied_moves_unless_it_rests_elsewhere_by_now(catalog: &dyn Catalog) {
    let mut commit = group(vec![version("a", 1), version("b", 2)]);
    let tags = MarkKind::Tags([("k".to_owned(), "v".to_owned())].into());
    commit.marks = vec![
        mark("a", 1, 5, tags.clone()),
        mark("gone", 3, 6, MarkKind::Purge),
    ];
    catalog.commit(commit).await.unwrap();
    let marks = catalog.marks(None, 1).await.unwrap();
    let rest = catalog.marks(marks.first(), 9).await.unwrap();
    assert_eq!((marks.len(), rest.len()), (1, 1));
    assert_eq!((&marks[0].kind, &rest[0].kind), (&tags, &MarkKind::Purge));
    assert_eq!(catalog.marks_of(&name("a", "v1")).await.unwrap(), marks);

    let to = |offset, length| Location {
        file: "pack-9".to_owned(),
        offset,
        length,
    };
    let row = catalog.known(&name("a", "v1")).await.unwrap().unwrap();
    let stays = catalog.known(&name("b", "v2")).await.unwrap().unwrap();
    let moves = vec![
        Relocation {
            name: row.name.clone(),
            object_uid: row.object_uid,
            from: row.location.clone(),
            to: to(16, row.location.length),
        },
        Relocation {
            name: rest[0].name.clone(),
            object_uid: rest[0].object_uid,
            from: rest[0].location.clone(),
            to: to(900, rest[0].location.length),
        },
        // Copied from where it does not rest.
        Relocation {
            name: stays.name.clone(),
            object_uid: stays.object_uid,
            from: to(1, 2),
            to: to(2000, 500),
        },
    ];
    let pack = PackState {
        file: "pack-9".to_owned(),
        synced_bytes: 4000,
        closed: true,
    };
    let before = catalog.key_use().await.unwrap();
    let moved = catalog.relocate(moves, pack, Vec::new(), at(50)).await;
    assert_eq!(moved.unwrap(), 2);
    let row = catalog.known(&name("a", "v1")).await.unwrap().unwrap();
    assert_eq!(row.location, to(16, row.location.length));
    let unmoved = catalog.known(&name("b", "v2")).await.unwrap().unwrap();
    assert_eq!(unmoved, stays);
    assert_eq!(catalog.key_use().await.unwrap(), before);
    let files = catalog.files(None, 9).await.unwrap();
    let of = |name: &str| files.iter().find(|file| file.file == name).unwrap();
    assert_eq!((of("pack-9").objects, of("pack-9").synced_bytes), (2, 4000));
    assert_eq!(of("pack-9").dead_since, None);
    for left in ["pack-1", "pack-2"] {
        assert_eq!(
            (of(left).objects, of(left).dead_since),
            (1, Some(at(50))),
            "{left}"
        );
    }
}

pub(super) async fn a_file_tells_since_when_something_in_it_is_dead(catalog: &dyn Catalog) {
    let tags = |n| {
        mark(
            "k",
            1,
            n,
            MarkKind::Tags(super::catalog::tags(&n.to_string())),
        )
    };
    for (n, dead_since) in [(5, None), (6, Some(at(6))), (7, Some(at(6)))] {
        let mut commit = group(Vec::new());
        (commit.at, commit.marks) = (at(n), vec![tags(n.unsigned_abs())]);
        // What takes the place of another rests in the same file as that.
        catalog.commit(commit).await.unwrap();
        let files = catalog.files(None, 9).await.unwrap();
        let file = files.iter().find(|file| file.file == "pack-2").unwrap();
        assert_eq!((file.objects, file.dead_since), (1, dead_since), "{n}");
    }
}

pub(super) async fn what_the_scrub_left_is_remembered(catalog: &dyn Catalog) {
    assert_eq!(catalog.scrub_state().await.unwrap(), None);
    for state in ["{\"at\":1}", "{\"at\":2}"] {
        catalog.put_scrub_state(state.to_owned()).await.unwrap();
        assert_eq!(catalog.scrub_state().await.unwrap().as_deref(), Some(state));
    }
    let under = catalog
        .version_under(sealift_terms::RecordId([2; 16]))
        .await;
    assert_eq!(under.unwrap(), None);
    catalog.commit(group(vec![version("k", 1)])).await.unwrap();
    let under = catalog
        .version_under(sealift_terms::RecordId([2; 16]))
        .await;
    assert_eq!(under.unwrap().unwrap().name, name("k", "v1"));
}
