//! What is in a source and not sent, by its names.

use std::collections::BTreeSet;

use sealift_ledger::UnsupportedName;
use sealift_store::Skipped;
use sealift_terms::limits::UNSUPPORTED_NAMES_MAX;

use super::SourceTask;
use crate::SenderError;

impl SourceTask {
    /// Remembers what a whole scan left out, and why.
    pub(super) async fn names(
        &mut self,
        skipped: Vec<Skipped>,
        seen: u64,
    ) -> Result<(), SenderError> {
        let names: Vec<_> = skipped.into_iter().map(unsupported).collect();
        let skipped = names.len() as u64;
        self.recorder
            .journal
            .replace_unsupported(&self.recorder.bucket, names)
            .await?;
        self.handle.update(|state| {
            state.objects = seen;
            state.skipped = skipped;
        });
        Ok(())
    }

    /// Remembers what was left out since the last scan, besides what that left out.
    pub(super) async fn name_left_out(&mut self) -> Result<(), SenderError> {
        let left_out = std::mem::take(&mut self.recorder.left_out);
        if left_out.is_empty() {
            return Ok(());
        }
        let (journal, bucket) = (&self.recorder.journal, &self.recorder.bucket);
        let mut names = journal.unsupported(bucket).await?;
        let known: BTreeSet<_> = names.iter().map(|known| known.name.clone()).collect();
        let new = left_out.into_values();
        let new = new.filter(|skipped| !known.contains(&skipped.name));
        names.extend(new.map(unsupported));
        names.truncate(UNSUPPORTED_NAMES_MAX);
        let skipped = names.len() as u64;
        journal.replace_unsupported(bucket, names).await?;
        self.handle.update(|state| state.skipped = skipped);
        Ok(())
    }
}

fn unsupported(skipped: Skipped) -> UnsupportedName {
    UnsupportedName {
        name: skipped.name,
        reason: skipped.reason,
        evidence: skipped.evidence,
    }
}
