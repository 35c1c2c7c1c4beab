//! Events of a bucket, as stores write them (Amazon S3 User Guide, "Event message
//! structure"; MinIO and Ceph post the same records): they become hints.

pub(super) mod queue;
pub(super) mod webhook;

use sealift_terms::{ObjectKey, percent::decode_form};
use serde::Deserialize;

use super::{settings::S3Settings, version};
use crate::Hint;

/// Records of one message; more make it a hint to scan everything.
const RECORDS_MAX: usize = 10_000;

/// Which events are of the source.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    bucket: String,
    prefix: String,
}

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "Records")]
    records: Option<Vec<Record>>,
    /// A queue behind a topic of SNS has the message in a message.
    #[serde(rename = "Message")]
    message: Option<String>,
    /// What S3 sends when notifications are set up.
    #[serde(rename = "Event")]
    event: Option<String>,
}

#[derive(Deserialize)]
struct Record {
    #[serde(rename = "eventName", default)]
    event: String,
    s3: Option<Of>,
}

#[derive(Deserialize)]
struct Of {
    bucket: Bucket,
    object: Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
struct Object {
    key: String,
    #[serde(rename = "versionId")]
    version: Option<String>,
    #[serde(rename = "eTag", default)]
    etag: String,
}

impl Wanted {
    pub(super) fn of(settings: &S3Settings) -> Self {
        Self {
            bucket: settings.bucket.to_string(),
            prefix: settings.prefix.clone(),
        }
    }

    /// The hints in a message; none when it is no message of a store.
    pub(super) fn hints(&self, message: &[u8]) -> Option<Vec<Hint>> {
        let message: Message = serde_json::from_slice(message).ok()?;
        let records = match (message.records, message.message) {
            (Some(records), _) => records,
            (None, Some(inner)) => {
                let inner: Message = serde_json::from_str(&inner).ok()?;
                inner.records.or_else(|| inner.event.map(|_| Vec::new()))?
            }
            (None, None) => message.event.map(|_| Vec::new())?,
        };
        if records.len() > RECORDS_MAX {
            return Some(vec![Hint::Rescan]);
        }
        let hints = records
            .into_iter()
            .filter_map(|record| self.hint(&record.event, record.s3?));
        Some(hints.flatten().collect())
    }

    /// Whatever happened to a key: it is looked at. `ObjectTagging:Put` of S3 and Ceph,
    /// `ObjectCreated:PutTagging` of MinIO.
    fn hint(&self, event: &str, of: Of) -> Option<impl Iterator<Item = Hint> + use<>> {
        if of.bucket.name != self.bucket {
            return None;
        }
        let key = ObjectKey::new(decode_form(&of.object.key)?).ok()?;
        if !key.as_str().starts_with(&self.prefix) {
            return None;
        }
        let tagged = event.contains("Tagging").then(|| {
            let named = of.object.version.filter(|id| !id.is_empty());
            let version = named.and_then(|id| version::of(&id, &of.object.etag).ok());
            Hint::Tagged(key.clone(), version)
        });
        Some([Hint::Changed(key)].into_iter().chain(tagged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            bucket: "photos".to_owned(),
            prefix: "in/".to_owned(),
        }
    }

    fn records(bucket: &str, keys: &[&str]) -> String {
        let of = |key: &&str| {
            format!(
                "{{\"eventName\":\"s3:ObjectCreated:Put\",\"s3\":{{\"bucket\":{{\"name\":\"{bucket}\"}},\
                 \"object\":{{\"key\":\"{key}\",\"versionId\":\"v1\"}}}}}}"
            )
        };
        let records: Vec<_> = keys.iter().map(of).collect();
        format!(
            "{{\"EventName\":\"s3:ObjectCreated:Put\",\"Records\":[{}]}}",
            records.join(",")
        )
    }

    fn changed(key: &str) -> Hint {
        Hint::Changed(ObjectKey::new(key).unwrap())
    }

    #[test]
    fn events_of_the_bucket_are_hints_at_their_keys() {
        let message = records("photos", &["in/a+b", "in/%C3%A4", "out/c", "in/%"]);
        let hints = wanted().hints(message.as_bytes()).unwrap();
        assert_eq!(hints, [changed("in/a b"), changed("in/\u{e4}")]);
        let other = records("other", &["in/a"]);
        assert_eq!(wanted().hints(other.as_bytes()), Some(Vec::new()));
        let through_sns = serde_json::json!({ "Type": "Notification", "Message": message });
        let hints = wanted().hints(through_sns.to_string().as_bytes()).unwrap();
        assert_eq!(hints.len(), 2);
    }

    #[test]
    fn an_event_of_tags_names_the_version_that_they_are_of() {
        let key = || ObjectKey::new("in/a").unwrap();
        let version = sealift_terms::VersionId::new("v1").unwrap();
        for event in [
            "ObjectTagging:Put",
            "s3:ObjectTagging:Delete",
            "s3:ObjectCreated:PutTagging",
        ] {
            let message = records("photos", &["in/a"]);
            let message = message.replace(
                "\"eventName\":\"s3:ObjectCreated:Put\"",
                &format!("\"eventName\":\"{event}\""),
            );
            let hints = wanted().hints(message.as_bytes()).unwrap();
            assert_eq!(
                hints,
                [
                    Hint::Changed(key()),
                    Hint::Tagged(key(), Some(version.clone()))
                ]
            );
            let unnamed = message.replace("\"versionId\":\"v1\"", "\"size\":1");
            let hints = wanted().hints(unnamed.as_bytes()).unwrap();
            assert_eq!(hints[1], Hint::Tagged(key(), None));
        }
    }

    #[test]
    fn a_test_event_is_no_hint_and_anything_else_no_event() {
        let test = b"{\"Service\":\"Amazon S3\",\"Event\":\"s3:TestEvent\",\"Bucket\":\"photos\"}";
        assert_eq!(wanted().hints(test), Some(Vec::new()));
        for bad in [
            "",
            "{}",
            "[]",
            "{\"Records\":[{\"s3\":1}]}",
            "{\"Message\":\"no\"}",
        ] {
            assert_eq!(wanted().hints(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_message_has_so_many_records_and_no_more() {
        let keys = vec!["in/a"; RECORDS_MAX + 1];
        let hints = wanted().hints(records("photos", &keys).as_bytes()).unwrap();
        assert_eq!(hints, [Hint::Rescan]);
    }
}
