//! What was ever in the source, by the one who put it there.

use std::collections::BTreeMap;

use ring::digest::{SHA256, digest};
use sealift_store::MemorySource;
use sealift_terms::VersionId;

use crate::chance::Chance;

/// Begins every object's bytes, so that they are known wherever they turn up.
const MARK: &[u8; 16] = b"PLAINTEXT-OF-SIM";

/// The bytes of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bytes {
    pub(crate) size: u64,
    pub(crate) sha256: Vec<u8>,
}

/// Every version there was, and which is there now.
#[derive(Debug, Default)]
pub(crate) struct Model {
    versions: BTreeMap<(String, VersionId), Bytes>,
    /// None for a key that was removed.
    pub(crate) now: BTreeMap<String, Option<VersionId>>,
}

impl Bytes {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self {
            size: bytes.len() as u64,
            sha256: digest(&SHA256, bytes).as_ref().to_vec(),
        }
    }
}

impl Model {
    /// What a version held, by the id that it has in the source.
    pub(crate) fn bytes(&self, key: &str, version: &VersionId) -> Option<&Bytes> {
        self.versions.get(&(key.to_owned(), version.clone()))
    }

    /// Changes the source somehow.
    pub(crate) fn change(&mut self, source: &MemorySource, chance: &Chance) -> String {
        let there = self.now.iter().filter(|(_, version)| version.is_some());
        let there: Vec<String> = there.map(|(key, _)| key.clone()).collect();
        match chance.below(10) {
            0 if !there.is_empty() => {
                let key = chance.pick(&there).clone();
                source.remove(&key).unwrap();
                self.now.insert(key.clone(), None);
                format!("remove {key}")
            }
            1 | 2 if !there.is_empty() => {
                let key = chance.pick(&there).clone();
                self.put(source, chance, key)
            }
            _ => {
                let folder = *chance.pick(&["", "a/", "b/c/"]);
                let key = format!("{folder}k{}", self.now.len());
                self.put(source, chance, key)
            }
        }
    }

    fn put(&mut self, source: &MemorySource, chance: &Chance, key: String) -> String {
        let bytes = content(chance);
        let of_version = Bytes::of(&bytes);
        let version = source.put(&key, bytes).unwrap();
        let size = of_version.size;
        self.versions
            .insert((key.clone(), version.clone()), of_version);
        self.now.insert(key.clone(), Some(version.clone()));
        format!("put {key} {version}, {size} bytes")
    }
}

/// What an object that can be compressed repeats.
const REPEATED: usize = 100;

/// Mostly small; some at the limits of packs and parts; some of many parts.
pub(crate) fn content(chance: &Chance) -> Vec<u8> {
    const PART: u64 = 64 << 10;
    let size = match chance.below(16) {
        0 => 0,
        1..=8 => chance.within(1..5_000),
        9 => chance.within(PART - 2..PART + 3),
        10 | 11 => chance.within(5_000..PART * 2),
        12 => PART * chance.within(1..8),
        13 => (1 << 20) - 1 + chance.below(3),
        _ => chance.within(PART..PART * 24),
    };
    let mut bytes = vec![0; usize::try_from(size).unwrap()];
    chance.fill(&mut bytes);
    // Some travel compressed.
    if chance.one_in(3) {
        for at in REPEATED..bytes.len() {
            bytes[at] = bytes[at - REPEATED];
        }
    }
    let marked = bytes.len().min(MARK.len());
    bytes[..marked].copy_from_slice(&MARK[..marked]);
    bytes
}

/// Whether bytes of an object lie here in the clear.
pub(crate) fn shows_plaintext(bytes: &[u8]) -> bool {
    bytes.windows(MARK.len()).any(|window| window == MARK)
}
