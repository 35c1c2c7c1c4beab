//! What goes wrong at a bucket, and what is said of it.

use sealift_fake_kms::Trouble;

use super::*;
use crate::S3_STORE_ACTIONS;

async fn put(store: &BucketStore, file: &StoreName) -> Result<(), StoreError> {
    store.discard(file).await?;
    let staged = store.create(file).await?;
    staged.write_at(b"x", 0).await?;
    staged.sync().await?;
    store.publish(std::slice::from_ref(file)).await
}

#[tokio::test]
async fn throttling_and_failures_are_waited_out_and_then_have_their_reason() {
    let site = Site::new();
    let store = site.open().await;
    let file = name("objects/ab/1");
    site.server().trouble(Trouble::ThrottledFor(3));
    put(&store, &file).await.unwrap();
    for trouble in [Trouble::Throttled, Trouble::Broken, Trouble::Unreachable] {
        site.server().trouble(trouble);
        let failed = put(&store, &file).await.unwrap_err();
        assert_eq!(failed.reason(), Reason::DstStoreUnavailable, "{failed}");
        assert!(failed.leaves_it_whole());
    }
    site.server().trouble(Trouble::None);
    store.publish(std::slice::from_ref(&file)).await.unwrap();
}

#[tokio::test]
async fn what_is_denied_is_named() {
    let site = Site::new();
    let store = site.open().await;
    let file = name("objects/ab/1");
    put(&store, &file).await.unwrap();
    site.server().deny("s3:DeleteObject", true);
    let denied = store.remove(&file).await.unwrap_err();
    assert_eq!(denied.reason(), Reason::DstDeleteDenied);
    site.server().deny("s3:PutObject", true);
    let denied = put(&store, &name("objects/ab/2")).await.unwrap_err();
    assert_eq!(denied.reason(), Reason::DstPutDenied);
    let file = stage(&store, &name("objects/ab/3.slf"), &content(LARGE), &[]).await;
    let denied = file.prepare().await.unwrap_err();
    assert_eq!(denied.reason(), Reason::DstPutDenied);
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_said_to_be_missing() {
    let site = Site::new();
    let mut settings = site.stage.settings();
    settings.bucket = sealift_terms::BucketName::new("nowhere").unwrap();
    let machine = Machine {
        disk: Arc::new(OsDisk),
        clock: Arc::new(OsClock),
        rng: Arc::new(OsRng),
    };
    let staging = site.dir.join("staging");
    let times = LeaseTimes::default();
    let store = BucketStore::new(settings, None, machine, &site.dir, &staging, times);
    let missing = store.await.unwrap().begin(true).await.unwrap_err();
    assert_eq!(missing.reason(), Reason::DstBucketMissing, "{missing:?}");
}

#[tokio::test]
async fn a_pack_whose_sync_failed_is_never_believed_again() {
    let site = Site::new();
    let store = site.open().await;
    let pack = store.append(&name("packs/1")).await.unwrap();
    pack.write_at(b"one", 0).await.unwrap();
    // The answer is lost, and comes with the next try.
    site.server().lose_answers("s3:PutObject", 2);
    pack.sync().await.unwrap();
    pack.write_at(b"two", 3).await.unwrap();
    site.server().fail("s3:PutObject", 5);
    assert_eq!(
        pack.sync().await.unwrap_err().reason(),
        Reason::DstStoreUnavailable
    );
    assert!(matches!(
        pack.sync().await,
        Err(StoreError::Abandoned { .. })
    ));
    assert_eq!(site.server().bytes("sealed/packs/1").unwrap(), &b"one"[..]);
}

#[tokio::test]
async fn a_check_names_the_action_that_is_missing_and_leaves_nothing() {
    let site = Site::new();
    let store = site.open().await;
    let good = store.check().await;
    assert!(good.iter().all(|probe| probe.outcome.is_ok()), "{good:?}");
    for action in S3_STORE_ACTIONS {
        assert!(good.iter().any(|probe| probe.action == action), "{action}");
        site.server().deny(action, true);
        let probes = store.check().await;
        let failed = probes.iter().filter(|probe| probe.outcome.is_err());
        let failed: Vec<_> = failed.map(|probe| probe.action).collect();
        assert_eq!(failed, [action]);
        site.server().deny(action, false);
    }
    assert_eq!(store.check().await.len(), good.len());
    assert!(
        !site
            .server()
            .keys()
            .contains(&"sealed/.sealift-check".to_owned())
    );
    // What could not be given up then is, as soon as it may be.
    drop(store);
    site.open().await;
    assert!(site.server().open_uploads().is_empty());
}

/// What a policy allows is what is asked for, and nothing else.
#[tokio::test]
async fn no_action_is_asked_for_that_a_policy_does_not_name() {
    let site = Site::new();
    let store = site.open().await;
    let large = name("objects/ab/1.slf");
    let file = stage(&store, &large, &content(LARGE), &[0, 1]).await;
    file.prepare().await.unwrap();
    drop(file);
    drop(store);
    let store = site.open().await;
    let file = store.reopen(&large).await.unwrap();
    file.cut(cut());
    file.sync().await.unwrap();
    store.publish(std::slice::from_ref(&large)).await.unwrap();
    is_stored(&store, &large, &content(LARGE)).await;
    put(&store, &name("objects/ab/2")).await.unwrap();
    store.list("", None, 10).await.unwrap();
    store.remove(&large).await.unwrap();
    store.check().await;
    let asked = site.server().asked();
    let asked: std::collections::BTreeSet<_> = asked
        .iter()
        .map(|action| action.split(' ').next().unwrap())
        .collect();
    assert_eq!(asked, S3_STORE_ACTIONS.into_iter().collect());
}

/// The lease is written anew all the time, which other classes charge for.
#[tokio::test]
async fn content_rests_in_the_class_that_is_wanted_and_the_lease_in_the_usual_one() {
    for (mut site, header, wanted) in [
        (Site::new(), "x-amz-storage-class", "STANDARD_IA"),
        (Site::google(), "x-goog-storage-class", "NEARLINE"),
    ] {
        site.class = Some(wanted.to_owned());
        let store = site.open().await;
        let large = name("objects/ab/1.slf");
        let file = stage(&store, &large, &content(LARGE), &[0, 1]).await;
        file.prepare().await.unwrap();
        store.publish(std::slice::from_ref(&large)).await.unwrap();
        let files = ["packs/1", "records/1"];
        for file in files {
            let file = store.append(&name(file)).await.unwrap();
            file.write_at(b"one", 0).await.unwrap();
            file.sync().await.unwrap();
        }
        let class = |key: &str| {
            let key = format!("sealed/{key}");
            assert!(site.server().bytes(&key).is_some(), "{key}");
            site.server().header(&key, header)
        };
        for content in ["objects/ab/1.slf", "packs/1"] {
            assert_eq!(class(content).as_deref(), Some(wanted), "{content}");
        }
        for small in ["records/1", ".sealift-store"] {
            assert_eq!(class(small), None, "{small}");
        }
    }
}

/// A rebuild would take what such a listing leaves out for not there.
#[tokio::test]
async fn a_listing_of_files_or_uploads_that_does_not_get_on_is_an_error() {
    let site = Site::new();
    let store = site.open().await;
    let files = |content: &str| {
        format!("<ListBucketResult><IsTruncated>true</IsTruncated>{content}</ListBucketResult>")
    };
    let one = "<Contents><Key>sealed/packs/1</Key><Size>1</Size></Contents>";
    for body in [files(""), files(one)] {
        site.server().answer_with("s3:ListBucket", 200, &[], &body);
        let error = store.list("packs/", None, 99).await.unwrap_err();
        assert_eq!(error.reason(), Reason::DstStoreUnavailable, "{error}");
    }
    site.server().answer_rightly("s3:ListBucket");
    let place = &store.inner.place;
    let next = "<NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker>";
    for next in ["", next] {
        let body = format!(
            "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated>{next}</ListMultipartUploadsResult>"
        );
        let uploads = "s3:ListBucketMultipartUploads";
        site.server().answer_with(uploads, 200, &[], &body);
        assert!(place.uploads("").await.is_err(), "{body}");
    }
    let next = "<NextPartNumberMarker>3</NextPartNumberMarker>";
    for next in ["", next] {
        let body =
            format!("<ListPartsResult><IsTruncated>true</IsTruncated>{next}</ListPartsResult>");
        let parts = "s3:ListMultipartUploadParts";
        site.server().answer_with(parts, 200, &[], &body);
        assert!(place.parts("objects/1", "id").await.is_err(), "{body}");
    }
}

/// A HEAD tells neither: a bucket that is gone is no file that is.
#[tokio::test]
async fn a_bucket_that_is_gone_is_no_store_without_files() {
    let mut site = Site::new();
    let small = name("objects/ab/1.slf");
    let store = site.open().await;
    assert!(matches!(
        store.open(&small).await,
        Err(StoreError::NoSuchFile { .. })
    ));
    site.bucket = Some("nowhere");
    let store = site
        .open_at(&site.dir.join("other"), LeaseTimes::default())
        .await;
    let error = store.open(&small).await.map(drop).unwrap_err();
    assert_eq!(error.reason(), Reason::DstBucketMissing, "{error}");
}

#[tokio::test]
async fn a_bucket_with_a_retention_for_whatever_comes_says_so_and_the_check_does_too() {
    let site = Site::new();
    let store = site.open().await;
    let told = "<Error><Code>InvalidRequest</Code><Message>Content-MD5 OR x-amz-checksum- HTTP header \
                is required for Put Object requests with Object Lock parameters</Message></Error>";
    site.server().answer_with("s3:PutObject", 400, &[], told);
    let small = name("objects/ab/1.slf");
    let file = store.create(&small).await.unwrap();
    file.write_at(b"small", 0).await.unwrap();
    file.sync().await.unwrap();
    let refused = store
        .publish(std::slice::from_ref(&small))
        .await
        .unwrap_err();
    assert_eq!(refused.reason(), Reason::DstPutDenied, "{refused}");
    let probes = store.check().await;
    let put = probes.iter().find(|probe| probe.action == "s3:PutObject");
    let refused = put.unwrap().outcome.as_ref().unwrap_err();
    let cause = std::error::Error::source(refused).unwrap().to_string();
    assert!(cause.contains("Object Lock"), "{cause}");
}

/// A clock that a test moves.
#[derive(Debug, Default)]
struct Held(Mutex<Duration>);

impl Clock for Held {
    fn now(&self) -> sealift_terms::Timestamp {
        sealift_terms::Timestamp::from_secs(0)
    }

    fn monotonic(&self) -> Duration {
        *self.0.lock()
    }
}

#[tokio::test]
async fn that_versions_are_kept_is_asked_now_and_then_and_each_time_while_they_are_not() {
    let site = Site::new();
    let clock = Arc::new(Held::default());
    let place = |is_required| {
        let mut settings = site.stage.settings();
        settings.requires_versioning = is_required;
        let counts = Arc::new(Counts::of(&S3_CALLS));
        S3Place::new(
            settings,
            site.stage.tls(),
            clock.clone(),
            Arc::new(OsRng),
            counts,
        )
    };
    let required = place(true);
    let off = required.hold_versions().await.unwrap_err();
    assert_eq!(off.reason(), Reason::DstVersioningDisabled, "{off}");
    assert!(off.leaves_it_whole());
    site.server().set_versioning("Enabled");
    required.hold_versions().await.unwrap();
    site.server().set_versioning("Suspended");
    site.server().asked();
    required.hold_versions().await.unwrap();
    assert!(site.server().asked().is_empty(), "it is believed");
    *clock.0.lock() += sealift_terms::limits::S3_VERSIONING_BELIEVED;
    assert!(required.hold_versions().await.is_err());
    assert!(required.hold_versions().await.is_err());
    assert_eq!(site.server().asked(), ["s3:GetBucketVersioning"; 2]);
    place(false).hold_versions().await.unwrap();
    assert!(site.server().asked().is_empty());
}
