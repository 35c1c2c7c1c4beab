//! What of a commit group is stored already.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use sealift_ledger::{MarkKind, Standing, VersionRow};
use sealift_terms::{AuditKind, BucketName, ObjectKey, VersionName};

use crate::{
    ArchiveError,
    archive::{Core, in_words},
    commit::{Draft, Item},
};

/// The items of a group, by what is asked of them.
#[derive(Default)]
struct Sorted {
    /// Of which nothing is asked.
    group: Vec<Box<Item>>,
    /// What waits for the commit of the others.
    later: Vec<Box<Item>>,
    /// The first of each version.
    first: Vec<Box<Item>>,
    purges: Vec<Box<Item>>,
    /// Tags of versions that none of the group brings.
    tags: Vec<Box<Item>>,
    /// The keys of versions that the group brings, where there are purges.
    keys: BTreeSet<(BucketName, ObjectKey)>,
}

impl Sorted {
    fn of(items: Vec<Box<Item>>) -> Self {
        let (mut sorted, mut seen) = (Self::default(), HashSet::new());
        let mut tags = Vec::new();
        for item in items {
            match &item.draft {
                Draft::Mark(_) if item.is_purge() => sorted.purges.push(item),
                Draft::Mark(mark) if matches!(mark.kind, MarkKind::Tags(_)) => tags.push(item),
                Draft::Version(version) if seen.insert(version.name.clone()) => {
                    sorted.first.push(item);
                }
                Draft::Version(_) => sorted.later.push(item),
                _ => sorted.group.push(item),
            }
        }
        // What is held with them is held before they are looked at.
        if sorted.group.iter().any(|item| item.is_hold()) {
            sorted.later.append(&mut sorted.purges);
        }
        // Versions of this group are not there before its commit: their tags wait for that.
        let (behind, tags): (Vec<_>, Vec<_>) = tags
            .into_iter()
            .partition(|item| item.mark_of().is_some_and(|name| seen.contains(name)));
        sorted.later.extend(behind);
        sorted.tags = tags;
        let of_purges = !sorted.purges.is_empty();
        let keys = seen.into_iter().filter(|_| of_purges);
        sorted.keys = keys.map(|name| (name.bucket, name.key)).collect();
        sorted
    }
}

impl Core {
    /// Answers what is stored already: its bytes must not come to rest in the
    /// store, where a rebuild would find them with the higher sequence. This task
    /// alone adds versions, so what passes stays unknown until its commit. Of
    /// several items for one version all but the first wait for that.
    pub(crate) async fn screen(&self, items: Vec<Box<Item>>) -> (Vec<Box<Item>>, Vec<Box<Item>>) {
        let Sorted {
            mut group,
            mut later,
            first,
            purges,
            tags,
            keys,
        } = Sorted::of(items);
        let names = first.iter().filter_map(|item| item.draft.version());
        let names = names.map(|(name, _)| name.clone());
        let of_tags = tags.iter().filter_map(|item| item.mark_of()).cloned();
        let names = names.chain(of_tags).collect();
        let mut standing = match self.catalog.standing(names).await {
            Ok(standing) => standing,
            Err(error) => {
                let error = Arc::new(ArchiveError::from(error));
                for item in first.into_iter().chain(purges).chain(tags) {
                    self.fail_unplaced(item, ArchiveError::Group(error.clone()))
                        .await;
                }
                return (group, later);
            }
        };
        let of_tags = standing.split_off(first.len().min(standing.len()));
        for (item, standing) in tags.into_iter().zip(of_tags) {
            match standing {
                // Of what was deleted for good nothing is owed any more.
                Standing::Known(_) | Standing::Purged => group.push(item),
                Standing::Unknown => item.lacks_version(),
            }
        }
        for (item, standing) in first.into_iter().zip(standing) {
            group.extend(self.screen_version(item, standing).await);
        }
        if !purges.is_empty() {
            self.screen_purges(purges, keys, &mut group, &mut later)
                .await;
        }
        (group, later)
    }

    /// A version that comes to rest, if it does.
    async fn screen_version(&self, mut item: Box<Item>, standing: Standing) -> Option<Box<Item>> {
        match standing {
            Standing::Unknown => return Some(item),
            Standing::Known(row) if row.quarantined && item.is_same(&row) => {
                item.audit.kind = AuditKind::ObjectRepaired;
                return Some(item);
            }
            Standing::Known(row) if item.replaces(&row) => return Some(item),
            Standing::Known(row) => self.answer_stored(item, &row).await,
            Standing::Purged => {
                let error = item.purged();
                self.fail_unplaced(item, error).await;
            }
        }
        None
    }

    async fn answer_stored(&self, item: Box<Item>, row: &VersionRow) {
        let answer = match item.is_same(row) {
            true => self.receipt_of(row, &item.terms.session).await,
            false => Err(self.conflict(&item, row)),
        };
        match answer {
            Ok(receipt) => {
                self.drop_unplaced(&item).await;
                item.end().send(Ok(receipt));
            }
            Err(error) => self.fail_unplaced(item, error).await,
        }
    }

    pub(crate) fn conflict(&self, item: &Item, row: &VersionRow) -> ArchiveError {
        let offered = item.draft.version().and_then(|(_, checksum)| checksum);
        match self.report_conflict(row, item.audit.actor.as_str()) {
            Err(error) => error,
            Ok(()) => ArchiveError::Conflict {
                name: Box::new(row.name.clone()),
                stored: in_words(row.checksum.as_ref()),
                offered: in_words(offered),
            },
        }
    }

    async fn fail_unplaced(&self, item: Box<Item>, error: ArchiveError) {
        self.drop_unplaced(&item).await;
        item.fail(error);
    }

    async fn drop_unplaced(&self, item: &Item) {
        if let Some(staged) = item.upload.body.staged()
            && let Err(error) = self.give_up(staged).await
        {
            tracing::warn!(file = %staged.name, %error, "a file that is not needed was not removed");
        }
    }
}

impl Item {
    /// That its version was purged.
    pub(crate) fn purged(&self) -> ArchiveError {
        match self.draft.version() {
            Some((name, _)) => ArchiveError::Purged(Box::new(name.clone())),
            None => ArchiveError::Misuse("not a version"),
        }
    }

    /// Of which version it says something, if it is no version itself.
    fn mark_of(&self) -> Option<&VersionName> {
        match &self.draft {
            Draft::Mark(mark) => Some(&mark.name),
            Draft::Version(_) | Draft::Handed { .. } => None,
        }
    }

    /// Refuses tags of a version that is not here: a receipt would say that it is.
    fn lacks_version(self: Box<Self>) {
        let name = self.mark_of().cloned().map(Box::new);
        let error = name.map(ArchiveError::VersionMissing);
        self.fail(error.unwrap_or(ArchiveError::Misuse("no tags")));
    }

    /// Whether it is the version of this row, sealed anew.
    fn replaces(&self, row: &VersionRow) -> bool {
        matches!(&self.draft, Draft::Version(new) if new.replaces == Some(row.object_uid))
            && !row.quarantined
            && self.is_same(row)
    }

    fn is_same(&self, row: &VersionRow) -> bool {
        matches!(&self.draft, Draft::Version(new)
            if new.kind == row.kind && new.checksum == row.checksum)
    }
}
