//! An object on its way in.

use std::{collections::HashMap, fmt, sync::Arc};

use parking_lot::Mutex;
use sealift_ledger::{UploadPart, UploadRow};
use sealift_seal::{Commitments, ObjectSealer, Salts};
use sealift_store::{StoreError, StoreName, blocking};
use sealift_terms::{
    ChangeKind, ObjectUid, PartIndex, PartSize, VersionName, limits::PACKED_OBJECT_BYTES_MAX,
};

use crate::{
    ArchiveError, Lease, Offer, PartWriter, Result,
    archive::Core,
    layers::{OpenLayers, commitments_of},
    limits::PAGE_ROWS,
    reserve::{self, Claim},
    share::PeerShare,
    staging::{self, Counted, StagedFile},
};

/// One offer being taken up. Dropping it leaves finished parts of large objects
/// for the next try.
#[derive(Clone)]
pub struct Upload {
    pub(crate) state: Arc<UploadState>,
    pub(crate) offer: Offer,
    /// Room for what is not written yet.
    claim: Arc<Claim>,
}

/// What tries at one sealing share.
pub(crate) struct UploadState {
    pub(crate) core: Arc<Core>,
    pub(crate) uid: ObjectUid,
    pub(crate) open: OpenLayers,
    pub(crate) sealer: ObjectSealer,
    /// What its sender may take.
    pub(crate) share: Arc<PeerShare>,
    pub(crate) size: u64,
    pub(crate) part_size: PartSize,
    pub(crate) part_count: u32,
    pub(crate) body: Body,
    pub(crate) parts: Mutex<Parts>,
}

/// Where the sealed bytes go.
#[derive(Debug)]
pub(crate) enum Body {
    /// Nowhere: a delete marker or a set of tags has none.
    Mark,
    /// Into memory, and then into a pack.
    Packed(Mutex<Option<Packed>>),
    /// Into a file of its own.
    File(StagedFile),
}

/// A small object whose only part is sealed: HEADER ‖ PART.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) bytes: Vec<u8>,
    pub(crate) part: PartDone,
    pub(crate) lease: Lease,
}

/// A part that is sealed and written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PartDone {
    pub(crate) commitments: Commitments,
    pub(crate) crc64: u64,
}

/// How the parts stand. Those in the ledger are one bit each here.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) slots: HashMap<u32, Slot>,
    recorded: Vec<u64>,
}

/// One part that is being written, or written and not yet in the ledger.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// The writer that may write: the last one to begin.
    pub(crate) writer: u64,
    /// Held during each write, so that a writer fenced off is out before the next begins.
    pub(crate) writing: Arc<tokio::sync::Mutex<()>>,
    pub(crate) done: Option<PartDone>,
}

impl Parts {
    pub(crate) fn is_recorded(&self, index: u32) -> bool {
        let word = self.recorded.get(index as usize / 64).copied();
        word.unwrap_or(0) >> (index % 64) & 1 == 1
    }

    /// The part is in the ledger: what is held of it here can go.
    pub(crate) fn set_recorded(&mut self, index: u32) {
        let at = index as usize / 64;
        if self.recorded.len() <= at {
            self.recorded.resize(at + 1, 0);
        }
        if let Some(word) = self.recorded.get_mut(at) {
            *word |= 1 << (index % 64);
        }
        self.slots.remove(&index);
    }

    pub(crate) fn is_done(&self, index: u32) -> bool {
        self.is_recorded(index) || self.slots.get(&index).is_some_and(|s| s.done.is_some())
    }
}

impl Body {
    pub(crate) fn staged(&self) -> Option<&StagedFile> {
        match self {
            Self::File(staged) => Some(staged),
            Self::Mark | Self::Packed(_) => None,
        }
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upload({}, {:?})", self.offer.change.name, self.state)
    }
}

impl fmt::Debug for UploadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} parts", self.uid, self.part_count)
    }
}

impl Upload {
    pub(crate) async fn begin(core: Arc<Core>, offer: Offer) -> Result<Self> {
        let size = offer.change.facts.size;
        let parts = offer.part_size.parts_of(size);
        let parts = parts.ok_or(ArchiveError::TooLarge { size })?;
        let bytes = reserve::sealed_bytes(size, offer.part_size);
        let (state, claim) = if offer.change.kind != ChangeKind::Put {
            let claim = core.claim(bytes).await?;
            let state = UploadState::begin(&core, &offer, 0, |_| Ok(Body::Mark)).await?;
            (Arc::new(state), claim)
        } else if size <= PACKED_OBJECT_BYTES_MAX && parts == 1 {
            let claim = core.claim(bytes).await?;
            let packed = |_| Ok(Body::Packed(Mutex::default()));
            let state = UploadState::begin(&core, &offer, 1, packed).await?;
            (Arc::new(state), claim)
        } else if parts == 1 {
            let claim = core.claim(bytes).await?;
            (
                Arc::new(UploadState::begin_file(&core, &offer).await?),
                claim,
            )
        } else {
            UploadState::begin_or_resume(&core, &offer).await?
        };
        let claim = Arc::new(claim);
        Ok(Self {
            state,
            offer,
            claim,
        })
    }

    /// The version that is offered.
    #[must_use]
    pub fn name(&self) -> &VersionName {
        &self.offer.change.name
    }

    /// How the object is cut.
    #[must_use]
    pub fn part_size(&self) -> PartSize {
        self.state.part_size
    }

    /// Parts in all; none for a delete marker or tags.
    #[must_use]
    pub fn parts(&self) -> u32 {
        self.state.part_count
    }

    /// Whether a part is here already and need not be sent.
    #[must_use]
    pub fn has(&self, index: PartIndex) -> bool {
        match &self.state.body {
            Body::Packed(packed) => packed.lock().is_some(),
            Body::Mark | Body::File(_) => self.state.parts.lock().is_done(index.0),
        }
    }

    /// The parts that are here already, ascending.
    #[must_use]
    pub fn kept(&self) -> Vec<PartIndex> {
        let all = (0..self.state.part_count).map(PartIndex);
        all.filter(|index| self.has(*index)).collect()
    }

    /// The parts that are to be sent, ascending.
    #[must_use]
    pub fn missing(&self) -> Vec<PartIndex> {
        let all = (0..self.state.part_count).map(PartIndex);
        all.filter(|index| !self.has(*index)).collect()
    }

    /// Begins to take part `index` of `plain_len` bytes. Whoever wrote to the same
    /// part before is fenced off.
    ///
    /// # Errors
    /// [`ArchiveError::Misuse`] for a part or a length that the object has not,
    /// [`ArchiveError::Key`] when its key may not be used any more.
    pub async fn part(&self, index: PartIndex, plain_len: u32) -> Result<PartWriter> {
        let wanted = self.state.part_size.part_bytes(self.state.size, index);
        if index.0 >= self.state.part_count || wanted != Some(plain_len) {
            return Err(ArchiveError::Misuse(
                "the object has no such part of this length",
            ));
        }
        PartWriter::begin(self.state.clone(), self.claim.clone(), index, plain_len).await
    }
}

impl UploadState {
    /// Plaintext of the parts that are here.
    fn done_bytes(&self) -> u64 {
        let parts = self.parts.lock();
        let done = (0..self.part_count).filter(|index| parts.is_done(*index));
        let bytes = |index| self.part_size.part_bytes(self.size, PartIndex(index));
        done.filter_map(bytes).map(u64::from).sum()
    }

    /// Begins a sealing under the bucket's current records.
    async fn begin(
        core: &Arc<Core>,
        offer: &Offer,
        part_count: u32,
        body: impl FnOnce(ObjectUid) -> Result<Body>,
    ) -> Result<Self> {
        let uid = ObjectUid::random(&*core.rng);
        let open = core.layers_for(&offer.change.name.bucket, uid).await?;
        Self::assemble(core, offer, open, uid, part_count, body(uid)?)
    }

    fn assemble(
        core: &Arc<Core>,
        offer: &Offer,
        open: OpenLayers,
        uid: ObjectUid,
        part_count: u32,
        body: Body,
    ) -> Result<Self> {
        let header = open.header(offer.part_size, uid);
        Ok(Self {
            core: core.clone(),
            uid,
            share: core.shares.of(&offer.origin, &core.budget),
            sealer: ObjectSealer::new(open.keys(), header)?,
            open,
            size: offer.change.facts.size,
            part_size: offer.part_size,
            part_count,
            body,
            parts: Mutex::default(),
        })
    }

    /// A large object of one part: its file is not worth a row.
    async fn begin_file(core: &Arc<Core>, offer: &Offer) -> Result<Self> {
        let uid = ObjectUid::random(&*core.rng);
        let counted = Counted {
            _file: core.open_file(&offer.origin)?,
            _rowless: Some(core.uploads.admit_rowless(&offer.origin, uid)?),
        };
        let open = core.layers_for(&offer.change.name.bucket, uid).await?;
        let name = staging::file_name(uid)?;
        let file = core.store.create(&name).await?;
        let staged = StagedFile::new(core.store.clone(), uid, name, file, None, counted);
        let state = Self::assemble(core, offer, open, uid, 1, Body::File(staged))?;
        state.write_header().await?;
        Ok(state)
    }

    /// An object of several parts goes on where an earlier try ended.
    async fn begin_or_resume(core: &Arc<Core>, offer: &Offer) -> Result<(Arc<Self>, Claim)> {
        let bytes = reserve::sealed_bytes(offer.change.facts.size, offer.part_size);
        let whose = (offer.origin.clone(), offer.change.name.clone());
        if let Some(open) = core.uploads.find(&whose) {
            let ended = open.body.staged().is_none_or(StagedFile::has_ended);
            if !ended && open.fits(offer) {
                let claim = core.claim(bytes.saturating_sub(open.done_bytes())).await?;
                return Ok((open, claim));
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
                    let claim = core.claim(bytes.saturating_sub(state.done_bytes())).await?;
                    return Ok((state, claim));
                }
                None => core.remove_upload(&row).await?,
            }
        }
        let claim = core.claim(bytes).await?;
        let counted = core.open_file(&offer.origin)?.into();
        let uid = ObjectUid::random(&*core.rng);
        core.uploads.admit(&offer.origin, uid)?;
        match Self::begin_kept(core, offer, uid, counted).await {
            Ok(state) => {
                let state = Arc::new(state);
                core.uploads.keep(whose, state.clone());
                Ok((state, claim))
            }
            Err(error) => {
                core.uploads.ended(&whose, uid);
                Err(error)
            }
        }
    }

    /// The row is durable before the file is.
    async fn begin_kept(
        core: &Arc<Core>,
        offer: &Offer,
        uid: ObjectUid,
        counted: Counted,
    ) -> Result<Self> {
        let change = &offer.change;
        let open = core.layers_for(&change.name.bucket, uid).await?;
        let records = open.ids();
        let name = staging::file_name(uid)?;
        let now = core.clock.now();
        let row = UploadRow {
            uid,
            record: records.first,
            second_record: records.second,
            name: change.name.clone(),
            order: change.order.clone(),
            facts: change.facts.clone(),
            part_size: offer.part_size,
            file: name.to_string(),
            origin: offer.origin.clone(),
            begun_at: now,
            touched_at: now,
        };
        core.catalog.begin_uploads(vec![row]).await?;
        let file = core.store.create(&name).await?;
        let whose = (offer.origin.clone(), change.name.clone());
        let staged = StagedFile::new(core.store.clone(), uid, name, file, Some(whose), counted);
        let count = offer.part_size.parts_of(change.facts.size).unwrap_or(0);
        let state = Self::assemble(core, offer, open, uid, count, Body::File(staged))?;
        state.write_header().await?;
        Ok(state)
    }

    /// Opens a staged file again and keeps every part that opens under the
    /// commitments recorded for it. `None` when there is nothing to go on with.
    async fn resume(core: &Arc<Core>, offer: &Offer, row: &UploadRow) -> Result<Option<Self>> {
        let layers = core.key_of(&row.name.bucket)?.second.is_some();
        if row.part_size != offer.part_size
            || row.facts.size != offer.change.facts.size
            || row.second_record.is_some() != layers
        {
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
        let state = Self::assemble(core, offer, open, row.uid, count, Body::File(staged))?;
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

    async fn write_header(&self) -> Result<()> {
        if let Some(staged) = self.body.staged() {
            staged.file.write_at(self.sealer.header_bytes(), 0).await?;
        }
        Ok(())
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
        same_layers && self.part_size == offer.part_size && self.size == offer.change.facts.size
    }

    /// Fresh salts; none is ever used twice.
    pub(crate) fn salts(&self) -> Salts {
        self.sealer.salts(&*self.core.rng)
    }
}
