//! Opening the chunks of one part, many to a read.

use std::ops::Range;

use sealift_terms::PartIndex;

use crate::{
    cipher::ObjectCipher,
    cobblestone::{CHUNK, Commitment, Message, PREFIX, PREFIX_BYTES, Salt, TAG},
    error::{Damage, SealError},
    fields::Fields,
    read::ReadAt,
};

/// Chunks to a read: half a mebibyte makes reads few and stays in a core's cache.
const RUN_CHUNKS: u64 = 32;

/// Some chunks of one part whose commitment was good, opened in order.
#[derive(Debug)]
pub(crate) struct PartReader {
    index: PartIndex,
    message: Message,
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
        expected: &Commitment,
        chunks: Range<u64>,
    ) -> Result<Self, SealError> {
        let (index, offset) = place;
        let mut prefix = [0; PREFIX_BYTES];
        reader
            .read_exact_at(&mut prefix, offset)
            .map_err(SealError::Read)?;
        let another = || SealError::from(Damage::Commitment { part: index.0 });
        let (salt, stored) = split_prefix(&prefix).ok_or_else(another)?;
        let message = cipher.part(index, &salt)?;
        if !stored.matches(expected) || !message.commitment().matches(expected) {
            return Err(another());
        }
        Ok(Self {
            index,
            message,
            body: offset + PREFIX,
            body_len: plain + (plain / CHUNK + 1) * TAG,
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
        let from = first * (CHUNK + TAG);
        let to = (from + count * (CHUNK + TAG)).min(self.body_len);
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

/// The salt and commitment of a prefix.
pub(crate) fn split_prefix(prefix: &[u8; PREFIX_BYTES]) -> Option<(Salt, Commitment)> {
    let mut fields = Fields(prefix);
    Some((Salt(fields.bytes()?), Commitment(fields.bytes()?)))
}

/// Opens the chunks that lie in `bytes`, the first being chunk `first` of its
/// message, and moves their plaintext to the front. Gives its length, or the
/// index of the chunk whose tag was not good.
pub(crate) fn open_run(message: &Message, first: u64, bytes: &mut [u8]) -> Result<usize, u64> {
    const SEALED: usize = (CHUNK + TAG) as usize;
    let (mut opened, mut at, mut chunk) = (0, 0, first);
    while at < bytes.len() {
        let end = (at + SEALED).min(bytes.len());
        let window = bytes.get_mut(opened..end).ok_or(chunk)?;
        opened += message.open(chunk, window, at - opened..).ok_or(chunk)?;
        at = end;
        chunk += 1;
    }
    Ok(opened)
}
