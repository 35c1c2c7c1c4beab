//! Where sealed bytes are read from.

use std::{io, sync::Arc};

use sealift_terms::DiskFile;

/// Bytes at rest that can be read at any position, by many at once.
pub trait ReadAt: Send + Sync {
    /// Fills `bytes` from `offset`; bytes that end sooner are
    /// [`io::ErrorKind::UnexpectedEof`].
    ///
    /// # Errors
    /// What the store says.
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..)?.get(..bytes.len()))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(from);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.as_slice().read_exact_at(bytes, offset)
    }
}

impl ReadAt for dyn DiskFile {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        DiskFile::read_exact_at(self, bytes, offset)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(bytes, offset)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(bytes, offset)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Box<T> {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(bytes, offset)
    }
}

/// A stretch of something larger: one object within its pack.
#[derive(Debug, Clone)]
pub struct Section<R> {
    reader: R,
    offset: u64,
    len: u64,
}

impl<R: ReadAt> Section<R> {
    /// The `len` bytes from `offset`; reads beyond them fail.
    #[must_use]
    pub const fn new(reader: R, offset: u64, len: u64) -> Self {
        Self {
            reader,
            offset,
            len,
        }
    }
}

impl<R: ReadAt> ReadAt for Section<R> {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let within = offset
            .checked_add(bytes.len() as u64)
            .is_some_and(|end| end <= self.len);
        match self.offset.checked_add(offset) {
            Some(offset) if within => self.reader.read_exact_at(bytes, offset),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_never_reads_its_neighbours() {
        let section = Section::new(vec![1_u8, 2, 3, 4, 5], 1, 3);
        let mut two = [0; 2];
        section.read_exact_at(&mut two, 1).unwrap();
        assert_eq!(two, [3, 4]);
        assert!(section.read_exact_at(&mut two, 2).is_err());
        assert!(section.read_exact_at(&mut two, u64::MAX).is_err());
    }
}
