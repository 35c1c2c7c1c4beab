//! How many bytes of each object's parts may be begun: a share of the memory that
//! is free, lowered when memory runs short and raised when it is back.

use sealift_terms::PartSize;

/// Memory that a part takes while it comes, at most.
const PART_MEMORY_BYTES: usize = 1 << 20;
/// Parts of one object that may be under way, at most: all that eight links carry.
const PARTS_MAX: usize = 16;
/// Bytes of one object that may be under way, unless its parts are larger.
const CREDIT_BYTES_MAX: u64 = 128 << 20;

/// The credit of one of `objects` objects with parts of this size, while so many
/// bytes of memory are free.
pub(crate) fn credit(memory_free: usize, objects: usize, part_size: PartSize) -> u64 {
    // Half of what is free: the rest is for those who come next.
    let parts = memory_free / 2 / PART_MEMORY_BYTES / objects.max(1);
    // Powers of two, so that it does not change with every part.
    let parts = match parts.checked_ilog2() {
        Some(log) => 1_usize << log.min(PARTS_MAX.ilog2()),
        None => 1,
    };
    let part = u64::from(part_size.bytes());
    (parts as u64 * part).min(CREDIT_BYTES_MAX).max(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_follows_free_memory_and_is_never_less_than_a_part() {
        let part = PartSize::new(8 << 20).unwrap();
        let parts = |free: usize, objects| credit(free << 20, objects, part) >> 23;
        assert_eq!(parts(160, 1), 16);
        assert_eq!(parts(160, 10), 8);
        assert_eq!(parts(160, 1024), 1);
        assert_eq!(parts(10, 1), 4);
        assert_eq!(parts(0, 1), 1);
        let large = PartSize::MAX;
        assert_eq!(credit(160 << 20, 1, large), CREDIT_BYTES_MAX);
        assert_eq!(credit(0, 1, large), u64::from(large.bytes()));
    }
}
