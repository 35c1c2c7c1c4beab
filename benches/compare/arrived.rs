//! What arrived, beside what was sent.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

/// A file whose bytes are expected, in order.
pub struct Expected {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
}

impl Expected {
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: File::open(path)?,
            buffer: Vec::new(),
        })
    }

    /// Compares the next bytes.
    pub fn takes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.resize(bytes.len(), 0);
        self.file.read_exact(&mut self.buffer)?;
        let same = self.buffer == bytes;
        same.then_some(()).ok_or_else(|| self.differs())
    }

    /// Nothing more was expected.
    pub fn ends_whole(mut self) -> io::Result<()> {
        match self.file.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(self.differs()),
        }
    }

    fn differs(&self) -> io::Error {
        io::Error::other(format!("{} arrived differently", self.path.display()))
    }
}

/// Compares every byte of `files`, which lie below `ready`, with those below `arrived`,
/// and counts that nothing else is there.
pub fn compare(ready: &Path, files: &[PathBuf], arrived: &Path) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    for file in files {
        let name = file.strip_prefix(ready).map_err(io::Error::other)?;
        let mut expected = Expected::open(file)?;
        let copy = File::open(arrived.join(name));
        let copy = copy.map_err(|error| {
            io::Error::other(format!("{} did not arrive: {error}", name.display()))
        })?;
        let mut copy = BufReader::with_capacity(0, copy);
        loop {
            let bytes = copy.read(&mut buffer)?;
            if bytes == 0 {
                break;
            }
            expected.takes(&buffer[..bytes])?;
        }
        expected.ends_whole()?;
    }
    let count = count(arrived)?;
    if count == files.len() {
        return Ok(());
    }
    let wanted = files.len();
    Err(io::Error::other(format!(
        "{count} files arrived, not {wanted}"
    )))
}

fn count(folder: &Path) -> io::Result<usize> {
    let mut found = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        found += match entry.file_type()?.is_dir() {
            true => count(&entry.path())?,
            false => 1,
        };
    }
    Ok(found)
}
