//! What was recorded earlier, held against the rules in force: nothing leaves that none of them
//! sends.

use std::collections::BTreeSet;

use sealift_ledger::{Journal, Skip, Transfer};
use sealift_store::Source;
use sealift_terms::{Change, ChangeKind};

use crate::{
    Rules, SenderError, Tagged,
    changes::tagging::{goes_to, tags_now},
};

/// What transfers are held against.
#[derive(Clone, Copy)]
pub struct Coverage<'a> {
    /// The rules in force.
    pub rules: &'a Rules,
    /// Where transfers are.
    pub journal: &'a dyn Journal,
    /// The source of their bucket, which says what tags versions have; none where it is gone.
    pub source: Option<&'a dyn Source>,
}

impl Coverage<'_> {
    /// Why no rule sends these transfers of one bucket to their peers: each in its place, and
    /// nothing of those that one does send. A version that does not have the tags that a rule
    /// asks for, as far as they were seen, may have them now: its source is asked.
    ///
    /// # Errors
    /// [`SenderError`] when the source or the journal does not answer.
    pub async fn leaves_out(
        &self,
        transfers: &[Transfer],
    ) -> Result<Vec<Option<Skip>>, SenderError> {
        let nobody = BTreeSet::new();
        let mut skips = Vec::with_capacity(transfers.len());
        let mut untold = Vec::new();
        for (at, transfer) in transfers.iter().enumerate() {
            let (change, peer) = (&transfer.change, &transfer.peer);
            let tagged = Tagged::of(change, &nobody);
            let mut skip = self.rules.leave_out(change, peer, tagged);
            if skip.is_some() && self.asks_tags_of(change) {
                match change.kind {
                    ChangeKind::Put => untold.push(at),
                    ChangeKind::DeleteMarker | ChangeKind::Tags => {
                        let behind = goes_to(self.journal, change, &[]).await?;
                        let tagged = Tagged::Behind(&behind);
                        skip = self.rules.leave_out(change, peer, tagged);
                    }
                    ChangeKind::Purge => {}
                }
            }
            skips.push(skip);
        }
        self.ask(transfers, untold, &mut skips).await?;
        Ok(skips)
    }

    /// As [`leaves_out`](Self::leaves_out), of one.
    pub(crate) async fn leaves_out_one(
        &self,
        transfer: &Transfer,
    ) -> Result<Option<Skip>, SenderError> {
        let (change, nobody) = (&transfer.change, BTreeSet::new());
        let tagged = Tagged::of(change, &nobody);
        // Most are sent, and nothing is asked or kept for them.
        let skip = self.rules.leave_out(change, &transfer.peer, tagged);
        if skip.is_none() || !self.asks_tags_of(change) {
            return Ok(skip);
        }
        let skips = self.leaves_out(std::slice::from_ref(transfer)).await?;
        Ok(skips.into_iter().next().flatten())
    }

    fn asks_tags_of(&self, change: &Change) -> bool {
        let name = &change.name;
        self.rules.ask_tags_of(&name.bucket, &name.key)
    }

    /// Holds those in these places against the tags that they have now. Of what is gone or may
    /// not be looked at, what was seen counts.
    async fn ask(
        &self,
        transfers: &[Transfer],
        places: Vec<usize>,
        skips: &mut [Option<Skip>],
    ) -> Result<(), SenderError> {
        let (Some(source), false) = (self.source, places.is_empty()) else {
            return Ok(());
        };
        let asked: Vec<_> = places
            .into_iter()
            .filter_map(|at| Some((at, transfers.get(at)?)))
            .collect();
        let names = asked.iter().map(|(_, transfer)| {
            let name = &transfer.change.name;
            (&name.key, &name.version)
        });
        let told = tags_now(source, &names.collect::<Vec<_>>()).await?;
        for ((at, transfer), tags) in asked.into_iter().zip(told) {
            if let (Some(skip), Some(tags)) = (skips.get_mut(at), tags) {
                let tagged = Tagged::With(&tags);
                *skip = self
                    .rules
                    .leave_out(&transfer.change, &transfer.peer, tagged);
            }
        }
        Ok(())
    }
}
