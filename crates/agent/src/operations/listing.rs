//! Listings: what rests here, and how what is sent from here stands.

use std::collections::BTreeSet;

use sealift_ledger::{KnownKey, ListTransfers, ListVersions, RecordRow, Transfer, VersionRow};
use sealift_terms::{BucketName, ChangeKind, ObjectKey, Reason, RecordId, Status, VersionId};

use super::{PAGE_ROWS, SiteOperations, answers, holding::Holding, written::Written};
use crate::{
    Error,
    admin::{Answer, Ls, Named, ObjectRow},
};

/// Transfers of one key that are listed.
pub(super) const LISTED_OF_KEY_MAX: usize = 10_000;

impl SiteOperations {
    /// Versions that came here, and transfers of what is sent from here: bucket by
    /// bucket, keys ascending. The latest view leaves out what was removed.
    pub(super) async fn ls(&self, ls: &Ls, answer: &Answer) -> Result<(), Error> {
        let config = self.site.current();
        let sources: BTreeSet<_> = config.sources.iter().map(|source| &source.bucket).collect();
        for bucket in self.buckets(ls.bucket.as_ref()).await? {
            // What waits or failed has a transfer.
            if !matches!(ls.status, Some(Status::Pending | Status::Failed)) {
                self.resting(&bucket, ls, answer).await?;
            }
            let of_journal = ls.status != Some(Status::Replica) && !ls.rests;
            if of_journal && sources.contains(&bucket) {
                self.transfers(&bucket, ls, answer).await?;
            }
        }
        Ok(())
    }

    /// The bucket that was asked for, or every one that this site has to do with.
    pub(super) async fn buckets(
        &self,
        wanted: Option<&BucketName>,
    ) -> Result<BTreeSet<BucketName>, Error> {
        if let Some(bucket) = wanted {
            self.hold_bucket(bucket).await?;
            return Ok(BTreeSet::from([bucket.clone()]));
        }
        let config = self.site.current();
        let archived = config.buckets.iter().map(|bucket| bucket.name.clone());
        let sources = config.sources.iter().map(|source| source.bucket.clone());
        let held = self.site.archive.counts().await?;
        let held = held.into_iter().map(|count| count.bucket);
        Ok(archived.chain(sources).chain(held).collect())
    }

    /// What rests here, but for what its transfers tell of.
    async fn resting(&self, bucket: &BucketName, ls: &Ls, answer: &Answer) -> Result<(), Error> {
        let mut written = Written::of(&self.site, bucket).await?;
        let mut pages = Versions::new(bucket.clone(), ls.prefix.clone(), ls.versions);
        let mut before: Option<ObjectKey> = None;
        while let Some(rows) = pages.next(self).await? {
            for row in rows {
                let latest = before.as_ref() != Some(&row.name.key);
                before = Some(row.name.key.clone());
                let shown = match ls.rests {
                    true => Some(answers::replica(&row, latest)),
                    false => written.beside_transfers(&row, latest).await?,
                };
                let fits = |row: &ObjectRow| {
                    (ls.versions || row.kind == ChangeKind::Put)
                        && ls.status.is_none_or(|status| status == row.status)
                };
                if let Some(row) = shown.filter(fits) {
                    answer.row(&row).await?;
                }
            }
        }
        Ok(())
    }

    async fn transfers(&self, bucket: &BucketName, ls: &Ls, answer: &Answer) -> Result<(), Error> {
        let rows = Rows {
            bucket,
            ls,
            answer,
            holding: self.holding(bucket),
            is_archive: Written::is_source(&self.site.current(), bucket),
        };
        match ls.status {
            // Few of many: by status, as they were recorded.
            Some(status @ (Status::Pending | Status::Failed)) => {
                self.of_status(status, &rows).await
            }
            _ => {
                let mut pages = Known::new(bucket.clone(), &ls.prefix);
                while let Some(keys) = pages.next(self).await? {
                    for known in keys {
                        self.of_key(&known, &rows).await?;
                    }
                }
                self.left_out(&rows).await
            }
        }
    }

    async fn of_status(&self, status: Status, rows: &Rows<'_>) -> Result<(), Error> {
        let journal = &self.site.journal;
        let mut list = ListTransfers {
            status: Some(status),
            bucket: Some(rows.bucket.clone()),
            limit: PAGE_ROWS,
            ..ListTransfers::default()
        };
        loop {
            let page = journal.transfers(&list).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            list.after = Some(last.id);
            for transfer in &page {
                let key = &transfer.change.name.key;
                if !key.as_str().starts_with(&rows.ls.prefix) {
                    continue;
                }
                let known = journal.known(rows.bucket, key).await?;
                let latest = known.is_some_and(|known| is_latest(&known, transfer));
                if latest || rows.ls.versions {
                    rows.show(answers::sent(transfer, latest)).await?;
                }
            }
        }
    }

    async fn of_key(&self, known: &KnownKey, rows: &Rows<'_>) -> Result<(), Error> {
        if known.deleted && !rows.ls.versions {
            return Ok(());
        }
        let transfers = self
            .site
            .journal
            .transfers_of(rows.bucket, &known.key, LISTED_OF_KEY_MAX)
            .await?;
        // What rests here was told of with the others that do.
        if transfers.is_empty() && !rows.is_archive {
            return rows.show(uncovered(rows.bucket, known)).await;
        }
        for transfer in &transfers {
            let latest = is_latest(known, transfer);
            if rows.ls.versions || (latest && !is_settled_by_its_version(transfer)) {
                rows.show(answers::sent(transfer, latest)).await?;
            }
        }
        Ok(())
    }

    /// Names that cannot be keys: they are in the source and not sent.
    async fn left_out(&self, rows: &Rows<'_>) -> Result<(), Error> {
        for unsupported in self.site.journal.unsupported(rows.bucket).await? {
            let Some(row) = left_out(rows.bucket, &unsupported.name, unsupported.reason) else {
                continue;
            };
            if row.key.as_str().starts_with(&rows.ls.prefix) {
                rows.show(row).await?;
            }
        }
        Ok(())
    }

    /// How versions of one object rest.
    pub(super) async fn inspect(&self, named: &Named, answer: &Answer) -> Result<(), Error> {
        let mut pages = Versions::new(named.bucket.clone(), named.key.as_str().to_owned(), true);
        let (mut seen, mut shown) = (0, 0);
        'pages: while let Some(rows) = pages.next(self).await? {
            for row in rows {
                if row.name.key != named.key {
                    break 'pages;
                }
                seen += 1;
                let wanted = named.version.as_ref();
                if wanted.is_none_or(|version| *version == row.name.version) {
                    shown += 1;
                    answer
                        .row(&self.rests(&row, seen == 1, named.facts).await?)
                        .await?;
                }
            }
        }
        match shown {
            0 => Err(Error::NotFound {
                what: format!(
                    "archived object {}/{} at this site",
                    named.bucket, named.key
                ),
            }),
            _ => Ok(()),
        }
    }

    async fn rests(&self, row: &VersionRow, latest: bool, facts: bool) -> Result<ObjectRow, Error> {
        let mut written = Written::of(&self.site, &row.name.bucket).await?;
        let (status, reason) = written.standing(row).await?;
        let record = self.key_record(row.record).await?;
        let second = match row.second_record {
            None => None,
            Some(second) => Some(self.key_record(second).await?),
        };
        Ok(ObjectRow {
            sealing: Some(answers::sealing(row, &record, second)),
            facts: facts.then(|| Box::new(row.facts.clone())),
            status,
            reason,
            ..answers::replica(row, latest)
        })
    }

    async fn key_record(&self, id: RecordId) -> Result<RecordRow, Error> {
        let record = self.site.catalog.record(id).await?;
        record.ok_or_else(|| Error::Verification {
            what: format!("key record {id} is missing from the catalog"),
        })
    }
}

/// The rows of one source's bucket on their way to whoever asked.
struct Rows<'a> {
    bucket: &'a BucketName,
    ls: &'a Ls,
    answer: &'a Answer,
    holding: Option<Holding>,
    /// Whether the source is what rests here.
    is_archive: bool,
}

impl Rows<'_> {
    async fn show(&self, mut row: ObjectRow) -> Result<(), Error> {
        if self.ls.status.is_some_and(|status| status != row.status) {
            return Ok(());
        }
        // That it does not go back to where it came from is said when somebody asks.
        if self.ls.status.is_none() && row.reason == Some(Reason::SkippedReplica) {
            return Ok(());
        }
        if let Some(holding) = &self.holding {
            holding.tell(&mut row).await;
        }
        self.answer.row(&row).await
    }
}

/// Tags that are there, or left out, say nothing that the row of their version does not.
fn is_settled_by_its_version(transfer: &Transfer) -> bool {
    transfer.change.kind == ChangeKind::Tags
        && matches!(transfer.status, Status::Completed | Status::Skipped)
}

pub(super) fn is_latest(known: &KnownKey, transfer: &Transfer) -> bool {
    known.version == transfer.change.name.version
}

/// What no rule covers is known and goes nowhere.
pub(super) fn uncovered(bucket: &BucketName, known: &KnownKey) -> ObjectRow {
    ObjectRow {
        bucket: bucket.clone(),
        key: known.key.clone(),
        version: known.version.clone(),
        kind: match known.deleted {
            true => ChangeKind::DeleteMarker,
            false => ChangeKind::Put,
        },
        size: known.size,
        status: Status::Skipped,
        reason: Some(Reason::SkippedFiltered),
        peer: None,
        latest: true,
        last_modified: None,
        mode: None,
        stored_at: None,
        sealing: None,
        removal_held: false,
        facts: None,
    }
}

/// A name that is no key has no version either.
pub(super) fn left_out(bucket: &BucketName, name: &str, reason: Reason) -> Option<ObjectRow> {
    // One that is too long is shown as far as a key can go.
    let shown = name.chars().take(256).collect::<String>();
    Some(ObjectRow {
        bucket: bucket.clone(),
        key: ObjectKey::new(shown).ok()?,
        version: VersionId::none(),
        kind: ChangeKind::Put,
        size: 0,
        status: Status::Skipped,
        reason: Some(reason),
        peer: None,
        latest: true,
        last_modified: None,
        mode: None,
        stored_at: None,
        sealing: None,
        removal_held: false,
        facts: None,
    })
}

/// Archived versions, page by page.
pub(super) struct Versions(Option<ListVersions>);

impl Versions {
    pub(super) fn new(bucket: BucketName, prefix: String, all: bool) -> Self {
        Self(Some(ListVersions {
            bucket,
            prefix,
            all,
            after: None,
            limit: PAGE_ROWS,
        }))
    }

    pub(super) async fn next(
        &mut self,
        operations: &SiteOperations,
    ) -> Result<Option<Vec<VersionRow>>, Error> {
        let Some(mut list) = self.0.take() else {
            return Ok(None);
        };
        let page = operations.site.archive.list(&list).await?;
        list.after = page.next;
        self.0 = list.after.is_some().then_some(list);
        Ok(Some(page.rows))
    }
}

/// Known keys of a source that begin with a prefix, page by page.
pub(super) struct Known {
    bucket: BucketName,
    prefix: String,
    /// The key that is the prefix itself comes before all others with it.
    itself: Option<ObjectKey>,
    after: Option<ObjectKey>,
    done: bool,
}

impl Known {
    pub(super) fn new(bucket: BucketName, prefix: &str) -> Self {
        let itself = ObjectKey::new(prefix).ok();
        Self {
            bucket,
            prefix: prefix.to_owned(),
            after: itself.clone(),
            // No key begins with what could not be one.
            done: itself.is_none() && !prefix.is_empty(),
            itself,
        }
    }

    pub(super) async fn next(
        &mut self,
        operations: &SiteOperations,
    ) -> Result<Option<Vec<KnownKey>>, Error> {
        if self.done {
            return Ok(None);
        }
        let journal = &operations.site.journal;
        let mut keys = Vec::new();
        if let Some(itself) = self.itself.take() {
            keys.extend(journal.known(&self.bucket, &itself).await?);
        }
        let page = journal
            .known_page(&self.bucket, self.after.as_ref(), PAGE_ROWS)
            .await?;
        self.done = page.len() < PAGE_ROWS;
        self.after = page.last().map(|known| known.key.clone());
        for known in page {
            if !known.key.as_str().starts_with(&self.prefix) {
                self.done = true;
                break;
            }
            keys.push(known);
        }
        Ok(Some(keys))
    }
}
