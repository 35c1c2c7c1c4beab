//! What a reader that follows `docs/format.md` to the letter opens, and what it
//! refuses.

#![allow(clippy::unwrap_used, reason = "a failure is what a test reports")]

#[path = "second_opener/mod.rs"]
mod opener;

use std::{fs, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use opener::{
    Refused, crc32c, message,
    object::{Object, Wanted, header_tag, object_key, part_context},
    pack::{self, Met},
    record,
};
use sealift_seal::{Header, Mark, Meta, ObjectSealer, RecordKey};
use sealift_terms::{ObjectFacts, ObjectUid, PartSize, RecordId, Rng, VersionName};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

const PART: u64 = 65_536;

#[test]
fn the_known_objects_open_to_their_plaintext() {
    for known in objects() {
        let key = known.record_key();
        let header = known.bytes("header_hex");
        let meta: Value = serde_json::from_str(known.text("meta_json")).unwrap();
        let wanted = Wanted {
            uid: known.array("object_uid_hex"),
            record: known.array("key_record_hex"),
            name: ["bucket", "key", "version"].map(|name| meta[name].as_str().unwrap()),
        };
        let plain = known.plaintext();
        let sealed = known.sealed(&plain);
        assert_eq!(sealed.len() as u64, known.number("sealed_len"));
        assert_eq!(sealed[..96], header);
        assert_eq!(
            hex::encode(Sha256::digest(&sealed)),
            known.text("sealed_sha256")
        );

        let object = Object::listed(&sealed, &key, &wanted).unwrap();
        assert_eq!(object.meta().size, known.number("size"));
        assert!(object.read().unwrap() == plain);
        let other = Wanted {
            name: [wanted.name[0], wanted.name[1], "v2"],
            ..wanted
        };
        refused(Object::listed(&sealed, &key, &other), "another version");
    }
}

#[test]
fn a_range_opens_from_the_chunks_that_it_touches() {
    let known = object_named("three-parts");
    let (key, plain) = (known.record_key(), known.plaintext());
    let mut sealed = known.sealed(&plain);
    // The last chunk of part 1 is broken, and no range below touches it.
    let last_chunk = 96 + 2 * message::sealed_len(PART) as usize - 1;
    sealed[last_chunk] ^= 1;
    let object = Object::unlisted(&sealed, &key).unwrap();
    for (from, to) in [
        (0, 0),
        (0, 1),
        (16_383, 16_385),
        (65_535, 65_537),
        (131_072, 147_457),
    ] {
        let read = object.read_range(from, to).unwrap();
        assert!(read == plain[from as usize..to as usize]);
    }
    assert!(object.read_range(0, 147_457).unwrap() == plain);
    assert_eq!(object.read().unwrap_err(), Refused("a chunk's tag"));
}

#[test]
fn the_known_pack_opens_entry_by_entry() {
    let fixture = fixture();
    let bytes = hex::decode(fixture["pack"]["pack_hex"].as_str().unwrap()).unwrap();
    let met = pack::walk(&bytes, false);
    let names = fixture["pack"]["objects"].as_array().unwrap();
    assert_eq!(met.len(), names.len());
    for (entry, name) in met.iter().zip(names) {
        let Met::Entry { kind, offset, body } = entry else {
            panic!("{entry:?}");
        };
        let known = object_named(name.as_str().unwrap());
        assert_eq!((*kind, &bytes[*offset..][..4]), (1, b"\x89SLF".as_slice()));
        let object = Object::unlisted(body, &known.record_key()).unwrap();
        assert!(object.read().unwrap() == known.plaintext());
    }
}

#[test]
fn a_damaged_pack_gives_what_is_whole_and_names_the_rest() {
    let bytes = hex::decode(fixture()["pack"]["pack_hex"].as_str().unwrap()).unwrap();
    let second = 16 + 16 + 420;
    let whole = |met: &[Met<'_>]| {
        met.iter()
            .filter(|met| matches!(met, Met::Entry { .. }))
            .count()
    };
    for bit in 16 * 8..second * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let met = pack::walk(&damaged, true);
        assert_eq!((met.len(), whole(&met)), (2, 1), "bit {bit}");
        assert_eq!(met[0], Met::Damage(16..second));
    }
    for cut in second + 1..bytes.len() {
        let met = pack::walk(&bytes[..cut], true);
        assert_eq!(met[1], Met::CutShort(second..cut));
        let met = pack::walk(&bytes[..cut], false);
        assert_eq!(met[1], Met::Damage(second..cut));
    }
    assert_eq!(pack::walk(&bytes[..9], true), [Met::CutShort(0..9)]);
    for bit in 0..16 * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let met = pack::walk(&damaged, false);
        assert_eq!((met.len(), whole(&met)), (3, 2), "bit {bit}");
        assert_eq!(met[0], Met::Damage(0..16));
    }
}

#[test]
fn the_known_record_key_unwraps_in_its_context_alone() {
    let fixture = fixture();
    let known = Known(fixture["record"].clone());
    let pairs: Vec<(&str, &str)> = known.0["context"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    let context = record::context_bytes(pairs.clone());
    assert_eq!(context, known.bytes("aad_hex"));
    let key = known.array("kek_hex");
    let wrapped = STANDARD.decode(known.text("wrapped_base64")).unwrap();
    assert_eq!(
        record::unwrap_local(&key, &wrapped, &context).unwrap(),
        known.record_key()
    );
    let fewer = record::context_bytes(pairs[1..].to_vec());
    refused(
        record::unwrap_local(&key, &wrapped, &fewer),
        "a wrapped key's tag",
    );
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    for name in ["empty", "hello"] {
        let known = object_named(name);
        let (key, plain) = (known.record_key(), known.plaintext());
        let sealed = known.sealed(&plain);
        let opens = |bytes: &[u8]| Object::unlisted(bytes, &key).and_then(|object| object.read());
        assert!(opens(&sealed).unwrap() == plain);
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(opens(&flipped).is_err(), "{name}, bit {bit}");
        }
        for cut in 0..sealed.len() {
            assert!(opens(&sealed[..cut]).is_err(), "{name}, cut to {cut}");
            assert!(
                opens(&sealed[cut + 1..]).is_err(),
                "{name}, cut before {cut}"
            );
        }
        assert!(opens(&[sealed.as_slice(), &[0]].concat()).is_err());
    }
}

#[test]
fn what_sealift_seals_opens() {
    let sizes = [0, 1, 16_383, 16_384, PART - 1, PART, PART + 1, 3 * PART];
    for size in sizes {
        let (key, header) = (RecordKey::new([7; 32]), header_of(9));
        let plain = plaintext("sealed here", size as usize);
        let meta = Meta::new(name(), facts(size));
        let mut sealed = Vec::new();
        ObjectSealer::new(&key, header)
            .seal_whole(&meta, &plain, &Counting::default(), &mut sealed)
            .unwrap();
        let wanted = Wanted {
            uid: [9; 16],
            record: [5; 16],
            name: ["photos", "a/é", "v1"],
        };
        let object = Object::listed(&sealed, &[7; 32], &wanted).unwrap();
        assert!(object.read().unwrap() == plain, "{size} bytes");
        assert_eq!(object.meta().mark, None);
        let other = Wanted {
            uid: [8; 16],
            ..wanted
        };
        refused(Object::listed(&sealed, &[7; 32], &other), "another object");
        refused(Object::unlisted(&sealed, &[6; 32]), "the header tag");
    }
}

#[test]
fn a_mark_that_sealift_seals_opens() {
    let mut meta = Meta::new(name(), facts(0));
    meta.mark = Some(Mark::Tags);
    meta.sequence = Some(u64::MAX);
    meta.tags.insert("class".to_owned(), "cold".to_owned());
    let mut sealed = Vec::new();
    ObjectSealer::new(&RecordKey::new([7; 32]), header_of(9))
        .seal_whole(&meta, &[], &Counting::default(), &mut sealed)
        .unwrap();
    let object = Object::unlisted(&sealed, &[7; 32]).unwrap();
    assert_eq!(object.meta().mark.as_deref(), Some("tags"));
    assert_eq!(object.meta().sequence, Some(u64::MAX));
    assert!(object.read().unwrap().is_empty());
}

/// Each of these is sealed with the right key, and wrong all the same.
#[test]
fn what_a_tag_cannot_show_is_refused_too() {
    let right = r#"{"bucket":"b","key":"k","size":5,"version":"v"}"#;
    let opens = |sealed: &[u8]| Object::unlisted(sealed, &[7; 32]).and_then(|object| object.read());
    assert_eq!(opens(&Forged::new(right).sealed()).unwrap(), b"hello");

    for (json, why) in [
        (
            r#"{"bucket":"b","key":"k","size":6,"version":"v"}"#,
            "META's size",
        ),
        (r#"{"bucket":"b","key":"k","version":"v"}"#, "no size"),
        (
            r#"{"bucket":"b","bucket":"b","key":"k","size":5,"version":"v"}"#,
            "META's JSON",
        ),
        (
            r#"{"bucket":"b","key":"k","new":[{"a":1,"a":1}],"size":5,"version":"v"}"#,
            "META's JSON",
        ),
        ("\u{feff}{}", "a byte order mark"),
        ("[]", "META's JSON is no object"),
        (
            r#"{"bucket":"b","key":"k","mark":"purge","size":5,"version":"v"}"#,
            "a mark with bytes",
        ),
    ] {
        assert_eq!(
            opens(&Forged::new(json).sealed()).unwrap_err(),
            Refused(why),
            "{json}"
        );
    }

    let mut forged = Forged::new(right);
    forged.more_json_bytes = 1;
    assert_eq!(
        opens(&forged.sealed()).unwrap_err(),
        Refused("META is not filled exactly")
    );
    let mut forged = Forged::new(right);
    forged.commitment_of_another_try = true;
    assert_eq!(
        opens(&forged.sealed()).unwrap_err(),
        Refused("a part that META does not have")
    );
    for (at, value, why) in [
        (8, 2, "the version"),
        (9, 2, "the suite"),
        (11, 1, "the flags"),
        (15, 1, "the part size"),
        (63, 1, "a second record id"),
    ] {
        let mut forged = Forged::new(right);
        forged.header[at] = value;
        assert_eq!(opens(&forged.sealed()).unwrap_err(), Refused(why));
    }
}

/// An object of five bytes that a holder of the key made wrongly.
struct Forged<'a> {
    header: [u8; 64],
    json: &'a str,
    more_json_bytes: u32,
    commitment_of_another_try: bool,
}

impl<'a> Forged<'a> {
    fn new(json: &'a str) -> Self {
        let mut header = [0; 64];
        header[..16].copy_from_slice(b"\x89SLF\r\n\x1a\n\x01\x01\0\0\0\x01\0\0");
        Self {
            header,
            json,
            more_json_bytes: 0,
            commitment_of_another_try: false,
        }
    }

    fn sealed(&self) -> Vec<u8> {
        let key = object_key(&[7; 32], &self.header[16..32].try_into().unwrap());
        let mut out = self.header.to_vec();
        out.extend(header_tag(&key, &self.header));
        let header = out.clone();
        let seal_part =
            |salt| message::seal(&key, &[salt; 24], &part_context(&header, 0), b"hello");
        let part = seal_part(1);
        let another = seal_part(u8::from(self.commitment_of_another_try) + 1);
        out.extend(&part);

        let json_len = self.json.len() as u32 + self.more_json_bytes;
        let meta = [
            &json_len.to_be_bytes(),
            self.json.as_bytes(),
            &another[24..56],
        ]
        .concat();
        let context = [
            b"sealift/v1 meta\0",
            header.as_slice(),
            &1_u64.to_be_bytes(),
        ]
        .concat();
        let meta = message::seal(&key, &[3; 24], &context, &meta);
        let footer = [out.len() as u64, meta.len() as u64, 1]
            .map(u64::to_be_bytes)
            .concat();
        out.extend(meta);
        out.extend(&footer);
        out.extend(crc32c(&footer).to_be_bytes());
        out.extend(b"SLFE");
        out
    }
}

#[track_caller]
fn refused<T>(result: Result<T, Refused>, why: &'static str) {
    assert_eq!(result.err(), Some(Refused(why)));
}

fn name() -> VersionName {
    VersionName {
        bucket: "photos".parse().unwrap(),
        key: "a/é".parse().unwrap(),
        version: "v1".parse().unwrap(),
    }
}

fn facts(size: u64) -> ObjectFacts {
    ObjectFacts {
        size,
        ..ObjectFacts::default()
    }
}

fn header_of(uid: u8) -> Header {
    Header {
        part_size: PartSize::MIN,
        uid: ObjectUid([uid; 16]),
        record: RecordId([5; 16]),
    }
}

/// Every byte differs from the one before; a test needs no more of chance.
#[derive(Debug, Default)]
struct Counting(std::sync::atomic::AtomicU8);

impl Rng for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    }
}

/// One entry of the fixture.
struct Known(Value);

impl Known {
    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap()
    }

    fn number(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        hex::decode(self.text(name)).unwrap()
    }

    fn array<const N: usize>(&self, name: &str) -> [u8; N] {
        self.bytes(name).try_into().unwrap()
    }

    fn record_key(&self) -> [u8; 32] {
        self.array("record_key_hex")
    }

    fn plaintext(&self) -> Vec<u8> {
        plaintext(self.text("name"), self.number("size") as usize)
    }

    /// The sealed bytes: given whole where they are few, else sealed again here.
    fn sealed(&self, plain: &[u8]) -> Vec<u8> {
        if self.0.get("sealed_hex").is_some() {
            return self.bytes("sealed_hex");
        }
        let header = self.bytes("header_hex");
        let key = object_key(&self.record_key(), &self.array("object_uid_hex"));
        let parts = plain.len() as u64 / PART + 1;
        let json = self.text("meta_json").as_bytes();
        let mut sealed = header.clone();
        let mut meta = [&(json.len() as u32).to_be_bytes(), json].concat();
        for index in 0..parts {
            let end = plain.len().min(((index + 1) * PART) as usize);
            let piece = &plain[(index * PART) as usize..end];
            let part = message::seal(
                &key,
                &self.salt(index),
                &part_context(&header, index),
                piece,
            );
            meta.extend(&part[24..56]);
            sealed.extend(part);
        }
        let context = [
            b"sealift/v1 meta\0",
            header.as_slice(),
            &parts.to_be_bytes(),
        ]
        .concat();
        sealed.extend(message::seal(&key, &self.salt(parts), &context, &meta));
        sealed.extend(self.bytes("footer_hex"));
        sealed
    }

    fn salt(&self, index: u64) -> [u8; 24] {
        let mut hash = Sha256::new();
        hash.update(b"salt ");
        hash.update(self.text("name"));
        hash.update(index.to_be_bytes());
        hash.finalize()[..24].try_into().unwrap()
    }
}

fn plaintext(name: &str, size: usize) -> Vec<u8> {
    let mut plain = Vec::with_capacity(size + 32);
    for index in 0_u64.. {
        if plain.len() >= size {
            break;
        }
        let mut hash = Sha256::new();
        hash.update(name);
        hash.update(index.to_be_bytes());
        plain.extend(hash.finalize());
    }
    plain.truncate(size);
    plain
}

fn objects() -> Vec<Known> {
    let fixture = fixture();
    let objects = fixture["objects"].as_array().unwrap();
    objects.iter().cloned().map(Known).collect()
}

fn object_named(name: &str) -> Known {
    objects()
        .into_iter()
        .find(|known| known.text("name") == name)
        .unwrap()
}

fn fixture() -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/slf1.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}
