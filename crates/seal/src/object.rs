//! Sealing an object: its header, its parts in any order, and META at the end.

use std::io;

use sealift_terms::{PartIndex, Rng, limits};

use crate::{
    cipher::ObjectCipher,
    error::SealError,
    footer::Footer,
    header::{HEADER_BYTES, Header},
    key::Keys,
    layers::{Commitments, Salts},
    layout::Layout,
    meta::Meta,
    part::{PartBuffer, PartSealer},
    part_reader::PartReader,
    read::ReadAt,
    suite::Suite,
};

/// Seals one object. Cheap to share between threads that seal its parts.
#[derive(Debug, Clone)]
pub struct ObjectSealer {
    cipher: ObjectCipher,
    layout: Layout,
}

impl ObjectSealer {
    /// Derives the object's keys. The same arguments give the same header, so an
    /// object that was begun before a restart goes on with a sealer like this one.
    ///
    /// # Errors
    /// [`SealError::Misuse`] when there is not one key for each record that the header
    /// names, or both are the same record.
    pub fn new<'k>(keys: impl Into<Keys<'k>>, header: Header) -> Result<Self, SealError> {
        Ok(Self {
            cipher: ObjectCipher::new(keys.into(), &header)?,
            layout: Layout::of(&header),
        })
    }

    /// How it seals.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.layout.suite()
    }

    /// Draws the salts of one try at one message.
    #[must_use]
    pub fn salts(&self, rng: &dyn Rng) -> Salts {
        Salts::random(self.suite(), rng)
    }

    /// The bytes at offset 0.
    #[must_use]
    pub const fn header_bytes(&self) -> &[u8; HEADER_BYTES] {
        self.cipher.header()
    }

    /// Where everything goes.
    #[must_use]
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// Begins a part of `plain_len` bytes. A second try takes new salts.
    ///
    /// # Errors
    /// [`SealError::Misuse`] for an index or a length that the format has not, and for
    /// salts of another number of layers.
    pub fn part(
        &self,
        index: PartIndex,
        plain_len: u32,
        salts: impl Into<Salts>,
    ) -> Result<PartSealer, SealError> {
        self.hold_part(index, plain_len)?;
        let salts = salts.into();
        let message = self.cipher.part(index, &salts)?;
        Ok(PartSealer::new(message, &salts, plain_len.into()))
    }

    /// META and FOOTER, the bytes behind the last part.
    ///
    /// # Errors
    /// [`SealError::Misuse`] when there are not the commitments of every part of
    /// `meta.size` bytes, [`SealError::Meta`] when the metadata is too large.
    pub fn meta(
        &self,
        salts: impl Into<Salts>,
        meta: &Meta,
        commitments: &[Commitments],
    ) -> Result<Vec<u8>, SealError> {
        let mut out = Vec::new();
        self.append_meta(salts.into(), meta, commitments, &mut out)?;
        Ok(out)
    }

    /// Seals a whole object that is in memory and appends it to `out`.
    ///
    /// # Errors
    /// As [`Self::meta`], and [`SealError::Misuse`] when `meta.size` is not the
    /// length of `plaintext`.
    pub fn seal_whole(
        &self,
        meta: &Meta,
        plaintext: &[u8],
        rng: &dyn Rng,
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        if meta.size != plaintext.len() as u64 {
            return Err(SealError::Misuse("the size in META is not the object's"));
        }
        let part_bytes = self.layout.part_size().bytes() as usize;
        let sealed = self.layout.sealed_len(meta.size, 1024).unwrap_or(0);
        out.reserve(usize::try_from(sealed).unwrap_or(0));
        out.extend_from_slice(self.header_bytes());
        let mut commitments = Vec::with_capacity(plaintext.len() / part_bytes + 1);
        // An object that fills its last part is followed by an empty one.
        let empty: &[u8] = &[];
        let tail = plaintext.len().is_multiple_of(part_bytes).then_some(empty);
        for (part, index) in plaintext.chunks(part_bytes).chain(tail).zip(0..) {
            let len = u32::try_from(part.len()).map_err(|_| SealError::Misuse("part too long"))?;
            let sealer = self.part(PartIndex(index), len, self.salts(rng))?;
            let mut buffer = PartBuffer::new(sealer, std::mem::take(out));
            buffer.push(part)?;
            let (bytes, of_part) = buffer.finish()?;
            *out = bytes;
            commitments.push(of_part);
        }
        self.append_meta(self.salts(rng), meta, &commitments, out)
    }

    /// Opens one part of an unfinished object, whose commitments were recorded when
    /// the part was sealed, and hands its plaintext to `sink` in runs, in order.
    ///
    /// # Errors
    /// [`SealError::Damaged`] when the part is not, whole, the one recorded.
    pub fn open_part(
        &self,
        reader: &dyn ReadAt,
        index: PartIndex,
        plain_len: u32,
        commitments: &Commitments,
        mut sink: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), SealError> {
        self.hold_part(index, plain_len)?;
        let plain = u64::from(plain_len);
        let chunks = 0..Layout::chunks_of(plain);
        let offset = self.layout.part_offset(index);
        let mut part = PartReader::open(
            reader,
            &self.cipher,
            (index, offset),
            plain,
            commitments,
            chunks,
        )?;
        let mut buffer = Vec::new();
        while let Some(run) = part.next_run(reader, &mut buffer)? {
            sink(run).map_err(SealError::Sink)?;
        }
        Ok(())
    }

    fn hold_part(&self, index: PartIndex, plain_len: u32) -> Result<(), SealError> {
        if index.0 >= limits::PARTS_MAX {
            return Err(SealError::Misuse("more than 2^20 parts"));
        }
        if plain_len > self.layout.part_size().bytes() {
            return Err(SealError::Misuse("a part longer than the part size"));
        }
        Ok(())
    }

    fn append_meta(
        &self,
        salts: Salts,
        meta: &Meta,
        commitments: &[Commitments],
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let parts = u32::try_from(commitments.len()).unwrap_or(u32::MAX);
        if self.layout.part_size().parts_of(meta.size) != Some(parts) {
            return Err(SealError::Misuse("not the commitments of every part"));
        }
        if commitments.iter().any(|of| of.suite() != self.suite()) {
            return Err(SealError::Misuse("not one commitment for each layer"));
        }
        let json = meta.encode()?;
        let json_len = (json.len() as u32).to_be_bytes();
        let lens = (
            self.layout.meta_offset(meta.size),
            self.layout.meta_len(meta.size, json.len()),
        );
        let (Some(meta_offset), Some(meta_len)) = lens else {
            return Err(SealError::Misuse("more than 2^20 parts"));
        };
        let message = self.cipher.meta(parts, &salts)?;
        let plain = json.len() as u64 + 4 + self.suite().entry() * u64::from(parts);
        let sealer = PartSealer::new(message, &salts, plain);
        let mut buffer = PartBuffer::new(sealer, std::mem::take(out));
        buffer.push(&json_len)?;
        buffer.push(&json)?;
        for piece in commitments.iter().flat_map(Commitments::pieces) {
            buffer.push(piece)?;
        }
        (*out, _) = buffer.finish()?;
        let footer = Footer {
            meta_offset,
            meta_len,
            parts,
        };
        out.extend_from_slice(&footer.encode());
        Ok(())
    }
}
