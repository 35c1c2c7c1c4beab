//! CRC-64/NVME: the checksum that both ends compute over plaintext, part by
//! part, and combine without reading anything again. Integrity, not evidence:
//! who may forge bytes may forge this.

use crc_fast::{CrcAlgorithm, Digest, checksum_combine};

/// The CRC-64/NVME of no bytes.
pub const CRC64_EMPTY: u64 = 0;

/// A running CRC-64/NVME.
#[derive(Debug, Clone)]
pub struct Crc64(Digest);

impl Crc64 {
    /// The checksum of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc64Nvme))
    }

    /// Takes more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.finalize()
    }
}

impl Default for Crc64 {
    fn default() -> Self {
        Self::new()
    }
}

/// The CRC-64/NVME of `bytes`.
#[must_use]
pub fn crc64(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

/// The checksum of two runs of bytes, one behind the other, from the checksum of
/// each and the length of the second in bytes.
#[must_use]
pub fn combine(first: u64, second: u64, second_bytes: u64) -> u64 {
    if second_bytes == 0 {
        return first;
    }
    // Shifting nothing leaves nothing: spares the 50 µs that the shift's matrix takes.
    if first == CRC64_EMPTY {
        return second;
    }
    checksum_combine(CrcAlgorithm::Crc64Nvme, first, second, second_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogued_check_value_holds() {
        // "NVM Express NVM Command Set Specification", section 5.2.1.3.5.
        assert_eq!(crc64(b"123456789"), 0xae8b_1486_0a79_9888);
        assert_eq!(crc64(b""), CRC64_EMPTY);
    }

    #[test]
    fn halves_combine_to_the_whole_at_every_cut() {
        let bytes: Vec<u8> = (0..300u16).map(|i| (i * 7) as u8).collect();
        for cut in 0..=bytes.len() {
            let (a, b) = bytes.split_at(cut);
            assert_eq!(
                combine(crc64(a), crc64(b), b.len() as u64),
                crc64(&bytes),
                "{cut}"
            );
        }
    }

    #[test]
    fn a_running_checksum_equals_one_over_all() {
        let mut running = Crc64::new();
        running.update(b"12345");
        running.update(b"");
        running.update(b"6789");
        assert_eq!(running.value(), crc64(b"123456789"));
    }
}
