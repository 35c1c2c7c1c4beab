//! Packs: entries come back whole, damage is stepped over, an open end dropped.

use super::*;
use crate::{
    Found, Mark, Scanner, Tail,
    pack::{EntryKind, PACK_HEADER, append_entry},
};

/// A pack of an object, a record and a mark, and where each entry begins.
fn pack() -> (Vec<u8>, Vec<usize>) {
    let mut mark = meta(0);
    mark.mark = Some(Mark::DeleteMarker);
    let bodies = [
        (EntryKind::Object, seal(b"hello")),
        (EntryKind::Record, b"{\"id\":\"SLPE\"}".to_vec()),
        (
            EntryKind::Mark,
            seal_with(&sealer(), &mark, b"", &Counting::default()),
        ),
    ];
    let (mut out, mut starts) = (PACK_HEADER.to_vec(), Vec::new());
    for (kind, body) in bodies {
        starts.push(out.len());
        append_entry(&mut out, kind, |out| {
            out.extend_from_slice(&body);
            Ok(())
        })
        .unwrap();
    }
    starts.push(out.len());
    (out, starts)
}

/// What a scan finds, in short: `E` and the offset, `!` or `-` and the range.
fn scan(pack: &[u8], tail: Tail) -> Vec<String> {
    let mut scanner = Scanner::new(pack, pack.len() as u64, tail);
    let mut found = Vec::new();
    while let Some(item) = scanner.next().unwrap() {
        found.push(match item {
            Found::Entry {
                body_offset, body, ..
            } => {
                let start = body_offset as usize;
                assert_eq!(&pack[start..start + body.len()], body);
                format!("E{}", body_offset - 16)
            }
            Found::Damage { range, .. } => format!("!{}..{}", range.start, range.end),
            Found::Dropped { range } => format!("-{}..{}", range.start, range.end),
        });
        assert!(found.len() < 10, "{found:?}");
    }
    found
}

#[test]
fn a_whole_pack_gives_its_entries_in_order() {
    let (pack, at) = pack();
    for tail in [Tail::Open, Tail::Closed] {
        let expected: Vec<_> = at[..3].iter().map(|at| format!("E{at}")).collect();
        assert_eq!(scan(&pack, tail), expected);
    }
    assert!(scan(&PACK_HEADER, Tail::Open).is_empty());
}

#[test]
fn a_mark_opens_as_what_it_says() {
    let (pack, at) = pack();
    let opened = open(&pack[at[2] + 16..]).unwrap();
    assert_eq!(opened.meta().mark, Some(Mark::DeleteMarker));
    opened.verify().unwrap();
}

#[test]
fn every_cut_of_an_open_pack_keeps_all_entries_before_it() {
    let (pack, at) = pack();
    for len in 0..pack.len() {
        let whole: Vec<_> = (0..3)
            .filter(|i| at[i + 1] <= len)
            .map(|i| format!("E{}", at[i]))
            .collect();
        let end = if len < 16 {
            0
        } else {
            at.iter().rev().find(|at| **at <= len).copied().unwrap()
        };
        for (tail, sign) in [(Tail::Open, '-'), (Tail::Closed, '!')] {
            let mut expected = whole.clone();
            if end < len || len == 0 {
                expected.push(format!("{sign}{end}..{len}"));
            }
            assert_eq!(scan(&pack[..len], tail), expected, "cut to {len}");
        }
    }
}

#[test]
fn every_flipped_bit_of_an_entry_loses_that_entry_alone() {
    let (pack, at) = pack();
    for bit in at[1] * 8..at[2] * 8 {
        let mut bad = pack.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        for tail in [Tail::Open, Tail::Closed] {
            let expected = [
                format!("E{}", at[0]),
                format!("!{}..{}", at[1], at[2]),
                format!("E{}", at[2]),
            ];
            assert_eq!(scan(&bad, tail), expected, "bit {bit}");
        }
    }
    let mut bad = pack.clone();
    bad[3] ^= 1;
    assert_eq!(scan(&bad, Tail::Open)[0], "!0..16");
    assert_eq!(scan(&bad, Tail::Open)[1], "E16");
    assert_eq!(scan(&pack[16..], Tail::Closed)[1], "E0");
}

#[test]
fn an_entry_across_two_windows_of_the_search_is_found() {
    let (pack, at) = pack();
    let entry = &pack[at[0]..at[1]];
    for gap in 65_520..65_560 {
        let mut holed = PACK_HEADER.to_vec();
        holed.resize(16 + gap, 0);
        holed.extend_from_slice(entry);
        let found = scan(&holed, Tail::Closed);
        assert_eq!(
            found,
            [format!("!16..{}", 16 + gap), format!("E{}", 16 + gap)]
        );
    }
}

#[test]
fn a_pack_of_false_beginnings_is_given_up_in_time_and_never_dropped() {
    let mut bad = PACK_HEADER.to_vec();
    while bad.len() < 2 << 20 {
        bad.extend_from_slice(b"SLPE\x01\0\0\0\0\x08\0\0\xff\xff\xff\xff");
    }
    let len = bad.len();
    assert_eq!(scan(&bad, Tail::Open), [format!("!16..{len}")]);
}

#[test]
fn a_search_never_reads_an_entry_that_ends_beyond_the_pack() {
    let mut bad = PACK_HEADER.to_vec();
    bad.extend_from_slice(b"SLPE\x01\0\0\0\0\x40\0\0\0\0\0\0abc");
    assert_eq!(scan(&bad, Tail::Open), ["-16..35"]);
}
