//! What a source or a store that is a bucket of Google has to be allowed, as a role of its own.

use sealift_outside::Words;
use sealift_store::{BucketSettings, GCS_SOURCE_ACTIONS, GCS_STORE_ACTIONS, S3Settings};
use serde_json::{Map, Value, json};

use crate::config::{Config, SourceFrom};

/// Asked for with what is written, and by no request of its own.
const BEGIN_UPLOAD: &str = "storage.multipartUploads.create";

/// The roles of buckets, by what they are for.
pub(super) fn roles(config: &Config) -> Map<String, Value> {
    let mut roles = Map::new();
    for source in &config.sources {
        if let SourceFrom::Gcs(bucket) = &source.from {
            let name = format!("source {}", source.bucket);
            let role = role(&name, &bucket.settings, GCS_SOURCE_ACTIONS.to_vec());
            roles.insert(name, role);
        }
    }
    if let Some(bucket) = &config.store
        && let BucketSettings::S3(settings) = &bucket.settings
        && settings.words == Words::Google
    {
        let permissions = GCS_STORE_ACTIONS.into_iter().chain([BEGIN_UPLOAD]);
        let role = role("store", settings, permissions.collect());
        roles.insert("store".to_owned(), role);
    }
    roles
}

fn role(name: &str, settings: &S3Settings, permissions: Vec<&str>) -> Value {
    json!({
        "role": {
            "title": format!("sealift {name}"), "stage": "GA",
            "includedPermissions": permissions,
        },
        "bucket": format!("gs://{}", settings.bucket),
    })
}

#[cfg(test)]
mod tests {
    use crate::{aws_policies, policy::example_with};

    #[test]
    fn a_bucket_is_allowed_what_is_asked_of_it_and_nothing_of_aws_is_printed() {
        let config = example_with(
            "[[source]]\nbucket = \"photos\"\n[source.gcs]\nbucket = \"inbox\"\n\
             credentials_file = \"h\"\n[store.gcs]\nbucket = \"sealed\"\ncredentials_file = \"h\"\n",
        );
        let printed = aws_policies(&config, "arn:role").unwrap();
        assert!(printed.get("iam_policy").is_none());
        let role = &printed["google_roles"]["store"];
        assert_eq!(role["bucket"], "gs://sealed");
        let permissions = role["role"]["includedPermissions"].as_array().unwrap();
        assert!(permissions.contains(&"storage.multipartUploads.create".into()));
        assert_eq!(permissions.len(), 9);
        let of_source = &printed["google_roles"]["source photos"];
        assert_eq!(of_source["bucket"], "gs://inbox");
        let permissions = &of_source["role"]["includedPermissions"];
        assert_eq!(
            *permissions,
            serde_json::json!([
                "storage.buckets.get",
                "storage.objects.list",
                "storage.objects.get"
            ])
        );
    }
}
