//! What a batch of replications came to: counted row by row, told at its end.

use std::collections::BTreeMap;

use sealift_agent::admin::{ReplicateResult, ReplicateRow};
use sealift_terms::{BatchId, BucketName, PeerName, limits::RECORD_OBJECTS_MAX};
use serde::Serialize;

use crate::output::{bytes, counted};

/// What a batch did.
#[derive(Debug, Default, Serialize)]
pub(super) struct Summary {
    /// By which it is listed, paused, resumed and cancelled; none where nothing was queued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) batch: Option<BatchId>,
    pub(super) replicated: u64,
    pub(super) queued: u64,
    pub(super) planned: u64,
    pub(super) failed: u64,
    /// No rule in force sends them, or they are SKIPPED and were not asked for.
    pub(super) left_out: u64,
    /// The batch was cancelled before they were sent.
    pub(super) cancelled: u64,
    /// Their tags are there as they should be.
    pub(super) same: u64,
    /// An earlier run did them.
    pub(super) skipped: u64,
    /// Bytes of plaintext of all but what failed, was left out or was cancelled.
    pub(super) bytes: u64,
    /// What each destination would be offered, or was.
    pub(super) peers: BTreeMap<PeerName, Offered>,
}

/// Delete markers among them have no bytes. What a destination has already it answers
/// without any.
#[derive(Debug, Default, Serialize)]
pub(super) struct Offered {
    objects: u64,
    delete_markers: u64,
    bytes: u64,
    /// Calls to its key service that sealing them takes with bucket keys: one for each bucket
    /// and 2^20 objects, and one more for each bucket and hour. As many again in a second layer.
    key_calls: u64,
    /// If each object had a key record of its own there.
    key_calls_without_bucket_keys: u64,
    #[serde(skip)]
    by_bucket: BTreeMap<BucketName, u64>,
}

impl Offered {
    fn add(&mut self, row: &ReplicateRow) {
        self.objects += 1;
        self.delete_markers += u64::from(row.delete_marker);
        self.bytes += row.size;
        self.key_calls_without_bucket_keys += 1;
        let bucket = row.object.bucket.clone();
        let objects = self.by_bucket.entry(bucket).or_default();
        self.key_calls += u64::from(objects.is_multiple_of(RECORD_OBJECTS_MAX));
        *objects += 1;
    }
}

impl Summary {
    pub(super) fn count(&mut self, row: &ReplicateRow) {
        match row.result {
            ReplicateResult::Replicated => self.replicated += 1,
            ReplicateResult::Planned => self.planned += 1,
            ReplicateResult::Queued => self.queued += 1,
            ReplicateResult::LeftOut => self.left_out += 1,
            ReplicateResult::Cancelled => self.cancelled += 1,
            ReplicateResult::Same => self.same += 1,
            _ => self.failed += 1,
        }
        let is_sent = matches!(
            row.result,
            ReplicateResult::Replicated | ReplicateResult::Planned | ReplicateResult::Queued
        );
        if is_sent {
            self.bytes += row.size;
            if let Some(peer) = &row.object.peer {
                self.peers.entry(peer.clone()).or_default().add(row);
            }
        }
    }

    /// How many are not as they were to be. What is left out counts where each was named.
    pub(super) fn undone(&self, names_each: bool) -> u64 {
        let undone = self.failed + self.cancelled;
        match names_each {
            true => undone + self.left_out,
            false => undone,
        }
    }

    /// For people: of a dry run, of one that waits for what it sends, of one of tags alone.
    pub(super) fn text(&self, (dry_run, waits, tags_only): (bool, bool, bool)) -> String {
        let done = match (dry_run, waits) {
            (true, _) => {
                counted(self.planned, "version would be", "versions would be") + " offered"
            }
            (false, true) => counted(self.replicated, "version is", "versions are") + " there",
            (false, false) => counted(self.queued, "version is", "versions are") + " queued",
        };
        let batch = self.batch.map(|batch| format!("batch {batch}: "));
        let mut text = format!(
            "{}{done}, {}; {} failed, {} done before, {} left out by rules",
            batch.unwrap_or_default(),
            bytes(self.bytes),
            self.failed,
            self.skipped,
            self.left_out
        );
        if tags_only {
            text.push_str(&format!(", {} with the same tags", self.same));
        }
        if self.cancelled > 0 {
            text.push_str(&format!(", {} cancelled", self.cancelled));
        }
        for (peer, offered) in &self.peers {
            text.push_str(&format!(
                "\n  {peer}: {}, {} of them delete markers, {}",
                counted(offered.objects, "version", "versions"),
                offered.delete_markers,
                bytes(offered.bytes)
            ));
            if dry_run {
                text.push_str(&format!(
                    "; {} calls to its key service, {} without bucket keys",
                    offered.key_calls, offered.key_calls_without_bucket_keys
                ));
            }
        }
        text
    }
}
