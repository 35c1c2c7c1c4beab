//! A peer that came back with an older copy of its data is noticed and refilled.

use sealift_ledger::{PeerMemory, Requeue};
use sealift_terms::{AuditKind, AuditRecord};
use sealift_wire::Hello;

use super::Settings;
use crate::SenderError;

/// Compares what a peer says of itself with what is remembered of it. What it
/// must have lost is queued again before anything is forgotten.
pub(super) async fn compare(settings: &Settings, hello: &Hello) -> Result<PeerMemory, SenderError> {
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
    if let Some(known) = known.filter(|known| is_rolled_back(known, &memory)) {
        // A new epoch may have lost anything: what it still has, it answers without data.
        let same = known.site == memory.site && known.epoch == memory.epoch;
        let sequence = if same { memory.sequence } else { 0 };
        let peer = settings.peer.clone();
        let record = AuditRecord::new(now, AuditKind::ReplicaRolledBack, "agent")
            .with("peer", &peer)
            .with("epoch_known", known.epoch)
            .with("epoch", memory.epoch)
            .with("sequence_known", known.sequence)
            .with("sequence", memory.sequence);
        let queued = journal
            .requeue(Requeue::CompletedAfter { peer, sequence }, now)
            .await?;
        settings.audit.record(record.with("transfers", queued))?;
        tracing::warn!(
            peer = %settings.peer, sequence = memory.sequence, known = known.sequence, queued,
            "the peer came back with an older copy of its data: what it lost is sent again"
        );
    }
    journal.remember_peer(&settings.peer, memory).await?;
    Ok(memory)
}

fn is_rolled_back(known: &PeerMemory, now: &PeerMemory) -> bool {
    (known.site, known.epoch) != (now.site, now.epoch) || now.sequence < known.sequence
}
