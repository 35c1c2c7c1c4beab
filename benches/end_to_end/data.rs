//! The data sets: files whose every byte depends on its position.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// One kind of work.
pub struct Work {
    /// How it is called in the output.
    pub name: &'static str,
    /// Number of files.
    pub count: usize,
    /// Bytes of each.
    pub bytes: usize,
}

/// Writes the files of `work` below `folder`, a hundred to a directory.
pub fn make(work: &Work, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut block = vec![0; work.bytes.min(1 << 20)];
    (0..work.count)
        .map(|index| {
            let parent = folder.join(format!("{:04}", index / 100));
            fs::create_dir_all(&parent)?;
            let path = parent.join(format!("{index:07}.bin"));
            let mut file = File::create(&path)?;
            let mut left = work.bytes;
            while left > 0 {
                let bytes = left.min(block.len());
                fill(&mut block[..bytes], &mut state);
                file.write_all(&block[..bytes])?;
                left -= bytes;
            }
            Ok(path)
        })
        .collect()
}

/// Marsaglia's xorshift: fast, and no two blocks alike.
fn fill(block: &mut [u8], state: &mut u64) {
    for word in block.chunks_mut(8) {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        word.copy_from_slice(&state.to_ne_bytes()[..word.len()]);
    }
}
