//! `[source.s3]` and `[store.s3]`: a bucket of an S3-compatible store as a source, or as
//! the store.

use std::{collections::BTreeSet, net::SocketAddr, ops::Range};

use sealift_outside::{Endpoint, Words};
use sealift_store::{EventQueue, S3Settings, Webhook};
use sealift_terms::{BucketName, Region, limits};
use toml::Spanned;

use super::{
    buckets::is_managed_by_aws,
    checker::Checker,
    classes,
    key_services::{ROOTS_REMEDY, credentials, endpoint},
    named::Wanted,
    places::S3Bucket,
    raw::{self, Text},
    rules::prefix,
};

/// With it the longest name of a stored file is no longer than a key may be.
const PREFIX_BYTES_MAX: usize = limits::OBJECT_KEY_BYTES_MAX - 256;

/// How the settings of a bucket are called where it stands.
struct Names {
    section: &'static str,
    region: &'static str,
    bucket: &'static str,
    prefix: &'static str,
    endpoint: &'static str,
    path_style: &'static str,
    credentials_file: &'static str,
    credentials_from: &'static str,
    roots_file: &'static str,
}

const SOURCE: Names = Names {
    section: "source.s3",
    region: "source.s3.region",
    bucket: "source.s3.bucket",
    prefix: "source.s3.prefix",
    endpoint: "source.s3.endpoint",
    path_style: "source.s3.path_style",
    credentials_file: "source.s3.credentials_file",
    credentials_from: "source.s3.credentials_from",
    roots_file: "source.s3.roots_file",
};

const STORE: Names = Names {
    section: "store.s3",
    region: "store.s3.region",
    bucket: "store.s3.bucket",
    prefix: "store.s3.prefix",
    endpoint: "store.s3.endpoint",
    path_style: "store.s3.path_style",
    credentials_file: "store.s3.credentials_file",
    credentials_from: "store.s3.credentials_from",
    roots_file: "store.s3.roots_file",
};

/// What is said of any bucket.
struct Said<'a> {
    names: &'static Names,
    span: Range<usize>,
    endpoint: Option<&'a Text>,
    region: &'a Text,
    bucket: Option<&'a Text>,
    prefix: Option<&'a Text>,
    path_style: Option<&'a Spanned<bool>>,
    credentials: (Option<&'a Text>, Option<&'a Text>),
    roots_file: Option<&'a Text>,
}

/// `[source.s3]`.
pub(super) fn s3(
    c: &mut Checker<'_>,
    section: &Spanned<raw::S3>,
    of: Option<&BucketName>,
) -> Option<S3Bucket> {
    let (raw, span) = (section.get_ref(), section.span());
    let said = Said {
        names: &SOURCE,
        span: span.clone(),
        endpoint: raw.endpoint.as_ref(),
        region: &raw.region,
        bucket: raw.bucket.as_ref(),
        prefix: raw.prefix.as_ref(),
        path_style: raw.path_style.as_ref(),
        credentials: (raw.credentials_file.as_ref(), raw.credentials_from.as_ref()),
        roots_file: raw.roots_file.as_ref(),
    };
    let bucket = said.bucket(c, of);
    let kms_keys = raw.kms_keys.as_ref();
    let kms_keys = kms_keys.map(|keys| kms_keys_of(c, "source.s3.kms_keys", keys));
    let webhook = webhook(c, raw, &span);
    let region = bucket.as_ref().map(|bucket| &bucket.settings.region);
    let queue = queue(c, raw.queue_url.as_ref(), region);
    let S3Bucket {
        settings,
        roots_file,
    } = bucket?;
    if let (Some(raw), Some(keys)) = (&raw.kms_keys, &kms_keys) {
        hold_selected(c, raw, keys, &settings);
    }
    Some(S3Bucket {
        settings: S3Settings {
            kms_keys,
            requester_pays: raw.requester_pays.unwrap_or(false),
            webhook: webhook?,
            queue: queue?,
            ..settings
        },
        roots_file,
    })
}

/// `[store.s3]`.
pub(super) fn store(c: &mut Checker<'_>, section: &Spanned<raw::StoreS3>) -> Option<S3Bucket> {
    let raw = section.get_ref();
    let said = Said {
        names: &STORE,
        span: section.span(),
        endpoint: raw.endpoint.as_ref(),
        region: &raw.region,
        bucket: Some(&raw.bucket),
        prefix: raw.prefix.as_ref(),
        path_style: raw.path_style.as_ref(),
        credentials: (raw.credentials_file.as_ref(), raw.credentials_from.as_ref()),
        roots_file: raw.roots_file.as_ref(),
    };
    let mut bucket = said.bucket(c, None)?;
    let required = raw.require_versioning.as_ref();
    bucket.settings.requires_versioning = required.is_some_and(|it| *it.get_ref());
    if let Some(class) = &raw.storage_class {
        bucket.settings.storage_class = classes::of_s3(c, class, bucket.settings.is_of_aws());
    }
    let span = raw.prefix.as_ref().unwrap_or(&raw.bucket).span();
    store_prefix(c, STORE.prefix, &bucket.settings.prefix, &span)?;
    Some(bucket)
}

/// Two stores, one below the other's beginning, would be one.
pub(super) fn store_prefix(
    c: &mut Checker<'_>,
    setting: &str,
    prefix: &str,
    span: &Range<usize>,
) -> Option<()> {
    if prefix.is_empty() || (prefix.ends_with('/') && prefix.len() <= PREFIX_BYTES_MAX) {
        return Some(());
    }
    c.refuse(
        setting,
        span,
        format!("{prefix:?}"),
        format!("one that ends with '/', of at most {PREFIX_BYTES_MAX} bytes"),
        "write it with a '/' at its end",
    )
}

impl Said<'_> {
    fn bucket(&self, c: &mut Checker<'_>, usual: Option<&BucketName>) -> Option<S3Bucket> {
        let names = self.names;
        let region: Option<Region> = c.name(names.region, self.region);
        let bucket = match self.bucket {
            Some(text) => c.name(names.bucket, text),
            None => usual.cloned(),
        };
        let settings = [
            names.section,
            names.credentials_file,
            names.credentials_from,
        ];
        let (file, from) = self.credentials;
        let credentials = credentials(c, settings, &self.span, file, from);
        let roots_file = self
            .roots_file
            .map(|file| c.named(names.roots_file, file, Wanted::File, ROOTS_REMEDY));
        let prefix = prefix(c, names.prefix, self.prefix);
        let (region, bucket) = (region?, bucket?);
        let (endpoint, path_style) = self.place(c, &region, &bucket)?;
        Some(S3Bucket {
            settings: S3Settings {
                endpoint,
                region,
                bucket,
                path_style,
                prefix: prefix?,
                words: Words::Aws,
                credentials: credentials?,
                kms_keys: None,
                requester_pays: false,
                requires_versioning: false,
                storage_class: None,
                webhook: None,
                queue: None,
            },
            roots_file,
        })
    }

    /// Where the bucket is, and whether its name is in the path. AWS wants it in the host, and
    /// there a dot would make it a name that no certificate is for.
    fn place(
        &self,
        c: &mut Checker<'_>,
        region: &Region,
        bucket: &BucketName,
    ) -> Option<(Endpoint, bool)> {
        let usual = Endpoint::parse(&S3Settings::usual_endpoint(region)).ok();
        let given = match self.endpoint {
            Some(text) => Some(endpoint(c, self.names.endpoint, text)?),
            None => usual.clone(),
        }?;
        let has_dot = bucket.as_str().contains('.');
        let is_usual = Some(&given) == usual.as_ref();
        let path_style = self.path_style;
        let in_path = path_style.map_or(!is_usual || has_dot, |told| *told.get_ref());
        if in_path {
            return Some((given, true));
        }
        match (given.below(bucket.as_str()), path_style) {
            (Ok(below), None) => Some((below, false)),
            (Ok(below), _) if !has_dot || !given.is_tls() => Some((below, false)),
            (_, told) => c.refuse(
                self.names.path_style,
                &told.map_or_else(|| self.region.span(), Spanned::span),
                format!("false, with bucket {bucket} at {given}"),
                "a bucket without a dot, at an endpoint that has a DNS name",
                "write path_style = true",
            ),
        }
    }
}

pub(super) fn kms_keys_of(
    c: &mut Checker<'_>,
    setting: &str,
    raw: &Spanned<Vec<String>>,
) -> BTreeSet<String> {
    let keys = raw.get_ref();
    if keys.len() > limits::S3_KMS_KEYS_MAX || keys.iter().any(String::is_empty) {
        c.refuse::<()>(
            setting,
            &raw.span(),
            format!("{} keys", keys.len()),
            format!(
                "at most {} keys, none of them empty",
                limits::S3_KMS_KEYS_MAX
            ),
            "leave it out to take objects under every key",
        );
    }
    keys.iter().cloned().collect()
}

/// S3 says of an object under which key it is by the key's ARN, so another name would select
/// nothing. What speaks as S3 has names of its own.
fn hold_selected(
    c: &mut Checker<'_>,
    raw: &Spanned<Vec<String>>,
    keys: &BTreeSet<String>,
    settings: &S3Settings,
) {
    let is_arn = |key: &str| key.starts_with("arn:") && key.contains(":key/");
    let is_of_aws = settings.is_of_aws();
    let cannot = |key: &&String| is_managed_by_aws(key) || (is_of_aws && !is_arn(key));
    if let Some(key) = keys.iter().find(cannot) {
        c.refuse::<()>(
            "source.s3.kms_keys",
            &raw.span(),
            format!("{key:?}"),
            "ARNs of keys, as arn:aws:kms:REGION:ACCOUNT:key/ID, and none that AWS manages (alias/aws/…): nobody of another account may use those",
            "name the key's ARN; leave kms_keys out to take objects under every key",
        );
    }
}

/// Some of a webhook, all of it, or none.
fn webhook(c: &mut Checker<'_>, raw: &raw::S3, span: &Range<usize>) -> Option<Option<Webhook>> {
    let (listen, file) = match (&raw.webhook_listen, &raw.webhook_token_file) {
        (None, None) => return Some(None),
        (Some(listen), Some(file)) => (listen, file),
        _ => {
            return c.refuse(
                "source.s3",
                span,
                "one of webhook_listen and webhook_token_file",
                "both or neither: who may tell of changes shows a token",
                "write the other one, too",
            );
        }
    };
    let remedy = "write a long random text into it, and give the store the same";
    let token_file = c.named("source.s3.webhook_token_file", file, Wanted::Secret, remedy);
    match listen.get_ref().parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Some(Some(Webhook {
            listen: address,
            token_file,
        })),
        _ => c.refuse(
            "source.s3.webhook_listen",
            &listen.span(),
            format!("{:?}", listen.get_ref()),
            "IP:PORT on loopback",
            "let the store reach it through a proxy with TLS, or use queue_url",
        ),
    }
}

/// `https://HOST/ACCOUNT/NAME`.
fn queue(
    c: &mut Checker<'_>,
    raw: Option<&Text>,
    region: Option<&Region>,
) -> Option<Option<EventQueue>> {
    let Some(text) = raw else {
        return Some(None);
    };
    let url = text.get_ref();
    let host = url.find("://").map(|at| at + 3);
    let path = host.and_then(|at| Some(at + url.get(at..)?.find('/')?));
    let (base, path) = url.split_at(path.unwrap_or(url.len()));
    match (Endpoint::parse(base), path.len() > 1) {
        (Ok(endpoint), true) => Some(Some(EventQueue {
            url: url.clone(),
            endpoint,
            region: region?.clone(),
        })),
        _ => c.refuse(
            "source.s3.queue_url",
            &text.span(),
            format!("{url:?}"),
            "https://HOST/ACCOUNT/QUEUE; http:// only with a loopback address",
            "write the URL of the queue that the bucket's events go to",
        ),
    }
}

#[cfg(test)]
mod tests {
    use sealift_outside::CredentialsFrom;
    use sealift_store::BucketSettings;

    use super::*;
    use crate::config::{SourceFrom, tests::example_with as check};

    const S3: &str = "[[source]]\nbucket = \"photos\"\n[source.s3]\nregion = \"eu-west-1\"\n\
                      credentials_file = \"credentials\"\n";

    fn bucket(section: &str) -> S3Bucket {
        let config = check(section).unwrap_or_else(|error| panic!("{error}"));
        match &config.sources[0].from {
            SourceFrom::S3(bucket) => (**bucket).clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_bucket_of_aws_needs_a_region_and_credentials_alone() {
        let bucket = bucket(S3);
        let settings = bucket.settings;
        let wanted = "https://photos.s3.eu-west-1.amazonaws.com";
        assert_eq!(settings.endpoint.to_string(), wanted);
        assert!(!settings.path_style && settings.kms_keys.is_none() && settings.queue.is_none());
        assert!(matches!(settings.credentials, CredentialsFrom::File(_)));
        assert_eq!(
            check(S3).unwrap().sources[0].scan_interval,
            limits::S3_SCAN_INTERVAL_DEFAULT
        );
    }

    const STORE: &str = "[store.s3]\nregion = \"eu-west-1\"\nbucket = \"sealed\"\n\
                         prefix = \"site-b/\"\ncredentials_file = \"credentials\"\n";

    #[test]
    fn sealed_objects_rest_in_a_bucket_where_there_is_one() {
        assert_eq!(check("").unwrap().store, None);
        let of = |text: &str| match check(text).unwrap().store.unwrap().settings {
            BucketSettings::S3(settings) => settings,
            other => panic!("{other:?}"),
        };
        let settings = of(STORE);
        let wanted = "https://sealed.s3.eu-west-1.amazonaws.com";
        assert_eq!(settings.endpoint.to_string(), wanted);
        assert_eq!(settings.prefix, "site-b/");
        assert!(!settings.requires_versioning);
        let versioned = of(&format!("{STORE}require_versioning = true\n"));
        assert!(versioned.requires_versioning);
        let all = of(&STORE.replace("prefix = \"site-b/\"\n", ""));
        assert_eq!(all.prefix, "");
    }

    #[test]
    fn what_cannot_be_a_store_is_refused_with_its_line() {
        for (from, to, setting) in [
            ("eu-west-1", "EU West", "store.s3.region"),
            ("\"sealed\"", "\"Sealed Objects\"", "store.s3.bucket"),
            ("credentials_file = \"credentials\"", "", "store.s3"),
            ("site-b/", "site-b", "store.s3.prefix"),
            (
                "prefix",
                "endpoint = \"http://s3\"\nprefix",
                "store.s3.endpoint",
            ),
            ("bucket =", "kms_keys = []\nbucket =", "configuration"),
        ] {
            let text = STORE.replacen(from, to, 1);
            let refusals = check(&text).unwrap_err().refusals;
            let refused: Vec<_> = refusals.iter().map(|one| one.setting.as_str()).collect();
            assert_eq!(refused, [setting], "{text}");
        }
    }

    #[test]
    fn elsewhere_the_bucket_is_in_the_path_unless_it_is_said_to_be_in_the_host() {
        let endpoint =
            format!("{S3}endpoint = \"https://s3.example.org:9000\"\nbucket = \"other\"\n");
        let settings = bucket(&endpoint).settings;
        assert_eq!(settings.endpoint.to_string(), "https://s3.example.org:9000");
        assert!(settings.path_style && settings.bucket.as_str() == "other");
        let below = bucket(&format!("{endpoint}path_style = false\n")).settings;
        assert_eq!(
            below.endpoint.to_string(),
            "https://other.s3.example.org:9000"
        );
        let dotted = bucket(&S3.replace("\"photos\"", "\"a.b\"")).settings;
        assert!(dotted.path_style);
    }

    #[test]
    fn events_come_by_a_webhook_on_loopback_and_by_a_queue_and_whoever_asks_may_pay() {
        let events = format!(
            "{S3}webhook_listen = \"127.0.0.1:9100\"\nwebhook_token_file = \"token\"\n\
             requester_pays = true\nqueue_url = \"https://sqs.eu-west-1.amazonaws.com/111122223333/photos\"\nkms_keys = [\"arn:aws:kms:a:1:key/a\"]\n"
        );
        assert!(!bucket(S3).settings.requester_pays);
        let settings = bucket(&events).settings;
        assert!(settings.requester_pays);
        assert_eq!(settings.webhook.unwrap().listen.port(), 9100);
        let queue = settings.queue.unwrap();
        assert_eq!(
            queue.endpoint.to_string(),
            "https://sqs.eu-west-1.amazonaws.com"
        );
        assert!(settings.kms_keys.unwrap().contains("arn:aws:kms:a:1:key/a"));
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_setting() {
        for (from, to, setting) in [
            ("eu-west-1", "EU West", "source.s3.region"),
            ("credentials_file = \"credentials\"", "", "source.s3"),
            (
                "credentials_file",
                "credentials_from = \"instance\"\ncredentials_file",
                "source.s3",
            ),
            (
                "credentials_file",
                "endpoint = \"http://s3\"\ncredentials_file",
                "source.s3.endpoint",
            ),
            (
                "credentials_file",
                "endpoint = \"https://10.0.0.1\"\npath_style = false\ncredentials_file",
                "source.s3.path_style",
            ),
            (
                "credentials_file",
                "webhook_listen = \"127.0.0.1:1\"\ncredentials_file",
                "source.s3",
            ),
            (
                "credentials_file",
                "webhook_listen = \"0.0.0.0:1\"\nwebhook_token_file = \"t\"\ncredentials_file",
                "source.s3.webhook_listen",
            ),
            (
                "credentials_file",
                "queue_url = \"http://sqs/1/q\"\ncredentials_file",
                "source.s3.queue_url",
            ),
            (
                "credentials_file",
                "queue_url = \"https://sqs\"\ncredentials_file",
                "source.s3.queue_url",
            ),
            (
                "credentials_file",
                "kms_keys = [\"\"]\ncredentials_file",
                "source.s3.kms_keys",
            ),
            (
                "credentials_file",
                "kms_keys = [\"alias/ours\"]\ncredentials_file",
                "source.s3.kms_keys",
            ),
            (
                "credentials_file",
                "endpoint = \"https://s3.example.org\"\nkms_keys = [\"alias/aws/s3\"]\ncredentials_file",
                "source.s3.kms_keys",
            ),
            (
                "credentials_file",
                "bucket = \"A\"\ncredentials_file",
                "source.s3.bucket",
            ),
            (
                "[source.s3]",
                "directory = \"/srv/x\"\n[source.s3]",
                "source",
            ),
            (
                "credentials_file",
                "secret = \"x\"\ncredentials_file",
                "unknown field",
            ),
        ] {
            let told = check(&S3.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(told.contains(setting), "{to}: {told}");
        }
        let neither = check("[[source]]\nbucket = \"photos\"\n")
            .unwrap_err()
            .to_string();
        assert!(
            neither.contains(
                "directory, or [source.s3], or [source.azure], or [source.gcs], or archive = true"
            ),
            "{neither}"
        );
        let long = format!("{S3}prefix = \"{}\"\n", "x".repeat(1025));
        assert!(
            check(&long)
                .unwrap_err()
                .to_string()
                .contains("source.s3.prefix")
        );
        let many = vec!["\"k\""; limits::S3_KMS_KEYS_MAX + 1].join(",");
        assert!(check(&format!("{S3}kms_keys = [{many}]\n")).is_err());
    }
}
