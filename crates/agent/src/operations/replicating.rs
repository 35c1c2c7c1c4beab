//! `batch replicate`: versions are sent again, or after all, whatever became of them.

use sealift_ledger::{BatchStanding, BatchState, Batched, Enlist, ListTransfers, Skip, Transfer};
use sealift_store::is_called;
use sealift_terms::{BatchId, ChangeKind, Reason, Status, limits::TRANSFERS_OF_KEY_MAX};

use super::{PAGE_ROWS, SiteOperations, refilling::Refills};
use crate::{
    Error,
    admin::{
        Actor, Answer, Replicate, ReplicateAct, ReplicateFilter, ReplicateObject, ReplicateResult,
        ReplicateRow,
    },
};

/// What is done with an object that a batch names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Plan,
    Queue,
    Look(BatchId),
}

/// What was found of an object, and what queues it.
#[derive(Default)]
struct Found {
    rows: Vec<ReplicateRow>,
    enlist: Enlist,
}

impl SiteOperations {
    pub(super) async fn replicate(
        &self,
        replicate: Replicate,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        let tags_only = replicate.tags_only;
        let (objects, what) = match &replicate.act {
            ReplicateAct::Find(filter) => {
                if let (true, Some(bucket)) = (tags_only, &filter.bucket) {
                    self.hold_own_tags(bucket)?;
                }
                return self.find(filter, answer).await;
            }
            ReplicateAct::Plan(objects) if tags_only => {
                return self.retag(objects, None, actor, answer).await;
            }
            ReplicateAct::Queue { batch, objects } if tags_only => {
                return self.retag(objects, Some(*batch), actor, answer).await;
            }
            ReplicateAct::Look { batch, objects } if tags_only => {
                return self.look_at_tags(*batch, objects, answer).await;
            }
            ReplicateAct::Queue { batch, objects } => {
                return self.queue(*batch, objects, actor, answer).await;
            }
            ReplicateAct::Plan(objects) => (objects, What::Plan),
            ReplicateAct::Look { batch, objects } => (objects, What::Look(*batch)),
        };
        let mut refills = Refills::new(self);
        for object in objects {
            let found = self.replicate_one(object, what, &mut refills).await?;
            for row in found.rows {
                answer.row(&row).await?;
            }
        }
        Ok(())
    }

    /// Queues objects for a batch, in one step.
    async fn queue(
        &self,
        batch: BatchId,
        objects: &[ReplicateObject],
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        let mut refills = Refills::new(self);
        let (mut rows, mut enlist) = (Vec::new(), Enlist::default());
        for object in objects {
            let found = self
                .replicate_one(object, What::Queue, &mut refills)
                .await?;
            rows.extend(found.rows);
            enlist.versions.extend(found.enlist.versions);
            enlist.new.extend(found.enlist.new);
        }
        self.enlist(batch, (rows, enlist), actor, answer).await
    }

    /// Queues something for a batch, on record, and says what was.
    pub(super) async fn enlist(
        &self,
        batch: BatchId,
        (rows, enlist): (Vec<ReplicateRow>, Enlist),
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        let queued = enlist.versions.len() + enlist.new.len();
        let details = [
            ("batch", batch.to_string()),
            ("objects", queued.to_string()),
        ];
        self.record(actor, "batch replicate", &details)?;
        let now = self.site.world.clock.now();
        let state = self.site.journal.enlist(batch, enlist, now).await?;
        let state = state.ok_or_else(|| Error::NotFound {
            what: format!("batch {batch} at this site"),
        })?;
        for mut row in rows {
            if state == BatchState::Cancelled && row.result == ReplicateResult::Queued {
                row.result = ReplicateResult::Cancelled;
            }
            answer.row(&row).await?;
        }
        if let Some(live) = self.live.as_deref() {
            live.wake();
        }
        Ok(())
    }

    /// The transfers of the version that is meant, or of the latest, to whom it is meant for.
    pub(super) async fn transfers_of_object(
        &self,
        object: &ReplicateObject,
    ) -> Result<Vec<Transfer>, Error> {
        let (journal, key) = (&self.site.journal, &object.key);
        let transfers = journal.transfers_of(&object.bucket, key, TRANSFERS_OF_KEY_MAX);
        let mut transfers = transfers.await?;
        let version = match &object.version {
            Some(asked) => {
                let mut versions = transfers.iter().map(|one| &one.change.name.version);
                versions.find(|version| is_called(version, asked)).cloned()
            }
            None => {
                let known = journal.known(&object.bucket, key).await?;
                known.map(|known| known.version)
            }
        };
        transfers.retain(|transfer| {
            let peer = object.peer.as_ref();
            Some(&transfer.change.name.version) == version.as_ref()
                && transfer.change.kind.is_version()
                && peer.is_none_or(|peer| transfer.peer == *peer)
        });
        Ok(transfers)
    }

    /// How a version stands at each destination, or what queues it there.
    async fn replicate_one(
        &self,
        object: &ReplicateObject,
        what: What,
        refills: &mut Refills<'_>,
    ) -> Result<Found, Error> {
        let mut found = Found::default();
        let transfers = self.transfers_of_object(object).await?;
        let result = match what {
            What::Plan => ReplicateResult::Planned,
            What::Queue => ReplicateResult::Queued,
            What::Look(batch) => {
                found.rows = self.look(batch, transfers).await?;
                if found.rows.is_empty() {
                    found.rows.push(self.nowhere(object).await?);
                }
                return Ok(found);
            }
        };
        let sent = async {
            for (transfer, skip) in refills.covering.held(transfers, true).await? {
                if let Some(skip) = skip {
                    found.rows.push(left_out(transfer, skip));
                    continue;
                }
                let version = (transfer.peer.clone(), transfer.change.name.clone());
                found.enlist.versions.push(version);
                found.rows.push(row(transfer, result));
            }
            if found.rows.is_empty() {
                let (rows, new) = refills.of_object(object, result).await?;
                found.rows = rows;
                found.enlist.new.extend(new);
            }
            Ok(())
        };
        match sent.await {
            // The others do not wait for a source that does not answer.
            Err(Error::TryAgain { what, reason }) => {
                found.rows = vec![failed(object, reason, what)];
            }
            told => told?,
        }
        if found.rows.is_empty() {
            found.rows.push(self.nowhere(object).await?);
        }
        Ok(found)
    }

    /// How transfers stand: in this batch, if it queued them.
    async fn look(
        &self,
        batch: BatchId,
        transfers: Vec<Transfer>,
    ) -> Result<Vec<ReplicateRow>, Error> {
        let mut rows = Vec::with_capacity(transfers.len());
        for transfer in transfers {
            let batched = self.site.journal.batched_one(batch, transfer.id).await?;
            rows.push(match batched {
                Some(batched) => batched_row(batched),
                None => stands(transfer),
            });
        }
        Ok(rows)
    }

    async fn find(&self, filter: &ReplicateFilter, answer: &Answer) -> Result<(), Error> {
        if let Some(peer) = &filter.peer
            && self.site.current().peer(peer).is_none()
        {
            return Err(Error::NotFound {
                what: format!("peer {peer} at this site"),
            });
        }
        if let Some(rule) = &filter.rule {
            self.hold_rule(rule).await?;
        }
        if let Some(bucket) = &filter.bucket {
            self.hold_bucket(bucket).await?;
            if !filter.tags.is_empty() {
                self.hold_tags(bucket)?;
            }
        } else if !filter.tags.is_empty() {
            return Err(Error::Request {
                what: "--tag",
                found: "no bucket".to_owned(),
                allowed: "BUCKET or BUCKET/PREFIX whose objects have such tags".to_owned(),
            });
        }
        let only = match &filter.statuses[..] {
            [status] => Some(*status),
            _ => None,
        };
        let mut list = ListTransfers {
            status: only,
            rule: filter.rule.clone(),
            peer: filter.peer.clone(),
            bucket: filter.bucket.clone(),
            limit: PAGE_ROWS,
            ..ListTransfers::default()
        };
        let takes_skipped = filter.statuses.contains(&Status::Skipped);
        let mut refills = Refills::new(self);
        loop {
            let page = self.site.journal.transfers(&list).await?;
            let Some(last) = page.last() else {
                return refills.find(filter, answer).await;
            };
            list.after = Some(last.id);
            let mut wanted = Vec::new();
            for transfer in page {
                if selects(filter, &transfer) && self.is_wanted(filter, &transfer).await? {
                    wanted.push(transfer);
                }
            }
            if let (Some(bucket), false) = (&filter.bucket, filter.tags.is_empty()) {
                wanted = self.with_tags(bucket, &filter.tags, wanted).await?;
            }
            for (transfer, skip) in refills.covering.held(wanted, takes_skipped).await? {
                let row = match skip {
                    Some(skip) => left_out(transfer, skip),
                    None => row(transfer, ReplicateResult::Planned),
                };
                answer.row(&row).await?;
            }
        }
    }
}

impl SiteOperations {
    /// A source that keeps no versions has the latest alone, and a receipt that is there is
    /// not given up for one that cannot be had.
    async fn is_wanted(
        &self,
        filter: &ReplicateFilter,
        transfer: &Transfer,
    ) -> Result<bool, Error> {
        if filter.versions {
            return Ok(true);
        }
        let name = &transfer.change.name;
        let known = self.site.journal.known(&name.bucket, &name.key).await?;
        Ok(known.is_some_and(|known| known.version == name.version))
    }
}

fn selects(filter: &ReplicateFilter, transfer: &Transfer) -> bool {
    let at = transfer.updated_at;
    let modified = transfer.change.facts.last_modified;
    let is_dated = filter
        .modified_since
        .is_none_or(|since| modified.is_some_and(|modified| modified >= since))
        && filter
            .modified_until
            .is_none_or(|until| modified.is_some_and(|modified| modified < until));
    transfer.change.kind.is_version()
        && transfer
            .change
            .name
            .key
            .as_str()
            .starts_with(&filter.prefix)
        && (filter.statuses.is_empty() || filter.statuses.contains(&transfer.status))
        && filter.since.is_none_or(|since| at >= since)
        && filter.until.is_none_or(|until| at < until)
        && is_dated
}

/// How a transfer stands, and why.
fn stands(transfer: Transfer) -> ReplicateRow {
    let is_left_out = transfer.reason.is_some_and(Reason::is_by_rules);
    let stands = match transfer.status {
        Status::Completed | Status::Replica => ReplicateResult::Replicated,
        Status::Pending => ReplicateResult::Queued,
        Status::Skipped if is_left_out => ReplicateResult::LeftOut,
        Status::Failed | Status::Skipped => ReplicateResult::Failed,
    };
    let (reason, evidence) = (transfer.reason, transfer.evidence.clone());
    ReplicateRow {
        reason,
        evidence,
        ..row(transfer, stands)
    }
}

/// What no rule in force sends.
fn left_out(transfer: Transfer, skip: Skip) -> ReplicateRow {
    ReplicateRow {
        reason: Some(skip.reason),
        evidence: Some(skip.evidence),
        ..row(transfer, ReplicateResult::LeftOut)
    }
}

/// What is done with a transfer.
pub(super) fn row(transfer: Transfer, result: ReplicateResult) -> ReplicateRow {
    let (name, size) = (transfer.change.name, transfer.change.facts.size);
    ReplicateRow {
        object: ReplicateObject {
            bucket: name.bucket,
            key: name.key,
            version: Some(name.version),
            peer: Some(transfer.peer),
        },
        rule: Some(transfer.rule),
        result,
        delete_marker: transfer.change.kind == ChangeKind::DeleteMarker,
        tags_only: transfer.change.kind == ChangeKind::Tags,
        size,
        reason: None,
        evidence: None,
    }
}

/// How something stands in the batch that queued it.
pub(super) fn batched_row(batched: Batched) -> ReplicateRow {
    let result = match batched.standing {
        BatchStanding::Queued | BatchStanding::Owed => ReplicateResult::Queued,
        BatchStanding::Completed => ReplicateResult::Replicated,
        BatchStanding::Failed => ReplicateResult::Failed,
        BatchStanding::LeftOut => ReplicateResult::LeftOut,
        BatchStanding::TakenBack => ReplicateResult::Cancelled,
    };
    let (reason, evidence) = (batched.transfer.reason, batched.transfer.evidence.clone());
    ReplicateRow {
        reason: reason.filter(|_| result != ReplicateResult::Cancelled),
        evidence: evidence.filter(|_| result != ReplicateResult::Cancelled),
        ..row(batched.transfer, result)
    }
}

pub(super) fn failed(
    object: &ReplicateObject,
    reason: Option<Reason>,
    evidence: String,
) -> ReplicateRow {
    ReplicateRow {
        object: object.clone(),
        rule: None,
        result: ReplicateResult::Failed,
        delete_marker: false,
        tags_only: false,
        size: 0,
        reason,
        evidence: Some(evidence),
    }
}
