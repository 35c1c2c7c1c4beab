//! Room on disk and on the processors: small tests run beside each other, large
//! and timed ones alone.

use std::{
    path::{Path, PathBuf},
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
};

static TURNS: RwLock<()> = RwLock::new(());

/// A test's turn, kept until it is dropped.
pub(crate) enum Turn {
    /// Beside others.
    Beside { _turn: RwLockReadGuard<'static, ()> },
    /// While no other test runs agents.
    Alone {
        _turn: RwLockWriteGuard<'static, ()>,
    },
}

impl Turn {
    pub(crate) fn beside() -> Self {
        let turn = TURNS.read();
        Self::Beside {
            _turn: turn.unwrap_or_else(|poisoned| poisoned.into_inner()),
        }
    }

    pub(crate) fn alone() -> Self {
        let turn = TURNS.write();
        Self::Alone {
            _turn: turn.unwrap_or_else(|poisoned| poisoned.into_inner()),
        }
    }
}

/// Left for others, and for what agents keep free.
const SPARE_BYTES: u64 = 3 << 30;

/// Where `bytes` fit: in memory if possible, so that disks are not the measure.
pub(crate) fn roomy_dir(bytes: u64) -> PathBuf {
    let places = [PathBuf::from("/dev/shm"), std::env::temp_dir()];
    let fits = |place: &&PathBuf| free_bytes(place) > bytes + SPARE_BYTES;
    let place = places.iter().find(fits);
    place
        .unwrap_or_else(|| panic!("{bytes} bytes fit into none of {places:?}"))
        .clone()
}

fn free_bytes(place: &Path) -> u64 {
    rustix::fs::statvfs(place).map_or(0, |facts| facts.f_bavail * facts.f_frsize)
}
