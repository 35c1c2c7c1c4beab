//! Versions that go for good: asked for by a peer, by an application, or by the bucket's own
//! `expire_noncurrent_days`.
//!
//! ```text
//!  a purge ─▶ Upload (a mark) ─▶ committer: retained? ─▶ pack synced ─▶ one transaction: mark, row
//!                                                                       gone, leaf ─▶ receipt
//!  hourly ──▶ files in which nothing rests any more, packs by compaction
//! ```
//!
//! The mark is durable before any byte goes, and stays: neither a rebuild nor a late offer
//! brings the version back.

use std::collections::BTreeSet;

use async_trait::async_trait;
use sealift_ledger::{LedgerError, ListVersions, MarkKind, Standing, VersionCursor, VersionRow};
use sealift_store::{StoreError, StoreName};
use sealift_terms::{
    AuditKind, AuditRecord, Boxed, BucketName, Change, ChangeKind, ObjectFacts, ObjectKey, Receipt,
    Timestamp, VersionName,
};
use tokio::task::JoinSet;

use crate::{
    Archive, ArchiveError, Hold, Result, Upload,
    archive::Core,
    commit::{Draft, Item},
    limits::{EXPIRED_AT_ONCE, PAGE_ROWS},
    staging::OBJECTS,
};

/// What a round of expiry did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExpiredVersions {
    /// Versions that were purged.
    pub purged: u64,
    /// Versions whose time had come and that something retains.
    pub retained: u64,
    /// Versions whose time had come and that are still to be sent from here.
    pub awaited: u64,
}

/// Who knows what is still to be sent from here.
#[async_trait]
pub trait SentOn: Sync {
    /// Whether a version is awaited somewhere that it is sent to from here.
    ///
    /// # Errors
    /// When that cannot be said: then the version stays.
    async fn awaits(&self, row: &VersionRow) -> std::result::Result<bool, LedgerError>;
}

impl Archive {
    /// Purges a version: returns once that is durable.
    ///
    /// # Errors
    /// [`ArchiveError::Retained`]; as [`commit_ordered`](Self::commit_ordered).
    pub async fn purge(&self, actor: &str, row: &VersionRow) -> Result<Receipt> {
        self.purge_of(actor, row, false).await?.commit(None).await
    }

    pub(crate) async fn purge_of(
        &self,
        actor: &str,
        row: &VersionRow,
        expires: bool,
    ) -> Result<Box<Upload>> {
        let (kind, facts) = (ChangeKind::Purge, ObjectFacts::default());
        let mut upload = self.written(actor, row.name.clone(), kind, facts).await?;
        let tags = row.tags_order.as_ref().map_or(0, |order| order.clock);
        upload.offer.change.order = self.core.order_above(tags.max(row.order.clock))?;
        if let Some(written) = &mut upload.offer.written {
            written.expires = expires;
        }
        Ok(upload)
    }

    /// Purges versions that another one has been above for longer than their bucket says.
    /// Never the latest of a key, none that is retained, and none that is still to be sent.
    /// Called now and then.
    ///
    /// # Errors
    /// What store, catalog or `sent_on` say. What was done until then is done.
    pub fn expire_noncurrent<'a>(
        &'a self,
        sent_on: &'a dyn SentOn,
    ) -> Boxed<'a, Result<ExpiredVersions>> {
        Box::pin(async move {
            let mut done = ExpiredVersions::default();
            let retentions = self.core.retentions.read().clone();
            for (bucket, keeps) in retentions {
                if let Some(after) = keeps.expire_noncurrent {
                    let before = self.core.clock.now().minus(after);
                    self.expire_in((&bucket, before), sent_on, &mut done)
                        .await?;
                }
            }
            Ok(done)
        })
    }

    async fn expire_in(
        &self,
        (bucket, before): (&BucketName, Timestamp),
        sent_on: &dyn SentOn,
        done: &mut ExpiredVersions,
    ) -> Result<()> {
        let core = &self.core;
        let holds = core.holds(Some(bucket)).await?;
        let mut list = ListVersions {
            bucket: bucket.clone(),
            prefix: String::new(),
            all: true,
            after: None,
            limit: PAGE_ROWS,
        };
        // The version above the next one, where that is of the same key: since it came the
        // next one is not the latest.
        let mut above: Option<(ObjectKey, Timestamp)> = None;
        loop {
            let page = core.catalog.versions(&list).await?;
            let mut due = Vec::new();
            for row in page.rows {
                let is_due = matches!(&above, Some((key, since)) if *key == row.name.key
                    && (*since).max(row.stored_at) <= before);
                above = Some((row.name.key.clone(), row.stored_at));
                match is_due && !row.quarantined {
                    true if core.retains(&row, &holds).is_some() => done.retained += 1,
                    true if sent_on.awaits(&row).await? => done.awaited += 1,
                    true => due.push(row),
                    false => {}
                }
            }
            for some in due.chunks(EXPIRED_AT_ONCE) {
                self.purge_all(some, done).await?;
            }
            let next: Option<VersionCursor> = page.next;
            match next {
                Some(next) => list.after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Purges these together; what became the latest or retained meanwhile stays.
    async fn purge_all(&self, rows: &[VersionRow], done: &mut ExpiredVersions) -> Result<()> {
        let mut purging = JoinSet::new();
        for row in rows {
            let upload = self.purge_of("agent", row, true).await?;
            purging.spawn(upload.commit(None));
        }
        while let Some(purged) = purging.join_next().await {
            match purged.map_err(|_| ArchiveError::Closed)? {
                Ok(_) => done.purged += 1,
                Err(ArchiveError::Retained { .. } | ArchiveError::StillLatest(_)) => {
                    done.retained += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes files of their own in which nothing rests any more: their versions were purged.
    /// A crash before it leaves them to the next time. Returns how many. Called now and then.
    ///
    /// # Errors
    /// What store or catalog say.
    pub fn remove_emptied(&self) -> Boxed<'_, Result<u64>> {
        Box::pin(async move {
            let (core, mut removed) = (&self.core, 0);
            let mut after = OBJECTS.to_owned();
            loop {
                let page = core.catalog.files(Some(&after), PAGE_ROWS).await?;
                let Some(last) = page.last() else {
                    return Ok(removed);
                };
                after.clone_from(&last.file);
                for row in &page {
                    let is_of_object = row.file.starts_with(OBJECTS);
                    if !is_of_object || row.objects > 0 {
                        continue;
                    }
                    if core.quarantined_in(&row.file).await?.is_empty() {
                        let file = StoreName::new(&row.file).map_err(StoreError::from)?;
                        core.store.remove(&file).await?;
                        removed += u64::from(core.catalog.forget_file(&row.file).await?);
                    }
                }
                if !last.file.starts_with(OBJECTS) {
                    return Ok(removed);
                }
            }
        })
    }
}

impl Item {
    pub(crate) fn is_purge(&self) -> bool {
        matches!(&self.draft, Draft::Mark(mark) if mark.kind == MarkKind::Purge)
    }

    pub(crate) fn is_hold(&self) -> bool {
        matches!(&self.draft, Draft::Mark(mark) if matches!(mark.kind, MarkKind::Hold(_)))
    }

    /// Whether a rebuild that finds it takes something away, or keeps it, for good: nothing of
    /// it may be found that was not committed.
    pub(crate) fn is_for_good(&self) -> bool {
        self.is_purge() || self.is_hold()
    }
}

impl Core {
    /// The purges of those of these versions that were purged, as their marks say it.
    pub(crate) async fn purges_of(&self, names: Vec<VersionName>) -> Result<Vec<Change>> {
        let standing = self.catalog.standing(names.clone()).await?;
        let mut purges = Vec::new();
        for (name, standing) in names.into_iter().zip(standing) {
            if !matches!(standing, Standing::Purged) {
                continue;
            }
            let marks = self.catalog.marks_of(&name).await?;
            let mark = marks.into_iter().find(|mark| mark.kind == MarkKind::Purge);
            purges.extend(mark.map(|mark| Change {
                name,
                order: mark.order,
                kind: ChangeKind::Purge,
                facts: ObjectFacts::default(),
            }));
        }
        Ok(purges)
    }

    /// Lets those purges into the group that nothing retains; `keys` are those of which
    /// something else is in it already: the others wait for that.
    pub(crate) async fn screen_purges(
        &self,
        purges: Vec<Box<Item>>,
        mut keys: BTreeSet<(BucketName, ObjectKey)>,
        group: &mut Vec<Box<Item>>,
        later: &mut Vec<Box<Item>>,
    ) {
        for item in purges {
            let Draft::Mark(mark) = &item.draft else {
                continue;
            };
            let name = &mark.name;
            if !keys.insert((name.bucket.clone(), name.key.clone())) {
                later.push(item);
                continue;
            }
            match self.screen_purge(item).await {
                Ok(item) => group.push(item),
                Err((item, error)) => item.fail(error),
            }
        }
    }

    async fn screen_purge(
        &self,
        mut item: Box<Item>,
    ) -> std::result::Result<Box<Item>, (Box<Item>, ArchiveError)> {
        let Draft::Mark(mark) = &item.draft else {
            return Ok(item);
        };
        let name = mark.name.clone();
        let found = async {
            let holds = self.holds(Some(&name.bucket)).await?;
            let standing = self.catalog.standing(vec![name.clone()]).await?;
            let latest = match item.expires {
                true => self.catalog.latest(&name.bucket, &name.key).await?,
                false => None,
            };
            Ok::<_, ArchiveError>((holds, standing.into_iter().next(), latest))
        };
        let (holds, standing, latest) = match found.await {
            Ok(found) => found,
            Err(error) => return Err((item, error)),
        };
        if latest.is_some_and(|latest| latest.name == name) {
            return Err((item, ArchiveError::StillLatest(Box::new(name))));
        }
        let told = match standing {
            Some(Standing::Known(row)) => {
                if let Err(error) = self.hold_retained(&item, &row, &holds) {
                    return Err((item, error));
                }
                row.facts.size.to_string()
            }
            _ => "none: it was not here".to_owned(),
        };
        item.audit.details.insert("size".to_owned(), told);
        Ok(item)
    }

    /// Refuses to purge what is retained, on record.
    fn hold_retained(&self, item: &Item, row: &VersionRow, holds: &[Hold]) -> Result<()> {
        let Some(why) = self.retains(row, holds) else {
            return Ok(());
        };
        let name = &row.name;
        tracing::warn!(version = %name, why, "it is retained, and was not purged");
        let record = AuditRecord::new(
            self.clock.now(),
            AuditKind::PurgeRefused,
            &*item.audit.actor,
        )
        .with("bucket", &name.bucket)
        .with("key", &name.key)
        .with("version", &name.version)
        .with("why", &why);
        self.audit.record(record)?;
        Err(ArchiveError::Retained {
            name: Box::new(name.clone()),
            why,
        })
    }
}
