//! Whatever happens to a sealed object's bytes, it is refused.

use super::*;

#[test]
fn every_flipped_bit_is_refused() {
    for suite in [Suite::One, Suite::Two] {
        for plain in [&b""[..], b"hello, world"] {
            let sealed = seal_in(suite, plain);
            for bit in 0..sealed.len() * 8 {
                let mut bad = sealed.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                let refused = open_all_in(suite, &bad).err();
                let error = refused.unwrap_or_else(|| panic!("bit {bit}"));
                assert!(error.is_damage(), "bit {bit}: {error}");
                // Without a catalog to compare with it is refused all the same.
                let unlisted = Expected::unlisted();
                let opened = Inspected::new(bad.as_slice(), bad.len() as u64, &unlisted)
                    .and_then(|inspected| with_keys(suite, |keys| inspected.open(keys)));
                assert!(
                    opened.and_then(|opened| opened.verify()).is_err(),
                    "bit {bit}"
                );
            }
        }
    }
}

#[test]
fn every_flipped_byte_of_an_object_of_several_parts_is_refused() {
    for suite in [Suite::One, Suite::Two] {
        let sealed = seal_in(suite, &plaintext(65_536 + 16_384 + 1));
        let (prefix, chunk) = (suite.prefix() as usize, suite.sealed_chunk() as usize);
        let full = sealer_in(suite).layout().full_part_len() as usize;
        let boundaries = [
            0,
            96,
            96 + prefix,
            96 + prefix + chunk,
            96 + prefix + 4 * chunk,
            96 + full,
            sealed.len() - 500,
        ];
        for at in boundaries
            .into_iter()
            .flat_map(|at| at..at + 80)
            .chain(sealed.len() - 80..sealed.len())
        {
            let mut bad = sealed.clone();
            bad[at] ^= 0x10;
            assert!(open_all_in(suite, &bad).is_err(), "byte {at}");
        }
    }
}

#[test]
fn every_cut_and_every_addition_is_refused() {
    for suite in [Suite::One, Suite::Two] {
        let sealed = seal_in(suite, b"hello, world");
        let refused = |bytes: &[u8]| open_all_in(suite, bytes).is_err();
        for len in 0..sealed.len() {
            assert!(refused(&sealed[..len]), "cut to {len}");
            assert!(refused(&sealed[sealed.len() - len..]), "last {len}");
        }
        for more in 1..64 {
            let mut long = sealed.clone();
            long.resize(sealed.len() + more, 0);
            assert!(refused(&long), "{more} more");
        }
        for at in 0..sealed.len() {
            let mut without = sealed.clone();
            without.remove(at);
            assert!(refused(&without), "without byte {at}");
        }
    }
}

#[test]
fn an_object_cut_at_a_chunk_or_part_is_refused_even_with_its_own_end() {
    for suite in [Suite::One, Suite::Two] {
        let sealed = seal_in(suite, &plaintext(3 * 65_536));
        let layout = sealer_in(suite).layout();
        let tail = layout.meta_offset(3 * 65_536).unwrap() as usize;
        let (prefix, chunk) = (suite.prefix() as usize, suite.sealed_chunk() as usize);
        for part in 0..3 {
            let from = layout.part_offset(sealift_terms::PartIndex(part)) as usize;
            for from in [from, from + prefix, from + prefix + chunk] {
                let mut bad = sealed[..from].to_vec();
                bad.extend_from_slice(&sealed[tail..]);
                assert!(open_all_in(suite, &bad).is_err(), "cut at {from}");
            }
        }
    }
}

#[test]
fn a_wrong_key_stops_before_any_data() {
    let sealed = seal(b"hello");
    let wrong = RecordKey::new([0x43; 32]);
    let inspected = Inspected::new(sealed.as_slice(), sealed.len() as u64, &expected()).unwrap();
    assert!(matches!(inspected.open(&wrong), Err(SealError::WrongKey)));
}

#[test]
fn fields_that_this_release_does_not_know_are_refused_by_name() {
    let sealed = seal(b"hello");
    for (at, value, what) in [
        (8, 2, "version"),
        (9, 0, "suite"),
        (9, 3, "suite"),
        (10, 1, "flags"),
        (11, 1, "flags"),
    ] {
        let mut bad = sealed.clone();
        bad[at] = value;
        let error = open(&bad).err().unwrap().to_string();
        assert!(error.starts_with(what), "{error}");
    }
    let mut second_record = sealed.clone();
    second_record[50] = 1;
    assert!(matches!(open(&second_record), Err(SealError::Damaged(_))));
    let in_two = seal_in(Suite::Two, b"hello");
    let mut no_second = in_two.clone();
    no_second[48..64].fill(0);
    let mut twice_the_same = in_two.clone();
    twice_the_same.copy_within(32..48, 48);
    for bad in [no_second, twice_the_same] {
        let error = open_in(Suite::Two, &bad).err().unwrap();
        assert!(matches!(error, SealError::Damaged(_)), "{error}");
    }
}

#[test]
fn another_object_of_the_catalog_is_refused_before_its_key_is_unwrapped() {
    let sealed = seal(b"hello");
    let len = sealed.len() as u64;
    let mut other = expected();
    other.uid = Some(ObjectUid([9; 16]));
    assert!(Inspected::new(sealed.as_slice(), len, &other).is_err());
    let mut other = expected();
    other.records = Some(RecordId([9; 16]).into());
    assert!(Inspected::new(sealed.as_slice(), len, &other).is_err());
    let mut other = expected();
    other.records = expected_in(Suite::Two).records;
    assert!(Inspected::new(sealed.as_slice(), len, &other).is_err());
    let mut names = [name(), name(), name()];
    names[0].bucket = BucketName::new("c").unwrap();
    names[1].key = ObjectKey::new("a/e\u{301}").unwrap();
    names[2].version = VersionId::new("v2").unwrap();
    for name in names {
        let expected = Expected::version(header().uid, header().records(), name);
        let opened = Inspected::new(sealed.as_slice(), len, &expected)
            .unwrap()
            .open(&key());
        assert!(matches!(opened, Err(SealError::Substituted { .. })));
    }
}

/// An object of one byte whose META was sealed with the right keys but says
/// whatever is wanted.
fn with_meta(
    suite: Suite,
    json_len: u32,
    json: &str,
    commitments: &[Commitments],
    footer_parts: u32,
) -> Vec<u8> {
    let mut sealed = seal_in(suite, b"x");
    let meta_offset = sealer_in(suite).layout().meta_offset(1).unwrap();
    sealed.truncate(meta_offset as usize);
    let plain = [&json_len.to_be_bytes()[..], json.as_bytes()].concat();
    let size = plain.len() as u64 + suite.entry() * commitments.len() as u64;
    let header = header_in(suite);
    let cipher = with_keys(suite, |keys| {
        crate::cipher::ObjectCipher::new(keys, &header)
    });
    let salts = salts(suite, 7);
    let message = cipher.unwrap().meta(footer_parts, &salts).unwrap();
    let sealer = crate::PartSealer::new(message, &salts, size);
    let mut buffer = crate::PartBuffer::new(sealer, sealed);
    buffer.push(&plain).unwrap();
    commitments
        .iter()
        .flat_map(Commitments::pieces)
        .for_each(|piece| buffer.push(piece).unwrap());
    let (mut sealed, _) = buffer.finish().unwrap();
    let footer = crate::footer::Footer {
        meta_offset,
        meta_len: sealed.len() as u64 - meta_offset,
        parts: footer_parts,
    };
    sealed.extend_from_slice(&footer.encode());
    sealed
}

/// The commitments of the part of an object of one byte.
fn commitments_of_x(suite: Suite) -> Commitments {
    let stored = seal_in(suite, b"x");
    let (_, commitments) = crate::layers::Prefix::read(suite, &stored[96..]).unwrap();
    commitments
}

#[test]
fn meta_sealed_with_the_right_key_must_still_agree_with_what_is_stored() {
    for suite in [Suite::One, Suite::Two] {
        let json = |size: u64| String::from_utf8(meta(size).encode().unwrap()).unwrap();
        let right = commitments_of_x(suite);
        let good = json(1);
        let len = good.len() as u32;
        let with_meta =
            |len, json: &str, listed: &[_], parts| with_meta(suite, len, json, listed, parts);
        let refused = |bytes: &[u8]| open_in(suite, bytes).is_err();
        let opened = open_all_in(suite, &with_meta(len, &good, &[right], 1));
        assert_eq!(opened.unwrap(), b"x");
        for size in [0, 2, 65_536, 65_537, u64::MAX] {
            let json = json(size);
            let bad = with_meta(json.len() as u32, &json, &[right], 1);
            assert!(refused(&bad), "size {size}");
        }
        for wrong in [0, len - 1, len + 1, len + 32, u32::MAX] {
            let bad = with_meta(wrong, &good, &[right], 1);
            assert!(refused(&bad), "length {wrong}");
        }
        assert!(refused(&with_meta(len, &good, &[], 1)), "no commitment");
        let two = [right; 2];
        assert!(refused(&with_meta(len, &good, &two, 1)), "two commitments");
        assert!(refused(&with_meta(len, &good, &two, 2)), "two parts");
        let mut others = vec![commitments(suite, 0)];
        others.push(Commitments {
            inner: Commitment([0; 32]),
            ..right
        });
        if right.outer.is_some() {
            let outer = Some(OuterCommitment([0; 32]));
            others.push(Commitments { outer, ..right });
        }
        for other in others {
            let bad = with_meta(len, &good, &[other], 1);
            let opened = open_in(suite, &bad).unwrap();
            assert!(opened.verify().is_err(), "another part's: {other:?}");
        }
        let large = good.replacen('{', &format!("{{\"z\":\"{}\",", "v".repeat(65_536)), 1);
        let bad = with_meta(large.len() as u32, &large, &[right], 1);
        assert!(refused(&bad), "64 KiB");
    }
}
