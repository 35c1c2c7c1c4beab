//! `sealift status`.

use std::{io::IsTerminal, time::Duration};

use clap::Args;
use sealift_agent::{
    Error, Exit,
    admin::{Alarm, KeyReport, PeerReport, Request, RuleReport, SourceReport, StatusReport},
};
use sealift_terms::Status as TransferStatus;

use super::{ask, rows};
use crate::{
    cli::Global,
    output::{self, Outcome, Table, bytes, counted, seconds},
};

/// How often `--watch` looks again.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Objects on their way that are shown.
const UNDER_WAY_SHOWN: usize = 10;

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Again every second; as JSON lines when the output is no terminal
    #[arg(long)]
    watch: bool,
}

impl Status {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        let terminal = std::io::stdout().is_terminal();
        let json = global.json || (self.watch && !terminal);
        loop {
            let (_site, answers) = ask(global, Request::Status).await?;
            rows(answers, |report: StatusReport| {
                if json {
                    return output::row(true, &report, "");
                }
                if self.watch {
                    output::print("\x1b[H\x1b[2J")?;
                }
                show(&report)
            })
            .await?;
            if !self.watch {
                return Ok(Exit::Done);
            }
            tokio::time::sleep(WATCH_EVERY).await;
        }
    }
}

fn show(report: &StatusReport) -> Result<(), Error> {
    let state = match (report.running, report.readiness.ready) {
        (false, _) => "stopped".to_owned(),
        (true, true) => "ready".to_owned(),
        (true, false) => "not ready".to_owned(),
    };
    output::print(&format!("{}  {}  {state}", report.site, report.region))?;
    for problem in &report.readiness.problems {
        output::print(&format!("  ! {}", output::safe(problem)))?;
    }
    for alarm in &report.alarms {
        let Alarm {
            alarm,
            evidence,
            remedy,
        } = alarm;
        output::print(&format!("  ! {alarm}: {}", output::safe(evidence)))?;
        output::print(&format!("    → {remedy}"))?;
    }
    totals(report)?;
    sending(report)?;
    under_way(report)?;
    sources(report)?;
    archived(report)?;
    keys(report)?;
    if !report.buckets.is_empty() {
        output::print("")?;
        output::print(&super::scrub::standing(&report.scrub))?;
    }
    peers(report)?;
    forwards(report)
}

fn totals(report: &StatusReport) -> Result<(), Error> {
    let mut table = Table::new(&["STATUS", "OBJECTS", "SIZE"], &[1, 2]);
    for total in &report.totals {
        table.row([
            total.status.to_string(),
            total.count.objects.to_string(),
            bytes(total.count.bytes),
        ]);
    }
    section(&table)
}

fn sending(report: &StatusReport) -> Result<(), Error> {
    let head = [
        "RULE",
        "PEER",
        "PENDING",
        "COMPLETED",
        "FAILED",
        "OLDEST",
        "LAG P95",
        "RATE",
        "ETA",
    ];
    let mut table = Table::new(&head, &[2, 3, 4, 5, 6, 7, 8]);
    for rule in &report.rules {
        let or_dash = |secs: Option<u64>| secs.map_or_else(|| "-".to_owned(), seconds);
        table.row([
            rule.rule.to_string(),
            rule.peer.to_string(),
            objects(rule, TransferStatus::Pending),
            objects(rule, TransferStatus::Completed),
            objects(rule, TransferStatus::Failed),
            or_dash(rule.oldest_pending_secs),
            lag(rule),
            format!("{}/s", bytes(rule.bytes_per_second as u64)),
            or_dash(rule.eta_secs),
        ]);
    }
    section(&table)
}

/// Within what most changes came.
fn lag(rule: &RuleReport) -> String {
    match rule.lag.map(|lag| lag.p95_secs) {
        None => "-".to_owned(),
        Some(None) => "> 7d".to_owned(),
        Some(Some(secs)) if secs < 1.0 => format!("< {secs} s"),
        Some(Some(secs)) => format!("< {}", seconds(secs as u64)),
    }
}

fn under_way(report: &StatusReport) -> Result<(), Error> {
    let mut table = Table::new(&["UNDER WAY", "PEER", "STORED", "SIZE"], &[2, 3]);
    for one in report.under_way.iter().take(UNDER_WAY_SHOWN) {
        table.row([
            format!("{}/{}", one.bucket, output::safe(one.key.as_str())),
            one.peer.to_string(),
            bytes(one.stored),
            bytes(one.size),
        ]);
    }
    section(&table)
}

fn objects(rule: &RuleReport, status: TransferStatus) -> String {
    let of_status = rule.counts.iter().filter(|count| count.status == status);
    of_status
        .map(|count| count.count.objects)
        .sum::<u64>()
        .to_string()
}

fn sources(report: &StatusReport) -> Result<(), Error> {
    let head = [
        "SOURCE",
        "OBJECTS",
        "LEFT OUT",
        "UNSETTLED",
        "SCANNED",
        "REASON",
    ];
    let mut table = Table::new(&head, &[1, 2, 3]);
    for source in &report.sources {
        let scanned = source.scanned.map(|time| time.to_string());
        let held = match (source.deletes_held, source.purges_held) {
            (0, 0) => source.reason.map(|reason| reason.to_string()),
            (0, held) => Some(format!(
                "{held} version deletes are held: `sealift retry --accept-deletes` if they are meant"
            )),
            (held, _) => Some(format!(
                "{held} removals are held: `sealift retry --accept-deletes` if they are meant"
            )),
        };
        table.row([
            source.bucket.to_string(),
            source.objects.to_string(),
            source.skipped.to_string(),
            unsettled(source),
            scanned.unwrap_or_else(|| "-".to_owned()),
            held.unwrap_or_default(),
        ]);
    }
    section(&table)
}

/// Writes through the endpoint that are not recorded yet, and for how long.
fn unsettled(source: &SourceReport) -> String {
    match source.oldest_unsettled_secs {
        None => source.unsettled.to_string(),
        Some(secs) => format!("{} ({})", source.unsettled, seconds(secs)),
    }
}

fn archived(report: &StatusReport) -> Result<(), Error> {
    let head = [
        "BUCKET",
        "VERSIONS",
        "DELETED",
        "SIZE",
        "KEY",
        "KEY VERSION",
        "REASON",
    ];
    let mut table = Table::new(&head, &[1, 2, 3]);
    for bucket in &report.buckets {
        let keys = [&bucket.cmk, &bucket.second_cmk];
        let versions = [&bucket.cmk_version, &bucket.second_cmk_version];
        let reason = bucket.reason.map(|reason| reason.to_string());
        table.row([
            bucket.bucket.to_string(),
            bucket.versions.to_string(),
            bucket.delete_markers.to_string(),
            bytes(bucket.bytes),
            of_layers(keys),
            of_layers(versions),
            reason.unwrap_or_default(),
        ]);
    }
    section(&table)
}

fn keys(report: &StatusReport) -> Result<(), Error> {
    let head = ["KEY", "STATE", "VERSION", "NEXT ROTATION", "REPLICAS"];
    let mut table = Table::new(&head, &[2]);
    for key in &report.keys {
        let name = key.alias.as_ref().map(ToString::to_string);
        let next = match (key.next_rotation, key.delete_at) {
            (_, Some(at)) => format!("destroyed {at}"),
            (Some(at), None) if key.overdue => format!("overdue since {at}"),
            (Some(at), None) => at.to_string(),
            (None, None) => "-".to_owned(),
        };
        table.row([
            name.unwrap_or_else(|| key.id.to_string()),
            key.state.to_string(),
            key.version.clone(),
            next,
            replicas(key),
        ]);
    }
    section(&table)?;
    let Some(calls) = report.key_calls else {
        return Ok(());
    };
    output::print(&format!(
        "keys were used in {} calls, and {} were saved ({:.2} %)",
        calls.made, calls.saved, calls.saved_percent
    ))
}

/// How far the other regions of a key are.
fn replicas(key: &KeyReport) -> String {
    let each = key.replicas.iter().map(|replica| {
        let region = &replica.region;
        let missing = counted(replica.versions_missing, "version", "versions");
        match replica.lag_secs {
            None => format!("{region} is as far"),
            Some(lag) => format!("{region} lacks {missing}, {} behind", seconds(lag)),
        }
    });
    let told: Vec<_> = each.collect();
    match told.is_empty() {
        true => "-".to_owned(),
        false => told.join("; "),
    }
}

/// What there is of one layer or of two, in one cell.
fn of_layers<T: ToString>(layers: [&Option<T>; 2]) -> String {
    let there: Vec<_> = layers.into_iter().flatten().map(T::to_string).collect();
    match there.is_empty() {
        true => "-".to_owned(),
        false => there.join(" + "),
    }
}

fn peers(report: &StatusReport) -> Result<(), Error> {
    let head = [
        "PEER",
        "SESSIONS",
        "LINKS",
        "RTT",
        "ARRIVES",
        "SENT AGAIN",
        "LIMIT",
        "NEGOTIATED",
        "REASON",
    ];
    let mut table = Table::new(&head, &[1, 3, 4, 5]);
    let or_dash = || "-".to_owned();
    for peer in &report.peers {
        let session = peer.session.as_ref();
        table.row([
            peer.peer.to_string(),
            peer.sessions.to_string(),
            links(peer),
            peer.rtt_micros
                .map_or_else(or_dash, |micros| format!("{:.1} ms", micros as f64 / 1e3)),
            peer.delivery_bytes_per_second
                .map_or_else(or_dash, |rate| format!("{}/s", bytes(rate))),
            peer.retransmits.to_string(),
            limit(peer),
            session.map_or_else(
                || "-".to_owned(),
                |session| {
                    format!(
                        "{} {} {}",
                        session.tls_version, session.cipher_suite, session.group
                    )
                },
            ),
            peer.reason
                .map(|reason| reason.to_string())
                .unwrap_or_default(),
        ]);
    }
    section(&table)
}

/// How many connections a peer has, and their congestion control.
fn links(peer: &PeerReport) -> String {
    match peer.congestion.is_empty() {
        true => peer.links.to_string(),
        false => format!("{} {}", peer.links, peer.congestion.join(" ")),
    }
}

/// What may leave for a peer now, and until when.
fn limit(peer: &PeerReport) -> String {
    let Some(rate) = peer.limit_bytes_per_second else {
        return "-".to_owned();
    };
    let until = peer.limit_until.map(|until| format!(" until {until}"));
    format!("{}/s{}", bytes(rate), until.unwrap_or_default())
}

fn forwards(report: &StatusReport) -> Result<(), Error> {
    let head = [
        "FORWARD", "SIDE", "STREAMS", "OPENED", "OUT", "IN", "MOVES", "DROPPED", "REFUSED",
    ];
    let mut table = Table::new(&head, &[2, 3, 4, 5, 6, 7, 8]);
    for forward in &report.forwards {
        table.row([
            forward.forward.to_string(),
            forward.side.clone(),
            forward.streams.to_string(),
            forward.opened.to_string(),
            bytes(forward.bytes_out),
            bytes(forward.bytes_in),
            forward.moves.to_string(),
            forward.dropped.to_string(),
            forward.refused.to_string(),
        ]);
    }
    section(&table)
}

fn section(table: &Table) -> Result<(), Error> {
    if table.is_empty() {
        return Ok(());
    }
    output::print("")?;
    table.print()
}
