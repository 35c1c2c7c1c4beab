//! PUT, DELETE and what else changes a bucket, under conditions.

use std::fmt::Write;

use hyper::{Method, Response, http::request::Parts};

use super::{
    Answered, Bucketful, Put,
    answers::{Query, encoded, error, escaped, xml},
    bucket::{Bucket, IN_LISTINGS},
    light::Content,
    of_version,
};
use crate::signature::hex;
use bytes::Bytes;
use http_body_util::Full;

const GENERATION: &str = "x-goog-if-generation-match";

impl Bucketful {
    /// What a request that writes, or is about an upload, is answered. `None` for another.
    pub(super) fn written(
        &self,
        parts: &Parts,
        key: &str,
        query: &Query,
        (body, behind): (Content, Vec<(String, String)>),
    ) -> Option<Result<Answered, Answered>> {
        let upload = query.get("uploadId");
        if query.has("tagging") {
            return self.tagged(parts, key, query, &body.whole());
        }
        Some(match (&parts.method, upload) {
            (&Method::POST, None) if query.has("uploads") => {
                // A permission of its own it has none.
                self.done("s3:PutObject", || {
                    let headers = said(parts, Vec::new()).headers;
                    Ok(self.uploads.lock().begin(key, headers))
                })
            }
            (&Method::PUT, Some(id)) => {
                let number = query.get("partNumber").and_then(|text| text.parse().ok());
                self.done("s3:PutObject (part)", || {
                    self.allowed("s3:PutObject")?;
                    self.uploads.lock().put(key, id, number.unwrap_or(0), body)
                })
            }
            (&Method::POST, Some(id)) => self.done("s3:PutObject (complete)", || {
                self.allowed("s3:PutObject")?;
                let mut bucket = self.bucket.lock();
                if self.is_google && parts.headers.contains_key(GENERATION) {
                    return Err(error(501, "NotImplemented", "no condition with that"));
                }
                bucket.holds(parts, key, self.is_google)?;
                let (content, headers) = self.uploads.lock().complete(key, id, &body.whole())?;
                let put = Put {
                    headers,
                    ..Put::default()
                };
                let (id, etag) = bucket.place(key, put, content);
                let inner = format!("<ETag>{}</ETag>", escaped(&etag));
                let mut answered = xml("CompleteMultipartUploadResult", &inner);
                with_version(&mut answered, &id);
                Ok(answered)
            }),
            (&Method::DELETE, Some(id)) => self.done("s3:AbortMultipartUpload", || {
                self.uploads.lock().abort(key, id)?;
                Ok(empty(204, None))
            }),
            (&Method::GET, Some(id)) => self.done("s3:ListMultipartUploadParts", || {
                self.uploads.lock().parts(key, id, query)
            }),
            (&Method::PUT, None) => self.done("s3:PutObject", || {
                let mut bucket = self.bucket.lock();
                bucket.holds(parts, key, self.is_google)?;
                let (id, etag) = bucket.place(key, said(parts, behind), body);
                let mut answered = empty(200, Some(&etag));
                with_version(&mut answered, &id);
                let latest = bucket.latest_of(key);
                let generation = latest.map_or(0, |version| version.generation);
                answered
                    .headers_mut()
                    .insert("x-goog-generation", generation.into());
                Ok(answered)
            }),
            (&Method::DELETE, None) => self.done(
                &of_version("s3:DeleteObject", "", query.get("versionId")),
                || {
                    self.bucket.lock().holds(parts, key, self.is_google)?;
                    let mut answered = empty(204, None);
                    match query.get("versionId") {
                        Some(id) => {
                            self.bucket.lock().purge(key, id);
                            with_version(&mut answered, id);
                        }
                        None => {
                            let id = self.bucket.lock().delete(key);
                            if let Some(id) = id {
                                with_version(&mut answered, &id);
                                let marker = "true".parse().unwrap();
                                answered.headers_mut().insert("x-amz-delete-marker", marker);
                            }
                        }
                    }
                    Ok(answered)
                },
            ),
            _ => return None,
        })
    }
}

impl Bucketful {
    fn tagged(
        &self,
        parts: &Parts,
        key: &str,
        query: &Query,
        body: &[u8],
    ) -> Option<Result<Answered, Answered>> {
        let text = String::from_utf8_lossy(body);
        let tags = text.split("<Tag>").skip(1).filter_map(|tag| {
            let between = |name: &str| {
                let (_, rest) = tag.split_once(&format!("<{name}>"))?;
                Some(rest.split_once('<')?.0.to_owned())
            };
            Some((between("Key")?, between("Value")?))
        });
        let (verb, tags) = match parts.method {
            Method::PUT => ("s3:PutObject", tags.collect()),
            Method::DELETE => ("s3:DeleteObject", Default::default()),
            _ => return None,
        };
        let id = query.get("versionId");
        Some(self.done(&of_version(verb, "Tagging", id), || {
            let id = self.bucket.lock().tag(key, id, tags)?;
            let mut answered = empty(200, None);
            with_version(&mut answered, &id);
            Ok(answered)
        }))
    }
}

fn with_version(answered: &mut Answered, id: &str) {
    let headers = answered.headers_mut();
    headers.insert("x-amz-version-id", id.parse().unwrap());
}

/// An object as its request says it is.
fn said(parts: &Parts, behind: Vec<(String, String)>) -> Put {
    let is_kept = |name: &str| {
        name.starts_with("x-amz-meta-")
            || (name.starts_with("x-amz-checksum-") && name != "x-amz-checksum-mode")
            || ["content-type", "cache-control"].contains(&name)
            || ["x-amz-storage-class", "x-goog-storage-class"].contains(&name)
    };
    let headers = parts.headers.iter();
    let headers = headers.filter(|(name, _)| is_kept(name.as_str()));
    let headers = headers.map(|(name, value)| {
        let value = value.to_str().unwrap_or_default().to_owned();
        (name.as_str().to_owned(), value)
    });
    let tags = parts.headers.get("x-amz-tagging");
    let tags = tags.and_then(|tags| tags.to_str().ok()).unwrap_or_default();
    let tags = tags.split('&').filter_map(|tag| tag.split_once('='));
    Put {
        bytes: Bytes::new(),
        headers: headers.chain(behind).collect(),
        tags: tags
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        kms_key: None,
    }
}

impl Bucket {
    /// Refuses what its conditions do not allow.
    fn holds(&self, parts: &Parts, key: &str, is_google: bool) -> Result<(), Answered> {
        let header = |name| Some(parts.headers.get(name)?.to_str().unwrap_or_default());
        let latest = self.latest_of(key);
        let failed = |header: &str| Err(error(412, "PreconditionFailed", header));
        if is_google {
            // Those of HTTP are for reading alone there.
            let there = latest.map_or(0, |version| version.generation).to_string();
            return match header(GENERATION) {
                Some(wanted) if wanted != there => failed(GENERATION),
                _ => Ok(()),
            };
        }
        if header("if-none-match") == Some("*") && latest.is_some() {
            return failed("If-None-Match");
        }
        match (header("if-match"), latest) {
            (Some(_), None) => Err(error(404, "NoSuchKey", "nothing is there to replace")),
            (Some(wanted), Some(latest)) if wanted != latest.etag => failed("If-Match"),
            _ => Ok(()),
        }
    }

    /// The new version's id and entity tag.
    fn place(&mut self, key: &str, put: Put, content: Content) -> (String, String) {
        let id = self.put_content(key, put, content);
        let latest = self.latest_of(key);
        let etag = latest.map(|version| version.etag.clone());
        (id, etag.unwrap_or_default())
    }

    /// `ListObjectsV2`.
    pub(super) fn list(&self, query: &Query) -> Answered {
        let get = |name| query.get(name).unwrap_or_default();
        let prefix = get("prefix");
        // A token is the last key of the page before.
        let token = query.get("continuation-token");
        let after = token.map_or_else(|| get("start-after").to_owned(), of_token);
        let at_once = get("max-keys").parse().unwrap_or(1000).min(1000);
        let is_encoded = get("encoding-type") == "url";
        let mut listed = self
            .latest()
            .filter(|(key, _)| key.starts_with(prefix) && **key > *after);
        let mut inner = String::new();
        let mut last = String::new();
        for (key, version) in listed.by_ref().take(at_once) {
            last = hex(key.as_bytes());
            let size = version.content.len();
            let key = match is_encoded {
                true => encoded(key),
                false => escaped(key),
            };
            let _ = write!(
                inner,
                "<Contents><Key>{key}</Key><LastModified>{}</LastModified><Size>{size}</Size></Contents>",
                version.modified(IN_LISTINGS)
            );
        }
        if is_encoded {
            inner += "<EncodingType>url</EncodingType>";
        }
        let is_truncated = listed.next().is_some();
        let _ = write!(inner, "<IsTruncated>{is_truncated}</IsTruncated>");
        if is_truncated {
            let _ = write!(
                inner,
                "<NextContinuationToken>{last}</NextContinuationToken>"
            );
        }
        xml("ListBucketResult", &inner)
    }
}

fn of_token(token: &str) -> String {
    let byte = |at| u8::from_str_radix(token.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..token.len()).step_by(2).map(byte).collect();
    String::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
}

pub(super) fn empty(status: u16, etag: Option<&str>) -> Answered {
    let mut response = Response::builder().status(status);
    if let Some(etag) = etag {
        response = response.header("etag", etag);
    }
    response.body(Full::default()).unwrap()
}
