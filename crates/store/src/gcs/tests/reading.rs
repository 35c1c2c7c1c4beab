//! What is read: bytes, facts, checksums, and in how many requests.

use std::collections::BTreeSet;

use sealift_terms::limits::S3_WINDOW_BYTES;

use super::*;

fn with(stage: &Stage, name: &str, bytes: &[u8], headers: &[(&str, &str)]) -> String {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let put = Put {
        bytes: bytes.to_vec().into(),
        headers: headers.iter().map(owned).collect(),
        ..Put::default()
    };
    stage.server.put(name, put)
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect()
}

/// Reads all of an object in steps, the second half before the first.
async fn read(source: &GcsSource, name: &str, size: usize) -> Result<Vec<u8>, crate::StoreError> {
    const STEP: usize = 256 << 10;
    let listed = source.look(&key(name)).await?.unwrap();
    let object = source.open(&listed.key, &listed.version).await?;
    let mut read = vec![0; size];
    let half = (size / STEP / 2) * STEP;
    let (first, second) = read.split_at_mut(half);
    for (from, part) in [(half, second), (0, first)] {
        for (step, piece) in part.chunks_mut(STEP).enumerate() {
            let at = (from + step * STEP) as u64;
            object.read_exact_at(piece, at).await?;
        }
    }
    object.finish().await?;
    Ok(read)
}

#[tokio::test]
async fn facts_come_with_the_bytes_of_small_and_large_and_cost_a_request_a_window() {
    let stage = stage();
    let large = bytes(2 * S3_WINDOW_BYTES as usize + 12_345);
    let headers = [
        ("content-type", "text/plain"),
        ("cache-control", "no-store"),
        ("x-goog-storage-class", "NEARLINE"),
        ("x-goog-meta-owner", "me"),
    ];
    with(&stage, "small", b"small", &headers);
    with(&stage, "large", &large, &headers);
    let source = source(&stage, |_| {});
    let small = source.look(&key("small")).await.unwrap().unwrap();
    stage.server.asked();
    let whole = source.read_whole(&small.key, &small.version, 5).await;
    let whole = whole.unwrap();
    assert_eq!(stage.server.asked(), ["storage.objects.get"]);
    let listed = source.look(&key("large")).await.unwrap().unwrap();
    let object = source.open(&listed.key, &listed.version).await.unwrap();
    for facts in [&*whole.facts.unwrap(), object.facts()] {
        assert_eq!(facts.content_type.as_deref(), Some("text/plain"));
        assert_eq!(facts.metadata["owner"], "me");
        assert_eq!(facts.system["storage-class"], "NEARLINE");
        assert_eq!(facts.system["metageneration"], "1");
        assert!(facts.system.contains_key("generation"));
    }
    stage.server.asked();
    assert!(read(&source, "large", large.len()).await.unwrap() == large);
    // A listing, HEAD, three windows.
    let asked = stage.server.asked();
    assert_eq!(asked.len(), 5, "{asked:?}");
}

#[tokio::test]
async fn bytes_that_are_not_those_of_the_checksum_are_not_taken() {
    let stage = stage();
    let wrong = [("x-goog-hash", "crc32c=AQIDBA==")];
    let content = bytes(3 << 20);
    with(&stage, "small", b"small", &wrong);
    with(&stage, "large", &content, &wrong);
    let source = source(&stage, |_| {});
    let small = source.look(&key("small")).await.unwrap().unwrap();
    let refused = source.read_whole(&small.key, &small.version, 5).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.reason(), Reason::ChecksumMismatch, "{refused}");
    let refused = read(&source, "large", content.len()).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::ChecksumMismatch, "{refused}");
    with(&stage, "large", &content, &[]);
    assert!(read(&source, "large", content.len()).await.unwrap() == content);
}

#[tokio::test]
async fn what_is_stored_compressed_comes_as_it_is_stored() {
    let stage = stage();
    let content = bytes(300_000);
    let gzip = [("content-encoding", "gzip")];
    with(&stage, "small", b"small", &gzip);
    with(&stage, "large", &content, &gzip);
    let source = source(&stage, |_| {});
    let small = source.look(&key("small")).await.unwrap().unwrap();
    let whole = source.read_whole(&small.key, &small.version, 5).await;
    let whole = whole.unwrap();
    assert_eq!(whole.bytes, b"small");
    assert_eq!(whole.facts.unwrap().system["content-encoding"], "gzip");
    assert!(read(&source, "large", content.len()).await.unwrap() == content);
}

#[tokio::test]
async fn a_generation_that_was_overwritten_while_it_is_read_is_read_to_its_end() {
    let stage = stage();
    let content = bytes(S3_WINDOW_BYTES as usize + 5);
    with(&stage, "a", &content, &[]);
    let source = source(&stage, |_| {});
    let listed = source.look(&key("a")).await.unwrap().unwrap();
    let object = source.open(&listed.key, &listed.version).await.unwrap();
    let mut read = vec![0; content.len()];
    let (first, rest) = read.split_at_mut(1000);
    object.read_exact_at(first, 0).await.unwrap();
    with(&stage, "a", b"other", &[]);
    stage.server.remove("a");
    object.read_exact_at(rest, 1000).await.unwrap();
    object.finish().await.unwrap();
    assert!(read == content);
}

#[tokio::test]
async fn an_object_under_a_key_that_is_not_named_or_cannot_be_used_says_so() {
    const RING: &str = "projects/p/locations/eu/keyRings/r/cryptoKeys";
    let stage = stage();
    for name in ["ours", "other"] {
        let put = Put {
            bytes: b"x"[..].into(),
            kms_key: Some(format!("{RING}/{name}/cryptoKeyVersions/3")),
            ..Put::default()
        };
        stage.server.put(name, put);
    }
    let named = BTreeSet::from([format!("{RING}/ours")]);
    let source = source(&stage, |settings| settings.kms_keys = Some(named));
    let reasons = async |name: &str| {
        let listed = source.look(&key(name)).await.unwrap().unwrap();
        let whole = source.read_whole(&listed.key, &listed.version, 1).await;
        let opened = source.open(&listed.key, &listed.version).await;
        [whole.map(drop), opened.map(drop)].map(|read| read.err().map(|error| error.reason()))
    };
    assert_eq!(reasons("ours").await, [None, None]);
    let skipped = Some(Reason::SkippedKmsNotSelected);
    assert_eq!(reasons("other").await, [skipped, skipped]);
    let ours = format!("{RING}/ours/cryptoKeyVersions/3");
    stage.server.deny_key(&ours, true);
    assert_eq!(reasons("ours").await[0], Some(Reason::SrcKmsDecryptDenied));
    stage.server.deny_key(&ours, false);
    assert_eq!(reasons("ours").await, [None, None]);
}

#[tokio::test]
async fn an_object_under_a_key_of_its_writers_is_skipped() {
    let stage = stage();
    let theirs = [("x-goog-encryption-key-sha256", "AQID")];
    with(&stage, "a", b"x", &theirs);
    let source = source(&stage, |_| {});
    let listed = source.look(&key("a")).await.unwrap().unwrap();
    let whole = source.read_whole(&listed.key, &listed.version, 1).await;
    assert_eq!(whole.unwrap_err().reason(), Reason::SkippedUnreadable);
    let opened = source.open(&listed.key, &listed.version).await;
    assert_eq!(opened.unwrap_err().reason(), Reason::SkippedUnreadable);
}

#[tokio::test]
async fn a_generation_of_another_size_than_was_listed_is_not_taken() {
    let stage = stage();
    put(&stage, "a", b"four");
    let source = source(&stage, |_| {});
    let listed = source.look(&key("a")).await.unwrap().unwrap();
    for size in [3, 5] {
        let read = source.read_whole(&listed.key, &listed.version, size).await;
        let reason = read.unwrap_err().reason();
        assert_eq!(reason, Reason::SrcObjectChanged, "{size}");
    }
}

/// Nothing has to stand before the first scan, and nothing asks for another one.
#[tokio::test]
async fn it_is_scanned_at_once() {
    let stage = stage();
    let mut watch = source(&stage, |_| ()).watch().unwrap();
    assert_eq!(watch.hints.recv().await, Some(crate::Hint::Rescan));
    assert!(watch.hints.is_empty() && !watch.hints.is_closed());
}
