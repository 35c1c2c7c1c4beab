//! `[source.s3]`: a bucket of an S3-compatible store as a source.

use std::{collections::BTreeSet, net::SocketAddr, ops::Range};

use sealift_outside::Endpoint;
use sealift_store::{EventQueue, S3Settings, Webhook};
use sealift_terms::{BucketName, Region, limits};
use toml::Spanned;

use super::{
    checked::S3Bucket,
    checker::Checker,
    key_services::{ROOTS_REMEDY, credentials, endpoint},
    named::Wanted,
    raw::{self, Text},
    rules::prefix,
};

pub(super) fn s3(
    c: &mut Checker<'_>,
    section: &Spanned<raw::S3>,
    of: Option<&BucketName>,
) -> Option<S3Bucket> {
    let (raw, span) = (section.get_ref(), section.span());
    let region: Option<Region> = c.name("source.s3.region", &raw.region);
    let bucket = match &raw.bucket {
        Some(text) => c.name("source.s3.bucket", text),
        None => of.cloned(),
    };
    let credentials = credentials(
        c,
        [
            "source.s3",
            "source.s3.credentials_file",
            "source.s3.credentials_from",
        ],
        &span,
        raw.credentials_file.as_ref(),
        raw.credentials_from.as_ref(),
    );
    let roots = raw.roots_file.as_ref();
    let roots_file =
        roots.map(|file| c.named("source.s3.roots_file", file, Wanted::File, ROOTS_REMEDY));
    let prefix = prefix(c, "source.s3.prefix", raw.prefix.as_ref());
    let kms_keys = raw.kms_keys.as_ref().map(|keys| kms_keys(c, keys));
    let webhook = webhook(c, raw, &span);
    let queue = queue(c, raw.queue_url.as_ref(), region.as_ref());
    let (region, bucket) = (region?, bucket?);
    let (endpoint, path_style) = place(c, raw, &region, &bucket)?;
    Some(S3Bucket {
        settings: S3Settings {
            endpoint,
            region,
            bucket,
            path_style,
            prefix: prefix?,
            credentials: credentials?,
            kms_keys,
            webhook: webhook?,
            queue: queue?,
        },
        roots_file,
    })
}

/// Where the bucket is, and whether its name is in the path. AWS wants it in the host, and
/// there a dot would make it a name that no certificate is for.
fn place(
    c: &mut Checker<'_>,
    raw: &raw::S3,
    region: &Region,
    bucket: &BucketName,
) -> Option<(Endpoint, bool)> {
    let usual = Endpoint::parse(&S3Settings::usual_endpoint(region)).ok();
    let given = match &raw.endpoint {
        Some(text) => Some(endpoint(c, "source.s3.endpoint", text)?),
        None => usual.clone(),
    }?;
    let has_dot = bucket.as_str().contains('.');
    let is_usual = Some(&given) == usual.as_ref();
    let path_style = raw.path_style.as_ref();
    let in_path = path_style.map_or(!is_usual || has_dot, |told| *told.get_ref());
    if in_path {
        return Some((given, true));
    }
    match (given.below(bucket.as_str()), path_style) {
        (Ok(below), None) => Some((below, false)),
        (Ok(below), _) if !has_dot || !given.is_tls() => Some((below, false)),
        (_, told) => c.refuse(
            "source.s3.path_style",
            &told.map_or_else(|| raw.region.span(), Spanned::span),
            format!("false, with bucket {bucket} at {given}"),
            "a bucket without a dot, at an endpoint that has a DNS name",
            "write path_style = true",
        ),
    }
}

fn kms_keys(c: &mut Checker<'_>, raw: &Spanned<Vec<String>>) -> BTreeSet<String> {
    let keys = raw.get_ref();
    if keys.len() > limits::S3_KMS_KEYS_MAX || keys.iter().any(String::is_empty) {
        c.refuse::<()>(
            "source.s3.kms_keys",
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

    use super::*;
    use crate::config::{Config, ConfigError, Source, SourceFrom, Template};

    const S3: &str = "[[source]]\nbucket = \"photos\"\n[source.s3]\nregion = \"eu-west-1\"\n\
                      credentials_file = \"credentials\"\n";

    fn check(section: &str) -> Result<Config, ConfigError> {
        Config::check(&Source {
            path: "/etc/sealift/sealift.toml".into(),
            text: format!("{}\n{section}", Template::example().render()),
            overrides: Vec::new(),
        })
    }

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
    fn events_come_by_a_webhook_on_loopback_and_by_a_queue() {
        let events = format!(
            "{S3}webhook_listen = \"127.0.0.1:9100\"\nwebhook_token_file = \"token\"\n\
             queue_url = \"https://sqs.eu-west-1.amazonaws.com/111122223333/photos\"\nkms_keys = [\"arn:a\"]\n"
        );
        let settings = bucket(&events).settings;
        assert_eq!(settings.webhook.unwrap().listen.port(), 9100);
        let queue = settings.queue.unwrap();
        assert_eq!(
            queue.endpoint.to_string(),
            "https://sqs.eu-west-1.amazonaws.com"
        );
        assert!(settings.kms_keys.unwrap().contains("arn:a"));
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
            neither.contains("directory, or [source.s3], or archive = true"),
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
