//! Tries each of the actions that a source needs, so that a check can name what is missing.

use hyper::Method;
use sealift_terms::limits::S3_PROBE_TIME_MAX;
use tokio::time::timeout;

use super::{
    S3_LOCK_ACTIONS, S3Source, SQS_ACTIONS, client::Ask, events::queue::Queue, scan::S3Scan,
    version,
};
use crate::{Listed, StoreError, gathered::first_of};

/// One action, and how it went.
#[derive(Debug)]
pub struct Probe {
    /// The action, as a policy names it.
    pub action: &'static str,
    /// What was found, or why it does not work.
    pub outcome: Result<String, StoreError>,
}

impl Probe {
    /// What was tried in time, and at its end `awaited` of a place that did not answer.
    pub(crate) async fn in_time(
        awaited: &'static str,
        place: &str,
        probing: impl AsyncFnOnce(&mut Vec<Self>),
    ) -> Vec<Self> {
        let mut probes = Vec::new();
        let tried = timeout(S3_PROBE_TIME_MAX, probing(&mut probes)).await;
        if tried.is_err() {
            probes.push(Self {
                action: awaited,
                outcome: Err(StoreError::SourceUnavailable {
                    path: place.to_owned(),
                    source: std::io::ErrorKind::TimedOut.into(),
                }),
            });
        }
        probes
    }

    /// How a listing went, and the first `what` that it has.
    pub(crate) fn of_listing(
        action: &'static str,
        what: &str,
        first: Result<Vec<Listed>, StoreError>,
    ) -> (Self, Option<Listed>) {
        let (first, outcome) = match first.map(|first| first.into_iter().next()) {
            Ok(Some(first)) => {
                let found = format!("the first {what} is {}", first.key);
                (Some(first), Ok(found))
            }
            Ok(None) => (
                None,
                Ok("there is no object to try the rest with".to_owned()),
            ),
            Err(error) => (None, Err(error)),
        };
        (Self { action, outcome }, first)
    }
}

impl S3Source {
    /// Tries each action once, on the first object that there is; what cannot be tried for
    /// what failed before it is left out.
    pub async fn probe(&self) -> Vec<Probe> {
        let place = self.client.settings.bucket.as_str();
        let probing = async |probes: &mut Vec<Probe>| self.probe_all(probes).await;
        Probe::in_time("the bucket's answer", place, probing).await
    }

    async fn probe_all(&self, probes: &mut Vec<Probe>) {
        let versioning = self.client.hold_versioning().await;
        let reached = || format!("versioning of {} is on", self.client.reached());
        probes.push(Probe {
            action: "s3:GetBucketVersioning",
            outcome: versioning.map(|()| reached()),
        });
        let first = first_of(&mut S3Scan::new(self.client.clone(), ""), 1).await;
        let (listing, first) = Probe::of_listing("s3:ListBucketVersions", "key", first);
        probes.push(listing);
        if let Some(first) = first {
            let (key, version) = (&first.key, &first.version);
            let opened = self.head_alone(&first).await;
            probes.push(Probe {
                action: "s3:GetObjectVersion",
                outcome: opened.map(|_| format!("{key} can be read")),
            });
            let tags = self.client.tags(key, version).await;
            probes.push(Probe {
                action: "s3:GetObjectVersionTagging",
                outcome: tags.map(|tags| format!("{key} has {} tags", tags.len())),
            });
            for (action, what) in S3_LOCK_ACTIONS.into_iter().zip(["retention", "legal-hold"]) {
                let asked = Ask::new(Method::GET, Some(key.as_str()))
                    .query(what, "")
                    .query("versionId", version::own(version));
                probes.push(Probe {
                    action,
                    outcome: self.client.may(&asked).await,
                });
            }
            self.probe_keys(&first, probes).await;
        }
        let settings = &self.client.settings;
        if let Some(queue) = &settings.queue {
            let queue = Queue::new(queue, settings, self.tls.clone(), &self.clock);
            let [receive, delete] = SQS_ACTIONS;
            probes.push(Probe {
                action: receive,
                outcome: queue.probe().await,
            });
            probes.push(Probe {
                action: delete,
                outcome: queue.probe_deletion().await,
            });
        }
    }
}
