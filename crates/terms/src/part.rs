//! Parts and chunks: how an object is cut.

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{limits, name::NameError};

/// Bytes of plaintext in a full chunk, the unit of authenticated encryption.
pub const CHUNK_BYTES: u32 = 16 * 1024;

/// The index of a part within its object, below [`limits::PARTS_MAX`].
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct PartIndex(pub u32);

/// Bytes of plaintext in every part but the last: a multiple of 16 KiB from
/// 64 KiB to 64 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PartSize(u32);

impl PartSize {
    /// The smallest part size, 64 KiB.
    pub const MIN: Self = Self(64 * 1024);
    /// The default part size, 8 MiB.
    pub const DEFAULT: Self = Self(8 * 1024 * 1024);
    /// The largest part size, 64 MiB.
    pub const MAX: Self = Self(64 * 1024 * 1024);

    /// Checks a part size given in bytes.
    ///
    /// # Errors
    /// [`NameError`] when it is out of range or no multiple of a chunk.
    pub fn new(bytes: u32) -> Result<Self, NameError> {
        if (Self::MIN.0..=Self::MAX.0).contains(&bytes) && bytes.is_multiple_of(CHUNK_BYTES) {
            Ok(Self(bytes))
        } else {
            Err(NameError::new(
                "part size",
                &bytes.to_string(),
                "a multiple of 16384 from 65536 to 67108864 bytes",
            ))
        }
    }

    /// The smallest part size, no smaller than `wanted`, that cuts an object of
    /// `size` bytes into no more than [`limits::PARTS_MAX`] parts.
    ///
    /// Returns `None` when the object is larger than any part size allows.
    #[must_use]
    pub fn fitting(size: u64, wanted: Self) -> Option<Self> {
        let mut part = wanted;
        while part.parts_of(size).is_none() {
            part = Self::new(part.0.checked_mul(2)?.min(Self::MAX.0))
                .ok()
                .filter(|p| *p > part)?;
        }
        Some(part)
    }

    /// Bytes of a full part.
    #[must_use]
    pub fn bytes(self) -> u32 {
        self.0
    }

    /// The number of parts of an object of `size` bytes: the last part is always
    /// shorter than the others and may be empty. `None` above [`limits::PARTS_MAX`].
    #[must_use]
    pub fn parts_of(self, size: u64) -> Option<u32> {
        let parts = size / u64::from(self.0) + 1;
        u32::try_from(parts)
            .ok()
            .filter(|parts| *parts <= limits::PARTS_MAX)
    }

    /// Where the plaintext of part `index` begins in the object.
    #[must_use]
    pub fn offset_of(self, index: PartIndex) -> u64 {
        u64::from(self.0) * u64::from(index.0)
    }

    /// Bytes of plaintext in part `index` of an object of `size` bytes, `None`
    /// when there is no such part.
    #[must_use]
    pub fn part_bytes(self, size: u64, index: PartIndex) -> Option<u32> {
        let last = self.parts_of(size)? - 1;
        match index.0 {
            i if i < last => Some(self.0),
            i if i == last => u32::try_from(size % u64::from(self.0)).ok(),
            _ => None,
        }
    }
}

impl Default for PartSize {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl<'de> Deserialize<'de> for PartSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(u32::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_is_always_short() {
        let size = PartSize::MIN;
        let full = u64::from(size.bytes());
        assert_eq!(size.parts_of(0), Some(1));
        assert_eq!(size.parts_of(full - 1), Some(1));
        assert_eq!(size.parts_of(full), Some(2));
        assert_eq!(size.part_bytes(full, PartIndex(1)), Some(0));
        assert_eq!(size.part_bytes(full, PartIndex(2)), None);
        assert_eq!(size.part_bytes(full + 7, PartIndex(1)), Some(7));
    }

    #[test]
    fn the_largest_object_fits_and_one_beyond_2_to_the_20_parts_takes_larger_parts() {
        let wanted = PartSize::MIN;
        let many = u64::from(limits::PARTS_MAX) * u64::from(wanted.bytes());
        assert!(PartSize::fitting(many, wanted).unwrap() > wanted);
        assert!(PartSize::fitting(limits::OBJECT_BYTES_MAX, PartSize::DEFAULT).is_some());
        assert!(PartSize::fitting(u64::MAX, wanted).is_none());
    }

    #[test]
    fn sizes_off_the_grid_are_refused() {
        for bad in [0, 1, 65_535, 65_537, 67_108_865, u32::MAX] {
            assert!(PartSize::new(bad).is_err(), "{bad}");
        }
    }
}
