//! Lists a tree in the byte order of its keys, in small memory.
//!
//! A directory sorts as its name and a `/`, because that is how the keys beneath
//! it begin: `a-b`, `a/x`, `ab`. Of each directory on the way down only a window
//! of names is held; the next window is read when it is used up.

use std::{os::fd::OwnedFd, path::Path, sync::Arc};

use rustix::{
    fs::{AtFlags, Dir, FileType, OFlags},
    io::Errno,
};
use sealift_terms::{ObjectKey, Reason, limits};

use super::{
    root::{Root, Seen, describe, open_directory, unavailable},
    settling::Settling,
};
use crate::{Page, Skipped, StoreError};

/// Names held of one directory.
pub(super) const NAMES_HELD_MAX: usize = 65_536;

/// A name of a directory, with a `/` behind it if it is one itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    sort: Vec<u8>,
    is_plain: bool,
    evidence: &'static str,
}

/// One directory on the way down.
#[derive(Debug)]
struct Level {
    directory: OwnedFd,
    /// The bytes that all keys beneath begin with.
    base: Vec<u8>,
    /// The window, the next name last.
    names: Vec<Name>,
    /// The last name of the window, when there may be more behind it.
    more_after: Option<Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct Walk {
    root: Arc<Root>,
    settling: Arc<Settling>,
    prefix: Vec<u8>,
    held_max: usize,
    stack: Vec<Level>,
}

impl Walk {
    pub(super) fn begin(
        root: &Arc<Root>,
        settling: Arc<Settling>,
        prefix: &str,
    ) -> Result<Self, StoreError> {
        let mut walk = Self {
            root: root.clone(),
            settling,
            prefix: prefix.as_bytes().to_vec(),
            held_max: NAMES_HELD_MAX,
            stack: Vec::new(),
        };
        if let Some((directory, base)) = walk.top(prefix)? {
            let top = walk.level(directory, base)?;
            walk.stack.push(top);
        }
        Ok(walk)
    }

    /// The deepest directory that all keys with the prefix are beneath; none if it is not there.
    fn top(&self, prefix: &str) -> Result<Option<(OwnedFd, Vec<u8>)>, StoreError> {
        let root = self.root.open()?;
        let Some((above, _)) = prefix.rsplit_once('/') else {
            return Ok(Some((root, Vec::new())));
        };
        let Ok(above) = ObjectKey::new(above) else {
            return Ok(None);
        };
        match self
            .root
            .open_beneath(&above, OFlags::RDONLY | OFlags::DIRECTORY)
        {
            Ok(directory) => Ok(Some((directory, format!("{above}/").into_bytes()))),
            Err(StoreError::SourceGone | StoreError::SourceUnsupported { .. }) => Ok(None),
            // From the root down it is reported what may not be listed.
            Err(StoreError::SourceDenied { .. }) => Ok(Some((root, Vec::new()))),
            Err(error) => Err(error),
        }
    }

    /// The next objects and what was skipped between them, `limit` at most.
    pub(super) fn page(&mut self, limit: usize) -> Result<Page, StoreError> {
        let mut page = Page::default();
        while page.objects.len() + page.skipped.len() < limit.max(1) {
            let Some(level) = self.stack.last_mut() else {
                page.last = true;
                break;
            };
            match level.names.pop() {
                Some(name) => self.take(name, &mut page)?,
                None => self.next_window()?,
            }
        }
        // A root that went away while it was listed makes the listing worthless.
        self.root.open()?;
        Ok(page)
    }

    fn next_window(&mut self) -> Result<(), StoreError> {
        let Some(mut level) = self.stack.pop() else {
            return Ok(());
        };
        if let Some(after) = level.more_after.take() {
            self.fill(&mut level, Some(after))?;
            self.stack.push(level);
        }
        Ok(())
    }

    /// Takes one name: a file into the page, a directory onto the stack.
    fn take(&mut self, name: Name, page: &mut Page) -> Result<(), StoreError> {
        let Some(level) = self.stack.last() else {
            return Ok(());
        };
        let path = [level.base.as_slice(), &name.sort].concat();
        let is_directory = path.ends_with(b"/");
        let Ok(text) = std::str::from_utf8(&path) else {
            page.skipped
                .push(unsupported(&path, "the name is not UTF-8"));
            return Ok(());
        };
        // A directory needs room for one more byte at least.
        if path.len() + usize::from(is_directory) > limits::OBJECT_KEY_BYTES_MAX {
            page.skipped
                .push(unsupported(&path, "the name is longer than 1,024 bytes"));
            return Ok(());
        }
        if is_directory {
            return self.descend(&name.sort, &path, page);
        }
        if !name.is_plain {
            page.skipped
                .push(skipped(text, Reason::SkippedUnreadable, name.evidence));
            return Ok(());
        }
        let key = ObjectKey::new(text)?;
        match self.stat(&name.sort) {
            Ok(seen) => page.objects.push(seen.listed(key, &self.settling)?),
            Err(StoreError::SourceUnsupported { evidence }) => {
                page.skipped
                    .push(skipped(text, Reason::SkippedUnreadable, &evidence));
            }
            Err(StoreError::SourceGone) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn stat(&self, name: &[u8]) -> Result<Seen, StoreError> {
        let level = self.stack.last().ok_or(StoreError::SourceGone)?;
        match rustix::fs::statat(&level.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Seen::new(&stat),
            Err(Errno::NOENT) => Err(StoreError::SourceGone),
            Err(errno) => Err(unavailable(self.root.path(), errno.into())),
        }
    }

    fn descend(&mut self, name: &[u8], path: &[u8], page: &mut Page) -> Result<(), StoreError> {
        let Some(level) = self.stack.last() else {
            return Ok(());
        };
        let bare = name.strip_suffix(b"/").unwrap_or(name);
        let opened = open_directory(&level.directory, as_path(bare));
        let filled = match opened {
            Ok(directory) => self.level(directory, path.to_vec()),
            Err(errno) => Err(unavailable(
                &self.root.path().join(as_path(path)),
                errno.into(),
            )),
        };
        match (opened_errno(&filled), filled) {
            (_, Ok(level)) => self.stack.push(level),
            // It went away, or something else took its place: the next scan sees that.
            (Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP), Err(_)) => {}
            (Some(Errno::ACCESS | Errno::PERM), Err(_)) => {
                let text = String::from_utf8_lossy(path).into_owned();
                let mut skip = skipped(
                    &text,
                    Reason::SkippedUnreadable,
                    "a directory that may not be listed",
                );
                skip.hides = Some(text);
                page.skipped.push(skip);
            }
            (_, Err(error)) => return Err(error),
        }
        Ok(())
    }

    fn level(&self, directory: OwnedFd, base: Vec<u8>) -> Result<Level, StoreError> {
        let mut level = Level {
            directory,
            base,
            names: Vec::new(),
            more_after: None,
        };
        self.fill(&mut level, None)?;
        Ok(level)
    }

    /// Reads the directory and keeps the smallest names behind `after`.
    fn fill(&self, level: &mut Level, after: Option<Vec<u8>>) -> Result<(), StoreError> {
        let fail =
            |errno: Errno| unavailable(&self.root.path().join(as_path(&level.base)), errno.into());
        let mut names: Vec<Name> = Vec::new();
        let mut dropped = false;
        for entry in Dir::read_from(&level.directory).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let bytes = entry.file_name().to_bytes();
            if matches!(bytes, b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => match kind_of(&level.directory, bytes) {
                    Ok(kind) => kind,
                    Err(Errno::NOENT) => continue,
                    Err(errno) => return Err(fail(errno)),
                },
                kind => kind,
            };
            let name = Name::new(bytes, kind);
            let wanted = after.as_ref().is_none_or(|after| name.sort > *after);
            if !wanted || !self.is_selected(&level.base, &name.sort) {
                continue;
            }
            names.push(name);
            if names.len() >= self.held_max * 2 {
                names.select_nth_unstable(self.held_max);
                names.truncate(self.held_max);
                dropped = true;
            }
        }
        names.sort_unstable();
        if names.len() > self.held_max {
            names.truncate(self.held_max);
            dropped = true;
        }
        level.more_after = names
            .last()
            .filter(|_| dropped)
            .map(|name| name.sort.clone());
        names.reverse();
        level.names = names;
        Ok(())
    }

    /// Whether a key that begins so, or may go on so, has the wanted prefix.
    fn is_selected(&self, base: &[u8], name: &[u8]) -> bool {
        let mut wanted = self.prefix.iter();
        let equal = base
            .iter()
            .chain(name)
            .zip(wanted.by_ref())
            .all(|(a, b)| a == b);
        // A file must have the whole prefix, a directory may be above its end.
        let longer = self.prefix.len() > base.len() + name.len();
        equal && (!longer || name.ends_with(b"/"))
    }
}

impl Name {
    fn new(bytes: &[u8], kind: FileType) -> Self {
        let mut sort = bytes.to_vec();
        if kind == FileType::Directory {
            sort.push(b'/');
        }
        Self {
            sort,
            is_plain: kind == FileType::RegularFile,
            evidence: describe(kind),
        }
    }
}

fn kind_of(directory: &OwnedFd, name: &[u8]) -> rustix::io::Result<FileType> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

fn opened_errno<T>(result: &Result<T, StoreError>) -> Option<Errno> {
    match result {
        Err(StoreError::SourceUnavailable { source, .. }) => Errno::from_io_error(source),
        _ => None,
    }
}

fn as_path(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

fn unsupported(name: &[u8], evidence: &str) -> Skipped {
    let name: String = name.utf8_chunks().fold(String::new(), |mut text, chunk| {
        text.push_str(chunk.valid());
        chunk
            .invalid()
            .iter()
            .for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
        text
    });
    skipped(&name, Reason::SrcNameUnsupported, evidence)
}

fn skipped(name: &str, reason: Reason, evidence: &str) -> Skipped {
    Skipped {
        name: name.to_owned(),
        reason,
        evidence: evidence.to_owned(),
        hides: None,
    }
}

#[cfg(test)]
mod tests;
