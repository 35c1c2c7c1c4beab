//! What of a request's head goes on to the store, and what of its answer comes back. What is
//! neither known nor beside the matter is refused: a write that came without it would not be
//! what was asked for.

use std::collections::BTreeMap;

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};
use s3s::S3Result;

use crate::{
    errors::invalid,
    fresh::{not_implemented, without_framing},
};

/// Headers without `x-amz-` that go on.
const PLAIN: [&str; 12] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-md5",
    "content-type",
    "expires",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// Headers with it that go on as they are, beside metadata and checksums.
const AMZ: [&str; 24] = [
    "x-amz-checksum-algorithm",
    "x-amz-checksum-mode",
    "x-amz-checksum-type",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-unmodified-since",
    "x-amz-copy-source-range",
    "x-amz-if-match-last-modified-time",
    "x-amz-if-match-size",
    "x-amz-max-parts",
    "x-amz-metadata-directive",
    "x-amz-mp-object-size",
    "x-amz-object-attributes",
    "x-amz-optional-object-attributes",
    "x-amz-part-number-marker",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled",
    "x-amz-server-side-encryption-context",
    "x-amz-storage-class",
    "x-amz-tagging",
    "x-amz-tagging-directive",
];

/// Headers that are of this request alone: who signed it, and how its content comes. Where
/// something is copied from is told anew.
const OWN: [&str; 8] = [
    "x-amz-content-sha256",
    "x-amz-copy-source",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-te",
    "x-amz-trailer",
    "x-amz-user-agent",
    "x-amz-security-token",
];

/// Headers of an answer that are of its connection alone, or say what is not meant for whoever
/// asked.
const NOT_BACK: [&str; 12] = [
    "connection",
    "date",
    "keep-alive",
    "location",
    "proxy-authenticate",
    "server",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-amz-bucket-region",
];

/// The headers that go on.
///
/// # Errors
/// `NotImplemented` for what is not passed on, and what is no text.
pub(super) fn onward(headers: &HeaderMap) -> S3Result<BTreeMap<String, String>> {
    let mut onward = BTreeMap::new();
    for (name, value) in headers {
        let name = name.as_str();
        if !goes_on(name, value)? {
            continue;
        }
        let no_text = |_| invalid("a header holds what is no visible ASCII");
        let mut text = value.to_str().map_err(no_text)?.trim().to_owned();
        if name == "content-encoding" {
            text = without_framing(&text);
            if text.is_empty() {
                continue;
            }
        }
        let joined = onward.entry(name.to_owned());
        // What is there twice is one list (RFC 9110, section 5.3).
        joined
            .and_modify(|before: &mut String| {
                before.push(',');
                before.push_str(&text);
            })
            .or_insert(text);
    }
    Ok(onward)
}

fn goes_on(name: &str, value: &HeaderValue) -> S3Result<bool> {
    let Some(amz) = name.strip_prefix("x-amz-") else {
        return Ok(PLAIN.contains(&name));
    };
    if amz.starts_with("meta-") || AMZ.contains(&name) {
        return Ok(true);
    }
    if OWN.contains(&name) {
        return Ok(false);
    }
    // Beside their value in a head there is one behind the content, which is another matter.
    let sum = amz.strip_prefix("checksum-");
    if sum.is_some_and(|kind| crate::sums::Kind::of(kind).is_some()) {
        return Ok(true);
    }
    let is_private = [&b"private"[..], b"bucket-owner-full-control"].contains(&value.as_bytes());
    match name == "x-amz-acl" && is_private {
        // It is so anyway.
        true => Ok(false),
        false => Err(not_implemented(&format!("{name} is not passed on"))),
    }
}

/// The headers of an answer that come back.
pub(super) fn back(headers: &HeaderMap) -> HeaderMap {
    let kept = headers.iter().filter(|(name, _)| comes_back(name));
    kept.map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn comes_back(name: &HeaderName) -> bool {
    let name = name.as_str();
    !NOT_BACK.contains(&name) && !name.starts_with("access-control-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = headers.iter();
        pairs
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn what_says_something_of_an_object_goes_on_and_what_signed_it_does_not() {
        let onward = onward(&map(&[
            ("authorization", "AWS4-HMAC-SHA256 Credential=x"),
            ("host", "127.0.0.1:9000"),
            ("connection", "keep-alive"),
            ("expect", "100-continue"),
            ("content-length", "5"),
            ("content-type", "text/plain"),
            ("content-encoding", "aws-chunked,gzip"),
            ("if-none-match", "*"),
            ("x-amz-date", "20261127T040000Z"),
            ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
            ("x-amz-decoded-content-length", "5"),
            ("x-amz-trailer", "x-amz-checksum-crc32"),
            ("x-amz-meta-owner", "me"),
            ("x-amz-checksum-crc32", "y/Q5Jg=="),
            ("x-amz-acl", "private"),
            ("x-amz-storage-class", "STANDARD_IA"),
            ("x-forwarded-for", "10.0.0.1"),
        ]));
        let onward = onward.unwrap();
        let names: Vec<_> = onward.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "content-encoding",
                "content-type",
                "if-none-match",
                "x-amz-checksum-crc32",
                "x-amz-meta-owner",
                "x-amz-storage-class"
            ]
        );
        assert_eq!(onward["content-encoding"], "gzip");
    }

    #[test]
    fn what_would_give_more_than_was_meant_or_be_left_out_is_refused() {
        for (name, value) in [
            ("x-amz-acl", "public-read"),
            ("x-amz-grant-read", "uri=x"),
            ("x-amz-bypass-governance-retention", "true"),
            ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
            ("x-amz-object-lock-mode", "COMPLIANCE"),
            ("x-amz-mfa", "x"),
            ("x-amz-of-tomorrow", "x"),
            ("x-amz-checksum-md4", "x"),
            ("x-amz-write-offset-bytes", "5"),
        ] {
            let error = onward(&map(&[(name, value)])).unwrap_err();
            assert_eq!(error.code().as_str(), "NotImplemented", "{name}");
        }
        let mut odd = HeaderMap::new();
        odd.insert("x-amz-meta-a", HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(onward(&odd).unwrap_err().code().as_str(), "InvalidArgument");
    }

    #[test]
    fn what_is_of_a_connection_or_of_another_site_does_not_come_back() {
        let back = back(&map(&[
            ("etag", "\"x\""),
            ("content-length", "5"),
            ("x-amz-version-id", "v1"),
            ("x-amz-meta-a", "b"),
            ("transfer-encoding", "chunked"),
            ("connection", "close"),
            ("set-cookie", "x"),
            ("access-control-allow-origin", "*"),
            ("location", "http://elsewhere"),
        ]));
        let mut names: Vec<_> = back.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["content-length", "etag", "x-amz-meta-a", "x-amz-version-id"]
        );
    }
}
