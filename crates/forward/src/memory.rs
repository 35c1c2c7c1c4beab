//! The share of the byte budget from which the buffers of all streams are drawn.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use sealift_terms::limits::{FORWARD_WINDOW_BYTES_MAX, FORWARD_WINDOW_BYTES_MIN};

/// What all streams of an agent may hold together.
#[derive(Debug, Clone)]
pub struct Memory {
    free: Arc<AtomicUsize>,
    total: usize,
}

/// What one direction of a stream takes of it, given back when dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    memory: Memory,
    bytes: usize,
}

impl Memory {
    /// `bytes` to be shared out.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self {
            free: Arc::new(AtomicUsize::new(bytes)),
            total: bytes,
        }
    }

    /// Bytes that are taken.
    #[must_use]
    pub fn used(&self) -> usize {
        self.total - self.free.load(Ordering::Relaxed)
    }

    /// What a new stream has at least, for one direction.
    pub(crate) fn begin(&self) -> Option<Lease> {
        let bytes = FORWARD_WINDOW_BYTES_MIN as usize;
        self.take(bytes).then(|| Lease {
            memory: self.clone(),
            bytes,
        })
    }

    fn take(&self, bytes: usize) -> bool {
        let less = |free: usize| free.checked_sub(bytes);
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        self.free.fetch_update(set, fetch, less).is_ok()
    }
}

impl Lease {
    /// Doubles it, within what one direction may have: its limit, and an eighth of
    /// everything. The new size, if there was room. What others begin with stays free.
    pub(crate) fn double(&mut self) -> Option<u32> {
        let wanted = self.bytes * 2;
        let limit = (FORWARD_WINDOW_BYTES_MAX as usize).min(self.memory.total / 8);
        let kept = self.memory.total / 4;
        let free = self.memory.free.load(Ordering::Relaxed);
        if wanted > limit || free < self.bytes + kept || !self.memory.take(self.bytes) {
            return None;
        }
        self.bytes = wanted;
        u32::try_from(wanted).ok()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.memory.free.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_direction_grows_to_its_limit_and_leaves_room_for_others_to_begin() {
        let memory = Memory::new(32 << 20);
        let mut first = memory.begin().unwrap();
        let mut size = 0;
        while let Some(larger) = first.double() {
            size = larger;
        }
        assert_eq!(size, FORWARD_WINDOW_BYTES_MAX);
        assert_eq!(memory.used(), size as usize);
        let mut others = Vec::new();
        while let Some(mut other) = memory.begin() {
            while other.double().is_some() {}
            others.push(other);
        }
        assert!(others.len() > 32, "{}", others.len());
        assert!(memory.used() <= 32 << 20);
        drop((first, others));
        assert_eq!(memory.used(), 0);
    }
}
