//! Tries each of the rights that a source needs, so that a check can name what is missing.

use super::source::AzureSource;
use crate::{Probe, Source, gathered::first_of, s3::version};

/// The data actions that a source asks for: what a role has to allow.
pub const AZURE_SOURCE_ACTIONS: [&str; 2] = [
    "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read",
    "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/tags/read",
];

impl AzureSource {
    /// Tries each right once, on the first blob that there is; what cannot be tried for what
    /// failed before it is left out.
    pub async fn probe(&self) -> Vec<Probe> {
        let place = self.client.settings.container.as_str();
        let probing = async |probes: &mut Vec<Probe>| self.probe_all(probes).await;
        Probe::in_time("the container's answer", place, probing).await
    }

    async fn probe_all(&self, probes: &mut Vec<Probe>) {
        let [read, tags] = AZURE_SOURCE_ACTIONS;
        let first = async { first_of(&mut *self.scan("").await?, 1).await };
        let first = first.await.map(|first| first.into_iter().next());
        let reached = self.client.reached();
        let (first, outcome) = match first {
            Ok(Some(first)) => {
                let found = format!("the first blob of {reached} is {}", first.key);
                (Some(first), Ok(found))
            }
            Ok(None) => (None, Ok(format!("there is no blob in {reached}"))),
            Err(error) => (None, Err(error)),
        };
        probes.push(Probe {
            action: "ListBlobs",
            outcome,
        });
        let Some(first) = first else { return };
        let (key, version) = (&first.key, &first.version);
        let opened = self.client.properties(key, version).await;
        probes.push(Probe {
            action: read,
            outcome: opened.map(|_| format!("{key} can be read")),
        });
        let tagged = self.client.tags(key, version).await;
        probes.push(Probe {
            action: tags,
            outcome: tagged.map(|tags| format!("{key} has {} tags", tags.len())),
        });
        if self.keeps_versions() {
            let has_none = version::own(version) == version::NULL;
            let told = match has_none {
                false => format!("{key} has a version id"),
                true => format!(
                    "{key} has no version id: it is older than the account's versioning, or there is \
                     none; without it what is overwritten before it is read is SKIPPED, and \
                     versions = false says that this is meant"
                ),
            };
            probes.push(Probe {
                action: "versions",
                outcome: Ok(told),
            });
        }
    }
}
