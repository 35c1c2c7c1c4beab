//! What goes wrong at Google and on the way to it.

use sealift_fake_kms::Trouble;
use sealift_terms::BucketName;

use super::*;

#[tokio::test]
async fn a_bucket_that_throttles_is_asked_again_and_then_put_off() {
    let stage = stage();
    put(&stage, "a", b"x");
    let source = source(&stage, |_| {});
    let listed = source.look(&key("a")).await.unwrap().unwrap();
    stage.server.trouble(Trouble::ThrottledFor(3));
    let read = source.read_whole(&listed.key, &listed.version, 1).await;
    assert_eq!(read.unwrap().bytes, b"x");
    for (trouble, reason) in [
        (Trouble::Throttled, Reason::SrcUnavailable),
        (Trouble::Broken, Reason::SrcUnavailable),
        (Trouble::Unreachable, Reason::SrcUnavailable),
        (Trouble::Denied, Reason::SrcGetDenied),
    ] {
        stage.server.trouble(trouble);
        let (key, version) = (&listed.key, &listed.version);
        for failure in [
            source.read_whole(key, version, 1).await.map(drop),
            source.open(key, version).await.map(drop),
            source.look(key).await.map(drop),
            source.scan("").await.map(drop),
        ] {
            let error = failure.unwrap_err();
            assert_eq!(error.reason(), reason, "{trouble:?}: {error}");
            assert!(!error.reason().is_permanent());
        }
    }
}

#[tokio::test]
async fn each_permission_that_is_missing_is_named_by_the_check() {
    let stage = stage();
    let source = source(&stage, |_| {});
    let outcomes = async || {
        let probes = source.probe().await.into_iter();
        probes
            .map(|probe| (probe.action, probe.outcome.map_err(|error| error.reason())))
            .collect::<Vec<_>>()
    };
    let empty = outcomes().await;
    assert_eq!(empty.len(), 2, "{empty:?}");
    assert!(empty[1].1.as_ref().unwrap().contains("no object"));
    put(&stage, "a", b"x");
    let good = outcomes().await;
    let tried: Vec<_> = good.iter().map(|(action, _)| *action).collect();
    assert_eq!(tried, GCS_SOURCE_ACTIONS);
    assert!(good.iter().all(|(_, outcome)| outcome.is_ok()), "{good:?}");
    for action in GCS_SOURCE_ACTIONS {
        stage.server.deny(action, true);
        for (found, outcome) in outcomes().await {
            let expected = (found == action).then_some(Reason::SrcGetDenied);
            assert_eq!(outcome.err(), expected, "{found} while {action} is denied");
        }
        stage.server.deny(action, false);
    }
    stage.server.set_versioning("Suspended");
    assert_eq!(outcomes().await[0].1, Err(Reason::SrcVersioningDisabled));
}

#[tokio::test]
async fn the_permissions_that_are_used_are_those_that_the_role_has() {
    let stage = stage();
    put(&stage, "a", b"x");
    let source = source(&stage, |_| {});
    let listed = all(&source, "", 9).await.remove(0);
    let (key, version) = (&listed.key, &listed.version);
    source.look(key).await.unwrap();
    source.open(key, version).await.unwrap();
    source.read_whole(key, version, 1).await.unwrap();
    source.history(key).await.unwrap();
    source.removed(key).await.unwrap();
    source.probe().await;
    for action in stage.server.asked() {
        assert!(GCS_SOURCE_ACTIONS.contains(&action.as_str()), "{action}");
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_not_empty() {
    let stage = stage();
    let source = source(&stage, |settings| {
        settings.bucket = BucketName::new("nowhere").unwrap();
    });
    let missing = source.scan("").await.map(drop).unwrap_err();
    assert_eq!(missing.reason(), Reason::SrcUnavailable, "{missing}");
}

/// The next scan would take what such a listing does not reach for gone.
#[tokio::test]
async fn a_listing_whose_pages_repeat_ends_with_an_error() {
    let stage = stage();
    let source = source(&stage, |_| {});
    let version = "<Version><Key>a</Key><Generation>7</Generation><Size>1</Size></Version>";
    let next = "<NextMarker>a</NextMarker><NextGenerationMarker>7</NextGenerationMarker>";
    for inner in [format!("{version}{next}"), next.to_owned(), String::new()] {
        let body =
            format!("<ListBucketResult><IsTruncated>true</IsTruncated>{inner}</ListBucketResult>");
        stage
            .server
            .answer_with("storage.objects.list", 200, &[], &body);
        let mut scan = source.scan("").await.unwrap();
        let error = scan.page(5000).await.unwrap_err();
        assert_eq!(error.reason(), Reason::SrcUnavailable, "{error}");
        assert!(source.look(&key("a")).await.is_err());
    }
}

/// Google takes a condition for the live generation alone: an answer is held against the number.
#[tokio::test]
async fn bytes_of_another_generation_than_was_recorded_are_never_taken() {
    let stage = stage();
    put(&stage, "a", b"four");
    let source = source(&stage, |_| {});
    let listed = source.look(&key("a")).await.unwrap().unwrap();
    let (key, version) = (&listed.key, &listed.version);
    let object = source.open(key, version).await.unwrap();
    for told in [&[("x-goog-generation", "77")][..], &[]] {
        let range = [told, &[("content-range", "bytes 0-3/4")]].concat();
        stage
            .server
            .answer_with("storage.objects.get", 206, &range, "four");
        assert!(object.read_exact_at(&mut [0; 4], 0).await.is_err());
        stage
            .server
            .answer_with("storage.objects.get", 200, told, "four");
        for error in [
            source
                .read_whole(key, version, 4)
                .await
                .map(drop)
                .unwrap_err(),
            source.open(key, version).await.map(drop).unwrap_err(),
        ] {
            assert_eq!(error.reason(), Reason::SrcObjectChanged, "{error}");
        }
    }
}
