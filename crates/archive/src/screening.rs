//! What of a commit group is stored already.

use std::collections::HashSet;

use sealift_ledger::{NewVersion, VersionRow};
use sealift_terms::{AuditKind, VersionName};

use crate::{
    ArchiveError, Result,
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
        let mut names = HashSet::new();
        for mut item in items {
            let Draft::Version(version) = &item.draft else {
                group.push(item);
                continue;
            };
            if names.contains(&version.name) {
                later.push(item);
                continue;
            }
            match self.look_up(&version.name).await {
                Ok(None) => {
                    names.insert(version.name.clone());
                    group.push(item);
                }
                Ok(Some(row)) if row.quarantined && is_same(version, &row) => {
                    names.insert(version.name.clone());
                    item.audit.kind = AuditKind::ObjectRepaired;
                    group.push(item);
                }
                Ok(Some(row)) => self.answer_stored(item, &row).await,
                Err(error) => self.fail_unplaced(item, error).await,
            }
        }
        (group, later)
    }

    async fn look_up(&self, name: &VersionName) -> Result<Option<VersionRow>> {
        if let Some(row) = self.catalog.known(name).await? {
            return Ok(Some(row));
        }
        if self.catalog.purged(name).await? {
            return Err(ArchiveError::Purged(Box::new(name.clone())));
        }
        Ok(None)
    }

    async fn answer_stored(&self, item: Box<Item>, row: &VersionRow) {
        let answer = match &item.draft {
            Draft::Version(new) if is_same(new, row) => {
                self.receipt_of(row, &item.terms.session).await
            }
            _ => Err(self.conflict(&item, row)),
        };
        match answer {
            Ok(receipt) => {
                self.drop_unplaced(&item).await;
                let _gone = item.answer.send(Ok(receipt));
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

fn is_same(new: &NewVersion, row: &VersionRow) -> bool {
    new.kind == row.kind && new.checksum == row.checksum
}
