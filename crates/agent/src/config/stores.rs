//! `[store.…]`: the bucket that sealed objects rest in, of one service.

use sealift_store::BucketSettings;
use toml::Spanned;

use super::{azure, checker::Checker, gcs, places::StoreBucket, raw, s3};

pub(super) fn store(c: &mut Checker<'_>, whole: &Spanned<raw::StoreEntry>) -> Option<StoreBucket> {
    let raw = whole.get_ref();
    match (&raw.s3, &raw.azure, &raw.gcs) {
        (Some(section), None, None) => {
            let bucket = s3::store(c, section)?;
            Some(StoreBucket {
                settings: BucketSettings::S3(Box::new(bucket.settings)),
                roots_file: bucket.roots_file,
            })
        }
        (None, None, Some(section)) => gcs::store(c, section),
        (None, Some(section), None) => {
            let container = azure::store(c, section)?;
            Some(StoreBucket {
                settings: BucketSettings::Azure(container.settings),
                roots_file: container.roots_file,
            })
        }
        _ => c.refuse(
            "store",
            &whole.span(),
            "none or several of its sections",
            "one of [store.s3], [store.azure] and [store.gcs]",
            "keep or write one: a site has one store",
        ),
    }
}
