//! The properties of the whole format, and what the tests of single files share.

mod damage;
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
    Commitment, Expected, Header, Inspected, Meta, ObjectSealer, Opened, RecordKey, Salt, SealError,
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
    }
}

pub(crate) fn sealer() -> ObjectSealer {
    ObjectSealer::new(&key(), header())
}

pub(crate) fn salt(number: u8) -> Salt {
    Salt([number; 24])
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
    Expected::version(header().uid, header().record, name())
}

pub(crate) fn seal(plain: &[u8]) -> Vec<u8> {
    seal_with(
        &sealer(),
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
    let len = sealed.len() as u64;
    Inspected::new(sealed, len, &expected())?.open(&key())
}

/// Everything that opens, or the first refusal.
pub(crate) fn open_all(sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    let opened = open(sealed)?;
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
        let sealed = seal(&plain);
        let opened = open(&sealed).unwrap();
        let json = opened.meta().encode().unwrap().len();
        let len = opened.layout().sealed_len(size as u64, json);
        assert_eq!(len, Some(sealed.len() as u64), "{size}");
        assert!(open_all(&sealed).unwrap() == plain, "{size}");
    }
}

#[test]
fn a_part_kept_over_a_restart_opens_by_its_commitment_alone() {
    let plain = plaintext(70_000);
    let mut sealer_of_part = sealer()
        .part(sealift_terms::PartIndex(1), 4464, salt(9))
        .unwrap();
    let mut file = vec![0; sealer().layout().part_offset(sealift_terms::PartIndex(1)) as usize];
    file.extend_from_slice(sealer_of_part.prefix());
    let mut chunk = plain[65_536..].to_vec();
    let tag = sealer_of_part.seal_chunk(&mut chunk).unwrap();
    file.extend(chunk.into_iter().chain(tag));
    let check = |file: &Vec<u8>, index, len, commitment: &Commitment| {
        let mut got = Vec::new();
        let index = sealift_terms::PartIndex(index);
        sealer()
            .open_part(file, index, len, commitment, |run| {
                got.extend_from_slice(run);
                Ok(())
            })
            .map(|()| got)
    };
    let commitment = sealer_of_part.commitment();
    assert!(check(&file, 1, 4464, &commitment).unwrap() == plain[65_536..]);
    assert!(check(&file, 1, 4463, &commitment).is_err());
    assert!(check(&file, 0, 4464, &commitment).is_err());
    assert!(check(&file, 1, 4464, &Commitment([0; 32])).is_err());
    *file.last_mut().unwrap() ^= 1;
    assert!(check(&file, 1, 4464, &commitment).is_err());
}

#[test]
fn meta_larger_than_a_chunk_and_entries_across_chunks_open() {
    let sealer = sealer();
    // 1,100 commitments are 35,200 bytes: three chunks of META, whatever the JSON.
    let size = 1_099 * 65_536;
    let commitments: Vec<_> = (0..1_100_u32).map(|i| Commitment([i as u8; 32])).collect();
    let mut meta = meta(size);
    meta.metadata.insert("n".into(), "v".repeat(20_001));
    let tail = sealer.meta(salt(3), &meta, &commitments).unwrap();
    let start = sealer.layout().meta_offset(size).unwrap() as usize;
    let mut sealed = sealer.header_bytes().to_vec();
    sealed.resize(start, 0);
    sealed.extend_from_slice(&tail);
    let opened = open(&sealed).unwrap();
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
    for (part, commitment) in commitments.iter().enumerate() {
        assert_eq!(
            opened.commitment(part as u32, &mut kept).unwrap(),
            *commitment
        );
    }
    // The last chunk proves META's length: opening alone must find it changed.
    let last_tag = sealed.len() - 33;
    sealed[last_tag] ^= 1;
    assert!(open(&sealed).is_err());
}

#[test]
fn what_is_wrongly_used_is_refused() {
    let mut out = Vec::new();
    let rng = Counting::default();
    assert!(sealer().seal_whole(&meta(2), b"x", &rng, &mut out).is_err());
    assert!(sealer().meta(salt(1), &meta(0), &[]).is_err());
    let two = [Commitment([0; 32]); 2];
    assert!(sealer().meta(salt(1), &meta(65_535), &two).is_err());
    assert!(sealer().meta(salt(1), &meta(65_536), &two).is_ok());
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
