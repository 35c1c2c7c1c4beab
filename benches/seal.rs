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
    Expected, Header, Inspected, Meta, ObjectSealer, ReadAt, RecordKey, Salt, SealError,
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

fn header(part_size: PartSize) -> Header {
    Header {
        part_size,
        uid: ObjectUid([1; 16]),
        record: RecordId([2; 16]),
    }
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

fn whole(key: &RecordKey, plain: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
    let sealer = ObjectSealer::new(key, header(PartSize::DEFAULT));
    sealer.seal_whole(&meta(plain.len()), plain, &Counting::default(), out)
}

fn seal(c: &mut Criterion) {
    let key = RecordKey::new([7; 32]);
    let mut group = c.benchmark_group("seal");
    group.throughput(Throughput::Bytes(8 * MIB as u64));
    let sealer = ObjectSealer::new(&key, header(PartSize::DEFAULT));
    let mut part = vec![1; 8 * MIB];
    group.bench_function("part of 8 MiB in place", |b| {
        b.iter(|| {
            let salt = Salt::random(&Counting::default());
            let mut sealer = sealer.part(PartIndex(0), 8 << 20, salt).unwrap();
            let mut rest = part.as_mut_slice();
            while let Some(len) = sealer.next_chunk_len() {
                let (chunk, later) = rest.split_at_mut(len);
                black_box(sealer.seal_chunk(chunk).unwrap());
                rest = later;
            }
        });
    });
    group.throughput(Throughput::Elements(1));
    let (plain, mut out) = (vec![1; 4096], Vec::with_capacity(MIB));
    group.bench_function("object of 4 KiB", |b| {
        b.iter(|| {
            out.clear();
            whole(&key, &plain, &mut out).unwrap();
            black_box(out.len());
        });
    });
    group.finish();
}

fn open(c: &mut Criterion) {
    let key = RecordKey::new([7; 32]);
    let mut group = c.benchmark_group("open");
    let store = |size: usize| {
        let mut sealed = Vec::new();
        whole(&key, &vec![1; size], &mut sealed).unwrap();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&sealed, 0).unwrap();
        (PageCache(file), sealed.len() as u64)
    };
    let read = |file: &PageCache, len: u64| {
        let opened = Inspected::new(file, len, &Expected::unlisted()).unwrap();
        let opened = opened.open(&key).unwrap();
        opened
            .read_range(0..opened.size(), |run| {
                black_box(run);
                Ok(())
            })
            .unwrap();
    };
    let (large, large_len) = store(64 * MIB);
    group.throughput(Throughput::Bytes(64 * MIB as u64));
    group.bench_function("object of 64 MiB from the page cache", |b| {
        b.iter(|| read(&large, large_len));
    });
    let (small, small_len) = store(4096);
    group.throughput(Throughput::Elements(1));
    group.bench_function("object of 4 KiB from the page cache", |b| {
        b.iter(|| read(&small, small_len));
    });
    group.finish();
}

criterion_group!(benches, seal, open);
criterion_main!(benches);
