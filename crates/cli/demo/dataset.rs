//! The set of objects that the demonstration makes when it is given none: sizes
//! around every boundary of part, chunk and pack, deep and non-ASCII names, and
//! content that tells its position, the same for the same seed.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
};

use sealift_agent::Error;
use sealift_terms::{CHUNK_BYTES, PartSize, limits};

/// The largest object of the set.
const LARGEST: u64 = 256 << 20;
/// Small objects beside those of the boundaries.
const SMALL: u64 = 240;
/// Bytes generated at once.
const BLOCK_BYTES: usize = 64 * 1024;

/// What is to be made: names with sizes.
#[derive(Debug, Clone)]
pub(crate) struct Dataset {
    seed: u64,
    objects: BTreeMap<String, u64>,
}

impl Dataset {
    /// The whole set.
    pub(crate) fn new(seed: u64) -> Self {
        let mut objects = BTreeMap::new();
        for size in boundaries() {
            objects.insert(format!("boundaries/{size:09}.bin"), size);
        }
        objects.insert("large/256-mib.bin".to_owned(), LARGEST);
        for n in 0..SMALL {
            // Most are small, as in most trees: sizes grow by powers.
            let size = mix(seed ^ n) % (1 << (4 + n % 15));
            objects.insert(format!("small/{:02}/{n:04}.dat", n % 16), size);
        }
        for (n, name) in names().into_iter().enumerate() {
            objects.insert(name, 1000 + n as u64);
        }
        Self { seed, objects }
    }

    /// Number of objects and bytes.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.objects.len() as u64, self.objects.values().sum())
    }

    /// Writes every object below `dir`, telling how many bytes each time.
    pub(crate) fn write(&self, dir: &Path, mut wrote: impl FnMut(u64)) -> Result<(), Error> {
        for (name, size) in &self.objects {
            let path = dir.join(name);
            let parent = path.parent().unwrap_or(dir);
            fs::create_dir_all(parent).map_err(Error::io("make", parent))?;
            let file = File::create_new(&path).map_err(Error::io("write", &path))?;
            let mut out = BufWriter::with_capacity(BLOCK_BYTES, file);
            content(self.seed, name, *size, |block| {
                wrote(block.len() as u64);
                out.write_all(block)
            })
            .and_then(|()| out.flush())
            .map_err(Error::io("write", &path))?;
        }
        Ok(())
    }
}

/// Zero, one, and one below, at and above each size at which something changes.
fn boundaries() -> impl Iterator<Item = u64> {
    let part = u64::from(PartSize::DEFAULT.bytes());
    let chunk = u64::from(CHUNK_BYTES);
    let edges = [
        chunk,
        2 * chunk,
        4 * chunk,
        limits::PACKED_OBJECT_BYTES_MAX,
        part - chunk,
        part,
        part + chunk,
        2 * part,
        3 * part,
    ];
    let around = edges
        .into_iter()
        .flat_map(|edge| [edge - 1, edge, edge + 1]);
    [0, 1].into_iter().chain(around)
}

fn names() -> Vec<String> {
    let deep = (0..40)
        .map(|level| format!("level-{level:02}"))
        .collect::<Vec<_>>();
    let long = "x".repeat(240);
    [
        format!("deep/{}/object", deep.join("/")),
        format!("long/{long}/{long}/{long}/{long}"),
        "names/Größe/übergroß.txt".to_owned(),
        "names/日本語/写真/猫.jpg".to_owned(),
        "names/عربي/ملف".to_owned(),
        "names/emoji/🦀📦🔐.bin".to_owned(),
        "names/composed/\u{e9}".to_owned(),
        "names/decomposed/e\u{301}".to_owned(),
        "names/ leading and trailing ".to_owned(),
        "names/quote'\"\\backslash".to_owned(),
        "names/new\nline and\ttab".to_owned(),
        "names/percent%20+plus&and=equals?question#hash".to_owned(),
        "names/-dash".to_owned(),
        "names/.hidden".to_owned(),
        "names/a/b".to_owned(),
        "names/a.b".to_owned(),
        "names/UPPER".to_owned(),
        "names/upper".to_owned(),
    ]
    .into()
}

/// One step of SplitMix64 (Steele, Lea and Flood, 2014).
fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Word i of an object is a function of the seed, the name and i alone: any two
/// stretches that change places are seen.
fn content<E>(
    seed: u64,
    name: &str,
    size: u64,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let of_name = name
        .bytes()
        .fold(seed, |state, byte| mix(state ^ u64::from(byte)));
    let mut block = vec![0; BLOCK_BYTES];
    let mut at = 0;
    while at < size {
        let first = at / 8;
        for (n, word) in block.chunks_exact_mut(8).enumerate() {
            let value = mix(of_name.wrapping_add(first + n as u64));
            word.copy_from_slice(&value.to_le_bytes());
        }
        let length = usize::try_from(size - at)
            .unwrap_or(BLOCK_BYTES)
            .min(BLOCK_BYTES);
        each(block.get(..length).unwrap_or_default())?;
        at += length as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(seed: u64, name: &str, size: u64) -> Vec<u8> {
        let mut all = Vec::new();
        content(seed, name, size, |block| {
            all.extend_from_slice(block);
            Ok::<_, ()>(())
        })
        .unwrap();
        all
    }

    #[test]
    fn the_set_has_a_few_hundred_objects_from_nothing_to_256_mib() {
        let set = Dataset::new(1);
        let (objects, bytes) = set.totals();
        assert!((200..500).contains(&objects), "{objects}");
        assert!((300 << 20..600 << 20).contains(&bytes), "{bytes}");
        assert_eq!(set.objects.values().max(), Some(&LARGEST));
        assert_eq!(set.objects.values().min(), Some(&0));
    }

    #[test]
    fn every_boundary_is_met_from_both_sides() {
        let set = Dataset::new(1);
        let has = |size: u64| set.objects.values().any(|other| *other == size);
        for edge in [16 << 10, 1 << 20, 8 << 20, 16 << 20] {
            assert!(has(edge - 1) && has(edge) && has(edge + 1), "{edge}");
        }
    }

    #[test]
    fn names_are_deep_long_and_non_ascii_and_can_all_be_object_keys() {
        let set = Dataset::new(1);
        for name in set.objects.keys() {
            sealift_terms::ObjectKey::new(name).unwrap();
            assert!(name.split('/').all(|part| part.len() <= 255), "{name}");
        }
        assert!(
            set.objects
                .keys()
                .any(|name| name.matches('/').count() > 30)
        );
        assert!(set.objects.keys().any(|name| name.len() > 950));
        assert!(set.objects.keys().any(|name| !name.is_ascii()));
    }

    #[test]
    fn content_is_the_same_for_a_seed_and_tells_its_position() {
        let one = bytes(7, "a", 200_003);
        assert_eq!(one.len(), 200_003);
        assert_eq!(one, bytes(7, "a", 200_003));
        assert_ne!(one, bytes(8, "a", 200_003));
        assert_ne!(one, bytes(7, "b", 200_003));
        assert_eq!(one[..100_000], bytes(7, "a", 100_000)[..]);
        let mut words: Vec<_> = one.chunks_exact(8).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), one.len() / 8);
    }

    #[test]
    fn what_is_written_is_what_was_planned() {
        let dir = tempfile::tempdir().unwrap();
        let mut set = Dataset::new(3);
        set.objects.retain(|_, size| *size < 100_000);
        let mut wrote = 0;
        set.write(dir.path(), |bytes| wrote += bytes).unwrap();
        assert_eq!(wrote, set.totals().1);
        for (name, size) in &set.objects {
            let on_disk = fs::read(dir.path().join(name)).unwrap();
            assert_eq!(on_disk, bytes(3, name, *size), "{name}");
        }
    }
}
