//! The report of a batch: a CSV file with a line for each version, and what a batch that
//! was interrupted goes on from.

use std::{
    collections::{HashMap, HashSet},
    fs::{File, OpenOptions},
    hash::{BuildHasher, RandomState},
    io::{self, BufWriter},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use sealift_agent::Error;

const READING: &str = "reading the report";
const WRITING: &str = "writing the report";

/// A line of a report.
pub(super) trait Line {
    /// Its columns: `bucket`, `key`, `version`, `result` first. Where there is a `peer` it
    /// is said of one version as often as that has destinations.
    const HEAD: &'static [&'static str];
    /// The result that needs nothing more.
    const DONE: &'static str;

    /// Its fields, in the order of the columns.
    fn fields(&self) -> Vec<String>;
}

/// A report that is being written; none is where nobody asked for one.
pub(super) struct Report {
    writer: Option<csv::Writer<BufWriter<File>>>,
    done: Done,
}

impl Report {
    /// Makes a new report, or goes on with one: what it says is done is not done again.
    pub(super) fn open<L: Line>(path: Option<&Path>, resume: bool) -> Result<Self, Error> {
        let Some(path) = path else {
            return Ok(Self {
                writer: None,
                done: Done::default(),
            });
        };
        let done = match resume {
            true => Done::read::<L>(path)?,
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
            writer
                .write_record(L::HEAD)
                .map_err(Error::failed(WRITING))?;
        }
        let writer = Some(writer);
        Ok(Self { writer, done })
    }

    /// Whether an earlier run did this: bucket, key, version and destination. Without a
    /// version or a destination any counts, and nothing of it may have failed.
    pub(super) fn has(&self, name: &[&str; 4]) -> bool {
        self.done.has(name)
    }

    /// Adds a line.
    pub(super) fn add(&mut self, line: &impl Line) -> Result<(), Error> {
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        let written = writer.write_record(line.fields());
        written.map_err(Error::failed(WRITING))
    }

    /// Writes out what was added: an interruption loses no line that was said.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        let flushed = self.writer.as_mut().map_or(Ok(()), csv::Writer::flush);
        flushed.map_err(Error::failed(WRITING))
    }
}

/// What was done: some bytes a version, whatever its name.
#[derive(Default)]
struct Done {
    /// Nobody outside knows their keys, so that nobody makes two names fall together.
    hashers: [RandomState; 2],
    /// What is done, by each way in which it may be named.
    names: HashSet<[u64; 2]>,
    /// What failed and was not done since.
    open: HashSet<[u64; 2]>,
    /// How much of a version, or of an object, that is.
    open_of: HashMap<[u64; 2], u32>,
}

impl Done {
    fn read<L: Line>(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::failed(READING))?;
        let mut lines = csv::ReaderBuilder::new().flexible(true).from_reader(file);
        let peer = L::HEAD.iter().position(|name| *name == "peer");
        let mut done = Self::default();
        let mut line = csv::StringRecord::new();
        while lines
            .read_record(&mut line)
            .map_err(Error::failed(READING))?
        {
            // The last line may have been cut off; a failure is tried again.
            let field = |at: usize| line.get(at).filter(|_| line.len() == L::HEAD.len());
            if let (Some(bucket), Some(key), Some(version), Some(result)) =
                (field(0), field(1), field(2), field(3))
            {
                let peer = peer.and_then(field).unwrap_or_default();
                done.take([bucket, key, version, peer], result == L::DONE);
            }
        }
        Ok(done)
    }

    fn take(&mut self, name: [&str; 4], is_done: bool) {
        let [bucket, key, version, peer] = name;
        let exact = self.hash(&name);
        let wider = [
            [bucket, key, version, ""],
            [bucket, key, "", peer],
            [bucket, key, "", ""],
        ];
        let wider = wider.map(|name| self.hash(&name));
        if is_done {
            self.names.insert(exact);
            self.names.extend(wider);
            if self.open.remove(&exact) {
                for name in wider {
                    let open = self.open_of.entry(name).or_default();
                    *open = open.saturating_sub(1);
                }
            }
        } else if self.open.insert(exact) {
            self.names.remove(&exact);
            for name in wider {
                *self.open_of.entry(name).or_default() += 1;
            }
        }
    }

    fn has(&self, name: &[&str; 4]) -> bool {
        let name = self.hash(name);
        self.names.contains(&name)
            && !self.open.contains(&name)
            && self.open_of.get(&name).is_none_or(|open| *open == 0)
    }

    fn hash(&self, name: &[&str; 4]) -> [u64; 2] {
        let [first, second] = &self.hashers;
        [first.hash_one(name), second.hash_one(name)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Row([&'static str; 5]);

    impl Line for Row {
        const HEAD: &'static [&'static str] = &["bucket", "key", "version", "result", "peer"];
        const DONE: &'static str = "done";

        fn fields(&self) -> Vec<String> {
            self.0.map(str::to_owned).into()
        }
    }

    #[test]
    fn a_report_is_gone_on_with_and_failures_are_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.csv");
        let mut report = Report::open::<Row>(Some(&path), false).unwrap();
        let rows = [
            ["photos", "a", "v1", "done", "x"],
            ["photos", "b, c", "v1", "failed", "x"],
            ["photos", "d", "v1", "done", "x"],
            ["photos", "d", "v1", "failed", "y"],
        ];
        for row in rows {
            report.add(&Row(row)).unwrap();
        }
        report.flush().unwrap();
        drop(report);
        assert!(
            Report::open::<Row>(Some(&path), false).is_err(),
            "never written over"
        );

        let mut again = Report::open::<Row>(Some(&path), true).unwrap();
        for (name, is_there) in [
            (["photos", "a", "v1", "x"], true),
            (["photos", "a", "v1", ""], true),
            (["photos", "a", "", ""], true),
            (["photos", "a", "v2", "x"], false),
            (["photos", "a", "v1", "y"], false),
            (["photos", "b, c", "v1", "x"], false),
            (["photos", "d", "v1", "x"], true),
            (["photos", "d", "v1", "y"], false),
            (["photos", "d", "", "x"], true),
            // One destination is missing.
            (["photos", "d", "v1", ""], false),
            (["photos", "d", "", ""], false),
        ] {
            assert_eq!(again.has(&name), is_there, "{name:?}");
        }
        again
            .add(&Row(["photos", "b, c", "v1", "done", "x"]))
            .unwrap();
        again.add(&Row(["photos", "d", "v1", "done", "y"])).unwrap();
        again.flush().unwrap();
        drop(again);
        let last = Report::open::<Row>(Some(&path), true).unwrap();
        for key in ["a", "b, c", "d"] {
            assert!(last.has(&["photos", key, "v1", ""]), "{key}");
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 7, "{text}");
        assert_eq!(text.matches("bucket").count(), 1, "{text}");
        // A line that was cut off says nothing.
        std::fs::write(&path, text + "photos,e,v1,done").unwrap();
        let cut = Report::open::<Row>(Some(&path), true).unwrap();
        assert!(!cut.has(&["photos", "e", "v1", ""]));
    }
}
