//! Counters and gauges in the text format of Prometheus (version 0.0.4).

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

/// Declares every metric: name, kind, help, labels.
macro_rules! metrics {
    ($($metric:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)+) => {
        /// A metric. The names are surface: dashboards and alerts rely on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Metric { $(#[doc = $help] $metric,)+ }

        impl Metric {
            /// Every metric.
            pub const ALL: &'static [Self] = &[$(Self::$metric,)+];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$metric => $name,)+ }
            }

            const fn kind(self) -> &'static str {
                match self { $(Self::$metric => stringify!($kind),)+ }
            }

            const fn help(self) -> &'static str {
                match self { $(Self::$metric => $help,)+ }
            }

            /// The names of its labels.
            #[must_use]
            pub const fn labels(self) -> &'static [&'static str] {
                match self { $(Self::$metric => &[$($label),*],)+ }
            }
        }
    };
}

metrics! {
    BuildInfo = gauge "sealift_build_info" ["version"] "The version that runs; always 1.";
    Ready = gauge "sealift_ready" [] "Whether the agent is ready: 1 or 0.";
    StartTime = gauge "sealift_start_time_seconds" [] "When the agent started, in seconds since 1970.";
    Transfers = gauge "sealift_transfers" ["rule", "peer", "status"] "Transfers by rule, destination and status.";
    TransferBytes = gauge "sealift_transfer_bytes" ["rule", "peer", "status"] "Plaintext bytes of transfers by rule, destination and status.";
    OldestPending = gauge "sealift_oldest_pending_seconds" ["rule", "peer"] "Age of the oldest transfer that is not yet acknowledged.";
    BatchesPaused = gauge "sealift_batches_paused" [] "Batches of replication that are paused: what they queued waits until they are resumed or cancelled.";
    Lag = histogram "sealift_replication_lag_seconds" ["rule", "peer"] "How long acknowledged changes took from when they were recorded until they were durable at the peer.";
    RpoMissed = gauge "sealift_rpo_missed" ["rule", "peer"] "Whether something waits for longer than the RPO of its rule: 1 or 0; missing until it did once.";
    RpoMissedTotal = counter "sealift_rpo_missed_total" ["rule", "peer"] "How often something began to wait for longer than the RPO of its rule.";
    SentObjects = counter "sealift_sent_objects_total" ["peer"] "Objects acknowledged by a peer.";
    SentBytes = counter "sealift_sent_bytes_total" ["peer"] "Plaintext bytes sent to a peer, repeated ones included.";
    PartsInterrupted = counter "sealift_parts_interrupted_total" ["peer"] "Parts that were begun on a connection which was gone before they were stored.";
    BytesContinued = counter "sealift_part_bytes_continued_total" ["peer"] "Bytes of interrupted parts that were not sent again, because the peer had kept them.";
    PartBytes = gauge "sealift_part_bytes" ["peer"] "Bytes of a part of what is offered to a peer now: less where the line is slow; missing without a session.";
    Compressed = counter "sealift_compressed_bytes_total" ["peer"] "Plaintext bytes that were compressed on their way to a peer.";
    CompressionSaved = counter "sealift_compression_saved_bytes_total" ["peer"] "Bytes that did not have to be sent to a peer because of that.";
    SendLimit = gauge "sealift_send_limit_bytes_per_second" ["peer"] "Bytes a second that may leave for a peer now; missing where there is no limit.";
    ReceivedObjects = counter "sealift_received_objects_total" [] "Objects stored for peers.";
    ReceivedBytes = counter "sealift_received_bytes_total" [] "Plaintext bytes received from peers, repeated ones included.";
    OffersRefused = counter "sealift_offers_refused_total" [] "Offers of peers that were refused.";
    Sessions = gauge "sealift_sessions" ["peer", "direction"] "Sessions that are open.";
    SessionsOpened = counter "sealift_sessions_opened_total" ["peer", "direction"] "Sessions opened.";
    Links = gauge "sealift_links" ["peer", "congestion"] "Connections that stand, by TCP congestion control.";
    LinksOpened = counter "sealift_links_opened_total" ["peer"] "Connections that were made with a peer.";
    LinksEnded = counter "sealift_links_ended_total" ["peer", "cause"] "Connections that are gone: by the peer (closed), by this side (ended), or lost, with the reason code.";
    LinkRtt = gauge "sealift_link_rtt_microseconds" ["peer"] "Round-trip time of a peer's connections, their mean.";
    LinkRetransmits = counter "sealift_link_retransmits_total" ["peer"] "TCP segments sent again to a peer.";
    LinkDelivery = gauge "sealift_link_delivery_bytes_per_second" ["peer"] "Bytes a second that arrived at a peer lately, as TCP knows it.";
    ClockSkew = gauge "sealift_peer_clock_skew_seconds" ["peer"] "How far a peer's clock is from this one, whichever is ahead; missing until the peer was heard.";
    ConnectionsRefused = counter "sealift_connections_refused_total" ["cause"] "Connections refused before or during authentication.";
    EnrolmentsRefused = counter "sealift_enrolments_refused_total" ["call", "cause"] "Requests to this issuer for a certificate or a trust bundle that were refused.";
    Alarms = gauge "sealift_alarms" ["alarm"] "Alarms that status shows, by their word.";
    CertificateExpiry = gauge "sealift_cert_expiration_timestamp_seconds" ["identity"] "When a certificate ends, in seconds since 1970.";
    CertificateRenewal = gauge "sealift_cert_renewal_timestamp_seconds" ["identity"] "When a certificate is to be renewed, in seconds since 1970.";
    CertificateRefreshes = counter "sealift_cert_refreshes_total" ["source", "result"] "Certificates taken up: replaced by files or renewed; and those refused, and renewals that failed.";
    BundleSequence = gauge "sealift_bundle_sequence" ["identity"] "Number of the trust bundle that vouches here for an identity's certificates; 0 for plain PEM.";
    BundleExpiry = gauge "sealift_bundle_expiration_timestamp_seconds" ["identity"] "When the last root ends that vouches here for an identity's certificates, in seconds since 1970.";
    CaExpiry = gauge "sealift_ca_expiration_timestamp_seconds" ["ca"] "When a CA ends that issues here, or that stands above the certificate of this site's identity, in seconds since 1970.";
    BundleAcknowledged = gauge "sealift_bundle_acknowledged_sequence" ["identity"] "Number of the trust bundle that an identity said it has in force, at the issuing agent.";
    CrlExpiry = gauge "sealift_crl_expiration_timestamp_seconds" ["region"] "Until when the revocation lists issued here are good, in seconds since 1970.";
    CrlIssued = counter "sealift_crl_issued_total" ["region"] "How often revocation lists were issued here.";
    CrlChecked = gauge "sealift_crl_checked_expiration_timestamp_seconds" ["identity"] "Until when the revocation lists that a peer is held to are good, in seconds since 1970.";
    KeyCalls = counter "sealift_key_provider_calls_total" [] "Calls to the key provider that wrapped or unwrapped.";
    KeyCallsSaved = counter "sealift_key_provider_calls_saved_total" [] "Calls to the key provider that key records made unnecessary.";
    KeyCallsSavedPercent = gauge "sealift_key_provider_calls_saved_percent" [] "Of a hundred such calls those that were unnecessary, rounded down.";
    StoreRequests = counter "sealift_store_requests_total" ["request"] "Requests to the bucket that is the store, by what was asked; divided by objects stored, the requests per object.";
    KeyUsable = gauge "sealift_key_usable" ["key"] "Whether a key of the embedded keystore can be used: 1 or 0.";
    KeyRotation = gauge "sealift_key_rotation_due_timestamp_seconds" ["key"] "When a key gets its next version by itself, in seconds since 1970.";
    KeyOverdue = gauge "sealift_key_rotation_overdue" ["key"] "Whether that time is over: 1 or 0.";
    KeyDeletion = gauge "sealift_key_deletion_timestamp_seconds" ["key"] "When a key is to be destroyed, in seconds since 1970.";
    KeyExpiry = gauge "sealift_key_expiration_timestamp_seconds" ["key"] "Until when imported material may be used, in seconds since 1970.";
    KeyReplicaVersions = gauge "sealift_key_replica_versions_missing" ["key", "region"] "Versions of a key led from here that its replica in a region lacks.";
    KeyReplicaLag = gauge "sealift_key_replica_lag_seconds" ["key", "region"] "For how long a replica has lacked anything of its key; 0 when it has everything.";
    KeysNotBackedUp = gauge "sealift_key_versions_without_backup" [] "Key versions that no verified backup holds.";
    ArchiveVersions = gauge "sealift_archive_versions" ["bucket"] "Versions held, delete markers included.";
    ArchiveBytes = gauge "sealift_archive_bytes" ["bucket"] "Plaintext bytes of the versions held.";
    StoreFree = gauge "sealift_store_free_bytes" [] "Bytes that can still be written where the store is.";
    MemoryUsed = gauge "sealift_memory_budget_used_bytes" [] "Bytes of the byte budget in use.";
    UnfinishedUploads = gauge "sealift_unfinished_uploads" [] "Objects of more than one part that are not complete yet.";
    SourceFailing = gauge "sealift_source_failing" ["bucket"] "Whether the last scan of a source failed: 1 or 0.";
    DeletesHeld = gauge "sealift_source_deletes_held" ["bucket"] "Removals that wait to be accepted.";
    Unsettled = gauge "sealift_source_unsettled" ["bucket"] "Writes through the endpoint that nothing was recorded of yet.";
    OldestUnsettled = gauge "sealift_source_oldest_unsettled_seconds" ["bucket"] "Age of the oldest of them.";
    LastScan = gauge "sealift_source_last_scan_timestamp_seconds" ["bucket"] "When the last scan of a source was finished, in seconds since 1970.";
    AuditLeaves = gauge "sealift_audit_leaves" [] "Records in the audit log.";
    ScrubBytes = counter "sealift_scrub_bytes_total" [] "Sealed bytes read by the scrub.";
    ScrubFindings = counter "sealift_scrub_findings_total" [] "Findings of the scrub.";
    ScrubFinished = gauge "sealift_scrub_finished_timestamp_seconds" [] "When a pass of the scrub last came to its end, in seconds since 1970.";
    Quarantined = gauge "sealift_quarantined" ["state"] "Damaged versions that did not come again yet, and kept bytes of those that did.";
    Stalled = gauge "sealift_stalled" ["peer"] "Whether work is pending and nothing was acknowledged for too long: 1 or 0.";
    SessionsGivenUp = counter "sealift_sessions_given_up_total" ["peer"] "Sessions given up because the peer did not answer.";
    ForwardStreams = gauge "sealift_forward_streams" ["forward", "side"] "Forwarded streams that are open.";
    ForwardOpened = counter "sealift_forward_streams_opened_total" ["forward", "side"] "Forwarded streams that were opened.";
    ForwardEnded = counter "sealift_forward_streams_ended_total" ["forward", "side", "end"] "Forwarded streams that ended, by how.";
    ForwardDropped = counter "sealift_forward_streams_dropped_total" ["forward", "side"] "Forwarded streams that were closed although no application had ended them.";
    ForwardRefused = counter "sealift_forward_streams_refused_total" ["forward", "side", "reason"] "Connections of applications and streams of peers that were refused.";
    ForwardBytes = counter "sealift_forward_bytes_total" ["forward", "side", "direction"] "Bytes of applications in forwarded streams, to the peer and from it.";
    ForwardMoves = counter "sealift_forward_moves_total" ["forward", "side"] "How often forwarded streams went on over another connection.";
    EndpointRequests = counter "sealift_endpoint_requests_total" ["call", "status"] "Requests to the S3 endpoint, by call and status of the answer.";
    EndpointRefused = counter "sealift_endpoint_refused_total" ["cause"] "Requests to the S3 endpoint that were refused before they were a call.";
    EndpointBytes = counter "sealift_endpoint_bytes_total" [] "Plaintext bytes of objects that the S3 endpoint gave out.";
    EndpointWritten = counter "sealift_endpoint_written_bytes_total" [] "Plaintext bytes of objects and parts that the S3 endpoint took.";
    EndpointConnections = gauge "sealift_endpoint_connections" [] "Connections to the S3 endpoint that are open.";
    ConflictsSettled = counter "sealift_conflicts_settled_total" [] "Versions that came from another region below a later one, into buckets that are written to here.";
    AdminRequests = counter "sealift_admin_requests_total" ["command"] "Commands answered.";
    PeerHeld = gauge "sealift_peer_held" ["peer", "what"] "What a peer brought and rests here, or is on its way in: objects, bytes, unfinished_bytes.";
    PeerQuota = gauge "sealift_peer_quota" ["peer", "what"] "How much of that it may have here; missing where there is no limit.";
    ReceiveLimit = gauge "sealift_receive_limit_bytes_per_second" ["peer"] "Bytes a second that are taken from a peer; missing where there is no limit.";
}

/// One series: a metric with values for its labels. Cheap to clone and to change.
#[derive(Debug, Clone, Default)]
pub struct Series(Arc<AtomicU64>);

impl Series {
    /// Counts `more`.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Sets a gauge.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All series of an agent.
#[derive(Debug, Default)]
pub struct Metrics {
    series: Mutex<BTreeMap<(Metric, Vec<String>), Series>>,
    histograms: Mutex<BTreeMap<(Metric, Vec<String>), Histogram>>,
}

/// What a histogram says now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Bounds in milliseconds, and how many were within each.
    pub within: Vec<(u64, u64)>,
    /// How many there were.
    pub count: u64,
    /// What they took together, in milliseconds.
    pub sum_millis: u64,
}

impl Metrics {
    /// The series of `metric` with these label values; made when it is new.
    pub fn series(&self, metric: Metric, labels: &[&str]) -> Series {
        debug_assert_eq!(labels.len(), metric.labels().len(), "{}", metric.name());
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.series
            .lock()
            .entry((metric, labels))
            .or_default()
            .clone()
    }

    /// Sets what a histogram says with these label values.
    pub fn set_histogram(&self, metric: Metric, labels: &[&str], to: Histogram) {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.histograms.lock().insert((metric, labels), to);
    }

    /// Forgets every series of `metric`: for gauges that are filled anew.
    pub fn clear(&self, metric: Metric) {
        self.series.lock().retain(|(of, _), _| *of != metric);
    }

    /// The text that a scrape gets.
    #[must_use]
    pub fn render(&self) -> String {
        let series = self.series.lock().clone();
        let histograms = self.histograms.lock().clone();
        let mut text = String::new();
        for metric in Metric::ALL {
            let name = metric.name();
            let _ = writeln!(text, "# HELP {name} {}", metric.help());
            let _ = writeln!(text, "# TYPE {name} {}", metric.kind());
            for ((_, values), series) in series.iter().filter(|((of, _), _)| of == metric) {
                let _ = writeln!(text, "{name}{} {}", labels(*metric, values), series.value());
            }
            for ((of, values), histogram) in &histograms {
                if of == metric {
                    histogram.render(*metric, values, &mut text);
                }
            }
        }
        text
    }
}

impl Histogram {
    fn render(&self, metric: Metric, values: &[String], text: &mut String) {
        let (name, plain) = (metric.name(), labels(metric, values));
        let inner = plain.trim_matches(['{', '}']);
        let separator = if inner.is_empty() { "" } else { "," };
        let bounds = self.within.iter();
        let bounds = bounds.map(|(bound, within)| (seconds(*bound), *within));
        for (bound, within) in bounds.chain([("+Inf".to_owned(), self.count)]) {
            let le = format!("{{{inner}{separator}le=\"{bound}\"}}");
            let _ = writeln!(text, "{name}_bucket{le} {within}");
        }
        let _ = writeln!(text, "{name}_sum{plain} {}", seconds(self.sum_millis));
        let _ = writeln!(text, "{name}_count{plain} {}", self.count);
    }
}

/// Milliseconds as seconds, without a fraction that says nothing.
fn seconds(millis: u64) -> String {
    match millis % 1000 {
        0 => (millis / 1000).to_string(),
        rest => format!("{}.{rest:03}", millis / 1000),
    }
}

fn labels(metric: Metric, values: &[String]) -> String {
    if values.is_empty() {
        return String::new();
    }
    let pairs: Vec<_> = metric
        .labels()
        .iter()
        .zip(values)
        .map(|(name, value)| format!("{name}=\"{}\"", escape(value)))
        .collect();
    format!("{{{}}}", pairs.join(","))
}

fn escape(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_the_documented_ones() {
        let names: Vec<_> = Metric::ALL
            .iter()
            .map(|metric| format!("{}[{}]", metric.name(), metric.labels().join(",")))
            .collect();
        let documented = [
            "sealift_build_info[version]",
            "sealift_ready[]",
            "sealift_start_time_seconds[]",
            "sealift_transfers[rule,peer,status]",
            "sealift_transfer_bytes[rule,peer,status]",
            "sealift_oldest_pending_seconds[rule,peer]",
            "sealift_batches_paused[]",
            "sealift_replication_lag_seconds[rule,peer]",
            "sealift_rpo_missed[rule,peer]",
            "sealift_rpo_missed_total[rule,peer]",
            "sealift_sent_objects_total[peer]",
            "sealift_sent_bytes_total[peer]",
            "sealift_parts_interrupted_total[peer]",
            "sealift_part_bytes_continued_total[peer]",
            "sealift_part_bytes[peer]",
            "sealift_compressed_bytes_total[peer]",
            "sealift_compression_saved_bytes_total[peer]",
            "sealift_send_limit_bytes_per_second[peer]",
            "sealift_received_objects_total[]",
            "sealift_received_bytes_total[]",
            "sealift_offers_refused_total[]",
            "sealift_sessions[peer,direction]",
            "sealift_sessions_opened_total[peer,direction]",
            "sealift_links[peer,congestion]",
            "sealift_links_opened_total[peer]",
            "sealift_links_ended_total[peer,cause]",
            "sealift_link_rtt_microseconds[peer]",
            "sealift_link_retransmits_total[peer]",
            "sealift_link_delivery_bytes_per_second[peer]",
            "sealift_peer_clock_skew_seconds[peer]",
            "sealift_connections_refused_total[cause]",
            "sealift_enrolments_refused_total[call,cause]",
            "sealift_alarms[alarm]",
            "sealift_cert_expiration_timestamp_seconds[identity]",
            "sealift_cert_renewal_timestamp_seconds[identity]",
            "sealift_cert_refreshes_total[source,result]",
            "sealift_bundle_sequence[identity]",
            "sealift_bundle_expiration_timestamp_seconds[identity]",
            "sealift_ca_expiration_timestamp_seconds[ca]",
            "sealift_bundle_acknowledged_sequence[identity]",
            "sealift_crl_expiration_timestamp_seconds[region]",
            "sealift_crl_issued_total[region]",
            "sealift_crl_checked_expiration_timestamp_seconds[identity]",
            "sealift_key_provider_calls_total[]",
            "sealift_key_provider_calls_saved_total[]",
            "sealift_key_provider_calls_saved_percent[]",
            "sealift_store_requests_total[request]",
            "sealift_key_usable[key]",
            "sealift_key_rotation_due_timestamp_seconds[key]",
            "sealift_key_rotation_overdue[key]",
            "sealift_key_deletion_timestamp_seconds[key]",
            "sealift_key_expiration_timestamp_seconds[key]",
            "sealift_key_replica_versions_missing[key,region]",
            "sealift_key_replica_lag_seconds[key,region]",
            "sealift_key_versions_without_backup[]",
            "sealift_archive_versions[bucket]",
            "sealift_archive_bytes[bucket]",
            "sealift_store_free_bytes[]",
            "sealift_memory_budget_used_bytes[]",
            "sealift_unfinished_uploads[]",
            "sealift_source_failing[bucket]",
            "sealift_source_deletes_held[bucket]",
            "sealift_source_unsettled[bucket]",
            "sealift_source_oldest_unsettled_seconds[bucket]",
            "sealift_source_last_scan_timestamp_seconds[bucket]",
            "sealift_audit_leaves[]",
            "sealift_scrub_bytes_total[]",
            "sealift_scrub_findings_total[]",
            "sealift_scrub_finished_timestamp_seconds[]",
            "sealift_quarantined[state]",
            "sealift_stalled[peer]",
            "sealift_sessions_given_up_total[peer]",
            "sealift_forward_streams[forward,side]",
            "sealift_forward_streams_opened_total[forward,side]",
            "sealift_forward_streams_ended_total[forward,side,end]",
            "sealift_forward_streams_dropped_total[forward,side]",
            "sealift_forward_streams_refused_total[forward,side,reason]",
            "sealift_forward_bytes_total[forward,side,direction]",
            "sealift_forward_moves_total[forward,side]",
            "sealift_endpoint_requests_total[call,status]",
            "sealift_endpoint_refused_total[cause]",
            "sealift_endpoint_bytes_total[]",
            "sealift_endpoint_written_bytes_total[]",
            "sealift_endpoint_connections[]",
            "sealift_conflicts_settled_total[]",
            "sealift_admin_requests_total[command]",
            "sealift_peer_held[peer,what]",
            "sealift_peer_quota[peer,what]",
            "sealift_receive_limit_bytes_per_second[peer]",
        ];
        assert_eq!(names, documented);
    }

    #[test]
    fn names_follow_the_conventions() {
        for metric in Metric::ALL {
            let total = metric.name().ends_with("_total");
            assert_eq!(total, metric.kind() == "counter", "{}", metric.name());
        }
    }

    #[test]
    fn a_histogram_is_shown_by_its_bounds_with_its_sum_and_count() {
        let metrics = Metrics::default();
        let lag = Histogram {
            within: vec![(100, 1), (5_000, 2)],
            count: 3,
            sum_millis: 12_345,
        };
        metrics.set_histogram(Metric::Lag, &["all", "b"], lag);
        let text = metrics.render();
        let wanted = "# TYPE sealift_replication_lag_seconds histogram\n\
            sealift_replication_lag_seconds_bucket{rule=\"all\",peer=\"b\",le=\"0.100\"} 1\n\
            sealift_replication_lag_seconds_bucket{rule=\"all\",peer=\"b\",le=\"5\"} 2\n\
            sealift_replication_lag_seconds_bucket{rule=\"all\",peer=\"b\",le=\"+Inf\"} 3\n\
            sealift_replication_lag_seconds_sum{rule=\"all\",peer=\"b\"} 12.345\n\
            sealift_replication_lag_seconds_count{rule=\"all\",peer=\"b\"} 3\n";
        assert!(text.contains(wanted), "{text}");
    }

    #[test]
    fn a_scrape_shows_series_with_escaped_labels() {
        let metrics = Metrics::default();
        metrics.series(Metric::SentObjects, &["b\"1\n"]).add(2);
        metrics.series(Metric::SentObjects, &["b\"1\n"]).add(3);
        metrics.series(Metric::Ready, &[]).set(1);
        let text = metrics.render();
        assert!(
            text.contains("sealift_sent_objects_total{peer=\"b\\\"1\\n\"} 5\n"),
            "{text}"
        );
        assert!(text.contains("\nsealift_ready 1\n"), "{text}");
        metrics.clear(Metric::SentObjects);
        assert!(!metrics.render().contains("} 5"));
    }
}
