use std::sync::atomic::{AtomicU64, Ordering};

use sealift_store::{OrderedSource, Source, conformance};
use sealift_terms::{ChangeKind, Reason};
use tokio::{runtime::Handle, task::block_in_place};

use super::site::*;
use crate::ArchiveSource;

fn source(running: &Running) -> ArchiveSource {
    ArchiveSource::new(running.archive.clone(), bucket())
}

/// Stores a delete marker.
async fn remove(running: &Running, key: &str, version: &str, clock: u64) {
    let mut marker = offer(key, version, clock, 0);
    marker.change.kind = ChangeKind::DeleteMarker;
    let upload = running.upload(marker).await;
    running.archive.commit(upload, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_an_archive_is_a_source_as_any_other() {
    let site = Site::new();
    let running = site.open().await;
    let clock = AtomicU64::new(1);
    let next = || clock.fetch_add(1, Ordering::Relaxed);
    let put = |key: &str, bytes: &[u8]| {
        let clock = next();
        let version = format!("v{clock}");
        block_in_place(|| {
            Handle::current().block_on(running.store(key, &version, clock, bytes));
        });
    };
    let removed = |key: &str| {
        let clock = next();
        let version = format!("v{clock}");
        block_in_place(|| Handle::current().block_on(remove(&running, key, &version, clock)));
    };
    conformance::source(&source(&running), put, removed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_is_told_at_once_with_its_orders_and_listed_afterwards() {
    let site = Site::new();
    let running = site.open().await;
    let source = source(&running);
    running.store("before", "v1", 1, b"before").await;
    let before = source.committed_to();
    let mut followed = source.follow();
    running.store("k", "v3", 3, &plain(1, 3 * PART)).await;
    running.store("k", "v2", 2, b"second").await;
    remove(&running, "k", "gone", 4).await;
    // The same again is no commit of anything.
    let mut again = offer("k", "v2", 2, 6);
    again.data_follows = true;
    running.put(again, b"second").await.unwrap();
    let mut told = Vec::new();
    for _ in 0..3 {
        let committed = followed.recv().await.unwrap();
        assert!(committed.sequence.unwrap() > before.sequence);
        told.extend(source.of_names(committed.names).await.unwrap());
    }
    assert!(followed.try_recv().is_err());
    let shown: Vec<_> = told
        .iter()
        .map(|told| {
            let change = &told.change;
            (
                change.name.version.as_str(),
                change.kind,
                change.order.clock >> 16,
            )
        })
        .collect();
    let (put, marker) = (ChangeKind::Put, ChangeKind::DeleteMarker);
    assert_eq!(shown, [("v3", put, 3), ("v2", put, 2), ("gone", marker, 4)]);
    assert_eq!(told[0].change.order.region.as_str(), "us-east");
    assert_eq!(told[0].change.facts.size, 3 * PART as u64);
    // A listing goes on behind any of them.
    let (mut after, mut listed) = (None, Vec::new());
    loop {
        let page = source.versions(after.as_ref(), 1).await.unwrap();
        let Some(last) = page.into_iter().next() else {
            break;
        };
        after = Some(sealift_store::After {
            key: last.change.name.key.clone(),
            order: last.change.order.clone(),
            version: last.change.name.version.clone(),
        });
        listed.push(last);
    }
    let versions: Vec<_> = listed
        .iter()
        .map(|l| l.change.name.version.as_str())
        .collect();
    assert_eq!(versions, ["v1", "gone", "v3", "v2"]);
    let since = listed.iter().filter(|l| l.sequence > before.sequence);
    assert_eq!(since.count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn why_an_archive_does_not_give_a_version_is_said_in_a_sources_words() {
    let site = Site::new();
    let running = site.open().await;
    running.store("k", "v1", 1, b"content").await;
    let source = source(&running);
    let listed = source.look(&name("k", "v1").key).await.unwrap().unwrap();
    let gone = source.open(&listed.key, &name("k", "v9").version).await;
    assert_eq!(gone.unwrap_err().reason(), Reason::SrcObjectGone);
    drop(running);
    site.keystore.disable(CMK).unwrap();
    let running = site.open().await;
    let disabled = ArchiveSource::new(running.archive.clone(), bucket());
    let error = disabled
        .open(&listed.key, &listed.version)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::SrcKmsDecryptDenied, "{error}");
    assert!(error.to_string().contains("Disabled"), "{error}");
}
