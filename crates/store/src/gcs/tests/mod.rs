//! A bucket as a source, against the one of `tests/fake-kms` that speaks as Google's does.

mod reading;
mod trouble;

use std::sync::Arc;

use sealift_fake_kms::Put;
use sealift_host::{OsClock, OsRng};
use sealift_outside::Words;
use sealift_terms::{ObjectKey, Reason, limits::EARLIER_LISTED_MAX};

use super::*;
use crate::{History, Listed, Page, Source, conformance, s3::S3Settings, s3::tests::Stage};

fn stage() -> Stage {
    Stage::google(false)
}

fn source(stage: &Stage, change: impl FnOnce(&mut S3Settings)) -> GcsSource {
    let mut settings = stage.settings();
    settings.words = Words::Google;
    change(&mut settings);
    GcsSource::new(settings, stage.tls(), Arc::new(OsClock), Arc::new(OsRng))
}

fn put(stage: &Stage, name: &str, bytes: &[u8]) -> String {
    let bytes = bytes.to_vec().into();
    let put = Put {
        bytes,
        ..Put::default()
    };
    stage.server.put(name, put)
}

fn key(key: &str) -> ObjectKey {
    ObjectKey::new(key).unwrap()
}

async fn pages(source: &GcsSource, prefix: &str, limit: usize) -> Page {
    let mut scan = source.scan(prefix).await.unwrap();
    let mut all = Page::default();
    loop {
        let page = scan.page(limit).await.unwrap();
        assert!(page.objects.len() <= limit);
        all.objects.extend(page.objects);
        all.removed.extend(page.removed);
        all.skipped.extend(page.skipped);
        if page.last {
            return all;
        }
    }
}

async fn all(source: &GcsSource, prefix: &str, limit: usize) -> Vec<Listed> {
    pages(source, prefix, limit).await.objects
}

fn told(history: &History) -> Vec<String> {
    let earlier = history.earlier.iter();
    earlier.map(|earlier| earlier.version.to_string()).collect()
}

#[tokio::test]
async fn passes_the_conformance_suite_over_tls_and_on_loopback() {
    for is_tls in [true, false] {
        let stage = Stage::google(is_tls);
        let source = source(&stage, |_| {});
        let put = |name: &str, bytes: &[u8]| drop(put(&stage, name, bytes));
        let remove = |name: &str| drop(stage.server.remove(name));
        conformance::source(&source, put, remove).await;
    }
}

#[tokio::test]
async fn a_listing_has_what_is_live_and_what_was_deleted_however_much_lies_below() {
    let stage = stage();
    for version in 0..3 {
        for number in 0..800 {
            let name = format!("k{number:05}");
            put(&stage, &name, format!("{version}").as_bytes());
        }
    }
    for number in (0..800).step_by(4) {
        stage.server.remove(&format!("k{number:05}"));
    }
    let source = source(&stage, |_| {});
    stage.server.asked();
    let page = pages(&source, "", 700).await;
    assert_eq!((page.objects.len(), page.removed.len()), (600, 200));
    assert!(page.objects.is_sorted_by(|a, b| a.key < b.key));
    for listed in &page.objects {
        assert_eq!(listed.history.earlier.len(), 2);
    }
    // 2,400 generations in pages of 1,000, and whether they are kept.
    assert_eq!(stage.server.asked().len(), 1 + 3);
    let first = &page.objects[0];
    let looked = source.look(&first.key).await.unwrap().unwrap();
    assert_eq!(looked, *first);
    assert_eq!(source.look(&key("k00000")).await.unwrap(), None);
}

#[tokio::test]
async fn a_deleted_name_is_a_delete_marker_of_its_last_generation_until_it_is_there_again() {
    let stage = stage();
    let one = put(&stage, "a", b"one");
    let two = put(&stage, "a", b"two");
    let source = source(&stage, |_| {});
    assert_eq!(source.removed(&key("a")).await.unwrap(), None);
    stage.server.remove("a");
    let removed = source.removed(&key("a")).await.unwrap().unwrap();
    assert_eq!(removed.version.as_str(), format!("{two}~deleted"));
    assert_eq!(told(&removed.history), [two.clone(), one.clone()]);
    // The second after that of its last generation.
    assert_eq!(removed.modified.unwrap().as_secs(), 1_577_836_803);
    assert_eq!(pages(&source, "", 9).await.removed, [removed]);
    assert_eq!(source.look(&key("a")).await.unwrap(), None);
    let again = stage.server.undelete("a", &one);
    let listed = source.look(&key("a")).await.unwrap().unwrap();
    assert_eq!(listed.version.as_str(), again);
    assert_eq!(told(&listed.history), [two, one]);
    assert_eq!(source.removed(&key("a")).await.unwrap(), None);
    assert_eq!(source.removed(&key("never")).await.unwrap(), None);
    let read = source.read_whole(&listed.key, &listed.version, 3).await;
    assert_eq!(read.unwrap().bytes, b"one");
}

#[tokio::test]
async fn what_lies_below_is_told_the_newest_first_and_in_full_when_asked() {
    let stage = stage();
    let count = EARLIER_LISTED_MAX + 4;
    // Of one digit and of two: they are numbers, and no words.
    let mut ids: Vec<String> = (0..count).map(|_| put(&stage, "a", b"content")).collect();
    ids.reverse();
    put(&stage, "ab", b"only");
    let source = source(&stage, |_| {});
    let listed = all(&source, "", 9).await;
    assert_eq!(listed[0].version.as_str(), ids[0]);
    assert_eq!(told(&listed[0].history), ids[1..=EARLIER_LISTED_MAX]);
    assert!(listed[0].history.more && listed[1].history == History::default());
    let history = source.history(&key("a")).await.unwrap();
    assert_eq!(told(&history), ids[1..]);
    assert!(!history.more);
    for earlier in history.earlier.iter().take(2) {
        let read = source.read_whole(&key("a"), &earlier.version, 7).await;
        assert_eq!(read.unwrap().bytes, b"content");
    }
}

#[tokio::test]
async fn a_name_with_more_generations_than_a_page_is_listed_by_its_newest() {
    let stage = stage();
    let mut last = String::new();
    for _ in 0..2_100 {
        last = put(&stage, "a", b"x");
    }
    put(&stage, "b", b"x");
    let source = source(&stage, |_| {});
    let listed = all(&source, "", 9).await;
    let names: Vec<_> = listed.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(listed[0].version.as_str(), last);
    assert!(listed[0].history.more);
    let looked = source.look(&key("a")).await.unwrap().unwrap();
    assert_eq!(looked, listed[0]);
    assert_eq!(
        source.history(&key("a")).await.unwrap().earlier.len(),
        2_099
    );
}

#[tokio::test]
async fn only_what_is_below_the_prefix_is_of_the_source() {
    let stage = stage();
    for name in ["a", "in/1", "in/2/x", "inn", "z"] {
        put(&stage, name, b"x");
    }
    let source = source(&stage, |settings| settings.prefix = "in/".to_owned());
    for (prefix, names) in [("", 2), ("i", 2), ("in/2", 1), ("z", 0)] {
        assert_eq!(all(&source, prefix, 9).await.len(), names, "{prefix}");
    }
    assert_eq!(source.look(&key("a")).await.unwrap(), None);
    stage.server.remove("a");
    assert_eq!(source.removed(&key("a")).await.unwrap(), None);
}

#[tokio::test]
async fn a_bucket_that_keeps_no_generations_is_no_source() {
    let stage = stage();
    put(&stage, "a", b"one");
    let source = source(&stage, |_| {});
    for state in ["Suspended", ""] {
        stage.server.set_versioning(state);
        let refused = source.scan("").await.map(drop).unwrap_err();
        assert_eq!(refused.reason(), Reason::SrcVersioningDisabled, "{refused}");
    }
    let one = source.look(&key("a")).await.unwrap().unwrap();
    put(&stage, "a", b"two");
    let gone = source.read_whole(&one.key, &one.version, 3).await;
    assert_eq!(gone.unwrap_err().reason(), Reason::SrcObjectGone);
    stage.server.set_versioning("Enabled");
    let listed = all(&source, "", 9).await;
    assert_eq!((listed.len(), told(&listed[0].history).len()), (1, 0));
}

#[tokio::test]
async fn a_name_that_can_be_no_key_is_told() {
    let stage = stage();
    put(&stage, "a", b"x");
    put(&stage, &"x".repeat(1025), b"x");
    let page = pages(&source(&stage, |_| {}), "", 9).await;
    assert_eq!(page.objects.len(), 1);
    assert_eq!(page.skipped[0].reason, Reason::SrcNameUnsupported);
}
