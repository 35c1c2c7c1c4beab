//! Tags of many versions, of a store that tells those of one at a time.

use std::io;

use sealift_terms::{ObjectKey, VersionId};

use crate::{StoreError, s3::LOOKS_AT_ONCE, source::TagsTold};

/// Asks for all of them, several at once, as the store is far away; each in its place.
pub(crate) async fn ask_tags<F>(
    versions: &[(ObjectKey, VersionId)],
    place: &str,
    ask: impl Fn((ObjectKey, VersionId)) -> F,
) -> Vec<TagsTold>
where
    F: Future<Output = TagsTold> + Send + 'static,
{
    let mut told = Vec::with_capacity(versions.len());
    for versions in versions.chunks(LOOKS_AT_ONCE) {
        let asked = versions.iter().cloned().map(|of| tokio::spawn(ask(of)));
        // All of them are under way before the first is waited for.
        for asked in asked.collect::<Vec<_>>() {
            let lost = || StoreError::SourceUnavailable {
                path: place.to_owned(),
                source: io::Error::other("a question about tags was broken off"),
            };
            told.push(asked.await.unwrap_or_else(|_| Err(lost())));
        }
    }
    told
}
