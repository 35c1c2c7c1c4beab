//! Many removals at once. Their list is read once, and goes on as it was read, written anew: a
//! store that reads XML otherwise would remove something else than what was held against the
//! rights and is on record.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use s3s::{
    S3Error, S3ErrorCode, S3Result,
    crypto::{Checksum as _, Md5},
    dto::Delete,
    xml::{Deserialize as _, Deserializer, Serializer},
};
use sealift_terms::{ObjectKey, limits::ENDPOINT_LISTED_MAX};

use super::recording::Named;

/// The elements of a list: no others are known, and none goes on that is not.
const ELEMENTS: [&[u8]; 8] = [
    b"Delete",
    b"ETag",
    b"Key",
    b"LastModifiedTime",
    b"Object",
    b"Quiet",
    b"Size",
    b"VersionId",
];
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// What is to be removed, and how the store is asked for it.
pub(super) struct Removals {
    pub(super) named: Vec<Named>,
    pub(super) body: Bytes,
}

impl Removals {
    /// Those that `list` names, all of them below `prefix`.
    ///
    /// # Errors
    /// `MalformedXML`: it is no list, or not one that all readers read alike; `AccessDenied`: a
    /// key does not begin so.
    pub(super) fn of(list: &[u8], prefix: &str) -> S3Result<Self> {
        if !elements(list).all(|name| ELEMENTS.contains(&name)) {
            return Err(malformed());
        }
        let mut reader = Deserializer::new(list);
        let delete = Delete::deserialize(&mut reader).map_err(|_| malformed())?;
        reader.expect_eof().map_err(|_| malformed())?;
        if delete.objects.is_empty() || delete.objects.len() > ENDPOINT_LISTED_MAX {
            return Err(malformed());
        }
        let body = written(&delete)?.into();
        let named = delete.objects.into_iter().map(|object| {
            if !object.key.starts_with(prefix) {
                return Err(S3ErrorCode::AccessDenied.into());
            }
            let key = ObjectKey::new(object.key);
            let key = key.map_err(|_| S3Error::from(S3ErrorCode::KeyTooLongError))?;
            let version = object.version_id;
            Ok(Named { key, version })
        });
        let named = named.collect::<S3Result<_>>()?;
        Ok(Self { named, body })
    }

    /// Has the checksums of a request say what its body is now.
    pub(super) fn sum_up(&self, headers: &mut BTreeMap<String, String>) {
        let of_before = |name: &str| {
            name.starts_with("x-amz-checksum-") || name == "x-amz-sdk-checksum-algorithm"
        };
        headers.retain(|name, _| !of_before(name));
        let md5 = STANDARD.encode(Md5::checksum(&self.body));
        headers.insert("content-md5".to_owned(), md5);
    }
}

/// The names of all elements, where they begin. Of what begins with `<!` it is no name at all.
fn elements(xml: &[u8]) -> impl Iterator<Item = &[u8]> {
    let tags = xml.split(|byte| *byte == b'<').skip(1);
    let tags = tags.filter(|tag| !tag.starts_with(b"?"));
    tags.map(|tag| {
        let tag = tag.strip_prefix(b"/").unwrap_or(tag);
        let ends = |byte: &u8| byte.is_ascii_whitespace() || b"/>".contains(byte);
        tag.split(ends).next().unwrap_or_default()
    })
}

fn written(delete: &Delete) -> S3Result<String> {
    let lost = || S3Error::from(S3ErrorCode::InternalError);
    let mut bytes = Vec::new();
    let mut writer = Serializer::new(&mut bytes);
    let done = writer.content_with_ns("Delete", NAMESPACE, delete);
    done.map_err(|_| lost())?;
    let text = String::from_utf8(bytes).map_err(|_| lost())?;
    // Ends of lines, which readers make others of, are in keys alone, as is all of this sort.
    let mut written = String::with_capacity(text.len());
    for char in text.chars() {
        match char.is_control() {
            true => written.push_str(&format!("&#{};", u32::from(char))),
            false => written.push(char),
        }
    }
    Ok(written)
}

fn malformed() -> S3Error {
    let told = "the list of what is to be removed cannot be read: Delete of 1 to 1,000 Object, each \
                with a Key, without prefixes, marked sections, comments or other elements";
    S3Error::with_message(S3ErrorCode::MalformedXML, told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(list: &str) -> Result<Removals, String> {
        let removals = Removals::of(list.as_bytes(), "in/");
        removals.map_err(|error| error.code().as_str().to_owned())
    }

    fn keys(removals: &Removals) -> Vec<(&str, Option<&str>)> {
        let named = removals.named.iter();
        named
            .map(|one| (one.key.as_str(), one.version.as_deref()))
            .collect()
    }

    #[test]
    fn a_list_goes_on_as_it_was_read() {
        let list = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Delete xmlns=\"http://other\" \
                    a='b'>\n  <Quiet>true</Quiet>\n  <Object><Key>in/a&amp;&#x3c;b</Key>\n\
                    <VersionId>v1</VersionId></Object><Object><Key>in/c&#13;d\u{e4}</Key>\
                    <ETag>\"0a\"</ETag><Size>5</Size></Object></Delete>\n";
        let removals = of(list).unwrap();
        let named = [("in/a&<b", Some("v1")), ("in/c\rd\u{e4}", None)];
        assert_eq!(keys(&removals), named);
        let text = str::from_utf8(&removals.body).unwrap();
        assert_eq!(
            text,
            "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Object><Key>in/a&amp;&lt;b</Key><VersionId>v1</VersionId></Object>\
             <Object><ETag>\"0a\"</ETag><Key>in/c&#13;d\u{e4}</Key><Size>5</Size></Object>\
             <Quiet>true</Quiet></Delete>"
        );
        let again = of(text).unwrap();
        assert_eq!(
            (keys(&again), &again.body),
            (named.to_vec(), &removals.body)
        );
    }

    #[test]
    fn a_list_that_readers_read_differently_is_refused() {
        let one = "<Object><Key>in/a</Key></Object>";
        let with = |more: &str| format!("<Delete xmlns:s3=\"{NAMESPACE}\">{one}{more}</Delete>");
        assert!(of(&with("")).is_ok());
        for bad in [
            with("<s3:Object><s3:Key>out/b</s3:Key></s3:Object>"),
            with("<Objects><Key>out/b</Key></Objects>"),
            with("<Object><Key>in/a<![CDATA[-other]]></Key></Object>"),
            with("<Object><Key>in/a<!-- x -->b</Key></Object>"),
            with("<Object><Key>in/a</Key><Key>in/b</Key></Object>"),
            with("<Object><Key>in/a</Key><If>x</If></Object>"),
            with("<Object><Key>in/&a;</Key></Object>"),
            with("<Object><Key>in/a"),
            format!("<!DOCTYPE Delete [<!ENTITY a \"b\">]>{}", with("")),
            format!("{}{}", with(""), with("")),
            format!("<s3:Delete>{one}</s3:Delete>"),
            "<Delete></Delete>".to_owned(),
            String::new(),
            with(&one.repeat(ENDPOINT_LISTED_MAX)),
        ] {
            assert_eq!(of(&bad).err().as_deref(), Some("MalformedXML"), "{bad}");
        }
        let outside = with("<Object><Key>out/b</Key></Object>");
        assert_eq!(of(&outside).err().as_deref(), Some("AccessDenied"));
    }

    #[test]
    fn checksums_are_of_what_goes_on() {
        let removals = of("<Delete><Object><Key>in/a</Key></Object></Delete>").unwrap();
        let said = [
            ("content-md5", "old"),
            ("content-type", "text/xml"),
            ("x-amz-checksum-crc32", "old"),
            ("x-amz-sdk-checksum-algorithm", "CRC32"),
        ];
        let said = said.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut headers = BTreeMap::from(said);
        removals.sum_up(&mut headers);
        let md5 = STANDARD.encode(Md5::checksum(&removals.body));
        let wanted = [("content-md5", md5.as_str()), ("content-type", "text/xml")];
        let wanted = wanted.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(headers, BTreeMap::from(wanted));
    }
}
