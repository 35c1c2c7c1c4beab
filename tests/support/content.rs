//! Content of objects that tells its place: any two stretches that change places,
//! or turn up where they should not be, are seen.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

const BLOCK_BYTES: usize = 256 << 10;

/// The content of one object: a function of its seed and of the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) seed: u64,
    pub(crate) size: u64,
}

impl Content {
    pub(crate) fn new(seed: u64, size: u64) -> Self {
        Self { seed, size }
    }

    /// All of it, block by block.
    pub(crate) fn each(&self, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut block = vec![0; BLOCK_BYTES];
        let mut at = 0;
        while at < self.size {
            for (n, word) in block.chunks_exact_mut(8).enumerate() {
                let place = at / 8 + n as u64;
                word.copy_from_slice(&mix(mix(self.seed) ^ place).to_le_bytes());
            }
            let length = (self.size - at).min(BLOCK_BYTES as u64) as usize;
            take(&block[..length])?;
            at += length as u64;
        }
        Ok(())
    }

    /// All of it at once.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        self.each(|block| {
            all.extend_from_slice(block);
            Ok(())
        })
        .unwrap();
        all
    }

    /// Writes it to a file, whose directories are made.
    pub(crate) fn write(&self, path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = File::create(path).unwrap();
        self.each(|block| file.write_all(block)).unwrap();
    }

    /// Whether a file is this.
    pub(crate) fn is_in(&self, path: &Path) -> bool {
        let mut file = File::open(path).unwrap();
        let mut found = vec![0; BLOCK_BYTES];
        let same = self.each(|block| {
            let found = &mut found[..block.len()];
            file.read_exact(found)?;
            if found == block {
                Ok(())
            } else {
                Err(io::ErrorKind::InvalidData.into())
            }
        });
        same.is_ok() && matches!(file.read(&mut [0]), Ok(0))
    }
}

/// One step of SplitMix64 (Steele, Lea and Flood, 2014).
pub(crate) fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Writes a file whose directories are made.
pub(crate) fn write_file(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Every plain file below a directory with its size. What vanishes meanwhile is left out.
pub(crate) fn files_below(dir: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(facts) if facts.is_dir() => open.push(entry.path()),
                Ok(facts) if facts.is_file() => drop(found.insert(entry.path(), facts.len())),
                _ => {}
            }
        }
    }
    found
}

#[test]
fn content_tells_its_place_and_whose_it_is() {
    let (one, other) = (Content::new(1, 100_003), Content::new(2, 100_003));
    assert_eq!(one.bytes().len(), 100_003);
    assert_ne!(one.bytes()[..64], other.bytes()[..64]);
    assert_ne!(one.bytes()[..64], one.bytes()[64..128]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d/f");
    one.write(&path);
    assert!(one.is_in(&path) && !other.is_in(&path));
    assert!(!Content::new(1, 100_002).is_in(&path) && !Content::new(1, 100_004).is_in(&path));
}
