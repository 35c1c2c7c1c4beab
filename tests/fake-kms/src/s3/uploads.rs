//! Multipart uploads, as far as they are not ended.

use std::{collections::BTreeMap, fmt::Write};

use super::{
    Answered,
    answers::{Query, error, escaped, xml},
    light::{Content, EntityTags},
    writing::empty,
};

/// S3's.
const PART_BYTES_MIN: usize = 5 << 20;

struct Part {
    etag: String,
    content: Content,
}

struct Upload {
    key: String,
    /// What was said of the object when it was begun.
    said: Vec<(String, String)>,
    parts: BTreeMap<u32, Part>,
}

#[derive(Default)]
pub(super) struct Uploads {
    open: BTreeMap<String, Upload>,
    count: u64,
    tags: EntityTags,
}

impl Uploads {
    pub(super) fn tagged_by(tags: EntityTags) -> Self {
        Self {
            tags,
            ..Self::default()
        }
    }

    pub(super) fn keys(&self) -> Vec<String> {
        self.open
            .values()
            .map(|upload| upload.key.clone())
            .collect()
    }

    pub(super) fn clear(&mut self) {
        self.open.clear();
    }

    pub(super) fn begin(&mut self, key: &str, said: Vec<(String, String)>) -> Answered {
        self.count += 1;
        // As long and as odd as those of S3.
        let id = format!("upload.{:04}_{}", self.count, "x".repeat(64));
        let upload = Upload {
            key: key.to_owned(),
            said,
            parts: BTreeMap::new(),
        };
        self.open.insert(id.clone(), upload);
        let inner = format!("<Key>{}</Key><UploadId>{id}</UploadId>", escaped(key));
        xml("InitiateMultipartUploadResult", &inner)
    }

    fn of(&mut self, key: &str, id: &str) -> Result<&mut Upload, Answered> {
        let missing = || error(404, "NoSuchUpload", "The specified upload does not exist.");
        let upload = self.open.get_mut(id).ok_or_else(missing)?;
        match upload.key == key {
            true => Ok(upload),
            false => Err(missing()),
        }
    }

    pub(super) fn put(
        &mut self,
        key: &str,
        id: &str,
        number: u32,
        content: Content,
    ) -> Result<Answered, Answered> {
        self.count += 1;
        let (tags, count) = (self.tags, self.count);
        let upload = self.of(key, id)?;
        if !(1..=10_000).contains(&number) {
            return Err(error(400, "InvalidArgument", "partNumber"));
        }
        let etag = tags.of(&content, count);
        let answer = empty(200, Some(&etag));
        upload.parts.insert(number, Part { etag, content });
        Ok(answer)
    }

    pub(super) fn parts(
        &mut self,
        key: &str,
        id: &str,
        query: &Query,
    ) -> Result<Answered, Answered> {
        let upload = self.of(key, id)?;
        let after = query.get("part-number-marker");
        let after = after.and_then(|text| text.parse().ok()).unwrap_or(0);
        // Fewer than S3's 1,000, so that there are pages.
        let mut rest = upload.parts.range(after + 1..);
        let (mut inner, mut last) = (String::new(), after);
        for (number, part) in rest.by_ref().take(3) {
            last = *number;
            let _ = write!(
                inner,
                "<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag><Size>{}</Size></Part>",
                escaped(&part.etag),
                part.content.len()
            );
        }
        let has_more = rest.next().is_some();
        let _ = write!(
            inner,
            "<IsTruncated>{has_more}</IsTruncated><NextPartNumberMarker>{last}</NextPartNumberMarker>"
        );
        Ok(xml("ListPartsResult", &inner))
    }

    pub(super) fn list(&self, query: &Query) -> Answered {
        let prefix = query.get("prefix").unwrap_or_default();
        let mut inner = String::from("<IsTruncated>false</IsTruncated>");
        for (id, upload) in &self.open {
            if upload.key.starts_with(prefix) {
                let key = escaped(&upload.key);
                let _ = write!(
                    inner,
                    "<Upload><Key>{key}</Key><UploadId>{id}</UploadId></Upload>"
                );
            }
        }
        xml("ListMultipartUploadsResult", &inner)
    }

    /// The content of the parts that `body` names, which end with that, and what was said of it.
    pub(super) fn complete(
        &mut self,
        key: &str,
        id: &str,
        body: &[u8],
    ) -> Result<(Content, Vec<(String, String)>), Answered> {
        let upload = self.of(key, id)?;
        let text = String::from_utf8_lossy(body);
        let (mut whole, mut last) = (Content::default(), 0);
        let mut named = text.split("<Part>").skip(1).peekable();
        let invalid = || error(400, "InvalidPart", "one of them is not as it was sent");
        while let Some(part) = named.next() {
            let between = |tag: &str| {
                let (_, rest) = part.split_once(&format!("<{tag}>"))?;
                Some(
                    rest.split_once('<')?
                        .0
                        .replace("&quot;", "\"")
                        .replace("&#34;", "\""),
                )
            };
            let number = between("PartNumber").and_then(|text| text.parse().ok());
            let number: u32 = number.ok_or_else(invalid)?;
            let found = upload.parts.get(&number).ok_or_else(invalid)?;
            if between("ETag").as_ref() != Some(&found.etag) || number <= last {
                return Err(invalid());
            }
            if named.peek().is_some() && found.content.len() < PART_BYTES_MIN {
                return Err(error(400, "EntityTooSmall", "a part is too small"));
            }
            last = number;
            whole.append(&found.content);
        }
        if last == 0 {
            return Err(error(400, "MalformedXML", "no parts"));
        }
        let said = self.open.remove(id).map(|upload| upload.said);
        Ok((whole, said.unwrap_or_default()))
    }

    pub(super) fn abort(&mut self, key: &str, id: &str) -> Result<(), Answered> {
        self.of(key, id)?;
        self.open.remove(id);
        Ok(())
    }
}
