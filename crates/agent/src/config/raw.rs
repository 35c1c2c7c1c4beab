//! The configuration as it stands in the file: strings and numbers with their
//! places, nothing checked but the names of the fields.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

pub(crate) type Text = Spanned<String>;
pub(crate) type Number = Spanned<u64>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    pub(crate) site: Site,
    pub(crate) identity: Spanned<Identity>,
    pub(crate) keys: Spanned<Keys>,
    #[serde(default)]
    pub(crate) tls: Tls,
    #[serde(default)]
    pub(crate) listen: Listen,
    #[serde(default)]
    pub(crate) admin: Admin,
    #[serde(default)]
    pub(crate) limits: Limits,
    #[serde(default)]
    pub(crate) log: Log,
    #[serde(default)]
    pub(crate) watchdog: Watchdog,
    #[serde(default)]
    pub(crate) scrub: Scrub,
    pub(crate) ca: Option<Ca>,
    pub(crate) store: Option<Spanned<StoreEntry>>,
    #[serde(default, rename = "peer")]
    pub(crate) peers: Vec<Spanned<Peer>>,
    #[serde(default, rename = "bucket")]
    pub(crate) buckets: Vec<Spanned<Bucket>>,
    #[serde(default, rename = "source")]
    pub(crate) sources: Vec<Spanned<SourceEntry>>,
    #[serde(default, rename = "rule")]
    pub(crate) rules: Vec<Spanned<Rule>>,
    #[serde(default, rename = "grant")]
    pub(crate) grants: Vec<Spanned<Grant>>,
    #[serde(default, rename = "operator")]
    pub(crate) operators: Vec<Spanned<Operator>>,
    pub(crate) endpoint: Option<Spanned<Endpoint>>,
    #[serde(default, rename = "forward")]
    pub(crate) forwards: Vec<Spanned<Forward>>,
    #[serde(default, rename = "forward_target")]
    pub(crate) forward_targets: Vec<Spanned<ForwardTarget>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Site {
    pub(crate) name: Text,
    pub(crate) region: Text,
    pub(crate) data_dir: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    pub(crate) certificate: Option<Text>,
    pub(crate) private_key_file: Option<Text>,
    pub(crate) trust_bundle: Option<Text>,
    pub(crate) agent: Option<Text>,
    pub(crate) dns_name: Option<Text>,
    pub(crate) issuers: Option<Text>,
    pub(crate) life_days_max: Option<Number>,
    pub(crate) issuer: Option<Issuer>,
    pub(crate) acme: Option<Spanned<Acme>>,
    pub(crate) spiffe: Option<Spanned<Spiffe>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Acme {
    pub(crate) directory: Text,
    pub(crate) roots_file: Option<Text>,
    pub(crate) challenge: Option<Text>,
    pub(crate) listen: Option<Text>,
    pub(crate) profile: Option<Text>,
    pub(crate) uri_in_request: Option<bool>,
    pub(crate) terms_agreed: Option<bool>,
    pub(crate) contact: Option<Text>,
    pub(crate) eab_key_id: Option<Text>,
    pub(crate) eab_key_file: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spiffe {
    pub(crate) socket: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Issuer {
    pub(crate) address: Text,
    pub(crate) identity: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ca {
    pub(crate) directory: Text,
    pub(crate) listen: Text,
    pub(crate) interface: Option<Text>,
    #[serde(default)]
    pub(crate) networks: Vec<Text>,
    pub(crate) life_secs: Option<Number>,
    pub(crate) crl_life_secs: Option<Number>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keys {
    pub(crate) root_key_file: Option<Text>,
    pub(crate) root_key_credential: Option<Text>,
    pub(crate) root_key_passphrase_file: Option<Text>,
    pub(crate) root_key_wrapped_file: Option<Text>,
    pub(crate) aws_kms: Option<Spanned<AwsKms>>,
    pub(crate) pkcs11: Option<Spanned<Pkcs11>>,
    pub(crate) transit: Option<Spanned<Transit>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pkcs11 {
    pub(crate) module: Text,
    pub(crate) token: Text,
    pub(crate) pin_file: Text,
    #[serde(default)]
    pub(crate) directories: Vec<Text>,
    pub(crate) calls_per_sec: Option<Number>,
    pub(crate) state_known_secs: Option<Number>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AwsKms {
    pub(crate) region: Option<Text>,
    pub(crate) endpoint: Option<Text>,
    pub(crate) credentials_file: Option<Text>,
    pub(crate) credentials_from: Option<Text>,
    pub(crate) roots_file: Option<Text>,
    pub(crate) calls_per_sec: Option<Number>,
    pub(crate) state_known_secs: Option<Number>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Transit {
    pub(crate) address: Text,
    pub(crate) mount: Option<Text>,
    pub(crate) namespace: Option<Text>,
    pub(crate) token_file: Text,
    pub(crate) roots_file: Option<Text>,
    pub(crate) calls_per_sec: Option<Number>,
    pub(crate) state_known_secs: Option<Number>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    pub(crate) cipher_suites: Option<Spanned<Vec<String>>>,
    pub(crate) groups: Option<Spanned<Vec<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listen {
    pub(crate) address: Option<Text>,
    pub(crate) interface: Option<Text>,
    #[serde(default)]
    pub(crate) networks: Vec<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    pub(crate) address: Option<Text>,
    pub(crate) socket: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) part_bytes: Option<Number>,
    pub(crate) connections_per_peer: Option<Number>,
    pub(crate) memory_bytes: Option<Number>,
    pub(crate) drain_secs: Option<Number>,
    pub(crate) compression: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) format: Option<Text>,
    pub(crate) level: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Watchdog {
    pub(crate) stalled_after_secs: Option<Number>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scrub {
    pub(crate) period_secs: Option<Number>,
    pub(crate) rate_bytes_per_sec: Option<Number>,
    pub(crate) budget_secs_per_hour: Option<Number>,
    pub(crate) quarantine_secs: Option<Number>,
    pub(crate) dead_bytes_secs: Option<Number>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Peer {
    pub(crate) name: Text,
    pub(crate) identity: Text,
    pub(crate) address: Option<Text>,
    pub(crate) trust_bundle: Option<Text>,
    pub(crate) crl: Option<Text>,
    pub(crate) dns_name: Option<Text>,
    pub(crate) issuers: Option<Text>,
    pub(crate) life_days_max: Option<Number>,
    pub(crate) dial_for: Option<Spanned<Vec<Text>>>,
    pub(crate) limit: Option<Spanned<Limit>>,
    pub(crate) quota: Option<Spanned<PeerQuota>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PeerQuota {
    pub(crate) bytes: Option<Number>,
    pub(crate) objects: Option<Number>,
    pub(crate) unfinished_bytes: Option<Number>,
    pub(crate) rate_bytes_per_sec: Option<Number>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limit {
    pub(crate) rate_bytes_per_sec: Option<Number>,
    #[serde(default)]
    pub(crate) times: Vec<Spanned<Times>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Times {
    pub(crate) days: Option<Spanned<Vec<Text>>>,
    pub(crate) from_utc: Text,
    pub(crate) to_utc: Text,
    pub(crate) rate_bytes_per_sec: Option<Number>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bucket {
    pub(crate) name: Text,
    pub(crate) key: Text,
    pub(crate) bucket_keys: Option<bool>,
    pub(crate) allowed_regions: Option<Spanned<Vec<Text>>>,
    pub(crate) second_key: Option<Text>,
    pub(crate) quota_bytes: Option<Number>,
    pub(crate) quota_objects: Option<Number>,
    pub(crate) min_retention_days: Option<Number>,
    pub(crate) expire_noncurrent_days: Option<Number>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceEntry {
    pub(crate) bucket: Text,
    pub(crate) directory: Option<Text>,
    pub(crate) s3: Option<Spanned<S3>>,
    pub(crate) azure: Option<Spanned<Azure>>,
    pub(crate) gcs: Option<Spanned<Gcs>>,
    pub(crate) archive: Option<Spanned<bool>>,
    pub(crate) fronted: Option<Spanned<bool>>,
    pub(crate) synchronous: Option<Spanned<bool>>,
    pub(crate) synchronous_secs: Option<Number>,
    pub(crate) scan_interval_secs: Option<Number>,
}

impl SourceEntry {
    /// Whether its objects are in a bucket of a service.
    pub(crate) fn is_bucket(&self) -> bool {
        self.s3.is_some() || self.azure.is_some() || self.gcs.is_some()
    }

    /// What it is, where its objects have no tags.
    pub(crate) fn untagged(&self) -> Option<&'static str> {
        match (&self.directory, &self.gcs) {
            (Some(_), _) => Some("a directory"),
            (None, Some(_)) => Some("one of Google"),
            (None, None) => None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct S3 {
    pub(crate) endpoint: Option<Text>,
    pub(crate) region: Text,
    pub(crate) bucket: Option<Text>,
    pub(crate) prefix: Option<Text>,
    pub(crate) path_style: Option<Spanned<bool>>,
    pub(crate) credentials_file: Option<Text>,
    pub(crate) credentials_from: Option<Text>,
    pub(crate) roots_file: Option<Text>,
    pub(crate) kms_keys: Option<Spanned<Vec<String>>>,
    pub(crate) requester_pays: Option<bool>,
    pub(crate) webhook_listen: Option<Text>,
    pub(crate) webhook_token_file: Option<Text>,
    pub(crate) queue_url: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoreEntry {
    pub(crate) s3: Option<Spanned<StoreS3>>,
    pub(crate) azure: Option<Spanned<Azure>>,
    pub(crate) gcs: Option<Spanned<Gcs>>,
}

/// A bucket of Google Cloud Storage, as a source or as the store.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gcs {
    /// Without it a source's own name.
    pub(crate) bucket: Option<Text>,
    pub(crate) prefix: Option<Text>,
    pub(crate) endpoint: Option<Text>,
    pub(crate) credentials_file: Text,
    pub(crate) roots_file: Option<Text>,
    /// Of a source alone.
    pub(crate) kms_keys: Option<Spanned<Vec<String>>>,
    /// Of the store alone.
    pub(crate) storage_class: Option<Text>,
}

/// A container of Azure Blob Storage, as a source or as the store.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Azure {
    pub(crate) account: Text,
    pub(crate) container: Text,
    pub(crate) prefix: Option<Text>,
    pub(crate) endpoint: Option<Text>,
    pub(crate) key_file: Option<Text>,
    pub(crate) sas_file: Option<Text>,
    pub(crate) roots_file: Option<Text>,
    /// Of a source alone.
    pub(crate) versions: Option<Spanned<bool>>,
    /// Of the store alone.
    pub(crate) access_tier: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoreS3 {
    pub(crate) endpoint: Option<Text>,
    pub(crate) region: Text,
    pub(crate) bucket: Text,
    pub(crate) prefix: Option<Text>,
    pub(crate) path_style: Option<Spanned<bool>>,
    pub(crate) credentials_file: Option<Text>,
    pub(crate) credentials_from: Option<Text>,
    pub(crate) roots_file: Option<Text>,
    pub(crate) require_versioning: Option<Spanned<bool>>,
    pub(crate) storage_class: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) name: Text,
    pub(crate) bucket: Text,
    pub(crate) prefix: Option<Text>,
    pub(crate) tags: Option<Spanned<BTreeMap<String, Text>>>,
    pub(crate) peers: Spanned<Vec<Text>>,
    pub(crate) priority: Option<Number>,
    pub(crate) delete_markers: Option<bool>,
    pub(crate) version_deletes: Option<Spanned<bool>>,
    pub(crate) purge_hold_secs: Option<Number>,
    pub(crate) existing_objects: Option<bool>,
    pub(crate) to_origin: Option<bool>,
    pub(crate) replicas: Option<bool>,
    pub(crate) rpo_secs: Option<Number>,
    pub(crate) allowed_regions: Option<Spanned<Vec<Text>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Forward {
    pub(crate) name: Text,
    pub(crate) target: Option<Text>,
    pub(crate) listen: Text,
    pub(crate) unsafe_listen: Option<bool>,
    pub(crate) socket_mode: Option<Text>,
    pub(crate) peer: Text,
    pub(crate) streams_max: Option<Number>,
    pub(crate) idle_secs: Option<Number>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForwardTarget {
    pub(crate) name: Text,
    pub(crate) address: Text,
    pub(crate) allow: Spanned<Vec<Text>>,
    pub(crate) streams_max: Option<Number>,
    pub(crate) idle_secs: Option<Number>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Endpoint {
    pub(crate) listen: Text,
    pub(crate) unsafe_listen: Option<bool>,
    #[serde(default, rename = "key")]
    pub(crate) keys: Vec<Spanned<EndpointKey>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointKey {
    pub(crate) id: Text,
    pub(crate) secret_file: Text,
    pub(crate) buckets: Spanned<Vec<Text>>,
    pub(crate) rights: Spanned<Vec<Text>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grant {
    pub(crate) identity: Text,
    pub(crate) actions: Spanned<Vec<Text>>,
    pub(crate) bucket: Option<Text>,
    pub(crate) keys: Option<Spanned<Vec<Text>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Operator {
    pub(crate) user: Option<Text>,
    pub(crate) group: Option<Text>,
    pub(crate) actions: Spanned<Vec<Text>>,
    pub(crate) keys: Option<Vec<Text>>,
    pub(crate) buckets: Option<Vec<Text>>,
}
