//! `batch replicate`: versions are sent again, or after all, whatever became of them.

use sealift_ledger::{ListTransfers, Requeue, Skip, Transfer};
use sealift_terms::{ChangeKind, Reason, Status, limits::TRANSFERS_OF_KEY_MAX};

use super::{PAGE_ROWS, SiteOperations, covering::Covering, refilling::Refills};
use crate::{
    Error,
    admin::{
        Actor, Answer, Replicate, ReplicateAct, ReplicateFilter, ReplicateObject, ReplicateResult,
        ReplicateRow,
    },
};

impl SiteOperations {
    pub(super) async fn replicate(
        &self,
        replicate: Replicate,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error> {
        let (objects, result) = match &replicate.act {
            ReplicateAct::Find(filter) => return self.find(filter, answer).await,
            ReplicateAct::Plan(objects) => (objects, Some(ReplicateResult::Planned)),
            ReplicateAct::Look(objects) => (objects, None),
            ReplicateAct::Queue(objects) => {
                let count = objects.len().to_string();
                self.record(actor, "batch replicate", &[("objects", count)])?;
                (objects, Some(ReplicateResult::Queued))
            }
        };
        let mut asked = (Refills::new(self), Covering::new(self));
        for object in objects {
            for row in self.replicate_one(object, result, &mut asked).await? {
                answer.row(&row).await?;
            }
        }
        if result == Some(ReplicateResult::Queued)
            && let Some(live) = self.live.as_deref()
        {
            live.wake();
        }
        Ok(())
    }

    /// How a version stands, or is queued, at each destination.
    async fn replicate_one(
        &self,
        object: &ReplicateObject,
        result: Option<ReplicateResult>,
        (refills, covering): &mut (Refills<'_>, Covering<'_>),
    ) -> Result<Vec<ReplicateRow>, Error> {
        let (journal, key) = (&self.site.journal, &object.key);
        let version = match &object.version {
            Some(version) => Some(version.clone()),
            None => {
                let known = journal.known(&object.bucket, key).await?;
                known.map(|known| known.version)
            }
        };
        let transfers = journal.transfers_of(&object.bucket, key, TRANSFERS_OF_KEY_MAX);
        let mut transfers = transfers.await?;
        transfers.retain(|transfer| {
            Some(&transfer.change.name.version) == version.as_ref()
                && transfer.change.kind.is_version()
                && object
                    .peer
                    .as_ref()
                    .is_none_or(|peer| transfer.peer == *peer)
        });
        let Some(result) = result else {
            let stand = transfers.into_iter().map(stands);
            let stand: Vec<_> = stand.collect();
            return Ok(match stand.is_empty() {
                true => vec![nowhere(object)],
                false => stand,
            });
        };
        let held = match covering.held(transfers, true).await {
            // The others do not wait for a source that does not answer.
            Err(Error::TryAgain { what, reason }) => return Ok(vec![failed(object, reason, what)]),
            held => held?,
        };
        let mut rows = Vec::new();
        for (transfer, skip) in held {
            if let Some(skip) = skip {
                rows.push(left_out(transfer, skip));
                continue;
            }
            if result == ReplicateResult::Queued {
                let which = Requeue::Version {
                    peer: transfer.peer.clone(),
                    name: transfer.change.name.clone(),
                };
                journal.requeue(which, self.site.world.clock.now()).await?;
            }
            rows.push(row(transfer, result));
        }
        if rows.is_empty() {
            rows = match refills.of_object(object, result).await {
                // The others do not wait for a source that does not answer.
                Err(Error::TryAgain { what, reason }) => vec![failed(object, reason, what)],
                found => found?,
            };
        }
        if rows.is_empty() {
            rows.push(nowhere(object));
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
        let mut covering = Covering::new(self);
        loop {
            let page = self.site.journal.transfers(&list).await?;
            let Some(last) = page.last() else {
                return Refills::new(self).find(filter, answer).await;
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
            for (transfer, skip) in covering.held(wanted, takes_skipped).await? {
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
    let is_left_out = matches!(
        transfer.reason,
        Some(Reason::SkippedFiltered | Reason::SkippedReplica)
    );
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
fn row(transfer: Transfer, result: ReplicateResult) -> ReplicateRow {
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
        size,
        reason: None,
        evidence: None,
    }
}

/// What no rule sends, or nobody knows.
fn nowhere(object: &ReplicateObject) -> ReplicateRow {
    let evidence = "the journal has no transfer of it, and no source that keeps versions has it \
                    for a rule to send";
    failed(object, Some(Reason::SkippedFiltered), evidence.to_owned())
}

fn failed(object: &ReplicateObject, reason: Option<Reason>, evidence: String) -> ReplicateRow {
    ReplicateRow {
        object: object.clone(),
        rule: None,
        result: ReplicateResult::Failed,
        delete_marker: false,
        size: 0,
        reason,
        evidence: Some(evidence),
    }
}
