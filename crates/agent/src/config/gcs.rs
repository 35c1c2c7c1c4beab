//! `[store.gcs]`: a bucket of Google Cloud Storage, by its XML API.

use sealift_outside::{CredentialsFrom, Endpoint, Words};
use sealift_store::{BucketSettings, S3Settings};
use sealift_terms::{BucketName, Region};
use toml::Spanned;

use super::{
    buckets::store_prefix,
    checker::Checker,
    key_services::{ROOTS_REMEDY, endpoint},
    named::Wanted,
    places::StoreBucket,
    raw,
    rules::prefix,
};

/// Where the service is, for all of its regions.
const ENDPOINT: &str = "https://storage.googleapis.com";
/// A signature is for a location, which the service does not look at.
const LOCATION: &str = "auto";

pub(super) fn store(c: &mut Checker<'_>, section: &Spanned<raw::StoreGcs>) -> Option<StoreBucket> {
    let raw = section.get_ref();
    let bucket: Option<BucketName> = c.name("store.gcs.bucket", &raw.bucket);
    let credentials = CredentialsFrom::File(c.named(
        "store.gcs.credentials_file",
        &raw.credentials_file,
        Wanted::Secret,
        "write the access id and the secret of an HMAC key into it, as aws_access_key_id and aws_secret_access_key",
    ));
    let roots_file = raw
        .roots_file
        .as_ref()
        .map(|file| c.named("store.gcs.roots_file", file, Wanted::File, ROOTS_REMEDY));
    let prefix = prefix(c, "store.gcs.prefix", raw.prefix.as_ref())?;
    let span = raw.prefix.as_ref().unwrap_or(&raw.bucket).span();
    store_prefix(c, "store.gcs.prefix", &prefix, &span)?;
    let endpoint = match &raw.endpoint {
        Some(text) => endpoint(c, "store.gcs.endpoint", text),
        None => Endpoint::parse(ENDPOINT).ok(),
    };
    let settings = S3Settings {
        endpoint: endpoint?,
        region: Region::new(LOCATION).ok()?,
        bucket: bucket?,
        path_style: true,
        prefix,
        words: Words::Google,
        credentials,
        kms_keys: None,
        requires_versioning: false,
        webhook: None,
        queue: None,
    };
    Some(StoreBucket {
        settings: BucketSettings::S3(Box::new(settings)),
        roots_file,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigError, Source, Template};

    const STORE: &str = "[store.gcs]\nbucket = \"sealed\"\nprefix = \"site-b/\"\n\
                         credentials_file = \"hmac\"\n";

    fn check(section: &str) -> Result<Config, ConfigError> {
        Config::check(&Source {
            path: "/etc/sealift/sealift.toml".into(),
            text: format!("{}\n{section}", Template::example().render()),
            overrides: Vec::new(),
        })
    }

    #[test]
    fn a_bucket_of_google_is_a_store_in_its_words() {
        let store = check(STORE).unwrap().store.unwrap().settings;
        assert_eq!(store.endpoint().to_string(), ENDPOINT);
        let BucketSettings::S3(settings) = store else {
            panic!("{store:?}");
        };
        assert!(settings.path_style && settings.words == Words::Google);
    }

    #[test]
    fn what_cannot_be_one_is_refused_with_its_line() {
        for (from, to, setting) in [
            ("\"sealed\"", "\"Sealed Objects\"", "store.gcs.bucket"),
            ("site-b/", "site-b", "store.gcs.prefix"),
            ("credentials_file", "key_file", "configuration"),
            (
                "prefix",
                "endpoint = \"http://gcs\"\nprefix",
                "store.gcs.endpoint",
            ),
        ] {
            let text = STORE.replacen(from, to, 1);
            let refusals = check(&text).unwrap_err().refusals;
            let refused: Vec<_> = refusals.iter().map(|one| one.setting.as_str()).collect();
            assert_eq!(refused, [setting], "{text}");
        }
    }
}
