//! Tries each of the permissions that a source needs, so that a check can name what is missing.

use super::source::GcsSource;
use crate::{Probe, gathered::first_of, oldest_first::OldestFirst};

/// The permissions that a source asks for: what a role has to have.
pub const GCS_SOURCE_ACTIONS: [&str; 3] = [
    "storage.buckets.get",
    "storage.objects.list",
    "storage.objects.get",
];

impl GcsSource {
    /// Tries each permission once, on the first object that there is; what cannot be tried for
    /// what failed before it is left out.
    pub async fn probe(&self) -> Vec<Probe> {
        let place = self.client.settings().bucket.as_str();
        let probing = async |probes: &mut Vec<Probe>| self.probe_all(probes).await;
        Probe::in_time("the bucket's answer", place, probing).await
    }

    async fn probe_all(&self, probes: &mut Vec<Probe>) {
        let [of_bucket, list, get] = GCS_SOURCE_ACTIONS;
        let client = &self.client;
        let versioning = client.hold_versioning().await;
        let reached = || format!("versioning of {} is on", client.reached());
        probes.push(Probe {
            action: of_bucket,
            outcome: versioning.map(|()| reached()),
        });
        let first = first_of(&mut OldestFirst::new(client.clone(), ""), 1).await;
        let (listing, first) = Probe::of_listing(list, "object", first);
        probes.push(listing);
        let Some(first) = first else { return };
        let head = client.head(&first.key, &first.version).await;
        probes.push(Probe {
            action: get,
            outcome: head.map(|_| format!("{} can be read", first.key)),
        });
    }
}
