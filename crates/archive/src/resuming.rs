//! What an earlier try left of an object, and whether a new one can go on with it.

use std::sync::Arc;

use sealift_ledger::{UploadPart, UploadRow};
use sealift_store::{StoreError, StoreName, blocking};
use sealift_terms::{ChangeKind, PartIndex, PartSize};

use crate::{
    ArchiveError, Offer, Result,
    archive::Core,
    layers::commitments_of,
    limits::PAGE_ROWS,
    reserve::{self, Claim},
    staging::StagedFile,
    upload::{Body, UploadState, whose},
};

impl UploadState {
    /// What an earlier try left of an object, to go on with: of one with several parts the
    /// parts, of any that was interrupted while this process lives what came of its part.
    pub(crate) async fn earlier(
        core: &Arc<Core>,
        offer: &Offer,
    ) -> Result<Option<(Arc<Self>, Claim)>> {
        let size = offer.change.facts.size;
        let one_part = size < u64::from(offer.part_size.bytes());
        let any_cut = offer.any_cut && size > u64::from(PartSize::MIN.bytes());
        let looks = !one_part || (any_cut && !offer.data_follows);
        if offer.change.kind != ChangeKind::Put || !looks || offer.written.is_some() {
            return Ok(None);
        }
        let whose = whose(offer);
        let interrupted = core.interrupted.find(&whose);
        if let Some(open) = interrupted.or_else(|| core.uploads.find(&whose)) {
            if open.goes_on() && open.fits(offer) {
                let claim = open.claim_rest().await?;
                return Ok(Some((open, claim)));
            }
            // Another cut or size of the same version, or the bucket is sealed in another
            // number of layers by now: what there is does not fit.
            if let Some(staged) = open.body.staged().filter(|staged| !staged.has_ended()) {
                core.give_up(staged).await?;
            }
        } else if let Some(row) = core.catalog.upload_of(&offer.change.name).await?
            && row.origin == offer.origin
        {
            match Self::resume(core, offer, &row).await? {
                Some(state) => {
                    let state = Arc::new(state);
                    core.uploads.keep(whose, state.clone());
                    let claim = state.claim_rest().await?;
                    return Ok(Some((state, claim)));
                }
                None => core.remove_upload(&row).await?,
            }
        }
        Ok(None)
    }

    /// Opens a staged file again and keeps every part that opens under the
    /// commitments recorded for it. `None` when there is nothing to go on with.
    async fn resume(core: &Arc<Core>, offer: &Offer, row: &UploadRow) -> Result<Option<Self>> {
        let layers = core.key_of(&row.name.bucket)?.second.is_some();
        let same_layers = row.second_record.is_some() == layers;
        let same_cut = offer.any_cut || row.part_size == offer.part_size;
        if !same_layers || !same_cut || row.facts.size != offer.change.facts.size {
            return Ok(None);
        }
        let counted = core.open_file(&offer.origin)?.into();
        let name = StoreName::new(&row.file).map_err(StoreError::from)?;
        let file = match core.store.reopen(&name).await {
            Ok(file) => file,
            Err(StoreError::NoSuchFile { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let open = core.open_layers(row.records(), &row.name.bucket).await?;
        let whose = (row.origin.clone(), row.name.clone());
        let staged = StagedFile::new(
            core.store.clone(),
            row.uid,
            name,
            file,
            Some(whose),
            counted,
        );
        let count = row.part_size.parts_of(row.facts.size).unwrap_or(0);
        let cut = (row.part_size, count);
        let state = Self::assemble(core, offer, open, row.uid, cut, Body::File(staged))?;
        // Was cut off before its header was written, or is another's: begin anew.
        if !state.header_is_there() {
            return Ok(None);
        }
        // It was read, and is not durable for that: a sync that failed before the
        // restart has lost it, and the next writes only what was written since.
        state.write_header().await?;
        let state = Arc::new(state);
        let bad = state.check_kept_parts().await?;
        if !bad.is_empty() {
            tracing::warn!(version = %row.name, parts = bad.len(), "staged parts did not open again");
            core.catalog.forget_parts(row.uid, bad).await?;
        }
        Ok(Arc::into_inner(state))
    }

    /// Reads the ledger's parts page by page and opens each in the file.
    async fn check_kept_parts(self: &Arc<Self>) -> Result<Vec<PartIndex>> {
        let (mut bad, mut from) = (Vec::new(), PartIndex(0));
        loop {
            let page = self.core.catalog.parts(self.uid, from, PAGE_ROWS).await?;
            let Some(last) = page.last() else {
                return Ok(bad);
            };
            from = PartIndex(last.index.0.saturating_add(1));
            let state = self.clone();
            let page = blocking(self.core.store.calls(), move || {
                let opens = |part: &UploadPart| state.part_opens(part);
                let (good, bad): (Vec<_>, Vec<_>) = page.into_iter().partition(opens);
                (
                    good,
                    bad.into_iter().map(|part| part.index).collect::<Vec<_>>(),
                )
            });
            let (good, page_bad) = page.await.map_err(|_| ArchiveError::Closed)?;
            let mut parts = self.parts.lock();
            if let Some(staged) = self.body.staged() {
                let units: Vec<u32> = good.iter().map(|part| part.index.0).collect();
                staged.file.settled(&units);
            }
            good.iter()
                .for_each(|part| parts.set_recorded(part.index.0));
            bad.extend(page_bad);
        }
    }

    fn part_opens(&self, part: &UploadPart) -> bool {
        let (Some(staged), Some(len)) = (
            self.body.staged(),
            self.part_size.part_bytes(self.size, part.index),
        ) else {
            return false;
        };
        let mut crc = sealift_wire::checksum::Crc64::new();
        let reader = crate::read::StagedBytes(&*staged.file);
        let commitments = commitments_of(part);
        let opened = self
            .sealer
            .open_part(&reader, part.index, len, &commitments, |bytes| {
                crc.update(bytes);
                Ok(())
            });
        opened.is_ok() && crc.value() == part.crc64
    }

    fn header_is_there(&self) -> bool {
        let mut bytes = [0; 96];
        let read = self
            .body
            .staged()
            .map(|s| s.file.read_exact_at(&mut bytes, 0));
        matches!(read, Some(Ok(()))) && bytes == *self.sealer.header_bytes()
    }

    /// Whether a new offer of the same version can go on with this sealing.
    fn fits(&self, offer: &Offer) -> bool {
        let keys = self.core.key_of(&offer.change.name.bucket);
        let same_layers =
            keys.is_ok_and(|keys| keys.second.is_some() == self.open.ids().second.is_some());
        let same_cut = offer.any_cut || self.part_size == offer.part_size;
        same_layers && same_cut && self.size == offer.change.facts.size
    }

    /// Whether it was neither committed nor given up.
    fn goes_on(&self) -> bool {
        match &self.body {
            Body::Mark => false,
            Body::Packed(_) => true,
            Body::File(staged) => !staged.has_ended(),
        }
    }

    /// Room for what is not there yet.
    async fn claim_rest(&self) -> Result<Claim> {
        let bytes = reserve::sealed_bytes(self.size, self.part_size);
        let rest = bytes.saturating_sub(self.done_bytes());
        self.core.claim(rest).await
    }

    /// Plaintext of the parts that are here.
    fn done_bytes(&self) -> u64 {
        let parts = self.parts.lock();
        let done = (0..self.part_count).filter(|index| parts.is_done(*index));
        let bytes = |index| self.part_size.part_bytes(self.size, PartIndex(index));
        done.filter_map(bytes).map(u64::from).sum()
    }
}
