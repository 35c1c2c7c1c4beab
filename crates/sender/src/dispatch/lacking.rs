//! A peer that was sent the tags of a version that it does not have: the version is sent whole,
//! with the tags that it has then.
//!
//! ```text
//!  tags refused, DstObjectDamaged ─▶ the version's row: waits ──▶ its tags wait behind it
//!                                                       done ───▶ queued again, its tags wait
//!                                                       given up, left out ─▶ so are its tags
//!                                                       a replica, which its own region sends ─▶
//!                                                            its tags wait, for so long at most
//!                                                       none, but the source has it ─▶ queued
//!                                                       none, nor has the source ─▶ given up
//! ```
//!
//! Nothing of this goes round for ever: what waits, waits for the outcome of a row of the
//! version or for its time to be over, and every outcome of that has one for its tags.

use std::{collections::BTreeSet, sync::Arc};

use sealift_ledger::{NewChange, Requeue, Settlement, Transfer, TransferOutcome};
use sealift_terms::{
    ChangeKind, Reason, Status,
    limits::{TAGS_AWAIT_REPLICA_MAX, TRANSFERS_OF_KEY_MAX},
};
use sealift_wire::Refusal;

use super::shared::Shared;
use crate::{SenderError, Tagged, changes::refilling::Refilling, rules::Kind};

/// Whether the peer says that it lacks the version whose tags it was sent.
pub(super) fn is_of_what_is_lacking(transfer: &Transfer, refusal: &Refusal) -> bool {
    transfer.change.kind == ChangeKind::Tags && refusal.reason == Reason::DstObjectDamaged
}

/// Sees to it that the version is sent, and settles the transfer of its tags.
pub(super) async fn send_whole(shared: Arc<Shared>, transfer: Transfer, refusal: Refusal) {
    let done = {
        let _one_of_few = shared.looking.acquire().await;
        queue_version(&shared, &transfer).await
    };
    match done {
        Ok(None) => shared.not_done(&transfer, &refusal),
        Ok(Some(outcome)) => shared.settle(Settlement {
            id: transfer.id,
            at: shared.settings.clock.now(),
            outcome,
        }),
        Err(error) => {
            let refusal = Refusal::new(error.reason(), error.evidence());
            shared.not_done(&transfer, &refusal);
        }
    }
}

/// Queues the version, unless it waits already; the outcome of its tags where it is not sent.
async fn queue_version(
    shared: &Shared,
    tags: &Transfer,
) -> Result<Option<TransferOutcome>, SenderError> {
    let (settings, name) = (&shared.settings, &tags.change.name);
    let rows = settings
        .journal
        .transfers_of(&name.bucket, &name.key, TRANSFERS_OF_KEY_MAX)
        .await?;
    let is_it = |row: &Transfer| {
        let is_version = row.change.kind.is_version() && row.change.name == *name;
        is_version && row.peer == tags.peer
    };
    let Some(row) = rows.into_iter().find(is_it) else {
        return queue_again_from_source(shared, tags).await;
    };
    let evidence = |reason: Reason| format!("its version is not sent: {reason}");
    let reason = row.reason.unwrap_or(Reason::SrcObjectGone);
    Ok(match row.status {
        Status::Pending => None,
        Status::Completed | Status::Replica => {
            let which = Requeue::Damaged {
                peer: tags.peer.clone(),
                name: name.clone(),
            };
            settings
                .journal
                .requeue(which, settings.clock.now())
                .await?;
            tracing::warn!(version = %name, peer = %tags.peer, "the peer lacks a version: it is sent again");
            settings.work.wake();
            None
        }
        Status::Failed => Some(TransferOutcome::Failed {
            reason,
            evidence: evidence(reason),
        }),
        // Where regions write the same bucket it comes to the peer from another one, and these
        // may be its latest tags.
        Status::Skipped
            if reason == Reason::SkippedReplica
                && settings.clock.now().since(tags.recorded_at) < TAGS_AWAIT_REPLICA_MAX =>
        {
            None
        }
        Status::Skipped => Some(TransferOutcome::Skipped {
            reason,
            evidence: evidence(reason),
        }),
    })
}

/// Queues a version that was sent so long ago that the journal has no row of it any more.
async fn queue_again_from_source(
    shared: &Shared,
    tags: &Transfer,
) -> Result<Option<TransferOutcome>, SenderError> {
    let settings = &shared.settings;
    let found = found_in_source(shared, tags).await?;
    let Some(new) = found else {
        return Ok(Some(TransferOutcome::Failed {
            reason: Reason::SrcObjectGone,
            evidence:
                "the peer lacks its version, and the source has it no more for a rule to send"
                    .to_owned(),
        }));
    };
    settings
        .journal
        .record(vec![new], settings.clock.now())
        .await?;
    settings.work.wake();
    Ok(None)
}

/// The version as its source still has it, for that peer.
async fn found_in_source(
    shared: &Shared,
    tags: &Transfer,
) -> Result<Option<NewChange>, SenderError> {
    let (settings, name) = (&shared.settings, &tags.change.name);
    let Some(source) = settings.sources.get(&name.bucket) else {
        return Ok(None);
    };
    let rules = settings.rules.borrow().clone();
    let found = match source.ordered() {
        Some(ordered) => {
            let found = ordered.of_names(vec![name.clone()]).await?;
            let each = found.into_iter().map(|found| {
                let behind = BTreeSet::new();
                let tagged = Tagged::of(&found.change, &behind);
                let kind = Kind::new(found.change.kind);
                let mut destinations = rules.destinations(&name.bucket, &name.key, kind, tagged);
                destinations.retain(|to| to.skip.is_none());
                NewChange {
                    change: found.change,
                    destinations,
                    held_until: None,
                    ahead: false,
                }
            });
            each.collect()
        }
        None if source.keeps_versions() => {
            let refilling = Refilling {
                bucket: &name.bucket,
                source: &**source,
                journal: &*settings.journal,
                rules: &rules,
            };
            refilling.of_key(&name.key).await?
        }
        // What it has is the latest of each key, and of that there is a row.
        None => Vec::new(),
    };
    let of_version = found.into_iter().find(|new| new.change.name == *name);
    Ok(of_version.and_then(|mut new| {
        new.destinations.retain(|to| to.peer == tags.peer);
        (!new.destinations.is_empty()).then_some(new)
    }))
}
