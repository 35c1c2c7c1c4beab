//! Opening an object: first what can be checked without a key, then the rest.

use std::{io, ops::Range};

use sealift_terms::{ObjectUid, PartIndex, RecordIds, VersionName};

use crate::{
    cipher::ObjectCipher,
    error::{Damage, SealError},
    footer::{FOOTER_BYTES, Footer},
    header::{HEADER_BYTES, Header},
    key::Keys,
    layers::Commitments,
    layout::Layout,
    meta::Meta,
    part_reader::PartReader,
    range::RangeReader,
    read::ReadAt,
    suite::Suite,
    table::{Kept, Table},
};

/// An object of this length or less is read in one go when it is inspected.
const READ_WHOLE_BYTES_MAX: u64 = 64 * 1024;

/// What the catalog says an object is. What it does not say is not compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Which sealing.
    pub uid: Option<ObjectUid>,
    /// Under which key record of each layer.
    pub records: Option<RecordIds>,
    /// Of which version.
    pub name: Option<VersionName>,
}

impl Expected {
    /// What a catalog says of a version: everything is compared.
    #[must_use]
    pub const fn version(uid: ObjectUid, records: RecordIds, name: VersionName) -> Self {
        Self {
            uid: Some(uid),
            records: Some(records),
            name: Some(name),
        }
    }

    /// Nothing is known: only for rebuilding a catalog from the store, and for
    /// showing what a file is.
    #[must_use]
    pub const fn unlisted() -> Self {
        Self {
            uid: None,
            records: None,
            name: None,
        }
    }
}

/// An object whose header is well-formed and the one expected. Nothing of it is
/// authenticated; it says which key records are needed.
#[derive(Debug)]
pub struct Inspected<R> {
    source: Source<R>,
    stored_len: u64,
    bytes: [u8; HEADER_BYTES],
    header: Header,
    name: Option<VersionName>,
}

impl<R: ReadAt> Inspected<R> {
    /// Reads and checks the header of an object of `stored_len` bytes, without
    /// any key.
    ///
    /// # Errors
    /// [`SealError::Damaged`] or [`SealError::Unsupported`] for a header that is
    /// none, [`SealError::Substituted`] for another object's.
    pub fn new(reader: R, stored_len: u64, expected: &Expected) -> Result<Self, SealError> {
        let hold_len = |suite: Suite| match stored_len < suite.sealed_len_min() {
            true => Err(SealError::from(Damage::TooShort { len: stored_len })),
            false => Ok(()),
        };
        hold_len(Suite::One)?;
        let source = Source::new(reader, stored_len)?;
        let mut bytes = [0; HEADER_BYTES];
        source
            .read_exact_at(&mut bytes, 0)
            .map_err(SealError::Read)?;
        let header = Header::parse(&bytes)?;
        same("object uid", header.uid, expected.uid)?;
        hold_len(header.suite())?;
        same("key record", header.records(), expected.records)?;
        Ok(Self {
            source,
            stored_len,
            bytes,
            header,
            name: expected.name.clone(),
        })
    }

    /// What the header says.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes of plaintext and number of parts, as the footer implies them.
    ///
    /// # Errors
    /// [`SealError::Damaged`] for a footer that is none.
    pub fn size_and_parts(&self) -> Result<(u64, u32), SealError> {
        let footer = self.footer()?;
        let size = footer.size(Layout::of(&self.header))?;
        Ok((size, footer.parts))
    }

    /// Opens the object with the keys of its records: header tag, footer and META
    /// are checked, parts when they are read.
    ///
    /// # Errors
    /// [`SealError::WrongKey`], [`SealError::Damaged`], [`SealError::Misuse`] when there
    /// is not one key for each layer, or [`SealError::Substituted`] when META names
    /// another version.
    pub fn open<'k>(self, keys: impl Into<Keys<'k>>) -> Result<Opened<R>, SealError> {
        let cipher = ObjectCipher::authenticated(keys.into(), &self.header, self.bytes)?;
        let layout = Layout::of(&self.header);
        let footer = self.footer()?;
        let table = Table::open(&self.source, &cipher, &footer, layout)?;
        let meta = Meta::parse(table.json())?;
        if meta.size != footer.size(layout)? {
            return Err(Damage::Meta("size is not that of the parts").into());
        }
        if let Some(name) = &self.name {
            same("bucket", &meta.bucket, Some(&name.bucket))?;
            same("key", &meta.key, Some(&name.key))?;
            same("version", &meta.version, Some(&name.version))?;
        }
        Ok(Opened {
            source: self.source,
            header: self.header,
            cipher,
            layout,
            parts: footer.parts,
            table,
            meta,
        })
    }

    fn footer(&self) -> Result<Footer, SealError> {
        let mut bytes = [0; FOOTER_BYTES];
        let at = self.stored_len - FOOTER_BYTES as u64;
        self.source
            .read_exact_at(&mut bytes, at)
            .map_err(SealError::Read)?;
        Footer::parse(&bytes, self.stored_len, Layout::of(&self.header))
    }
}

/// Refuses a fact that is not the one expected.
fn same<T: PartialEq + ToString>(
    what: &'static str,
    found: T,
    expected: Option<T>,
) -> Result<(), SealError> {
    match expected {
        Some(expected) if expected != found => Err(SealError::Substituted {
            what,
            found: found.to_string(),
            expected: expected.to_string(),
        }),
        _ => Ok(()),
    }
}

/// An object whose header, footer and META are good. Its plaintext is opened as
/// it is read.
#[derive(Debug)]
pub struct Opened<R> {
    pub(crate) source: Source<R>,
    header: Header,
    cipher: ObjectCipher,
    layout: Layout,
    parts: u32,
    table: Table,
    meta: Meta,
}

impl<R: ReadAt> Opened<R> {
    /// What the header says.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// What META says.
    #[must_use]
    pub const fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Bytes of plaintext.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.meta.size
    }

    /// Where everything lies.
    #[must_use]
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// Number of parts.
    #[must_use]
    pub const fn parts(&self) -> u32 {
        self.parts
    }

    /// Begins to read a range; only its chunks are opened. A range that ends with
    /// the object includes the last chunk even when that is empty, so whoever
    /// reads all of an object checks all of its tags.
    ///
    /// # Errors
    /// [`SealError::OutOfRange`] when it is not within the object.
    pub fn range(&self, range: Range<u64>) -> Result<RangeReader<'_, R>, SealError> {
        RangeReader::new(self, range)
    }

    /// Reads a range and hands its plaintext to `sink` in runs, in order.
    ///
    /// # Errors
    /// As [`Self::range`]; [`SealError::Damaged`] when a tag is not good. What
    /// `sink` got before is authentic but not the whole answer.
    pub fn read_range(
        &self,
        range: Range<u64>,
        mut sink: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), SealError> {
        let mut reader = self.range(range)?;
        while let Some(run) = reader.next_run()? {
            sink(run).map_err(SealError::Sink)?;
        }
        Ok(())
    }

    /// Opens every chunk of every part and of META.
    ///
    /// # Errors
    /// The first thing found to be wrong.
    pub fn verify(&self) -> Result<(), SealError> {
        self.table.verify(&self.source)?;
        self.read_range(0..self.size(), |_| Ok(()))
    }

    /// Some chunks of one part, once its commitments are seen to be META's.
    pub(crate) fn part(
        &self,
        index: PartIndex,
        chunks: Range<u64>,
        kept: &mut Kept,
    ) -> Result<PartReader, SealError> {
        let plain = self.part_bytes(index)?;
        let commitments = self.commitments(index.0, kept)?;
        let offset = self.layout.part_offset(index);
        PartReader::open(
            &self.source,
            &self.cipher,
            (index, offset),
            plain,
            &commitments,
            chunks,
        )
    }

    /// What META says of a part.
    pub(crate) fn commitments(&self, part: u32, kept: &mut Kept) -> Result<Commitments, SealError> {
        self.table.commitments(&self.source, part, kept)
    }

    /// Bytes of plaintext in a part.
    pub(crate) fn part_bytes(&self, index: PartIndex) -> Result<u64, SealError> {
        self.layout
            .part_size()
            .part_bytes(self.size(), index)
            .map(u64::from)
            .ok_or(SealError::Misuse("no such part"))
    }
}

/// A reader, or all the bytes of a small object already read from it.
#[derive(Debug)]
pub(crate) struct Source<R> {
    reader: R,
    whole: Option<Vec<u8>>,
}

impl<R: ReadAt> Source<R> {
    fn new(reader: R, stored_len: u64) -> Result<Self, SealError> {
        let mut whole = None;
        if stored_len <= READ_WHOLE_BYTES_MAX {
            let mut bytes = vec![0; usize::try_from(stored_len).unwrap_or(0)];
            reader
                .read_exact_at(&mut bytes, 0)
                .map_err(SealError::Read)?;
            whole = Some(bytes);
        }
        Ok(Self { reader, whole })
    }
}

impl<R: ReadAt> ReadAt for Source<R> {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.whole {
            Some(whole) => whole.read_exact_at(bytes, offset),
            None => self.reader.read_exact_at(bytes, offset),
        }
    }
}
