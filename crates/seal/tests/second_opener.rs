//! What a reader that follows `docs/format.md` to the letter opens, and what it
//! refuses.

#![allow(clippy::unwrap_used, reason = "a failure is what a test reports")]

#[path = "second_opener/mod.rs"]
mod opener;

use std::{fs, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use opener::{
    Refused, crc32c, message,
    object::{Object, Wanted, header_tag, meta_context, object_keys, part_context},
    pack::{self, Met},
    record,
};
use sealift_seal::{Header, Keys, Mark, Meta, ObjectSealer, RecordKey};
use sealift_terms::{ObjectFacts, ObjectUid, PartSize, RecordId, Rng, VersionName};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

const PART: u64 = 65_536;

#[test]
fn the_known_objects_open_to_their_plaintext() {
    for known in objects().into_iter().chain(in_two_layers()) {
        let keys = known.record_keys();
        let header = known.bytes("header_hex");
        let meta: Value = serde_json::from_str(known.text("meta_json")).unwrap();
        let second = known.0.get("second_record_hex").is_some();
        let wanted = Wanted {
            uid: known.array("object_uid_hex"),
            record: known.array("key_record_hex"),
            second: match second {
                true => known.array("second_record_hex"),
                false => [0; 16],
            },
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

        let object = Object::listed(&sealed, &keys, &wanted).unwrap();
        assert_eq!(object.meta().size, known.number("size"));
        assert!(object.read().unwrap() == plain);
        let other = Wanted {
            name: [wanted.name[0], wanted.name[1], "v2"],
            ..wanted
        };
        refused(Object::listed(&sealed, &keys, &other), "another version");
        let other = Wanted {
            second: [9; 16],
            ..wanted
        };
        refused(
            Object::listed(&sealed, &keys, &other),
            "another second record",
        );
    }
}

#[test]
fn neither_key_of_two_layers_opens_anything_by_itself() {
    for known in in_two_layers() {
        let keys = known.record_keys();
        let sealed = known.sealed(&known.plaintext());
        for one in &keys {
            let opened = Object::unlisted(&sealed, one);
            refused(opened, "not a key a layer");
            for pair in [[*one, [9; 32]], [[9; 32], *one], [*one, *one]] {
                let opened = Object::unlisted_under(&sealed, &pair);
                refused(opened, "the header tag");
            }
        }
        let exchanged = [keys[1], keys[0]];
        let opened = Object::unlisted_under(&sealed, &exchanged);
        refused(opened, "the header tag");
    }
}

#[test]
fn the_example_of_the_page_opens() {
    let page = fs::read_to_string(root().join("docs/format.md")).unwrap();
    let example = page.split("A small one, byte for byte").nth(1).unwrap();
    let example = example.split("```").nth(1).unwrap();
    let value = |name: &str| {
        let line = example.lines().find_map(|line| line.strip_prefix(name));
        hex::decode(line.unwrap().trim()).unwrap()
    };
    let object: String = example
        .split("object\n")
        .nth(1)
        .unwrap()
        .split_whitespace()
        .collect();
    let sealed = hex::decode(object).unwrap();
    let record_key = |name| <[u8; 32]>::try_from(value(name)).unwrap();
    let keys = [record_key("record key "), record_key("second record key ")];
    let uid = sealed[16..32].try_into().unwrap();
    let derived = object_keys(&keys, &uid);
    assert_eq!(derived.inner.to_vec(), value("inner key "));
    assert_eq!(derived.outer.unwrap().to_vec(), value("outer key "));
    let share: [u8; 32] = message::expand(
        &derived.outer.unwrap(),
        &[b"sealift/v1 outer header\0", &sealed[..64]],
    );
    assert_eq!(share.to_vec(), value("share "));
    let opened = Object::unlisted_under(&sealed, &keys).unwrap();
    assert_eq!(opened.read().unwrap(), value("plaintext "));
}

#[test]
fn a_range_opens_from_the_chunks_that_it_touches() {
    let in_two = in_two_layers().into_iter().last().unwrap();
    for (known, layers) in [(object_named("three-parts"), 1), (in_two, 2)] {
        let (keys, plain) = (known.record_keys(), known.plaintext());
        let mut sealed = known.sealed(&plain);
        // The last chunk of part 1 is broken, and no range below touches it.
        let last_chunk = 96 + 2 * message::sealed_len(layers, PART) as usize - 1;
        sealed[last_chunk] ^= 1;
        let object = Object::unlisted_under(&sealed, &keys).unwrap();
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
        let object = Object::unlisted_under(body, &known.record_keys()).unwrap();
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
        known.record_keys()[0]
    );
    let fewer = record::context_bytes(pairs[1..].to_vec());
    refused(
        record::unwrap_local(&key, &wrapped, &fewer),
        "a wrapped key's tag",
    );
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    let small = in_two_layers().into_iter().take(2);
    for known in ["empty", "hello"]
        .map(object_named)
        .into_iter()
        .chain(small)
    {
        let (keys, plain) = (known.record_keys(), known.plaintext());
        let sealed = known.sealed(&plain);
        let name = known.text("name");
        let opens =
            |bytes: &[u8]| Object::unlisted_under(bytes, &keys).and_then(|object| object.read());
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
    let (first, second) = (RecordKey::new([7; 32]), RecordKey::new([8; 32]));
    let one = (Keys::one(&first), None, &[[7; 32]][..]);
    let two = (
        Keys::two(&first, &second),
        Some(RecordId([6; 16])),
        &[[7; 32], [8; 32]][..],
    );
    for (size, (keys, second, record_keys)) in sizes
        .into_iter()
        .flat_map(|size| [(size, one), (size, two)])
    {
        let header = Header {
            second,
            ..header_of(9)
        };
        let plain = plaintext("sealed here", size as usize);
        let meta = Meta::new(name(), facts(size));
        let mut sealed = Vec::new();
        ObjectSealer::new(keys, header)
            .unwrap()
            .seal_whole(&meta, &plain, &Counting::default(), &mut sealed)
            .unwrap();
        let wanted = Wanted {
            uid: [9; 16],
            record: [5; 16],
            second: second.map_or([0; 16], |second| second.0),
            name: ["photos", "a/é", "v1"],
        };
        let object = Object::listed(&sealed, record_keys, &wanted).unwrap();
        assert!(object.read().unwrap() == plain, "{size} bytes");
        assert_eq!(object.meta().mark, None);
        let other = Wanted {
            uid: [8; 16],
            ..wanted
        };
        refused(
            Object::listed(&sealed, record_keys, &other),
            "another object",
        );
        let wrong = vec![[6; 32]; record_keys.len()];
        refused(Object::unlisted_under(&sealed, &wrong), "the header tag");
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
        .unwrap()
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
        (9, 0, "the suite"),
        (9, 3, "the suite"),
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
        let keys = object_keys(&[[7; 32]], &self.header[16..32].try_into().unwrap());
        let mut out = self.header.to_vec();
        out.extend(header_tag(&keys, &self.header));
        let header = out.clone();
        let seal_part = |salt| {
            let context = part_context(&header, 0);
            message::seal(&keys, [[salt; 24]; 2], &context, b"hello")
        };
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
        let context = meta_context(&header, 1);
        let meta = message::seal(&keys, [[3; 24]; 2], &context, &meta);
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
        second: None,
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

    /// The record key of each layer, the inner one's first.
    fn record_keys(&self) -> Vec<[u8; 32]> {
        let names = ["record_key_hex", "second_record_key_hex"];
        let there = names.into_iter().filter(|name| self.0.get(name).is_some());
        there.map(|name| self.array(name)).collect()
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
        let keys = object_keys(&self.record_keys(), &self.array("object_uid_hex"));
        let entry = 24..24 + 32;
        let parts = plain.len() as u64 / PART + 1;
        let json = self.text("meta_json").as_bytes();
        let mut sealed = header.clone();
        let mut meta = [&(json.len() as u32).to_be_bytes(), json].concat();
        for index in 0..parts {
            let end = plain.len().min(((index + 1) * PART) as usize);
            let piece = &plain[(index * PART) as usize..end];
            let context = part_context(&header, index);
            let part = message::seal(&keys, self.salts(index), &context, piece);
            for layer in part.chunks(56).take(keys.layers() as usize) {
                meta.extend(&layer[entry.clone()]);
            }
            sealed.extend(part);
        }
        let context = meta_context(&header, parts);
        sealed.extend(message::seal(&keys, self.salts(parts), &context, &meta));
        sealed.extend(self.bytes("footer_hex"));
        sealed
    }

    /// The inner layer's salt and the outer one's.
    fn salts(&self, index: u64) -> [[u8; 24]; 2] {
        ["salt ", "outer salt "].map(|word| {
            let mut hash = Sha256::new();
            hash.update(word);
            hash.update(self.text("name"));
            hash.update(index.to_be_bytes());
            hash.finalize()[..24].try_into().unwrap()
        })
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
    known_in("slf1.json")
}

/// Those that another program sealed in two layers, from the smallest to the largest.
fn in_two_layers() -> Vec<Known> {
    known_in("slf1-two-layers.json")
}

fn known_in(file: &str) -> Vec<Known> {
    let fixture = fixture_in(file);
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
    fixture_in("slf1.json")
}

fn fixture_in(file: &str) -> Value {
    let path = root().join("tests/fixtures").join(file);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}
