//! What an application says of an object that it writes, and what it asks for that is not
//! to be had here.

use std::collections::BTreeMap;

use hyper::HeaderMap;
use s3s::{
    S3Error, S3ErrorCode, S3Result,
    dto::{Tag, Timestamp, TimestampFormat},
};
use sealift_terms::{ObjectFacts, limits::TAGS_MAX};

use crate::errors::invalid;

/// Headers that ask for something that is not done here: a write that came without it would
/// not be what was asked for.
const NOT_DONE: [&str; 12] = [
    "x-amz-bypass-governance-retention",
    "x-amz-copy-source-server-side-encryption-customer-algorithm",
    "x-amz-mfa",
    "x-amz-object-lock-legal-hold",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-rename-source",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-context",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-website-redirect-location",
    "x-amz-write-offset-bytes",
];

/// Headers of which one value alone is what is done here anyway.
const DONE_SO: [(&str, &[&str]); 3] = [
    ("x-amz-acl", &["private", "bucket-owner-full-control"]),
    ("x-amz-server-side-encryption", &["AES256"]),
    ("x-amz-storage-class", &["STANDARD"]),
];

/// Refuses what is not done here.
pub(crate) fn hold_wishes(headers: &HeaderMap) -> S3Result<()> {
    let grants = |name: &&str| name.starts_with("x-amz-grant-");
    let names = || headers.keys().map(|name| name.as_str());
    let not_done = names().find(|name| NOT_DONE.contains(name));
    if let Some(name) = not_done.or_else(|| names().find(grants)) {
        return Err(not_implemented(&format!("{name} is not taken here")));
    }
    for (name, done) in DONE_SO {
        let others = headers.get_all(name).into_iter().find(|value| {
            let value = value.to_str().unwrap_or_default();
            !done.contains(&value)
        });
        if others.is_some() {
            let told = format!("of {name}, {} alone is taken here", done.join(" and "));
            return Err(not_implemented(&told));
        }
    }
    Ok(())
}

pub(crate) fn not_implemented(told: &str) -> S3Error {
    S3Error::with_message(S3ErrorCode::NotImplemented, told.to_owned())
}

/// What an object is said to be.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) cache_control: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_language: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) metadata: Option<std::collections::HashMap<String, String>>,
    pub(crate) tagging: Option<String>,
}

/// What the input of a call says: the three calls that begin an object name it alike, in
/// types of their own.
macro_rules! said {
    ($input:ident) => {
        $crate::fresh::Said {
            cache_control: $input.cache_control,
            content_disposition: $input.content_disposition,
            content_encoding: $input.content_encoding,
            content_language: $input.content_language,
            content_type: $input.content_type.map(|kind| kind.to_string()),
            expires: $input.expires,
            metadata: $input.metadata,
            tagging: $input.tagging,
        }
    };
}
pub(crate) use said;

impl Said {
    /// As it is kept.
    ///
    /// # Errors
    /// More than is kept.
    pub(crate) fn facts(self, size: u64) -> S3Result<ObjectFacts> {
        let mut system = BTreeMap::new();
        let encoding = self.content_encoding.map(|text| without_framing(&text));
        let texts = [
            ("cache-control", self.cache_control),
            ("content-disposition", self.content_disposition),
            ("content-encoding", encoding.filter(|text| !text.is_empty())),
            ("content-language", self.content_language),
            ("expires", self.expires.as_ref().and_then(http_date)),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                system.insert(name.to_owned(), text);
            }
        }
        let tags = match self.tagging {
            Some(text) => tags_of_query(&text)?,
            None => BTreeMap::new(),
        };
        let facts = ObjectFacts {
            size,
            content_type: self.content_type,
            metadata: self.metadata.unwrap_or_default().into_iter().collect(),
            system,
            tags,
            ..ObjectFacts::default()
        };
        facts.checked().map_err(|error| {
            let code = S3ErrorCode::MetadataTooLarge;
            S3Error::with_message(code, error.to_string())
        })
    }
}

/// `aws-chunked` says how content came, and nothing of what it is.
pub(crate) fn without_framing(text: &str) -> String {
    let all = text.split(',').map(str::trim);
    let kept: Vec<_> = all
        .filter(|one| !one.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    kept.join(",")
}

fn http_date(time: &Timestamp) -> Option<String> {
    let mut text = Vec::new();
    time.format(TimestampFormat::HttpDate, &mut text).ok()?;
    String::from_utf8(text).ok()
}

/// Tags as a header has them: `a=b&c=d`.
fn tags_of_query(text: &str) -> S3Result<BTreeMap<String, String>> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let decoded = pairs.map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decode = |text: &str| sealift_terms::percent::decode(&text.replace('+', " "));
        Some((decode(key)?, decode(value)?))
    });
    let decoded: Option<Vec<_>> = decoded.collect();
    checked_tags(decoded.ok_or_else(|| invalid("x-amz-tagging is no set of tags"))?)
}

/// Tags as a body has them.
pub(crate) fn tags_of_set(set: Vec<Tag>) -> S3Result<BTreeMap<String, String>> {
    let pairs = set.into_iter();
    let pairs = pairs.map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default()));
    checked_tags(pairs.collect())
}

fn checked_tags(pairs: Vec<(String, String)>) -> S3Result<BTreeMap<String, String>> {
    let refuse = |told: &'static str| Err(S3Error::with_message(S3ErrorCode::InvalidTag, told));
    if pairs.len() > TAGS_MAX {
        return refuse("an object has 10 tags at most");
    }
    let mut tags = BTreeMap::new();
    for (key, value) in pairs {
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return refuse("a tag has a key of 1 to 128 and a value of up to 256 characters");
        }
        if tags.insert(key, value).is_some() {
            return refuse("a tag is there twice");
        }
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(name: &'static str, value: &'static str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        hold_wishes(&headers).is_ok()
    }

    #[test]
    fn what_is_not_done_is_refused_and_never_left_out() {
        assert!(held("x-amz-acl", "private") && !held("x-amz-acl", "public-read"));
        assert!(held("x-amz-server-side-encryption", "AES256"));
        assert!(!held("x-amz-server-side-encryption", "aws:kms"));
        assert!(held("x-amz-storage-class", "STANDARD") && !held("x-amz-storage-class", "GLACIER"));
        assert!(!held("x-amz-object-lock-mode", "COMPLIANCE"));
        assert!(!held("x-amz-grant-read", "id=x"));
        assert!(held("x-amz-meta-acl", "x") && held("x-amz-tagging", "a=b"));
    }

    #[test]
    fn what_is_said_is_kept_within_limits() {
        let said = Said {
            content_encoding: Some("aws-chunked, gzip".to_owned()),
            content_type: Some("text/plain".to_owned()),
            tagging: Some("a=b&c%20d=e+f&g".to_owned()),
            metadata: Some([("x".to_owned(), "y".to_owned())].into()),
            ..Said::default()
        };
        let facts = said.facts(5).unwrap();
        assert_eq!(facts.system["content-encoding"], "gzip");
        assert_eq!(facts.tags["c d"], "e f");
        assert_eq!((facts.size, facts.tags["g"].as_str()), (5, ""));
        let framed = Said {
            content_encoding: Some("aws-chunked".to_owned()),
            ..Said::default()
        };
        assert!(framed.facts(0).unwrap().system.is_empty());
        let large = Said {
            metadata: Some([("x".to_owned(), "y".repeat(3000))].into()),
            ..Said::default()
        };
        let error = large.facts(0).unwrap_err();
        assert_eq!(*error.code(), S3ErrorCode::MetadataTooLarge);
    }

    #[test]
    fn tags_are_ten_and_none_twice() {
        let code = |text: &str| tags_of_query(text).map_err(|error| error.code().clone());
        let many: Vec<_> = (0..11).map(|i| format!("{i}=")).collect();
        assert!(code(&many[..10].join("&")).is_ok());
        for bad in [many.join("&"), "a=1&a=2".to_owned(), "=x".to_owned()] {
            assert_eq!(code(&bad), Err(S3ErrorCode::InvalidTag), "{bad}");
        }
        assert_eq!(code("a=%zz"), Err(S3ErrorCode::InvalidArgument));
    }
}
