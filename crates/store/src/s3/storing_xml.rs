//! The XML that writing a bucket takes: what is listed, and what is said of uploads.

use std::{collections::BTreeMap, fmt::Write};

use roxmltree::Node;
use sealift_terms::percent::decode_form;

use super::{
    error::S3Error,
    xml::{child, is, parse, text},
};
use crate::bucket_store::StoredPart;

/// One entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListedKey {
    pub(super) key: String,
    pub(super) len: u64,
}

/// A multipart upload that was begun and not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OpenUpload {
    pub(super) key: String,
    pub(super) id: String,
}

fn shape(what: &'static str) -> S3Error {
    S3Error::Shape { what }
}

/// A page of `ListObjectsV2`, and whether there are more.
pub(super) fn keys(body: &[u8]) -> Result<(Vec<ListedKey>, bool), S3Error> {
    let bad = || shape("no listing of keys");
    let document = parse(body).ok_or_else(bad)?;
    let root = document.root_element();
    if !is(&root, "ListBucketResult") {
        return Err(bad());
    }
    let is_encoded = text(root, "EncodingType") == Some("url");
    let mut listed = Vec::new();
    for node in root.children().filter(|node| is(node, "Contents")) {
        let key = text(node, "Key").ok_or_else(bad)?;
        let key = match is_encoded {
            true => decode_form(key).ok_or_else(bad)?,
            false => key.to_owned(),
        };
        let len = text(node, "Size").and_then(|text| text.parse().ok());
        listed.push(ListedKey {
            key,
            len: len.ok_or_else(bad)?,
        });
    }
    Ok((listed, text(root, "IsTruncated") == Some("true")))
}

/// The id of an upload that was begun.
pub(super) fn upload_id(body: &[u8]) -> Result<String, S3Error> {
    let bad = || shape("no upload was begun");
    let document = parse(body).ok_or_else(bad)?;
    let root = document.root_element();
    let id = text(root, "UploadId").filter(|_| is(&root, "InitiateMultipartUploadResult"));
    id.map(str::to_owned).ok_or_else(bad)
}

/// Parts by their numbers, and the number to go on behind.
pub(super) fn parts(body: &[u8]) -> Result<(BTreeMap<u32, StoredPart>, Option<u32>), S3Error> {
    let bad = || shape("no listing of parts");
    let document = parse(body).ok_or_else(bad)?;
    let root = document.root_element();
    // ListPartsResponse at moto.
    if !["ListPartsResult", "ListPartsResponse"].contains(&root.tag_name().name()) {
        return Err(bad());
    }
    let mut parts = BTreeMap::new();
    for node in root.children().filter(|node| is(node, "Part")) {
        let number = text(node, "PartNumber").and_then(|text| text.parse().ok());
        let part = StoredPart {
            etag: text(node, "ETag").ok_or_else(bad)?.to_owned(),
            len: text(node, "Size")
                .and_then(|text| text.parse().ok())
                .ok_or_else(bad)?,
        };
        parts.insert(number.ok_or_else(bad)?, part);
    }
    let next = text(root, "NextPartNumberMarker").and_then(|text| text.parse().ok());
    Ok((parts, going_on(root, next)?))
}

/// Uploads that were begun, and the one to go on behind.
pub(super) fn uploads(body: &[u8]) -> Result<(Vec<OpenUpload>, Option<OpenUpload>), S3Error> {
    let bad = || shape("no listing of uploads");
    let document = parse(body).ok_or_else(bad)?;
    let root = document.root_element();
    if !is(&root, "ListMultipartUploadsResult") {
        return Err(bad());
    }
    let mut uploads = Vec::new();
    for node in root.children().filter(|node| is(node, "Upload")) {
        uploads.push(OpenUpload {
            key: text(node, "Key").ok_or_else(bad)?.to_owned(),
            id: text(node, "UploadId").ok_or_else(bad)?.to_owned(),
        });
    }
    let next = text(root, "NextKeyMarker").zip(text(root, "NextUploadIdMarker"));
    let next = next.map(|(key, id)| OpenUpload {
        key: key.to_owned(),
        id: id.to_owned(),
    });
    Ok((uploads, going_on(root, next)?))
}

/// Where a listing goes on, if there is more of it: one that does not say where is none.
fn going_on<T>(root: Node<'_, '_>, next: Option<T>) -> Result<Option<T>, S3Error> {
    let is_cut = text(root, "IsTruncated") == Some("true");
    match (is_cut, next) {
        (true, None) => Err(shape("there is more of it, and it does not say where")),
        (true, next) => Ok(next),
        (false, _) => Ok(None),
    }
}

/// What completes an upload.
pub(super) fn completion(parts: &[(u32, String)]) -> String {
    let mut out = String::from("<CompleteMultipartUpload>");
    for (number, etag) in parts {
        let etag = etag.replace('&', "&amp;").replace('<', "&lt;");
        // A String takes what is written to it.
        let _ = write!(
            out,
            "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        );
    }
    out + "</CompleteMultipartUpload>"
}

/// Whether an answer of 200 says that it was completed, and not that it failed meanwhile.
pub(super) fn is_completed(body: &[u8]) -> bool {
    let Some(document) = parse(body.trim_ascii_start()) else {
        return false;
    };
    let root = document.root_element();
    // With -Result at AWS, with another ending elsewhere.
    let name = root.tag_name().name();
    name.starts_with("CompleteMultipartUpload") && child(root, "ETag").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_bucket_lists_is_read() {
        let page =
            b"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
            <Contents><Key>p%2Fa+b</Key><Size>7</Size></Contents></ListBucketResult>";
        let key = ListedKey {
            key: "p/a b".to_owned(),
            len: 7,
        };
        assert_eq!(keys(page).unwrap(), (vec![key], true));
        let begun = b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>";
        assert_eq!(upload_id(begun).unwrap(), "u1");
        let page = b"<ListPartsResult><IsTruncated>true</IsTruncated><NextPartNumberMarker>3</NextPartNumberMarker>\
            <Part><PartNumber>3</PartNumber><ETag>&quot;e&quot;</ETag><Size>9</Size></Part></ListPartsResult>";
        let of_moto = String::from_utf8_lossy(page).replace("ListPartsResult", "ListPartsResponse");
        assert_eq!(parts(of_moto.as_bytes()).unwrap(), parts(page).unwrap());
        let (found, next) = parts(page).unwrap();
        assert_eq!(
            (found[&3].etag.as_str(), found[&3].len, next),
            ("\"e\"", 9, Some(3))
        );
        let page = b"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated><NextKeyMarker/>\
            <Upload><Key>k</Key><UploadId>u</UploadId></Upload></ListMultipartUploadsResult>";
        let (found, next) = uploads(page).unwrap();
        assert_eq!(
            (found[0].key.as_str(), found[0].id.as_str(), next),
            ("k", "u", None)
        );
    }

    #[test]
    fn an_error_is_no_listing_and_no_completion() {
        let error = b"<Error><Code>InternalError</Code></Error>";
        assert!(keys(error).is_err() && parts(error).is_err() && uploads(error).is_err());
        assert!(upload_id(error).is_err() && !is_completed(error));
        let done = b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>";
        assert!(is_completed(done));
        let asked = completion(&[(1, "\"a\"".to_owned()), (2, "<b>".to_owned())]);
        let wanted = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"a\"</ETag></Part>\
            <Part><PartNumber>2</PartNumber><ETag>&lt;b></ETag></Part></CompleteMultipartUpload>";
        assert_eq!(asked, wanted);
    }
}
