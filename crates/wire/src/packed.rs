//! Bytes of a part that travel compressed.
//!
//! A PACKED frame stands where a DATA frame could stand. Its payload is the length of the
//! bytes in it (4 bytes, big-endian) and one zstd frame of exactly these. Every frame is by
//! itself: nothing of another object, nor of the bytes before, is in how it is compressed.

use sealift_terms::limits::FRAME_BYTES_MAX;
use zstd::bulk::{Compressor, Decompressor};

use crate::{
    error::{FrameFault, WireError},
    header::{FrameType, Header},
};

/// In a HELLO's `decompresses`: its author takes PACKED frames.
pub const DECOMPRESSES_ZSTD: u8 = 1;

/// The length in front.
const LENGTH_BYTES: usize = 4;
/// The fastest of zstd's usual levels: the rest is not worth its time on the way.
const LEVEL: i32 = 1;
/// What does not come down to this part of its length is sent as it is.
const WORTH: (usize, usize) = (7, 8);

/// Compresses.
pub struct Packer(Compressor<'static>);

impl Packer {
    /// None when there is no memory for it.
    #[must_use]
    pub fn new() -> Option<Self> {
        Compressor::new(LEVEL).ok().map(Self)
    }

    /// Makes `out` the payload of a PACKED frame. False, and `out` of no use, when that
    /// would save less than an eighth.
    pub fn pack(&mut self, plain: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(length) = u32::try_from(plain.len())
            .ok()
            .filter(|l| *l <= FRAME_BYTES_MAX)
        else {
            return false;
        };
        out.clear();
        out.extend_from_slice(&length.to_be_bytes());
        out.resize(plain.len() / WORTH.1 * WORTH.0, 0);
        let Some(room) = out.get_mut(LENGTH_BYTES..) else {
            return false;
        };
        match self.0.compress_to_buffer(plain, room) {
            Ok(count) => {
                out.truncate(LENGTH_BYTES + count);
                true
            }
            Err(_) => false,
        }
    }
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Packer")
    }
}

/// How many bytes a PACKED frame says that it holds: 1 to a mebibyte.
///
/// # Errors
/// [`WireError`]: the peer's fault.
pub fn announced(payload: &[u8]) -> Result<u32, WireError> {
    let length = payload.first_chunk().copied().map_or(0, u32::from_be_bytes);
    match (1..=FRAME_BYTES_MAX).contains(&length) {
        true => Ok(length),
        false => Err(bad("a length that no frame has")),
    }
}

/// Decompresses.
pub struct Unpacker(Decompressor<'static>);

impl Unpacker {
    /// None when there is no memory for it.
    #[must_use]
    pub fn new() -> Option<Self> {
        Decompressor::new().ok().map(Self)
    }

    /// Makes `out` the bytes that a PACKED frame holds. It never becomes longer than
    /// [announced], whatever is in the frame.
    ///
    /// # Errors
    /// [`WireError`]: the peer's fault; it is no zstd frame, or one of another length.
    pub fn unpack(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
        let length = announced(payload)? as usize;
        let packed = payload.get(LENGTH_BYTES..).unwrap_or_default();
        out.clear();
        out.resize(length, 0);
        // Into a slice: there is no more room than what was announced.
        match self.0.decompress_to_buffer(packed, out.as_mut_slice()) {
            Ok(count) if count == length => Ok(()),
            Ok(_) => Err(bad("fewer bytes than it says")),
            Err(_) => Err(bad("no zstd frame, or more bytes than it says")),
        }
    }
}

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unpacker")
    }
}

impl Header {
    /// The header of the DATA frame that a PACKED frame of `length` bytes stands for.
    #[must_use]
    pub fn unpacked(&self, length: u32) -> Self {
        Self {
            frame: FrameType::Data,
            length,
            ..*self
        }
    }

    /// The header of the PACKED frame with a payload of `length` bytes that stands for
    /// this DATA frame.
    #[must_use]
    pub fn packed(&self, length: u32) -> Self {
        Self {
            frame: FrameType::Packed,
            length,
            ..*self
        }
    }
}

fn bad(what: &'static str) -> WireError {
    WireError::bad(FrameType::Packed, FrameFault::Inconsistent { what })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(Packer::new().unwrap().pack(plain, &mut out));
        out
    }

    fn unpacked(payload: &[u8]) -> Result<Vec<u8>, WireError> {
        let mut out = Vec::new();
        Unpacker::new().unwrap().unpack(payload, &mut out)?;
        Ok(out)
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut word = 0x9e37_79b9_7f4a_7c15_u64;
        let next = || {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            word as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    #[test]
    fn what_is_packed_comes_out_again_and_is_shorter() {
        for length in [64, 4096, 100_000, FRAME_BYTES_MAX as usize] {
            let plain: Vec<u8> = b"one line of a log; "
                .iter()
                .copied()
                .cycle()
                .take(length)
                .collect();
            let payload = packed(&plain);
            assert!(payload.len() < length * 7 / 8);
            assert_eq!(announced(&payload).unwrap() as usize, length);
            assert_eq!(unpacked(&payload).unwrap(), plain);
        }
    }

    #[test]
    fn what_does_not_get_shorter_is_not_packed() {
        let mut packer = Packer::new().unwrap();
        let mut out = Vec::new();
        for length in [0, 1, 5, 100, 100_000] {
            assert!(!packer.pack(&noise(length), &mut out), "{length}");
        }
        assert!(!packer.pack(&vec![0; FRAME_BYTES_MAX as usize + 1], &mut out));
    }

    #[test]
    fn frames_know_nothing_of_each_other() {
        let mut packer = Packer::new().unwrap();
        let (one, other) = (noise(20_000), [7; 20_000]);
        let mut twice = one.clone();
        twice.extend_from_slice(&one);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        assert!(packer.pack(&twice, &mut first));
        assert!(packer.pack(&other, &mut second));
        // It would be shorter, had it seen the same bytes before.
        assert!(packer.pack(&twice, &mut second));
        assert_eq!(first, second);
    }

    #[test]
    fn a_bomb_is_refused_and_takes_no_more_than_it_announced() {
        let mut bomb = packed(&vec![0; FRAME_BYTES_MAX as usize]);
        assert!(bomb.len() < 200);
        for announced in [1_u32, 16 * 1024, FRAME_BYTES_MAX - 1] {
            bomb[..LENGTH_BYTES].copy_from_slice(&announced.to_be_bytes());
            let mut out = Vec::new();
            let error = Unpacker::new().unwrap().unpack(&bomb, &mut out);
            let error = error.unwrap_err();
            assert!(
                error.to_string().contains("more bytes than it says"),
                "{error}"
            );
            assert_eq!(error.reason(), sealift_terms::Reason::PeerProtocolMismatch);
            assert!(out.capacity() <= announced.max(8) as usize * 2);
        }
    }

    #[test]
    fn what_is_no_zstd_or_has_another_length_is_refused() {
        let good = packed(&[7; 1000]);
        let with = |length: u32| [&length.to_be_bytes(), &good[LENGTH_BYTES..]].concat();
        for (payload, what) in [
            (Vec::new(), "a length that no frame has"),
            (vec![0, 0, 1], "a length that no frame has"),
            (with(0), "a length that no frame has"),
            (with(FRAME_BYTES_MAX + 1), "a length that no frame has"),
            (with(1001), "fewer bytes than it says"),
            (with(999), "more bytes than it says"),
            (vec![0, 0, 0, 9], "fewer bytes than it says"),
            (b"\0\0\0\x09not zstd".to_vec(), "no zstd frame"),
            (good[..good.len() - 1].to_vec(), "no zstd frame"),
        ] {
            let error = unpacked(&payload).unwrap_err().to_string();
            assert!(error.contains(what), "{payload:02x?}: {error}");
        }
        // Two frames behind each other are as long as both.
        let twice = [
            &2000_u32.to_be_bytes(),
            &good[LENGTH_BYTES..],
            &good[LENGTH_BYTES..],
        ];
        assert_eq!(unpacked(&twice.concat()).unwrap(), [7; 2000]);
    }
}
