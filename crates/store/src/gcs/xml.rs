//! The XML of a listing of generations.

use roxmltree::Node;
use sealift_terms::percent::decode_form;

use crate::s3::{
    S3Error,
    xml::{ListedVersion, child, is, parse, text},
};

const LISTING: S3Error = S3Error::Shape {
    what: "no listing of generations",
};

/// Where a page ends: a name, and a generation of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) name: String,
    pub(super) generation: String,
}

impl Marker {
    /// Whether the listing goes on behind another one.
    pub(super) fn is_behind(&self, other: &Self) -> bool {
        let place = |of: &Self| (of.name.clone(), of.generation.parse().unwrap_or(0_u64));
        place(self) > place(other)
    }
}

/// A page of a listing, the oldest generation of a name first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct GenerationsPage {
    pub(super) versions: Vec<ListedVersion>,
    pub(super) next: Option<Marker>,
}

/// A page of `?versions`.
pub(super) fn generations(body: &[u8]) -> Result<GenerationsPage, S3Error> {
    let document = parse(body).ok_or(LISTING)?;
    let root = document.root_element();
    if !is(&root, "ListBucketResult") {
        return Err(LISTING);
    }
    let is_encoded = text(root, "EncodingType") == Some("url");
    let decoded = |text: &str| match is_encoded {
        true => decode_form(text),
        false => Some(text.to_owned()),
    };
    let entries = root.children().filter(|node| is(node, "Version"));
    let versions: Option<Vec<_>> = entries.map(|node| version(node, decoded)).collect();
    let versions = versions.ok_or(LISTING)?;
    let next = match text(root, "IsTruncated") {
        Some("true") => Some(next(root, &versions, decoded).ok_or(LISTING)?),
        _ => None,
    };
    Ok(GenerationsPage { versions, next })
}

/// What is told, or else the last one of the page: behind a name alone its later generations
/// would be left out.
fn next(
    root: Node<'_, '_>,
    versions: &[ListedVersion],
    decoded: impl Fn(&str) -> Option<String>,
) -> Option<Marker> {
    let told = |name| text(root, name).filter(|text| !text.is_empty());
    match (told("NextMarker"), told("NextGenerationMarker")) {
        (Some(name), Some(told)) => Some(Marker {
            name: decoded(name)?,
            generation: generation(told)?,
        }),
        _ => versions.last().map(|last| Marker {
            name: last.key.clone(),
            generation: last.version.clone(),
        }),
    }
}

fn version(node: Node<'_, '_>, decoded: impl Fn(&str) -> Option<String>) -> Option<ListedVersion> {
    let of = |name| text(node, name);
    let deleted = of("DeletedTime").filter(|time| !time.is_empty());
    // A time that cannot be read would make a deleted one live.
    let deleted = deleted.map(str::parse).transpose().ok()?;
    Some(ListedVersion {
        key: decoded(child(node, "Key")?.text().unwrap_or_default())?,
        version: generation(of("Generation")?)?,
        is_latest: match of("IsLatest") {
            Some(told) => told == "true",
            None => deleted.is_none(),
        },
        is_marker: false,
        last_modified: of("LastModified").and_then(|time| time.parse().ok()),
        etag: of("ETag").unwrap_or_default().to_owned(),
        size: of("Size")?.parse().ok()?,
        storage_class: of("StorageClass").map(str::to_owned),
        deleted,
    })
}

/// A number as it is written: of two with as many digits the larger one sorts behind.
fn generation(text: &str) -> Option<String> {
    let number: u64 = text.parse().ok()?;
    let told = number.to_string();
    (number > 0 && told == text).then_some(told)
}

#[cfg(test)]
mod tests {
    use sealift_terms::limits::S3_ANSWER_NODES_MAX;

    use super::*;

    const PAGE: &str = "<?xml version='1.0' encoding='UTF-8'?>\
        <ListBucketResult xmlns='http://doc.s3.amazonaws.com/2006-03-01'><Name>b</Name>\
        <NextMarker>b%2Bc</NextMarker><NextGenerationMarker>1795751767000003</NextGenerationMarker>\
        <IsTruncated>true</IsTruncated><EncodingType>url</EncodingType>\
        <Version><Key>a+1</Key><Generation>1795751767000001</Generation><MetaGeneration>2</MetaGeneration>\
        <IsLatest>false</IsLatest><LastModified>2026-11-27T03:56:07.000Z</LastModified>\
        <DeletedTime>2026-11-27T03:57:07.000Z</DeletedTime><ETag>\"abc\"</ETag><Size>7</Size>\
        <StorageClass>NEARLINE</StorageClass></Version>\
        <Version><Key>b%2Bc</Key><Generation>1795751767000003</Generation><Size>0</Size></Version>\
        </ListBucketResult>";

    #[test]
    fn a_listing_is_read_with_what_is_deleted_and_where_it_ends() {
        let page = generations(PAGE.as_bytes()).unwrap();
        let [a, b] = &page.versions[..] else {
            panic!("{page:?}");
        };
        assert_eq!(
            (a.key.as_str(), a.version.as_str()),
            ("a 1", "1795751767000001")
        );
        assert_eq!((a.size, a.is_latest), (7, false));
        assert_eq!(a.deleted.unwrap().as_secs(), 1_795_751_827);
        assert_eq!(a.storage_class.as_deref(), Some("NEARLINE"));
        assert_eq!(
            (b.key.as_str(), b.is_latest, b.deleted),
            ("b+c", true, None)
        );
        let end = Marker {
            name: "b+c".to_owned(),
            generation: "1795751767000003".to_owned(),
        };
        assert_eq!(page.next, Some(end.clone()));
        // Behind a name alone its later generations would be left out.
        let (told, more) = ("NextGenerationMarker", "Something");
        let untold = generations(PAGE.replace(told, more).as_bytes()).unwrap();
        assert_eq!(untold.next, Some(end));
    }

    #[test]
    fn what_is_no_listing_is_no_empty_one() {
        let with = |from: &str, to: &str| PAGE.replace(from, to);
        for bad in [
            String::new(),
            "<html/>".to_owned(),
            "<Error><Code>SlowDown</Code></Error>".to_owned(),
            "<ListBucketResult>".to_owned(),
            "<!DOCTYPE x [<!ENTITY a \"b\">]><ListBucketResult/>".to_owned(),
            "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>".to_owned(),
            with("<Size>7</Size>", "<Size>-7</Size>"),
            with("<Size>7</Size>", ""),
            with("<Key>a+1</Key>", ""),
            with("a+1", "a%ff"),
            with("<Generation>1795751767000001</Generation>", ""),
            with("1795751767000001", "01795751767000001"),
            with("1795751767000001", "0"),
            with("1795751767000001", "99999999999999999999"),
            with("1795751767000001", "live"),
            with("2026-11-27T03:57:07.000Z", "yesterday"),
            with(
                "1795751767000003</NextGenerationMarker>",
                "x</NextGenerationMarker>",
            ),
        ] {
            assert!(generations(bad.as_bytes()).is_err(), "{bad}");
        }
        let empty = generations(b"<ListBucketResult/>").unwrap();
        assert_eq!(empty, GenerationsPage::default());
    }

    #[test]
    fn an_answer_has_so_many_nodes_and_no_more() {
        let many = "<x/>".repeat(S3_ANSWER_NODES_MAX as usize);
        let bomb = format!("<ListBucketResult>{many}</ListBucketResult>");
        assert!(generations(bomb.as_bytes()).is_err());
    }

    #[test]
    fn a_listing_goes_on_behind_a_greater_name_or_generation() {
        let marker = |name: &str, generation: &str| Marker {
            name: name.to_owned(),
            generation: generation.to_owned(),
        };
        let here = marker("b", "99");
        for (next, goes_on) in [
            (marker("b", "100"), true),
            (marker("c", "1"), true),
            (marker("b", "99"), false),
            (marker("b", "9"), false),
            (marker("a", "100"), false),
        ] {
            assert_eq!(next.is_behind(&here), goes_on, "{next:?}");
        }
    }
}
