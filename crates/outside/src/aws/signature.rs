//! AWS Signature Version 4 (AWS General Reference, "Signing AWS API requests").

use std::collections::BTreeMap;

use ring::{digest, hmac};
use sealift_terms::Timestamp;

use super::AwsCredentials;

/// Whose words a signature is made of: Google takes the same one in its own (Cloud Storage,
/// "V4 signing process").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Words {
    /// AWS, and what speaks its protocols.
    #[default]
    Aws,
    /// The XML API of Google Cloud Storage.
    Google,
}

impl Words {
    fn algorithm(self) -> &'static str {
        match self {
            Self::Aws => "AWS4-HMAC-SHA256",
            Self::Google => "GOOG4-HMAC-SHA256",
        }
    }

    /// Stands before the secret, in the first key.
    fn secret(self) -> &'static str {
        match self {
            Self::Aws => "AWS4",
            Self::Google => "GOOG4",
        }
    }

    /// The end of a scope.
    fn end(self) -> &'static str {
        match self {
            Self::Aws => "aws4_request",
            Self::Google => "goog4_request",
        }
    }

    /// The header that says when.
    pub(super) fn date_header(self) -> &'static str {
        match self {
            Self::Aws => "x-amz-date",
            Self::Google => "x-goog-date",
        }
    }

    /// The header that says the SHA-256 of the body.
    #[must_use]
    pub fn hash_header(self) -> &'static str {
        match self {
            Self::Aws => "x-amz-content-sha256",
            Self::Google => "x-goog-content-sha256",
        }
    }
}

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, percent-encoded as it is sent.
    pub path: &'a str,
    /// The query as it is sent: names and values percent-encoded, sorted by name, each
    /// with its `=`.
    pub query: &'a str,
    /// Names in lower case. Every header here is signed.
    pub headers: &'a BTreeMap<&'a str, String>,
    /// SHA-256 of the body, in hex.
    pub hash: &'a str,
    /// The region of the service.
    pub region: &'a str,
    /// The service, as in `kms`.
    pub service: &'a str,
    /// Whose words.
    pub words: Words,
}

/// The moment as `x-amz-date` wants it: `20150830T123600Z`.
pub(super) fn date(now: Timestamp) -> String {
    let text = now.to_string();
    let whole = text.split('.').next().unwrap_or_default();
    let digits: String = whole
        .chars()
        .filter(|c| !matches!(c, '-' | ':' | 'Z'))
        .collect();
    format!("{digits}Z")
}

/// The `authorization` header.
pub(super) fn signed(what: &Signed<'_>, credentials: &AwsCredentials, now: Timestamp) -> String {
    let (date, words) = (date(now), what.words);
    let (algorithm, end) = (words.algorithm(), words.end());
    let day = date.get(..8).unwrap_or_default();
    let scope = format!("{day}/{}/{}/{end}", what.region, what.service);
    let names: Vec<&str> = what.headers.keys().copied().collect();
    let names = names.join(";");
    let headers: String = what
        .headers
        .iter()
        .map(|(name, value)| format!("{name}:{}\n", value.trim()))
        .collect();
    let canonical = format!(
        "{}\n{}\n{}\n{headers}\n{names}\n{}",
        what.method, what.path, what.query, what.hash
    );
    let to_sign = format!(
        "{algorithm}\n{date}\n{scope}\n{}",
        sha256(canonical.as_bytes())
    );
    let secret = [words.secret().as_bytes(), credentials.secret_key.as_bytes()].concat();
    let mut key = hmac::Key::new(hmac::HMAC_SHA256, &zeroize::Zeroizing::new(secret));
    for part in [day, what.region, what.service, end] {
        key = hmac::Key::new(
            hmac::HMAC_SHA256,
            hmac::sign(&key, part.as_bytes()).as_ref(),
        );
    }
    let signature = hex::encode(hmac::sign(&key, to_sign.as_bytes()));
    format!(
        "{algorithm} Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        credentials.access_key_id
    )
}

/// A digest in hex, as signatures and `x-amz-content-sha256` have it.
fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `get-vanilla`, `get-vanilla-query-order-key-case` and `post-vanilla` of AWS's own test suite for Signature Version 4.
    #[test]
    fn the_signatures_of_the_published_suite_come_out() {
        let credentials = AwsCredentials::new(
            "AKIDEXAMPLE",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            None,
        );
        let now = Timestamp::from_secs(1_440_938_160);
        assert_eq!(date(now), "20150830T123600Z");
        let headers = BTreeMap::from([
            ("host", "example.amazonaws.com".to_owned()),
            ("x-amz-date", date(now)),
        ]);
        for (method, query, signature) in [
            (
                "GET",
                "",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "GET",
                "Param1=value1&Param2=value2",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "POST",
                "",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
        ] {
            let what = Signed {
                method,
                path: "/",
                query,
                headers: &headers,
                hash: &sha256(b""),
                region: "us-east-1",
                service: "service",
                words: Words::Aws,
            };
            assert_eq!(
                signed(&what, &credentials, now),
                format!(
                    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                     SignedHeaders=host;x-amz-date, Signature={signature}"
                )
            );
        }
    }
}
