//! The least that AWS, Azure and Google have to allow for the keys, buckets and containers of a
//! configuration: policies for the agent's role, its trust policy, and one for each key, bucket and
//! queue, which may be of other accounts; a role for each container, and for each bucket of Google.
//!
//! ```text
//!   iam_policy, trust_policy                            the half of the agent's owner
//!   bucket_policies, queue_policies, key_policies       the halves of those who own the rest
//!   replication                                         the provider's own role, when it is asked for
//! ```

mod azure;
mod buckets;
mod google;
mod keys;
mod queues;
mod replication;
mod statements;
mod through;
mod trust;

use serde_json::{Map, Value};

use crate::config::Config;
use buckets::BucketPolicies;
use keys::KeyPolicies;
use queues::QueuePolicies;
pub use replication::replication_policies;
use statements::Policy;

/// For what, and for whom.
struct Asked<'a> {
    config: &'a Config,
    /// The ARN of the agent's role or user.
    principal: &'a str,
}

impl Asked<'_> {
    /// The region of a key: its ARN tells, or the service that it is asked of.
    fn region<'k>(&'k self, key: &'k str) -> &'k str {
        let told = key.strip_prefix("arn:");
        let told = told.and_then(|parts| parts.split(':').nth(2));
        let service = self.config.key_services.aws_kms.as_ref();
        told.or(service.map(|service| service.aws_region.as_str()))
            .unwrap_or_default()
    }
}

/// What `sealift policy` prints, or nothing where no bucket has a key of AWS KMS, and no
/// source and no store is a bucket or a container.
#[must_use]
pub fn aws_policies(config: &Config, principal: &str) -> Option<Value> {
    let asked = Asked { config, principal };
    let (mut of_role, mut of_keys) = (Policy::default(), KeyPolicies::default());
    let (mut of_buckets, mut of_queues) = (BucketPolicies::default(), QueuePolicies::default());
    keys::policies(&asked, &mut of_role, &mut of_keys);
    let of_both = (&mut of_queues, &mut of_keys);
    buckets::policies(&asked, &mut of_role, &mut of_buckets, of_both);
    let of_azure = azure::roles(config);
    let mut all = Map::new();
    if !of_role.is_empty() {
        all.insert("iam_policy".to_owned(), of_role.printed());
        all.extend(trust::policy(&asked).map(|trust| ("trust_policy".to_owned(), trust)));
        all.insert("key_policies".to_owned(), of_keys.printed().into());
        all.insert("bucket_policies".to_owned(), of_buckets.printed().into());
        all.insert("queue_policies".to_owned(), of_queues.printed().into());
    }
    if !of_azure.is_empty() {
        all.insert("azure_roles".to_owned(), of_azure.into());
    }
    let of_google = google::roles(config);
    if !of_google.is_empty() {
        all.insert("google_roles".to_owned(), of_google.into());
    }
    (!all.is_empty()).then_some(Value::Object(all))
}

/// The example's configuration with more sections.
#[cfg(test)]
fn example_with(sections: &str) -> Config {
    crate::config::tests::example_with(sections).unwrap()
}
