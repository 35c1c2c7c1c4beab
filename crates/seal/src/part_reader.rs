//! Opening the chunks of one part, many to a read.

use std::ops::Range;

use sealift_terms::PartIndex;

use crate::{
    cipher::ObjectCipher,
    error::{Damage, SealError},
    layers::{Commitments, Layers, PREFIX_BYTES_MAX, Prefix, Salts},
    read::ReadAt,
    suite::Suite,
};

/// Chunks to a read: half a mebibyte makes reads few and stays in a core's cache.
const RUN_CHUNKS: u64 = 32;

/// Some chunks of one part whose commitment was good, opened in order.
#[derive(Debug)]
pub(crate) struct PartReader {
    index: PartIndex,
    message: Layers,
    /// Where the first chunk begins in the object.
    body: u64,
    /// Bytes of the sealed chunks, tags included.
    body_len: u64,
    chunks: Range<u64>,
}

impl PartReader {
    /// Reads the prefix of the part at `place` and holds it against the
    /// commitment expected.
    pub(crate) fn open(
        reader: &dyn ReadAt,
        cipher: &ObjectCipher,
        place: (PartIndex, u64),
        plain: u64,
        expected: &Commitments,
        chunks: Range<u64>,
    ) -> Result<Self, SealError> {
        let (index, offset) = place;
        let suite = cipher.suite();
        let another = || SealError::from(Damage::Commitment { part: index.0 });
        let (salts, stored) = read_prefix(reader, suite, offset)?.ok_or_else(another)?;
        let message = cipher.part(index, &salts)?;
        if !stored.matches(expected) || !message.commitments().matches(expected) {
            return Err(another());
        }
        Ok(Self {
            index,
            message,
            body: offset + suite.prefix(),
            body_len: suite.body_len(plain),
            chunks,
        })
    }

    /// Opens the next run of chunks into `buffer`: their plaintext, contiguous.
    pub(crate) fn next_run<'b>(
        &mut self,
        reader: &dyn ReadAt,
        buffer: &'b mut Vec<u8>,
    ) -> Result<Option<&'b [u8]>, SealError> {
        let first = self.chunks.start;
        let count = (self.chunks.end - first).min(RUN_CHUNKS);
        if count == 0 {
            return Ok(None);
        }
        self.chunks.start += count;
        let sealed = self.message.suite().sealed_chunk();
        let from = first * sealed;
        let to = (from + count * sealed).min(self.body_len);
        let len = usize::try_from(to.saturating_sub(from)).map_err(|_| SealError::Cipher)?;
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        let bytes = buffer.get_mut(..len).ok_or(SealError::Cipher)?;
        reader
            .read_exact_at(bytes, self.body + from)
            .map_err(SealError::Read)?;
        let plain = open_run(&self.message, first, bytes).map_err(|chunk| Damage::Chunk {
            part: self.index.0,
            chunk,
        })?;
        Ok(buffer.get(..plain))
    }
}

/// The salts and commitments of the message that begins at `offset`.
pub(crate) fn read_prefix(
    reader: &dyn ReadAt,
    suite: Suite,
    offset: u64,
) -> Result<Option<(Salts, Commitments)>, SealError> {
    let mut bytes = [0; PREFIX_BYTES_MAX];
    let len = usize::try_from(suite.prefix()).map_err(|_| SealError::Cipher)?;
    let prefix = bytes.get_mut(..len).ok_or(SealError::Cipher)?;
    reader
        .read_exact_at(prefix, offset)
        .map_err(SealError::Read)?;
    Ok(Prefix::read(suite, prefix))
}

/// Opens the chunks that lie in `bytes`, the first being chunk `first` of its
/// message, and moves their plaintext to the front. Gives its length, or the
/// index of the chunk whose tag was not good.
pub(crate) fn open_run(message: &Layers, first: u64, bytes: &mut [u8]) -> Result<usize, u64> {
    let sealed = usize::try_from(message.suite().sealed_chunk()).map_err(|_| first)?;
    let (mut opened, mut at, mut chunk) = (0, 0, first);
    while at < bytes.len() {
        let end = (at + sealed).min(bytes.len());
        let window = bytes.get_mut(opened..end).ok_or(chunk)?;
        opened += message.open(chunk, window, at - opened).ok_or(chunk)?;
        at = end;
        chunk += 1;
    }
    Ok(opened)
}
