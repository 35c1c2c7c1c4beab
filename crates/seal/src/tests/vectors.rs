//! Known answers: whole objects and a pack, sealed for fixed inputs.

use std::sync::{LazyLock, Mutex};

use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::*;
use crate::{
    Found, Scanner, Tail,
    pack::{EntryKind, PACK_HEADER, append_entry},
};

static VECTORS: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../../tests/fixtures/slf1.json")).unwrap()
});

/// Sealed in two layers by another program.
static IN_TWO_LAYERS: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!(
        "../../../../tests/fixtures/slf1-two-layers.json"
    ))
    .unwrap()
});

struct Vector {
    json: &'static Value,
    name: &'static str,
    size: usize,
    header: Header,
    key: RecordKey,
    outer_key: Option<RecordKey>,
    plain: Vec<u8>,
}

fn vectors() -> Vec<Vector> {
    let bytes = |json: &'static Value| hex::decode(json.as_str().unwrap()).unwrap();
    let id = |json| <[u8; 16]>::try_from(bytes(json)).unwrap();
    let key = |json| RecordKey::new(bytes(json).try_into().unwrap());
    let of = |set: &'static Value| set["objects"].as_array().unwrap();
    let objects = of(&VECTORS).iter().chain(of(&IN_TWO_LAYERS));
    objects
        .map(|json| {
            let name = json["name"].as_str().unwrap();
            let size = json["size"].as_u64().unwrap() as usize;
            let part_size = json["part_plain"].as_u64().unwrap() as u32;
            Vector {
                json,
                name,
                size,
                header: Header {
                    part_size: PartSize::new(part_size).unwrap(),
                    uid: ObjectUid(id(&json["object_uid_hex"])),
                    record: RecordId(id(&json["key_record_hex"])),
                    second: json.get("second_record_hex").map(|json| RecordId(id(json))),
                },
                key: key(&json["record_key_hex"]),
                outer_key: json.get("second_record_key_hex").map(key),
                plain: hashes("", name).flatten().take(size).collect(),
            }
        })
        .collect()
}

/// SHA-256 of prefix, name and a counter, as the vectors' rules say.
fn hashes(prefix: &'static str, name: &'static str) -> impl Iterator<Item = Vec<u8>> {
    (0_u64..).map(move |i| {
        let input = [prefix.as_bytes(), name.as_bytes(), &i.to_be_bytes()].concat();
        digest(&SHA256, &input).as_ref().to_vec()
    })
}

impl Vector {
    fn keys(&self) -> Keys<'_> {
        match &self.outer_key {
            None => Keys::one(&self.key),
            Some(outer) => Keys::two(&self.key, outer),
        }
    }

    fn seal(&self) -> Vec<u8> {
        let parts = self.header.part_size.parts_of(self.size as u64).unwrap() as usize;
        let of_layer = |prefix| hashes(prefix, self.name).map(|hash| hash[..24].to_vec());
        let (mut inner, mut outer) = (of_layer("salt "), of_layer("outer salt "));
        let mut salts = std::collections::VecDeque::new();
        for _ in 0..=parts {
            salts.extend(self.outer_key.as_ref().and_then(|_| outer.next()));
            salts.extend(inner.next());
        }
        let rng = Scripted(Mutex::new(salts));
        let json = self.json["meta_json"].as_str().unwrap();
        let meta = Meta::parse(json.as_bytes()).unwrap();
        let sealer = ObjectSealer::new(self.keys(), self.header).unwrap();
        let sealed = seal_with(&sealer, &meta, &self.plain, &rng);
        assert!(rng.0.lock().unwrap().is_empty(), "{}", self.name);
        sealed
    }
}

#[test]
fn every_object_is_sealed_to_the_known_bytes() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 6 + 5);
    for vector in vectors {
        let (sealed, json) = (vector.seal(), vector.json);
        let hex_of = |bytes: &[u8]| hex::encode(bytes);
        assert_eq!(json["sealed_len"], sealed.len(), "{}", vector.name);
        assert_eq!(json["header_hex"], hex_of(&sealed[..96]), "{}", vector.name);
        assert_eq!(json["footer_hex"], hex_of(&sealed[sealed.len() - 32..]));
        let hash = hex_of(digest(&SHA256, &sealed).as_ref());
        assert_eq!(json["sealed_sha256"], hash, "{}", vector.name);
        if let Some(whole) = json["sealed_hex"].as_str() {
            assert_eq!(whole, hex_of(&sealed));
        }
    }
}

#[test]
fn every_object_opens_to_the_known_plaintext() {
    for vector in vectors() {
        let sealed = vector.seal();
        let json = vector.json["meta_json"].as_str().unwrap();
        let name = Meta::parse(json.as_bytes()).unwrap().name();
        let expected = Expected::version(vector.header.uid, vector.header.records(), name);
        let inspected = Inspected::new(&sealed, sealed.len() as u64, &expected).unwrap();
        let parts = vector
            .header
            .part_size
            .parts_of(vector.size as u64)
            .unwrap();
        assert_eq!(
            inspected.size_and_parts().unwrap(),
            (vector.size as u64, parts)
        );
        let opened = inspected.open(vector.keys()).unwrap();
        opened.verify().unwrap();
        let mut plain = Vec::new();
        opened
            .read_range(0..opened.size(), |run| {
                plain.extend_from_slice(run);
                Ok(())
            })
            .unwrap();
        assert!(plain == vector.plain, "{}", vector.name);
    }
}

#[test]
fn the_pack_is_written_to_the_known_bytes_and_scanned() {
    let wanted = VECTORS["pack"]["objects"].as_array().unwrap();
    let objects: Vec<_> = vectors()
        .into_iter()
        .filter(|vector| wanted.iter().any(|name| *name == vector.name))
        .map(|vector| vector.seal())
        .collect();
    let mut pack = PACK_HEADER.to_vec();
    for object in &objects {
        append_entry(&mut pack, EntryKind::Object, |out| {
            out.extend_from_slice(object);
            Ok(())
        })
        .unwrap();
    }
    assert_eq!(VECTORS["pack"]["pack_hex"], hex::encode(&pack));
    let mut scanner = Scanner::new(pack.as_slice(), pack.len() as u64, Tail::Closed);
    for object in &objects {
        match scanner.next().unwrap() {
            Some(Found::Entry { kind, body, .. }) => {
                assert_eq!((kind, body), (EntryKind::Object, object.as_slice()));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(scanner.next().unwrap().is_none());
}
