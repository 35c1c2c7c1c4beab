//! The keys of key services, as `keys list` tells them: what the service says of each, and
//! what rests under it here.

use sealift_keys::{Held, KeyName, KeyProvider, ProviderKind};
use sealift_ledger::KeyUse;
use sealift_terms::{BucketName, KeyId};

use super::{SiteOperations, failing::in_words};
use crate::{
    Error,
    admin::{ServiceKey, ServiceKeyVersion},
};

impl SiteOperations {
    /// Every key of a key service that a bucket is configured with or that a key record
    /// here is wrapped under.
    pub(super) async fn service_keys(&self, used: &[KeyUse]) -> Vec<ServiceKey> {
        let config = self.site.current();
        let mut keys: Vec<ServiceKey> = Vec::new();
        let mut named: Vec<(BucketName, String)> = Vec::new();
        for bucket in &config.buckets {
            let names = bucket.keys().map(|(_, key)| key.name.clone());
            let names = names.filter(|name| is_of_service(name));
            named.extend(names.map(|name| (bucket.name.clone(), name)));
        }
        for (bucket, name) in named {
            let asked = self.ask_service(&name).await;
            put_in(&mut keys, asked, &bucket);
        }
        let of_records = used.iter().filter_map(of_service);
        let of_records: Vec<_> = of_records.map(|(of, cmk)| (of, cmk.clone())).collect();
        for (provider, cmk) in of_records {
            let is_it =
                |key: &ServiceKey| key.provider == provider && key.id.as_ref() == Some(&cmk);
            if !keys.iter().any(is_it) {
                let name = KeyName::new(provider, cmk.as_str()).to_string();
                let asked = self.ask_service(&name).await;
                keys.push(ServiceKey {
                    // What the records say, whatever the service does.
                    id: Some(cmk),
                    ..asked
                });
            }
        }
        keys.iter_mut().for_each(|key| count(key, used));
        keys
    }

    /// One key of a key service.
    pub(super) async fn service_key(&self, name: &str) -> Result<ServiceKey, Error> {
        let used = self.site.catalog.key_use().await?;
        let mut key = self.ask_service(name).await;
        let config = self.site.current();
        let buckets = config.buckets.iter();
        let buckets = buckets.filter(|bucket| bucket.keys().any(|(_, key)| key.name == name));
        key.buckets = buckets.map(|bucket| bucket.name.clone()).collect();
        count(&mut key, &used);
        Ok(key)
    }

    /// What its service says of a key now, or why it says nothing.
    async fn ask_service(&self, name: &str) -> ServiceKey {
        let asked = KeyName::parse(name);
        let silent = ServiceKey {
            name: name.to_owned(),
            provider: asked.provider,
            id: None,
            region: None,
            state: None,
            current: None,
            created: None,
            versions: Vec::new(),
            buckets: Vec::new(),
            reason: None,
            evidence: None,
        };
        match self.site.providers.describe(name).await {
            Ok(told) => ServiceKey {
                id: Some(told.id),
                region: Some(told.region),
                state: Some(told.state),
                current: Some(told.current),
                created: told.created,
                versions: told
                    .versions
                    .into_iter()
                    .map(|version| ServiceKeyVersion {
                        id: version.id,
                        created: version.created,
                        told: true,
                        held: Held::default(),
                    })
                    .collect(),
                reason: told.state.reason(),
                ..silent
            },
            Err(error) => ServiceKey {
                // Where ids are what a bucket is configured with, they are known anyway.
                id: KeyId::new(asked.key)
                    .ok()
                    .filter(|_| asked.provider != ProviderKind::AwsKms || is_arn(asked.key)),
                reason: Some(error.reason()),
                evidence: Some(in_words(&error)),
                ..silent
            },
        }
    }
}

/// Whether a name is one of a key of a key service.
pub(super) fn is_of_service(name: &str) -> bool {
    KeyName::parse(name).provider != ProviderKind::Local
}

/// AWS has several names for a key, of which the ARN is its id.
fn is_arn(key: &str) -> bool {
    key.starts_with("arn:") && key.contains(":key/")
}

/// The service's key that something rests under.
fn of_service(used: &KeyUse) -> Option<(ProviderKind, &KeyId)> {
    let mut all = ProviderKind::ALL.into_iter();
    let provider = all.find(|kind| kind.as_str() == used.provider)?;
    (provider != ProviderKind::Local).then_some((provider, &used.cmk))
}

/// Adds a bucket's key, or the bucket to its key.
fn put_in(keys: &mut Vec<ServiceKey>, asked: ServiceKey, bucket: &BucketName) {
    let is_it = |key: &&mut ServiceKey| {
        key.provider == asked.provider && (key.name == asked.name || is_same(key, &asked))
    };
    let at = match keys.iter_mut().find(is_it) {
        Some(known) => known,
        None => {
            keys.push(asked);
            let Some(last) = keys.last_mut() else { return };
            last
        }
    };
    if !at.buckets.contains(bucket) {
        at.buckets.push(bucket.clone());
    }
}

fn is_same(one: &ServiceKey, other: &ServiceKey) -> bool {
    one.id.is_some() && one.id == other.id
}

/// Puts what rests under each version beside it; versions that only records name come first,
/// as they are older than what the service tells.
fn count(key: &mut ServiceKey, used: &[KeyUse]) {
    let (provider, id) = (key.provider, key.id.clone());
    let is_it = |used: &&KeyUse| {
        of_service(used).is_some_and(|(of, cmk)| of == provider && Some(cmk) == id.as_ref())
    };
    let mut of_records = Vec::new();
    for used in used.iter().filter(is_it) {
        let held = Held {
            records: used.records,
            objects: used.objects,
            bytes: used.bytes,
        };
        let mut versions = key.versions.iter_mut();
        match versions.find(|version| version.id == used.cmk_version) {
            Some(version) => version.held = held,
            None => of_records.push(ServiceKeyVersion {
                id: used.cmk_version.clone(),
                created: None,
                told: false,
                held,
            }),
        }
    }
    of_records.append(&mut key.versions);
    key.versions = of_records;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(provider: &str, version: &str, objects: u64) -> KeyUse {
        KeyUse {
            provider: provider.to_owned(),
            cmk: "photos".parse().unwrap(),
            cmk_version: version.to_owned(),
            records: 1,
            objects,
            bytes: 10 * objects,
        }
    }

    fn key(versions: &[&str]) -> ServiceKey {
        ServiceKey {
            name: "transit/photos".to_owned(),
            provider: ProviderKind::Transit,
            id: "photos".parse().ok(),
            region: None,
            state: None,
            current: None,
            created: None,
            versions: versions
                .iter()
                .map(|id| ServiceKeyVersion {
                    id: (*id).to_owned(),
                    created: None,
                    told: true,
                    held: Held::default(),
                })
                .collect(),
            buckets: Vec::new(),
            reason: None,
            evidence: None,
        }
    }

    #[test]
    fn what_rests_under_a_version_is_counted_whether_the_service_tells_of_it_or_not() {
        let mut counted = key(&["2"]);
        // A key of the same name elsewhere is another one.
        let used = [
            used("transit", "1", 3),
            used("transit", "2", 4),
            used("pkcs11", "2", 9),
        ];
        count(&mut counted, &used);
        let told: Vec<_> = counted
            .versions
            .iter()
            .map(|version| (version.id.as_str(), version.told, version.held.objects))
            .collect();
        assert_eq!(told, [("1", false, 3), ("2", true, 4)]);
    }

    #[test]
    fn two_buckets_under_one_key_are_one_row() {
        let mut keys = Vec::new();
        for bucket in ["one", "two", "two"] {
            put_in(&mut keys, key(&["1"]), &bucket.parse().unwrap());
        }
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].buckets.len(), 2);
    }
}
