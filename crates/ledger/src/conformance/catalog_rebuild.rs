//! The catalog made again from what is in the store.

use sealift_terms::{AuditKind, AuditRecord, Epoch};

use super::{
    MadeCatalog,
    catalog::{group, mark, tags},
    sample::{at, name, version},
};
use crate::{Catalog, Commit, MarkKind, NOTES_KEPT, Note, Outcome};

/// What is found in a store: two finds of one version, tags, a purge.
fn finds() -> Vec<Commit> {
    let one = |n| group(vec![version("k", n)]);
    let again = {
        let mut again = version("k", 1);
        again.sequence = 50;
        again.location.file = "sealed-again".to_owned();
        group(vec![again])
    };
    let marked = |n, order, kind| {
        let mut commit = group(Vec::new());
        commit.marks = vec![mark("k", n, order, kind)];
        commit
    };
    vec![
        one(1),
        one(2),
        one(3),
        again,
        marked(2, 40, MarkKind::Tags(tags("late"))),
        marked(2, 30, MarkKind::Tags(tags("early"))),
        marked(3, 60, MarkKind::Purge),
    ]
}

pub(super) async fn finds_in_any_order_give_the_same_catalog(make: &impl Fn() -> MadeCatalog) {
    let count = finds().len();
    for turn in 0..count {
        for reversed in [false, true] {
            let mut finds = finds();
            finds.rotate_left(turn);
            if reversed {
                finds.reverse();
            }
            let (catalog, _) = make();
            for find in finds {
                catalog.restore(find).await.unwrap();
            }
            holds_the_store(&*catalog).await;
        }
    }
}

async fn holds_the_store(catalog: &dyn Catalog) {
    let known = |n: u64| async move { catalog.known(&name("k", &format!("v{n}"))).await.unwrap() };
    let first = known(1).await.unwrap();
    assert_eq!(first.location.file, "sealed-again");
    assert_eq!(first.sequence, 50, "it keeps its own");
    assert_eq!(known(2).await.unwrap().facts.tags, tags("late"));
    assert_eq!(known(3).await, None, "no dead is raised");
    assert_eq!(catalog.buckets().await.unwrap()[0].objects, 2);
    let files = catalog.files(None, 9).await.unwrap();
    let objects = files.iter().map(|file| (file.file.as_str(), file.objects));
    let objects: Vec<_> = objects.filter(|(_, objects)| *objects > 0).collect();
    assert_eq!(objects, [("pack-1", 1), ("pack-2", 2), ("sealed-again", 1)]);
    assert_eq!(catalog.site().sequence, 60);
    assert!(catalog.reserve_sequence() > 60);
}

pub(super) async fn a_rebuild_begins_a_new_epoch_and_keeps_the_log(
    make: &impl Fn() -> MadeCatalog,
) {
    let (catalog, log) = make();
    let mut commit = group(vec![version("k", 1)]);
    commit.audit = vec![AuditRecord::new(at(1), AuditKind::ObjectStored, "agent")];
    catalog.commit(commit).await.unwrap();
    let kept = Note::kept(format!("{NOTES_KEPT}one"), b"held".to_vec());
    let notes = vec![kept.clone(), Note::kept("another", Vec::new())];
    catalog.put_notes(notes).await.unwrap();
    let (before, head) = (catalog.site(), log.head().await.unwrap());
    catalog.begin_rebuild(Epoch([77; 16])).await.unwrap();
    assert_eq!(catalog.known(&name("k", "v1")).await.unwrap(), None);
    assert_eq!(catalog.site().epoch, Epoch([77; 16]));
    assert_eq!(catalog.site().site, before.site);
    assert_eq!(catalog.notes("", None, 9).await.unwrap(), [kept]);
    assert_eq!(log.head().await.unwrap(), head);
    let mut found = version("k", 1);
    found.terms = None;
    let outcomes = catalog.restore(group(vec![found])).await.unwrap();
    let Outcome::Stored(row) = &outcomes[0] else {
        panic!("{outcomes:?}");
    };
    assert_eq!(row.receipt, None);
    catalog.renew_epoch(Epoch([78; 16])).await.unwrap();
    assert_eq!(catalog.site().epoch, Epoch([78; 16]));
}

pub(super) async fn the_newest_mark_of_a_hold_says_which_notes_are_kept(
    make: &impl Fn() -> MadeCatalog,
) {
    let note = |held: &str| Note::kept(format!("{NOTES_KEPT}k"), held.as_bytes().to_vec());
    let said = |order, note| {
        let mut commit = group(Vec::new());
        commit.marks = vec![mark("k", 1, order, MarkKind::Hold(vec![note]))];
        commit
    };
    let finds = || {
        vec![
            said(10, note("first")),
            said(30, note("last")),
            said(20, Note::forgotten(note("").name)),
        ]
    };
    for turn in 0..3 {
        let (catalog, _) = make();
        let mut finds = finds();
        finds.rotate_left(turn);
        for find in finds {
            catalog.restore(find).await.unwrap();
        }
        let kept = catalog.notes(NOTES_KEPT, None, 9).await.unwrap();
        assert_eq!(kept, [note("last")]);
        let marks = catalog.marks(None, 9).await.unwrap();
        assert_eq!(marks, catalog.marks_of(&name("k", "v1")).await.unwrap());
        assert_eq!(marks[0].kind, MarkKind::Hold(vec![note("last")]));
        assert!(catalog.marks(marks.first(), 9).await.unwrap().is_empty());
        // Tags of a version of the same name are another mark.
        let mut tagged = group(vec![version("k", 1)]);
        tagged.marks = vec![mark("k", 1, 15, MarkKind::Tags(tags("blue")))];
        catalog.commit(tagged).await.unwrap();
        let row = catalog.known(&name("k", "v1")).await.unwrap().unwrap();
        assert_eq!(row.facts.tags, tags("blue"));
        assert_eq!(catalog.marks(None, 9).await.unwrap().len(), 2);
        let lifted = said(40, Note::forgotten(note("").name));
        catalog.commit(lifted).await.unwrap();
        assert!(catalog.notes(NOTES_KEPT, None, 9).await.unwrap().is_empty());
        assert_eq!(catalog.marks(None, 9).await.unwrap().len(), 2);
    }
}
