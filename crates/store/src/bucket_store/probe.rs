//! Tries each of the rights that a store needs, so that a check can name what is missing.

use sealift_outside::Payload;
use sealift_terms::limits::S3_PROBE_TIME_MAX;

use super::{
    BucketStore,
    place::{If, Outcome, Place},
};
use crate::{Probe, StoreError};

/// What is written to try; no name of a file begins so.
pub(crate) const TRIED: &str = ".sealift-check";

impl BucketStore {
    /// Tries each right once; what cannot be tried for what failed before it is left out.
    pub async fn check(&self) -> Vec<Probe> {
        let place = &*self.inner.place;
        let mut probes = Vec::new();
        let trying = place.try_all(&mut probes);
        if tokio::time::timeout(S3_PROBE_TIME_MAX, trying)
            .await
            .is_err()
        {
            probes.push(Probe {
                action: "the bucket's answer",
                outcome: Err(self.inner.failed_as(place.name(), "it takes too long")),
            });
        }
        probes
    }
}

/// Tries to write, read and delete; what these rights are called is said in that order.
pub(crate) async fn try_file(
    place: &dyn Place,
    [write, read, delete]: [&'static str; 3],
    tried: &mut impl FnMut(&'static str, Result<String, StoreError>),
) {
    let text = || Payload::from(TRIED.as_bytes());
    // Left by a check that was cut off.
    let removed = place.delete(TRIED).await;
    let put = place.put(TRIED, text(), &If::Absent).await;
    let is_put = put.is_ok();
    tried(write, put.map(|_| "it can be written".to_owned()));
    if is_put {
        let again = place.put(TRIED, text(), &If::Absent).await;
        tried(
            "If-None-Match",
            again.and_then(|outcome| match outcome {
                Outcome::Conflict => Ok("it is held: two agents never write one bucket".to_owned()),
                Outcome::Done(_) | Outcome::NoUpload => Err(StoreError::StoreFailed {
                    name: place.name().to_owned(),
                    source: std::io::Error::other(
                        "it was ignored: this store cannot tell two agents that write it apart",
                    ),
                }),
            }),
        );
        let got = place.get(TRIED).await;
        tried(read, got.map(|_| "it can be read".to_owned()));
    }
    let removed = removed.and(place.delete(TRIED).await);
    tried(delete, removed.map(|()| "files can be deleted".to_owned()));
}
