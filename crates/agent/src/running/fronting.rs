//! What the S3 endpoint is told of sources that it stands in front of: their stores, and their
//! sender's journal.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sealift_endpoint::{Changes, Front, Fronts, Intent, OfTags, Outcome, Replicas};
use sealift_ledger::Touched;
use sealift_sender::{Became, FrontHandle, Intended, SourceHandle};
use sealift_terms::{Boxed, ObjectKey, Status, VersionId};

use crate::{
    Error, World,
    config::{Config, SourceFrom},
    sources::open_bucket,
};

/// The sources that the endpoint stands in front of. Their stores are asked over connections of
/// their own: an application and the sender do not wait for each other's.
pub(super) fn fronts(
    config: &Config,
    world: &World,
    sources: &[SourceHandle],
) -> Result<Fronts, Error> {
    let mut fronts = Fronts::new();
    for source in &config.sources {
        let (Some(in_front), SourceFrom::S3(bucket)) = (source.front, &source.from) else {
            continue;
        };
        let of_bucket = |handle: &&SourceHandle| handle.status().bucket == source.bucket;
        let handle = sources.iter().find(of_bucket);
        let Some(handle) = handle.and_then(SourceHandle::front) else {
            continue;
        };
        let front = Front {
            store: open_bucket(world, bucket)?.front(),
            changes: Arc::new(Journalled(handle.clone())),
            synchronous: in_front.synchronous,
        };
        fronts.insert(source.bucket.clone(), front);
    }
    Ok(fronts)
}

struct Journalled(FrontHandle);

struct Kept {
    handle: FrontHandle,
    key: ObjectKey,
    /// None once it was said what became of it.
    intended: Option<Intended>,
}

#[async_trait]
impl Changes for Journalled {
    async fn intend(
        &self,
        keys: Vec<ObjectKey>,
        tags: Option<OfTags>,
    ) -> Result<Vec<Box<dyn Intent>>, String> {
        let touched = tags.map_or(Touched::Versions, |OfTags(version)| Touched::Tags(version));
        let intended = self.0.intend(keys.clone(), touched).await;
        let intended = intended.map_err(|error| error.evidence())?;
        let kept = intended.into_iter().zip(keys).map(|(intended, key)| {
            let handle = self.0.clone();
            let intended = Some(intended);
            Box::new(Kept {
                handle,
                key,
                intended,
            }) as Box<dyn Intent>
        });
        Ok(kept.collect())
    }

    async fn standing(
        &self,
        key: &ObjectKey,
        version: Option<&VersionId>,
        is_latest: bool,
    ) -> Result<Option<Status>, String> {
        let standing = self.0.standing(key, version, is_latest).await;
        standing.map_err(|error| error.evidence())
    }
}

impl Intent for Kept {
    fn became(
        mut self: Box<Self>,
        outcome: Outcome,
        time_max: Duration,
    ) -> Boxed<'static, Replicas> {
        let became = as_told(outcome);
        let recorded = self
            .intended
            .take()
            .map(|intended| self.handle.became(intended, became.clone()));
        Box::pin(async move {
            let Some(recorded) = recorded else {
                return Replicas::Durable;
            };
            let waited = self.handle.wait(&self.key, &became, recorded, time_max);
            match waited.await {
                Ok(sealift_sender::Replicas::Durable) => Replicas::Durable,
                Ok(sealift_sender::Replicas::Pending(told)) => Replicas::Pending(told),
                Err(error) => Replicas::Pending(error.evidence()),
            }
        })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Nobody came to say it: the key is looked at.
        if let Some(intended) = self.intended.take() {
            drop(self.handle.became(intended, Became::Unknown));
        }
    }
}

/// The same as the sender has it.
fn as_told(outcome: Outcome) -> Became {
    match outcome {
        Outcome::Written(version) => Became::Written(version),
        Outcome::Tagged(version) => Became::Tagged(version),
        Outcome::Unknown => Became::Unknown,
        Outcome::Nothing => Became::Nothing,
    }
}
