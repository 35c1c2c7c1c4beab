//! Bytes that are good in one place are refused in every other.

use sealift_terms::PartIndex;

use super::*;

const SIZE: usize = 3 * 65_536 + 100;

fn part_range(index: u32) -> std::ops::Range<usize> {
    let layout = sealer().layout();
    let start = layout.part_offset(PartIndex(index)) as usize;
    start..start + layout.full_part_len() as usize
}

fn refused_with(sealed: &[u8], other: &[u8], from: usize, to: std::ops::Range<usize>) {
    let mut bad = sealed.to_vec();
    bad[to.clone()].copy_from_slice(&other[from..from + to.len()]);
    assert!(open_all(&bad).is_err(), "{from} in {to:?}");
}

#[test]
fn parts_and_chunks_of_one_object_do_not_change_places() {
    let sealed = seal(&plaintext(SIZE));
    for (from, to) in [(0, 1), (1, 0), (2, 1)] {
        refused_with(&sealed, &sealed, part_range(from).start, part_range(to));
    }
    let chunk = |index: usize| {
        let start = part_range(0).start + 56 + index * 16_400;
        start..start + 16_400
    };
    refused_with(&sealed, &sealed, chunk(0).start, chunk(1));
    refused_with(&sealed, &sealed, chunk(2).start, chunk(1));
}

#[test]
fn parts_of_an_earlier_try_at_the_same_object_are_refused() {
    let rng = Counting::default();
    let plain = plaintext(SIZE);
    let first = seal_with(&sealer(), &meta(SIZE as u64), &plain, &rng);
    let second = seal_with(&sealer(), &meta(SIZE as u64), &plain, &rng);
    assert!(open_all(&first).unwrap() == open_all(&second).unwrap());
    for part in 0..3 {
        refused_with(&second, &first, part_range(part).start, part_range(part));
        // Nor with the second try's prefix before the first try's chunks.
        let body = part_range(part).start + 56..part_range(part).end;
        refused_with(&second, &first, body.start, body.clone());
    }
    let end = part_range(3).start;
    refused_with(&second, &first, end, end..end + 172);
}

#[test]
fn parts_meta_and_headers_of_another_object_are_refused() {
    let rng = Counting::default();
    let plain = plaintext(SIZE);
    let mut other_header = header();
    other_header.uid = ObjectUid([3; 16]);
    let other_sealer = ObjectSealer::new(&key(), other_header).unwrap();
    let ours = seal_with(&sealer(), &meta(SIZE as u64), &plain, &rng);
    let other = seal_with(&other_sealer, &meta(SIZE as u64), &plain, &rng);
    assert_eq!(ours.len(), other.len());
    refused_with(&ours, &other, 0, 0..96);
    refused_with(&ours, &other, 64, 64..96);
    refused_with(&ours, &other, part_range(1).start, part_range(1));
    let meta_start = sealer().layout().meta_offset(SIZE as u64).unwrap() as usize;
    refused_with(&ours, &other, meta_start, meta_start..ours.len());
}

#[test]
fn meta_of_another_size_is_refused() {
    let long = seal(&plaintext(SIZE));
    let short = seal(&plaintext(65_536 + 100));
    let tail = |sealed: &[u8], size: u64| {
        let start = sealer().layout().meta_offset(size).unwrap() as usize;
        (sealed[..start].to_vec(), sealed[start..].to_vec())
    };
    let (mut long_body, long_tail) = tail(&long, SIZE as u64);
    let (mut short_body, short_tail) = tail(&short, 65_536 + 100);
    long_body.extend(short_tail);
    short_body.extend(long_tail);
    assert!(open_all(&long_body).is_err());
    assert!(open_all(&short_body).is_err());
}
