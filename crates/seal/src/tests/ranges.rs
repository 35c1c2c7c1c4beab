//! Any range is the same bytes as the same range of the whole.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use proptest::prelude::*;

use super::*;
use crate::ReadAt;

/// Positions near chunk and part boundaries, and anywhere.
fn position(size: u64) -> impl Strategy<Value = u64> {
    let near = (0..=size / 16_384, -2_i64..=2)
        .prop_map(move |(chunk, off)| (chunk * 16_384).saturating_add_signed(off).min(size));
    prop_oneof![near, 0..=size]
}

proptest! {
    // A failure prints the smallest size and positions that show it; they decide everything.
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_range_opens_to_the_bytes_it_names(
        (size, a, b) in prop_oneof![Just(0_u64), 0..300_000_u64, Just(131_072)]
            .prop_flat_map(|size| (Just(size), position(size), position(size)))
    ) {
        let plain = plaintext(size as usize);
        for suite in [Suite::One, Suite::Two] {
            let sealed = seal_in(suite, &plain);
            let opened = open_in(suite, &sealed).unwrap();
            let range = a.min(b)..a.max(b);
            let mut got = Vec::new();
            opened.read_range(range.clone(), |run| {
                assert!(!run.is_empty());
                got.extend_from_slice(run);
                Ok(())
            }).unwrap();
            prop_assert!(got == plain[range.start as usize..range.end as usize], "{size} {range:?}");
        }
    }
}

#[test]
fn ranges_beyond_the_object_are_refused() {
    let sealed = seal(b"hello");
    let opened = open(&sealed).unwrap();
    #[allow(clippy::reversed_empty_ranges)]
    for bad in [0..6, 6..6, 3..2, u64::MAX - 1..u64::MAX] {
        assert!(matches!(
            opened.range(bad),
            Err(SealError::OutOfRange { .. })
        ));
    }
}

#[test]
fn a_damaged_chunk_is_refused_only_when_it_is_read() {
    for suite in [Suite::One, Suite::Two] {
        let plain = plaintext(200_000);
        let mut sealed = seal_in(suite, &plain);
        let offset = sealer_in(suite)
            .layout()
            .chunk_offset(sealift_terms::PartIndex(1), 2)
            .unwrap();
        sealed[offset as usize + 5] ^= 1;
        let opened = open_in(suite, &sealed).unwrap();
        let chunk = 65_536 + 2 * 16_384;
        let read = |range| opened.read_range(range, |_| Ok(()));
        assert!(read(0..chunk).is_ok());
        assert!(read(chunk + 16_384..200_000).is_ok());
        assert!(read(chunk + 5..chunk + 6).is_err());
        assert!(read(chunk - 1..chunk + 1).is_err());
        assert!(opened.verify().is_err());
        let mut reader = opened.range(0..200_000).unwrap();
        let error = loop {
            match reader.next_run() {
                Ok(run) => assert!(run.is_some()),
                Err(error) => break error,
            }
        };
        assert!(matches!(
            error,
            SealError::Damaged(crate::Damage::Chunk { part: 1, chunk: 2 })
        ));
        assert!(
            reader.next_run().unwrap().is_none(),
            "nothing comes after a failure"
        );
    }
}

#[test]
fn a_short_range_of_a_large_object_reads_little() {
    struct Metered<'a>(&'a [u8], AtomicU64);
    impl ReadAt for Metered<'_> {
        fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
            self.1.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            self.0.read_exact_at(bytes, offset)
        }
    }
    for suite in [Suite::One, Suite::Two] {
        let sealed = seal_in(suite, &plaintext(3_000_000));
        let metered = Metered(&sealed, AtomicU64::new(0));
        let inspected = Inspected::new(&metered, sealed.len() as u64, &expected_in(suite)).unwrap();
        let opened = with_keys(suite, |keys| inspected.open(keys)).unwrap();
        opened.read_range(1_500_000..1_500_010, |_| Ok(())).unwrap();
        let read = metered.1.load(Ordering::Relaxed);
        assert!(read < 3 * suite.sealed_chunk(), "{read} bytes read");
    }
}
