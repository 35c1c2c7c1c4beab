//! Sealing one part: chunk by chunk, each where it lies.

use crate::{
    cobblestone::{CHUNK, Commitment, Message, PREFIX_BYTES, Salt, TAG_BYTES},
    error::SealError,
};

/// Seals the chunks of one part in order. Dropped half-way it leaves nothing that
/// opens; the next try has another salt.
#[derive(Debug)]
pub struct PartSealer {
    message: Message,
    prefix: [u8; PREFIX_BYTES],
    chunk: u64,
    left: u64,
    done: bool,
}

impl PartSealer {
    pub(crate) fn new(message: Message, salt: &Salt, plain_len: u32) -> Self {
        Self::of_message(message, salt, u64::from(plain_len))
    }

    fn of_message(message: Message, salt: &Salt, plain_len: u64) -> Self {
        let mut prefix = [0; PREFIX_BYTES];
        let bytes = salt.0.into_iter().chain(message.commitment().0);
        for (to, from) in prefix.iter_mut().zip(bytes) {
            *to = from;
        }
        Self {
            message,
            prefix,
            chunk: 0,
            left: plain_len,
            done: false,
        }
    }

    /// The bytes before the first chunk: salt and commitment.
    #[must_use]
    pub const fn prefix(&self) -> &[u8; PREFIX_BYTES] {
        &self.prefix
    }

    /// What the object's META says of this part.
    #[must_use]
    pub fn commitment(&self) -> Commitment {
        self.message.commitment()
    }

    /// Bytes of the chunk to be sealed next: 16 KiB, less for the last one, which
    /// may be empty; `None` after that.
    #[must_use]
    pub fn next_chunk_len(&self) -> Option<usize> {
        (!self.done).then(|| self.left.min(CHUNK) as usize)
    }

    /// Seals the next chunk where it lies and gives its tag, which is stored
    /// behind it.
    ///
    /// # Errors
    /// [`SealError::Misuse`] when `chunk` has not [`Self::next_chunk_len`] bytes.
    pub fn seal_chunk(&mut self, chunk: &mut [u8]) -> Result<[u8; TAG_BYTES], SealError> {
        if self.next_chunk_len() != Some(chunk.len()) {
            return Err(SealError::Misuse("not the length of the next chunk"));
        }
        let tag = self.message.seal(self.chunk, chunk)?;
        self.done = self.left < CHUNK;
        self.left = self.left.saturating_sub(CHUNK);
        self.chunk += 1;
        Ok(tag)
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

    pub(crate) fn of_message(message: Message, salt: &Salt, plain_len: u64, out: Vec<u8>) -> Self {
        Self::new(PartSealer::of_message(message, salt, plain_len), out)
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
    pub fn finish(mut self) -> Result<(Vec<u8>, Commitment), SealError> {
        self.seal()?;
        if !self.sealer.is_done() {
            return Err(SealError::Misuse("fewer bytes than the part has"));
        }
        Ok((self.out, self.sealer.commitment()))
    }

    fn seal(&mut self) -> Result<(), SealError> {
        let (_, chunk) = self.out.split_at_mut(self.open);
        let tag = self.sealer.seal_chunk(chunk)?;
        self.out.extend_from_slice(&tag);
        self.open = self.out.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sealift_terms::PartIndex;

    use super::*;
    use crate::tests::{salt, sealer};

    fn part(plain_len: u32) -> PartSealer {
        sealer().part(PartIndex(0), plain_len, salt(1)).unwrap()
    }

    #[test]
    fn any_cut_gives_the_same_bytes_as_sealing_in_place() {
        for len in [0_usize, 1, 16_383, 16_384, 16_385, 40_000, 65_536] {
            let plain: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let mut direct = part(len as u32);
            let mut expected = direct.prefix().to_vec();
            let mut rest = plain.clone();
            while let Some(next) = direct.next_chunk_len() {
                let mut chunk: Vec<u8> = rest.drain(..next).collect();
                let tag = direct.seal_chunk(&mut chunk).unwrap();
                expected.extend(chunk.into_iter().chain(tag));
            }
            for cut in [1_usize, 1000, 16_384, 65_536] {
                let mut buffer = PartBuffer::new(part(len as u32), Vec::new());
                let mut got = Vec::new();
                for piece in plain.chunks(cut) {
                    buffer.push(piece).unwrap();
                    got.extend_from_slice(buffer.sealed());
                    buffer.clear_sealed();
                }
                let (rest, commitment) = buffer.finish().unwrap();
                got.extend(rest);
                assert!(got == expected, "{len} bytes cut at {cut}");
                assert_eq!(commitment, direct.commitment());
            }
        }
    }

    #[test]
    fn too_many_and_too_few_bytes_are_refused() {
        for len in [0, 5, 16_384, 20_000] {
            let mut buffer = PartBuffer::new(part(len), Vec::new());
            assert!(buffer.push(&vec![0; len as usize + 1]).is_err(), "{len}");
            if len > 0 {
                let mut buffer = PartBuffer::new(part(len), Vec::new());
                buffer.push(&vec![0; len as usize - 1]).unwrap();
                assert!(buffer.finish().is_err(), "{len}");
            }
        }
        let mut sealer = part(16_385);
        assert!(sealer.seal_chunk(&mut [0; 16_383]).is_err());
    }

    #[test]
    fn a_part_the_format_has_not_is_refused() {
        let sealer = sealer();
        assert!(sealer.part(PartIndex(1 << 20), 0, salt(1)).is_err());
        assert!(sealer.part(PartIndex(0), 65_537, salt(1)).is_err());
    }
}
