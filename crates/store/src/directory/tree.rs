//! The watched tree: which inotify watch stands for which directory, and what
//! an event means.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
};

use rustix::{
    fs::{
        AtFlags, Dir, FileType, OFlags,
        inotify::{ReadFlags, WatchFlags, add_watch, remove_watch},
        statat,
    },
    io::Errno,
};
use sealift_terms::ObjectKey;

use super::{
    root::{Root, Seen},
    settling::{Settling, Touch},
};
use crate::{Hint, StoreError};

/// One event as inotify reports it, copied out of its buffer.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) watch: i32,
    pub(super) what: ReadFlags,
    pub(super) name: Vec<u8>,
}

/// Why watching does not reach the whole tree.
#[derive(Debug)]
pub(super) enum Unwatched {
    /// Too many directories.
    Limit(String),
    /// The root is away.
    Root(StoreError),
}

#[derive(Debug)]
pub(super) struct Tree {
    inotify: OwnedFd,
    root: Arc<Root>,
    settling: Arc<Settling>,
    watches_max: usize,
    /// Watch to directory, as the bytes that keys beneath it begin with.
    bases: HashMap<i32, Vec<u8>>,
}

impl Tree {
    pub(super) fn new(
        inotify: OwnedFd,
        root: Arc<Root>,
        settling: Arc<Settling>,
        watches_max: usize,
    ) -> Self {
        Self {
            inotify,
            root,
            settling,
            watches_max,
            bases: HashMap::new(),
        }
    }

    pub(super) fn inotify(&self) -> &OwnedFd {
        &self.inotify
    }

    /// Watches a directory and all beneath it. Files found on the way are
    /// hinted at once they settle, if they are young: they may have been written
    /// before the watch stood.
    pub(super) fn add(&mut self, base: Vec<u8>) -> Result<(), Unwatched> {
        self.root.open().map_err(Unwatched::Root)?;
        let mut to_do = vec![base];
        while let Some(base) = to_do.pop() {
            if self.bases.len() >= self.watches_max {
                return Err(Unwatched::Limit(format!(
                    "{} directories",
                    self.watches_max
                )));
            }
            match self.add_one(&base) {
                Ok(beneath) => to_do.extend(beneath),
                // Gone or unreadable: the scan says what is to be said of it.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => {}
                Err(errno) => return Err(Unwatched::Limit(io::Error::from(errno).to_string())),
            }
        }
        Ok(())
    }

    fn add_one(&mut self, base: &[u8]) -> rustix::io::Result<Vec<Vec<u8>>> {
        let Some(directory) = self.open(base)? else {
            return Ok(Vec::new());
        };
        let wanted = WatchFlags::CLOSE_WRITE
            | WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::MOVE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        // By its descriptor: no path leads elsewhere meanwhile.
        let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
        let watch = add_watch(&self.inotify, path, wanted)?;
        self.bases.insert(watch, base.to_vec());
        let mut beneath = Vec::new();
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            match entry.file_type() {
                _ if matches!(name, b"." | b"..") => {}
                FileType::Directory => beneath.push([base, name, b"/"].concat()),
                FileType::RegularFile => self.settle_young(&directory, base, name),
                _ => {}
            }
        }
        Ok(beneath)
    }

    fn settle_young(&self, directory: &OwnedFd, base: &[u8], name: &[u8]) {
        if let Ok(stat) = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            && let Ok(seen) = Seen::new(&stat)
            && let Some(key) = key_of(&[base, name].concat())
        {
            self.settling.is_settled(&key, &seen);
        }
    }

    /// Opens a directory below the root, through no link. None when no key can be
    /// beneath it.
    fn open(&self, base: &[u8]) -> rustix::io::Result<Option<OwnedFd>> {
        let opened = match base.strip_suffix(b"/") {
            None => self.root.open(),
            Some(below) => match key_of(below) {
                None => return Ok(None),
                Some(key) => self
                    .root
                    .open_beneath(&key, OFlags::RDONLY | OFlags::DIRECTORY),
            },
        };
        opened.map(Some).map_err(|error| match error {
            StoreError::SourceUnsupported { .. } => Errno::LOOP,
            StoreError::SourceDenied { .. } => Errno::ACCESS,
            StoreError::SourceUnavailable { source, .. } => {
                Errno::from_io_error(&source).unwrap_or(Errno::NOENT)
            }
            _ => Errno::NOENT,
        })
    }

    /// Says what an event means. A file's events go through settling.
    pub(super) fn handle(&mut self, event: &Event) -> Result<Option<Hint>, Unwatched> {
        let what = event.what;
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            // Events were lost, new directories among them.
            self.add(Vec::new())?;
            return Ok(Some(Hint::Rescan));
        }
        let Some(base) = self.bases.get(&event.watch).cloned() else {
            return Ok(None);
        };
        if what.contains(ReadFlags::IGNORED) {
            self.bases.remove(&event.watch);
            return Ok(None);
        }
        if what.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT) {
            // Of other directories their parents tell.
            return if base.is_empty() {
                self.root_moved()
            } else {
                Ok(None)
            };
        }
        let path = [base.as_slice(), &event.name].concat();
        if what.contains(ReadFlags::ISDIR) {
            return self.directory_event(what, [path.as_slice(), b"/"].concat());
        }
        let touch = if what.contains(ReadFlags::CLOSE_WRITE) {
            Touch::Closed
        } else if what.intersects(ReadFlags::MOVED_FROM | ReadFlags::MOVED_TO | ReadFlags::DELETE) {
            Touch::Placed
        } else {
            Touch::Written
        };
        let noted = key_of(&path).is_none_or(|key| self.settling.touch(&key, touch));
        Ok((!noted).then_some(Hint::Rescan))
    }

    fn directory_event(
        &mut self,
        what: ReadFlags,
        base: Vec<u8>,
    ) -> Result<Option<Hint>, Unwatched> {
        if what.intersects(ReadFlags::MOVED_FROM | ReadFlags::DELETE) {
            self.forget(&base);
        } else if what.intersects(ReadFlags::MOVED_TO | ReadFlags::CREATE) {
            self.add(base.clone())?;
        } else {
            return Ok(None);
        }
        Ok(String::from_utf8(base).ok().map(Hint::Beneath))
    }

    fn root_moved(&mut self) -> Result<Option<Hint>, Unwatched> {
        self.forget(&[]);
        self.root.open().map_err(Unwatched::Root)?;
        Ok(Some(Hint::Rescan))
    }

    /// Ends the watches of a directory that moved away and of all beneath it.
    pub(super) fn forget(&mut self, base: &[u8]) {
        let inotify = &self.inotify;
        self.bases.retain(|watch, known| {
            let stays = !known.starts_with(base);
            if !stays {
                // Fails if the directory is gone, and its watch with it.
                let _ = remove_watch(inotify, *watch);
            }
            stays
        });
    }
}

fn key_of(path: &[u8]) -> Option<ObjectKey> {
    ObjectKey::new(std::str::from_utf8(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use rustix::fs::inotify::{CreateFlags, init};
    use sealift_host::OsClock;

    use super::*;

    #[test]
    fn nothing_outside_of_the_root_is_watched_through_a_link_on_the_way() {
        let temp = tempfile::tempdir().unwrap();
        let (inside, outside) = (temp.path().join("root"), temp.path().join("outside"));
        std::fs::create_dir_all(inside.join("a/b")).unwrap();
        std::fs::create_dir_all(outside.join("b")).unwrap();
        let clock = Arc::new(OsClock);
        let root = Arc::new(Root::new(&inside, clock.clone()));
        let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
        let settling = Arc::new(Settling::new(clock));
        let mut tree = Tree::new(inotify, root, settling, 10);
        tree.add(b"a/b/".to_vec()).unwrap();
        assert_eq!(tree.bases.len(), 1);
        tree.forget(&[]);
        std::fs::rename(inside.join("a"), inside.join("aside")).unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("a")).unwrap();
        tree.add(b"a/b/".to_vec()).unwrap();
        assert!(tree.bases.is_empty(), "{:?}", tree.bases);
    }

    #[test]
    fn an_overflow_of_the_event_queue_leads_to_a_rescan_and_watches_what_was_missed() {
        let temp = tempfile::tempdir().unwrap();
        let clock = Arc::new(OsClock);
        let root = Arc::new(Root::new(temp.path(), clock.clone()));
        let settling = Arc::new(Settling::new(clock));
        let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
        let mut tree = Tree::new(inotify, root, settling, 10);
        tree.add(Vec::new()).unwrap();
        std::fs::create_dir_all(temp.path().join("missed/deep")).unwrap();
        let overflow = Event {
            watch: -1,
            what: ReadFlags::QUEUE_OVERFLOW,
            name: Vec::new(),
        };
        assert_eq!(tree.handle(&overflow).unwrap(), Some(Hint::Rescan));
        let mut bases: Vec<_> = tree.bases.values().cloned().collect();
        bases.sort();
        assert_eq!(bases, [&b""[..], b"missed/", b"missed/deep/"]);
    }
}
