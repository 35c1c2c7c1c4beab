//! Two layers: neither key alone opens anything, and nothing of one layer, one try or
//! one place stands in for another.

use aes_gcm::{
    Aes256Gcm, KeyInit as _,
    aead::{Aead as _, Payload},
};
use sealift_terms::PartIndex;

use super::*;
use crate::{
    cipher::ObjectCipher,
    cobblestone::{Derived, Message, nonce},
    key::Dek,
    layers::Prefix,
    outer::{OuterDek, OuterMessage},
};

const SIZE: usize = 3 * 65_536 + 100;
const PREFIX: usize = 112;
const CHUNK: usize = 16_416;

fn part_range(index: u32) -> std::ops::Range<usize> {
    let layout = sealer_in(Suite::Two).layout();
    let start = layout.part_offset(PartIndex(index)) as usize;
    start..start + layout.full_part_len() as usize
}

fn refused_with(sealed: &[u8], other: &[u8], from: usize, to: std::ops::Range<usize>) {
    let mut bad = sealed.to_vec();
    bad[to.clone()].copy_from_slice(&other[from..from + to.len()]);
    assert!(bad != sealed, "nothing was changed in {to:?}");
    assert!(open_all_in(Suite::Two, &bad).is_err(), "{from} in {to:?}");
}

fn try_keys(sealed: &[u8], keys: Keys<'_>) -> SealError {
    let unlisted = Expected::unlisted();
    let inspected = Inspected::new(sealed, sealed.len() as u64, &unlisted).unwrap();
    inspected.open(keys).err().unwrap()
}

#[test]
fn each_layers_key_alone_opens_nothing() {
    let sealed = seal_in(Suite::Two, b"hello");
    let (inner, outer, wrong) = (key(), outer_key(), RecordKey::new([9; 32]));
    for one in [&inner, &outer] {
        let error = try_keys(&sealed, Keys::one(one));
        assert!(matches!(error, SealError::Misuse(_)), "{error}");
        for (first, second) in [(one, &wrong), (&wrong, one), (one, one)] {
            let error = try_keys(&sealed, Keys::two(first, second));
            assert!(matches!(error, SealError::WrongKey), "{error}");
        }
    }
    let error = try_keys(&sealed, Keys::two(&outer, &inner));
    assert!(matches!(error, SealError::WrongKey), "the layers exchanged");
}

/// Whoever holds one key and knows the format by heart still gets nothing: not a
/// chunk, not META, not even whether the header is right.
#[test]
fn who_peels_off_the_outer_layer_holds_what_the_inner_one_sealed() {
    let plain = plaintext(20_000);
    let sealed = seal_in(Suite::Two, &plain);
    let header: [u8; 96] = sealed[..96].try_into().unwrap();
    let part = &sealed[96..];
    let (salts, listed) = Prefix::read(Suite::Two, part).unwrap();
    let uid = header_in(Suite::Two).uid;
    let context = |label: &'static [u8]| [label, header.as_slice(), [0; 8].as_slice()];
    let dek = Dek::derive(&outer_key(), uid);
    let derived = Derived::of(
        &dek,
        &salts.outer.unwrap().0,
        context(b"sealift/v1 outer part\0"),
    );
    let cipher = Aes256Gcm::new_from_slice(derived.key()).unwrap();
    let inner = Message::derive(
        &Dek::derive(&key(), uid),
        &salts.inner,
        context(b"sealift/v1 part\0"),
    )
    .unwrap();
    assert_eq!(
        Some(derived.commitment()),
        listed.outer.map(|outer| outer.0)
    );
    assert_eq!(inner.commitment(), listed.inner);
    let mut opened = Vec::new();
    for (index, chunk) in (0..).zip([&part[PREFIX..][..CHUNK], &part[PREFIX + CHUNK..][..3648]]) {
        // The inner key alone: it is not the inner layer that lies there.
        for cut in [0, 16] {
            let mut bytes = chunk[..chunk.len() - cut].to_vec();
            assert_eq!(inner.open(index, &mut bytes, 0..), None);
        }
        let nonce = nonce(derived.base(), index);
        let peeled = cipher
            .decrypt((&nonce).into(), Payload::from(chunk))
            .unwrap();
        assert_eq!(peeled.len() + 16, chunk.len());
        let clear = plain
            .windows(24)
            .take(40)
            .any(|known| peeled.windows(24).any(|window| window == known));
        assert!(!clear, "the outer key alone gives plaintext");
        let mut bytes = peeled;
        let len = inner.open(index, &mut bytes, 0..).unwrap();
        opened.extend_from_slice(&bytes[..len]);
    }
    assert!(opened == plain);
    // Neither key alone checks the header's tag.
    for first in [key(), outer_key()] {
        let mut tag = [0; 32];
        let dek = Dek::derive(&first, uid);
        dek.expand(&[b"sealift/v1 header\0", &header[..64]], &mut tag);
        assert_ne!(tag, header[64..]);
    }
}

#[test]
fn a_record_key_in_the_wrong_layer_derives_other_keys() {
    let (uid, salt) = (ObjectUid([1; 16]), [5; 24]);
    let header = sealer_in(Suite::Two).header_bytes().to_vec();
    let number = 0_u64.to_be_bytes();
    let context = |label: &'static [u8]| [label, header.as_slice(), number.as_slice()];
    for (inner, outer) in [
        (&b"sealift/v1 part\0"[..], &b"sealift/v1 outer part\0"[..]),
        (b"sealift/v1 meta\0", b"sealift/v1 outer meta\0"),
    ] {
        let inner = Message::derive(&Dek::derive(&key(), uid), &Salt(salt), context(inner));
        let outer = OuterMessage::derive(
            &OuterDek::derive(&key(), uid),
            &OuterSalt(salt),
            context(outer),
        );
        assert_ne!(
            inner.unwrap().commitment().0,
            outer.unwrap().commitment().0,
            "the same record key, uid and salt"
        );
    }
}

#[test]
fn what_has_not_a_key_or_a_salt_for_each_layer_is_refused() {
    let (one, two) = (header_in(Suite::One), header_in(Suite::Two));
    assert!(ObjectSealer::new(&key(), two).is_err());
    assert!(ObjectSealer::new(Keys::two(&key(), &outer_key()), one).is_err());
    let same_record = Header {
        second: Some(two.record),
        ..two
    };
    assert!(ObjectSealer::new(Keys::two(&key(), &outer_key()), same_record).is_err());
    let [in_one, in_two] = sealers();
    let part = |sealer: &ObjectSealer, salts| sealer.part(PartIndex(0), 5, salts).map(drop);
    assert!(part(&in_one, salts(Suite::Two, 1)).is_err());
    assert!(part(&in_two, salts(Suite::One, 1)).is_err());
    let meta_of = |sealer: &ObjectSealer, listed| {
        let salts = salts(sealer.suite(), 1);
        sealer.meta(salts, &meta(5), &[listed]).map(drop)
    };
    assert!(meta_of(&in_one, commitments(Suite::Two, 1)).is_err());
    assert!(meta_of(&in_two, commitments(Suite::One, 1)).is_err());
}

#[test]
fn parts_and_chunks_of_one_object_do_not_change_places() {
    let sealed = seal_in(Suite::Two, &plaintext(SIZE));
    for (from, to) in [(0, 1), (1, 0), (2, 1)] {
        refused_with(&sealed, &sealed, part_range(from).start, part_range(to));
    }
    let chunk = |index: usize| {
        let start = part_range(0).start + PREFIX + index * CHUNK;
        start..start + CHUNK
    };
    refused_with(&sealed, &sealed, chunk(0).start, chunk(1));
    refused_with(&sealed, &sealed, chunk(2).start, chunk(1));
}

#[test]
fn nothing_of_an_earlier_try_is_taken_not_even_one_layer_of_it() {
    let rng = Counting::default();
    let plain = plaintext(SIZE);
    let sealer = sealer_in(Suite::Two);
    let first = seal_with(&sealer, &meta(SIZE as u64), &plain, &rng);
    let second = seal_with(&sealer, &meta(SIZE as u64), &plain, &rng);
    for part in 0..3 {
        let part = part_range(part);
        let (outer, inner) = (
            part.start..part.start + 56,
            part.start + 56..part.start + 112,
        );
        let body = part.start + PREFIX..part.end;
        for piece in [part, outer, inner, body] {
            refused_with(&second, &first, piece.start, piece.clone());
        }
    }
    let meta_at = sealer.layout().meta_offset(SIZE as u64).unwrap() as usize;
    refused_with(&second, &first, meta_at, meta_at..first.len() - 32);
    for from in [meta_at, meta_at + 56] {
        refused_with(&second, &first, from, from..from + 56);
    }
}

#[test]
fn the_layers_of_a_message_do_not_change_places() {
    let sealed = seal_in(Suite::Two, &plaintext(SIZE));
    let layout = sealer_in(Suite::Two).layout();
    let meta_at = layout.meta_offset(SIZE as u64).unwrap() as usize;
    for at in [part_range(0).start, part_range(1).start, meta_at] {
        let mut bad = sealed.clone();
        bad[at..at + 112].rotate_left(56);
        assert!(open_all_in(Suite::Two, &bad).is_err(), "at {at}");
    }
    // Nor the key records in the header.
    let mut bad = sealed.clone();
    bad[32..64].rotate_left(16);
    for keys in [
        Keys::two(&key(), &outer_key()),
        Keys::two(&outer_key(), &key()),
    ] {
        assert!(matches!(try_keys(&bad, keys), SealError::WrongKey));
    }
}

#[test]
fn parts_meta_and_headers_of_another_object_are_refused() {
    let rng = Counting::default();
    let plain = plaintext(SIZE);
    let ours = seal_with(&sealer_in(Suite::Two), &meta(SIZE as u64), &plain, &rng);
    for changed in [
        Header {
            uid: ObjectUid([3; 16]),
            ..header_in(Suite::Two)
        },
        Header {
            second: Some(RecordId([5; 16])),
            ..header_in(Suite::Two)
        },
    ] {
        let sealer = ObjectSealer::new(Keys::two(&key(), &outer_key()), changed).unwrap();
        let other = seal_with(&sealer, &meta(SIZE as u64), &plain, &rng);
        assert_eq!(ours.len(), other.len());
        refused_with(&ours, &other, 0, 0..96);
        refused_with(&ours, &other, 64, 64..96);
        refused_with(&ours, &other, part_range(1).start, part_range(1));
        let layout = sealer.layout();
        let meta_at = layout.meta_offset(SIZE as u64).unwrap() as usize;
        refused_with(&ours, &other, meta_at, meta_at..ours.len());
    }
}

#[test]
fn an_object_does_not_pass_for_one_of_the_other_suite() {
    let [one, two] = [Suite::One, Suite::Two].map(|suite| seal_in(suite, b"hello, world"));
    let mut as_two = one;
    as_two[9] = 2;
    as_two[48..64].fill(4);
    let mut as_one = two;
    as_one[9] = 1;
    as_one[48..64].fill(0);
    let open = |bytes: &[u8], suite: Suite| {
        Inspected::new(bytes, bytes.len() as u64, &expected_in(suite))
            .and_then(|inspected| with_keys(suite, |keys| inspected.open(keys)).map(drop))
    };
    assert!(open(&as_two, Suite::Two).is_err());
    assert!(matches!(
        open(&as_one, Suite::One),
        Err(SealError::WrongKey)
    ));
    // What the catalog says decides before any key is used.
    let in_one = seal(b"hello");
    let listed = expected_in(Suite::Two);
    let error = Inspected::new(in_one.as_slice(), in_one.len() as u64, &listed);
    assert!(matches!(error, Err(SealError::Substituted { .. })));
}

#[test]
fn the_header_of_two_layers_commits_to_both_keys() {
    let header = header_in(Suite::Two);
    let tag_of = |keys| {
        let cipher = ObjectCipher::new(keys, &header).unwrap();
        cipher.header()[64..].to_vec()
    };
    let (a, b, c) = (key(), outer_key(), RecordKey::new([9; 32]));
    let right = tag_of(Keys::two(&a, &b));
    assert_eq!(right, tag_of(Keys::two(&a, &b)));
    for other in [(&c, &b), (&a, &c), (&b, &a)] {
        assert_ne!(right, tag_of(Keys::two(other.0, other.1)));
    }
}
