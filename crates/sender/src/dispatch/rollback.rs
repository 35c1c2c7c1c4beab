//! A peer that came back with an older copy of its data is noticed and refilled.

use sealift_ledger::{PeerMemory, Requeue};
use sealift_terms::{AuditKind, AuditRecord, Epoch};
use sealift_wire::Hello;

use super::Settings;
use crate::SenderError;

/// What is remembered of a peer in a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    pub(super) of: PeerMemory,
    /// Whether its HELLO told already that it had lost something.
    noticed: bool,
}

/// Compares what a peer says of itself with what is remembered of it. What it
/// must have lost is queued again before anything is forgotten.
pub(super) async fn compare(settings: &Settings, hello: &Hello) -> Result<Memory, SenderError> {
    let now = settings.clock.now();
    let journal = &settings.journal;
    let known = journal.peer(&settings.peer).await?;
    let memory = PeerMemory {
        site: hello.site,
        epoch: hello.epoch,
        sequence: hello.commit_sequence,
        policy: hello.policy,
        seen_at: now,
    };
    if known.is_some_and(|known| known.policy != memory.policy) {
        let refused = Requeue::Failed(Some(settings.peer.clone()));
        let queued = journal.requeue(refused, now).await?;
        tracing::info!(peer = %settings.peer, queued, "the peer allows something else: what was given up is tried again");
    }
    let known = known.filter(|known| is_rolled_back(known, &memory));
    if let Some(known) = known {
        // A new epoch may have lost anything: what it still has, it answers without data.
        let same = known.site == memory.site && known.epoch == memory.epoch;
        let after = if same { memory.sequence } else { 0 };
        refill(settings, &known, &memory, after).await?;
    }
    journal.remember_peer(&settings.peer, memory).await?;
    Ok(Memory {
        of: memory,
        noticed: known.is_some(),
    })
}

/// The peer was told what is remembered of it, found itself behind, and began a
/// new epoch.
pub(super) async fn renewed(
    settings: &Settings,
    memory: &mut Memory,
    epoch: Epoch,
) -> Result<(), SenderError> {
    let known = memory.of;
    let now = PeerMemory {
        epoch,
        seen_at: settings.clock.now(),
        ..known
    };
    if !memory.noticed {
        // It cannot say what it lost: what it still has, it answers without data.
        refill(settings, &known, &now, 0).await?;
    }
    settings.journal.remember_peer(&settings.peer, now).await?;
    (memory.of, memory.noticed) = (now, true);
    settings.work.wake();
    Ok(())
}

/// Queues again what was acknowledged with a higher sequence, and puts that on record.
async fn refill(
    settings: &Settings,
    known: &PeerMemory,
    found: &PeerMemory,
    sequence: u64,
) -> Result<(), SenderError> {
    let now = settings.clock.now();
    let peer = settings.peer.clone();
    let record = AuditRecord::new(now, AuditKind::ReplicaRolledBack, "agent")
        .with("peer", &peer)
        .with("epoch_known", known.epoch)
        .with("epoch", found.epoch)
        .with("sequence_known", known.sequence)
        .with("sequence", found.sequence);
    let which = Requeue::CompletedAfter { peer, sequence };
    let queued = settings.journal.requeue(which, now).await?;
    settings.audit.record(record.with("transfers", queued))?;
    tracing::warn!(
        peer = %settings.peer, sequence = found.sequence, known = known.sequence, queued,
        "the peer came back with an older copy of its data: what it lost is sent again"
    );
    Ok(())
}

fn is_rolled_back(known: &PeerMemory, now: &PeerMemory) -> bool {
    (known.site, known.epoch) != (now.site, now.epoch) || now.sequence < known.sequence
}
