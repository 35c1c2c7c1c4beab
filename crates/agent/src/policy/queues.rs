//! Queues of SQS that events of buckets go to: S3 puts messages into them, and the agent takes them
//! out.

use std::collections::BTreeMap;

use sealift_store::{EventQueue, S3Settings, SQS_ACTIONS};
use serde_json::{Map, Value, json};

use super::{
    Asked,
    statements::{Policy, allowed, granted, partition},
    through::bucket_arn,
};

/// The policies of queues, by their ARNs.
#[derive(Debug, Default)]
pub(super) struct QueuePolicies(BTreeMap<String, Policy>);

impl QueuePolicies {
    /// What a source's queue has to allow, and the role to have.
    pub(super) fn add(&mut self, asked: &Asked<'_>, settings: &S3Settings, of_role: &mut Policy) {
        let Some((name, arn)) = settings.queue.as_ref().and_then(named) else {
            return;
        };
        let taking = allowed(&SQS_ACTIONS, arn.as_str());
        let policy = self.0.entry(arn.clone()).or_default();
        policy.add(&format!("Told {}", settings.bucket), told(settings, &arn));
        policy.add("Take", granted(taking.clone(), asked.principal));
        of_role.add(&format!("Take {name}"), taking);
    }

    pub(super) fn printed(self) -> Map<String, Value> {
        let policies = self.0.into_iter();
        policies
            .map(|(queue, policy)| (queue, policy.printed()))
            .collect()
    }
}

/// S3 tells of what happens in one bucket, whoever owns that.
fn told(settings: &S3Settings, queue: &str) -> Map<String, Value> {
    let mut statement = allowed(&["sqs:SendMessage"], queue);
    let principal = json!({ "Service": "s3.amazonaws.com" });
    statement.insert("Principal".to_owned(), principal);
    let condition = json!({ "ArnEquals": { "aws:SourceArn": bucket_arn(settings) } });
    statement.insert("Condition".to_owned(), condition);
    statement
}

/// `https://HOST/ACCOUNT/NAME` is `arn:aws:sqs:REGION:ACCOUNT:NAME`.
fn named(queue: &EventQueue) -> Option<(String, String)> {
    let mut parts = queue.url.rsplit('/');
    let (name, account) = (parts.next()?, parts.next()?);
    let region = queue.region.as_str();
    let partition = partition(region);
    let arn = format!("arn:{partition}:sqs:{region}:{account}:{name}");
    Some((name.to_owned(), arn))
}
