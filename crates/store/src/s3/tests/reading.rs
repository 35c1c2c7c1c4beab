//! What is read: bytes, facts, tags, checksums, and in how many requests.

use std::collections::{BTreeMap, BTreeSet};

use sealift_terms::{Checksum, limits::S3_WINDOW_BYTES};

use super::*;

fn bytes(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

#[tokio::test]
async fn facts_tags_and_the_stores_checksum_come_with_the_bytes_of_small_and_large() {
    let stage = Stage::new(false);
    let put = Put {
        bytes: bytes(10).into(),
        headers: headers(&[
            ("content-type", "image/png"),
            ("cache-control", "no-store"),
            ("x-amz-meta-owner", "Zo\u{eb}"),
            ("x-amz-storage-class", "STANDARD_IA"),
            ("x-amz-checksum-type", "FULL_OBJECT"),
            ("x-amz-checksum-crc64nvme", "AQIDBAUGBwg="),
        ]),
        tags: BTreeMap::from([("class".to_owned(), "a & b".to_owned())]),
        kms_key: None,
    };
    stage.server.put("a", put);
    let source = stage.source(|_| {});
    let listed = source.look(&key("a")).await.unwrap().unwrap();
    let whole = source
        .read_whole(&listed.key, &listed.version, 10)
        .await
        .unwrap();
    let object = source.open(&listed.key, &listed.version).await.unwrap();
    let facts = *whole.facts.unwrap();
    assert_eq!((whole.bytes, &facts), (bytes(10), object.facts()));
    let checksum = Some(Checksum::crc64nvme(0x0102_0304_0506_0708));
    assert_eq!(
        (&whole.checksum, object.checksum()),
        (&checksum, checksum.clone())
    );
    assert_eq!(facts.content_type.as_deref(), Some("image/png"));
    assert_eq!(facts.metadata["owner"], "Zo\u{eb}");
    assert_eq!(facts.tags["class"], "a & b");
    assert_eq!(facts.system["storage-class"], "STANDARD_IA");
    assert_eq!(facts.system["cache-control"], "no-store");
}

#[tokio::test]
async fn tags_are_asked_for_until_the_store_was_seen_to_tell_of_them() {
    let stage = Stage::new(false);
    stage.put("plain", b"x");
    let tagged = Put {
        tags: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        ..plain(b"x")
    };
    stage.server.put("tagged", tagged);
    let source = stage.source(|_| {});
    let read = async |name: &str| {
        let listed = source.look(&key(name)).await.unwrap().unwrap();
        stage.server.asked();
        let whole = source
            .read_whole(&listed.key, &listed.version, 1)
            .await
            .unwrap();
        (whole.facts.unwrap().tags.len(), stage.server.asked().len())
    };
    assert_eq!(read("plain").await, (0, 2));
    assert_eq!(read("tagged").await, (1, 2));
    assert_eq!(
        read("plain").await,
        (0, 1),
        "one request for a small object without tags"
    );
}

/// The store leaves out how many tags there are where they may not be read.
#[tokio::test]
async fn tags_that_may_not_be_read_any_more_are_no_tags_that_are_not_there() {
    let stage = Stage::new(false);
    let tagged = || Put {
        tags: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        ..plain(b"x")
    };
    stage.server.put("a/1", tagged());
    stage.server.put("b/1", tagged());
    let source = stage.source(|_| {});
    let read = async |name: &str| {
        let listed = source.look(&key(name)).await.unwrap().unwrap();
        let whole = source.read_whole(&listed.key, &listed.version, 1).await;
        whole.map(|whole| whole.facts.unwrap().tags.len())
    };
    assert_eq!(read("a/1").await.unwrap(), 1);
    stage.server.deny("s3:GetObjectVersionTagging", true);
    let denied = read("b/1").await.unwrap_err();
    assert_eq!(denied.reason(), Reason::SrcGetDenied, "{denied}");
    stage.server.deny("s3:GetObjectVersionTagging", false);
    assert_eq!(read("b/1").await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_are_read_side_by_side_in_small_steps_cost_a_request_a_window() {
    const STEP: usize = 256 << 10;
    let stage = Stage::new(true);
    let content = bytes(3 * S3_WINDOW_BYTES as usize + 12_345);
    stage.put("large", &content);
    let source = Arc::new(stage.source(|_| {}));
    let listed = source.look(&key("large")).await.unwrap().unwrap();
    stage.server.asked();
    let object = source.open(&listed.key, &listed.version).await.unwrap();
    let mut parts = tokio::task::JoinSet::new();
    for (from, to) in [
        (0, 2 * S3_WINDOW_BYTES as usize),
        (2 * S3_WINDOW_BYTES as usize, content.len()),
    ] {
        let object = object.clone();
        parts.spawn(async move {
            let mut read = vec![0; to - from];
            for (step, piece) in read.chunks_mut(STEP).enumerate() {
                let at = (from + step * STEP) as u64;
                object.read_exact_at(piece, at).await.unwrap();
            }
            (from, read)
        });
    }
    while let Some(part) = parts.join_next().await {
        let (from, read) = part.unwrap();
        assert!(read == content[from..from + read.len()], "from {from}");
    }
    object.finish().await.unwrap();
    // HeadObject, GetObjectTagging, four windows.
    assert_eq!(stage.server.asked().len(), 6);
}

#[tokio::test]
async fn what_is_begun_and_not_read_on_is_bounded_and_goes_with_its_object() {
    let stage = Stage::new(false);
    let source = stage.source(|_| {});
    let mut objects = Vec::new();
    for number in 0..20 {
        let name = format!("k{number}");
        stage.put(&name, &bytes(1 << 20));
        let listed = source.look(&key(&name)).await.unwrap().unwrap();
        let object = source.open(&listed.key, &listed.version).await.unwrap();
        object.read_exact_at(&mut [0; 100], 0).await.unwrap();
        objects.push((object, name));
    }
    let kept = sealift_terms::limits::S3_STREAMS_KEPT_MAX;
    assert_eq!(format!("{:?}", source.streams), format!("{kept} streams"));
    // One whose answer was given up is asked for again.
    let mut rest = vec![0; 1000];
    objects[0].0.read_exact_at(&mut rest, 100).await.unwrap();
    assert_eq!(rest, bytes(1100)[100..]);
    drop(objects);
    assert_eq!(format!("{:?}", source.streams), "0 streams");
}

#[tokio::test]
async fn a_version_of_another_size_than_was_listed_is_not_taken() {
    let stage = Stage::new(false);
    stage.put("a", b"four");
    let source = stage.source(|_| {});
    let listed = source.look(&key("a")).await.unwrap().unwrap();
    for size in [3, 5] {
        let read = source.read_whole(&listed.key, &listed.version, size).await;
        assert_eq!(
            read.unwrap_err().reason(),
            Reason::SrcObjectChanged,
            "{size}"
        );
    }
}

#[tokio::test]
async fn an_object_under_a_key_that_is_not_named_or_cannot_be_used_says_so() {
    let stage = Stage::new(false);
    let under = |name: &str| Put {
        kms_key: Some(name.to_owned()),
        ..plain(b"x")
    };
    for name in ["arn:ours", "arn:other"] {
        stage.server.put(name, under(name));
    }
    let source = stage.source(|settings| {
        settings.kms_keys = Some(BTreeSet::from(["arn:ours".to_owned()]));
    });
    let reasons = async |name: &str| {
        let listed = source.look(&key(name)).await.unwrap().unwrap();
        let whole = source
            .read_whole(&listed.key, &listed.version, 1)
            .await
            .map(drop);
        let opened = source.open(&listed.key, &listed.version).await.map(drop);
        [whole, opened].map(|read| read.err().map(|error| error.reason()))
    };
    assert_eq!(reasons("arn:ours").await, [None, None]);
    assert_eq!(
        reasons("arn:other").await,
        [Some(Reason::SkippedKmsNotSelected); 2]
    );
    stage.server.deny_key("arn:ours", true);
    assert_eq!(
        reasons("arn:ours").await,
        [Some(Reason::SrcKmsDecryptDenied); 2]
    );
    stage.server.deny_key("arn:ours", false);
    assert_eq!(reasons("arn:ours").await, [None, None]);
}
