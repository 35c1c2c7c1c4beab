//! The disk as the product sees it.

use std::{io, path::Path, sync::Arc};

use sealift_terms::{
    Disk, DiskFile,
    world::{Calls, DiskEntry, Open, Room},
};

use super::{
    content::Content,
    faults::Full,
    names::NodeId,
    platter::{Call, Node, Platter, State},
};

/// What a disk says that it can hold in all.
const TOTAL_BYTES: u64 = 64 << 30;

/// A disk in use by one process.
#[derive(Debug)]
pub(crate) struct SimDisk {
    pub(super) platter: Arc<Platter>,
    pub(super) power: u64,
}

#[derive(Debug)]
struct SimFile {
    platter: Arc<Platter>,
    power: u64,
    node: NodeId,
    /// The name under which it was opened, for the trace.
    path: String,
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let call = match how {
            Open::CreateNew => Call::Name,
            Open::Read | Open::ReadWrite => Call::Look,
        };
        let mut state = self.platter.begin(self.power, call)?;
        let node = match (state.names.now.get(path).copied(), how) {
            (Some(_), Open::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(node), _) => node,
            (None, Open::CreateNew) => self.create(&mut state, path)?,
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        if matches!(state.nodes.get(&node), Some(Node::Directory)) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        drop(state);
        Ok(Arc::new(SimFile {
            platter: self.platter.clone(),
            power: self.power,
            node,
            path: path.display().to_string(),
        }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.platter.begin(self.power, Call::Name)?;
        let mut missing: Vec<&Path> = path
            .ancestors()
            .take_while(|at| at.parent().is_some() && !state.names.now.contains_key(*at))
            .collect();
        while let Some(directory) = missing.pop() {
            let node = state.new_node(Node::Directory);
            state.names.link(directory, node);
            self.note("mkdir", directory);
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.platter.begin(self.power, Call::Name)?;
        state.file_at(from)?;
        state.directory_of(to)?;
        state.names.rename(from, to);
        self.note("rename", to);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.platter.begin(self.power, Call::Name)?;
        state.file_at(path)?;
        state.names.unlink(path);
        self.note("remove", path);
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.platter.begin(self.power, Call::Name)?;
        state.names.sync(path);
        self.note("sync directory", path);
        Ok(())
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        let state = self.platter.begin(self.power, Call::Read)?;
        if !state.names.now.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let below = state.names.now.iter();
        let below = below.filter(|(name, _)| name.parent() == Some(path));
        let entries = below.filter_map(|(name, node)| {
            let (is_dir, len) = match state.nodes.get(node)? {
                Node::Directory => (true, 0),
                Node::File(content) => (false, content.now.len() as u64),
            };
            let name = name.file_name()?.to_owned();
            Some(DiskEntry { name, is_dir, len })
        });
        Ok(entries.collect())
    }

    fn room(&self, _path: &Path) -> io::Result<Room> {
        let state = self.platter.begin(self.power, Call::Look)?;
        let free_bytes = match state.faults.full {
            Some(Full::Told) => 0,
            Some(Full::Untold) | None => TOTAL_BYTES / 2,
        };
        Ok(Room {
            free_bytes,
            total_bytes: TOTAL_BYTES,
        })
    }

    fn calls(&self) -> Calls {
        let (before, after) = self.platter.pace();
        Calls::Here { before, after }
    }
}

impl SimDisk {
    fn create(&self, state: &mut State, path: &Path) -> io::Result<NodeId> {
        state.directory_of(path)?;
        if state.faults.full.is_some() && self.platter.chance.one_in(2) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let node = state.new_node(Node::File(Content::default()));
        state.names.link(path, node);
        self.note("create", path);
        Ok(node)
    }

    fn note(&self, what: &str, path: &Path) {
        let Platter { site, trace, .. } = &*self.platter;
        trace.note(format_args!("{site} {what} {}", path.display()));
    }
}

impl State {
    fn new_node(&mut self, node: Node) -> NodeId {
        let last = self.nodes.last_key_value();
        let id = NodeId(last.map_or(1, |(id, _)| id.0 + 1));
        self.nodes.insert(id, node);
        id
    }

    fn file_at(&self, path: &Path) -> io::Result<()> {
        let node = self.names.now.get(path).and_then(|id| self.nodes.get(id));
        match node {
            Some(Node::File(_)) => Ok(()),
            Some(Node::Directory) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn directory_of(&self, path: &Path) -> io::Result<()> {
        let above = path.parent().filter(|above| above.parent().is_some());
        let is_there = above.is_none_or(|above| self.names.now.contains_key(above));
        is_there
            .then_some(())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn content(&mut self, node: NodeId) -> io::Result<&mut Content> {
        match self.nodes.get_mut(&node) {
            Some(Node::File(content)) => Ok(content),
            _ => Err(io::Error::other("a handle without its file")),
        }
    }
}

impl SimFile {
    fn note(&self, what: std::fmt::Arguments<'_>, bytes: &[u8]) {
        let Platter { site, trace, .. } = &*self.platter;
        trace.note_bytes(format_args!("{site} {what} {}", self.path), bytes);
    }
}

impl DiskFile for SimFile {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.platter.begin(self.power, Call::Read)?;
        let now = &state.content(self.node)?.now;
        let range = usize::try_from(offset)
            .ok()
            .and_then(|from| now.get(from..from.checked_add(bytes.len())?));
        let range = range.ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(range);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.platter.begin(self.power, Call::Write)?;
        let is_full = state.faults.full.is_some();
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let content = state.content(self.node)?;
        if is_full && at + bytes.len() > content.now.len() {
            // As much as there was room for.
            let fits = self.platter.chance.below(bytes.len() as u64 + 1);
            content.write(at, &bytes[..usize::try_from(fits).unwrap()]);
            self.note(format_args!("write {fits} at {offset}, then full"), &[]);
            return Err(io::ErrorKind::StorageFull.into());
        }
        content.write(at, bytes);
        let now = &content.now;
        self.platter
            .salts
            .watch_write(self.platter.site, &self.path, now, at..at + bytes.len());
        drop(state);
        self.note(format_args!("write {} at {offset}", bytes.len()), bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.platter.begin(self.power, Call::Sync)?;
        let fails = state
            .faults
            .syncs
            .is_some_and(|count| self.platter.chance.one_in(count));
        let content = state.content(self.node)?;
        if fails {
            content.fail_sync();
            self.note(format_args!("failed sync"), &[]);
            return Err(io::Error::other("an injected failure of a sync"));
        }
        content.sync();
        drop(state);
        self.note(format_args!("sync"), &[]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.platter.begin(self.power, Call::Write)?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        state.content(self.node)?.set_len(len);
        drop(state);
        self.note(format_args!("cut to {len}"), &[]);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.platter.begin(self.power, Call::Look)?;
        Ok(state.content(self.node)?.now.len() as u64)
    }
}
