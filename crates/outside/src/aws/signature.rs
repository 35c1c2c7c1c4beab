//! AWS Signature Version 4 (AWS General Reference, "Signing AWS API requests").

use std::{collections::BTreeMap, fmt::Write};

use ring::{digest, hmac};
use sealift_terms::Timestamp;
use time::OffsetDateTime;
use zeroize::Zeroizing;

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
    let moment = OffsetDateTime::from_unix_timestamp(now.as_secs());
    let moment = moment.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = moment.to_calendar_date();
    let (hour, minute, second) = moment.to_hms();
    let month = u8::from(month);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// What signs the requests of one day to one service: four steps away from the secret, the same
/// for all of them.
pub(super) struct DayKey {
    /// The day, the region, the service and the end, as a request tells them.
    scope: String,
    key: Zeroizing<[u8; 32]>,
}

impl DayKey {
    fn derive(what: &Signed<'_>, day: &str, scope: String, secret: &str) -> Self {
        let first = [what.words.secret().as_bytes(), secret.as_bytes()].concat();
        let mut key = hmac::Key::new(hmac::HMAC_SHA256, &Zeroizing::new(first));
        let mut derived = Zeroizing::new([0; 32]);
        for part in [day, what.region, what.service, what.words.end()] {
            derived.copy_from_slice(hmac::sign(&key, part.as_bytes()).as_ref());
            key = hmac::Key::new(hmac::HMAC_SHA256, &*derived);
        }
        Self {
            scope,
            key: derived,
        }
    }

    fn sign(&self, text: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*self.key);
        hex::encode(hmac::sign(&key, text.as_bytes()))
    }
}

/// The `authorization` header of what is asked at `date`, as [`date`] writes it.
pub(super) fn signed(what: &Signed<'_>, credentials: &AwsCredentials, date: &str) -> String {
    let words = what.words;
    let (algorithm, end) = (words.algorithm(), words.end());
    let day = date.get(..8).unwrap_or_default();
    let scope = format!("{day}/{}/{}/{end}", what.region, what.service);
    let names: Vec<&str> = what.headers.keys().copied().collect();
    let names = names.join(";");
    let mut canonical = format!("{}\n{}\n{}\n", what.method, what.path, what.query);
    for (name, value) in what.headers {
        // A String takes what is written to it.
        let _ = writeln!(canonical, "{name}:{}", value.trim());
    }
    let _ = write!(canonical, "\n{names}\n{}", what.hash);
    let hash = sha256(canonical.as_bytes());
    let to_sign = format!("{algorithm}\n{date}\n{scope}\n{hash}");
    let signature = {
        let mut kept = credentials.day_key.lock();
        let key = match kept.take().filter(|key| key.scope == scope) {
            Some(key) => key,
            None => DayKey::derive(what, day, scope.clone(), &credentials.secret_key),
        };
        kept.insert(key).sign(&to_sign)
    };
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
                signed(&what, &credentials, &date(now)),
                format!(
                    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                     SignedHeaders=host;x-amz-date, Signature={signature}"
                )
            );
        }
    }
}
