use std::{fs, io};

use sealift_store::Call;
use sealift_terms::AuditKind;

use super::site::*;
use crate::{Archive, ArchiveError, rebuild};

/// A site whose catalog holds objects in packs and in files of their own.
async fn filled() -> Site {
    let site = Site::new();
    let running = site.open().await;
    for n in 0..4 {
        let bytes = plain(n, 2 * PART);
        running.store(&format!("large{n}"), "v1", 1, &bytes).await;
        running
            .store(&format!("small{n}"), "v1", 1, &bytes[..99])
            .await;
    }
    running.archive.close().await;
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_was_cut_off_never_passes_for_a_whole_catalog() {
    let site = filled().await;
    // Only the catalog's copies of the key records are left: they must survive, too.
    for record in site.files_in("store/records") {
        fs::remove_file(record).unwrap();
    }
    for calls in 0..4 {
        let (parts, faults) = site.parts();
        faults.fail(Call::Open, calls, io::ErrorKind::Other);
        let cut_off = rebuild(parts, "test", &mut drop).await;
        assert!(matches!(cut_off, Err(ArchiveError::Store(_))));
        let refused = Archive::open(site.parts().0).await.map(drop);
        assert!(
            matches!(refused, Err(ArchiveError::CatalogUnfinished)),
            "{refused:?}"
        );
    }
    let report = rebuild(site.parts().0, "test", &mut drop).await.unwrap();
    assert_eq!((report.versions, report.findings), (8, 0), "{report:?}");
    let running = site.open().await;
    assert_eq!(running.read("small3", None).await.unwrap().len(), 99);
    assert_eq!(running.read("large0", None).await.unwrap().len(), 2 * PART);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_without_a_key_ends_before_objects_are_left_out() {
    let site = filled().await;
    site.keystore.disable(CMK).unwrap();
    let error = rebuild(site.parts().0, "test", &mut drop).await;
    assert!(matches!(error, Err(ArchiveError::Key(_))), "{error:?}");
    let refused = Archive::open(site.parts().0).await.map(drop);
    assert!(matches!(refused, Err(ArchiveError::CatalogUnfinished)));
    site.keystore.enable(CMK).unwrap();
    let report = rebuild(site.parts().0, "test", &mut drop).await.unwrap();
    assert_eq!(report.versions, 8);
    assert!(!site.audit.has(AuditKind::ObjectDamaged));
}
