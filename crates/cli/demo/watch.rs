//! Waiting until everything known is acknowledged, with a bar on a terminal.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sealift_agent::{
    Error,
    admin::{Count, StatusReport},
};
use sealift_terms::Status;

use super::agents::Agent;

/// Without any progress for so long the demonstration has failed.
const STANDSTILL_MAX: Duration = Duration::from_secs(180);
/// How often the agents are asked.
const INTERVAL: Duration = Duration::from_millis(100);

/// A bar of bytes; nothing where nobody looks.
pub(crate) fn bar(json: bool, bytes: u64, message: &'static str) -> ProgressBar {
    let shown = !json && std::io::stderr().is_terminal();
    let target = match shown {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let style = ProgressStyle::with_template(
        "{msg:<12} {bar:32} {binary_bytes:>10} of {binary_total_bytes:<10} {binary_bytes_per_sec:>12}  {eta}",
    );
    let bar = ProgressBar::with_draw_target(Some(bytes), target).with_message(message);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Waits until the source was scanned, all of its `expected` objects are known to
/// the journal (files written a moment ago are left until they have settled), and
/// nothing is pending.
pub(crate) async fn until_done(
    expected: u64,
    sender: &mut Agent,
    receiver: &mut Agent,
    bar: &ProgressBar,
) -> Result<StatusReport, Error> {
    let mut progress = (Count::default(), Instant::now());
    loop {
        let report = sender.status().await?;
        let completed = sum(&report, Status::Completed);
        let pending = sum(&report, Status::Pending);
        let received = receiver.status().await?.sequence;
        bar.set_length(
            bar.length()
                .unwrap_or(0)
                .max(completed.bytes + pending.bytes),
        );
        bar.set_position(completed.bytes);
        if pending.objects == 0 && is_scanned(&report) && known(&report) >= expected {
            bar.finish();
            return Ok(report);
        }
        let now = Count {
            objects: completed.objects + received,
            bytes: completed.bytes,
        };
        if now != progress.0 {
            progress = (now, Instant::now());
        } else if progress.1.elapsed() > STANDSTILL_MAX {
            return Err(standstill(&report, pending));
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

fn is_scanned(report: &StatusReport) -> bool {
    report.sources.iter().all(|source| source.scanned.is_some())
}

/// Transfers of any status.
fn known(report: &StatusReport) -> u64 {
    Status::ALL
        .into_iter()
        .map(|status| sum(report, status).objects)
        .sum()
}

/// Transfers with a status, over all rules.
pub(crate) fn sum(report: &StatusReport, status: Status) -> Count {
    let counts = report.rules.iter().flat_map(|rule| &rule.counts);
    let of_status = counts.filter(|count| count.status == status);
    of_status.fold(Count::default(), |sum, count| Count {
        objects: sum.objects + count.count.objects,
        bytes: sum.bytes + count.count.bytes,
    })
}

fn standstill(report: &StatusReport, pending: Count) -> Error {
    let peer = report.peers.iter().find(|peer| peer.reason.is_some());
    let evidence = peer
        .and_then(|peer| peer.evidence.clone())
        .unwrap_or_default();
    Error::TryAgain {
        what: format!(
            "nothing moved for {} s, {} objects are pending {evidence}",
            STANDSTILL_MAX.as_secs(),
            pending.objects
        ),
        reason: peer.and_then(|peer| peer.reason),
    }
}
