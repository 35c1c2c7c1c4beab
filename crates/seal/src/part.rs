//! Sealing one part: chunk by chunk, each where it lies.

use crate::{
    cobblestone::CHUNK,
    error::SealError,
    layers::{Commitments, Layers, Prefix, Salts},
};

/// Seals the chunks of one part in order. Dropped half-way it leaves nothing that
/// opens; the next try has other salts.
#[derive(Debug)]
pub struct PartSealer {
    message: Layers,
    prefix: Prefix,
    chunk: u64,
    left: u64,
    done: bool,
}

impl PartSealer {
    pub(crate) fn new(message: Layers, salts: &Salts, plain_len: u64) -> Self {
        Self {
            prefix: message.prefix(salts),
            message,
            chunk: 0,
            left: plain_len,
            done: false,
        }
    }

    /// The bytes before the first chunk: salt and commitment of each layer.
    #[must_use]
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// What the object's META says of this part.
    #[must_use]
    pub fn commitments(&self) -> Commitments {
        self.message.commitments()
    }

    /// Bytes of the chunk to be sealed next: 16 KiB, less for the last one, which
    /// may be empty; `None` after that.
    #[must_use]
    pub fn next_chunk_len(&self) -> Option<usize> {
        (!self.done).then(|| self.left.min(CHUNK) as usize)
    }

    /// Seals the next chunk, which is `out[from..]`, where it lies, and appends its tags.
    ///
    /// # Errors
    /// [`SealError::Misuse`] when that has not [`Self::next_chunk_len`] bytes.
    pub fn seal_chunk(&mut self, out: &mut Vec<u8>, from: usize) -> Result<(), SealError> {
        if self.next_chunk_len() != out.len().checked_sub(from) {
            return Err(SealError::Misuse("not the length of the next chunk"));
        }
        self.message.seal(self.chunk, out, from)?;
        self.done = self.left < CHUNK;
        self.left = self.left.saturating_sub(CHUNK);
        self.chunk += 1;
        Ok(())
    }

    /// Whether the last chunk is sealed.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.done
    }
}

/// Seals one part from bytes that come in any cut, behind what a buffer already
/// holds. Bytes are copied once and sealed where they then lie.
#[derive(Debug)]
pub struct PartBuffer {
    sealer: PartSealer,
    out: Vec<u8>,
    /// Where in `out` the chunk that is being filled begins.
    open: usize,
}

impl PartBuffer {
    /// Appends the part's prefix to `out` and takes it over.
    #[must_use]
    pub fn new(sealer: PartSealer, mut out: Vec<u8>) -> Self {
        out.extend_from_slice(sealer.prefix());
        let open = out.len();
        Self { sealer, out, open }
    }

    /// Takes the next bytes of plaintext.
    ///
    /// # Errors
    /// [`SealError::Misuse`] for bytes beyond the part's length.
    pub fn push(&mut self, mut plain: &[u8]) -> Result<(), SealError> {
        while !plain.is_empty() {
            let Some(wanted) = self.sealer.next_chunk_len() else {
                return Err(SealError::Misuse("more bytes than the part has"));
            };
            let room = wanted.saturating_sub(self.out.len() - self.open);
            if room == 0 {
                return Err(SealError::Misuse("more bytes than the part has"));
            }
            let (now, later) = plain.split_at(room.min(plain.len()));
            self.out.extend_from_slice(now);
            plain = later;
            // The last chunk is sealed in `finish`, so that an excess is seen.
            if now.len() == room && wanted as u64 == CHUNK {
                self.seal()?;
            }
        }
        Ok(())
    }

    /// The bytes that are sealed and may be written, what the buffer held before
    /// included.
    #[must_use]
    pub fn sealed(&self) -> &[u8] {
        self.out.get(..self.open).unwrap_or_default()
    }

    /// Forgets the sealed bytes, once they are written.
    pub fn clear_sealed(&mut self) {
        self.out.drain(..self.open);
        self.open = 0;
    }

    /// Seals the last chunk and gives the buffer back.
    ///
    /// # Errors
    /// [`SealError::Misuse`] when bytes are missing.
    pub fn finish(mut self) -> Result<(Vec<u8>, Commitments), SealError> {
        self.seal()?;
        if !self.sealer.is_done() {
            return Err(SealError::Misuse("fewer bytes than the part has"));
        }
        Ok((self.out, self.sealer.commitments()))
    }

    fn seal(&mut self) -> Result<(), SealError> {
        self.sealer.seal_chunk(&mut self.out, self.open)?;
        self.open = self.out.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sealift_terms::PartIndex;

    use super::*;
    use crate::tests::{salts, sealers};

    /// A part in one layer, and one in two.
    fn parts(plain_len: u32) -> impl Iterator<Item = PartSealer> {
        let part = move |sealer: crate::ObjectSealer| {
            let salts = salts(sealer.suite(), 1);
            sealer.part(PartIndex(0), plain_len, salts).unwrap()
        };
        sealers().into_iter().map(part)
    }

    #[test]
    fn any_cut_gives_the_same_bytes_as_sealing_chunk_by_chunk() {
        for len in [0_usize, 1, 16_383, 16_384, 16_385, 40_000, 65_536] {
            let plain: Vec<u8> = (0..len).map(|i| i as u8).collect();
            for (layers, mut direct) in parts(len as u32).enumerate() {
                let mut expected = direct.prefix().to_vec();
                let mut rest = plain.as_slice();
                while let Some(next) = direct.next_chunk_len() {
                    let (chunk, later) = rest.split_at(next);
                    let from = expected.len();
                    expected.extend_from_slice(chunk);
                    direct.seal_chunk(&mut expected, from).unwrap();
                    rest = later;
                }
                for cut in [1_usize, 1000, 16_384, 65_536] {
                    let sealer = parts(len as u32).nth(layers).unwrap();
                    let mut buffer = PartBuffer::new(sealer, Vec::new());
                    let mut got = Vec::new();
                    for piece in plain.chunks(cut) {
                        buffer.push(piece).unwrap();
                        got.extend_from_slice(buffer.sealed());
                        buffer.clear_sealed();
                    }
                    let (rest, commitments) = buffer.finish().unwrap();
                    got.extend(rest);
                    assert!(got == expected, "{len} bytes cut at {cut}");
                    assert_eq!(commitments, direct.commitments());
                }
            }
        }
    }

    #[test]
    fn too_many_and_too_few_bytes_are_refused() {
        for len in [0, 5, 16_384, 20_000] {
            for sealer in parts(len) {
                let mut buffer = PartBuffer::new(sealer, Vec::new());
                assert!(buffer.push(&vec![0; len as usize + 1]).is_err(), "{len}");
            }
            for sealer in parts(len).filter(|_| len > 0) {
                let mut buffer = PartBuffer::new(sealer, Vec::new());
                buffer.push(&vec![0; len as usize - 1]).unwrap();
                assert!(buffer.finish().is_err(), "{len}");
            }
        }
        for mut sealer in parts(16_385) {
            assert!(sealer.seal_chunk(&mut vec![0; 16_383], 0).is_err());
            assert!(sealer.seal_chunk(&mut vec![0; 16_384], 16_385).is_err());
        }
    }

    #[test]
    fn a_part_the_format_has_not_is_refused() {
        for sealer in sealers() {
            let salts = salts(sealer.suite(), 1);
            assert!(sealer.part(PartIndex(1 << 20), 0, salts).is_err());
            assert!(sealer.part(PartIndex(0), 65_537, salts).is_err());
        }
    }
}
