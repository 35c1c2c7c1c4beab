//! How objects are named on the command line: `BUCKET/KEY` or `BUCKET[/PREFIX]`.

use sealift_agent::Error;
use sealift_terms::{BucketName, ObjectKey};

/// `BUCKET/KEY`.
pub(crate) fn object(text: &str) -> Result<(BucketName, ObjectKey), Error> {
    let refused = |found: String| Error::Request {
        what: "object",
        found,
        allowed: "BUCKET/KEY, as in photos/2026/cat.jpg".to_owned(),
    };
    let (bucket, key) = text
        .split_once('/')
        .ok_or_else(|| refused(format!("{text:?}")))?;
    let bucket = BucketName::new(bucket).map_err(|error| refused(error.to_string()))?;
    let key = ObjectKey::new(key).map_err(|error| refused(error.to_string()))?;
    Ok((bucket, key))
}

/// `BUCKET[/PREFIX]`, or nothing for everything.
pub(crate) fn prefix(text: Option<&str>) -> Result<(Option<BucketName>, String), Error> {
    let Some(text) = text else {
        return Ok((None, String::new()));
    };
    let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
    let bucket = BucketName::new(bucket).map_err(|error| Error::Request {
        what: "bucket",
        found: error.to_string(),
        allowed: "BUCKET or BUCKET/PREFIX".to_owned(),
    })?;
    Ok((Some(bucket), prefix.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_slash_ends_the_bucket() {
        let (bucket, key) = object("photos/a/b").unwrap();
        assert_eq!((bucket.as_str(), key.as_str()), ("photos", "a/b"));
        assert!(object("photos").is_err() && object("photos/").is_err() && object("/a").is_err());
        assert_eq!(prefix(Some("photos")).unwrap().1, "");
        assert_eq!(prefix(Some("photos/a/")).unwrap().1, "a/");
        assert!(prefix(None).unwrap().0.is_none());
    }
}
