//! `[source.gcs]` and `[store.gcs]`: a bucket of Google Cloud Storage, by its XML API.

use sealift_outside::{CredentialsFrom, Endpoint, Words};
use sealift_store::{BucketSettings, S3Settings};
use sealift_terms::{BucketName, Region};
use toml::Spanned;

use super::{
    checker::Checker,
    classes,
    key_services::{ROOTS_REMEDY, endpoint},
    named::Wanted,
    places::{S3Bucket, StoreBucket},
    raw,
    rules::prefix,
    s3::{kms_keys_of, store_prefix},
};

/// Where the service is, for all of its regions.
const ENDPOINT: &str = "https://storage.googleapis.com";
/// A signature is for a location, which the service does not look at.
const LOCATION: &str = "auto";

/// How the settings of a bucket are called where it stands.
struct Names {
    section: &'static str,
    bucket: &'static str,
    prefix: &'static str,
    endpoint: &'static str,
    credentials_file: &'static str,
    roots_file: &'static str,
}

const SOURCE: Names = Names {
    section: "source.gcs",
    bucket: "source.gcs.bucket",
    prefix: "source.gcs.prefix",
    endpoint: "source.gcs.endpoint",
    credentials_file: "source.gcs.credentials_file",
    roots_file: "source.gcs.roots_file",
};

const STORE: Names = Names {
    section: "store.gcs",
    bucket: "store.gcs.bucket",
    prefix: "store.gcs.prefix",
    endpoint: "store.gcs.endpoint",
    credentials_file: "store.gcs.credentials_file",
    roots_file: "store.gcs.roots_file",
};

/// `[source.gcs]`, of the bucket that is called so here.
pub(super) fn source(
    c: &mut Checker<'_>,
    section: &Spanned<raw::Gcs>,
    of: Option<&BucketName>,
) -> Option<S3Bucket> {
    if let Some(told) = &section.get_ref().storage_class {
        return c.refuse(
            "source.gcs.storage_class",
            &told.span(),
            "storage_class",
            "nothing of the kind: each object of a source is in a class already",
            "leave it out",
        );
    }
    let kms_keys = section.get_ref().kms_keys.as_ref();
    let kms_keys = kms_keys.map(|keys| kms_keys_of(c, "source.gcs.kms_keys", keys));
    let mut bucket = bucket(c, section, &SOURCE, of)?;
    bucket.settings.kms_keys = kms_keys;
    Some(bucket)
}

/// `[store.gcs]`.
pub(super) fn store(c: &mut Checker<'_>, section: &Spanned<raw::Gcs>) -> Option<StoreBucket> {
    let raw = section.get_ref();
    if let Some(told) = &raw.kms_keys {
        return c.refuse(
            "store.gcs.kms_keys",
            &told.span(),
            "kms_keys",
            "nothing of the kind: what rests in a store is sealed already",
            "leave it out",
        );
    }
    let class = raw.storage_class.as_ref();
    let class = class.map(|class| classes::of_google(c, class));
    let S3Bucket {
        mut settings,
        roots_file,
    } = bucket(c, section, &STORE, None)?;
    if let Some(class) = class {
        settings.storage_class = Some(class?);
    }
    let span = raw.prefix.as_ref().or(raw.bucket.as_ref());
    let span = span.map_or(section.span(), Spanned::span);
    store_prefix(c, STORE.prefix, &settings.prefix, &span)?;
    Some(StoreBucket {
        settings: BucketSettings::S3(Box::new(settings)),
        roots_file,
    })
}

fn bucket(
    c: &mut Checker<'_>,
    section: &Spanned<raw::Gcs>,
    names: &Names,
    of: Option<&BucketName>,
) -> Option<S3Bucket> {
    let raw = section.get_ref();
    let bucket: Option<BucketName> = match (&raw.bucket, of) {
        (Some(text), _) => c.name(names.bucket, text),
        (None, Some(of)) => Some(of.clone()),
        // A source whose own name was refused has been told of.
        (None, None) if names.section == SOURCE.section => None,
        (None, None) => c.refuse(
            names.section,
            &section.span(),
            "no bucket",
            "bucket, its name at Google",
            "write it",
        ),
    };
    let credentials = CredentialsFrom::File(c.named(
        names.credentials_file,
        &raw.credentials_file,
        Wanted::Secret,
        "write the access id and the secret of an HMAC key into it, as aws_access_key_id and aws_secret_access_key",
    ));
    let roots_file = raw
        .roots_file
        .as_ref()
        .map(|file| c.named(names.roots_file, file, Wanted::File, ROOTS_REMEDY));
    let prefix = prefix(c, names.prefix, raw.prefix.as_ref());
    let endpoint = match &raw.endpoint {
        Some(text) => endpoint(c, names.endpoint, text),
        None => Endpoint::parse(ENDPOINT).ok(),
    };
    let settings = S3Settings {
        endpoint: endpoint?,
        region: Region::new(LOCATION).ok()?,
        bucket: bucket?,
        path_style: true,
        prefix: prefix?,
        words: Words::Google,
        credentials,
        kms_keys: None,
        requester_pays: false,
        requires_versioning: false,
        storage_class: None,
        webhook: None,
        queue: None,
    };
    Some(S3Bucket {
        settings,
        roots_file,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SourceFrom, tests::example_with as check};

    const SOURCE: &str =
        "[[source]]\nbucket = \"photos\"\n[source.gcs]\ncredentials_file = \"hmac\"\n";
    const STORE: &str = "[store.gcs]\nbucket = \"sealed\"\nprefix = \"site-b/\"\n\
                         credentials_file = \"hmac\"\n";

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
    fn a_bucket_of_google_is_a_source_by_its_own_name_or_by_another() {
        let of = |section: &str| {
            let config = check(section).unwrap_or_else(|error| panic!("{error}"));
            match &config.sources[0].from {
                SourceFrom::Gcs(bucket) => bucket.settings.clone(),
                other => panic!("{other:?}"),
            }
        };
        let settings = of(SOURCE);
        assert_eq!(settings.bucket.as_str(), "photos");
        assert_eq!(settings.endpoint.to_string(), ENDPOINT);
        assert!(settings.words == Words::Google && settings.kms_keys.is_none());
        let more = "bucket = \"photos-eu\"\nprefix = \"in/\"\nkms_keys = [\"projects/p/k\"]\n";
        let settings = of(&format!("{SOURCE}{more}"));
        assert_eq!(settings.bucket.as_str(), "photos-eu");
        assert_eq!(
            (settings.prefix.as_str(), settings.kms_keys.unwrap().len()),
            ("in/", 1)
        );
        let config = check(SOURCE).unwrap();
        let usual = sealift_terms::limits::S3_SCAN_INTERVAL_DEFAULT;
        assert_eq!(config.sources[0].scan_interval, usual);
    }

    #[test]
    fn what_cannot_be_a_source_is_refused_with_its_line() {
        for (from, to, setting) in [
            (
                "credentials_file",
                "bucket = \"A B\"\ncredentials_file",
                "source.gcs.bucket",
            ),
            (
                "credentials_file",
                "kms_keys = [\"\"]\ncredentials_file",
                "source.gcs.kms_keys",
            ),
            (
                "credentials_file",
                "endpoint = \"http://gcs\"\ncredentials_file",
                "source.gcs.endpoint",
            ),
            (
                "credentials_file",
                "prefix = \"a\\u0000\"\ncredentials_file",
                "source.gcs.prefix",
            ),
            (
                "credentials_file",
                "region = \"eu\"\ncredentials_file",
                "configuration",
            ),
            ("credentials_file = \"hmac\"\n", "", "configuration"),
            (
                "[source.gcs]",
                "directory = \"/srv/photos\"\n[source.gcs]",
                "source",
            ),
            (
                "[source.gcs]",
                "fronted = true\n[source.gcs]",
                "source.fronted",
            ),
            ("\"photos\"", "\"A B\"", "source.bucket"),
        ] {
            let text = SOURCE.replacen(from, to, 1);
            let refusals = check(&text).unwrap_err().refusals;
            let refused: Vec<_> = refusals.iter().map(|one| one.setting.as_str()).collect();
            assert_eq!(refused, [setting], "{text}");
        }
    }

    #[test]
    fn what_cannot_be_one_is_refused_with_its_line() {
        for (from, to, setting) in [
            ("\"sealed\"", "\"Sealed Objects\"", "store.gcs.bucket"),
            ("site-b/", "site-b", "store.gcs.prefix"),
            ("bucket = \"sealed\"\n", "", "store.gcs"),
            ("prefix", "kms_keys = []\nprefix", "store.gcs.kms_keys"),
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
