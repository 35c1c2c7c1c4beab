//! What a seed decides once and for all of its rounds.

use std::time::Duration;

use sealift_terms::PartSize;

use crate::{chance::Chance, net::Way};

/// The shape of a run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Which site dials the other.
    pub(crate) dialler: usize,
    pub(crate) data_links: usize,
    pub(crate) way: Way,
    pub(crate) part_size: PartSize,
    pub(crate) budget_bytes: usize,
    /// How long things go wrong in a round.
    pub(crate) trouble: Duration,
    /// Between two things that go wrong, at most.
    pub(crate) calm_millis: u64,
    /// Changes of the source in a round, at most.
    pub(crate) changes: u64,
}

impl Plan {
    pub(crate) fn draw(chance: &Chance) -> Self {
        let way = Way {
            delay: chance.millis(1..100),
            jitter: chance.millis(1..50),
            bytes_per_sec: 1 << chance.within(17..30),
            is_blocked: false,
        };
        Self {
            dialler: usize::from(chance.one_in(2)),
            data_links: *chance.pick(&[1, 2, 3]),
            way,
            part_size: PartSize::new(*chance.pick(&[64 << 10, 128 << 10])).unwrap(),
            budget_bytes: *chance.pick(&[2 << 20, 8 << 20, 64 << 20]),
            trouble: Duration::from_secs(chance.within(10..60)),
            calm_millis: chance.within(500..8_000),
            changes: chance.within(5..60),
        }
    }
}
