//! `status`: counts, ages, rates.

use std::collections::BTreeMap;

use sealift_forward::StreamCounts;
use sealift_keys::{KeyDescription, KeyError, KeyProvider};
use sealift_ledger::{BucketCount, Count as Counted};
use sealift_sender::{Lag, SenderStatus, SourceStatus};
use sealift_terms::{
    BucketName, PeerName, RuleName, Status, Timestamp, limits::INLINE_OBJECT_BYTES_MAX,
};
use sealift_tunnel::InForce;

use super::{PeerState, SiteOperations};
use crate::{
    Error,
    admin::{
        BucketReport, Count, ForwardReport, KeyCalls, LagReport, Operations, PeerReport,
        RuleReport, ScrubReport, SourceReport, StatusCount, StatusReport, UnderWay,
    },
    config::Config,
};

impl SiteOperations {
    pub(super) async fn report(&self) -> Result<StatusReport, Error> {
        let site = &self.site;
        let (config, row) = (site.current(), site.row());
        // In this order: what a scan that is told as done has found is told, too.
        let sources = self.sources(&config).await?;
        let rules = self.rules(&config).await?;
        let buckets = self.archived(&config).await?;
        let scrub = self.scrub_report().await?;
        let keys = self.key_reports();
        let calls = site.ring.counters();
        Ok(StatusReport {
            site: config.site.name.clone(),
            region: config.site.region.clone(),
            site_id: row.site,
            epoch: row.epoch,
            sequence: row.sequence,
            running: self.live.is_some(),
            started: self.live.as_ref().map(|live| live.started()),
            readiness: self.readiness(),
            totals: totals(&rules, &buckets),
            under_way: self.under_way(),
            rules,
            sources,
            buckets,
            peers: self.with_brought(self.peers(&config), &config).await?,
            forwards: self.forwards(),
            alarms: self.alarms(&scrub, &keys),
            key_calls: KeyCalls::of(calls.calls_made, calls.calls_saved),
            keys,
            scrub,
        })
    }

    async fn rules(&self, config: &Config) -> Result<Vec<RuleReport>, Error> {
        let counts = self.site.journal.counts().await?;
        let senders = self.live.as_ref().map(|live| live.senders());
        let senders = senders.unwrap_or_default();
        let now = self.site.world.clock.now();
        let mut rules: BTreeMap<(RuleName, PeerName), Vec<Counted>> = BTreeMap::new();
        for rule in &config.rules {
            for peer in &rule.peers {
                rules.insert((rule.name.clone(), peer.clone()), Vec::new());
            }
        }
        for count in counts {
            let of = (count.rule.clone(), count.peer.clone());
            rules.entry(of).or_default().push(count);
        }
        let reports = rules.into_iter().map(|((rule, peer), counts)| {
            let rpo = config.rules.iter().find(|known| known.name == rule);
            let rpo_secs = rpo.and_then(|known| known.rpo).map(|rpo| rpo.as_secs());
            RuleReport {
                rpo_secs,
                ..rule_report(rule, peer, &counts, &senders, now)
            }
        });
        Ok(reports.collect())
    }

    /// The largest objects on their way, to each peer.
    fn under_way(&self) -> Vec<UnderWay> {
        let senders = self.live.as_ref().map(|live| live.senders());
        let of_sender = |sender: SenderStatus| {
            let peer = sender.peer;
            sender.current.into_iter().map(move |current| UnderWay {
                rule: current.rule,
                peer: peer.clone(),
                bucket: current.bucket,
                key: current.key,
                size: current.size,
                stored: current.stored,
            })
        };
        senders.into_iter().flatten().flat_map(of_sender).collect()
    }

    async fn archived(&self, config: &Config) -> Result<Vec<BucketReport>, Error> {
        let counts = self.site.archive.counts().await?;
        let mut held: BTreeMap<BucketName, BucketCount> = counts
            .into_iter()
            .map(|count| (count.bucket.clone(), count))
            .collect();
        let mut reports = Vec::new();
        for bucket in &config.buckets {
            let count = held.remove(&bucket.name);
            let mut keys = Vec::new();
            for (_, key) in bucket.keys() {
                keys.push(self.key_of(&key.name).await);
            }
            reports.push(BucketReport {
                quota_bytes: bucket.quota.bytes,
                quota_objects: bucket.quota.objects,
                ..bucket_report(&bucket.name, count.as_ref(), keys)
            });
        }
        // Taken out of the configuration, and still here.
        let left = held.iter();
        reports.extend(left.map(|(name, count)| bucket_report(name, Some(count), Vec::new())));
        Ok(reports)
    }

    /// A bucket's key, if it can be used.
    pub(super) async fn key_of(&self, key: &str) -> Result<KeyDescription, KeyError> {
        let described = self.site.providers.describe(key).await?;
        let (key, state) = (key.to_owned(), described.state);
        match state.is_usable() {
            true => Ok(described),
            false => Err(KeyError::NotUsable { key, state }),
        }
    }

    async fn sources(&self, config: &Config) -> Result<Vec<SourceReport>, Error> {
        let standing = self.live.as_ref().map(|live| live.sources());
        let standing = standing.unwrap_or_default();
        let (journal, now) = (&self.site.journal, self.site.world.clock.now());
        let mut reports = Vec::new();
        for source in &config.sources {
            let known = journal.known_counts(&source.bucket).await?;
            let intents = journal.intent_count(&source.bucket).await?;
            let status = standing.iter().find(|s| s.bucket == source.bucket);
            let age = intents.oldest.map(|oldest| now.since(oldest).as_secs());
            reports.push(SourceReport {
                unsettled: intents.intents,
                oldest_unsettled_secs: age,
                ..source_report(&source.bucket, known.live, status)
            });
        }
        Ok(reports)
    }

    pub(super) async fn scrub_report(&self) -> Result<ScrubReport, Error> {
        let archive = &self.site.archive;
        let seen = self.live.as_ref().and_then(|live| live.scrub_state());
        let state = match seen {
            Some(state) => state,
            None => archive.scrub_state().await?,
        };
        let count = archive.quarantine_count().await?;
        Ok(ScrubReport {
            under_way: state.is_under_way(),
            started: state.started,
            finished: state.finished,
            versions: state.scrubbed.versions,
            bytes: state.scrubbed.bytes,
            findings: state.scrubbed.findings,
            skipped: state.scrubbed.skipped,
            damaged: count.damaged,
            repaired: count.repaired,
        })
    }

    /// The bandwidth limit of a peer, as it is configured for now.
    fn limit(&self, config: &Config, peer: &PeerName) -> InForce {
        let limit = config.peer(peer).map(|peer| peer.limit.clone());
        limit.unwrap_or_default().at(self.site.world.clock.now())
    }

    fn forwards(&self) -> Vec<ForwardReport> {
        let counts = self.live.as_ref().map(|live| live.forwards());
        let report = |counts: StreamCounts| ForwardReport {
            forward: counts.name,
            side: counts.side.as_str().to_owned(),
            streams: counts.open as u64,
            opened: counts.opened,
            bytes_out: counts.bytes_out,
            bytes_in: counts.bytes_in,
            moves: counts.moves,
            dropped: counts.dropped,
            refused: counts.refused.values().sum(),
        };
        counts.unwrap_or_default().into_iter().map(report).collect()
    }

    fn peers(&self, config: &Config) -> Vec<PeerReport> {
        match &self.live {
            Some(live) => {
                let senders = live.senders();
                let report = |peer: PeerState| {
                    let limit = self.limit(config, &peer.peer);
                    let sender = senders.iter().find(|one| one.peer == peer.peer);
                    PeerReport {
                        compressing: sender.is_some_and(|one| one.compressing),
                        ..peer_report(peer, limit)
                    }
                };
                live.peers().into_iter().map(report).collect()
            }
            None => {
                let unseen = |peer: &crate::config::Peer| {
                    let limit = self.limit(config, &peer.name);
                    peer_report(PeerState::unseen(&peer.name), limit)
                };
                config.peers.iter().map(unseen).collect()
            }
        }
    }
}

fn rule_report(
    rule: RuleName,
    peer: PeerName,
    counts: &[Counted],
    senders: &[SenderStatus],
    now: Timestamp,
) -> RuleReport {
    let sender = senders.iter().find(|sender| sender.peer == peer);
    let sent = sender.and_then(|sender| sender.sent.iter().find(|sent| sent.rule == rule));
    let (objects_per_second, bytes_per_second) = sent
        .map(|sent| (sent.objects_per_second, sent.bytes_per_second))
        .unwrap_or_default();
    let oldest = counts.iter().filter_map(|count| count.oldest).min();
    let pending = counts.iter().find(|count| count.status == Status::Pending);
    let mut pending = pending.map(sum).unwrap_or_default();
    let stored = sent.map_or(0, |sent| sent.stored_under_way);
    pending.bytes = pending.bytes.saturating_sub(stored);
    let connected = sender.is_some_and(|sender| sender.connected);
    let counts = counts.iter().map(|count| StatusCount {
        status: count.status,
        count: sum(count),
    });
    RuleReport {
        rule,
        peer,
        counts: counts.collect(),
        oldest_pending_secs: oldest.map(|oldest| now.since(oldest).as_secs()),
        rpo_secs: None,
        lag: sent
            .filter(|sent| sent.lag.objects > 0)
            .map(|sent| lag_report(&sent.lag)),
        objects_per_second,
        bytes_per_second,
        eta_secs: eta(pending, objects_per_second, bytes_per_second).filter(|_| connected),
    }
}

fn lag_report(lag: &Lag) -> LagReport {
    let secs = |of_hundred| lag.percentile(of_hundred).map(|bound| bound.as_secs_f64());
    LagReport {
        objects: lag.objects,
        p50_secs: secs(50),
        p95_secs: secs(95),
        p99_secs: secs(99),
    }
}

fn sum(count: &Counted) -> Count {
    Count {
        objects: count.objects,
        bytes: count.bytes,
    }
}

/// At the present rates; of many small objects and a few large ones the slower
/// counts. How many are done a second says nothing of large ones.
fn eta(pending: Count, objects_per_second: f64, bytes_per_second: f64) -> Option<u64> {
    let are_small = pending.bytes <= pending.objects.saturating_mul(INLINE_OBJECT_BYTES_MAX);
    let objects = if are_small { pending.objects } else { 0 };
    let left = [
        (objects as f64, objects_per_second),
        (pending.bytes as f64, bytes_per_second),
    ];
    let times = left
        .iter()
        .filter(|(left, rate)| *left > 0.0 && *rate > 0.0);
    let seconds = times.map(|(left, rate)| left / rate).fold(0.0, f64::max);
    (seconds > 0.0).then_some(seconds.ceil() as u64)
}

/// Every status that something has, in the order of reports.
fn totals(rules: &[RuleReport], buckets: &[BucketReport]) -> Vec<StatusCount> {
    let mut totals: BTreeMap<Status, Count> = BTreeMap::new();
    let mut add = |status: Status, objects: u64, bytes: u64| {
        let total = totals.entry(status).or_default();
        total.objects += objects;
        total.bytes += bytes;
    };
    for count in rules.iter().flat_map(|rule| &rule.counts) {
        add(count.status, count.count.objects, count.count.bytes);
    }
    for bucket in buckets.iter().filter(|bucket| bucket.versions > 0) {
        add(Status::Replica, bucket.versions, bucket.bytes);
    }
    let total = |(status, count)| StatusCount { status, count };
    totals.into_iter().map(total).collect()
}

fn bucket_report(
    name: &BucketName,
    count: Option<&BucketCount>,
    keys: Vec<Result<KeyDescription, KeyError>>,
) -> BucketReport {
    let (objects, bytes, delete_markers) = count
        .map(|count| (count.objects, count.bytes, count.delete_markers))
        .unwrap_or_default();
    let refused = keys.iter().find_map(|key| key.as_ref().err());
    let reason = refused.map(KeyError::reason);
    let mut keys = keys.into_iter().map(Result::ok);
    let (key, second) = (keys.next().flatten(), keys.next().flatten());
    BucketReport {
        bucket: name.clone(),
        versions: objects + delete_markers,
        delete_markers,
        bytes,
        quota_bytes: None,
        quota_objects: None,
        cmk: key.as_ref().map(|key| key.id.clone()),
        cmk_version: key.map(|key| key.current),
        second_cmk: second.as_ref().map(|key| key.id.clone()),
        second_cmk_version: second.map(|key| key.current),
        reason,
    }
}

fn source_report(bucket: &BucketName, live: u64, status: Option<&SourceStatus>) -> SourceReport {
    SourceReport {
        bucket: bucket.clone(),
        objects: live,
        skipped: status.map_or(0, |status| status.skipped),
        settling: status.map_or(0, |status| status.settling),
        unsettled: 0,
        oldest_unsettled_secs: None,
        scanned: status.and_then(|status| status.scanned),
        reason: status.and_then(|status| status.reason),
        evidence: status.and_then(|status| status.evidence.clone()),
        deletes_held: status
            .and_then(|status| status.held)
            .map_or(0, |held| held.vanished),
        purges_held: status
            .and_then(|status| status.purges_held)
            .map_or(0, |held| held.vanished),
        polling: status.and_then(|status| status.polling.clone()),
    }
}

fn peer_report(peer: PeerState, limit: InForce) -> PeerReport {
    let path = peer.path;
    let (reason, evidence) = match peer.trouble {
        Some(trouble) => (Some(trouble.reason), Some(trouble.evidence)),
        None => (None, None),
    };
    PeerReport {
        peer: peer.peer,
        sessions: peer.sessions.len() as u64,
        links: path.links.values().sum(),
        rtt_micros: path.rtt.map(|rtt| rtt.as_micros() as u64),
        retransmits: path.retransmits,
        delivery_bytes_per_second: path.delivery_rate,
        congestion: path
            .links
            .into_keys()
            .filter(|name| !name.is_empty())
            .collect(),
        compressing: false,
        limit_bytes_per_second: limit.rate,
        limit_until: limit.until,
        brought: None,
        session: peer.negotiated,
        reason,
        evidence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_of_both_rates_decides_when_all_is_sent() {
        let pending = Count {
            objects: 100,
            bytes: 1000,
        };
        assert_eq!(eta(pending, 10.0, 1000.0), Some(10));
        assert_eq!(eta(pending, 100.0, 10.0), Some(100));
        assert_eq!(eta(pending, 0.0, 0.0), None);
        assert_eq!(eta(Count::default(), 1.0, 1.0), None);
        // One large object: the last small one before it does not count.
        let large = Count {
            objects: 1,
            bytes: 1 << 30,
        };
        assert_eq!(eta(large, 0.001, f64::from(1 << 20)), Some(1024));
    }
}
