//! What a request wants of an object: only if it is this one, or newer, and which part.

use std::ops::Range;

use hyper::{HeaderMap, StatusCode, header::HeaderValue};
use s3s::{
    S3Error, S3ErrorCode, S3Result,
    dto::{ETag, ETagCondition, Range as S3Range, Timestamp as S3Time},
};
use sealift_ledger::VersionRow;

use crate::{
    errors::invalid,
    facts::{etag, modified, s3_time},
    fresh::not_implemented,
};

/// Conditions on a version (RFC 9110, section 13).
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    pub(crate) is: Option<ETagCondition>,
    pub(crate) is_not: Option<ETagCondition>,
    pub(crate) newer_than: Option<S3Time>,
    pub(crate) not_newer_than: Option<S3Time>,
}

/// The conditions on what is copied, of either call that copies.
macro_rules! of_copied {
    ($input:ident) => {
        $crate::wanted::Conditions {
            is: $input.copy_source_if_match,
            is_not: $input.copy_source_if_none_match,
            newer_than: $input.copy_source_if_modified_since,
            not_newer_than: $input.copy_source_if_unmodified_since,
        }
    };
}
pub(crate) use of_copied;

/// Puts what a request wants to be told in place of what is known: `response-content-type`
/// and the like, which either call that tells of an object takes.
macro_rules! tell_instead {
    ($told:ident, $input:ident) => {
        $told.cache_control = $input.response_cache_control.or($told.cache_control);
        $told.content_disposition = $input
            .response_content_disposition
            .or($told.content_disposition);
        $told.content_encoding = $input.response_content_encoding.or($told.content_encoding);
        $told.content_language = $input.response_content_language.or($told.content_language);
        $told.content_type = $input.response_content_type.or($told.content_type);
        $told.expires = $input.response_expires.or($told.expires);
    };
}
pub(crate) use tell_instead;

impl Conditions {
    /// Refuses a version that is not the one that is wanted. An entity tag counts more than
    /// a time, which is whole seconds.
    pub(crate) fn hold(&self, row: &VersionRow) -> S3Result<()> {
        let tag = etag(row);
        let modified = s3_time(whole_second(row));
        let is_changed = match (&self.is, &self.not_newer_than) {
            (Some(wanted), _) => !matches_tag(wanted, &tag),
            (None, Some(time)) => modified > *time,
            (None, None) => false,
        };
        if is_changed {
            return Err(S3ErrorCode::PreconditionFailed.into());
        }
        let is_same = match (&self.is_not, &self.newer_than) {
            (Some(known), _) => matches_tag(known, &tag),
            (None, Some(time)) => modified <= *time,
            (None, None) => false,
        };
        match is_same {
            true => Err(not_modified(&tag)),
            false => Ok(()),
        }
    }
}

/// Conditions on a write: on what is there before it.
#[derive(Debug, Clone, Default)]
pub(crate) struct WriteConditions {
    is: Option<ETagCondition>,
    is_nothing: bool,
}

impl WriteConditions {
    /// Those of a request.
    ///
    /// # Errors
    /// One that S3 does not have either.
    pub(crate) fn new(is: Option<ETagCondition>, is_not: Option<ETagCondition>) -> S3Result<Self> {
        let is_nothing = match is_not {
            None => false,
            Some(ETagCondition::Any) => true,
            Some(ETagCondition::ETag(_)) => {
                return Err(not_implemented(
                    "of If-None-Match, * alone is taken with a write",
                ));
            }
        };
        Ok(Self { is, is_nothing })
    }

    pub(crate) fn is_none(&self) -> bool {
        self.is.is_none() && !self.is_nothing
    }

    /// Holds them to the latest version of a key, where it is an object.
    pub(crate) fn hold(&self, latest: Option<&VersionRow>) -> S3Result<()> {
        if self.is_nothing && latest.is_some() {
            return Err(S3ErrorCode::PreconditionFailed.into());
        }
        match (&self.is, latest) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(S3ErrorCode::NoSuchKey.into()),
            (Some(wanted), Some(row)) if matches_tag(wanted, &etag(row)) => Ok(()),
            (Some(_), Some(_)) => Err(S3ErrorCode::PreconditionFailed.into()),
        }
    }
}

fn whole_second(row: &VersionRow) -> sealift_terms::Timestamp {
    sealift_terms::Timestamp::from_secs(modified(row).as_secs())
}

fn matches_tag(condition: &ETagCondition, tag: &ETag) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(wanted) => wanted.value() == tag.value(),
    }
}

fn not_modified(tag: &ETag) -> S3Error {
    let mut error = S3Error::new(S3ErrorCode::NotModified);
    if let Ok(tag) = tag.to_http_header() {
        let mut headers = HeaderMap::new();
        headers.insert("etag", tag);
        error.set_headers(headers);
    }
    error
}

/// The bytes that are wanted of an object of `size` bytes; none for all of them. An object
/// is one part: how its source cut it is not known here.
pub(crate) fn range(
    range: Option<S3Range>,
    part: Option<i32>,
    size: u64,
) -> S3Result<Option<Range<u64>>> {
    match (range, part) {
        (Some(_), Some(_)) => Err(invalid("a range and a part number do not go together")),
        (None, None) => Ok(None),
        (None, Some(1)) => Ok((size > 0).then_some(0..size)),
        (None, Some(2..)) => Err(no_such_part()),
        (None, Some(_)) => Err(invalid("part numbers begin with 1")),
        (Some(range), None) => match range.check(size) {
            Ok(range) if !range.is_empty() => Ok(Some(range)),
            _ => Err(out_of_range(size)),
        },
    }
}

fn no_such_part() -> S3Error {
    let code = S3ErrorCode::Custom("InvalidPartNumber".into());
    let mut error = S3Error::with_message(code, "an object is one part here");
    error.set_status_code(StatusCode::RANGE_NOT_SATISFIABLE);
    error
}

fn out_of_range(size: u64) -> S3Error {
    let mut error = S3Error::new(S3ErrorCode::InvalidRange);
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}")) {
        let mut headers = HeaderMap::new();
        headers.insert("content-range", value);
        error.set_headers(headers);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::tests::row;

    fn code(result: S3Result<()>) -> Option<S3ErrorCode> {
        result.err().map(|error| error.code().clone())
    }

    #[test]
    fn conditions_are_held_by_entity_tag_first() {
        let row = row("a", 1, Some(5));
        let tag = |tag: &str| Some(ETagCondition::ETag(ETag::Strong(tag.to_owned())));
        let own = || tag(etag(&row).value());
        // Last modified at second 1,000.
        let time = |secs| Some(s3_time(sealift_terms::Timestamp::from_secs(secs)));
        let held = |conditions: Conditions| code(conditions.hold(&row));
        let with = |f: fn(&mut Conditions, Option<ETagCondition>), tag| {
            let mut conditions = Conditions::default();
            f(&mut conditions, tag);
            held(conditions)
        };
        assert_eq!(with(|c, t| c.is = t, own()), None);
        assert_eq!(with(|c, t| c.is = t, Some(ETagCondition::Any)), None);
        let failed = Some(S3ErrorCode::PreconditionFailed);
        assert_eq!(with(|c, t| c.is = t, tag("other")), failed);
        let same = Some(S3ErrorCode::NotModified);
        assert_eq!(with(|c, t| c.is_not = t, own()), same);
        assert_eq!(with(|c, t| c.is_not = t, Some(ETagCondition::Any)), same);
        assert_eq!(with(|c, t| c.is_not = t, tag("other")), None);
        let newer = |time| Conditions {
            newer_than: time,
            ..Conditions::default()
        };
        assert_eq!(held(newer(time(999))), None);
        assert_eq!(held(newer(time(1_000))), same);
        let not_newer = |is, time| Conditions {
            is,
            not_newer_than: time,
            ..Conditions::default()
        };
        assert_eq!(held(not_newer(None, time(1_000))), None);
        assert_eq!(held(not_newer(None, time(999))), failed);
        assert_eq!(held(not_newer(own(), time(999))), None, "the tag counts");
    }

    #[test]
    fn writes_are_held_to_what_is_there_before_them() {
        let row = row("a", 1, Some(5));
        let tag = |tag: &str| Some(ETagCondition::ETag(ETag::Strong(tag.to_owned())));
        let held = |is, is_not, latest| match WriteConditions::new(is, is_not) {
            Ok(conditions) => code(conditions.hold(latest)),
            Err(error) => Some(error.code().clone()),
        };
        let (any, failed) = (
            || Some(ETagCondition::Any),
            Some(S3ErrorCode::PreconditionFailed),
        );
        assert_eq!(held(None, None, Some(&row)), None);
        assert_eq!(held(None, any(), None), None);
        assert_eq!(held(None, any(), Some(&row)), failed);
        assert_eq!(
            held(None, tag("x"), None),
            Some(S3ErrorCode::NotImplemented)
        );
        assert_eq!(held(tag(etag(&row).value()), None, Some(&row)), None);
        assert_eq!(held(any(), None, Some(&row)), None);
        assert_eq!(held(tag("other"), None, Some(&row)), failed);
        assert_eq!(held(any(), None, None), Some(S3ErrorCode::NoSuchKey));
    }

    #[test]
    fn ranges_are_held_to_the_object() {
        let int = |first, last| Some(S3Range::Int { first, last });
        let of = |wanted, size| range(wanted, None, size).ok().flatten();
        assert_eq!(range(None, None, 7).unwrap(), None);
        assert_eq!(of(int(2, None), 7), Some(2..7));
        assert_eq!(of(int(2, Some(3)), 7), Some(2..4));
        assert_eq!(of(int(0, Some(99)), 7), Some(0..7));
        assert_eq!(of(Some(S3Range::Suffix { length: 3 }), 7), Some(4..7));
        assert_eq!(of(Some(S3Range::Suffix { length: 99 }), 7), Some(0..7));
        for (wanted, size) in [
            (int(7, None), 7),
            (int(0, None), 0),
            (Some(S3Range::Suffix { length: 0 }), 7),
            (Some(S3Range::Suffix { length: 1 }), 0),
        ] {
            let error = range(wanted, None, size).unwrap_err();
            assert_eq!(
                *error.code(),
                S3ErrorCode::InvalidRange,
                "{wanted:?} of {size}"
            );
        }
        assert_eq!(range(None, Some(1), 7).unwrap(), Some(0..7));
        assert_eq!(range(None, Some(1), 0).unwrap(), None);
        assert!(range(None, Some(0), 7).is_err() && range(None, Some(2), 7).is_err());
        assert!(range(int(0, None), Some(1), 7).is_err());
    }
}
