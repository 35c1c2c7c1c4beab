//! Gauges and sums, filled from what is known when a scrape asks.

use std::time::Duration;

use sealift_endpoint::EndpointCounts;
use sealift_forward::StreamCounts;
use sealift_ledger::AuditLog;
use sealift_sender::{LAG_BOUNDS, SenderStatus, Sent, SourceStatus};
use sealift_terms::Timestamp;

use super::{Direction, Live, PeerState, SiteOperations, brought, key_reports};
use crate::{
    Histogram, Metric, Metrics,
    admin::{BucketReport, Count, KeyCalls, Operations, RuleReport, ScrubReport, SourceReport},
};

/// Filled anew by every scrape: what is gone must not stay.
const FILLED: [Metric; 26] = [
    Metric::Alarms,
    Metric::Transfers,
    Metric::TransferBytes,
    Metric::OldestPending,
    Metric::Sessions,
    Metric::ArchiveVersions,
    Metric::ArchiveBytes,
    Metric::DeletesHeld,
    Metric::SourceFailing,
    Metric::Unsettled,
    Metric::OldestUnsettled,
    Metric::SendLimit,
    Metric::Links,
    Metric::ClockSkew,
    Metric::LinkRtt,
    Metric::LinkDelivery,
    Metric::KeyUsable,
    Metric::KeyOverdue,
    Metric::KeyRotation,
    Metric::KeyDeletion,
    Metric::KeyExpiry,
    Metric::KeyReplicaVersions,
    Metric::KeyReplicaLag,
    Metric::PeerHeld,
    Metric::PeerQuota,
    Metric::ReceiveLimit,
];

impl SiteOperations {
    pub(super) async fn scrape(&self) -> String {
        let _alone = self.scraping.lock().await;
        let metrics = &*self.site.metrics;
        for metric in FILLED {
            metrics.clear(metric);
        }
        let version = env!("CARGO_PKG_VERSION");
        metrics.series(Metric::BuildInfo, &[version]).set(1);
        let ready = self.readiness().ready;
        metrics.series(Metric::Ready, &[]).set(u64::from(ready));
        // What cannot be read is missing from the answer, which says so.
        match self.report().await {
            Ok(report) => {
                report
                    .rules
                    .iter()
                    .for_each(|rule| fill_rule(metrics, rule));
                let buckets = report.buckets.iter();
                buckets.for_each(|bucket| fill_bucket(metrics, bucket));
                let sources = report.sources.iter();
                sources.for_each(|source| fill_unsettled(metrics, source));
                for alarm in &report.alarms {
                    metrics.series(Metric::Alarms, &[&alarm.alarm]).add(1);
                }
                fill_scrub(metrics, &report.scrub);
                key_reports::fill(metrics, &report.keys);
                brought::fill(metrics, &report.peers);
            }
            Err(error) => tracing::error!(%error, "counts cannot be read"),
        }
        self.fill_site(metrics).await;
        if let Some(live) = &self.live {
            fill_live(metrics, &**live);
        }
        metrics.render()
    }

    async fn fill_site(&self, metrics: &Metrics) {
        let site = &*self.site;
        let calls = site.ring.counters();
        metrics.series(Metric::KeyCalls, &[]).set(calls.calls_made);
        metrics
            .series(Metric::KeyCallsSaved, &[])
            .set(calls.calls_saved);
        if let Some(calls) = KeyCalls::of(calls.calls_made, calls.calls_saved) {
            let percent = calls.saved_percent as u64;
            metrics
                .series(Metric::KeyCallsSavedPercent, &[])
                .set(percent);
        }
        for (request, count) in site.store.requests() {
            let series = metrics.series(Metric::StoreRequests, &[request]);
            series.set(count);
        }
        match site.journal.paused_batches().await {
            Ok(paused) => metrics.series(Metric::BatchesPaused, &[]).set(paused),
            Err(error) => tracing::error!(%error, "batches cannot be counted"),
        }
        let used = site.budget.total().saturating_sub(site.budget.free());
        metrics.series(Metric::MemoryUsed, &[]).set(used as u64);
        let unfinished = site.archive.unfinished() as u64;
        metrics
            .series(Metric::UnfinishedUploads, &[])
            .set(unfinished);
        let settled = site.archive.conflicts_settled();
        metrics.series(Metric::ConflictsSettled, &[]).set(settled);
        match site.archive.room().await {
            Ok(room) => metrics.series(Metric::StoreFree, &[]).set(room.free_bytes),
            Err(error) => tracing::error!(%error, "the store's room cannot be read"),
        }
        match AuditLog::head(&*site.audit).await {
            Ok(head) => metrics.series(Metric::AuditLeaves, &[]).set(head.size),
            Err(error) => tracing::error!(%error, "the audit log cannot be read"),
        }
    }
}

fn fill_rule(metrics: &Metrics, rule: &RuleReport) {
    let (name, peer) = (rule.rule.as_str(), rule.peer.as_str());
    for count in &rule.counts {
        let labels = [name, peer, count.status.as_str()];
        let Count { objects, bytes } = count.count;
        metrics.series(Metric::Transfers, &labels).set(objects);
        metrics.series(Metric::TransferBytes, &labels).set(bytes);
    }
    let oldest = rule.oldest_pending_secs.unwrap_or(0);
    metrics
        .series(Metric::OldestPending, &[name, peer])
        .set(oldest);
}

fn fill_unsettled(metrics: &Metrics, source: &SourceReport) {
    let labels = [source.bucket.as_str()];
    metrics
        .series(Metric::Unsettled, &labels)
        .set(source.unsettled);
    let oldest = source.oldest_unsettled_secs.unwrap_or(0);
    metrics.series(Metric::OldestUnsettled, &labels).set(oldest);
}

fn fill_bucket(metrics: &Metrics, bucket: &BucketReport) {
    let labels = [bucket.bucket.as_str()];
    metrics
        .series(Metric::ArchiveVersions, &labels)
        .set(bucket.versions);
    metrics
        .series(Metric::ArchiveBytes, &labels)
        .set(bucket.bytes);
}

fn fill_scrub(metrics: &Metrics, scrub: &ScrubReport) {
    for (state, count) in [("damaged", scrub.damaged), ("repaired", scrub.repaired)] {
        metrics.series(Metric::Quarantined, &[state]).set(count);
    }
    if let Some(finished) = scrub.finished {
        metrics
            .series(Metric::ScrubFinished, &[])
            .set(seconds(finished));
    }
}

fn fill_live(metrics: &Metrics, live: &dyn Live) {
    metrics
        .series(Metric::StartTime, &[])
        .set(seconds(live.started()));
    let usage = live.usage();
    metrics
        .series(Metric::ReceivedObjects, &[])
        .set(usage.objects);
    metrics.series(Metric::ReceivedBytes, &[]).set(usage.bytes);
    metrics
        .series(Metric::OffersRefused, &[])
        .set(usage.refused);
    live.senders()
        .iter()
        .for_each(|sender| fill_sender(metrics, sender));
    live.sources()
        .iter()
        .for_each(|source| fill_source(metrics, source));
    live.peers()
        .iter()
        .for_each(|peer| fill_peer(metrics, peer));
    live.forwards()
        .iter()
        .for_each(|counts| fill_forward(metrics, counts));
    if let Some(counts) = live.endpoint() {
        fill_endpoint(metrics, &counts);
    }
}

fn fill_endpoint(metrics: &Metrics, counts: &EndpointCounts) {
    for ((call, status), count) in &counts.requests {
        let labels = [call.as_str(), &status.to_string()];
        metrics
            .series(Metric::EndpointRequests, &labels)
            .set(*count);
    }
    for (cause, count) in &counts.refused {
        metrics
            .series(Metric::EndpointRefused, &[cause])
            .set(*count);
    }
    let open = counts.connections;
    metrics.series(Metric::EndpointConnections, &[]).set(open);
    metrics.series(Metric::EndpointBytes, &[]).set(counts.bytes);
    metrics
        .series(Metric::EndpointWritten, &[])
        .set(counts.written);
}

fn fill_forward(metrics: &Metrics, counts: &StreamCounts) {
    let (name, side) = (counts.name.as_str(), counts.side.as_str());
    let open = counts.open as u64;
    metrics
        .series(Metric::ForwardStreams, &[name, side])
        .set(open);
    let totals = [
        (Metric::ForwardOpened, counts.opened),
        (Metric::ForwardDropped, counts.dropped),
        (Metric::ForwardMoves, counts.moves),
    ];
    for (metric, total) in totals {
        metrics.series(metric, &[name, side]).set(total);
    }
    for (direction, bytes) in [("out", counts.bytes_out), ("in", counts.bytes_in)] {
        let labels = [name, side, direction];
        metrics.series(Metric::ForwardBytes, &labels).set(bytes);
    }
    for (end, count) in &counts.ended {
        metrics
            .series(Metric::ForwardEnded, &[name, side, end])
            .set(*count);
    }
    for (reason, count) in &counts.refused {
        let labels = [name, side, reason.as_str()];
        metrics.series(Metric::ForwardRefused, &labels).set(*count);
    }
}

/// How long changes took, by rule.
fn fill_lag(metrics: &Metrics, sender: &SenderStatus) {
    let millis = |bound: &Duration| u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
    for Sent { rule, lag, .. } in &sender.sent {
        let within = LAG_BOUNDS.iter().map(millis).zip(lag.within);
        let histogram = Histogram {
            within: within.collect(),
            count: lag.objects,
            sum_millis: lag.sum_millis,
        };
        let labels = [rule.as_str(), sender.peer.as_str()];
        metrics.set_histogram(Metric::Lag, &labels, histogram);
    }
}

fn fill_sender(metrics: &Metrics, sender: &SenderStatus) {
    fill_lag(metrics, sender);
    let labels = [sender.peer.as_str()];
    metrics
        .series(Metric::SentObjects, &labels)
        .set(sender.objects);
    metrics
        .series(Metric::SentBytes, &labels)
        .set(sender.bytes_written);
    metrics
        .series(Metric::PartsInterrupted, &labels)
        .set(sender.parts_interrupted);
    metrics
        .series(Metric::BytesContinued, &labels)
        .set(sender.bytes_continued);
    if let Some(bytes) = sender.part_bytes {
        metrics.series(Metric::PartBytes, &labels).set(bytes.into());
    }
    metrics
        .series(Metric::Compressed, &labels)
        .set(sender.compressed);
    metrics
        .series(Metric::CompressionSaved, &labels)
        .set(sender.compression_saved);
    if let Some(limit) = sender.limit {
        metrics.series(Metric::SendLimit, &labels).set(limit);
    }
}

fn fill_source(metrics: &Metrics, source: &SourceStatus) {
    let labels = [source.bucket.as_str()];
    let failing = u64::from(source.reason.is_some());
    metrics.series(Metric::SourceFailing, &labels).set(failing);
    let held = source.held.map_or(0, |held| held.vanished);
    metrics.series(Metric::DeletesHeld, &labels).set(held);
    if let Some(scanned) = source.scanned {
        metrics
            .series(Metric::LastScan, &labels)
            .set(seconds(scanned));
    }
}

fn fill_peer(metrics: &Metrics, peer: &PeerState) {
    for direction in [Direction::Send, Direction::Receive] {
        let of_direction = peer.sessions.iter().filter(|s| s.direction == direction);
        let labels = [peer.peer.as_str(), direction.as_str()];
        metrics
            .series(Metric::Sessions, &labels)
            .set(of_direction.count() as u64);
    }
    let (name, path) = (peer.peer.as_str(), &peer.path);
    for (congestion, links) in &path.links {
        metrics
            .series(Metric::Links, &[name, congestion])
            .set(*links);
    }
    metrics
        .series(Metric::LinkRetransmits, &[name])
        .set(path.retransmits);
    if let Some(rtt) = path.rtt {
        metrics
            .series(Metric::LinkRtt, &[name])
            .set(rtt.as_micros() as u64);
    }
    if let Some(clock) = peer.clock {
        let apart = clock.by().as_secs();
        metrics.series(Metric::ClockSkew, &[name]).set(apart);
    }
    if let Some(rate) = path.delivery_rate {
        metrics.series(Metric::LinkDelivery, &[name]).set(rate);
    }
}

fn seconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_secs()).unwrap_or(0)
}
