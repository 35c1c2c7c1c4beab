//! What every source and every store must do. Each implementation's tests call
//! these; a failure is a panic that says which property does not hold.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a suite of tests that other crates call"
)]

use std::future::Future;

use sealift_terms::ObjectKey;

use crate::{Cut, Listed, Source, Store, StoreError, StoreName};

/// Runs the suite for stores; `make` gives an empty one.
///
/// # Panics
/// When a property does not hold.
pub async fn store<S: Store, F: Future<Output = S>>(make: impl Fn() -> F) {
    staged_is_not_published(&make().await).await;
    publishing_wants_a_sync_after_the_last_write(&make().await).await;
    a_staged_file_is_found_and_goes_on_after_a_restart(&make().await).await;
    what_is_said_of_units_changes_nothing(&make().await).await;
    a_pack_grows_where_it_is(&make().await).await;
    listing_is_by_bytes_and_by_pages(&make().await).await;
    removing_what_is_not_there_is_no_error(&make().await).await;
    reading_beyond_the_end_is_an_error(&make().await).await;
    assert!(make().await.room().await.unwrap().total_bytes > 0);
}

fn name(name: &str) -> StoreName {
    StoreName::new(name).unwrap()
}

async fn put(store: &dyn Store, file: &str, bytes: &[u8]) {
    let name = name(file);
    let file = store.create(&name).await.unwrap();
    file.write_at(bytes, 0).await.unwrap();
    file.sync().await.unwrap();
    store.publish(&[name]).await.unwrap();
}

async fn staged_is_not_published(store: &dyn Store) {
    let name = name("objects/aa/1");
    let file = store.create(&name).await.unwrap();
    assert!(matches!(
        store.create(&name).await,
        Err(StoreError::FileExists { .. })
    ));
    file.write_at(b"world", 6).await.unwrap();
    file.write_at(b"hello ", 0).await.unwrap();
    assert!(matches!(
        store.open(&name).await,
        Err(StoreError::NoSuchFile { .. })
    ));
    assert!(store.list("", None, 9).await.unwrap().is_empty());
    file.sync().await.unwrap();
    store.publish(std::slice::from_ref(&name)).await.unwrap();
    let object = store.open(&name).await.unwrap();
    let mut bytes = [0; 11];
    object.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!((&bytes, object.len().unwrap()), (b"hello world", 11));
    assert!(store.staged().await.unwrap().is_empty());
}

async fn publishing_wants_a_sync_after_the_last_write(store: &dyn Store) {
    let names = [name("a"), name("b")];
    let a = store.create(&names[0]).await.unwrap();
    let b = store.create(&names[1]).await.unwrap();
    for file in [&a, &b] {
        file.write_at(b"1", 0).await.unwrap();
        file.sync().await.unwrap();
    }
    b.write_at(b"2", 0).await.unwrap();
    assert!(matches!(
        store.publish(&names).await,
        Err(StoreError::NotSynced { .. })
    ));
    assert!(
        store.list("", None, 9).await.unwrap().is_empty(),
        "nothing was moved"
    );
    b.sync().await.unwrap();
    store.publish(&names).await.unwrap();
    assert_eq!(store.list("", None, 9).await.unwrap().len(), 2);
    let unknown = store.publish(&[name("c")]).await;
    assert!(matches!(unknown, Err(StoreError::NoSuchFile { .. })));
}

async fn a_staged_file_is_found_and_goes_on_after_a_restart(store: &dyn Store) {
    let name = name("objects/bb/2");
    store
        .create(&name)
        .await
        .unwrap()
        .write_at(b"abc", 0)
        .await
        .unwrap();
    let staged = store.staged().await.unwrap();
    assert_eq!(
        (staged.len(), &staged[0].name, staged[0].len),
        (1, &name, 3)
    );
    let again = store.reopen(&name).await.unwrap();
    again.write_at(b"def", 3).await.unwrap();
    let mut bytes = [0; 6];
    again.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"abcdef");
    again.set_len(4).await.unwrap();
    assert_eq!(again.len().unwrap(), 4);
    store.discard(&name).await.unwrap();
    store.discard(&name).await.unwrap();
    assert!(matches!(
        store.reopen(&name).await,
        Err(StoreError::NoSuchFile { .. })
    ));
}

async fn what_is_said_of_units_changes_nothing(store: &dyn Store) {
    let name = name("objects/cc/3.slf");
    let file = store.create(&name).await.unwrap();
    file.cut(Cut {
        head: 1,
        unit: 4,
        count: 3,
    });
    file.write_at(b"h0000111122", 0).await.unwrap();
    file.sync().await.unwrap();
    file.settled(&[1]);
    file.settled(&[0, 1]);
    for end in [&b"22META"[..], b"22-META"] {
        file.write_at(end, 9).await.unwrap();
        file.prepare().await.unwrap();
    }
    file.sync().await.unwrap();
    store.publish(std::slice::from_ref(&name)).await.unwrap();
    let mut bytes = [0; 16];
    let object = store.open(&name).await.unwrap();
    object.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!((object.len().unwrap(), &bytes), (16, b"h0000111122-META"));
}

async fn a_pack_grows_where_it_is(store: &dyn Store) {
    let name = name("packs/1");
    let pack = store.append(&name).await.unwrap();
    pack.write_at(b"one", 0).await.unwrap();
    pack.sync().await.unwrap();
    let reader = store.open(&name).await.unwrap();
    pack.write_at(b"two", 3).await.unwrap();
    let mut bytes = [0; 6];
    reader.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"onetwo", "an open reader sees what is appended");
    let again = store.append(&name).await.unwrap();
    assert_eq!(
        again.len().unwrap(),
        6,
        "a second opening keeps the content"
    );
    assert!(store.staged().await.unwrap().is_empty());
}

async fn listing_is_by_bytes_and_by_pages(store: &dyn Store) {
    for file in ["b/2", "a/1", "b/1", "a-b", "c"] {
        put(store, file, b"x").await;
    }
    let listed = |entries: Vec<crate::StoreEntry>| -> Vec<String> {
        entries
            .into_iter()
            .map(|entry| entry.name.to_string())
            .collect()
    };
    let all = listed(store.list("", None, 9).await.unwrap());
    assert_eq!(all, ["a-b", "a/1", "b/1", "b/2", "c"]);
    let page = listed(store.list("", Some(&name("a/1")), 2).await.unwrap());
    assert_eq!(page, ["b/1", "b/2"]);
    assert_eq!(
        listed(store.list("b/", None, 9).await.unwrap()),
        ["b/1", "b/2"]
    );
    assert_eq!(listed(store.list("b/1", None, 9).await.unwrap()), ["b/1"]);
}

async fn removing_what_is_not_there_is_no_error(store: &dyn Store) {
    put(store, "x", b"x").await;
    store.remove(&name("x")).await.unwrap();
    store.remove(&name("x")).await.unwrap();
    assert!(matches!(
        store.open(&name("x")).await,
        Err(StoreError::NoSuchFile { .. })
    ));
}

async fn reading_beyond_the_end_is_an_error(store: &dyn Store) {
    put(store, "x", b"four").await;
    let object = store.open(&name("x")).await.unwrap();
    for (offset, len) in [(0, 5), (4, 1), (5, 1), (u64::MAX, 1)] {
        assert!(
            object.read_exact_at(&mut vec![0; len], offset).is_err(),
            "{offset}+{len}"
        );
    }
    assert!(object.read_exact_at(&mut [], 4).is_ok());
}

/// Runs the suite for sources; `put` and `remove` change what `source` holds, at rest.
///
/// # Panics
/// When a property does not hold.
pub async fn source(source: &dyn Source, put: impl Fn(&str, &[u8]), remove: impl Fn(&str)) {
    a_listing_is_in_byte_order_whatever_the_page(source, &put).await;
    an_opened_version_reads_back_and_ends(source, &put).await;
    an_overwritten_version_is_noticed(source, &put).await;
    a_removed_key_is_gone(source, &put, &remove).await;
    a_small_version_is_read_whole(source, &put).await;
}

async fn keys(source: &dyn Source, prefix: &str, limit: usize) -> Vec<String> {
    let mut scan = source.scan(prefix).await.unwrap();
    let mut keys = Vec::new();
    loop {
        let page = scan.page(limit).await.unwrap();
        assert!(page.objects.len() <= limit);
        keys.extend(
            page.objects
                .into_iter()
                .map(|listed| listed.key.to_string()),
        );
        if page.last {
            return keys;
        }
    }
}

fn key(key: &str) -> ObjectKey {
    ObjectKey::new(key).unwrap()
}

async fn a_listing_is_in_byte_order_whatever_the_page(
    source: &dyn Source,
    put: impl Fn(&str, &[u8]),
) {
    // '-' and '.' sort before '/', '0' and letters behind it.
    let mut all = [
        "a",
        "d/x",
        "d-x",
        "d.x",
        "d0",
        "d/y/z",
        "d/y-z",
        "ä/日本",
        "z",
    ];
    for key in all {
        put(key, key.as_bytes());
    }
    all.sort_unstable();
    for limit in [1, 2, 3, 100] {
        assert_eq!(keys(source, "", limit).await, all, "pages of {limit}");
    }
    assert_eq!(keys(source, "d/", 2).await, ["d/x", "d/y-z", "d/y/z"]);
    assert_eq!(keys(source, "d/y", 2).await, ["d/y-z", "d/y/z"]);
    assert!(keys(source, "nothing/here/", 2).await.is_empty());
}

async fn an_opened_version_reads_back_and_ends(source: &dyn Source, put: impl Fn(&str, &[u8])) {
    put("read", b"0123456789");
    let listed = source.look(&key("read")).await.unwrap().unwrap();
    assert_eq!(listed.facts.size, 10);
    let object = source.open(&listed.key, &listed.version).await.unwrap();
    assert_eq!(object.facts().size, 10);
    let mut bytes = [0; 4];
    object.read_exact_at(&mut bytes, 3).await.unwrap();
    assert_eq!(&bytes, b"3456");
    let beyond = object.read_exact_at(&mut bytes, 8).await;
    assert!(
        matches!(beyond, Err(StoreError::SourceChanged { .. })),
        "{beyond:?}"
    );
    object.finish().await.unwrap();
}

async fn an_overwritten_version_is_noticed(source: &dyn Source, put: impl Fn(&str, &[u8])) {
    put("over", b"one");
    let first = source.look(&key("over")).await.unwrap().unwrap();
    let object = source.open(&first.key, &first.version).await.unwrap();
    put("over", b"two");
    let second = source.look(&key("over")).await.unwrap().unwrap();
    assert_ne!(first.version, second.version);
    if source.keeps_versions() {
        object.finish().await.unwrap();
        return is_still_read(source, &first, b"one").await;
    }
    let finished = object.finish().await;
    assert!(
        matches!(finished, Err(StoreError::SourceChanged { .. })),
        "{finished:?}"
    );
    let opened = source.open(&first.key, &first.version).await.map(drop);
    assert!(
        matches!(opened, Err(StoreError::SourceChanged { .. })),
        "{opened:?}"
    );
}

/// A version that has another above it, or a delete marker, is what it was.
async fn is_still_read(source: &dyn Source, version: &Listed, content: &[u8]) {
    let object = source.open(&version.key, &version.version).await.unwrap();
    assert_eq!(object.facts().size, content.len() as u64);
    let mut bytes = vec![0; content.len()];
    object.read_exact_at(&mut bytes, 0).await.unwrap();
    object.finish().await.unwrap();
    assert_eq!(bytes, content);
}

async fn a_small_version_is_read_whole(source: &dyn Source, put: impl Fn(&str, &[u8])) {
    for content in [&b"whole"[..], b""] {
        put("whole", content);
        let listed = source.look(&key("whole")).await.unwrap().unwrap();
        let (key, version) = (&listed.key, &listed.version);
        let read = source.read_whole(key, version, content.len()).await;
        assert_eq!(read.unwrap().bytes, content);
    }
}

async fn a_removed_key_is_gone(
    source: &dyn Source,
    put: impl Fn(&str, &[u8]),
    remove: impl Fn(&str),
) {
    put("gone", b"x");
    let listed = source.look(&key("gone")).await.unwrap().unwrap();
    remove("gone");
    assert_eq!(source.look(&key("gone")).await.unwrap(), None);
    if source.keeps_versions() {
        return is_still_read(source, &listed, b"x").await;
    }
    let opened = source.open(&listed.key, &listed.version).await.map(drop);
    assert!(matches!(opened, Err(StoreError::SourceGone)), "{opened:?}");
}
