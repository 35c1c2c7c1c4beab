//! What each peer brought here, beside what it may.

use std::collections::BTreeMap;

use super::SiteOperations;
use crate::{
    Error, Metric, Metrics,
    admin::{BroughtReport, PeerReport},
    config::Config,
};

impl SiteOperations {
    /// Adds to what is told of peers what they brought, where anything can be.
    pub(super) async fn with_brought(
        &self,
        mut reports: Vec<PeerReport>,
        config: &Config,
    ) -> Result<Vec<PeerReport>, Error> {
        if config.buckets.is_empty() {
            return Ok(reports);
        }
        let archive = &self.site.archive;
        let held = archive.senders().await?.into_iter();
        let held: BTreeMap<_, _> = held.map(|count| (count.sender.clone(), count)).collect();
        let unfinished = archive.unfinished_of_peers();
        for report in &mut reports {
            let Some(peer) = config.peer(&report.peer) else {
                continue;
            };
            let count = held.get(&peer.identity);
            report.brought = Some(BroughtReport {
                objects: count.map_or(0, |count| count.objects),
                bytes: count.map_or(0, |count| count.bytes),
                unfinished_bytes: unfinished.get(&peer.identity).copied().unwrap_or(0),
                quota_objects: peer.quota.held.objects,
                quota_bytes: peer.quota.held.bytes,
                quota_unfinished_bytes: peer.quota.unfinished_bytes,
                limit_bytes_per_second: peer.quota.rate,
            });
        }
        Ok(reports)
    }
}

pub(super) fn fill(metrics: &Metrics, peers: &[PeerReport]) {
    for peer in peers {
        let Some(brought) = &peer.brought else {
            continue;
        };
        let name = peer.peer.as_str();
        let BroughtReport {
            objects,
            bytes,
            unfinished_bytes,
            ..
        } = brought;
        for (what, held, quota) in [
            ("objects", *objects, brought.quota_objects),
            ("bytes", *bytes, brought.quota_bytes),
            (
                "unfinished_bytes",
                *unfinished_bytes,
                brought.quota_unfinished_bytes,
            ),
        ] {
            let labels = [name, what];
            metrics.series(Metric::PeerHeld, &labels).set(held);
            if let Some(quota) = quota {
                metrics.series(Metric::PeerQuota, &labels).set(quota);
            }
        }
        if let Some(limit) = brought.limit_bytes_per_second {
            metrics.series(Metric::ReceiveLimit, &[name]).set(limit);
        }
    }
}
