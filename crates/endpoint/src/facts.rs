//! What a version is, in the words of S3.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::digest::{SHA256, digest};
use s3s::dto::{ETag, Tag, Timestamp as S3Time};
use sealift_ledger::{ListedVersion, VersionRow};
use sealift_terms::{Checksum, ChecksumAlgorithm, Order, Timestamp, VersionId};

/// The entity tag of a version: the same at every site and for as long as it exists, another
/// one for every other version. It is no MD5 and does not look like one, as clients that take
/// it for one would compare it: that of the content is not known here, where content is
/// sealed as it comes.
pub(crate) fn etag(row: &VersionRow) -> ETag {
    etag_of(&row.name.version, row.facts.size, row.checksum.as_ref())
}

/// The same of a version in a listing.
pub(crate) fn listed_etag(row: &ListedVersion) -> ETag {
    etag_of(&row.version, row.size, row.checksum.as_ref())
}

pub(crate) fn etag_of(version: &VersionId, size: u64, checksum: Option<&Checksum>) -> ETag {
    let checksum = checksum.map(ToString::to_string);
    let checksum = checksum.unwrap_or_default();
    let said = format!("sealift etag 1\n{version}\n{size}\n{checksum}");
    let hash = digest(&SHA256, said.as_bytes());
    let short = hash.as_ref().first_chunk::<16>().copied();
    let short = u128::from_be_bytes(short.unwrap_or_default());
    ETag::Strong(format!("sealift-{short:032x}"))
}

/// When it was last modified, as its source says; otherwise when it was taken up there: the
/// same at every site.
pub(crate) fn modified(row: &VersionRow) -> Timestamp {
    modified_of(row.facts.last_modified, &row.order)
}

/// The same of a version in a listing.
pub(crate) fn listed_modified(row: &ListedVersion) -> Timestamp {
    modified_of(row.last_modified, &row.order)
}

fn modified_of(said: Option<Timestamp>, order: &Order) -> Timestamp {
    said.unwrap_or_else(|| order.time())
}

/// A moment, as `s3s` has them.
pub(crate) fn s3_time(moment: Timestamp) -> S3Time {
    let millis = moment.as_millis();
    let distance = Duration::from_millis(millis.unsigned_abs());
    let time = match millis < 0 {
        true => UNIX_EPOCH.checked_sub(distance),
        false => UNIX_EPOCH.checked_add(distance),
    };
    time.unwrap_or(SystemTime::UNIX_EPOCH).into()
}

/// A size, as `s3s` has them.
pub(crate) fn s3_size(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The checksum of the whole content in base64, where it is one that S3 knows.
pub(crate) fn crc64nvme(row: &VersionRow) -> Option<String> {
    let checksum = row.checksum.as_ref();
    let known = checksum.filter(|sum| sum.algorithm() == ChecksumAlgorithm::Crc64Nvme);
    known.map(|sum| sum.value_base64())
}

/// System metadata of this name, such as `cache-control`.
pub(crate) fn system(row: &VersionRow, name: &str) -> Option<String> {
    row.facts.system.get(name).cloned()
}

/// Its tags.
pub(crate) fn tags(row: &VersionRow) -> Vec<Tag> {
    let tag = |(key, value): (&String, &String)| Tag {
        key: Some(key.clone()),
        value: Some(value.clone()),
    };
    row.facts.tags.iter().map(tag).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use sealift_ledger::{Location, VersionKind};
    use sealift_terms::{
        BucketName, ObjectFacts, ObjectKey, ObjectUid, Order, RecordId, Region, VersionName,
    };

    use super::*;

    /// A row of the catalog: the version `number` of a key, a marker when it has no size.
    pub(crate) fn row(key: &str, number: u64, size: Option<u64>) -> VersionRow {
        VersionRow {
            name: VersionName {
                bucket: BucketName::new("photos").unwrap(),
                key: ObjectKey::new(key).unwrap(),
                version: VersionId::new(format!("v{number}")).unwrap(),
            },
            order: Order {
                clock: number << 16,
                region: Region::new("a").unwrap(),
                change: number,
            },
            kind: match size {
                Some(_) => VersionKind::Object,
                None => VersionKind::DeleteMarker,
            },
            facts: ObjectFacts {
                size: size.unwrap_or(0),
                last_modified: Some(Timestamp::from_secs(1_000)),
                ..ObjectFacts::default()
            },
            tags_order: None,
            checksum: size.map(Checksum::crc64nvme),
            object_uid: ObjectUid([1; 16]),
            record: RecordId([2; 16]),
            second_record: None,
            location: Location {
                file: "f".to_owned(),
                offset: 0,
                length: 1,
            },
            sequence: 1,
            stored_at: Timestamp::from_secs(2_000),
            receipt: None,
            quarantined: false,
        }
    }

    #[test]
    fn an_etag_is_that_of_its_version_and_no_md5() {
        let first = etag(&row("a", 1, Some(5)));
        assert_eq!(first, etag(&row("a", 1, Some(5))));
        let mut resealed = row("a", 1, Some(5));
        resealed.object_uid = ObjectUid([9; 16]);
        resealed.stored_at = Timestamp::from_secs(9);
        assert_eq!(first, etag(&resealed), "sealed anew, stored elsewhere");
        assert_ne!(first, etag(&row("a", 2, Some(5))));
        assert_ne!(first, etag(&row("a", 1, Some(6))));
        let text = first.value();
        assert!(
            text.starts_with("sealift-") && text.len() == 8 + 32,
            "{text}"
        );
    }

    #[test]
    fn what_says_no_time_is_dated_by_its_order_wherever_it_rests() {
        let mut marker = row("a", 5, None);
        marker.facts.last_modified = None;
        assert_eq!(modified(&marker), Timestamp::from_millis(5));
        marker.stored_at = Timestamp::from_secs(9);
        assert_eq!(modified(&marker), Timestamp::from_millis(5));
    }

    #[test]
    fn times_before_1970_are_told_as_well() {
        let time = |millis| time_of(s3_time(Timestamp::from_millis(millis)));
        assert_eq!(time(1_500), UNIX_EPOCH + Duration::from_millis(1_500));
        assert_eq!(time(-1_500), UNIX_EPOCH - Duration::from_millis(1_500));
    }

    fn time_of(time: S3Time) -> SystemTime {
        let mut text = Vec::new();
        let format = s3s::dto::TimestampFormat::DateTime;
        time.format(format, &mut text).unwrap();
        let moment: Timestamp = String::from_utf8(text).unwrap().parse().unwrap();
        match moment.as_millis() {
            millis @ 0.. => UNIX_EPOCH + Duration::from_millis(millis.unsigned_abs()),
            millis => UNIX_EPOCH - Duration::from_millis(millis.unsigned_abs()),
        }
    }
}
