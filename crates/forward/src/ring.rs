//! Bytes in the order they came, in a ring that grows as it has to.

/// Room is made in these steps at least.
const BYTES_MIN: usize = 16 * 1024;

/// Bytes that are added behind and taken from the front.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Ring {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Room behind what is there, at most `wanted` bytes: at least one of them if
    /// `wanted` is not zero.
    pub(crate) fn room(&mut self, wanted: usize) -> &mut [u8] {
        if wanted > 0 && self.len == self.bytes.len() {
            self.grow();
        }
        let end = self.start + self.len;
        let size = self.bytes.len();
        let (from, to) = match end < size {
            true => (end, size),
            false => (end - size, self.start),
        };
        self.bytes
            .get_mut(from..to.min(from + wanted))
            .unwrap_or_default()
    }

    /// Counts `count` bytes of the room as there.
    pub(crate) fn fill(&mut self, count: usize) {
        self.len = (self.len + count).min(self.bytes.len());
    }

    /// Adds bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = self.room(rest.len());
            let count = room.len();
            let (now, later) = rest.split_at(count);
            room.copy_from_slice(now);
            self.fill(count);
            rest = later;
        }
    }

    /// The bytes in front that lie together.
    pub(crate) fn front(&self) -> &[u8] {
        let end = (self.start + self.len).min(self.bytes.len());
        self.bytes.get(self.start..end).unwrap_or_default()
    }

    /// Takes bytes from the front.
    pub(crate) fn drop_front(&mut self, count: usize) {
        let count = count.min(self.len);
        self.len -= count;
        self.start += count;
        if self.start >= self.bytes.len() {
            self.start -= self.bytes.len();
        }
        if self.len == 0 {
            self.start = 0;
        }
    }

    /// Where `count` bytes from `offset` on lie: in one piece, or in two.
    pub(crate) fn pieces(&self, offset: usize, count: usize) -> [&[u8]; 2] {
        let front = self.front();
        let back = self.bytes.get(..self.len.saturating_sub(front.len()));
        let parts = [(front, 0), (back.unwrap_or_default(), front.len())];
        parts.map(|(part, skipped)| {
            let from = offset.saturating_sub(skipped).min(part.len());
            let until = (offset + count).saturating_sub(skipped).min(part.len());
            part.get(from..until).unwrap_or_default()
        })
    }

    fn grow(&mut self) {
        let size = (self.bytes.len() * 2).max(BYTES_MIN);
        let mut bytes = Vec::with_capacity(size);
        let pieces = self.pieces(0, self.len);
        pieces
            .iter()
            .for_each(|piece| bytes.extend_from_slice(piece));
        bytes.resize(size, 0);
        (self.bytes, self.start) = (bytes, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    #[test]
    fn it_holds_what_a_queue_holds_whatever_the_cuts() {
        let (mut ring, mut queue) = (Ring::default(), VecDeque::<u8>::new());
        let mut state = 1u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize
        };
        for step in 0..2000usize {
            let pushed: Vec<u8> = (0..next() % 5000).map(|i| (i * 7 + step) as u8).collect();
            ring.push(&pushed);
            queue.extend(&pushed);
            let count = next() % 5200 % (queue.len() + 1);
            let offset = next() % (queue.len() - count + 1);
            let pieces = ring.pieces(offset, count).concat();
            assert!(queue.range(offset..offset + count).eq(pieces.iter()));
            ring.drop_front(count);
            queue.drain(..count);
            assert_eq!(ring.len(), queue.len());
            assert!(ring.is_empty() || ring.front()[0] == queue[0]);
        }
        assert!(ring.bytes.len() <= 1 << 20, "{}", ring.bytes.len());
    }

    #[test]
    fn there_is_room_for_what_is_wanted_and_no_more() {
        let mut ring = Ring::default();
        assert!(ring.room(0).is_empty());
        assert_eq!(ring.room(10).len(), 10);
        ring.fill(10);
        ring.drop_front(4);
        assert!(ring.room(1 << 20).len() >= BYTES_MIN - 10);
        assert_eq!(ring.len(), 6);
    }
}
