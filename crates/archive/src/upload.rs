//! An object on its way in.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use sealift_ledger::UploadRow;
use sealift_seal::{Commitments, ObjectSealer, Salts};
use sealift_store::Cut;
use sealift_terms::{
    ChangeKind, ObjectUid, PartIndex, PartSize, VersionName, limits::PACKED_OBJECT_BYTES_MAX,
};

use crate::{
    ArchiveError, Lease, Offer, PartWriter, Result,
    archive::Core,
    interrupted::Whose,
    layers::OpenLayers,
    part::Sealing,
    quota::Promise,
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
    /// Room in its bucket's quota.
    pub(crate) quota: Option<Arc<Promise>>,
}

/// What tries at one sealing share.
pub(crate) struct UploadState {
    pub(crate) core: Arc<Core>,
    /// Who sends it and what it is, where parts of it may be interrupted.
    pub(crate) whose: Option<Whose>,
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
    /// Where that writer has its sealing, as long as it is there.
    pub(crate) sealing: Weak<tokio::sync::Mutex<Option<Sealing>>>,
    /// What it left.
    pub(crate) kept: Option<Sealing>,
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

    /// Parts that are not whole, of which something is there.
    fn open(&self) -> Vec<PartIndex> {
        let is_open = |slot: &Slot| slot.kept.is_some() || slot.sealing.strong_count() > 0;
        let open = self.slots.iter().filter(|(_, slot)| is_open(slot));
        let mut open: Vec<_> = open.map(|(index, _)| PartIndex(*index)).collect();
        open.sort_unstable();
        open
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
    /// Of a sealing that was begun.
    pub(crate) fn of(
        state: Arc<UploadState>,
        offer: Offer,
        claim: Claim,
        quota: Option<Arc<Promise>>,
    ) -> Self {
        Self {
            state,
            offer,
            claim: Arc::new(claim),
            quota,
        }
    }

    pub(crate) async fn begin(core: Arc<Core>, offer: Offer) -> Result<Self> {
        let quota = core.hold_quota(&offer).await?;
        match UploadState::take_up(&core, &offer).await {
            Ok((state, claim)) => Ok(Self::of(state, offer, claim, quota.map(Arc::new))),
            Err(error) => {
                if let Some(promise) = quota {
                    promise.give_back();
                }
                Err(error)
            }
        }
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
        self.hold_part(index, plain_len)?;
        PartWriter::begin(self.state.clone(), self.claim.clone(), index, plain_len).await
    }

    /// Goes on with a part of `plain_len` bytes that was interrupted when `from` had come.
    ///
    /// # Errors
    /// As [`part`](Self::part); [`ArchiveError::NotKept`] when it has to begin anew.
    pub async fn part_from(
        &self,
        index: PartIndex,
        plain_len: u32,
        from: u32,
    ) -> Result<PartWriter> {
        self.hold_part(index, plain_len)?;
        let (state, claim) = (self.state.clone(), self.claim.clone());
        PartWriter::go_on(state, claim, index, plain_len, from).await
    }

    /// Takes a part from whoever writes it for this one who took up the offer, once that
    /// writer is out of it. Says how many bytes of it are kept, behind which it may
    /// [go on](Self::part_from).
    pub async fn interrupt(&self, index: PartIndex) -> Option<u32> {
        self.state.interrupt(index, Some(&self.claim)).await
    }

    /// Does that with all parts that are begun and not whole, whoever writes them.
    pub async fn interrupt_all(&self) -> Vec<(PartIndex, u32)> {
        let open = self.state.parts.lock().open();
        let mut kept = Vec::with_capacity(open.len());
        for index in open {
            if let Some(bytes) = self.state.interrupt(index, None).await {
                kept.push((index, bytes));
            }
        }
        kept
    }

    fn hold_part(&self, index: PartIndex, plain_len: u32) -> Result<()> {
        let wanted = self.state.part_size.part_bytes(self.state.size, index);
        if index.0 >= self.state.part_count || wanted != Some(plain_len) {
            return Err(ArchiveError::Misuse(
                "the object has no such part of this length",
            ));
        }
        Ok(())
    }
}

impl UploadState {
    /// Goes on with an earlier try, or begins anew.
    async fn take_up(core: &Arc<Core>, offer: &Offer) -> Result<(Arc<Self>, Claim)> {
        let size = offer.change.facts.size;
        let parts = offer.part_size.parts_of(size);
        let parts = parts.ok_or(ArchiveError::TooLarge { size })?;
        let bytes = reserve::sealed_bytes(size, offer.part_size);
        if let Some(earlier) = Self::earlier(core, offer).await? {
            return Ok(earlier);
        }
        let state = if offer.change.kind != ChangeKind::Put {
            let claim = core.claim(bytes).await?;
            (
                Self::begin(core, offer, 0, |_| Ok(Body::Mark)).await?,
                claim,
            )
        } else if size <= PACKED_OBJECT_BYTES_MAX && parts == 1 {
            let claim = core.claim(bytes).await?;
            let packed = |_| Ok(Body::Packed(Mutex::default()));
            (Self::begin(core, offer, 1, packed).await?, claim)
        } else if parts == 1 || offer.written.is_some() {
            let claim = core.claim(bytes).await?;
            (Self::begin_file(core, offer, parts).await?, claim)
        } else {
            return Self::begin_with_row(core, offer).await;
        };
        let (state, claim) = state;
        Ok((Arc::new(state), claim))
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
        let cut = (offer.part_size, part_count);
        Self::assemble(core, offer, open, uid, cut, body(uid)?)
    }

    pub(crate) fn assemble(
        core: &Arc<Core>,
        offer: &Offer,
        open: OpenLayers,
        uid: ObjectUid,
        (part_size, part_count): (PartSize, u32),
        body: Body,
    ) -> Result<Self> {
        let header = open.header(part_size, uid);
        Ok(Self {
            core: core.clone(),
            whose: (!offer.data_follows).then(|| whose(offer)),
            uid,
            share: core.shares.of(&offer.origin, &core.budget),
            sealer: ObjectSealer::new(open.keys(), header)?,
            open,
            size: offer.change.facts.size,
            part_size,
            part_count,
            body,
            parts: Mutex::default(),
        })
    }

    /// A large object of one part, or one that an application writes: nobody comes back to
    /// go on with it, so that its file is not worth a row.
    async fn begin_file(core: &Arc<Core>, offer: &Offer, parts: u32) -> Result<Self> {
        let uid = ObjectUid::random(&*core.rng);
        let counted = Counted {
            _file: core.open_file(&offer.origin)?,
            _rowless: Some(core.uploads.admit_rowless(
                &offer.origin,
                uid,
                offer.change.facts.size,
            )?),
        };
        let open = core.layers_for(&offer.change.name.bucket, uid).await?;
        let name = staging::file_name(uid)?;
        let file = core.store.create(&name).await?;
        let staged = StagedFile::new(core.store.clone(), uid, name, file, None, counted);
        let cut = (offer.part_size, parts);
        let state = Self::assemble(core, offer, open, uid, cut, Body::File(staged))?;
        state.write_header().await?;
        Ok(state)
    }

    /// An object of several parts, which survives a restart.
    async fn begin_with_row(core: &Arc<Core>, offer: &Offer) -> Result<(Arc<Self>, Claim)> {
        let bytes = reserve::sealed_bytes(offer.change.facts.size, offer.part_size);
        let whose = whose(offer);
        let claim = core.claim(bytes).await?;
        let counted = core.open_file(&offer.origin)?.into();
        let uid = ObjectUid::random(&*core.rng);
        core.uploads
            .admit(&offer.origin, uid, offer.change.facts.size)?;
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
    pub(crate) async fn begin_kept(
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
        let whose = whose(offer);
        let staged = StagedFile::new(core.store.clone(), uid, name, file, Some(whose), counted);
        let count = offer.part_size.parts_of(change.facts.size).unwrap_or(0);
        let cut = (offer.part_size, count);
        let state = Self::assemble(core, offer, open, uid, cut, Body::File(staged))?;
        state.write_header().await?;
        Ok(state)
    }

    pub(crate) async fn write_header(&self) -> Result<()> {
        if let Some(staged) = self.body.staged() {
            staged.file.cut(self.cut());
            staged.file.write_at(self.sealer.header_bytes(), 0).await?;
        }
        Ok(())
    }

    /// Where its parts are in its file.
    fn cut(&self) -> Cut {
        let layout = self.sealer.layout();
        Cut {
            head: layout.part_offset(PartIndex(0)),
            unit: layout.full_part_len(),
            count: self.part_count,
        }
    }

    /// Fresh salts; none is ever used twice.
    pub(crate) fn salts(&self) -> Salts {
        self.sealer.salts(&*self.core.rng)
    }
}

pub(crate) fn whose(offer: &Offer) -> Whose {
    (offer.origin.clone(), offer.change.name.clone())
}
