//! PUT, DELETE and what else changes a bucket, under conditions.

use std::fmt::Write;

use hyper::{Method, Response, http::request::Parts};

use super::{
    Answered, Bucketful, Put,
    answers::{Query, encoded, error, escaped, xml},
    bucket::{Bucket, IN_LISTINGS},
};
use crate::signature::hex;
use bytes::Bytes;
use http_body_util::Full;

impl Bucketful {
    /// What a request that writes, or is about an upload, is answered. `None` for another.
    pub(super) fn written(
        &self,
        parts: &Parts,
        key: &str,
        query: &Query,
        body: &[u8],
    ) -> Option<Result<Answered, Answered>> {
        let upload = query.get("uploadId");
        let body = Bytes::copy_from_slice(body);
        Some(match (&parts.method, upload) {
            (&Method::POST, None) if query.has("uploads") => {
                // A permission of its own it has none.
                self.done("s3:PutObject", || Ok(self.uploads.lock().begin(key)))
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
                bucket.holds(parts, key)?;
                let bytes = self.uploads.lock().complete(key, id, &body)?;
                let etag = bucket.place(key, bytes.into());
                let inner = format!("<ETag>{}</ETag>", escaped(&etag));
                Ok(xml("CompleteMultipartUploadResult", &inner))
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
                bucket.holds(parts, key)?;
                let etag = bucket.place(key, body);
                Ok(empty(200, Some(&etag)))
            }),
            (&Method::DELETE, None) => self.done("s3:DeleteObject", || {
                self.bucket.lock().delete(key);
                Ok(empty(204, None))
            }),
            _ => return None,
        })
    }
}

impl Bucket {
    /// Refuses what its conditions do not allow.
    fn holds(&self, parts: &Parts, key: &str) -> Result<(), Answered> {
        let header = |name| Some(parts.headers.get(name)?.to_str().unwrap_or_default());
        let latest = self.latest_of(key);
        let failed = |header: &str| Err(error(412, "PreconditionFailed", header));
        if header("if-none-match") == Some("*") && latest.is_some() {
            return failed("If-None-Match");
        }
        match (header("if-match"), latest) {
            (Some(_), None) => Err(error(404, "NoSuchKey", "nothing is there to replace")),
            (Some(wanted), Some(latest)) if wanted != latest.etag => failed("If-Match"),
            _ => Ok(()),
        }
    }

    fn place(&mut self, key: &str, bytes: Bytes) -> String {
        let put = Put {
            bytes,
            ..Put::default()
        };
        self.put(key, put);
        let latest = self.latest_of(key);
        latest
            .map(|version| version.etag.clone())
            .unwrap_or_default()
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
            let size = version.put.as_ref().map_or(0, |put| put.bytes.len());
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
