//! Whether a bucket can be the store: each action is tried, and what it does with conditions.

use sealift_store::{Probe, StoreError};
use sealift_terms::Reason;

use super::{chain, halves};
use crate::{CheckLine, World, config::Config, site::STAGING_DIR, sources::open_store};

/// How the check of the bucket is called, the action behind it.
pub(crate) const STORE: &str = "store in a bucket";

/// Whether a line says that a bucket which has to keep versions does not: nothing is taken in
/// then, and what rests there is read.
pub(crate) fn is_versioning_off(line: &CheckLine) -> bool {
    let remedy = Reason::DstVersioningDisabled.remedy();
    line.check.starts_with(STORE) && line.remedy.as_deref() == Some(remedy)
}

/// A line for each action, so that the one that is missing is named.
pub(super) async fn check(config: &Config, world: &World) -> Vec<CheckLine> {
    let Some(bucket) = &config.store else {
        return Vec::new();
    };
    let dir = &config.site.data_dir;
    let staging = dir.join(STAGING_DIR);
    let opened = open_store(world, bucket, (dir, &staging));
    let opened = match opened.await {
        Ok(opened) => opened,
        Err(error) => {
            let remedy = "write the roots that vouch for the bucket into roots_file, PEM";
            return vec![CheckLine::fail(STORE, chain(&error), remedy)];
        }
    };
    let line = |Probe { action, outcome }| {
        let check = format!("{STORE}: {action}");
        match outcome {
            Ok(found) => CheckLine::pass(check, found),
            Err(error) => CheckLine::fail(check, chain(&error), remedy(action, &error)),
        }
    };
    opened.check().await.into_iter().map(line).collect()
}

fn remedy(action: &str, error: &StoreError) -> String {
    match error.reason() {
        Reason::DstPutDenied | Reason::DstDeleteDenied => halves::remedy(action, &chain(error)),
        _ if is_denied(error) => halves::remedy(action, &chain(error)),
        Reason::DstBucketMissing => {
            "make the bucket or container, or correct what [store.…] says of its name and place"
                .to_owned()
        }
        reason => reason.remedy().to_owned(),
    }
}

fn is_denied(error: &StoreError) -> bool {
    chain(error).contains("it answered 403")
}
