//! Takes what the session says, and writes down what became of transfers.

use std::sync::{Arc, atomic::Ordering};

use sealift_ledger::{Settlement, TransferOutcome};
use sealift_terms::{Reason, Receipt};
use sealift_wire::{LinkEvent, OfferId, Refusal, SendEvent};
use tokio::sync::mpsc;

use super::{
    lacking::{is_of_what_is_lacking, send_whole},
    prepare::refusal,
    sending::{Content, Sending},
    shared::Shared,
    tally::Tally,
};
use crate::SenderError;

/// Settlements written down in one step.
const SETTLED_AT_ONCE_MAX: usize = 1000;

/// Takes events until the session is over.
pub(super) async fn take_events(
    shared: Arc<Shared>,
    tally: Arc<Tally>,
    mut events: mpsc::UnboundedReceiver<SendEvent>,
) {
    while let Some(event) = events.recv().await {
        if !matches!(event, SendEvent::Link(_) | SendEvent::AllSent { .. }) {
            tally.answered();
        }
        match event {
            SendEvent::Accepted { parts, .. } => {
                shared
                    .parts_resumed
                    .fetch_add(parts.into(), Ordering::Relaxed);
            }
            SendEvent::PartStored { offer, bytes, .. } => {
                if let Some(sending) = shared.sending(offer) {
                    sending.stored(bytes);
                    tally.stored(&sending.transfer.rule, bytes.into());
                }
            }
            SendEvent::AllSent { offer, checksum } => {
                let shared = shared.clone();
                // Asking the source again may take a while: nobody else waits for it.
                tokio::spawn(async move { all_sent(&shared, offer, &checksum).await });
            }
            SendEvent::Completed { offer, receipt } => {
                let sending = shared.offers.lock().remove(&offer);
                if let Some(sending) = sending {
                    completed(&shared, &tally, sending, receipt);
                }
            }
            SendEvent::Refused { offer, refusal } => {
                let sending = shared.offers.lock().remove(&offer);
                if let Some(sending) = sending {
                    refused(&shared, &sending, refusal);
                }
            }
            SendEvent::Link(event) => link_event(&shared, event).await,
            _ => {}
        }
    }
}

fn refused(shared: &Arc<Shared>, sending: &Sending, refusal: Refusal) {
    let transfer = &sending.transfer;
    if is_of_what_is_lacking(transfer, &refusal) {
        tokio::spawn(send_whole(shared.clone(), transfer.clone(), refusal));
    } else {
        shared.not_done(transfer, &refusal);
    }
}

/// A receipt came. Where nothing of the object was read for the offer, because the
/// peer has the version already, that is done now: a receipt is believed when it is
/// for what the source has.
fn completed(
    shared: &Arc<Shared>,
    tally: &Arc<Tally>,
    sending: Arc<Sending>,
    receipt: Box<Receipt>,
) {
    if !sending.is_unread() {
        return received(shared, tally, &sending, receipt);
    }
    let (shared, tally) = (shared.clone(), tally.clone());
    tokio::spawn(async move {
        let read = {
            let _one_of_few = shared.reading.acquire().await;
            sending.read_through().await
        };
        match read {
            Ok(()) => received(&shared, &tally, &sending, receipt),
            Err(error) => shared.not_done(&sending.transfer, &refusal(&error)),
        }
    });
}

fn received(shared: &Shared, tally: &Tally, sending: &Sending, receipt: Box<Receipt>) {
    let sent = match sending.content {
        // Nothing was sent, and nothing is left that its receipt could be held against.
        Content::Gone(_) => receipt.checksum.clone(),
        _ => sending.checksum.lock().clone(),
    };
    let transfer = &sending.transfer;
    let settlement = shared.judge().received(transfer, sent.as_ref(), receipt);
    if matches!(settlement.outcome, TransferOutcome::Completed(_)) {
        let stored = sending.stored.load(Ordering::Relaxed);
        tally.completed(transfer, stored, settlement.at);
    }
    shared.settle(settlement);
}

/// All parts are on their way: commit, if the source did not change meanwhile.
async fn all_sent(shared: &Shared, offer: OfferId, checksum: &sealift_terms::Checksum) {
    let Some(sending) = shared.sending(offer) else {
        return;
    };
    if let Err(error) = sending.finish().await {
        return shared.withdraw(offer, &refusal(&error));
    }
    let (transfer, sources) = (&sending.transfer, &shared.settings.sources);
    if let Err(refusal) = shared.departing().hold_rules(transfer, sources).await {
        return shared.withdraw(offer, &refusal);
    }
    let expected = sending.checksum.lock().replace(checksum.clone());
    if let Some(expected) = expected.filter(|expected| expected != checksum) {
        // Parts of an earlier try are not of these bytes.
        let evidence = format!("{expected} was read, the parts have {checksum}");
        return shared.withdraw(offer, &Refusal::new(Reason::ChecksumMismatch, evidence));
    }
    shared.machine.lock().commit(offer, checksum);
    shared.wake_links();
}

async fn link_event(shared: &Arc<Shared>, event: LinkEvent) {
    match event {
        LinkEvent::Silent(link) | LinkEvent::Jammed(link) | LinkEvent::Closed(link, _) => {
            shared.end_link(link);
        }
        LinkEvent::Drain(link) => shared.draining(link),
        LinkEvent::Answered { number, body } => shared.answered(number, body),
        LinkEvent::Asked { link, number, body } => {
            let shared = shared.clone();
            tokio::spawn(async move {
                let control = shared.control.lock().clone();
                let binding = control.filter(|(control, _)| *control == link);
                let binding = binding.as_ref().map(|(_, binding)| binding);
                let answer = shared.settings.questions.answer(&body, binding).await;
                shared.machine.lock().answer(link, number, &answer);
                shared.wake_links();
            });
        }
        _ => {}
    }
}

/// Writes settlements down, many at once, until the session is over.
pub(super) async fn write_down(
    shared: Arc<Shared>,
    mut settlements: mpsc::UnboundedReceiver<Settlement>,
) {
    let mut batch = Vec::new();
    while settlements.recv_many(&mut batch, SETTLED_AT_ONCE_MAX).await > 0 {
        let ids: Vec<_> = batch.iter().map(|settlement| settlement.id).collect();
        let batch = std::mem::take(&mut batch);
        if let Err(error) = write_batch(&shared, batch).await {
            return shared.fail(error);
        }
        shared.settled(&ids);
    }
}

async fn write_batch(shared: &Shared, batch: Vec<Settlement>) -> Result<(), SenderError> {
    let memory = &mut shared.memory.lock().await.of;
    let settings = &shared.settings;
    let sequence = batch
        .iter()
        .filter_map(|settlement| match &settlement.outcome {
            TransferOutcome::Completed(receipt) => Some(receipt.sequence),
            _ => None,
        });
    if let Some(sequence) = sequence
        .max()
        .filter(|sequence| *sequence > memory.sequence)
    {
        // Before the transfers: a peer that lost them is then always noticed.
        (memory.sequence, memory.seen_at) = (sequence, settings.clock.now());
        settings
            .journal
            .remember_peer(&settings.peer, *memory)
            .await?;
    }
    settings.journal.settle(batch).await?;
    Ok(())
}
