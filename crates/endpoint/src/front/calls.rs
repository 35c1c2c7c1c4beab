//! Which call a request for a bucket in front of its source is, by the table of S3's calls, and
//! what of its query goes on.

use hyper::{HeaderMap, Method};
use sealift_identity::AccessRight;
use sealift_terms::percent::decode_form;

/// A call that is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// Reads: what is asked goes on, and what is answered comes back.
    Reads(&'static str, AccessRight),
    /// Begins, adds to or gives up an object that nobody sees yet.
    Prepares(&'static str),
    /// Changes what there is of one key.
    Writes(&'static str, AccessRight),
    /// Changes the tags of a version.
    Tags(&'static str),
    /// Removes many keys.
    RemovesMany,
    /// Asks for the bucket to be made.
    Makes,
}

use Call::{Makes, Prepares, Reads, RemovesMany, Tags, Writes};

impl Call {
    pub(super) fn name(self) -> &'static str {
        match self {
            Reads(name, _) | Prepares(name) | Writes(name, _) | Tags(name) => name,
            RemovesMany => "DeleteObjects",
            Makes => "CreateBucket",
        }
    }

    pub(super) fn right(self) -> AccessRight {
        match self {
            Reads(_, right) | Writes(_, right) => right,
            Prepares(_) | Tags(_) => AccessRight::Put,
            RemovesMany => AccessRight::Delete,
            Makes => AccessRight::List,
        }
    }

    /// Whether it brings the content of an object, or of a part of one.
    pub(super) fn has_content(self) -> bool {
        matches!(self.name(), "PutObject" | "UploadPart")
    }
}

/// Parameters that say nothing to a store: what made the signature, and the name that clients
/// give a call.
fn is_beside(name: &str) -> bool {
    name == "x-id" || name.starts_with("X-Amz-")
}

const LISTED: [&str; 5] = [
    "prefix",
    "delimiter",
    "max-keys",
    "encoding-type",
    "fetch-owner",
];
const OF_OBJECT: [&str; 8] = [
    "versionId",
    "partNumber",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
];
const VERSION: [&str; 1] = ["versionId"];
const PART: [&str; 2] = ["partNumber", "uploadId"];

/// The call, if it is one that is passed on with all that its query says.
pub(super) fn call(
    method: &Method,
    has_key: bool,
    query: &[(String, String)],
    headers: &HeaderMap,
) -> Option<Call> {
    let names = || query.iter().map(|(name, _)| name.as_str());
    let has = |wanted: &str| names().any(|name| name == wanted);
    let copies = headers.contains_key("x-amz-copy-source");
    let of_upload = has("uploadId");
    let (call, own, shared): (Call, &[&str], &[&str]) = match (method.as_str(), has_key) {
        ("HEAD", false) => (Reads("HeadBucket", AccessRight::List), &[], &[]),
        ("PUT", false) => (Makes, &[], &[]),
        ("POST", false) if has("delete") => (RemovesMany, &["delete"], &[]),
        ("GET", false) => return of_bucket(&has).filter(|_| is_all_known(query)),
        ("GET", true) if has("tagging") => {
            let read = Reads("GetObjectTagging", AccessRight::Get);
            (read, &["tagging"], &VERSION)
        }
        ("GET", true) if has("attributes") => {
            let read = Reads("GetObjectAttributes", AccessRight::Get);
            (read, &["attributes"], &VERSION)
        }
        ("GET", true) if of_upload => {
            let read = Reads("ListParts", AccessRight::Put);
            (read, &["uploadId", "max-parts", "part-number-marker"], &[])
        }
        ("GET", true) => (Reads("GetObject", AccessRight::Get), &[], &OF_OBJECT),
        ("HEAD", true) => (Reads("HeadObject", AccessRight::Get), &[], &OF_OBJECT),
        ("PUT", true) if has("tagging") => (Tags("PutObjectTagging"), &["tagging"], &VERSION),
        ("DELETE", true) if has("tagging") => (Tags("DeleteObjectTagging"), &["tagging"], &VERSION),
        ("PUT", true) if copies && of_upload => (Prepares("UploadPartCopy"), &[], &PART),
        ("PUT", true) if of_upload => (Prepares("UploadPart"), &[], &PART),
        ("PUT", true) if copies => (Writes("CopyObject", AccessRight::Put), &[], &[]),
        ("PUT", true) => (Writes("PutObject", AccessRight::Put), &[], &[]),
        ("POST", true) if has("uploads") => (Prepares("CreateMultipartUpload"), &["uploads"], &[]),
        ("POST", true) if of_upload => {
            let write = Writes("CompleteMultipartUpload", AccessRight::Put);
            (write, &["uploadId"], &[])
        }
        ("DELETE", true) if of_upload => (Prepares("AbortMultipartUpload"), &["uploadId"], &[]),
        ("DELETE", true) => (Writes("DeleteObject", AccessRight::Delete), &[], &VERSION),
        _ => return None,
    };
    let goes_on = |name: &str| own.contains(&name) || shared.contains(&name);
    let once = |name: &str| names().filter(|found| *found == name).count() == 1;
    names()
        .all(|name| goes_on(name) && once(name))
        .then_some(call)
}

fn of_bucket(has: &impl Fn(&str) -> bool) -> Option<Call> {
    let list = |name| Some(Reads(name, AccessRight::List));
    match () {
        () if has("location") => list("GetBucketLocation"),
        () if has("versioning") => list("GetBucketVersioning"),
        () if has("versions") => list("ListObjectVersions"),
        () if has("uploads") => list("ListMultipartUploads"),
        () if has("list-type") => list("ListObjectsV2"),
        () => list("ListObjects"),
    }
}

/// Whether a query of a bucket names nothing but what listings know.
fn is_all_known(query: &[(String, String)]) -> bool {
    const OTHERS: [&str; 12] = [
        "continuation-token",
        "key-marker",
        "list-type",
        "location",
        "marker",
        "max-uploads",
        "start-after",
        "upload-id-marker",
        "uploads",
        "version-id-marker",
        "versioning",
        "versions",
    ];
    // One of these at most: two would be another call to the store than to us.
    const KINDS: [&str; 5] = ["list-type", "location", "uploads", "versioning", "versions"];
    let names = || query.iter().map(|(name, _)| name.as_str());
    let is_known = |name: &str| LISTED.contains(&name) || OTHERS.contains(&name);
    let once = |name: &str| names().filter(|found| *found == name).count() == 1;
    let kinds = names().filter(|name| KINDS.contains(name)).count();
    kinds <= 1 && names().all(|name| is_known(name) && once(name))
}

/// What a query says to a store; none where it cannot be read.
pub(super) fn query(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decode_form(name)?, decode_form(value)?))
    });
    let pairs: Option<Vec<_>> = pairs.collect();
    let mut pairs = pairs?;
    pairs.retain(|(name, _)| !is_beside(name));
    Some(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(method: &str, has_key: bool, text: &str, copies: bool) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        if copies {
            headers.insert("x-amz-copy-source", "/b/k".parse().unwrap());
        }
        let method = method.parse().unwrap();
        let query = query(text)?;
        call(&method, has_key, &query, &headers).map(Call::name)
    }

    #[test]
    fn every_call_has_its_name_and_what_is_none_is_refused() {
        for (method, has_key, query, copies, wanted) in [
            ("GET", true, "", false, Some("GetObject")),
            (
                "GET",
                true,
                "versionId=x&x-id=GetObject",
                false,
                Some("GetObject"),
            ),
            ("HEAD", true, "partNumber=2", false, Some("HeadObject")),
            ("GET", true, "tagging=", false, Some("GetObjectTagging")),
            (
                "GET",
                true,
                "uploadId=u&max-parts=3",
                false,
                Some("ListParts"),
            ),
            ("PUT", true, "", false, Some("PutObject")),
            ("PUT", true, "X-Amz-Signature=s", false, Some("PutObject")),
            ("PUT", true, "", true, Some("CopyObject")),
            (
                "PUT",
                true,
                "partNumber=1&uploadId=u",
                false,
                Some("UploadPart"),
            ),
            (
                "PUT",
                true,
                "partNumber=1&uploadId=u",
                true,
                Some("UploadPartCopy"),
            ),
            (
                "POST",
                true,
                "uploads",
                false,
                Some("CreateMultipartUpload"),
            ),
            (
                "POST",
                true,
                "uploadId=u",
                false,
                Some("CompleteMultipartUpload"),
            ),
            (
                "DELETE",
                true,
                "uploadId=u",
                false,
                Some("AbortMultipartUpload"),
            ),
            ("DELETE", true, "versionId=x", false, Some("DeleteObject")),
            ("POST", false, "delete", false, Some("DeleteObjects")),
            (
                "GET",
                false,
                "list-type=2&prefix=a%2Fb",
                false,
                Some("ListObjectsV2"),
            ),
            (
                "GET",
                false,
                "versions&key-marker=k",
                false,
                Some("ListObjectVersions"),
            ),
            ("GET", false, "uploads", false, Some("ListMultipartUploads")),
            ("HEAD", false, "", false, Some("HeadBucket")),
            // What the store would take for another call than it was held to be here.
            ("GET", true, "acl", false, None),
            ("GET", true, "torrent", false, None),
            ("GET", false, "policy", false, None),
            ("GET", false, "versions&policy", false, None),
            ("GET", false, "versions&versioning", false, None),
            ("PUT", true, "acl", false, None),
            ("PUT", true, "retention", false, None),
            ("PUT", true, "tagging&acl", false, None),
            ("PUT", false, "versioning", false, None),
            ("DELETE", false, "", false, None),
            ("DELETE", true, "versionId=x&versionId=y", false, None),
            ("DELETE", true, "tagging&uploadId=u", false, None),
            ("POST", true, "restore", false, None),
            ("POST", true, "select&select-type=2", false, None),
            ("PATCH", true, "", false, None),
            ("GET", true, "%zz", false, None),
        ] {
            assert_eq!(
                name(method, has_key, query, copies),
                wanted,
                "{method} {query}"
            );
        }
    }

    #[test]
    fn what_is_removed_takes_another_right_than_what_is_put() {
        let right = |method: &str, text: &str| {
            let query = query(text).unwrap();
            let call = call(&method.parse().unwrap(), true, &query, &HeaderMap::new());
            call.unwrap().right()
        };
        assert_eq!(right("DELETE", ""), AccessRight::Delete);
        assert_eq!(right("DELETE", "tagging"), AccessRight::Put);
        assert_eq!(right("DELETE", "uploadId=u"), AccessRight::Put);
        assert_eq!(right("PUT", ""), AccessRight::Put);
        assert_eq!(right("GET", ""), AccessRight::Get);
        assert_eq!(RemovesMany.right(), AccessRight::Delete);
    }
}
