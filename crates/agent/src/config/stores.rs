//! `[store.…]`: the bucket that sealed objects rest in, of one service.

use sealift_store::BucketSettings;
use toml::Spanned;

use super::{azure, buckets, checked::StoreBucket, checker::Checker, raw};

pub(super) fn store(c: &mut Checker<'_>, whole: &Spanned<raw::StoreEntry>) -> Option<StoreBucket> {
    let raw = whole.get_ref();
    match (&raw.s3, &raw.azure) {
        (Some(section), None) => {
            let bucket = buckets::store(c, section)?;
            Some(StoreBucket {
                settings: BucketSettings::S3(Box::new(bucket.settings)),
                roots_file: bucket.roots_file,
            })
        }
        (None, Some(section)) => {
            let container = azure::store(c, section)?;
            Some(StoreBucket {
                settings: BucketSettings::Azure(container.settings),
                roots_file: container.roots_file,
            })
        }
        _ => c.refuse(
            "store",
            &whole.span(),
            "none or two of its sections",
            "one of [store.s3] and [store.azure]",
            "keep or write one: a site has one store",
        ),
    }
}
