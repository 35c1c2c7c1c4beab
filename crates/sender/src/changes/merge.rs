//! A scan of a source merged with what the journal knows, both in key order and
//! both page by page: what differs comes out, and neither is ever whole in memory.

use std::collections::{BTreeSet, VecDeque};

use sealift_ledger::{Journal, KnownKey};
use sealift_store::{Listed, Removed, Scan, Skipped, Source};
use sealift_terms::{BucketName, ObjectKey, limits::UNSUPPORTED_NAMES_MAX};

use super::{
    purging::{InSource, Purging},
    version::{self, is_version_of},
};
use crate::SenderError;

const PAGE_OBJECTS: usize = 1000;

/// Where source and journal differ.
#[derive(Debug)]
pub(super) enum Difference {
    /// The source has a version that the journal does not know as the latest.
    Put(Box<Listed>, Option<Box<KnownKey>>),
    /// The source has this key no more.
    Vanished(KnownKey),
    /// It was removed, or written and removed again, since the journal knew of it.
    Removed(Box<Removed>, Option<Box<KnownKey>>),
    /// Nothing differs so far; another page of the listing came.
    Page,
}

impl Difference {
    /// Of which key it is.
    pub(super) fn key(&self) -> Option<&ObjectKey> {
        match self {
            Self::Put(listed, _) => Some(&listed.key),
            Self::Vanished(known) => Some(&known.key),
            Self::Removed(removed, _) => Some(&removed.key),
            Self::Page => None,
        }
    }
}

pub(super) struct Merge<'a> {
    journal: &'a dyn Journal,
    bucket: &'a BucketName,
    prefix: String,
    scan: Box<dyn Scan>,
    listed: VecDeque<Listed>,
    removed: VecDeque<Removed>,
    scan_ended: bool,
    known: VecDeque<KnownKey>,
    known_after: Option<ObjectKey>,
    known_ended: bool,
    /// Prefixes of which nothing is known, those behind us left out.
    hidden: BTreeSet<String>,
    /// What was left out, at most [`UNSUPPORTED_NAMES_MAX`] of it.
    pub(super) skipped: Vec<Skipped>,
    /// Objects listed.
    pub(super) seen: u64,
    /// Pages of them.
    pages: u64,
    /// What is gone for good is found on the way, where that is wanted.
    pub(super) purging: Option<Purging>,
}

impl<'a> Merge<'a> {
    pub(super) async fn begin(
        source: &dyn Source,
        journal: &'a dyn Journal,
        bucket: &'a BucketName,
        prefix: &str,
    ) -> Result<Self, SenderError> {
        let mut merge = Self {
            journal,
            bucket,
            prefix: prefix.to_owned(),
            scan: source.scan(prefix).await?,
            listed: VecDeque::new(),
            removed: VecDeque::new(),
            scan_ended: false,
            known: VecDeque::new(),
            known_after: None,
            known_ended: false,
            hidden: BTreeSet::new(),
            skipped: Vec::new(),
            seen: 0,
            pages: 0,
            purging: None,
        };
        if let Ok(first) = ObjectKey::new(prefix) {
            // Pages begin behind a key: the one that equals the prefix comes apart.
            merge.known.extend(journal.known(bucket, &first).await?);
            merge.known_after = Some(first);
        }
        Ok(merge)
    }

    /// The next difference, in key order.
    pub(super) async fn next(&mut self) -> Result<Option<Difference>, SenderError> {
        loop {
            let before = self.pages;
            self.fill_listed().await?;
            self.fill_known().await?;
            if self.pages != before {
                return Ok(Some(Difference::Page));
            }
            let Some((listed, known, removed)) = self.take_next() else {
                self.find_gone(None, None).await?;
                return Ok(None);
            };
            if self.purging.is_some() {
                let in_source = InSource::of(listed.as_ref(), removed.as_ref());
                let key = listed.as_ref().map(|listed| &listed.key);
                let key = key.or(known.as_ref().map(|known| &known.key));
                let key = key.or(removed.as_ref().map(|removed| &removed.key));
                self.find_gone(key, in_source).await?;
            }
            let difference = match (listed, known, removed) {
                (Some(listed), known, _) => put(listed, known),
                (None, Some(known), removed) => match removed {
                    Some(removed) if is_other_marker(&known, &removed) => Some(
                        Difference::Removed(Box::new(removed), Some(Box::new(known))),
                    ),
                    _ => self.vanished(known),
                },
                (None, None, removed) => {
                    removed.map(|removed| Difference::Removed(Box::new(removed), None))
                }
            };
            if difference.is_some() {
                return Ok(difference);
            }
        }
    }

    /// Holds what was sent of the keys up to this one, of all at the end, against what the
    /// source has: nothing of those that it did not list.
    async fn find_gone(
        &mut self,
        key: Option<&ObjectKey>,
        of_key: Option<InSource<'_>>,
    ) -> Result<(), SenderError> {
        let Some(mut purging) = self.purging.take() else {
            return Ok(());
        };
        while let Some(sent) = purging.next_to(key).await? {
            let is_it = key == Some(&sent.key);
            if !self.is_hidden(sent.key.as_str()) {
                purging.judge(sent, of_key.as_ref().filter(|_| is_it));
            }
        }
        self.purging = Some(purging);
        Ok(())
    }

    /// What there is of the key that comes next.
    fn take_next(&mut self) -> Option<(Option<Listed>, Option<KnownKey>, Option<Removed>)> {
        let listed = self.listed.front().map(|listed| &listed.key);
        let known = self.known.front().map(|known| &known.key);
        let removed = self.removed.front().map(|removed| &removed.key);
        let next = [listed, known, removed]
            .into_iter()
            .flatten()
            .min()?
            .clone();
        Some((
            pop_if(&mut self.listed, |listed| listed.key == next),
            pop_if(&mut self.known, |known| known.key == next),
            pop_if(&mut self.removed, |removed| removed.key == next),
        ))
    }

    fn vanished(&mut self, known: KnownKey) -> Option<Difference> {
        let hidden = self.is_hidden(known.key.as_str());
        (!known.deleted && !hidden).then_some(Difference::Vanished(known))
    }

    /// Whether nothing is known of `key`. Keys come in order: what lies before one that
    /// does not begin so is not asked for again.
    fn is_hidden(&mut self, key: &str) -> bool {
        while let Some(first) = self.hidden.first() {
            if key.starts_with(first.as_str()) {
                return true;
            }
            if first.as_str() > key {
                return false;
            }
            self.hidden.pop_first();
        }
        false
    }

    async fn fill_listed(&mut self) -> Result<(), SenderError> {
        while self.listed.is_empty() && self.removed.is_empty() && !self.scan_ended {
            let page = self.scan.page(PAGE_OBJECTS).await?;
            self.pages += 1;
            self.scan_ended = page.last;
            self.seen += page.objects.len() as u64;
            self.listed.extend(page.objects);
            self.removed.extend(page.removed);
            self.hidden.extend(
                page.skipped
                    .iter()
                    .filter_map(|skipped| skipped.hides.clone()),
            );
            let room = UNSUPPORTED_NAMES_MAX.saturating_sub(self.skipped.len());
            self.skipped.extend(page.skipped.into_iter().take(room));
        }
        Ok(())
    }

    async fn fill_known(&mut self) -> Result<(), SenderError> {
        if !self.known.is_empty() || self.known_ended {
            return Ok(());
        }
        let page = self
            .journal
            .known_page(self.bucket, self.known_after.as_ref(), PAGE_OBJECTS)
            .await?;
        self.known_after = page.last().map(|known| known.key.clone());
        self.known_ended = page.len() < PAGE_OBJECTS;
        for known in page {
            if !known.key.as_str().starts_with(&self.prefix) {
                self.known_ended = true;
                break;
            }
            self.known.push_back(known);
        }
        Ok(())
    }
}

fn pop_if<T>(queue: &mut VecDeque<T>, is_it: impl Fn(&T) -> bool) -> Option<T> {
    match queue.front().is_some_and(is_it) {
        true => queue.pop_front(),
        false => None,
    }
}

/// Whether a key that is known as removed was removed again since. A marker that the source
/// did not tell has an id of ours, which says nothing.
fn is_other_marker(known: &KnownKey, removed: &Removed) -> bool {
    let is_ours = version::is_made_here(&known.version);
    known.deleted && !is_ours && !is_version_of(&known.version, &removed.version)
}

fn put(listed: Listed, known: Option<KnownKey>) -> Option<Difference> {
    let is_known = known
        .as_ref()
        .is_some_and(|known| !known.deleted && is_version_of(&known.version, &listed.version));
    // One that has not settled is there, and that is all there is to say of it.
    (!is_known && listed.settled).then(|| Difference::Put(Box::new(listed), known.map(Box::new)))
}
