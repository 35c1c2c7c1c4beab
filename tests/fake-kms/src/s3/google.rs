//! What Google's XML API says otherwise: generations for versions, none of them a delete marker.

use std::{fmt::Write, ops::Bound};

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{
    Method,
    http::{request::Parts, response::Builder},
};

use super::{
    Answered, Put,
    answers::{Query, encoded, error, escaped, xml},
    bucket::{Bucket, IN_LISTINGS, Version},
};

/// Refuses an object under a key of its writer's, of which HEAD tells all the same.
pub(super) fn hold(parts: &Parts, put: &Put) -> Result<(), Answered> {
    let mut names = put.headers.iter().map(|(name, _)| name);
    let is_theirs = names.any(|name| name == "x-goog-encryption-key-sha256");
    match is_theirs && parts.method != Method::HEAD {
        true => Err(error(
            400,
            "ResourceIsEncryptedWithCustomerEncryptionKey",
            "The resource is encrypted with a customer encryption key.",
        )),
        false => Ok(()),
    }
}

/// Whether an answer is to be as what is stored: compressed bytes are taken apart for whoever
/// does not say that it can do that.
pub(super) fn is_taken_apart(parts: &Parts, put: &Put) -> bool {
    let accepts = parts.headers.get("accept-encoding");
    let is_gzip = |(name, value): &(String, String)| name == "content-encoding" && value == "gzip";
    put.headers.iter().any(is_gzip) && accepts.is_none_or(|accepts| accepts != "gzip")
}

pub(super) fn headers(mut response: Builder, version: &Version, put: &Put) -> Builder {
    response = response
        .header("x-goog-generation", version.generation)
        .header("x-goog-metageneration", "1")
        .header("x-goog-stored-content-length", version.content.len());
    if !put.headers.iter().any(|(name, _)| name == "x-goog-hash") {
        let sum = STANDARD.encode(crc32c::crc32c(&version.content.whole()).to_be_bytes());
        response = response.header("x-goog-hash", format!("crc32c={sum}"));
    }
    match &put.kms_key {
        Some(key) => response.header("x-goog-encryption-kms-key-name", key),
        None => response,
    }
}

impl Bucket {
    /// `?versions`: the oldest generation of a name first.
    pub(super) fn generations(&self, query: &Query) -> Answered {
        let get = |name| query.get(name).unwrap_or_default();
        let (prefix, marker) = (get("prefix"), get("marker"));
        let behind: Option<u64> = get("generation-marker").parse().ok();
        let at_once = get("max-keys").parse().unwrap_or(1000).min(1000);
        let from = prefix.max(marker);
        let keys = self
            .keys
            .range::<str, _>((Bound::Included(from), Bound::Unbounded));
        let keys = keys.take_while(|(key, _)| key.starts_with(prefix));
        let all = keys.flat_map(|(key, versions)| {
            let next = versions.iter().skip(1).map(Some).chain([None]);
            versions.iter().zip(next).map(move |both| (key, both))
        });
        let is_behind = |key: &String, version: &Version| {
            marker.is_empty()
                || key != marker
                || behind.is_some_and(|behind| version.generation > behind)
        };
        // What is no generation here says since when the one before it is not live.
        let mut all =
            all.filter(|(key, (version, _))| version.put.is_some() && is_behind(key, version));
        let (mut inner, mut last) = (String::new(), String::new());
        for (key, (version, next)) in all.by_ref().take(at_once) {
            last = format!(
                "<NextMarker>{}</NextMarker><NextGenerationMarker>{}</NextGenerationMarker>",
                encoded(key),
                version.generation
            );
            listed(&mut inner, key, version, next);
        }
        let is_truncated = all.next().is_some();
        let _ = write!(
            inner,
            "<EncodingType>url</EncodingType><IsTruncated>{is_truncated}</IsTruncated>"
        );
        if is_truncated {
            inner += &last;
        }
        xml("ListBucketResult", &inner)
    }

    /// The version that a generation is.
    pub(super) fn id_of(&self, key: &str, generation: &str) -> Result<String, Answered> {
        let versions = self.keys.get(key).into_iter().flatten();
        let mut versions = versions.filter(|version| version.put.is_some());
        let found = versions.find(|version| version.generation.to_string() == generation);
        let missing = || error(404, "NoSuchKey", "The specified key does not exist.");
        found.map(|found| found.id.clone()).ok_or_else(missing)
    }
}

fn listed(inner: &mut String, key: &str, version: &Version, next: Option<&Version>) {
    let size = version.content.len();
    let _ = write!(
        inner,
        "<Version><Key>{}</Key><Generation>{}</Generation><MetaGeneration>1</MetaGeneration>\
         <IsLatest>{}</IsLatest><LastModified>{}</LastModified>",
        encoded(key),
        version.generation,
        next.is_none(),
        version.modified(IN_LISTINGS)
    );
    if let Some(next) = next {
        let deleted = next.modified(IN_LISTINGS);
        let _ = write!(inner, "<DeletedTime>{deleted}</DeletedTime>");
    }
    let etag = escaped(&version.etag);
    let _ = write!(inner, "<ETag>{etag}</ETag><Size>{size}</Size></Version>");
}
