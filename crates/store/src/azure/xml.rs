//! The XML of Azure Blob Storage: what is listed, and what is said of blocks.

use std::collections::BTreeMap;

use roxmltree::Node;
use sealift_terms::{Timestamp, percent::decode};

use crate::s3::{
    S3Error,
    facts::http_date,
    xml::{child, is, parse, text},
};

/// One blob of a listing, or one version of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ListedBlob {
    pub(super) name: String,
    /// Empty where the account keeps no versions.
    pub(super) version: String,
    pub(super) is_current: bool,
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) last_modified: Option<Timestamp>,
}

/// A page of a listing, and the marker that the next one begins with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct BlobsPage {
    pub(super) blobs: Vec<ListedBlob>,
    pub(super) next: Option<String>,
}

/// Answers begin with a byte order mark.
fn bare(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// A page of `List Blobs`.
pub(super) fn blobs(body: &[u8]) -> Result<BlobsPage, S3Error> {
    let bad = || S3Error::Shape {
        what: "no listing of blobs",
    };
    let document = parse(bare(body)).ok_or_else(bad)?;
    let root = document.root_element();
    if !is(&root, "EnumerationResults") {
        return Err(bad());
    }
    let list = child(root, "Blobs").ok_or_else(bad)?;
    let of = list.children().filter(|node| is(node, "Blob"));
    let blobs: Option<Vec<_>> = of.map(blob).collect();
    let next = text(root, "NextMarker").filter(|marker| !marker.is_empty());
    Ok(BlobsPage {
        blobs: blobs.ok_or_else(bad)?,
        next: next.map(str::to_owned),
    })
}

fn blob(node: Node<'_, '_>) -> Option<ListedBlob> {
    let name = child(node, "Name")?;
    let told = name.text().unwrap_or_default();
    let properties = child(node, "Properties")?;
    let of = |name| text(properties, name);
    let version = text(node, "VersionId").unwrap_or_default();
    Some(ListedBlob {
        // What XML cannot hold is encoded.
        name: match name.attribute("Encoded") {
            Some("true") => decode(told)?,
            _ => told.to_owned(),
        },
        // Without versions what is listed is what is there.
        is_current: version.is_empty() || text(node, "IsCurrentVersion") == Some("true"),
        version: version.to_owned(),
        size: of("Content-Length")?.parse().ok()?,
        etag: of("Etag").unwrap_or_default().to_owned(),
        last_modified: of("Last-Modified").and_then(http_date),
    })
}

/// The blocks of a blob that are no part of it yet, with their sizes.
pub(super) fn uncommitted(body: &[u8]) -> Result<Vec<(String, u64)>, S3Error> {
    let bad = || S3Error::Shape {
        what: "no list of blocks",
    };
    let document = parse(bare(body)).ok_or_else(bad)?;
    let root = document.root_element();
    if !is(&root, "BlockList") {
        return Err(bad());
    }
    let Some(list) = child(root, "UncommittedBlocks") else {
        return Ok(Vec::new());
    };
    let blocks = list.children().filter(|node| is(node, "Block"));
    let of = |block: Node<'_, '_>| {
        let size = text(block, "Size")?.parse().ok()?;
        Some((text(block, "Name")?.to_owned(), size))
    };
    let blocks: Option<_> = blocks.map(of).collect();
    blocks.ok_or_else(bad)
}

/// What makes a blob of blocks.
pub(super) fn block_list<'a>(ids: impl Iterator<Item = &'a str>) -> String {
    // Base64 has no character that XML would take for its own.
    let ids: String = ids
        .map(|id| format!("<Uncommitted>{id}</Uncommitted>"))
        .collect();
    format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{ids}</BlockList>")
}

/// The tags of a blob.
pub(super) fn tags(body: &[u8]) -> Result<BTreeMap<String, String>, S3Error> {
    let bad = || S3Error::Shape {
        what: "no set of tags",
    };
    let document = parse(bare(body)).ok_or_else(bad)?;
    let root = document.root_element();
    let set = child(root, "TagSet").filter(|_| is(&root, "Tags"));
    let tags = set.ok_or_else(bad)?.children();
    let of = |tag: Node<'_, '_>| {
        let name = text(tag, "Key")?.to_owned();
        Some((name, text(tag, "Value").unwrap_or_default().to_owned()))
    };
    let tags: Option<_> = tags.filter(|node| is(node, "Tag")).map(of).collect();
    tags.ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults><Blobs>\
        <Blob><Name>a</Name><VersionId>2026-11-27T03:56:07.1234567Z</VersionId><Properties>\
        <Last-Modified>Fri, 27 Nov 2026 03:56:07 GMT</Last-Modified><Etag>0x8D</Etag>\
        <Content-Length>7</Content-Length><AccessTier>Hot</AccessTier></Properties></Blob>\
        <Blob><Name Encoded=\"true\">b%EF%BF%BE</Name><Properties><Content-Length>0</Content-Length></Properties></Blob>\
        </Blobs><NextMarker>2!76!x</NextMarker></EnumerationResults>";

    #[test]
    fn a_listing_is_read_behind_its_byte_order_mark() {
        let page = blobs(PAGE.as_bytes()).unwrap();
        let a = &page.blobs[0];
        assert_eq!((a.name.as_str(), a.size, a.is_current), ("a", 7, false));
        assert_eq!(a.last_modified.unwrap().as_secs(), 1_795_751_767);
        assert_eq!((a.etag.as_str(), a.version.len()), ("0x8D", 28));
        let b = &page.blobs[1];
        assert_eq!((b.name.as_str(), b.is_current), ("b\u{fffe}", true));
        assert_eq!(page.next.as_deref(), Some("2!76!x"));
    }

    #[test]
    fn blocks_and_tags_are_read_and_what_is_neither_is_no_empty_list() {
        let list = b"<BlockList><UncommittedBlocks><Block><Name>AA==</Name><Size>9</Size></Block></UncommittedBlocks></BlockList>";
        assert_eq!(uncommitted(list).unwrap(), [("AA==".to_owned(), 9)]);
        let set = b"<Tags><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tags>";
        assert_eq!(tags(set).unwrap()["k"], "v");
        let error = b"<Error><Code>ServerBusy</Code></Error>";
        assert!(blobs(error).is_err() && uncommitted(error).is_err() && tags(error).is_err());
        let without_size = PAGE.replace("Content-Length>", "Other>");
        assert!(blobs(without_size.as_bytes()).is_err());
        let ids = block_list(["AA==", "AQ=="].into_iter());
        assert!(ids.ends_with(
            "<BlockList><Uncommitted>AA==</Uncommitted><Uncommitted>AQ==</Uncommitted></BlockList>"
        ));
    }
}
