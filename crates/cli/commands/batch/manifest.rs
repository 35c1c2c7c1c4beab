//! Which versions a batch is about: a CSV file that names them.
//!
//! Columns `bucket`, `key`, `version`; a first line with these words may put them in
//! another order, beside others, and so may a schema. Where there is a column `result`, as in
//! the report of a batch, only lines that say `failed` count.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use sealift_agent::Error;
use sealift_terms::{BucketName, ObjectKey, VersionId, VersionName, percent::decode_form};

/// A line is never longer than this: names are 63, 1,024 and 1,024 bytes, quoted.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// How a manifest is to be read.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// What its columns are, by name; a first line or the usual order says it otherwise.
    pub(super) schema: Option<String>,
    /// Whether its keys are URL-encoded.
    pub(super) url_encoded: bool,
    /// Whether each line has to name a version.
    pub(super) versions: bool,
}

/// What a line names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) bucket: BucketName,
    pub(super) key: ObjectKey,
    /// None is the latest.
    pub(super) version: Option<VersionId>,
}

/// Where the columns are.
#[derive(Debug, Clone, Copy)]
struct Columns {
    bucket: usize,
    key: usize,
    version: Option<usize>,
    result: Option<usize>,
}

/// A manifest, line by line.
pub(super) struct Manifest {
    path: PathBuf,
    lines: csv::StringRecordsIntoIter<Bounded<Box<dyn Read + Send>>>,
    shape: Shape,
    columns: Option<Columns>,
    line: u64,
}

impl Manifest {
    /// Opens a manifest; `-` is standard input.
    pub(super) fn open(path: &Path, shape: Shape) -> Result<Self, Error> {
        let input: Box<dyn Read + Send> = match path == Path::new("-") {
            true => Box::new(io::stdin()),
            false => Box::new(File::open(path).map_err(Error::failed("opening the manifest"))?),
        };
        Self::read(path, input, shape)
    }

    fn read(path: &Path, input: Box<dyn Read + Send>, shape: Shape) -> Result<Self, Error> {
        let lines = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(Bounded::new(input))
            .into_records();
        let mut manifest = Self {
            path: path.to_owned(),
            lines,
            columns: None,
            shape,
            line: 0,
        };
        if let Some(schema) = &manifest.shape.schema {
            let names: csv::StringRecord = schema.split(',').map(str::trim).collect();
            let columns = named(&names);
            manifest.columns = Some(columns.ok_or_else(|| Error::Request {
                what: "--schema",
                found: format!("{schema:?}"),
                allowed: "names of columns, among them Bucket and Key".to_owned(),
            })?);
        }
        Ok(manifest)
    }

    /// The next version that is named.
    pub(super) fn next_name(&mut self) -> Result<Option<VersionName>, Error> {
        let Some(object) = self.next_object()? else {
            return Ok(None);
        };
        let version = object.version;
        Ok(Some(VersionName {
            bucket: object.bucket,
            key: object.key,
            version: version.ok_or_else(|| self.refused("a line without version".to_owned()))?,
        }))
    }

    /// The next object that is named.
    pub(super) fn next_object(&mut self) -> Result<Option<Object>, Error> {
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
                return self.object(&record, columns).map(Some);
            }
        }
    }

    fn object(&self, record: &csv::StringRecord, columns: Columns) -> Result<Object, Error> {
        let field = |at: usize, what| {
            let field = record.get(at);
            field.ok_or_else(|| self.refused(format!("a line without {what}")))
        };
        let refused = |error: sealift_terms::NameError| self.refused(error.to_string());
        let key = field(columns.key, "key")?;
        let decoded = match self.shape.url_encoded {
            true => decode_form(key)
                .ok_or_else(|| self.refused(format!("{key:?}, which is not URL-encoded")))?,
            false => key.to_owned(),
        };
        let version = columns.version.and_then(|at| record.get(at));
        let version = version.filter(|version| !version.is_empty());
        if self.shape.versions && version.is_none() {
            return Err(self.refused("a line without version".to_owned()));
        }
        Ok(Object {
            bucket: BucketName::new(field(columns.bucket, "bucket")?).map_err(refused)?,
            key: ObjectKey::new(&decoded).map_err(refused)?,
            version: version.map(VersionId::new).transpose().map_err(refused)?,
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
    match named(record) {
        Some(columns) => (columns, true),
        None => {
            let columns = Columns {
                bucket: 0,
                key: 1,
                version: Some(2),
                result: None,
            };
            (columns, false)
        }
    }
}

/// The columns with these names, which have to be there but for the version.
fn named(names: &csv::StringRecord) -> Option<Columns> {
    let find = |words: &[&str]| {
        let mut fields = names.iter();
        let is_one = |field: &str| words.iter().any(|word| field.eq_ignore_ascii_case(word));
        fields.position(|field| is_one(field.trim()))
    };
    Some(Columns {
        bucket: find(&["bucket"])?,
        key: find(&["key"])?,
        version: find(&["version", "versionid", "version_id"]),
        result: find(&["result"]),
    })
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

    fn read(text: &str, shape: Shape) -> Result<Manifest, Error> {
        let input = Box::new(io::Cursor::new(text.to_owned().into_bytes()));
        Manifest::read(Path::new("m.csv"), input, shape)
    }

    fn names(text: &str) -> Result<Vec<String>, Error> {
        let versions = true;
        let mut manifest = read(
            text,
            Shape {
                versions,
                ..Shape::default()
            },
        )?;
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

    #[test]
    fn an_s3_inventory_is_read_by_its_schema_and_may_do_without_versions() {
        let objects = |text: &str, schema: Option<&str>| -> Result<Vec<String>, Error> {
            let shape = Shape {
                schema: schema.map(str::to_owned),
                url_encoded: true,
                versions: false,
            };
            let mut manifest = read(text, shape)?;
            let mut all = Vec::new();
            while let Some(object) = manifest.next_object()? {
                let version = object
                    .version
                    .map_or("latest".to_owned(), |it| it.to_string());
                all.push(format!("{} {} {version}", object.bucket, object.key));
            }
            Ok(all)
        };
        let lines = "\"photos\",\"a+b%2Fc%C3%A4.jpg\",\"v1\",\"12\"\n\"photos\",\"d\",\"\",\"3\"\n";
        let read = objects(lines, Some("Bucket, Key, VersionId, Size")).unwrap();
        assert_eq!(read, ["photos a b/cä.jpg v1", "photos d latest"]);
        let read = objects("photos,a,12\n", Some("Bucket, Key, Size")).unwrap();
        assert_eq!(read, ["photos a latest"]);
        assert_eq!(objects("photos,a\n", None).unwrap(), ["photos a latest"]);
        let headed = "key,bucket\na,photos\n";
        assert_eq!(objects(headed, None).unwrap(), ["photos a latest"]);
        assert!(objects(lines, Some("Key, Size")).is_err());
        for bad in ["photos,a%2\n", "photos,a%zz\n", "photos,%ff\n"] {
            assert!(objects(bad, None).is_err(), "{bad}");
        }
    }
}
