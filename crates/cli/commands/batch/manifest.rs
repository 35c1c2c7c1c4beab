//! Which versions a batch is about: a CSV file that names them.
//!
//! Columns `bucket`, `key`, `version`; a first line with these words may put them in
//! another order, beside others. Where there is a column `result`, as in the report of a
//! batch, only lines that say `failed` count.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use sealift_agent::Error;
use sealift_terms::{BucketName, ObjectKey, VersionId, VersionName};

/// A line is never longer than this: names are 63, 1,024 and 1,024 bytes, quoted.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Where the columns are.
#[derive(Debug, Clone, Copy)]
struct Columns {
    bucket: usize,
    key: usize,
    version: usize,
    result: Option<usize>,
}

/// A manifest, line by line.
pub(super) struct Manifest {
    path: PathBuf,
    lines: csv::StringRecordsIntoIter<Bounded<Box<dyn Read + Send>>>,
    columns: Option<Columns>,
    line: u64,
}

impl Manifest {
    /// Opens a manifest; `-` is standard input.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let input: Box<dyn Read + Send> = match path == Path::new("-") {
            true => Box::new(io::stdin()),
            false => Box::new(File::open(path).map_err(Error::failed("opening the manifest"))?),
        };
        Ok(Self::read(path, input))
    }

    fn read(path: &Path, input: Box<dyn Read + Send>) -> Self {
        let lines = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(Bounded::new(input))
            .into_records();
        Self {
            path: path.to_owned(),
            lines,
            columns: None,
            line: 0,
        }
    }

    /// The next version that is named.
    pub(super) fn next_name(&mut self) -> Result<Option<VersionName>, Error> {
        loop {
            let Some(record) = self.lines.next() else {
                return Ok(None);
            };
            self.line += 1;
            let record = record.map_err(|error| self.refused(error.to_string()))?;
            self.lines.reader_mut().get_mut().line_ended();
            let columns = match self.columns {
                Some(columns) => columns,
                None => {
                    let (columns, is_head) = head(&record);
                    self.columns = Some(columns);
                    if is_head {
                        continue;
                    }
                    columns
                }
            };
            let counts = columns
                .result
                .is_none_or(|at| record.get(at) == Some("failed"));
            if counts {
                return self.name(&record, columns).map(Some);
            }
        }
    }

    fn name(&self, record: &csv::StringRecord, columns: Columns) -> Result<VersionName, Error> {
        let field = |at: usize, what| {
            let field = record.get(at);
            field.ok_or_else(|| self.refused(format!("a line without {what}")))
        };
        let refused = |error: sealift_terms::NameError| self.refused(error.to_string());
        Ok(VersionName {
            bucket: BucketName::new(field(columns.bucket, "bucket")?).map_err(refused)?,
            key: ObjectKey::new(field(columns.key, "key")?).map_err(refused)?,
            version: VersionId::new(field(columns.version, "version")?).map_err(refused)?,
        })
    }

    fn refused(&self, found: String) -> Error {
        Error::Request {
            what: "manifest",
            found: format!("{} line {}: {found}", self.path.display(), self.line),
            allowed: "CSV with the columns bucket, key, version; a first line may name them"
                .to_owned(),
        }
    }
}

/// The columns that a first line names, or the usual ones.
fn head(record: &csv::StringRecord) -> (Columns, bool) {
    let find = |word: &str| {
        let mut fields = record.iter();
        fields.position(|field| field.trim().eq_ignore_ascii_case(word))
    };
    match (find("bucket"), find("key"), find("version")) {
        (Some(bucket), Some(key), Some(version)) => {
            let columns = Columns {
                bucket,
                key,
                version,
                result: find("result"),
            };
            (columns, true)
        }
        _ => {
            let columns = Columns {
                bucket: 0,
                key: 1,
                version: 2,
                result: None,
            };
            (columns, false)
        }
    }
}

/// Reads on only while a line is not too long: what has no end is not held in memory.
struct Bounded<R> {
    input: R,
    left: u64,
}

impl<R> Bounded<R> {
    fn new(input: R) -> Self {
        Self {
            input,
            left: 2 * LINE_BYTES_MAX,
        }
    }

    fn line_ended(&mut self) {
        self.left = 2 * LINE_BYTES_MAX;
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other(format!(
                "a line of more than {LINE_BYTES_MAX} bytes"
            )));
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = most.min(bytes.len());
        let read = self.input.read(bytes.get_mut(..most).unwrap_or_default())?;
        self.left = self.left.saturating_sub(read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<String>, Error> {
        let input = Box::new(io::Cursor::new(text.to_owned().into_bytes()));
        let mut manifest = Manifest::read(Path::new("m.csv"), input);
        let mut names = Vec::new();
        while let Some(name) = manifest.next_name()? {
            names.push(name.to_string());
        }
        Ok(names)
    }

    #[test]
    fn lines_name_versions_with_or_without_a_head() {
        let plain = names("photos,a.jpg,v1\nphotos,\"b, c.jpg\",v2\n").unwrap();
        assert_eq!(plain.len(), 2);
        assert!(plain[1].contains("b, c.jpg"), "{plain:?}");
        let headed = names("size,version,key,bucket\n9,v1,a.jpg,photos\n").unwrap();
        assert_eq!(headed, plain[..1]);
    }

    #[test]
    fn of_a_report_only_what_failed_counts() {
        let report = "bucket,key,version,result\nphotos,a,v1,resealed\nphotos,b,v1,failed\n";
        let names = names(report).unwrap();
        assert_eq!(names.len(), 1);
        assert!(names[0].contains('b'), "{names:?}");
    }

    #[test]
    fn a_bad_line_is_named_and_an_endless_one_is_not_held() {
        let error = names("photos,a,v1\nphotos,b\n").unwrap_err();
        assert!(error.to_string().contains("manifest"), "{error}");
        let error = names("photos,a,v1\nUpper,b,v1\n").unwrap_err();
        assert!(format!("{error:?}").contains("line 2"), "{error:?}");
        let endless = format!("photos,\"{}", "x".repeat(1 << 20));
        let error = names(&endless).unwrap_err();
        assert!(format!("{error:?}").contains("more than"), "{error:?}");
    }
}
