//! Sealing a stream of parts, chunk by chunk, and opening what was written.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
};

use crc_fast::{CrcAlgorithm, Digest};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::{CHECKSUM_BYTES, CHUNK_BYTES, HEADER_BYTES, Part, TAG_BYTES, broken, sealed_offset};

const EMPTY: Part = Part {
    file: 0,
    offset: 0,
    bytes: 0,
};

/// What the next bytes of the stream are.
enum Awaited {
    Header,
    Bytes,
    Checksum,
}

pub(super) struct Sealer<'a> {
    outputs: &'a [File],
    key: LessSafeKey,
    awaited: Awaited,
    /// A header or a checksum that is not whole yet.
    field: Vec<u8>,
    part: Part,
    taken: u64,
    checksum: Digest,
    sealed: Vec<u8>,
    /// Plain bytes at the end of `sealed`.
    chunk: usize,
    written_at: u64,
}

impl<'a> Sealer<'a> {
    pub(super) fn new(outputs: &'a [File], write_bytes: usize) -> Self {
        Self {
            outputs,
            key: key(),
            awaited: Awaited::Header,
            field: Vec::with_capacity(HEADER_BYTES),
            part: EMPTY,
            taken: 0,
            checksum: Digest::new(CrcAlgorithm::Crc64Nvme),
            sealed: Vec::with_capacity(write_bytes / CHUNK_BYTES * (CHUNK_BYTES + TAG_BYTES)),
            chunk: 0,
            written_at: 0,
        }
    }

    pub(super) fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            bytes = match self.awaited {
                Awaited::Header => self.begin(bytes),
                Awaited::Bytes => self.seal(bytes)?,
                Awaited::Checksum => self.end(bytes)?,
            };
        }
        Ok(())
    }

    /// The stream has ended, between two parts.
    pub(super) fn finish(&self) -> io::Result<()> {
        let between = matches!(self.awaited, Awaited::Header) && self.field.is_empty();
        between.then_some(()).ok_or_else(|| broken("stream"))
    }

    fn field<'b>(&mut self, bytes: &'b [u8], whole: usize) -> &'b [u8] {
        let (now, rest) = bytes.split_at((whole - self.field.len()).min(bytes.len()));
        self.field.extend_from_slice(now);
        rest
    }

    fn begin<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let rest = self.field(bytes, HEADER_BYTES);
        if self.field.len() == HEADER_BYTES {
            let number = |at: usize| {
                u64::from_be_bytes(self.field[at..at + 8].try_into().expect("eight bytes"))
            };
            self.part = Part {
                file: number(0) as usize,
                offset: number(8),
                bytes: number(16),
            };
            self.field.clear();
            self.written_at = sealed_offset(self.part.offset);
            self.taken = 0;
            self.checksum = Digest::new(CrcAlgorithm::Crc64Nvme);
            self.awaited = Awaited::Bytes;
        }
        rest
    }

    fn seal<'b>(&mut self, bytes: &'b [u8]) -> io::Result<&'b [u8]> {
        let left = (self.part.bytes - self.taken) as usize;
        let room = (CHUNK_BYTES - self.chunk).min(left).min(bytes.len());
        let (now, rest) = bytes.split_at(room);
        self.checksum.update(now);
        self.sealed.extend_from_slice(now);
        self.chunk += room;
        self.taken += room as u64;
        let is_last = self.taken == self.part.bytes;
        if self.chunk == CHUNK_BYTES || is_last {
            self.seal_chunk();
            if is_last || self.sealed.len() == self.sealed.capacity() {
                self.flush()?;
            }
        }
        if is_last {
            self.awaited = Awaited::Checksum;
        }
        Ok(rest)
    }

    fn end<'b>(&mut self, bytes: &'b [u8]) -> io::Result<&'b [u8]> {
        let rest = self.field(bytes, CHECKSUM_BYTES);
        if self.field.len() == CHECKSUM_BYTES {
            if self.field != self.checksum.finalize().to_be_bytes() {
                return Err(broken("checksum"));
            }
            self.field.clear();
            self.awaited = Awaited::Header;
        }
        Ok(rest)
    }

    fn seal_chunk(&mut self) {
        let start = self.sealed.len() - self.chunk;
        let at = self.part.offset + self.taken - self.chunk as u64;
        let nonce = nonce(self.part.file, at / CHUNK_BYTES as u64);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::empty(), &mut self.sealed[start..])
            .expect("a chunk is short");
        self.sealed.extend_from_slice(tag.as_ref());
        self.chunk = 0;
    }

    fn flush(&mut self) -> io::Result<()> {
        self.outputs[self.part.file].write_all_at(&self.sealed, self.written_at)?;
        self.written_at += self.sealed.len() as u64;
        self.sealed.clear();
        Ok(())
    }
}

/// Opens the sealed output of file number `file` and hands its plain bytes on in order.
pub fn open(
    file: usize,
    mut sealed: impl Read,
    mut chunk: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let key = key();
    let mut buffer = Vec::with_capacity(CHUNK_BYTES + TAG_BYTES);
    for index in 0.. {
        buffer.clear();
        let whole = (CHUNK_BYTES + TAG_BYTES) as u64;
        if sealed.by_ref().take(whole).read_to_end(&mut buffer)? == 0 {
            break;
        }
        let plain = key
            .open_in_place(nonce(file, index), Aad::empty(), &mut buffer)
            .map_err(|_| broken("opening"))?;
        chunk(plain)?;
    }
    Ok(())
}

fn key() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("a key of 32 bytes"))
}

/// One for every chunk of every file.
fn nonce(file: usize, chunk: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&(file as u32).to_be_bytes());
    nonce[4..].copy_from_slice(&chunk.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}
