use sealift_terms::{AuditKind, ChangeKind, Checksum, ObjectFacts, Reason, Receipt};
use sealift_wire::checksum::crc64;

use super::site::*;
use crate::{ArchiveError, Begin, Offer, rebuild};

#[tokio::test(flavor = "multi_thread")]
async fn latest_is_the_highest_order_whatever_arrived_first() {
    let site = Site::new();
    let running = site.open().await;
    running.store("k", "v2", 2, b"second").await;
    running.store("k", "v3", 3, b"third").await;
    running.store("k", "v1", 1, b"first").await;
    assert_eq!(running.read("k", None).await.unwrap(), b"third");
    assert_eq!(running.read("k", Some("v1")).await.unwrap(), b"first");
    assert_eq!(running.listing().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_version_with_the_same_checksum_gets_its_stored_receipt() {
    let site = Site::new();
    let running = site.open().await;
    for size in [50, 2 * PART + 1] {
        let bytes = plain(1, size);
        let key = format!("k{size}");
        let mut again = offer(&key, "v1", 1, size);
        again.checksum = Some(Checksum::crc64nvme(crc64(&bytes)));
        let receipt = running.put(again.clone(), &bytes).await.unwrap();
        let known = running.archive.begin(again.clone()).await.unwrap();
        assert!(matches!(known, Begin::Known(known) if *known == receipt));
        // The same, with its data under way already.
        again.data_follows = true;
        assert_eq!(running.put(again, &bytes).await.unwrap(), receipt);
    }
    assert_eq!(running.listing().await.len(), 2);
    assert_eq!(site.files_in("store/objects").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_version_with_other_content_is_a_conflict_on_record() {
    let site = Site::new();
    let running = site.open().await;
    let bytes = plain(1, 100);
    running.store("k", "v1", 1, &bytes).await;
    let other = plain(2, 100);
    let mut conflicting = offer("k", "v1", 1, 100);
    conflicting.checksum = Some(Checksum::crc64nvme(crc64(&other)));
    let begin = running.archive.begin(conflicting.clone()).await.unwrap();
    assert!(matches!(begin, Begin::Conflict { .. }));
    assert!(site.audit.has(AuditKind::ObjectConflict));
    conflicting.data_follows = true;
    let error = running.put(conflicting, &other).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ChecksumMismatch);
    assert_eq!(running.read("k", None).await.unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_content_does_not_come_back_with_a_rebuild() {
    let site = Site::new();
    let running = site.open().await;
    for (i, size) in [100, 2 * PART].into_iter().enumerate() {
        let key = format!("k{size}");
        let (good, bad) = (plain(i as u8, size), plain(9, size));
        let mut racing = offer(&key, "v1", 1, size);
        racing.data_follows = true;
        let other = Offer {
            origin: session().receiver,
            ..racing.clone()
        };
        // Both are on their way before either is stored.
        let uploads = [running.upload(racing).await, running.upload(other).await];
        for (upload, bytes) in uploads.iter().zip([&good, &bad]) {
            for index in upload.missing() {
                send(upload, index, bytes).await.unwrap();
            }
        }
        let [first, second] = uploads;
        running.archive.commit(first, None).await.unwrap();
        let error = running.archive.commit(second, None).await.unwrap_err();
        assert!(matches!(error, ArchiveError::Conflict { .. }), "{error}");
    }
    assert_eq!(running.archive.unfinished(), 0);
    drop(running);
    rebuild(site.parts().0, "test", &mut drop).await.unwrap();
    let running = site.open().await;
    assert_eq!(running.read("k100", None).await.unwrap(), plain(0, 100));
    assert!(running.read(&format!("k{}", 2 * PART), None).await.unwrap() == plain(1, 2 * PART));
}

/// Tags of a version, as a peer offers them.
fn tags(version: &str, clock: u64) -> Offer {
    let mut tags = offer("k", version, clock, 0);
    tags.change.kind = ChangeKind::Tags;
    let colour = ("colour".to_owned(), "blue".to_owned());
    tags.change.facts.tags = [colour].into();
    tags
}

impl Running {
    async fn mark(&self, offer: Offer) -> Result<Receipt, ArchiveError> {
        let upload = self.upload(offer).await;
        self.archive.commit(upload, None).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_of_a_version_that_is_not_here_are_refused_and_follow_it_when_it_came() {
    let site = Site::new();
    let running = site.open().await;
    running.store("k", "other", 1, b"another version").await;
    let error = running.mark(tags("v1", 3)).await.unwrap_err();
    assert!(
        matches!(&error, ArchiveError::VersionMissing(lacking) if **lacking == name("k", "v1"))
    );
    assert_eq!(error.reason(), Reason::DstObjectDamaged);
    let marks = running.archive.core.catalog.marks(None, 9).await.unwrap();
    assert!(marks.is_empty(), "{marks:?}");
    // Once it is here they are taken; those that came later, but are older, change nothing.
    running.store("k", "v1", 2, b"content").await;
    running.mark(tags("v1", 3)).await.unwrap();
    let mut older = tags("v1", 2);
    older.change.facts.tags = [("colour".to_owned(), "red".to_owned())].into();
    running.mark(older).await.unwrap();
    let rows = running.listing().await;
    let row = rows.iter().find(|row| row.name == name("k", "v1")).unwrap();
    assert_eq!(row.facts.tags["colour"], "blue");
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_in_the_group_of_their_version_wait_for_it_and_those_of_a_purged_one_are_receipted() {
    let site = Site::new();
    let running = site.open().await;
    // Both are handed over before either is answered.
    let bytes = b"content";
    let version = running.upload(offer("k", "v1", 1, bytes.len())).await;
    for index in version.missing() {
        send(&version, index, bytes).await.unwrap();
    }
    let behind = running.upload(tags("v1", 2)).await;
    let archive = &running.archive;
    let (stored, tagged) =
        tokio::join!(archive.commit(version, None), archive.commit(behind, None));
    assert_eq!((stored.unwrap().size, tagged.unwrap().size), (7, 0));
    assert_eq!(running.listing().await[0].facts.tags["colour"], "blue");

    let mut purge = offer("k", "v1", 5, 0);
    purge.change.kind = ChangeKind::Purge;
    purge.change.facts = ObjectFacts::default();
    running.mark(purge).await.unwrap();
    running.mark(tags("v1", 6)).await.unwrap();
    assert!(running.listing().await.is_empty(), "it does not come back");
}
