//! What becomes of a transfer: from a receipt, a refusal or a failure.

use std::time::Duration;

use sealift_ledger::{Settlement, Transfer, TransferOutcome};
use sealift_terms::{ChangeKind, Checksum, Clock, Reason, Receipt, Rng, Status};

use super::backoff::backoff;

/// Readings of an object after which differing checksums are believed.
const READINGS_MAX: u32 = 3;

/// Decides outcomes; holds what time and chance they need.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) clock: &'a dyn Clock,
    pub(super) rng: &'a dyn Rng,
}

impl Judge<'_> {
    /// A transfer that was not done, for a reason.
    pub(super) fn not_done(
        self,
        transfer: &Transfer,
        reason: Reason,
        evidence: String,
        retry_after: Option<Duration>,
    ) -> Settlement {
        let at = self.clock.now();
        let tries = transfer.attempts + 1;
        let again = reason == Reason::ChecksumMismatch && tries < READINGS_MAX;
        let outcome = match reason.status() {
            Status::Failed if !again => TransferOutcome::Failed { reason, evidence },
            Status::Skipped => TransferOutcome::Skipped { reason, evidence },
            _ => {
                let wait = retry_after
                    .unwrap_or_default()
                    .max(backoff(transfer.attempts, self.rng));
                TransferOutcome::Deferred {
                    reason,
                    evidence,
                    next_try: at.plus(wait),
                }
            }
        };
        Settlement {
            id: transfer.id,
            at,
            outcome,
        }
    }

    /// A transfer for which a receipt came: done, if the receipt is of what was sent.
    pub(super) fn received(
        self,
        transfer: &Transfer,
        sent: Option<&Checksum>,
        receipt: Box<Receipt>,
    ) -> Settlement {
        match difference(transfer, sent, &receipt) {
            None => {
                let outcome = TransferOutcome::Completed(receipt);
                Settlement {
                    id: transfer.id,
                    at: self.clock.now(),
                    outcome,
                }
            }
            Some(evidence) => self.not_done(transfer, Reason::ChecksumMismatch, evidence, None),
        }
    }
}

/// Where a receipt differs from what was sent.
fn difference(transfer: &Transfer, sent: Option<&Checksum>, receipt: &Receipt) -> Option<String> {
    let change = &transfer.change;
    if receipt.name != change.name {
        return Some(format!(
            "{} was sent, the receipt is for {}",
            change.name, receipt.name
        ));
    }
    let size = if change.kind == ChangeKind::Put {
        change.facts.size
    } else {
        0
    };
    if receipt.size != size {
        return Some(format!(
            "{size} bytes were sent, the receipt is for {}",
            receipt.size
        ));
    }
    match (change.kind, sent, &receipt.checksum) {
        (ChangeKind::DeleteMarker | ChangeKind::Tags | ChangeKind::Purge, _, _) => None,
        (ChangeKind::Put, _, None) => Some("the receipt has no checksum".to_owned()),
        (ChangeKind::Put, None, Some(_)) => Some("what was sent has no checksum".to_owned()),
        (ChangeKind::Put, Some(sent), Some(stored)) => {
            (sent != stored).then(|| format!("{sent} was sent, the receipt is for {stored}"))
        }
    }
}
