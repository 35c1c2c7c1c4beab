//! The room that uploads were promised, and what is kept free of them for catalog and
//! audit.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use sealift_store::Store;
use sealift_terms::{PartSize, limits::STORE_RESERVE_BYTES_MIN, world::Room};

use crate::{ArchiveError, Result, limits::ROOM_CHECKED};

/// The share of bytes that sealing in two layers adds to full chunks of 16 KiB.
const SEALING_SHARE: u64 = 512;
/// Bytes of a part beside its full chunks, in the file and in META, in two layers.
const PART_BYTES: u64 = 256;
/// Bytes of HEADER, META and FOOTER beside that.
const META_BYTES: u64 = 16 * 1024;

/// What sealing an object will write at most, about.
pub(crate) fn sealed_bytes(size: u64, part_size: PartSize) -> u64 {
    let parts = part_size.parts_of(size).unwrap_or(0);
    size.saturating_add(size / SEALING_SHARE)
        .saturating_add(u64::from(parts) * PART_BYTES)
        .saturating_add(META_BYTES)
}

/// Room, promised and kept.
#[derive(Debug, Default)]
pub(crate) struct Reserve(Mutex<Standing>);

#[derive(Debug, Default)]
struct Standing {
    /// Bytes that open uploads have yet to write.
    claimed: u64,
    /// Of those, bytes of parts that are being written.
    in_flight: u64,
    /// The store's room when it was last asked, and when that was.
    room: Option<(Duration, Room)>,
    /// Bytes written since.
    written: u64,
}

/// Room promised to an upload for as long as its sender is there. What is left of it is given back when dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    reserve: Arc<Reserve>,
    left: Mutex<u64>,
}

/// Room that a part in flight takes of its upload's.
#[derive(Debug)]
pub(crate) struct Flight {
    reserve: Arc<Reserve>,
    bytes: u64,
}

impl Reserve {
    /// Promises room for `bytes`, beside what others were promised.
    ///
    /// # Errors
    /// [`ArchiveError::ReserveReached`], and what the store says.
    pub(crate) async fn claim(
        self: &Arc<Self>,
        store: &dyn Store,
        now: Duration,
        bytes: u64,
    ) -> Result<Claim> {
        self.look(store, now).await?;
        self.0
            .lock()
            .admit(bytes, |standing| &mut standing.claimed)?;
        Ok(Claim {
            reserve: self.clone(),
            left: Mutex::new(bytes),
        })
    }

    /// Lets a part of `bytes` be written, if the store has not been filled by others
    /// since its upload was promised room.
    ///
    /// # Errors
    /// As [`Self::claim`].
    pub(crate) async fn fly(
        self: &Arc<Self>,
        store: &dyn Store,
        now: Duration,
        bytes: u64,
    ) -> Result<Flight> {
        self.look(store, now).await?;
        self.0
            .lock()
            .admit(bytes, |standing| &mut standing.in_flight)?;
        Ok(Flight {
            reserve: self.clone(),
            bytes,
        })
    }

    /// Asks the store how much room there is, now and then.
    async fn look(&self, store: &dyn Store, now: Duration) -> Result<()> {
        let fresh = |(at, _): (Duration, Room)| now.saturating_sub(at) < ROOM_CHECKED;
        if self.0.lock().room.is_some_and(fresh) {
            return Ok(());
        }
        let room = store.room().await?;
        let mut standing = self.0.lock();
        standing.room = Some((now, room));
        standing.written = 0;
        Ok(())
    }
}

impl Standing {
    /// Counts `bytes` more, beside the reserve and what is counted there already.
    fn admit(&mut self, bytes: u64, counted: impl Fn(&mut Self) -> &mut u64) -> Result<()> {
        let Some((_, room)) = self.room else {
            return Ok(());
        };
        let reserve = STORE_RESERVE_BYTES_MIN.max(room.total_bytes / 100);
        let free = room.free_bytes.saturating_sub(self.written);
        let counted = counted(self);
        let wanted = counted.saturating_add(bytes);
        if wanted > free.saturating_sub(reserve) {
            // Asked again by the next one: there may be room then.
            self.room = None;
            return Err(ArchiveError::ReserveReached {
                free,
                wanted,
                reserve,
            });
        }
        *counted = wanted;
        Ok(())
    }
}

impl Claim {
    /// So much of it was written.
    pub(crate) fn wrote(&self, bytes: u64) {
        let taken = {
            let mut left = self.left.lock();
            let taken = bytes.min(*left);
            *left -= taken;
            taken
        };
        let mut standing = self.reserve.0.lock();
        standing.claimed = standing.claimed.saturating_sub(taken);
        standing.written = standing.written.saturating_add(bytes);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let left = std::mem::take(self.left.get_mut());
        let mut standing = self.reserve.0.lock();
        standing.claimed = standing.claimed.saturating_sub(left);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut standing = self.reserve.0.lock();
        standing.in_flight = standing.in_flight.saturating_sub(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_never_seals_to_more_than_is_claimed() {
        for (size, part_size) in [
            (0, PartSize::MIN),
            (1, PartSize::MIN),
            (10 << 20, PartSize::MIN),
            (1 << 30, PartSize::DEFAULT),
        ] {
            let parts = u64::from(part_size.parts_of(size).unwrap());
            let chunks = size.div_ceil(16 * 1024) + parts;
            // Tags of both layers; salts, commitments, and those again in META.
            let sealed = size + 32 * chunks + (112 + 64) * parts + 8192;
            assert!(sealed_bytes(size, part_size) > sealed);
        }
    }
}
