//! The names on a disk: which are seen, which are durable.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::content::Survival;
use crate::chance::Chance;

/// A file or a directory, whatever its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId(pub(super) u64);

type Map = BTreeMap<PathBuf, NodeId>;

/// A change of names that is not durable yet.
#[derive(Debug, Clone)]
enum Change {
    Link(PathBuf, NodeId),
    Unlink(PathBuf),
    /// One change of two directories: no power loss splits it.
    Rename(PathBuf, PathBuf),
}

#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) now: Map,
    durable: Map,
    pending: Vec<Change>,
}

impl Names {
    pub(super) fn link(&mut self, path: &Path, node: NodeId) {
        self.change(Change::Link(path.to_owned(), node));
    }

    pub(super) fn unlink(&mut self, path: &Path) {
        self.change(Change::Unlink(path.to_owned()));
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) {
        self.change(Change::Rename(from.to_owned(), to.to_owned()));
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.pending.push(change);
    }

    /// Makes the changes in one directory durable, and those before on which they build.
    pub(super) fn sync(&mut self, directory: &Path) {
        let mut needed: BTreeSet<PathBuf> = BTreeSet::new();
        let mut goes = vec![false; self.pending.len()];
        for (at, change) in self.pending.iter().enumerate().rev() {
            let builds_on = change.paths().any(|path| needed.contains(path));
            let is_there = change.paths().any(|path| path.parent() == Some(directory));
            if builds_on || is_there {
                needed.extend(change.paths().cloned());
                goes[at] = true;
            }
        }
        let mut goes = goes.into_iter();
        let durable = &mut self.durable;
        self.pending.retain(|change| {
            let goes = goes.next() == Some(true);
            if goes {
                change.apply(durable);
            }
            !goes
        });
    }

    /// What is left after a power loss: a change that builds on one that was lost
    /// is lost with it, and so is all below a directory that was.
    pub(super) fn lose_power(&mut self, survival: Survival, chance: &Chance) {
        let mut lost: BTreeSet<PathBuf> = BTreeSet::new();
        for change in std::mem::take(&mut self.pending) {
            let builds_on_lost = change.paths().any(|path| lost.contains(path));
            if builds_on_lost || !survival.keeps(chance) {
                lost.extend(change.paths().cloned());
            } else {
                change.apply(&mut self.durable);
            }
        }
        let all = self.durable.clone();
        self.durable.retain(|path, _| {
            let mut above = path.ancestors().skip(1);
            above.all(|above| above.parent().is_none() || all.contains_key(above))
        });
        self.now = self.durable.clone();
    }
}

impl Change {
    fn apply(&self, to: &mut Map) {
        match self {
            Self::Link(path, node) => drop(to.insert(path.clone(), *node)),
            Self::Unlink(path) => drop(to.remove(path)),
            Self::Rename(from, new) => {
                if let Some(node) = to.remove(from) {
                    to.insert(new.clone(), node);
                }
            }
        }
    }

    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let (one, other) = match self {
            Self::Link(path, _) | Self::Unlink(path) => (path, None),
            Self::Rename(from, to) => (from, Some(to)),
        };
        std::iter::once(one).chain(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> PathBuf {
        PathBuf::from(text)
    }

    #[test]
    fn a_name_is_durable_with_its_directory_and_not_before() {
        let chance = Chance::new(1);
        let mut names = Names::default();
        names.link(&path("/d"), NodeId(1));
        names.link(&path("/d/f"), NodeId(2));
        names.sync(&path("/d"));
        names.lose_power(Survival::Nothing, &chance);
        assert!(names.now.is_empty(), "its directory was not durable");

        names.link(&path("/d"), NodeId(1));
        names.sync(&path("/"));
        names.link(&path("/d/new"), NodeId(3));
        names.rename(&path("/d/new"), &path("/d/f"));
        names.sync(&path("/"));
        names.lose_power(Survival::Nothing, &chance);
        assert_eq!(names.now.len(), 1, "another directory was synced");

        names.link(&path("/d/new"), NodeId(3));
        names.rename(&path("/d/new"), &path("/d/f"));
        names.sync(&path("/d"));
        names.lose_power(Survival::Nothing, &chance);
        assert_eq!(names.now.get(&path("/d/f")), Some(&NodeId(3)));
    }

    #[test]
    fn a_rename_is_lost_or_kept_whole() {
        for seed in 0..50 {
            let chance = Chance::new(seed);
            let mut names = Names::default();
            names.link(&path("/a"), NodeId(1));
            names.link(&path("/b"), NodeId(2));
            names.sync(&path("/"));
            names.rename(&path("/a"), &path("/b"));
            names.lose_power(Survival::Some, &chance);
            let at = |name: &str| names.now.get(&path(name)).copied();
            let (a, b) = (at("/a"), at("/b"));
            let before = (a, b) == (Some(NodeId(1)), Some(NodeId(2)));
            assert!(before || (a, b) == (None, Some(NodeId(1))), "{a:?} {b:?}");
        }
    }
}
