//! Two agents never write one bucket.

use super::*;

const TIMES: LeaseTimes = LeaseTimes {
    good_for: Duration::from_millis(1500),
    renewed: Duration::from_millis(100),
};
/// Of a holder whose life is seen long before it is taken for dead.
const LONG: LeaseTimes = LeaseTimes {
    good_for: Duration::from_secs(60),
    ..TIMES
};
/// As if its process stood still.
const NEVER: LeaseTimes = LeaseTimes {
    renewed: Duration::from_secs(3600),
    ..TIMES
};

async fn put(store: &BucketStore, file: &str) -> Result<(), StoreError> {
    let file_name = name(file);
    store.discard(&file_name).await?;
    let file = store.create(&file_name).await?;
    file.write_at(b"x", 0).await?;
    file.sync().await?;
    store.publish(&[file_name]).await
}

#[tokio::test]
async fn another_is_refused_as_long_as_the_holder_lives() {
    let site = Site::new();
    let first = site.open_at(&site.dir, LONG).await;
    first.begin(true).await.unwrap();
    let other_dir = site.dir.join("other");
    let second = site.open_at(&other_dir, LONG).await;
    let refused = second.begin(true).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::StoreLeased { .. }),
        "{refused}"
    );
    assert!(put(&second, "objects/ab/1").await.is_err());
    assert!(second.remove(&name("objects/ab/1")).await.is_err());
    put(&first, "objects/ab/1").await.unwrap();
    // Who reads asks for no lease.
    is_stored(&second, &name("objects/ab/1"), b"x").await;
    assert_eq!(second.epoch(), None);
}

#[tokio::test]
async fn a_lease_that_stands_still_is_taken_and_its_holder_writes_no_more() {
    let site = Site::new();
    let first = site.open_at(&site.dir, NEVER).await;
    first.begin(true).await.unwrap();
    assert_eq!(first.epoch(), Some(1));
    let begun = std::time::Instant::now();
    let second = site.open_at(&site.dir.join("other"), TIMES).await;
    second.begin(true).await.unwrap();
    assert!(begun.elapsed() >= TIMES.good_for, "it was not waited for");
    assert_eq!(second.epoch(), Some(2));
    put(&second, "objects/ab/2").await.unwrap();
    for _ in 0..2 {
        let fenced = put(&first, "objects/ab/1").await.unwrap_err();
        assert!(matches!(fenced, StoreError::StoreLeased { .. }), "{fenced}");
    }
    let fenced = first.remove(&name("objects/ab/2")).await.unwrap_err();
    assert!(matches!(fenced, StoreError::StoreLeased { .. }), "{fenced}");
    let pack = first.append(&name("packs/1")).await.unwrap();
    pack.write_at(b"x", 0).await.unwrap();
    assert!(pack.sync().await.is_err());
    is_stored(&second, &name("objects/ab/2"), b"x").await;
}

#[tokio::test]
async fn one_that_ran_out_and_was_not_taken_goes_on() {
    let site = Site::new();
    let first = site.open_at(&site.dir, NEVER).await;
    first.begin(true).await.unwrap();
    tokio::time::sleep(TIMES.good_for * 2).await;
    put(&first, "objects/ab/1").await.unwrap();
    assert_eq!(first.epoch(), Some(1));
}

#[tokio::test]
async fn the_next_process_on_the_same_disk_takes_it_at_once() {
    let site = Site::new();
    for epoch in 1..4 {
        let begun = std::time::Instant::now();
        let store = site.open().await;
        assert!(begun.elapsed() < LeaseTimes::default().good_for / 4);
        assert_eq!(store.epoch(), Some(epoch));
    }
}

#[tokio::test]
async fn a_bucket_that_lost_its_store_is_not_taken_for_an_empty_one() {
    let site = Site::new();
    let store = site.open().await;
    store.probe().await.unwrap();
    drop(store);
    site.server().purge("sealed/.sealift-store", "null");
    let store = site.open_at(&site.dir, TIMES).await;
    let missing = store.begin(false).await.unwrap_err();
    assert!(
        matches!(missing, StoreError::StoreMissing { .. }),
        "{missing}"
    );
    assert!(store.probe().await.is_err());
    store.begin(true).await.unwrap();
}
