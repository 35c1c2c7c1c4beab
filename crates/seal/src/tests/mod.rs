//! The properties of the whole format, and what the tests of single files share.

mod damage;
mod layers;
mod packs;
mod ranges;
mod second;
mod splices;
mod vectors;
mod wycheproof;

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
};

use sealift_terms::{
    BucketName, ObjectFacts, ObjectKey, ObjectUid, PartSize, RecordId, Rng, VersionId, VersionName,
};

use crate::{
    Commitment, Commitments, Expected, Header, Inspected, Keys, Meta, ObjectSealer, Opened,
    RecordKey, Salt, Salts, SealError, Suite,
    outer::{OuterCommitment, OuterSalt},
};

/// A generator that counts: fit for tests only.
#[derive(Debug, Default)]
pub(crate) struct Counting(AtomicU64);

impl Rng for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            let next = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            piece.copy_from_slice(&next[..piece.len()]);
        }
    }
}

pub(crate) fn key() -> RecordKey {
    RecordKey::new([0x42; 32])
}

pub(crate) fn header() -> Header {
    Header {
        part_size: PartSize::MIN,
        uid: ObjectUid([1; 16]),
        record: RecordId([2; 16]),
        second: None,
    }
}

pub(crate) fn sealer() -> ObjectSealer {
    sealer_in(Suite::One)
}

/// The second record's key.
pub(crate) fn outer_key() -> RecordKey {
    RecordKey::new([0x24; 32])
}

pub(crate) fn header_in(suite: Suite) -> Header {
    let second = (suite == Suite::Two).then_some(RecordId([4; 16]));
    Header { second, ..header() }
}

pub(crate) fn sealer_in(suite: Suite) -> ObjectSealer {
    with_keys(suite, |keys| ObjectSealer::new(keys, header_in(suite))).unwrap()
}

/// Runs `f` with the keys of a suite.
pub(crate) fn with_keys<T>(suite: Suite, f: impl FnOnce(Keys<'_>) -> T) -> T {
    match suite {
        Suite::One => f(Keys::one(&key())),
        Suite::Two => f(Keys::two(&key(), &outer_key())),
    }
}

/// One of each suite.
pub(crate) fn sealers() -> [ObjectSealer; 2] {
    [Suite::One, Suite::Two].map(sealer_in)
}

pub(crate) fn salt(number: u8) -> Salt {
    Salt([number; 24])
}

pub(crate) fn salts(suite: Suite, number: u8) -> Salts {
    let outer = (suite == Suite::Two).then_some(OuterSalt([number ^ 0xf0; 24]));
    let inner = salt(number);
    Salts { inner, outer }
}

/// Commitments that no message has.
pub(crate) fn commitments(suite: Suite, byte: u8) -> Commitments {
    Commitments {
        inner: Commitment([byte; 32]),
        outer: (suite == Suite::Two).then_some(OuterCommitment([byte ^ 0xf0; 32])),
    }
}

pub(crate) fn name() -> VersionName {
    VersionName {
        bucket: BucketName::new("b").unwrap(),
        key: ObjectKey::new("a/é").unwrap(),
        version: VersionId::new("v1").unwrap(),
    }
}

pub(crate) fn meta(size: u64) -> Meta {
    let facts = ObjectFacts {
        size,
        content_type: Some("text/plain".into()),
        ..ObjectFacts::default()
    };
    Meta::new(name(), facts)
}

/// Plaintext in which no two stretches are alike.
pub(crate) fn plaintext(size: usize) -> Vec<u8> {
    (0_u32..)
        .flat_map(|i| i.wrapping_mul(0x9e37_79b9).to_be_bytes())
        .take(size)
        .collect()
}

pub(crate) fn expected() -> Expected {
    expected_in(Suite::One)
}

pub(crate) fn expected_in(suite: Suite) -> Expected {
    Expected::version(header().uid, header_in(suite).records(), name())
}

pub(crate) fn seal(plain: &[u8]) -> Vec<u8> {
    seal_in(Suite::One, plain)
}

pub(crate) fn seal_in(suite: Suite, plain: &[u8]) -> Vec<u8> {
    seal_with(
        &sealer_in(suite),
        &meta(plain.len() as u64),
        plain,
        &Counting::default(),
    )
}

pub(crate) fn seal_with(
    sealer: &ObjectSealer,
    meta: &Meta,
    plain: &[u8],
    rng: &dyn Rng,
) -> Vec<u8> {
    let mut out = Vec::new();
    sealer.seal_whole(meta, plain, rng, &mut out).unwrap();
    out
}

pub(crate) fn open(sealed: &[u8]) -> Result<Opened<&[u8]>, SealError> {
    open_in(Suite::One, sealed)
}

pub(crate) fn open_in(suite: Suite, sealed: &[u8]) -> Result<Opened<&[u8]>, SealError> {
    let len = sealed.len() as u64;
    let inspected = Inspected::new(sealed, len, &expected_in(suite))?;
    with_keys(suite, |keys| inspected.open(keys))
}

/// Everything that opens, or the first refusal.
pub(crate) fn open_all(sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    open_all_in(Suite::One, sealed)
}

pub(crate) fn open_all_in(suite: Suite, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    let opened = open_in(suite, sealed)?;
    opened.verify()?;
    let mut plain = Vec::new();
    opened.read_range(0..opened.size(), |run| {
        plain.extend_from_slice(run);
        Ok(())
    })?;
    Ok(plain)
}

/// Salts given beforehand, for known answers.
#[derive(Debug)]
pub(crate) struct Scripted(pub(crate) std::sync::Mutex<VecDeque<Vec<u8>>>);

impl Rng for Scripted {
    fn fill(&self, bytes: &mut [u8]) {
        let next = self.0.lock().unwrap().pop_front().unwrap();
        bytes.copy_from_slice(&next);
    }
}

#[test]
fn every_length_around_a_boundary_opens_to_what_was_sealed() {
    for size in [
        0, 1, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537, 131_072, 200_000,
    ] {
        let plain = plaintext(size);
        for suite in [Suite::One, Suite::Two] {
            let sealed = seal_in(suite, &plain);
            let opened = open_in(suite, &sealed).unwrap();
            let json = opened.meta().encode().unwrap().len();
            let len = opened.layout().sealed_len(size as u64, json);
            assert_eq!(len, Some(sealed.len() as u64), "{size}");
            assert!(open_all_in(suite, &sealed).unwrap() == plain, "{size}");
        }
    }
}

#[test]
fn a_part_kept_over_a_restart_opens_by_its_commitments_alone() {
    let plain = plaintext(70_000);
    for sealer in sealers() {
        let index = sealift_terms::PartIndex(1);
        let of_part = salts(sealer.suite(), 9);
        let mut sealing = sealer.part(index, 4464, of_part).unwrap();
        let mut file = vec![0; sealer.layout().part_offset(index) as usize];
        file.extend_from_slice(sealing.prefix());
        let from = file.len();
        file.extend_from_slice(&plain[65_536..]);
        sealing.seal_chunk(&mut file, from).unwrap();
        let check = |file: &Vec<u8>, index, len, commitments: &Commitments| {
            let mut got = Vec::new();
            let index = sealift_terms::PartIndex(index);
            sealer
                .open_part(file, index, len, commitments, |run| {
                    got.extend_from_slice(run);
                    Ok(())
                })
                .map(|()| got)
        };
        let right = sealing.commitments();
        assert!(check(&file, 1, 4464, &right).unwrap() == plain[65_536..]);
        assert!(check(&file, 1, 4463, &right).is_err());
        assert!(check(&file, 0, 4464, &right).is_err());
        let mut wrong = right;
        wrong.inner = Commitment([0; 32]);
        assert!(check(&file, 1, 4464, &wrong).is_err());
        let outer = match right.outer {
            None => Some(OuterCommitment([0; 32])),
            Some(_) => None,
        };
        let wrong = Commitments { outer, ..right };
        assert!(check(&file, 1, 4464, &wrong).is_err(), "of another suite");
        *file.last_mut().unwrap() ^= 1;
        assert!(check(&file, 1, 4464, &right).is_err());
    }
}

#[test]
fn meta_larger_than_a_chunk_and_entries_across_chunks_open() {
    for sealer in sealers() {
        let suite = sealer.suite();
        // 1,100 commitments are 35,200 bytes: three chunks of META, whatever the JSON.
        let size = 1_099 * 65_536;
        let listed: Vec<_> = (0..1_100_u32)
            .map(|i| commitments(suite, i as u8))
            .collect();
        let mut meta = meta(size);
        meta.metadata.insert("n".into(), "v".repeat(20_001));
        let tail = sealer.meta(salts(suite, 3), &meta, &listed).unwrap();
        let start = sealer.layout().meta_offset(size).unwrap() as usize;
        let mut sealed = sealer.header_bytes().to_vec();
        sealed.resize(start, 0);
        sealed.extend_from_slice(&tail);
        let opened = open_in(suite, &sealed).unwrap();
        let mut kept = None;
        for part in 0..1_100 {
            // The parts are not there: a matching commitment fails later, at the part.
            assert!(
                opened
                    .part(sealift_terms::PartIndex(part), 0..1, &mut kept)
                    .is_err()
            );
        }
        assert_eq!(opened.meta(), &meta);
        for (part, of_part) in (0..).zip(&listed) {
            assert_eq!(opened.commitments(part, &mut kept).unwrap(), *of_part);
        }
        // The last chunk proves META's length: opening alone must find it changed.
        let last_tag = sealed.len() - 33;
        sealed[last_tag] ^= 1;
        assert!(open_in(suite, &sealed).is_err());
    }
}

#[test]
fn what_is_wrongly_used_is_refused() {
    let mut out = Vec::new();
    let rng = Counting::default();
    assert!(sealer().seal_whole(&meta(2), b"x", &rng, &mut out).is_err());
    assert!(sealer().meta(salt(1), &meta(0), &[]).is_err());
    for sealer in sealers() {
        let suite = sealer.suite();
        let two = [commitments(suite, 0); 2];
        assert!(sealer.meta(salts(suite, 1), &meta(65_535), &two).is_err());
        assert!(sealer.meta(salts(suite, 1), &meta(65_536), &two).is_ok());
    }
}

#[test]
fn a_failing_store_and_a_failing_sink_are_not_damage() {
    struct Broken;
    impl crate::ReadAt for Broken {
        fn read_exact_at(&self, _: &mut [u8], _: u64) -> std::io::Result<()> {
            Err(std::io::ErrorKind::TimedOut.into())
        }
    }
    let error = Inspected::new(Broken, 1000, &expected()).err().unwrap();
    assert!(matches!(error, SealError::Read(_)) && !error.is_damage());
    let sealed = seal(b"hello");
    let full = |_: &[u8]| Err(std::io::ErrorKind::StorageFull.into());
    let error = open(&sealed).unwrap().read_range(0..5, full).unwrap_err();
    assert!(matches!(error, SealError::Sink(_)) && !error.is_damage());
}
