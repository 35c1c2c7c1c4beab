//! Where an object rests sealed, and damage to it.

use std::{
    fs::OpenOptions,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{pair::BUCKET, site::Site};

/// Where an object rests: file, offset, length.
pub(crate) fn resting(site: &Site, key: &str) -> (PathBuf, u64, u64) {
    let row = site
        .rows(&["inspect", &format!("{BUCKET}/{key}")])
        .remove(0);
    let sealing = &row["sealing"];
    let file = sealing["file"].as_str().unwrap_or_else(|| panic!("{row}"));
    let number = |field: &str| sealing[field].as_u64().unwrap();
    let path = site.data().join("store").join(file);
    (path, number("offset"), number("length"))
}

/// Flips a bit of the byte at `at`.
pub(crate) fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}
