//! The XML of answers: bounded, without a document type, whatever its namespace.

use std::collections::BTreeMap;

use roxmltree::{Document, Node, ParsingOptions};
use sealift_terms::{Timestamp, limits::S3_ANSWER_NODES_MAX, percent::decode_form};

use super::error::S3Error;

/// One version of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ListedVersion {
    pub(crate) key: String,
    pub(crate) version: String,
    pub(crate) is_latest: bool,
    /// A delete marker, of which there is no more to say.
    pub(crate) is_marker: bool,
    pub(crate) last_modified: Option<Timestamp>,
    pub(crate) etag: String,
    pub(crate) size: u64,
    pub(crate) storage_class: Option<String>,
    /// When it ceased to be the latest, where the service tells.
    pub(crate) deleted: Option<Timestamp>,
}

/// A page of `ListObjectVersions`, as it stands there: versions and delete markers between
/// one another, or those behind these.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct VersionsPage {
    pub(super) versions: Vec<ListedVersion>,
    /// Key and version that the next page begins behind.
    pub(super) next: Option<(String, Option<String>)>,
}

const LISTING: S3Error = S3Error::Shape {
    what: "no listing of versions",
};

pub(crate) fn parse(body: &[u8]) -> Option<Document<'_>> {
    let options = ParsingOptions {
        allow_dtd: false,
        nodes_limit: S3_ANSWER_NODES_MAX,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(str::from_utf8(body).ok()?, options).ok()
}

pub(crate) fn is(node: &Node<'_, '_>, name: &str) -> bool {
    node.is_element() && node.tag_name().name() == name
}

pub(crate) fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| is(child, name))
}

pub(crate) fn text<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    child(node, name)?.text()
}

/// Code and message of an error; behind that what Google and Azure have more to say, as the
/// permission that is missing.
pub(super) fn error(body: &[u8]) -> Option<(String, String)> {
    let document = parse(body)?;
    let error = document.root_element();
    let of = |name| text(error, name).unwrap_or_default().to_owned();
    let more = text(error, "Details").or_else(|| text(error, "AuthenticationErrorDetail"));
    let message = match more {
        Some(details) => format!("{} {details}", of("Message")),
        None => of("Message"),
    };
    is(&error, "Error").then(|| (of("Code"), message))
}

/// The region that an error says a bucket is in.
pub(super) fn region(body: &[u8]) -> Option<String> {
    let document = parse(body)?;
    text(document.root_element(), "Region").map(str::to_owned)
}

/// The state of a bucket's versioning: empty where it never had any.
pub(super) fn versioning(body: &[u8]) -> Result<String, S3Error> {
    let what = "no versioning configuration";
    let document = parse(body).ok_or(S3Error::Shape { what })?;
    let root = document.root_element();
    // GetBucketVersioningResponse at moto.
    let names = ["VersioningConfiguration", "GetBucketVersioningResponse"];
    match names.iter().any(|name| is(&root, name)) {
        true => Ok(text(root, "Status").unwrap_or_default().to_owned()),
        false => Err(S3Error::Shape { what }),
    }
}

/// The tags of an object.
pub(super) fn tags(body: &[u8]) -> Result<BTreeMap<String, String>, S3Error> {
    let what = "no set of tags";
    let document = parse(body).ok_or(S3Error::Shape { what })?;
    let root = document.root_element();
    let set = child(root, "TagSet").filter(|_| is(&root, "Tagging"));
    let set = set.ok_or(S3Error::Shape { what })?;
    let tags = set.children().filter(|node| is(node, "Tag"));
    let of = |tag: Node<'_, '_>| {
        let name = text(tag, "Key")?.to_owned();
        Some((name, text(tag, "Value").unwrap_or_default().to_owned()))
    };
    let tags: Option<_> = tags.map(of).collect();
    tags.ok_or(S3Error::Shape { what })
}

/// A page of a listing.
pub(super) fn versions(body: &[u8]) -> Result<VersionsPage, S3Error> {
    let document = parse(body).ok_or(LISTING)?;
    let root = document.root_element();
    // ListVersionsResult at AWS, ListObjectVersionsResult elsewhere.
    if !root.tag_name().name().ends_with("VersionsResult") {
        return Err(LISTING);
    }
    let is_encoded = text(root, "EncodingType") == Some("url");
    let decoded = |text: &str| match is_encoded {
        true => decode_form(text).ok_or(LISTING),
        false => Ok(text.to_owned()),
    };
    let mut page = VersionsPage::default();
    let entries = root
        .children()
        .filter(|node| is(node, "Version") || is(node, "DeleteMarker"));
    for node in entries {
        let is_marker = is(&node, "DeleteMarker");
        let size = text(node, "Size").and_then(|text| text.parse().ok());
        page.versions.push(ListedVersion {
            key: decoded(text(node, "Key").ok_or(LISTING)?)?,
            version: text(node, "VersionId").unwrap_or_default().to_owned(),
            is_latest: text(node, "IsLatest") == Some("true"),
            is_marker,
            last_modified: text(node, "LastModified").and_then(|text| text.parse().ok()),
            etag: text(node, "ETag").unwrap_or_default().to_owned(),
            size: match is_marker {
                true => 0,
                false => size.ok_or(LISTING)?,
            },
            storage_class: text(node, "StorageClass").map(str::to_owned),
            deleted: None,
        });
    }
    if text(root, "IsTruncated") == Some("true") {
        let key = decoded(text(root, "NextKeyMarker").ok_or(LISTING)?)?;
        let version = text(root, "NextVersionIdMarker").filter(|text| !text.is_empty());
        page.next = Some((key, version.map(str::to_owned)));
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><IsTruncated>true</IsTruncated>
<NextKeyMarker>b%2Bc</NextKeyMarker><NextVersionIdMarker>v3</NextVersionIdMarker><EncodingType>url</EncodingType>
<Version><Key>a+1</Key><VersionId>v1</VersionId><IsLatest>true</IsLatest><LastModified>2026-11-27T03:56:07.000Z</LastModified>
<ETag>&quot;abc&quot;</ETag><Size>7</Size><StorageClass>STANDARD</StorageClass></Version>
<DeleteMarker><Key>b</Key><VersionId>v2</VersionId><IsLatest>true</IsLatest></DeleteMarker>
<Version><Key>b%2Bc</Key><VersionId>null</VersionId><IsLatest>false</IsLatest><Size>0</Size></Version></ListVersionsResult>"#;

    #[test]
    fn a_listing_is_read_with_its_encoding_and_its_end() {
        let page = versions(PAGE.as_bytes()).unwrap();
        let keys: Vec<_> = page
            .versions
            .iter()
            .map(|v| (v.key.as_str(), v.is_latest, v.is_marker))
            .collect();
        let marker = ("b", true, true);
        assert_eq!(keys, [("a 1", true, false), marker, ("b+c", false, false)]);
        assert_eq!(page.versions[1].version, "v2");
        assert_eq!(page.versions[0].etag, "\"abc\"");
        assert_eq!(
            page.versions[0].last_modified.unwrap().as_secs(),
            1_795_751_767
        );
        assert_eq!(page.next, Some(("b+c".to_owned(), Some("v3".to_owned()))));
        let plain = PAGE.replace("<EncodingType>url</EncodingType>", "");
        assert_eq!(versions(plain.as_bytes()).unwrap().versions[0].key, "a+1");
    }

    #[test]
    fn what_is_no_listing_is_no_empty_one() {
        for bad in [
            "",
            "<html/>",
            "<ListVersionsResult>",
            "<!DOCTYPE x [<!ENTITY a \"b\">]><ListVersionsResult/>",
            "<ListVersionsResult><IsTruncated>true</IsTruncated></ListVersionsResult>",
            "<ListVersionsResult><Version><Key>a</Key></Version></ListVersionsResult>",
        ] {
            assert!(versions(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(
            versions(b"<ListVersionsResult/>").unwrap(),
            VersionsPage::default()
        );
    }

    #[test]
    fn an_answer_has_so_many_nodes_and_no_more() {
        let many = "<x/>".repeat(S3_ANSWER_NODES_MAX as usize);
        let bomb = format!("<ListVersionsResult>{many}</ListVersionsResult>");
        assert!(versions(bomb.as_bytes()).is_err());
    }

    #[test]
    fn tags_errors_and_the_state_of_versioning_are_read() {
        let set = b"<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag><Tag><Key>e</Key><Value/></Tag></TagSet></Tagging>";
        let tags = tags(set).unwrap();
        assert_eq!((tags["k"].as_str(), tags["e"].as_str()), ("v", ""));
        let told = error(b"<Error><Code>SlowDown</Code><Message>less</Message></Error>");
        assert_eq!(told, Some(("SlowDown".to_owned(), "less".to_owned())));
        let more = error(b"<Error><Code>AccessDenied</Code><Message>no.</Message><Details>list</Details></Error>");
        assert_eq!(more.unwrap().1, "no. list");
        assert_eq!(error(b"no XML"), None);
        let state = |inner: &str| {
            versioning(
                format!("<VersioningConfiguration>{inner}</VersioningConfiguration>").as_bytes(),
            )
        };
        assert_eq!(state("<Status>Enabled</Status>").unwrap(), "Enabled");
        assert_eq!(state("").unwrap(), "");
        assert!(versioning(b"<Error/>").is_err());
    }
}
