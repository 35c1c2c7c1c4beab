//! The bytes of one file: what is seen, what is durable, and what lies between.

use super::SECTOR_BYTES;
use crate::chance::Chance;

/// A change that is not durable yet.
#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Length(usize),
}

/// How much of what is not durable outlives a power loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Survival {
    Nothing,
    Everything,
    /// Each change by itself, some of them torn.
    Some,
}

impl Survival {
    pub(super) fn draw(chance: &Chance) -> Self {
        match chance.below(4) {
            0 => Self::Nothing,
            1 => Self::Everything,
            _ => Self::Some,
        }
    }

    pub(super) fn keeps(self, chance: &Chance) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Some => chance.one_in(2),
        }
    }
}

/// A file's bytes.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// What a failed sync was to write: the system believes it written.
    lost: Vec<Change>,
}

impl Content {
    /// What it takes up.
    pub(super) fn held_bytes(&self) -> usize {
        let changes = self.pending.iter().chain(&self.lost);
        let changed = |change: &Change| match change {
            Change::Write { bytes, .. } => bytes.capacity(),
            Change::Length(_) => 0,
        };
        self.now.capacity() + self.durable.capacity() + changes.map(changed).sum::<usize>()
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        let bytes = bytes.to_vec();
        let change = Change::Write { at, bytes };
        change.apply(&mut self.now);
        self.pending.push(change);
    }

    pub(super) fn set_len(&mut self, len: usize) {
        let change = Change::Length(len);
        change.apply(&mut self.now);
        self.pending.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    pub(super) fn fail_sync(&mut self) {
        self.lost.append(&mut self.pending);
    }

    /// What is left after a power loss.
    pub(super) fn lose_power(&mut self, survival: Survival, chance: &Chance) {
        let pending = std::mem::take(&mut self.pending);
        for change in self.lost.drain(..).chain(pending) {
            change.tear(&mut self.durable, survival, chance);
        }
        self.now = self.durable.clone();
    }
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => put(to, *at, bytes),
            Self::Length(len) => to.resize(*len, 0),
        }
    }

    /// Applies what of it reached the disk.
    fn tear(&self, to: &mut Vec<u8>, survival: Survival, chance: &Chance) {
        if !survival.keeps(chance) {
            return;
        }
        let Self::Write { at, bytes } = self else {
            return self.apply(to);
        };
        if survival == Survival::Everything || chance.one_in(2) {
            return self.apply(to);
        }
        let (mut from, mut rest) = (*at, bytes.as_slice());
        while !rest.is_empty() {
            let to_boundary = SECTOR_BYTES - from % SECTOR_BYTES;
            let (sector, behind) = rest.split_at(to_boundary.min(rest.len()));
            if chance.one_in(2) {
                put(to, from, sector);
            }
            from += sector.len();
            rest = behind;
        }
    }
}

fn put(to: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if to.len() < at + bytes.len() {
        to.resize(at + bytes.len(), 0);
    }
    to[at..at + bytes.len()].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synced_bytes_stay_and_later_ones_may_go_sector_by_sector() {
        let (mut lost, mut kept, mut torn) = (0, 0, 0);
        for seed in 0..200 {
            let chance = Chance::new(seed);
            let mut content = Content::default();
            content.write(0, &[1; 4096]);
            content.sync();
            content.write(0, &[2; 4096]);
            content.lose_power(Survival::draw(&chance), &chance);
            assert_eq!(content.now.len(), 4096);
            let sectors = content.now.chunks(SECTOR_BYTES);
            let new = sectors
                .map(|sector| {
                    assert!(sector.iter().all(|byte| *byte == sector[0]), "whole");
                    usize::from(sector[0] == 2)
                })
                .sum::<usize>();
            match new {
                0 => lost += 1,
                8 => kept += 1,
                _ => torn += 1,
            }
        }
        assert!(lost > 20 && kept > 20 && torn > 20, "{lost} {kept} {torn}");
    }

    #[test]
    fn a_sync_after_a_failed_one_does_not_bring_back_what_that_lost() {
        let chance = Chance::new(1);
        let mut content = Content::default();
        content.write(0, b"first");
        content.fail_sync();
        content.sync();
        assert_eq!(content.now, b"first", "it is seen until the power goes");
        content.lose_power(Survival::Nothing, &chance);
        assert_eq!(content.now, b"");
    }
}
