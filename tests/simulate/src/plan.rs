//! What a seed decides once and for all of its rounds.

use std::time::Duration;

use sealift_terms::PartSize;

use crate::{chance::Chance, net::Way, site::NEAR};

/// Where changes are made, and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// In a source at the near site, from where they go to the far one.
    OneWay,
    /// At both sites, by applications, and from each to the other.
    Both,
}

/// The shape of a run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) flow: Flow,
    /// Which site dials the other; both do where it goes both ways, and this is 0 where who
    /// dials sends.
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
    pub(crate) fn draw(chance: &Chance, flow: Flow) -> Self {
        let way = Way {
            delay: chance.millis(1..100),
            jitter: chance.millis(1..50),
            bytes_per_sec: 1 << chance.within(17..30),
            is_blocked: false,
        };
        Self {
            flow,
            dialler: usize::from(chance.one_in(2)),
            data_links: *chance.pick(&[1, 2, 3]),
            way,
            part_size: PartSize::new(*chance.pick(&[64 << 10, 128 << 10])).unwrap(),
            budget_bytes: *chance.pick(match flow {
                Flow::OneWay => &[2 << 20, 8 << 20, 64 << 20],
                // An object that is written here is held whole until it is packed.
                Flow::Both => &[8 << 20, 16 << 20, 64 << 20],
            }),
            trouble: Duration::from_secs(chance.within(10..60)),
            calm_millis: chance.within(500..8_000),
            changes: chance.within(5..60),
        }
    }

    /// Whether a site sends in a session that it dialled, or did not.
    pub(crate) fn sends(&self, site: usize, dialled: bool) -> bool {
        match self.flow {
            Flow::OneWay => site == NEAR,
            Flow::Both => dialled == (self.dialler == 0),
        }
    }
}
