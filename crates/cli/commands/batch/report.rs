//! The report of a batch: a CSV file with a line for each version, and what a batch that
//! was interrupted goes on from.

use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    hash::{BuildHasher, RandomState},
    io::{self, BufWriter},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use sealift_agent::{Error, admin::ResealRow};
use sealift_terms::VersionName;

const HEAD: [&str; 9] = [
    "bucket",
    "key",
    "version",
    "result",
    "size",
    "object_uid",
    "record",
    "reason",
    "evidence",
];

const READING: &str = "reading the report";
const WRITING: &str = "writing the report";

/// A report that is being written.
pub(super) struct Report {
    writer: csv::Writer<BufWriter<File>>,
    done: Done,
}

impl Report {
    /// Makes a new report, or goes on with one: what it says is done is not done again.
    pub(super) fn open(path: &Path, resume: bool) -> Result<Self, Error> {
        let done = match resume {
            true => Done::read(path)?,
            false => Done::default(),
        };
        let mut options = OpenOptions::new();
        options.append(true).create_new(!resume).mode(0o600);
        let file = options.open(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::Request {
                what: "--report",
                found: format!("{}, which is there already", path.display()),
                allowed: "a new file; `--resume` goes on with the batch that wrote this one"
                    .to_owned(),
            },
            _ => Error::failed(WRITING)(error),
        })?;
        let mut writer = csv::WriterBuilder::new().from_writer(BufWriter::new(file));
        if !resume {
            writer.write_record(HEAD).map_err(Error::failed(WRITING))?;
        }
        Ok(Self { writer, done })
    }

    /// Whether an earlier run did this one.
    pub(super) fn has(&self, name: &VersionName) -> bool {
        self.done.has([
            name.bucket.as_str(),
            name.key.as_str(),
            name.version.as_str(),
        ])
    }

    /// Adds a line.
    pub(super) fn add(&mut self, row: &ResealRow) -> Result<(), Error> {
        let text = |value: Option<String>| value.unwrap_or_default();
        let line = [
            row.object.bucket.to_string(),
            row.object.key.to_string(),
            row.object.version.to_string(),
            row.result.as_str().to_owned(),
            row.size.to_string(),
            text(row.object_uid.map(|uid| uid.to_string())),
            text(row.record.map(|record| record.to_string())),
            text(row.reason.map(|reason| reason.to_string())),
            text(row.evidence.clone()),
        ];
        let written = self.writer.write_record(line);
        written.map_err(Error::failed(WRITING))
    }

    /// Writes out what was added: an interruption loses no line that was said.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.writer.flush().map_err(Error::failed(WRITING))
    }
}

/// What was done: 16 bytes a version, whatever its name.
#[derive(Default)]
struct Done {
    /// Nobody outside knows their keys, so that nobody makes two names fall together.
    hashers: [RandomState; 2],
    names: HashSet<[u64; 2]>,
}

impl Done {
    fn read(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::failed(READING))?;
        let mut lines = csv::ReaderBuilder::new().flexible(true).from_reader(file);
        let mut done = Self::default();
        let mut line = csv::StringRecord::new();
        while lines
            .read_record(&mut line)
            .map_err(Error::failed(READING))?
        {
            // The last line may have been cut off; a failure is tried again.
            if let (Some(bucket), Some(key), Some(version), Some("resealed")) =
                (line.get(0), line.get(1), line.get(2), line.get(3))
            {
                let name = done.hash([bucket, key, version]);
                done.names.insert(name);
            }
        }
        Ok(done)
    }

    fn has(&self, name: [&str; 3]) -> bool {
        self.names.contains(&self.hash(name))
    }

    fn hash(&self, name: [&str; 3]) -> [u64; 2] {
        let [first, second] = &self.hashers;
        [first.hash_one(name), second.hash_one(name)]
    }
}

#[cfg(test)]
mod tests {
    use sealift_agent::admin::ResealResult;
    use sealift_terms::{BucketName, ObjectKey, VersionId};

    use super::*;

    fn row(key: &str, result: ResealResult) -> ResealRow {
        ResealRow {
            object: VersionName {
                bucket: BucketName::new("photos").unwrap(),
                key: ObjectKey::new(key).unwrap(),
                version: VersionId::new("v1").unwrap(),
            },
            result,
            size: 3,
            object_uid: None,
            record: None,
            own_record: false,
            reason: None,
            evidence: Some("a \"quoted\", cause".to_owned()),
        }
    }

    #[test]
    fn a_report_is_gone_on_with_and_failures_are_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.csv");
        let (a, b) = (
            row("a", ResealResult::Resealed),
            row("b, c", ResealResult::Failed),
        );
        let mut report = Report::open(&path, false).unwrap();
        report.add(&a).unwrap();
        report.add(&b).unwrap();
        report.flush().unwrap();
        drop(report);
        assert!(Report::open(&path, false).is_err(), "never written over");

        let mut again = Report::open(&path, true).unwrap();
        assert!(again.has(&a.object) && !again.has(&b.object));
        again.add(&row("b, c", ResealResult::Resealed)).unwrap();
        again.flush().unwrap();
        drop(again);
        let last = Report::open(&path, true).unwrap();
        assert!(last.has(&a.object) && last.has(&b.object));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert_eq!(text.matches("object_uid").count(), 1, "{text}");
    }
}
