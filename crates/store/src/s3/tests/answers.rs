//! What a store answers that it should not, what it will not give, and keys and versions that
//! are odd.

use std::collections::BTreeSet;

use super::*;

const VERSIONS: &str = "s3:ListBucketVersions";
const READ: &str = "s3:GetObjectVersion";

fn with(headers: &[(&str, &str)], bytes: &[u8]) -> Put {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Put {
        headers: headers.iter().map(owned).collect(),
        ..plain(bytes)
    }
}

fn error(code: &str, more: &str) -> String {
    format!("<Error><Code>{code}</Code><Message>no</Message>{more}</Error>")
}

/// What comes of a version, read whole and in windows.
async fn read(source: &S3Source, listed: &Listed) -> [Result<Vec<u8>, StoreError>; 2] {
    let size = usize::try_from(listed.facts.size).unwrap();
    let (key, version) = (&listed.key, &listed.version);
    let whole = source.read_whole(key, version, size).await;
    let windows = async {
        let object = source.open(key, version).await?;
        let mut bytes = vec![0; size];
        object.read_exact_at(&mut bytes, 0).await?;
        Ok(bytes)
    };
    [whole.map(|whole| whole.bytes), windows.await]
}

async fn reasons(source: &S3Source, listed: &Listed) -> [Option<Reason>; 2] {
    let read = read(source, listed).await;
    read.map(|read| read.err().map(|error| error.reason()))
}

#[tokio::test]
async fn what_is_archived_or_under_a_key_of_its_writers_is_left_out_and_says_why() {
    let stage = Stage::new(false);
    let theirs = "x-amz-server-side-encryption-customer-algorithm";
    let back = ("x-amz-restore", "ongoing-request=\"false\"");
    for (key, headers) in [
        ("archived", &[("x-amz-storage-class", "GLACIER")][..]),
        ("back", &[("x-amz-storage-class", "DEEP_ARCHIVE"), back]),
        ("theirs", &[(theirs, "AES256")]),
    ] {
        stage.server.put(key, with(headers, b"content"));
    }
    let source = stage.source(|_| {});
    for (name, word) in [("archived", "archive class"), ("theirs", "SSE-C")] {
        let listed = source.look(&key(name)).await.unwrap().unwrap();
        for read in read(&source, &listed).await {
            let error = read.unwrap_err();
            assert_eq!(error.reason(), Reason::SkippedUnreadable, "{error}");
            assert!(error.to_string().contains(word), "{error}");
        }
    }
    let listed = source.look(&key("back")).await.unwrap().unwrap();
    assert_eq!(reasons(&source, &listed).await, [None, None]);
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_named_by_a_head_too() {
    let stage = Stage::new(false);
    stage.put("a", b"x");
    let source = stage.source(|_| {});
    let listed = source.look(&key("a")).await.unwrap().unwrap();
    let long_ago = [("date", "Fri, 27 Nov 2020 03:56:07 GMT")];
    for (headers, body) in [
        (&[][..], error("RequestTimeTooSkewed", "")),
        (&long_ago, String::new()),
    ] {
        stage.server.answer_with(READ, 403, headers, &body);
        let skewed = Some(Reason::ClockSkew);
        assert_eq!(reasons(&source, &listed).await, [skewed; 2], "{body}");
    }
    // Whoever is on time is denied for another reason.
    stage.server.answer_with(READ, 403, &[], "");
    let denied = Some(Reason::SrcGetDenied);
    assert_eq!(reasons(&source, &listed).await, [denied; 2]);
}

#[tokio::test]
async fn a_bucket_of_another_region_is_not_followed_there_and_its_region_is_named() {
    let stage = Stage::new(false);
    let source = stage.source(|_| {});
    let region = ("x-amz-bucket-region", "eu-west-2");
    let there = ("location", "https://elsewhere.example.org/photos");
    let of_body = error("AuthorizationHeaderMalformed", "<Region>eu-west-2</Region>");
    for (status, headers, body) in [
        (301, &[region, there][..], error("PermanentRedirect", "")),
        (301, &[region], String::new()),
        (307, &[region, there], error("TemporaryRedirect", "")),
        (400, &[], of_body),
    ] {
        stage.server.answer_with(VERSIONS, status, headers, &body);
        let refused = source.scan("").await.unwrap().page(9).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::SrcUnavailable, "{status}");
        let told = std::error::Error::source(&refused).unwrap().to_string();
        assert!(told.contains("the bucket is in eu-west-2"), "{told}");
    }
}

/// Whatever a service says of an object while it fails, nothing is done for it.
#[tokio::test]
async fn an_error_of_the_service_is_no_word_about_an_object_and_no_listing() {
    let stage = Stage::new(false);
    stage.put("a", b"x");
    let source = stage.source(|_| {});
    let listed = source.look(&key("a")).await.unwrap().unwrap();
    let told = error("InvalidObjectState", "");
    stage.server.answer_with(READ, 500, &[], &told);
    let unavailable = Some(Reason::SrcUnavailable);
    assert_eq!(reasons(&source, &listed).await, [unavailable; 2]);
    stage.server.answer_with(VERSIONS, 200, &[], &told);
    assert!(source.scan("").await.unwrap().page(9).await.is_err());
    let looked = source.look(&key("a")).await.unwrap_err();
    assert_eq!(looked.reason(), Reason::SrcUnavailable);
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_no_object_that_is_gone() {
    let stage = Stage::new(false);
    stage.put("a", b"x");
    let listed = stage.source(|_| {}).look(&key("a")).await.unwrap().unwrap();
    let nowhere = |settings: &mut S3Settings| {
        settings.bucket = BucketName::new("nowhere").unwrap();
    };
    let unavailable = Some(Reason::SrcUnavailable);
    let found = reasons(&stage.source(nowhere), &listed).await;
    assert_eq!(found, [unavailable; 2]);
    stage.server.purge("a", listed.version.as_str());
    let gone = Some(Reason::SrcObjectGone);
    assert_eq!(reasons(&stage.source(|_| {}), &listed).await, [gone; 2]);
}

/// The next scan would take what such a listing does not reach for gone.
#[tokio::test]
async fn a_listing_whose_pages_repeat_or_are_empty_or_that_breaks_off_ends_with_an_error() {
    let stage = Stage::new(false);
    let source = stage.source(|_| {});
    let page = |versions: &str, next: &str| {
        format!(
            "<ListVersionsResult><IsTruncated>true</IsTruncated>{next}{versions}</ListVersionsResult>"
        )
    };
    let version = "<Version><Key>a</Key><VersionId>v</VersionId><IsLatest>true</IsLatest><Size>1</Size></Version>";
    let next = "<NextKeyMarker>a</NextKeyMarker><NextVersionIdMarker>v</NextVersionIdMarker>";
    for body in [
        page(version, next),
        page("", next),
        page(version, ""),
        page(version, next).replace("</ListVersionsResult>", ""),
    ] {
        stage.server.answer_with(VERSIONS, 200, &[], &body);
        let mut scan = source.scan("").await.unwrap();
        let error = scan.page(5000).await.unwrap_err();
        assert_eq!(error.reason(), Reason::SrcUnavailable, "{body}");
        assert!(source.history(&key("a")).await.is_err(), "{body}");
    }
    assert!(stage.server.asked().len() < 40);
}

/// The ids of versions are in no order, and those of one key may take pages.
#[tokio::test]
async fn a_key_whose_versions_take_several_pages_is_listed_like_any_other() {
    const COUNT: usize = 2500;
    let stage = Stage::new(false);
    stage.put("before", b"x");
    let mut ids: Vec<_> = (0..COUNT).map(|_| stage.put("many", b"x")).collect();
    stage.put("then", b"x");
    ids.reverse();
    let source = stage.source(|_| {});
    let listed = all(&source, "", 9).await;
    let keys: Vec<_> = listed.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(keys, ["before", "many", "then"]);
    assert_eq!(listed[1].version.as_str(), ids[0]);
    let history = source.history(&key("many")).await.unwrap();
    let earlier = history.earlier.iter().map(|one| one.version.as_str());
    assert!(earlier.eq(ids[1..].iter().map(String::as_str)));
    let versions = source.versions_of(&key("many")).await.unwrap().unwrap();
    assert_eq!(versions.len(), COUNT);
}

#[tokio::test]
async fn what_was_there_before_versioning_lies_below_what_came_and_can_be_purged() {
    let stage = Stage::new(false);
    stage.server.set_versioning("");
    stage.put("a", b"one");
    stage.server.set_versioning("Enabled");
    let source = stage.source(|_| {});
    let null = source.look(&key("a")).await.unwrap().unwrap().version;
    assert!(null.as_str().starts_with("null~"));
    let two = stage.put("a", b"two");
    let listed = source.look(&key("a")).await.unwrap().unwrap();
    assert_eq!(listed.version.as_str(), two);
    assert_eq!(listed.history.earlier[0].version, null);
    let whole = source.read_whole(&listed.key, &null, 3).await.unwrap();
    assert_eq!(whole.bytes, b"one");
    let versions = async || source.versions_of(&key("a")).await.unwrap().unwrap();
    assert!(versions().await.contains(&null));
    stage.server.purge("a", "null");
    assert_eq!(versions().await, BTreeSet::from([listed.version.clone()]));
    let gone = source.read_whole(&listed.key, &null, 3).await.unwrap_err();
    assert_eq!(gone.reason(), Reason::SrcObjectGone, "{gone}");
}

#[tokio::test]
async fn keys_that_xml_cannot_hold_are_listed_and_read_and_a_store_that_cannot_say_them_lists_nothing()
 {
    let stage = Stage::new(false);
    let keys = [
        "a\u{1}b",
        "a\tb\r\n",
        "c + d%20",
        "e&<>\"'",
        "f\u{fffe}",
        "\u{1b}",
    ];
    for name in keys {
        stage.put(name, name.as_bytes());
    }
    let source = stage.source(|_| {});
    let listed = all(&source, "", 2).await;
    let found: BTreeSet<_> = listed.iter().map(|one| one.key.to_string()).collect();
    assert_eq!(found, keys.into_iter().map(str::to_owned).collect());
    for one in &listed {
        let read = read(&source, one).await.map(Result::unwrap);
        assert!(
            read.iter()
                .all(|bytes| bytes == one.key.as_str().as_bytes())
        );
        assert!(source.look(&one.key).await.unwrap().is_some());
    }
    for raw in ["a\u{1}b", "a&#1;b"] {
        let version = "<VersionId>v</VersionId><IsLatest>true</IsLatest><Size>1</Size>";
        let body = format!(
            "<ListVersionsResult><Version><Key>{raw}</Key>{version}</Version></ListVersionsResult>"
        );
        stage.server.answer_with(VERSIONS, 200, &[], &body);
        assert!(source.scan("").await.unwrap().page(9).await.is_err());
    }
}

#[tokio::test]
async fn an_answer_that_goes_on_behind_its_window_is_not_taken() {
    let stage = Stage::new(false);
    stage.put("a", b"four");
    let source = stage.source(|_| {});
    let listed = source.look(&key("a")).await.unwrap().unwrap();
    let object = source.open(&listed.key, &listed.version).await.unwrap();
    let range = [("content-range", "bytes 0-3/4")];
    stage.server.answer_with(READ, 206, &range, "four and more");
    let error = object.read_exact_at(&mut [0; 4], 0).await.unwrap_err();
    assert_eq!(error.reason(), Reason::SrcUnavailable, "{error}");
    stage.server.answer_rightly(READ);
    object.read_exact_at(&mut [0; 4], 0).await.unwrap();
}

#[tokio::test]
async fn whoever_asks_pays_where_that_is_said_and_is_refused_where_it_is_not() {
    let stage = Stage::new(false);
    stage.put("a", b"x");
    stage.server.let_requesters_pay();
    let refused = stage.source(|_| {}).scan("").await.map(drop).unwrap_err();
    assert_eq!(refused.reason(), Reason::SrcGetDenied, "{refused}");
    let source = stage.source(|settings| settings.requester_pays = true);
    let listed = all(&source, "", 9).await.remove(0);
    assert_eq!(reasons(&source, &listed).await, [None, None]);
    assert!(
        source
            .probe()
            .await
            .iter()
            .all(|probe| probe.outcome.is_ok())
    );
}
