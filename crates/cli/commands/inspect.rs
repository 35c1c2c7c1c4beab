//! `sealift inspect`: what sealed files hold, as far as it shows without a key; and
//! how the versions of an object rest.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use clap::Args;
use sealift_agent::{
    Error, Exit,
    admin::{Named, ObjectRow, Request},
};
use sealift_seal::{Expected, Found, Inspected, ReadAt, Scanner, SealError, Tail, pack::EntryKind};
use sealift_terms::ObjectFacts;
use serde::Serialize;

use super::{ask, object::object, rows};
use crate::{
    cli::Global,
    output::{self, Outcome},
};

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Sealed files, packs, or objects as BUCKET/KEY
    #[arg(required = true, value_name = "FILE|BUCKET/KEY")]
    what: Vec<String>,
    /// With what the source said of an object: content type, metadata, tags and the like
    #[arg(long)]
    facts: bool,
}

/// One sealed object in a file.
#[derive(Debug, Serialize)]
struct SealedRow {
    file: PathBuf,
    offset: u64,
    length: u64,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    part_bytes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    second_record: Option<String>,
    /// Layers of AES-256-GCM.
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
}

impl Inspect {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        let mut damaged = false;
        for what in &self.what {
            let path = Path::new(what);
            match path.is_file() {
                true => damaged |= file(global.json, path)?,
                false => versions(global, what, self.facts).await?,
            }
        }
        Ok(match damaged {
            true => Exit::VerificationFailed,
            false => Exit::Done,
        })
    }
}

async fn versions(global: &Global, what: &str, facts: bool) -> Result<(), Error> {
    // No bucket is called so: a path was meant.
    if what.starts_with(['/', '.']) || !what.contains('/') {
        return Err(Error::NotFound {
            what: format!("file {}", output::safe(what)),
        });
    }
    let (bucket, key) = object(what)?;
    let request = Request::Inspect(Named {
        bucket,
        key,
        version: None,
        facts,
    });
    let (_site, answers) = ask(global, request).await?;
    rows(answers, |row: ObjectRow| {
        output::row(global.json, &row, version(&row))
    })
    .await
}

fn of_facts(facts: &ObjectFacts) -> String {
    let single = [
        ("content type", &facts.content_type),
        ("entity tag", &facts.etag),
    ];
    let single = single.into_iter().filter_map(|(name, value)| {
        let value = output::safe(value.as_deref()?);
        Some(format!("\n  {name:<12} {value}"))
    });
    let maps = [
        ("metadata", &facts.metadata),
        ("system", &facts.system),
        ("tag", &facts.tags),
    ];
    let maps = maps.into_iter().flat_map(|(of, map)| {
        map.iter().map(move |(name, value)| {
            let (name, value) = (output::safe(name), output::safe(value));
            format!("\n  {of:<12} {name} = {value}")
        })
    });
    single.chain(maps).collect()
}

fn version(row: &ObjectRow) -> String {
    let mut text = format!(
        "{}/{}\n  version      {}\n  size         {}\n  status       {}",
        row.bucket,
        output::safe(row.key.as_str()),
        row.version,
        row.size,
        row.status
    );
    if let Some(facts) = &row.facts {
        text.push_str(&of_facts(facts));
    }
    if let Some(sealing) = &row.sealing {
        text.push_str(&format!(
            "\n  object uid   {}\n  key record   {}\n  key          {} version {}",
            sealing.object_uid, sealing.record, sealing.cmk, sealing.cmk_version,
        ));
        if let Some(second) = &sealing.second {
            text.push_str(&format!(
                "\n  outer record {}\n  outer key    {} version {}",
                second.record, second.cmk, second.cmk_version
            ));
        }
        text.push_str(&format!(
            "\n  rests in     {} at {}, {} bytes",
            sealing.file, sealing.offset, sealing.length
        ));
    }
    text
}

/// A file as something to read sealed bytes from.
struct SealedFile(File);

impl ReadAt for SealedFile {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(bytes, offset)
    }
}

/// Shows one file; true when something in it is damaged.
fn file(json: bool, path: &Path) -> Result<bool, Error> {
    let failed = || Error::io("read", path);
    let mut opened = File::open(path).map_err(failed())?;
    let length = opened.metadata().map_err(failed())?.len();
    let mut magic = [0; 4];
    let is_pack = length >= 4 && {
        opened.read_exact(&mut magic).map_err(failed())?;
        magic == *b"\x89SLP"
    };
    let sealed = SealedFile(opened);
    match is_pack {
        true => pack(json, path, &sealed, length),
        false => {
            let row = sealed_row(path, 0, "object", &sealed, length);
            output::row(json, &row, line(&row))?;
            Ok(row.damage.is_some())
        }
    }
}

fn pack(json: bool, path: &Path, sealed: &SealedFile, length: u64) -> Result<bool, Error> {
    let mut scanner = Scanner::new(sealed, length, Tail::Open);
    let mut damaged = false;
    loop {
        let row = match scanner.next().map_err(Error::failed("reading the pack"))? {
            None => return Ok(damaged),
            Some(Found::Entry {
                kind,
                body_offset,
                body,
            }) => entry(path, kind, body_offset, body),
            Some(Found::Damage { range, damage }) => bare(
                path,
                range.start,
                range.end - range.start,
                "damage",
                Some(damage.to_string()),
            ),
            Some(Found::Dropped { range }) => bare(
                path,
                range.start,
                range.end - range.start,
                "unfinished",
                None,
            ),
        };
        damaged |= row.damage.is_some();
        output::row(json, &row, line(&row))?;
    }
}

fn entry(path: &Path, kind: EntryKind, offset: u64, body: &[u8]) -> SealedRow {
    let length = body.len() as u64;
    match kind {
        EntryKind::Object => sealed_row(path, offset, "object", body, length),
        EntryKind::Mark => sealed_row(path, offset, "mark", body, length),
        EntryKind::Record => bare(path, offset, length, "key record", None),
    }
}

fn bare(
    path: &Path,
    offset: u64,
    length: u64,
    kind: &'static str,
    damage: Option<String>,
) -> SealedRow {
    SealedRow {
        file: path.to_owned(),
        offset,
        length,
        kind,
        size: None,
        parts: None,
        part_bytes: None,
        object_uid: None,
        record: None,
        second_record: None,
        layers: None,
        damage,
    }
}

fn sealed_row<R: ReadAt + ?Sized>(
    path: &Path,
    offset: u64,
    kind: &'static str,
    sealed: &R,
    length: u64,
) -> SealedRow {
    let mut row = bare(path, offset, length, kind, None);
    if let Err(error) = fill(&mut row, sealed, length) {
        let error = anyhow::Error::from(error);
        // With its causes, on one line.
        row.damage = Some(format!("{error:#}"));
    }
    row
}

fn fill<R: ReadAt + ?Sized>(row: &mut SealedRow, sealed: &R, length: u64) -> Result<(), SealError> {
    let inspected = Inspected::new(sealed, length, &Expected::unlisted())?;
    let header = inspected.header();
    row.object_uid = Some(header.uid.to_string());
    row.record = Some(header.record.to_string());
    row.second_record = header.second.map(|second| second.to_string());
    row.layers = Some(header.suite().layers());
    row.part_bytes = Some(header.part_size.bytes());
    let (size, parts) = inspected.size_and_parts()?;
    row.size = Some(size);
    row.parts = Some(parts);
    Ok(())
}

fn line(row: &SealedRow) -> String {
    let mut text = format!(
        "{}\n  kind         {}\n  rests at     {}, {} bytes",
        row.file.display(),
        row.kind,
        row.offset,
        row.length
    );
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            text.push_str(&format!("\n  {name:<11}  {value}"));
        }
    };
    add(
        "size",
        row.size
            .map(|size| format!("{size} bytes, as the footer says")),
    );
    add("parts", row.parts.map(|parts| parts.to_string()));
    add("part size", row.part_bytes.map(|bytes| bytes.to_string()));
    add("object uid", row.object_uid.clone());
    add("layers", row.layers.map(|layers| layers.to_string()));
    add("key record", row.record.clone());
    add("outer record", row.second_record.clone());
    add("damage", row.damage.clone());
    text
}

#[cfg(test)]
mod tests {
    use sealift_host::OsRng;
    use sealift_seal::{Header, Keys, Meta, ObjectSealer, RecordKey, pack};
    use sealift_terms::{
        BucketName, ObjectFacts, ObjectKey, ObjectUid, PartSize, RecordId, VersionId, VersionName,
    };

    use super::*;

    fn sealed(plaintext: &[u8]) -> Vec<u8> {
        sealed_in(false, plaintext)
    }

    fn sealed_in(in_two: bool, plaintext: &[u8]) -> Vec<u8> {
        let header = Header {
            part_size: PartSize::MIN,
            uid: ObjectUid::random(&OsRng),
            record: RecordId([7; 16]),
            second: in_two.then_some(RecordId([8; 16])),
        };
        let name = VersionName {
            bucket: BucketName::new("b").unwrap(),
            key: ObjectKey::new("k").unwrap(),
            version: VersionId::new("v").unwrap(),
        };
        let facts = ObjectFacts {
            size: plaintext.len() as u64,
            ..ObjectFacts::default()
        };
        let mut out = Vec::new();
        let (first, second) = (RecordKey::random(&OsRng), RecordKey::random(&OsRng));
        let keys = match in_two {
            false => Keys::one(&first),
            true => Keys::two(&first, &second),
        };
        ObjectSealer::new(keys, header)
            .unwrap()
            .seal_whole(&Meta::new(name, facts), plaintext, &OsRng, &mut out)
            .unwrap();
        out
    }

    #[test]
    fn a_sealed_object_shows_size_parts_and_record_without_a_key() {
        let bytes = sealed(&[1; 70_000]);
        let row = sealed_row(Path::new("f"), 0, "object", &bytes, bytes.len() as u64);
        assert_eq!(
            (row.size, row.parts, row.damage.as_ref()),
            (Some(70_000), Some(2), None)
        );
        assert_eq!(row.record.unwrap(), "07".repeat(16));
        assert_eq!((row.second_record, row.layers), (None, Some(1)));
        let bytes = sealed_in(true, &[1; 70_000]);
        let row = sealed_row(Path::new("f"), 0, "object", &bytes, bytes.len() as u64);
        assert_eq!((row.size, row.damage), (Some(70_000), None));
        assert_eq!(row.second_record.unwrap(), "08".repeat(16));
        assert_eq!(row.layers, Some(2));
    }

    #[test]
    fn a_cut_object_and_a_damaged_pack_entry_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let bytes = sealed(b"x");
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(file(true, &path).unwrap());
        std::fs::write(&path, &bytes).unwrap();
        assert!(!file(true, &path).unwrap());

        let mut packed = pack::PACK_HEADER.to_vec();
        for _ in 0..3 {
            pack::append_entry(&mut packed, pack::EntryKind::Object, |out| {
                out.extend(sealed(b"x"));
                Ok(())
            })
            .unwrap();
        }
        std::fs::write(&path, &packed).unwrap();
        assert!(!file(true, &path).unwrap());
        let middle = packed.len() / 2;
        packed[middle] ^= 1;
        std::fs::write(&path, &packed).unwrap();
        assert!(file(true, &path).unwrap());
    }
}
