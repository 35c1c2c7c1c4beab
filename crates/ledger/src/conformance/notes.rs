//! What others keep in a catalog.

use sealift_terms::Epoch;

use crate::{Catalog, Note};

fn names(notes: Vec<Note>) -> Vec<String> {
    notes.into_iter().map(|note| note.name).collect()
}

pub(super) async fn are_kept_under_their_names_until_forgotten(catalog: &dyn Catalog) {
    assert_eq!(catalog.note("a").await.unwrap(), None);
    let all = ["a", "b/1", "b/2", "b/3", "b0", "c"];
    let notes = all.map(|name| Note::kept(name, name.as_bytes().to_vec()));
    catalog.put_notes(notes.to_vec()).await.unwrap();
    assert_eq!(catalog.note("a").await.unwrap().as_ref(), Some(&notes[0]));
    assert_eq!(catalog.notes("", None, 99).await.unwrap(), notes);
    let page = async |after, limit| names(catalog.notes("b/", after, limit).await.unwrap());
    assert_eq!(page(None, 2).await, ["b/1", "b/2"]);
    assert_eq!(page(Some("b/2"), 2).await, ["b/3"]);
    assert_eq!(page(Some("a"), 1).await, ["b/1"]);
    assert!(page(Some("b/3"), 9).await.is_empty());
    let changes = vec![
        Note::kept("b/2", b"other".to_vec()),
        Note::forgotten("b/1"),
        Note::forgotten("never"),
    ];
    catalog.put_notes(changes).await.unwrap();
    assert_eq!(page(None, 9).await, ["b/2", "b/3"]);
    let other = catalog.note("b/2").await.unwrap().unwrap();
    assert_eq!(other.bytes.as_deref(), Some(b"other".as_slice()));
    // They speak of what a rebuild forgets.
    catalog.begin_rebuild(Epoch([7; 16])).await.unwrap();
    assert!(catalog.notes("", None, 9).await.unwrap().is_empty());
}
