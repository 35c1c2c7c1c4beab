//! What is kept free stays free, whatever was promised to whom.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use sealift_terms::{PartIndex, Reason, Timestamp, limits, world::Room};

use super::site::*;
use crate::{Begin, Upload};

const SIZE: usize = 20 * PART;

struct Full {
    running: Running,
    clock: Arc<HandClock>,
    _site: Site,
}

impl Full {
    async fn new() -> Self {
        let site = Site::new();
        let start = Timestamp::from_secs(1_790_000_000);
        let clock = Arc::new(HandClock(Mutex::new(start)));
        let running = site.open_at(clock.clone()).await;
        Self {
            running,
            clock,
            _site: site,
        }
    }

    /// The disk has so many bytes beside what is kept free, from now on.
    fn has(&self, bytes: usize) {
        let total_bytes = 1 << 40;
        let reserve = limits::STORE_RESERVE_BYTES_MIN.max(total_bytes / 100);
        self.running.faults.set_room(Some(Room {
            free_bytes: reserve + bytes as u64,
            total_bytes,
        }));
        let mut now = self.clock.0.lock();
        *now = now.plus(Duration::from_secs(2));
    }

    async fn begin(&self, key: &str, size: usize) -> Result<Box<Upload>, Reason> {
        match self.running.archive.begin(offer(key, "v1", 1, size)).await {
            Ok(Begin::Upload(upload)) => Ok(upload),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.reason()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_promised_to_one_upload_is_not_promised_to_another() {
    let disk = Full::new().await;
    let bytes = plain(1, SIZE);
    disk.has(SIZE * 3 / 2);
    let first = disk.begin("first", SIZE).await.unwrap();
    for seconds in 0..3 {
        let refused = disk.begin("second", SIZE).await.err();
        assert_eq!(refused, Some(Reason::DstStoreFull), "after {seconds}");
        disk.has(SIZE * 3 / 2);
    }
    // A small one is promised room, too, and a mark.
    let small = disk.begin("small", SIZE / 4).await.unwrap();
    assert_eq!(
        disk.begin("s", SIZE / 4).await.err(),
        Some(Reason::DstStoreFull)
    );
    drop(small);
    // What is written was promised and is used: there is as much for others as before.
    for part in 0..10 {
        send(&first, PartIndex(part), &bytes).await.unwrap();
    }
    disk.has(SIZE);
    assert_eq!(
        disk.begin("second", SIZE).await.err(),
        Some(Reason::DstStoreFull)
    );
    let half = disk.begin("half", SIZE / 4).await.unwrap();
    disk.running.archive.cancel(half).await.unwrap();
    disk.running.archive.cancel(first).await.unwrap();
    disk.has(SIZE * 3 / 2);
    disk.begin("second", SIZE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_refused_while_others_have_filled_the_disk() {
    let disk = Full::new().await;
    let bytes = plain(1, SIZE);
    disk.has(2 * SIZE);
    let upload = disk.begin("k", SIZE).await.unwrap();
    send(&upload, PartIndex(0), &bytes).await.unwrap();
    disk.has(PART / 2);
    let refused = upload.part(PartIndex(1), PART as u32).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::DstStoreFull);
    disk.has(2 * SIZE);
    for index in upload.missing() {
        send(&upload, index, &bytes).await.unwrap();
    }
    disk.running.archive.commit(upload, None).await.unwrap();
    assert!(disk.running.read("k", None).await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_after_a_restart_with_room_for_its_rest_alone() {
    let Full {
        mut running,
        clock,
        _site: site,
    } = Full::new().await;
    let bytes = plain(1, SIZE);
    let upload = running.upload(offer("k", "v1", 1, SIZE)).await;
    for part in 0..18 {
        send(&upload, PartIndex(part), &bytes).await.unwrap();
    }
    running.archive.close().await;
    drop((upload, running));
    running = site.open_at(clock.clone()).await;
    let disk = Full {
        running,
        clock,
        _site: site,
    };
    disk.has(PART);
    assert_eq!(
        disk.begin("k", SIZE).await.err(),
        Some(Reason::DstStoreFull)
    );
    disk.has(4 * PART);
    let upload = disk.begin("k", SIZE).await.unwrap();
    let rest: Vec<_> = (18..upload.parts()).map(PartIndex).collect();
    assert_eq!(upload.missing(), rest);
}
