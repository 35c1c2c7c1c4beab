//! The works of the table, in order.

mod buckets;
mod bulk;
mod disk;
mod long;
mod many;
mod read;
mod streams;

use std::{io, path::Path};

use crate::{contenders::Tools, data::Work, report::Table};

/// How much is done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    Full,
    Quick,
}

impl Scale {
    fn pick<T>(self, full: T, quick: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
}

/// One large object.
fn one_large(scale: Scale) -> Work {
    let (name, bytes) = scale.pick(("1 × 2 GiB", 2 << 30), ("1 × 256 MiB", 256 << 20));
    let count = 1;
    Work { name, count, bytes }
}

/// Many small ones.
fn many_small(scale: Scale) -> Work {
    let (name, count) = scale.pick(("10,000 × 4 KiB", 10_000), ("3,000 × 4 KiB", 3000));
    let bytes = 4 << 10;
    Work { name, count, bytes }
}

/// What a work is given.
pub struct Setting<'a> {
    pub tools: &'a Tools,
    pub scale: Scale,
    /// Interleaved pairs.
    pub pairs: usize,
    /// TCP's, on the long path.
    pub congestion: Option<&'a str>,
    /// On tmpfs, empty, gone afterwards.
    pub memory: &'a Path,
    /// On a disk, empty, gone afterwards.
    pub disk: &'a Path,
}

/// One or several tables under one name.
pub struct WorkOf {
    pub name: &'static str,
    pub run: fn(&Setting<'_>) -> io::Result<Vec<Table>>,
}

/// All of them.
pub const ALL: &[WorkOf] = &[
    WorkOf {
        name: "large",
        run: bulk::large,
    },
    WorkOf {
        name: "middle",
        run: bulk::middle,
    },
    WorkOf {
        name: "small",
        run: bulk::small,
    },
    WorkOf {
        name: "small-durable",
        run: disk::small,
    },
    WorkOf {
        name: "large-durable",
        run: disk::large,
    },
    WorkOf {
        name: "hundred-thousand",
        run: many::hundred_thousand,
    },
    WorkOf {
        name: "million",
        run: many::million,
    },
    WorkOf {
        name: "read",
        run: read::read,
    },
    WorkOf {
        name: "streams",
        run: streams::streams,
    },
    WorkOf {
        name: "buckets",
        run: buckets::buckets,
    },
    WorkOf {
        name: "long",
        run: long::clean,
    },
    WorkOf {
        name: "long-lossy",
        run: long::lossy,
    },
];
