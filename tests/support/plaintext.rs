//! Finding plaintext where none may be: stretches of 24 bytes and more that a file
//! has in common with the content of objects.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::content::files_below;

/// So many consecutive bytes are a finding.
const FOUND_BYTES: usize = 24;
/// What is looked up. Every stretch of 24 bytes holds a whole block that begins at a
/// multiple of 13, so that a thirteenth of all blocks is enough.
const BLOCK_BYTES: usize = 12;
const STRIDE: usize = FOUND_BYTES - BLOCK_BYTES + 1;

/// The plaintext that is looked for.
#[derive(Default)]
pub(crate) struct Plaintext {
    bytes: Vec<u8>,
    blocks: HashMap<[u8; BLOCK_BYTES], Vec<u32>>,
}

impl Plaintext {
    /// The content of every file below `dir`.
    pub(crate) fn below(dir: &Path) -> Self {
        let mut plaintext = Self::default();
        for path in files_below(dir).into_keys() {
            plaintext.add(&fs::read(path).unwrap());
        }
        plaintext
    }

    fn add(&mut self, bytes: &[u8]) {
        let first = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        for at in (0..bytes.len()).step_by(STRIDE) {
            let Some(block) = bytes[at..].first_chunk() else {
                break;
            };
            let places = self.blocks.entry(*block).or_default();
            places.push(u32::try_from(first + at).unwrap());
        }
    }

    /// The first stretch found in any file below `dir`: in which, and where.
    pub(crate) fn find_below(&self, dir: &Path) -> Option<(PathBuf, usize)> {
        let mut files = files_below(dir).into_keys();
        files.find_map(|path| {
            let mut bytes = Vec::new();
            match File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes)) {
                // Agents at work remove files.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
                read => read.unwrap(),
            };
            self.find(&bytes).map(|at| (path, at))
        })
    }

    /// Where `bytes` begin to have a stretch in common with the plaintext.
    fn find(&self, bytes: &[u8]) -> Option<usize> {
        (0..bytes.len()).find(|&at| {
            let block = bytes[at..].first_chunk::<BLOCK_BYTES>();
            let places = block.and_then(|block| self.blocks.get(block));
            places.is_some_and(|places| {
                places
                    .iter()
                    .any(|&place| self.common(place as usize, bytes, at) >= FOUND_BYTES)
            })
        })
    }

    /// How many bytes around these two places are the same.
    fn common(&self, place: usize, bytes: &[u8], at: usize) -> usize {
        let same = |pair: &(&u8, &u8)| pair.0 == pair.1;
        let before = self.bytes[..place]
            .iter()
            .rev()
            .zip(bytes[..at].iter().rev());
        let behind = self.bytes[place..].iter().zip(&bytes[at..]);
        before.take_while(same).count() + behind.take_while(same).count()
    }
}

#[test]
fn a_stretch_of_24_bytes_is_found_wherever_it_begins_and_one_of_23_is_not() {
    let secret = super::Content::new(7, 1000).bytes();
    let mut plaintext = Plaintext::default();
    plaintext.add(&[0xAA; 5]);
    plaintext.add(&secret);
    for first in 0..100 {
        for (length, found) in [(24, true), (23, false)] {
            let noise = super::Content::new(8, 50).bytes();
            let file = [&noise[..], &secret[first..first + length], &noise[..]].concat();
            assert_eq!(
                plaintext.find(&file).is_some(),
                found,
                "{length} bytes from {first}"
            );
        }
    }
}
