//! Whatever happens to a sealed object's bytes, it is refused.

use super::*;

#[test]
fn every_flipped_bit_is_refused() {
    for plain in [&b""[..], b"hello, world"] {
        let sealed = seal(plain);
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let error = open_all(&bad).err().unwrap_or_else(|| panic!("bit {bit}"));
            assert!(error.is_damage(), "bit {bit}: {error}");
            // Without a catalog to compare with it is refused all the same.
            let opened = Inspected::new(bad.as_slice(), bad.len() as u64, &Expected::unlisted())
                .and_then(|inspected| inspected.open(&key()));
            assert!(
                opened.and_then(|opened| opened.verify()).is_err(),
                "bit {bit}"
            );
        }
    }
}

#[test]
fn every_flipped_byte_of_an_object_of_several_parts_is_refused() {
    let sealed = seal(&plaintext(65_536 + 16_384 + 1));
    let boundaries = [
        0,
        96,
        152,
        152 + 16_400,
        152 + 4 * 16_400,
        65_768,
        sealed.len() - 300,
    ];
    for at in boundaries
        .into_iter()
        .flat_map(|at| at..at + 80)
        .chain(sealed.len() - 80..sealed.len())
    {
        let mut bad = sealed.clone();
        bad[at] ^= 0x10;
        assert!(open_all(&bad).is_err(), "byte {at}");
    }
}

#[test]
fn every_cut_and_every_addition_is_refused() {
    let sealed = seal(b"hello, world");
    for len in 0..sealed.len() {
        assert!(open_all(&sealed[..len]).is_err(), "cut to {len}");
        assert!(
            open_all(&sealed[sealed.len() - len..]).is_err(),
            "last {len}"
        );
    }
    for more in 1..64 {
        let mut long = sealed.clone();
        long.resize(sealed.len() + more, 0);
        assert!(open_all(&long).is_err(), "{more} more");
    }
    for at in 0..sealed.len() {
        let mut without = sealed.clone();
        without.remove(at);
        assert!(open_all(&without).is_err(), "without byte {at}");
    }
}

#[test]
fn an_object_cut_at_a_chunk_or_part_is_refused_even_with_its_own_end() {
    let sealed = seal(&plaintext(3 * 65_536));
    let layout = sealer().layout();
    let tail = layout.meta_offset(3 * 65_536).unwrap() as usize;
    for part in 0..3 {
        let from = layout.part_offset(sealift_terms::PartIndex(part)) as usize;
        for from in [from, from + 56, from + 56 + 16_400] {
            let mut bad = sealed[..from].to_vec();
            bad.extend_from_slice(&sealed[tail..]);
            assert!(open_all(&bad).is_err(), "cut at {from}");
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
        (9, 2, "suite"),
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
}

#[test]
fn another_object_of_the_catalog_is_refused_before_its_key_is_unwrapped() {
    let sealed = seal(b"hello");
    let len = sealed.len() as u64;
    let mut other = expected();
    other.uid = Some(ObjectUid([9; 16]));
    assert!(Inspected::new(sealed.as_slice(), len, &other).is_err());
    let mut other = expected();
    other.record = Some(RecordId([9; 16]));
    assert!(Inspected::new(sealed.as_slice(), len, &other).is_err());
    let mut names = [name(), name(), name()];
    names[0].bucket = BucketName::new("c").unwrap();
    names[1].key = ObjectKey::new("a/e\u{301}").unwrap();
    names[2].version = VersionId::new("v2").unwrap();
    for name in names {
        let expected = Expected::version(header().uid, header().record, name);
        let opened = Inspected::new(sealed.as_slice(), len, &expected)
            .unwrap()
            .open(&key());
        assert!(matches!(opened, Err(SealError::Substituted { .. })));
    }
}

/// An object of one byte whose META was sealed with the right key but says
/// whatever is wanted.
fn with_meta(json_len: u32, json: &str, commitments: &[Commitment], footer_parts: u32) -> Vec<u8> {
    let mut sealed = seal(b"x");
    sealed.truncate(96 + 73);
    let plain = [&json_len.to_be_bytes()[..], json.as_bytes()].concat();
    let size = (plain.len() + 32 * commitments.len()) as u64;
    let cipher = crate::cipher::ObjectCipher::new(&key(), &header());
    let message = cipher.meta(footer_parts, &salt(7)).unwrap();
    let mut buffer = crate::PartBuffer::of_message(message, &salt(7), size, sealed);
    buffer.push(&plain).unwrap();
    commitments
        .iter()
        .for_each(|one| buffer.push(&one.0).unwrap());
    let (mut sealed, _) = buffer.finish().unwrap();
    let footer = crate::footer::Footer {
        meta_offset: 96 + 73,
        meta_len: sealed.len() as u64 - (96 + 73),
        parts: footer_parts,
    };
    sealed.extend_from_slice(&footer.encode());
    sealed
}

#[test]
fn meta_sealed_with_the_right_key_must_still_agree_with_what_is_stored() {
    let json = |size: u64| String::from_utf8(meta(size).encode().unwrap()).unwrap();
    let stored = seal(b"x");
    let commitment = Commitment(stored[96 + 24..96 + 56].try_into().unwrap());
    let good = json(1);
    let len = good.len() as u32;
    assert_eq!(
        open_all(&with_meta(len, &good, &[commitment], 1)).unwrap(),
        b"x"
    );
    for size in [0, 2, 65_536, 65_537, u64::MAX] {
        let json = json(size);
        let bad = with_meta(json.len() as u32, &json, &[commitment], 1);
        assert!(open(&bad).is_err(), "size {size}");
    }
    for wrong in [0, len - 1, len + 1, len + 32, u32::MAX] {
        assert!(
            open(&with_meta(wrong, &good, &[commitment], 1)).is_err(),
            "length {wrong}"
        );
    }
    assert!(
        open(&with_meta(len, &good, &[], 1)).is_err(),
        "no commitment"
    );
    assert!(
        open(&with_meta(len, &good, &[commitment; 2], 1)).is_err(),
        "two commitments"
    );
    assert!(
        open(&with_meta(len, &good, &[commitment; 2], 2)).is_err(),
        "two parts"
    );
    let other = with_meta(len, &good, &[Commitment([0; 32])], 1);
    assert!(
        open(&other).unwrap().verify().is_err(),
        "another part's commitment"
    );
    let large = good.replacen('{', &format!("{{\"z\":\"{}\",", "v".repeat(65_536)), 1);
    assert!(
        open(&with_meta(large.len() as u32, &large, &[commitment], 1)).is_err(),
        "64 KiB"
    );
}
