//! Tries the keys of a key service under which a bucket's objects are: what can be read under one
//! says nothing of another.

use std::collections::BTreeSet;

use hyper::{Method, http::response::Parts};
use sealift_terms::limits::S3_PROBED_OBJECTS_MAX;

use super::{
    Probe, S3Source,
    client::Ask,
    facts::{KMS, SSE, SSE_KEY, Seen},
    scan::S3Scan,
    version,
};
use crate::{Listed, StoreError, gathered::first_of};

/// What a key is asked for, by the store in the agent's name.
const OPENING: &str = "kms:Decrypt";

impl S3Source {
    /// The head of a version, which takes no key.
    pub(super) async fn head_alone(&self, of: &Listed) -> Result<Parts, StoreError> {
        let ask = |method| asked(method, of);
        let (head, get) = (ask(Method::HEAD), ask(Method::GET));
        self.client.head_or_why(&of.key, head, get).await
    }

    /// Tries the key of the first object, or, where keys are named, each one that one of the
    /// first objects is under.
    pub(super) async fn probe_keys(&self, first: &Listed, probes: &mut Vec<Probe>) {
        let Some(named) = &self.client.settings.kms_keys else {
            if let Some(key) = self.key_of(first).await {
                probes.push(self.opened(first, &key).await);
            }
            return;
        };
        let mut left: BTreeSet<&String> = named.iter().collect();
        let first = match left.is_empty() {
            true => return,
            false => {
                let mut scan = S3Scan::new(self.client.clone(), "");
                first_of(&mut scan, S3_PROBED_OBJECTS_MAX).await
            }
        };
        for listed in first.unwrap_or_default() {
            if left.is_empty() {
                return;
            }
            if let Some(key) = self.key_of(&listed).await
                && left.remove(&key)
            {
                probes.push(self.opened(&listed, &key).await);
            }
        }
        probes.extend(left.into_iter().map(|key| Probe {
            action: OPENING,
            outcome: Ok(format!(
                "not tried under {key}: none of the first {S3_PROBED_OBJECTS_MAX} keys has an object under it"
            )),
        }));
    }

    /// The key of a key service that a version is under.
    async fn key_of(&self, of: &Listed) -> Option<String> {
        let seen = Seen::of(&self.head_alone(of).await.ok()?).ok()?;
        let mut system = seen.facts.system;
        let sse = system.remove(SSE)?;
        sse.starts_with(KMS)
            .then(|| system.remove(SSE_KEY))
            .flatten()
    }

    /// Reads the first byte: that takes the key.
    async fn opened(&self, of: &Listed, key: &str) -> Probe {
        let mut ask = asked(Method::GET, of);
        if of.facts.size > 0 {
            ask = ask.header("range", "bytes=0-0".to_owned());
        }
        let read = self.client.whole(&ask).await;
        let read = read.map(|_| format!("{} can be read, under {key}", of.key));
        Probe {
            action: OPENING,
            outcome: read.map_err(|error| error.of_source(of.key.as_str())),
        }
    }
}

fn asked(method: Method, of: &Listed) -> Ask<'_> {
    Ask::new(method, Some(of.key.as_str())).query("versionId", version::own(&of.version))
}
