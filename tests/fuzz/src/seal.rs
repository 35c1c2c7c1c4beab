//! Objects as a holder of the key could make them: tags and lengths right,
//! everything else as it comes.

use sealift_seal::{Expected, Found, Inspected, Keys, RecordKey, Scanner, SealError, Suite, Tail};

use crate::opener::{
    crc32c, message,
    object::{Object, header_tag, meta_context, object_keys, part_context},
    pack::{self, Met},
};

/// The record key of each layer, the inner one's first.
const KEYS: [[u8; 32]; 2] = [[7; 32], [8; 32]];

/// Opens an object and reads it to its end, with sealift and as many keys as its header
/// has records; its size and how many those are.
///
/// # Errors
/// Why it is refused.
pub fn open(stored: &[u8]) -> Result<(u64, usize), SealError> {
    let [first, second] = KEYS.map(RecordKey::new);
    let inspected = Inspected::new(stored, stored.len() as u64, &Expected::unlisted())?;
    inspected.size_and_parts()?;
    let (keys, layers) = match inspected.header().suite() {
        Suite::One => (Keys::one(&first), 1),
        Suite::Two => (Keys::two(&first, &second), 2),
    };
    let opened = inspected.open(keys)?;
    opened.verify()?;
    Ok((opened.size(), layers))
}

/// Holds the two readers against each other: whatever sealift opens, the page
/// allows.
pub fn compare(stored: &[u8]) {
    if let Ok((size, layers)) = open(stored) {
        let keys = &KEYS[..layers];
        let read = Object::unlisted_under(stored, keys).and_then(|object| object.read());
        assert_eq!(read.map(|plain| plain.len() as u64), Ok(size));
    }
}

/// An empty object with this META, in one layer or in two. The header's fields are
/// changed, META and footer are sealed and summed behind them.
#[must_use]
pub fn forge(layers: usize, fields: &[u8], meta: &[u8]) -> Vec<u8> {
    let mut out = [0; 64];
    out[..16].copy_from_slice(b"\x89SLF\r\n\x1a\n\x01\x01\0\0\0\x01\0\0");
    if layers == 2 {
        out[9] = 2;
        out[48..].fill(6);
    }
    for change in fields.chunks_exact(2) {
        out[usize::from(change[0] % 64)] ^= change[1];
    }
    let mut uid = [0; 16];
    uid.copy_from_slice(&out[16..32]);
    let keys = object_keys(&KEYS[..layers], &uid);
    let mut out = out.to_vec();
    out.extend(header_tag(&keys, &out));
    let header = out.clone();
    let part = message::seal(&keys, [[1; 24], [3; 24]], &part_context(&header, 0), &[]);
    out.extend(&part);
    let mut meta = meta.to_vec();
    for prefix in part.chunks(56).take(layers) {
        meta.extend(&prefix[24..56]);
    }
    let sealed = message::seal(&keys, [[2; 24], [4; 24]], &meta_context(&header, 1), &meta);
    let footer = [out.len() as u64, sealed.len() as u64, 1]
        .map(u64::to_be_bytes)
        .concat();
    out.extend(sealed);
    out.extend(&footer);
    out.extend(crc32c(&footer).to_be_bytes());
    out.extend(b"SLFE");
    out
}

/// META's plaintext up to its commitments.
#[must_use]
pub fn meta_of(json: &[u8]) -> Vec<u8> {
    [&(json.len() as u32).to_be_bytes(), json].concat()
}

/// Holds the two scanners of packs against each other.
pub fn compare_scans(bytes: &[u8], written_last: bool) {
    let tail = if written_last {
        Tail::Open
    } else {
        Tail::Closed
    };
    let mut scanner = Scanner::new(bytes, bytes.len() as u64, tail);
    let mut met = pack::walk(bytes, written_last).into_iter();
    while let Some(found) = scanner.next().unwrap() {
        // Of a pack made of false beginnings sealift gives up the rest.
        if matches!(&found, Found::Damage { range, .. } if range.end == bytes.len() as u64) {
            return;
        }
        let same = match (found, met.next().unwrap()) {
            (
                Found::Entry {
                    body_offset, body, ..
                },
                Met::Entry {
                    offset,
                    body: other,
                    ..
                },
            ) => body_offset == offset as u64 && body == other,
            (Found::Damage { range, .. }, Met::Damage(other))
            | (Found::Dropped { range }, Met::CutShort(other)) => {
                range == (other.start as u64..other.end as u64)
            }
            _ => false,
        };
        assert!(same, "the scans differ");
    }
    assert_eq!(met.next(), None);
}
