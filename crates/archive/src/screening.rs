//! What of a commit group is stored already.

use std::{collections::HashSet, sync::Arc};

use sealift_ledger::{Standing, VersionRow};
use sealift_terms::AuditKind;

use crate::{
    ArchiveError,
    archive::{Core, in_words},
    commit::{Draft, Item},
};

impl Core {
    /// Answers what is stored already: its bytes must not come to rest in the
    /// store, where a rebuild would find them with the higher sequence. This task
    /// alone adds versions, so what passes stays unknown until its commit. Of
    /// several items for one version all but the first wait for that.
    pub(crate) async fn screen(&self, items: Vec<Box<Item>>) -> (Vec<Box<Item>>, Vec<Box<Item>>) {
        let (mut group, mut later) = (Vec::with_capacity(items.len()), Vec::new());
        let (mut first, mut seen) = (Vec::with_capacity(items.len()), HashSet::new());
        let mut purges = Vec::new();
        for item in items {
            match &item.draft {
                Draft::Mark(_) if item.is_purge() => purges.push(item),
                Draft::Version(version) if seen.insert(version.name.clone()) => first.push(item),
                Draft::Version(_) => later.push(item),
                _ => group.push(item),
            }
        }
        // What is held with them is held before they are looked at.
        if group.iter().any(|item| item.is_hold()) {
            later.append(&mut purges);
        }
        let of_purges = !purges.is_empty();
        let keys = seen.iter().filter(|_| of_purges);
        let keys = keys
            .map(|name| (name.bucket.clone(), name.key.clone()))
            .collect();
        drop(seen);
        let names = first.iter().filter_map(|item| item.draft.version());
        let names = names.map(|(name, _)| name.clone()).collect();
        let standing = match self.catalog.standing(names).await {
            Ok(standing) => standing,
            Err(error) => {
                let error = Arc::new(ArchiveError::from(error));
                for item in first {
                    self.fail_unplaced(item, ArchiveError::Group(error.clone()))
                        .await;
                }
                for item in purges {
                    item.fail(ArchiveError::Group(error.clone()));
                }
                return (group, later);
            }
        };
        for (mut item, standing) in first.into_iter().zip(standing) {
            match standing {
                Standing::Unknown => group.push(item),
                Standing::Known(row) if row.quarantined && item.is_same(&row) => {
                    item.audit.kind = AuditKind::ObjectRepaired;
                    group.push(item);
                }
                Standing::Known(row) if item.replaces(&row) => group.push(item),
                Standing::Known(row) => self.answer_stored(item, &row).await,
                Standing::Purged => {
                    let error = item.purged();
                    self.fail_unplaced(item, error).await;
                }
            }
        }
        if of_purges {
            self.screen_purges(purges, keys, &mut group, &mut later)
                .await;
        }
        (group, later)
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
