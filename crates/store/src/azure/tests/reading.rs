//! As a source.

use std::collections::BTreeMap;

use sealift_fake_kms::{AzurePut, Trouble};
use sealift_host::OsRng;
use sealift_terms::{ObjectKey, Reason, limits::EARLIER_LISTED_MAX};

use super::*;
use crate::{History, Listed, Source, conformance};

fn source(stage: &Stage, change: impl FnOnce(&mut AzureSettings)) -> AzureSource {
    let mut settings = stage.settings();
    change(&mut settings);
    AzureSource::new(settings, stage.tls(), Arc::new(OsClock), Arc::new(OsRng))
}

fn put(stage: &Stage, name: &str, bytes: &[u8]) -> String {
    let bytes = bytes.to_vec().into();
    let put = AzurePut {
        bytes,
        ..AzurePut::default()
    };
    stage.server.put(name, put)
}

fn key(key: &str) -> ObjectKey {
    ObjectKey::new(key).unwrap()
}

async fn all(source: &AzureSource, prefix: &str, limit: usize) -> Vec<Listed> {
    let mut scan = source.scan(prefix).await.unwrap();
    let mut listed = Vec::new();
    loop {
        let page = scan.page(limit).await.unwrap();
        assert!(page.objects.len() <= limit && page.removed.is_empty());
        listed.extend(page.objects);
        if page.last {
            return listed;
        }
    }
}

#[tokio::test]
async fn passes_the_conformance_suite_with_versions_and_without() {
    for (keeps_versions, is_tls) in [(true, true), (true, false), (false, false)] {
        let stage = Stage::new(keeps_versions, is_tls);
        let source = source(&stage, |settings| settings.keeps_versions = keeps_versions);
        let put = |name: &str, bytes: &[u8]| drop(put(&stage, name, bytes));
        conformance::source(&source, put, |name| stage.server.remove(name)).await;
    }
}

#[tokio::test]
async fn a_listing_has_what_is_there_however_many_versions_lie_below_it() {
    let stage = Stage::new(true, false);
    for version in 0..3 {
        for number in 0..800 {
            put(
                &stage,
                &format!("k{number:05}"),
                format!("{version}").as_bytes(),
            );
        }
    }
    for number in (0..800).step_by(4) {
        stage.server.remove(&format!("k{number:05}"));
    }
    let source = source(&stage, |_| {});
    stage.server.asked();
    let listed = all(&source, "", 700).await;
    assert_eq!(listed.len(), 600);
    assert!(listed.is_sorted_by(|a, b| a.key < b.key));
    assert!(listed.iter().all(|one| one.history.earlier.len() == 2));
    // 2,400 versions in pages of 1,000, and whether the container is there.
    assert_eq!(stage.server.asked().len(), 1 + 3);
    let looked = source.look(&listed[0].key).await.unwrap().unwrap();
    assert_eq!(looked, listed[0]);
    assert_eq!(source.look(&key("k00000")).await.unwrap(), None);
}

#[tokio::test]
async fn what_lies_below_is_told_the_newest_first_and_in_full_when_asked() {
    let stage = Stage::new(true, false);
    let count = EARLIER_LISTED_MAX + 4;
    let mut ids: Vec<String> = (0..count).map(|_| put(&stage, "a", b"content")).collect();
    ids.reverse();
    put(&stage, "ab", b"only");
    let source = source(&stage, |_| {});
    let told = |history: &History| -> Vec<String> {
        let earlier = history.earlier.iter();
        earlier.map(|earlier| earlier.version.to_string()).collect()
    };
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
async fn metadata_and_tags_come_with_the_bytes() {
    let stage = Stage::new(true, false);
    let large = vec![7; (9 << 20) + 5];
    for (name, bytes) in [("small", &b"small"[..]), ("large", &large)] {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        stage.server.put(
            name,
            AzurePut {
                bytes: bytes.to_vec().into(),
                headers: vec![
                    header("content-type", "text/plain"),
                    header("x-ms-meta-owner", "me"),
                ],
                tags: BTreeMap::from([("team".to_owned(), "<a & b>".to_owned())]),
            },
        );
    }
    let source = source(&stage, |_| {});
    let small = source.look(&key("small")).await.unwrap().unwrap();
    stage.server.asked();
    let read = source
        .read_whole(&small.key, &small.version, 5)
        .await
        .unwrap();
    assert_eq!(stage.server.asked(), ["GetBlob", "GetBlobTags"]);
    let listed = source.look(&key("large")).await.unwrap().unwrap();
    let names = [
        (small.key.clone(), small.version.clone()),
        (listed.key.clone(), listed.version.clone()),
    ];
    for told in source.tags_of_all(&names).await {
        assert_eq!(told.unwrap()["team"], "<a & b>");
    }
    let object = source.open(&listed.key, &listed.version).await.unwrap();
    for facts in [&*read.facts.unwrap(), object.facts()] {
        assert_eq!(facts.content_type.as_deref(), Some("text/plain"));
        assert_eq!(facts.metadata["owner"], "me");
        assert_eq!(facts.tags["team"], "<a & b>");
    }
    stage.server.asked();
    let mut bytes = vec![0; large.len()];
    for (n, piece) in bytes.chunks_mut(1 << 20).enumerate() {
        object.read_exact_at(piece, (n as u64) << 20).await.unwrap();
    }
    object.finish().await.unwrap();
    assert!(bytes == large);
    assert_eq!(stage.server.asked(), ["GetBlob", "GetBlob"]);
}

#[tokio::test]
async fn only_what_is_below_the_prefix_is_of_the_source() {
    let stage = Stage::new(false, false);
    for name in ["a", "in/1", "in/2/x", "inn", "z"] {
        put(&stage, name, b"x");
    }
    let source = source(&stage, |settings| settings.prefix = "in/".to_owned());
    for (prefix, keys) in [("", 2), ("i", 2), ("in/2", 1), ("z", 0)] {
        assert_eq!(all(&source, prefix, 9).await.len(), keys, "{prefix}");
    }
    assert_eq!(source.look(&key("a")).await.unwrap(), None);
}

#[tokio::test]
async fn a_blob_from_before_versions_were_kept_is_known_by_its_entity_tag() {
    let stage = Stage::new(false, false);
    put(&stage, "a", b"one");
    let source = source(&stage, |_| {});
    let one = source.look(&key("a")).await.unwrap().unwrap();
    assert!(one.version.as_str().starts_with("null~"));
    put(&stage, "a", b"two");
    stage.server.set_versioning(true);
    let gone = source.read_whole(&one.key, &one.version, 3).await;
    assert_eq!(gone.unwrap_err().reason(), Reason::SrcObjectChanged);
    let two = source.look(&key("a")).await.unwrap().unwrap();
    let read = source.read_whole(&two.key, &two.version, 3).await;
    assert_eq!(read.unwrap().bytes, b"two");
}

#[tokio::test]
async fn trouble_has_its_reason_and_a_container_that_is_not_there_is_not_empty() {
    let stage = Stage::new(true, false);
    put(&stage, "a", b"x");
    let source = source(&stage, |_| {});
    let probes = source.probe().await;
    assert!(
        probes.iter().all(|probe| probe.outcome.is_ok()),
        "{probes:?}"
    );
    let first = source.look(&key("a")).await.unwrap().unwrap();
    for (trouble, reason) in [
        (Trouble::Throttled, Reason::SrcUnavailable),
        (Trouble::Denied, Reason::SrcGetDenied),
        (Trouble::Unreachable, Reason::SrcUnavailable),
    ] {
        stage.server.trouble(trouble);
        let refused = source.scan("").await.map(drop).unwrap_err();
        assert_eq!(refused.reason(), reason, "{refused}");
        let refused = source.read_whole(&first.key, &first.version, 1).await;
        assert_eq!(refused.unwrap_err().reason(), reason);
    }
    stage.server.trouble(Trouble::None);
    stage.server.deny("GetBlobTags", true);
    let probes = source.probe().await;
    let failed: Vec<_> = probes
        .iter()
        .filter(|probe| probe.outcome.is_err())
        .collect();
    assert_eq!(
        (failed.len(), failed[0].action),
        (1, AZURE_SOURCE_ACTIONS[1])
    );
    let nowhere = super::reading::source(&stage, |settings| {
        settings.container = BucketName::new("nowhere").unwrap();
    });
    let missing = nowhere.scan("").await.map(drop).unwrap_err();
    assert_eq!(missing.reason(), Reason::SrcUnavailable, "{missing}");
}

/// Nothing has to stand before the first scan, and nothing asks for another one.
#[tokio::test]
async fn it_is_scanned_at_once() {
    let stage = Stage::new(true, false);
    let mut watch = source(&stage, |_| ()).watch().unwrap();
    assert_eq!(watch.hints.recv().await, Some(crate::Hint::Rescan));
    assert!(watch.hints.is_empty() && !watch.hints.is_closed());
}

#[tokio::test]
async fn what_is_archived_and_a_clock_that_is_wrong_are_told_by_their_reasons() {
    let stage = Stage::new(true, false);
    put(&stage, "a", b"x");
    let source = source(&stage, |_| {});
    let listed = source.look(&key("a")).await.unwrap().unwrap();
    let reasons = async || {
        let (key, version) = (&listed.key, &listed.version);
        let whole = source.read_whole(key, version, 1).await.map(drop);
        let windows = async {
            let object = source.open(key, version).await?;
            object.read_exact_at(&mut [0], 0).await
        };
        [whole, windows.await].map(|read| read.err().map(|error| error.reason()))
    };
    let error = |code: &str, more: &str| {
        format!("<Error><Code>{code}</Code><Message>no</Message>{more}</Error>")
    };
    let archived = error("BlobArchived", "");
    stage.server.answer_with("GetBlob", 409, &[], &archived);
    assert_eq!(reasons().await, [Some(Reason::SkippedUnreadable); 2]);
    let detail = "<AuthenticationErrorDetail>Request date header too old: 'Fri, 27 Nov 2020 03:56:07 \
                  GMT'</AuthenticationErrorDetail>";
    let skewed = error("AuthenticationFailed", detail);
    stage.server.answer_with("GetBlob", 403, &[], &skewed);
    assert_eq!(reasons().await, [Some(Reason::ClockSkew); 2]);
    // An answer to a HEAD has no more than the code, and when it was given.
    let long_ago = ("date", "Fri, 27 Nov 2020 03:56:07 GMT");
    let headers = [("x-ms-error-code", "AuthenticationFailed"), long_ago];
    stage
        .server
        .answer_with("GetBlobProperties", 403, &headers, "");
    let opened = source.open(&listed.key, &listed.version).await.map(drop);
    assert_eq!(opened.unwrap_err().reason(), Reason::ClockSkew);
    stage
        .server
        .answer_with("GetBlobProperties", 403, &headers[..1], "");
    let opened = source.open(&listed.key, &listed.version).await.map(drop);
    assert_eq!(opened.unwrap_err().reason(), Reason::SrcGetDenied);
}

/// The next scan would take what such a listing does not reach for gone.
#[tokio::test]
async fn a_listing_whose_pages_repeat_or_are_empty_ends_with_an_error() {
    let stage = Stage::new(true, false);
    let source = source(&stage, |_| {});
    let blob =
        "<Blob><Name>a</Name><Properties><Content-Length>1</Content-Length></Properties></Blob>";
    for blobs in [blob, ""] {
        let body = format!(
            "<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>m</NextMarker></EnumerationResults>"
        );
        stage.server.answer_with("ListBlobs", 200, &[], &body);
        let mut scan = source.scan("").await.unwrap();
        let error = scan.page(5000).await.unwrap_err();
        assert_eq!(error.reason(), Reason::SrcUnavailable, "{error}");
        assert!(source.look(&key("a")).await.is_err());
    }
    assert!(stage.server.asked().len() < 20);
}
