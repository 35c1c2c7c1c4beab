//! The blobs of a container, with their versions and what was not made a blob yet.

use std::{collections::BTreeMap, fmt::Write};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, http::request::Parts};

use super::{
    Answered, AzurePut,
    answers::{error, escaped, xml},
};
use crate::s3::Query;

/// When all blobs were written, long ago: the versions of one follow one another in ten-millionths.
const MOMENT: &str = "2020-11-27T03:56:07";
const MODIFIED: &str = "Fri, 27 Nov 2020 03:56:07 GMT";

struct Version {
    id: String,
    is_current: bool,
    etag: String,
    put: AzurePut,
}

pub(super) struct Blobs {
    pub(super) keeps_versions: bool,
    /// The oldest first.
    of: BTreeMap<String, Vec<Version>>,
    /// What an account without versions keeps of what was deleted.
    soft_deleted: BTreeMap<String, Version>,
    pub(super) blocks: BTreeMap<String, BTreeMap<String, Bytes>>,
    written: u64,
}

impl Blobs {
    pub(super) fn new(keeps_versions: bool) -> Self {
        Self {
            keeps_versions,
            of: BTreeMap::new(),
            soft_deleted: BTreeMap::new(),
            blocks: BTreeMap::new(),
            written: 0,
        }
    }

    pub(super) fn put(&mut self, name: &str, put: AzurePut) -> String {
        self.written += 1;
        let written = self.written;
        let id = match self.keeps_versions {
            true => format!("{MOMENT}.{written:07}Z"),
            false => String::new(),
        };
        let versions = self.of.entry(name.to_owned()).or_default();
        versions.retain(|version| !version.id.is_empty());
        versions
            .iter_mut()
            .for_each(|version| version.is_current = false);
        versions.push(Version {
            id: id.clone(),
            is_current: true,
            etag: format!("\"0x{written:X}\""),
            put,
        });
        self.blocks.remove(name);
        id
    }

    pub(super) fn remove(&mut self, name: &str) -> bool {
        let Some(versions) = self.of.get_mut(name) else {
            return false;
        };
        let was = versions.iter().any(|version| version.is_current);
        let mut without_id = versions.extract_if(.., |version| version.id.is_empty());
        if let Some(current) = without_id.next() {
            self.soft_deleted.insert(name.to_owned(), current);
        }
        drop(without_id);
        versions
            .iter_mut()
            .for_each(|version| version.is_current = false);
        if versions.is_empty() {
            self.of.remove(name);
        }
        was
    }

    /// `Undelete Blob`: it is there again as it was, under its entity tag.
    pub(super) fn undelete(&mut self, name: &str) {
        let version = self.soft_deleted.remove(name);
        let versions = self.of.entry(name.to_owned()).or_default();
        versions.extend(version.map(|version| Version {
            is_current: true,
            ..version
        }));
    }

    pub(super) fn names(&self) -> Vec<String> {
        let current = |versions: &[Version]| versions.iter().any(|version| version.is_current);
        let of = self.of.iter().filter(|(_, versions)| current(versions));
        of.map(|(name, _)| name.clone()).collect()
    }

    /// A header of what is there now.
    pub(super) fn header(&self, name: &str, header: &str) -> Option<String> {
        let current = self.find(name, None).ok()?;
        let mut headers = current.put.headers.iter();
        headers.find_map(|(found, value)| (found == header).then(|| value.clone()))
    }

    fn find(&self, name: &str, id: Option<&str>) -> Result<&Version, Answered> {
        let mut versions = self.of.get(name).into_iter().flatten();
        let found = versions.find(|version| match id {
            Some(id) => version.id == id,
            None => version.is_current,
        });
        found.ok_or_else(|| error(404, "BlobNotFound", "The specified blob does not exist."))
    }

    pub(super) fn list(&self, query: &Query) -> Answered {
        let prefix = query.get("prefix").unwrap_or_default();
        let with_versions = query
            .get("include")
            .is_some_and(|told| told.contains("versions"));
        let max: usize = query
            .get("maxresults")
            .map_or(5000, |text| text.parse().unwrap());
        let all = self.of.iter().filter(|(name, _)| name.starts_with(prefix));
        let all = all.flat_map(|(name, versions)| versions.iter().map(move |one| (name, one)));
        let all: Vec<_> = all
            .filter(|(_, one)| with_versions || one.is_current)
            .collect();
        let place = |(name, one): &(&String, &Version)| format!("{name}!{}", one.id);
        let from = match query.get("marker") {
            Some(marker) => all.partition_point(|one| place(one).as_str() < marker),
            None => 0,
        };
        let mut text = "<EnumerationResults><Blobs>".to_owned();
        for (name, version) in all.iter().skip(from).take(max) {
            let _ = write!(text, "<Blob><Name>{}</Name>", escaped(name));
            if !version.id.is_empty() {
                let _ = write!(text, "<VersionId>{}</VersionId>", version.id);
            }
            if version.is_current && !version.id.is_empty() {
                text += "<IsCurrentVersion>true</IsCurrentVersion>";
            }
            let _ = write!(
                text,
                "<Properties><Last-Modified>{MODIFIED}</Last-Modified><Etag>{}</Etag>\
                 <Content-Length>{}</Content-Length><BlobType>BlockBlob</BlobType>\
                 <AccessTier>Hot</AccessTier></Properties></Blob>",
                version.etag.trim_matches('"'),
                version.put.bytes.len()
            );
        }
        let next = all.get(from + max).map(place).unwrap_or_default();
        let _ = write!(text, "</Blobs><NextMarker>{}</NextMarker>", escaped(&next));
        xml(&(text + "</EnumerationResults>"))
    }

    pub(super) fn read(
        &self,
        parts: &Parts,
        name: &str,
        query: &Query,
    ) -> Result<Answered, Answered> {
        let version = self.find(name, query.get("versionid"))?;
        let header = |name: &str| {
            parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        if header("if-match").is_some_and(|etag| etag != version.etag) {
            return Err(error(412, "ConditionNotMet", "another is there"));
        }
        let all = &version.put.bytes;
        let mut response = Response::builder()
            .header("etag", &version.etag)
            .header("last-modified", MODIFIED)
            .header("x-ms-blob-type", "BlockBlob");
        if !version.id.is_empty() {
            response = response.header("x-ms-version-id", &version.id);
        }
        for (name, value) in &version.put.headers {
            response = response.header(name, value);
        }
        if !version.put.tags.is_empty() {
            response = response.header("x-ms-tag-count", version.put.tags.len());
        }
        let range = header("x-ms-range").and_then(|range| range.strip_prefix("bytes="));
        let body = match range.and_then(|range| range.split_once('-')) {
            None => all.clone(),
            Some((from, to)) => {
                let from: usize = from.parse().unwrap();
                let to = to
                    .parse::<usize>()
                    .unwrap()
                    .min(all.len().saturating_sub(1));
                if from >= all.len() {
                    return Err(error(416, "InvalidRange", "behind its end"));
                }
                let told = format!("bytes {from}-{to}/{}", all.len());
                response = response.status(206).header("content-range", told);
                all.slice(from..=to)
            }
        };
        let response = response.header("content-length", body.len());
        Ok(response.body(Full::new(body)).unwrap())
    }

    pub(super) fn tags(&self, name: &str, query: &Query) -> Result<Answered, Answered> {
        let version = self.find(name, query.get("versionid"))?;
        let tag = |(name, value): (&String, &String)| {
            format!(
                "<Tag><Key>{}</Key><Value>{}</Value></Tag>",
                escaped(name),
                escaped(value)
            )
        };
        let tags: String = version.put.tags.iter().map(tag).collect();
        Ok(xml(&format!("<Tags><TagSet>{tags}</TagSet></Tags>")))
    }

    /// Whether what a request wants to be there is.
    fn holds(&self, parts: &Parts, name: &str) -> Result<(), Answered> {
        let there = self.find(name, None).ok();
        if parts.headers.contains_key("if-none-match") && there.is_some() {
            return Err(error(409, "BlobAlreadyExists", "it is there"));
        }
        match (parts.headers.get("if-match"), there) {
            (Some(wanted), Some(there)) if *wanted != *there.etag => {
                Err(error(412, "ConditionNotMet", "another is there"))
            }
            (Some(_), None) => Err(error(412, "ConditionNotMet", "nothing is there")),
            _ => Ok(()),
        }
    }

    fn created(&mut self, parts: &Parts, name: &str, bytes: Bytes) -> Answered {
        const TIER: &str = "x-ms-access-tier";
        let tier = parts.headers.get(TIER).and_then(|tier| tier.to_str().ok());
        let headers = tier.map(|tier| (TIER.to_owned(), tier.to_owned()));
        self.put(
            name,
            AzurePut {
                bytes,
                headers: headers.into_iter().collect(),
                ..AzurePut::default()
            },
        );
        let etag = self.find(name, None).map(|version| version.etag.clone());
        let response = Response::builder().status(201);
        let response = response.header("etag", etag.unwrap_or_default());
        response.body(Full::default()).unwrap()
    }

    pub(super) fn put_blob(
        &mut self,
        parts: &Parts,
        name: &str,
        body: Bytes,
    ) -> Result<Answered, Answered> {
        self.holds(parts, name)?;
        if parts
            .headers
            .get("x-ms-blob-type")
            .is_none_or(|kind| *kind != "BlockBlob")
        {
            return Err(error(400, "MissingRequiredHeader", "x-ms-blob-type"));
        }
        Ok(self.created(parts, name, body))
    }

    pub(super) fn put_block(
        &mut self,
        name: &str,
        query: &Query,
        body: Bytes,
    ) -> Result<Answered, Answered> {
        let id = query.get("blockid").unwrap_or_default().to_owned();
        let blocks = self.blocks.entry(name.to_owned()).or_default();
        if blocks.keys().any(|other| other.len() != id.len()) {
            return Err(error(400, "InvalidBlobOrBlock", "ids of another length"));
        }
        blocks.insert(id, body);
        Ok(Response::builder()
            .status(201)
            .body(Full::default())
            .unwrap())
    }

    pub(super) fn put_block_list(
        &mut self,
        parts: &Parts,
        name: &str,
        body: &[u8],
    ) -> Result<Answered, Answered> {
        self.holds(parts, name)?;
        let text = String::from_utf8_lossy(body);
        let ids = text.split("<Uncommitted>").skip(1);
        let ids = ids.filter_map(|rest| rest.split("</Uncommitted>").next());
        let (mut all, blocks) = (Vec::new(), self.blocks.get(name));
        for id in ids {
            let block = blocks.and_then(|blocks| blocks.get(id));
            let block = block.ok_or_else(|| error(400, "InvalidBlockList", "no such block"))?;
            all.extend_from_slice(block);
        }
        Ok(self.created(parts, name, all.into()))
    }

    pub(super) fn block_list(&self, name: &str) -> Result<Answered, Answered> {
        let Some(blocks) = self.blocks.get(name) else {
            self.find(name, None)?;
            return Ok(xml("<BlockList><UncommittedBlocks /></BlockList>"));
        };
        let block = |(id, bytes): (&String, &Bytes)| {
            format!(
                "<Block><Name>{id}</Name><Size>{}</Size></Block>",
                bytes.len()
            )
        };
        let blocks: String = blocks.iter().map(block).collect();
        Ok(xml(&format!(
            "<BlockList><UncommittedBlocks>{blocks}</UncommittedBlocks></BlockList>"
        )))
    }

    pub(super) fn delete(&mut self, name: &str) -> Result<Answered, Answered> {
        match self.remove(name) {
            true => Ok(Response::builder()
                .status(202)
                .body(Full::default())
                .unwrap()),
            false => Err(error(
                404,
                "BlobNotFound",
                "The specified blob does not exist.",
            )),
        }
    }
}
