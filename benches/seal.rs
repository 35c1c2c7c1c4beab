//! How fast sealing and opening are: the format's share of the data's path.
//!
//! `seal` and `open` of large parts say bytes a second of one core; the 4 KiB
//! ones say what a small object costs, every key derivation included.
// A benchmark whose set-up fails has nothing better to do than stop.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    fs::File, hint::black_box, io, os::unix::fs::FileExt, sync::atomic::AtomicU64,
    sync::atomic::Ordering,
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sealift_seal::{
    Expected, Header, Inspected, Keys, Meta, ObjectSealer, PartBuffer, ReadAt, RecordKey,
    SealError, Suite,
};
use sealift_terms::{
    BucketName, ObjectFacts, ObjectKey, ObjectUid, PartIndex, PartSize, RecordId, Rng, VersionId,
    VersionName,
};

const MIB: usize = 1 << 20;

/// Salts that differ, at no cost.
#[derive(Debug, Default)]
struct Counting(AtomicU64);

impl Rng for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        let next = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        bytes.iter_mut().zip(next).for_each(|(to, from)| *to = from);
    }
}

struct PageCache(File);

impl ReadAt for PageCache {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(bytes, offset)
    }
}

/// One layer, or two.
const SUITES: [(&str, Suite); 2] = [("one layer", Suite::One), ("two layers", Suite::Two)];

fn sealer(suite: Suite) -> ObjectSealer {
    let (first, second) = keys();
    let header = Header {
        part_size: PartSize::DEFAULT,
        uid: ObjectUid([1; 16]),
        record: RecordId([2; 16]),
        second: (suite == Suite::Two).then_some(RecordId([3; 16])),
    };
    match suite {
        Suite::One => ObjectSealer::new(&first, header),
        Suite::Two => ObjectSealer::new(Keys::two(&first, &second), header),
    }
    .unwrap()
}

fn keys() -> (RecordKey, RecordKey) {
    (RecordKey::new([7; 32]), RecordKey::new([8; 32]))
}

fn meta(size: usize) -> Meta {
    let name = VersionName {
        bucket: BucketName::new("photos").unwrap(),
        key: ObjectKey::new("2026/11/a-name-of-ordinary-length.jpg").unwrap(),
        version: VersionId::new("18f0c2d4a6e80000-18f0c2d4a6e80000").unwrap(),
    };
    let facts = ObjectFacts {
        size: size as u64,
        content_type: Some("image/jpeg".into()),
        ..ObjectFacts::default()
    };
    Meta::new(name, facts)
}

fn whole(suite: Suite, plain: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
    sealer(suite).seal_whole(&meta(plain.len()), plain, &Counting::default(), out)
}

fn seal(c: &mut Criterion) {
    let mut group = c.benchmark_group("seal");
    for (name, suite) in SUITES {
        group.throughput(Throughput::Bytes(8 * MIB as u64));
        let sealer = sealer(suite);
        let part = vec![1; 8 * MIB];
        let mut out = Vec::with_capacity(9 * MIB);
        // The way a receiver takes it: copied once into the buffer that is written.
        group.bench_function(format!("part of 8 MiB, {name}"), |b| {
            b.iter(|| {
                out.clear();
                let salts = sealer.salts(&Counting::default());
                let sealing = sealer.part(PartIndex(0), 8 << 20, salts).unwrap();
                let mut buffer = PartBuffer::new(sealing, std::mem::take(&mut out));
                for piece in part.chunks(16 * 1024) {
                    buffer.push(piece).unwrap();
                }
                (out, _) = buffer.finish().unwrap();
                black_box(out.len());
            });
        });
        group.throughput(Throughput::Elements(1));
        let (plain, mut out) = (vec![1; 4096], Vec::with_capacity(MIB));
        group.bench_function(format!("object of 4 KiB, {name}"), |b| {
            b.iter(|| {
                out.clear();
                whole(suite, &plain, &mut out).unwrap();
                black_box(out.len());
            });
        });
    }
    group.finish();
}

fn open(c: &mut Criterion) {
    let mut group = c.benchmark_group("open");
    let store = |suite: Suite, size: usize| {
        let mut sealed = Vec::new();
        whole(suite, &vec![1; size], &mut sealed).unwrap();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&sealed, 0).unwrap();
        (PageCache(file), sealed.len() as u64)
    };
    let read = |suite: Suite, file: &PageCache, len: u64| {
        let (first, second) = keys();
        let inspected = Inspected::new(file, len, &Expected::unlisted()).unwrap();
        let opened = match suite {
            Suite::One => inspected.open(&first),
            Suite::Two => inspected.open(Keys::two(&first, &second)),
        };
        let opened = opened.unwrap();
        opened
            .read_range(0..opened.size(), |run| {
                black_box(run);
                Ok(())
            })
            .unwrap();
    };
    for (name, suite) in SUITES {
        let (large, large_len) = store(suite, 64 * MIB);
        group.throughput(Throughput::Bytes(64 * MIB as u64));
        group.bench_function(
            format!("object of 64 MiB from the page cache, {name}"),
            |b| {
                b.iter(|| read(suite, &large, large_len));
            },
        );
        let (small, small_len) = store(suite, 4096);
        group.throughput(Throughput::Elements(1));
        group.bench_function(
            format!("object of 4 KiB from the page cache, {name}"),
            |b| {
                b.iter(|| read(suite, &small, small_len));
            },
        );
    }
    group.finish();
}

criterion_group!(benches, seal, open);
criterion_main!(benches);
