//! What goes on record of calls in front of a source: each change with what came of it, and who
//! reads what, alike ones once a minute. The log takes it within its next commit, so that none
//! waits for a sync; where it takes nothing, nothing goes on to the store.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use s3s::{
    S3Result,
    dto::{DeletedObject, Error as FailedKey},
    xml::{DeError, Deserializer},
};
use sealift_terms::{
    AccessKeyId, AuditKind, AuditRecord, AuditUnavailable, BucketName, ObjectKey, Timestamp,
    limits::FRONT_READS_COUNTED_MAX,
};

use super::{Call, Outcome};
use crate::{
    core::{Core, actor},
    errors::off_record,
};

/// Reads that are alike go on record once in this time, and then how many more there were.
const COUNTED_FOR: Duration = Duration::from_secs(60);

/// A key that is to be changed, and the version that is named with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Named {
    pub(super) key: ObjectKey,
    pub(super) version: Option<String>,
}

/// A change, as it is put on record.
pub(super) struct Act {
    pub(super) id: AccessKeyId,
    pub(super) call: Call,
    pub(super) bucket: BucketName,
    pub(super) named: Vec<Named>,
}

/// What came of it.
pub(super) struct Came<'a> {
    pub(super) outcome: &'a Outcome,
    /// The status of the store's answer, where it gave one.
    pub(super) status: Option<u16>,
    /// What it names of many keys.
    pub(super) body: &'a [u8],
}

/// An object that is read, and who reads it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ReadOf {
    pub(super) actor: String,
    pub(super) call: &'static str,
    pub(super) bucket: BucketName,
    pub(super) key: String,
    pub(super) version: Option<String>,
}

impl ReadOf {
    fn record(&self, at: Timestamp) -> AuditRecord {
        let record = AuditRecord::new(at, AuditKind::SourceRead, self.actor.clone())
            .with("call", self.call)
            .with("bucket", &self.bucket)
            .with("key", &self.key);
        match &self.version {
            Some(version) => record.with("version", version),
            None => record,
        }
    }
}

/// Reads that were alike, since the last record of them.
#[derive(Debug)]
struct Window {
    began: Timestamp,
    more: u64,
}

/// Reads of the minute that runs.
#[derive(Debug, Default)]
pub(crate) struct Reads(HashMap<ReadOf, Window>);

impl Reads {
    /// The record that a read leaves; none where it is counted. Of more different ones than
    /// are counted each leaves one.
    fn count(&mut self, of: &ReadOf, now: Timestamp) -> Option<AuditRecord> {
        if let Some(window) = self.0.get_mut(of) {
            window.more += 1;
            return None;
        }
        if self.0.len() < FRONT_READS_COUNTED_MAX {
            let window = Window {
                began: now,
                more: 0,
            };
            self.0.insert(of.clone(), window);
        }
        Some(of.record(now))
    }

    /// Puts on record what was counted in minutes that are over. What the log does not take
    /// stays counted.
    fn settle(
        &mut self,
        now: Timestamp,
        keep: impl Fn(AuditRecord) -> Result<(), AuditUnavailable>,
    ) -> Result<(), AuditUnavailable> {
        let is_over = |window: &Window| now.since(window.began) >= COUNTED_FOR;
        for (of, window) in self.0.iter_mut().filter(|(_, window)| is_over(window)) {
            if window.more > 0 {
                let end = window.began.plus(COUNTED_FOR);
                keep(of.record(end).with("count", window.more))?;
                window.more = 0;
            }
        }
        self.0.retain(|_, window| !is_over(window));
        Ok(())
    }
}

impl Core {
    /// Refuses what could not be put on record.
    pub(super) fn hold_record(&self) -> S3Result<()> {
        self.audit.ready().map_err(|error| off_record(&error))
    }

    /// Puts a change on record, each of its keys with what came of it.
    pub(super) fn record_act(&self, act: &Act, came: &Came<'_>) -> S3Result<()> {
        let failed = match (act.call, came.outcome) {
            (Call::RemovesMany, Outcome::Written(_)) => failed_of(came.body),
            _ => Some(BTreeMap::new()),
        };
        for named in &act.named {
            let why = failed.as_ref().map(|failed| failed.get(named));
            let record = act.record(self.clock.now(), named, came, why);
            self.audit
                .record(record)
                .map_err(|error| off_record(&error))?;
        }
        Ok(())
    }

    /// Puts a read on record, or counts it.
    pub(super) fn record_read(&self, of: &ReadOf) -> S3Result<()> {
        self.hold_record()?;
        let record = self.reads.lock().count(of, self.clock.now());
        let kept = record.map_or(Ok(()), |record| self.audit.record(record));
        kept.map_err(|error| off_record(&error))
    }

    /// Puts reads on record that were counted in minutes that are over by `now`.
    pub(crate) fn settle_reads(&self, now: Timestamp) {
        let keep = |record| self.audit.record(record);
        if let Err(AuditUnavailable { cause }) = self.reads.lock().settle(now, keep) {
            tracing::error!(cause, "reads that were counted cannot be put on record");
        }
    }
}

impl Act {
    /// `why` is the error of this key, of those that the store has told; none where it told
    /// nothing that can be read.
    fn record(
        &self,
        at: Timestamp,
        named: &Named,
        came: &Came<'_>,
        why: Option<Option<&String>>,
    ) -> AuditRecord {
        let (outcome, told) = match came.outcome {
            Outcome::Written(told) | Outcome::Tagged(told) => ("done", told.as_ref()),
            Outcome::Nothing => ("refused", None),
            Outcome::Unknown => ("unknown", None),
        };
        let outcome = match why {
            Some(None) => outcome,
            Some(Some(_)) => "refused",
            None => "unknown",
        };
        let mut record = AuditRecord::new(at, AuditKind::SourceWritten, actor(&self.id))
            .with("call", self.call.name())
            .with("bucket", &self.bucket)
            .with("key", &named.key)
            .with("outcome", outcome);
        let version = named.version.as_deref();
        if let Some(version) = version.or(told.map(sealift_terms::VersionId::as_str)) {
            record = record.with("version", version);
        }
        if let Some(status) = came.status {
            record = record.with("status", status);
        }
        if let Some(Some(code)) = why {
            record = record.with("code", code);
        }
        record
    }
}

/// The keys that the store did not remove of many, and why; none where it cannot be read.
fn failed_of(body: &[u8]) -> Option<BTreeMap<Named, String>> {
    let mut failed = BTreeMap::new();
    let mut reader = Deserializer::new(body);
    let read = reader.named_element("DeleteResult", |reader| {
        reader.for_each_element(|reader, name| match name {
            b"Deleted" => reader.content::<DeletedObject>().map(drop),
            b"Error" => {
                let error: FailedKey = reader.content()?;
                let key = error.key.and_then(|key| ObjectKey::new(key).ok());
                let named = Named {
                    key: key.ok_or(DeError::MissingField)?,
                    version: error.version_id,
                };
                failed.insert(named, error.code.unwrap_or_default());
                Ok(())
            }
            _ => Err(DeError::UnexpectedTagName),
        })
    });
    read.ok().map(|()| failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &str) -> ReadOf {
        ReadOf {
            actor: "access-key:app".to_owned(),
            call: "GetObject",
            bucket: BucketName::new("photos").unwrap(),
            key: key.to_owned(),
            version: None,
        }
    }

    #[test]
    fn reads_that_are_alike_are_one_record_a_minute_and_a_count_of_the_rest() {
        let at = Timestamp::from_secs;
        let (mut reads, kept) = (Reads::default(), std::cell::RefCell::new(Vec::new()));
        let keep = |record: AuditRecord| {
            kept.borrow_mut().push(record);
            Ok(())
        };
        assert!(reads.count(&of("a"), at(0)).is_some());
        assert!(reads.count(&of("b"), at(1)).is_some());
        for second in 1..4 {
            assert!(reads.count(&of("a"), at(second)).is_none());
        }
        reads.settle(at(59), keep).unwrap();
        assert!(kept.borrow().is_empty());
        let refuse = |_| {
            let cause = "no".to_owned();
            Err(AuditUnavailable { cause })
        };
        assert!(reads.settle(at(60), refuse).is_err());
        reads.settle(at(61), keep).unwrap();
        let told = kept.take();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((told[0].at, &*told[0].details["count"]), (at(60), "3"));
        assert_eq!(told[0].details["key"], "a");
        assert!(reads.0.is_empty() && reads.count(&of("a"), at(61)).is_some());
    }

    #[test]
    fn of_more_different_reads_than_are_counted_each_leaves_its_record() {
        let mut reads = Reads::default();
        for number in 0..FRONT_READS_COUNTED_MAX + 2 {
            let of = of(&number.to_string());
            assert!(reads.count(&of, Timestamp::from_secs(0)).is_some());
        }
        assert_eq!(reads.0.len(), FRONT_READS_COUNTED_MAX);
        let beyond = of(&FRONT_READS_COUNTED_MAX.to_string());
        assert!(reads.count(&beyond, Timestamp::from_secs(1)).is_some());
        assert!(reads.count(&of("0"), Timestamp::from_secs(1)).is_none());
    }

    #[test]
    fn each_of_many_removals_has_the_outcome_that_the_store_tells_of_it() {
        let body = "<?xml version=\"1.0\"?>\n<DeleteResult xmlns=\"x\">\
            <Deleted><Key>a</Key><DeleteMarker>true</DeleteMarker></Deleted>\
            <Error><Key>b&amp;c</Key><VersionId>v</VersionId><Code>AccessDenied</Code>\
            <Message>no</Message></Error></DeleteResult>";
        let named = |key: &str, version: Option<&str>| Named {
            key: ObjectKey::new(key).unwrap(),
            version: version.map(str::to_owned),
        };
        let act = Act {
            id: "app".parse().unwrap(),
            call: Call::RemovesMany,
            bucket: BucketName::new("photos").unwrap(),
            named: Vec::new(),
        };
        let of = |body: &str, named: &Named| {
            let came = Came {
                outcome: &Outcome::Written(None),
                status: Some(200),
                body: body.as_bytes(),
            };
            let failed = failed_of(came.body);
            let why = failed.as_ref().map(|failed| failed.get(named));
            let record = act.record(Timestamp::from_secs(0), named, &came, why);
            (
                record.details["outcome"].clone(),
                record.details.get("code").cloned(),
            )
        };
        let refused = ("refused".to_owned(), Some("AccessDenied".to_owned()));
        assert_eq!(of(body, &named("b&c", Some("v"))), refused);
        for other in [named("a", None), named("b&c", None)] {
            assert_eq!(of(body, &other), ("done".to_owned(), None));
        }
        let unreadable = ("unknown".to_owned(), None);
        assert_eq!(of("<Other/>", &named("a", None)), unreadable);
    }
}
