//! One part on its way in: sealed chunk by chunk, written when a buffer is full.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use sealift_seal::PartBuffer;
use sealift_terms::PartIndex;
use sealift_wire::checksum::Crc64;

use crate::{
    ArchiveError, Lease, Result,
    archive::hand_over,
    interrupted::Whose,
    layers::commitments_of,
    limits::{SEALED_CHUNK_BYTES, SEALED_WRITE_BYTES, WRITE_BYTES_MAX},
    recorder,
    reserve::{Claim, Flight},
    staging::StagedFile,
    upload::{Body, Packed, PartDone, Slot, UploadState},
};

/// Plaintext is taken in pieces of this size, so that a write is never too long.
const PIECE_BYTES: usize = 16 * 1024;

/// Numbers writers, so that of two at one part the later is known.
static WRITERS: AtomicU64 = AtomicU64::new(1);

/// Takes the plaintext of one part, in any cut.
pub struct PartWriter {
    upload: Arc<UploadState>,
    claim: Arc<Claim>,
    plain_len: u32,
    index: PartIndex,
    mode: Mode,
}

#[allow(
    clippy::large_enum_variant,
    reason = "one per part in flight, almost always the smaller one"
)]
enum Mode {
    /// Seals what comes.
    Seal {
        place: Place,
        /// Room in the store.
        flight: Flight,
    },
    /// The part is here: nobody touches its bytes, what comes is only compared.
    Compare {
        left: u64,
        known: PartDone,
        crc: Crc64,
    },
}

/// Where a writer has its sealing, from which another may take it: held while it writes, and
/// empty once it was taken.
pub(crate) type Place = Arc<tokio::sync::Mutex<Option<Sealing>>>;

/// A part that is being sealed. There is one of it, which moves from the writer that began
/// the part to the one that goes on with it.
pub(crate) struct Sealing {
    buffer: PartBuffer,
    /// Where the next write goes in the file.
    at: u64,
    lease: Lease,
    /// Bytes that it took of memory.
    memory: usize,
    crc: Crc64,
    /// Bytes of plaintext that came.
    pub(crate) got: u32,
    /// Whose it is.
    writer: u64,
    /// Of which of those who take up the upload that one is.
    claim: Weak<Claim>,
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealing({} bytes)", self.got)
    }
}

impl Sealing {
    /// Takes the next bytes of plaintext. Wherever it is left, it can go on behind `got`.
    async fn push(&mut self, upload: &UploadState, index: PartIndex, bytes: &[u8]) -> Result<()> {
        for piece in bytes.chunks(PIECE_BYTES) {
            self.buffer.push(piece)?;
            self.crc.update(piece);
            self.got = self
                .got
                .saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
            let full = self.buffer.sealed().len() + SEALED_CHUNK_BYTES > SEALED_WRITE_BYTES;
            if full && upload.body.staged().is_some() {
                let sealed = self.buffer.sealed();
                upload
                    .write_fenced(index, self.writer, sealed, self.at)
                    .await?;
                self.at += sealed.len() as u64;
                self.buffer.clear_sealed();
            }
        }
        Ok(())
    }
}

impl fmt::Debug for PartWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartWriter({}, part {})", self.upload.uid, self.index.0)
    }
}

impl PartWriter {
    pub(crate) async fn begin(
        upload: Arc<UploadState>,
        claim: Arc<Claim>,
        index: PartIndex,
        plain_len: u32,
    ) -> Result<Self> {
        if upload.body.staged().is_some() {
            upload.may_go_on().await?;
        }
        let mode = match upload.known_part(index).await? {
            Some(known) => Mode::Compare {
                left: plain_len.into(),
                known,
                crc: Crc64::new(),
            },
            None => Self::seal(&upload, &claim, index, plain_len).await?,
        };
        Ok(Self {
            upload,
            claim,
            plain_len,
            index,
            mode,
        })
    }

    /// Goes on with a part that was interrupted after `from` bytes.
    pub(crate) async fn go_on(
        upload: Arc<UploadState>,
        claim: Arc<Claim>,
        index: PartIndex,
        plain_len: u32,
        from: u32,
    ) -> Result<Self> {
        upload.may_go_on().await?;
        let sealed = upload.sealer.layout().sealed_part_len(plain_len);
        let flight = upload.core.fly(sealed).await?;
        let place = {
            let mut parts = upload.parts.lock();
            let slot = parts.slots.get_mut(&index.0);
            let slot = slot.filter(|slot| slot.done.is_none());
            let kept = slot.and_then(|slot| {
                let kept = slot.kept.take_if(|kept| kept.got == from);
                kept.map(|kept| slot.give(kept, next_writer(), &claim))
            });
            kept.ok_or(ArchiveError::NotKept { part: index.0 })?
        };
        Ok(Self {
            upload,
            claim,
            plain_len,
            index,
            mode: Mode::Seal { place, flight },
        })
    }

    async fn seal(
        upload: &UploadState,
        claim: &Arc<Claim>,
        index: PartIndex,
        plain_len: u32,
    ) -> Result<Mode> {
        let writer = next_writer();
        let before = {
            let mut parts = upload.parts.lock();
            let slot = parts.slots.entry(index.0).or_default();
            slot.writer = writer;
            // What is kept of it is of no use any more: this one has a salt of its own.
            slot.kept.take()
        };
        drop(before);
        let sealed = upload.sealer.layout().sealed_part_len(plain_len);
        let sealed = usize::try_from(sealed).unwrap_or(usize::MAX);
        let core = &upload.core;
        let flight = core.fly(sealed as u64).await?;
        let sealer = upload.sealer.part(index, plain_len, upload.salts())?;
        let (out, at, lease, memory) = match &upload.body {
            Body::Packed(_) => {
                // Room for META too: the buffer becomes the whole object.
                let bytes = upload.sealer.header_bytes().len() + sealed + 2048;
                let lease = core.budget.take_of(&upload.share.memory, bytes).await;
                let mut out = core.budget.small_buffer(bytes);
                out.extend_from_slice(upload.sealer.header_bytes());
                (out, 0, lease, bytes)
            }
            Body::File(_) => {
                let bytes = sealed.min(SEALED_WRITE_BYTES);
                let lease = core.budget.take_of(&upload.share.memory, bytes).await;
                let at = upload.sealer.layout().part_offset(index);
                (core.budget.buffer(bytes), at, lease, bytes)
            }
            Body::Mark => return Err(ArchiveError::Misuse("a mark has no parts")),
        };
        let sealing = Sealing {
            buffer: PartBuffer::new(sealer, out),
            at,
            lease,
            memory,
            crc: Crc64::new(),
            got: 0,
            writer,
            claim: Weak::new(),
        };
        let mut parts = upload.parts.lock();
        let slot = parts.slots.get_mut(&index.0);
        // Another may have begun it while this one waited for memory.
        let slot = slot.filter(|slot| slot.writer == writer);
        let slot = slot.ok_or(ArchiveError::Fenced { part: index.0 })?;
        let place = slot.give(sealing, writer, claim);
        Ok(Mode::Seal { place, flight })
    }

    /// Takes the next bytes of plaintext.
    ///
    /// # Errors
    /// [`ArchiveError::Fenced`] when another writer began this part since; what
    /// the store says. The part is then to be begun again.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.mode {
            Mode::Seal { place, .. } => {
                let mut held = place.lock().await;
                let fenced = ArchiveError::Fenced { part: self.index.0 };
                let sealing = held.as_mut().ok_or(fenced)?;
                let pushed = sealing.push(&self.upload, self.index, bytes).await;
                if pushed.is_err() {
                    // Nobody goes on with what failed.
                    *held = None;
                }
                pushed
            }
            Mode::Compare { left, crc, .. } => {
                crc.update(bytes);
                *left = left
                    .checked_sub(bytes.len() as u64)
                    .ok_or(ArchiveError::Misuse("more bytes than the part has"))?;
                Ok(())
            }
        }
    }

    /// Leaves the part before it is whole: what came is kept for whoever goes on with it.
    pub async fn leave(self) {
        if let Mode::Seal { place, .. } = &self.mode
            && let Some(sealing) = place.lock().await.take()
        {
            self.upload.keep(self.index, sealing);
        }
    }

    /// Ends the part. `crc64` is the sender's CRC-64/NVME of its plaintext.
    ///
    /// # Errors
    /// [`ArchiveError::ChecksumMismatch`] when something else arrived, and as
    /// [`Self::write`]. The part is then to be begun again.
    pub async fn finish(self, crc64: u64) -> Result<()> {
        let fenced = ArchiveError::Fenced { part: self.index.0 };
        let (arrived, known, sealing) = match self.mode {
            Mode::Compare { known, crc, .. } => (crc.value(), known.crc64, None),
            Mode::Seal { place, flight } => {
                let sealing = place.lock().await.take().ok_or(fenced)?;
                (sealing.crc.value(), crc64, Some((sealing, flight)))
            }
        };
        if arrived != crc64 || crc64 != known {
            return Err(ArchiveError::ChecksumMismatch {
                what: format!("part {}", self.index.0),
                announced: format!("{crc64:016x}"),
                arrived: format!("{arrived:016x}"),
            });
        }
        let Some((sealing, _flight)) = sealing else {
            return Ok(());
        };
        self.upload.finish_part(self.index, sealing, crc64).await?;
        self.claim.wrote(self.plain_len.into());
        Ok(())
    }
}

impl PartWriter {
    /// Ends a part of which nobody announced a checksum. The CRC-64/NVME of what came.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub async fn finish_as_it_came(self) -> Result<u64> {
        let crc64 = match &self.mode {
            Mode::Compare { crc, .. } => crc.value(),
            Mode::Seal { place, .. } => {
                let held = place.lock().await;
                let fenced = ArchiveError::Fenced { part: self.index.0 };
                held.as_ref().ok_or(fenced)?.crc.value()
            }
        };
        self.finish(crc64).await?;
        Ok(crc64)
    }
}

/// The number of one more writer.
fn next_writer() -> u64 {
    WRITERS.fetch_add(1, Ordering::Relaxed)
}

impl Slot {
    /// Makes a sealing that of `writer`.
    fn give(&mut self, sealing: Sealing, writer: u64, claim: &Arc<Claim>) -> Place {
        let claim = Arc::downgrade(claim);
        let sealing = Sealing {
            writer,
            claim,
            ..sealing
        };
        let place = Arc::new(tokio::sync::Mutex::new(Some(sealing)));
        self.writer = writer;
        self.sealing = Arc::downgrade(&place);
        place
    }
}

impl UploadState {
    /// Whether parts may be begun or gone on with.
    async fn may_go_on(&self) -> Result<()> {
        if self.body.staged().is_some_and(StagedFile::has_ended) {
            return Err(ArchiveError::Abandoned);
        }
        // A key that was disabled since stops this upload too. Cached for 5 s.
        if self.body.staged().is_some() {
            return self.core.hold_usable(&self.open).await;
        }
        // The catalog may not have the records of an object without a file yet.
        for open in self.open.all() {
            let record = open.record();
            self.core.ring.open(record, &record.bucket).await?;
        }
        Ok(())
    }

    /// Takes a part from whoever writes it, if anyone does (and if it is that of `of`, where
    /// one is given), and keeps what came of it. That writer is out of it by then: no byte is
    /// written by it any more. Says how many bytes of plaintext are kept.
    pub(crate) async fn interrupt(
        self: &Arc<Self>,
        index: PartIndex,
        of: Option<&Arc<Claim>>,
    ) -> Option<u32> {
        let place = {
            let parts = self.parts.lock();
            let slot = parts.slots.get(&index.0)?;
            if let Some(kept) = &slot.kept {
                return Some(kept.got);
            }
            slot.sealing.upgrade()?
        };
        let taken = place.lock().await.take_if(|sealing| {
            // Another session may have gone on with it meanwhile.
            of.is_none_or(|of| sealing.claim.ptr_eq(&Arc::downgrade(of)))
        });
        let Some(sealing) = taken else {
            // Its writer may have left it while it was waited for.
            let parts = self.parts.lock();
            let kept = parts.slots.get(&index.0)?.kept.as_ref();
            return kept.map(|kept| kept.got);
        };
        self.keep(index, sealing)
    }

    /// Keeps what came of a part, if it is the last writer's and of any use.
    fn keep(self: &Arc<Self>, index: PartIndex, sealing: Sealing) -> Option<u32> {
        let (got, memory) = (sealing.got, sealing.memory);
        let whose: &Whose = self.whose.as_ref()?;
        let all = self.part_size.part_bytes(self.size, index)?;
        if got == 0 || got >= all {
            return None;
        }
        let writer = next_writer();
        {
            let mut parts = self.parts.lock();
            let slot = parts.slots.get_mut(&index.0)?;
            if slot.writer != sealing.writer || slot.done.is_some() {
                return None;
            }
            slot.writer = writer;
            slot.kept = Some(sealing);
        }
        let now = self.core.clock.monotonic();
        let kept = &self.core.interrupted;
        kept.keep(whose, self, (index, writer), memory, now);
        // There may have been no room for it.
        self.keeps(index, writer).then_some(got)
    }

    /// Whether the part is kept as `writer` left it.
    pub(crate) fn keeps(&self, index: PartIndex, writer: u64) -> bool {
        let parts = self.parts.lock();
        let slot = parts.slots.get(&index.0);
        slot.is_some_and(|slot| slot.writer == writer && slot.kept.is_some())
    }

    /// Keeps it no longer.
    pub(crate) fn let_go(&self, index: PartIndex, writer: u64) {
        let mut parts = self.parts.lock();
        let slot = parts.slots.get_mut(&index.0);
        let kept = slot.filter(|slot| slot.writer == writer);
        let kept = kept.and_then(|slot| slot.kept.take());
        drop(parts);
        drop(kept);
    }

    /// What is known of a part that is here already.
    async fn known_part(&self, index: PartIndex) -> Result<Option<PartDone>> {
        let recorded = {
            let parts = self.parts.lock();
            let slot = parts.slots.get(&index.0);
            if let Some(done) = slot.and_then(|slot| slot.done) {
                return Ok(Some(done));
            }
            parts.is_recorded(index.0)
        };
        if !recorded {
            let Body::Packed(packed) = &self.body else {
                return Ok(None);
            };
            return Ok(packed.lock().as_ref().map(|packed| packed.part));
        }
        let page = self.core.catalog.parts(self.uid, index, 1).await?;
        let part = page.first().filter(|part| part.index == index);
        let part = part.ok_or(ArchiveError::Abandoned)?;
        Ok(Some(PartDone {
            commitments: commitments_of(part),
            crc64: part.crc64,
        }))
    }

    /// Writes if this writer is still the last that began the part.
    async fn write_fenced(
        &self,
        index: PartIndex,
        writer: u64,
        bytes: &[u8],
        at: u64,
    ) -> Result<()> {
        let staged = self.body.staged();
        let staged = staged.ok_or(ArchiveError::Misuse("not in a file"))?;
        let writing = self.hold_fence(index, writer)?;
        let _writing = writing.lock().await;
        // Again: another may have begun while this one waited.
        self.hold_fence(index, writer)?;
        if staged.has_ended() {
            return Err(ArchiveError::Abandoned);
        }
        for (piece, at) in bytes
            .chunks(WRITE_BYTES_MAX)
            .zip((at..).step_by(WRITE_BYTES_MAX))
        {
            staged.file.write_at(piece, at).await?;
        }
        Ok(())
    }

    fn hold_fence(&self, index: PartIndex, writer: u64) -> Result<Arc<tokio::sync::Mutex<()>>> {
        let parts = self.parts.lock();
        let slot = parts.slots.get(&index.0);
        slot.filter(|slot| slot.writer == writer && slot.done.is_none())
            .map(|slot| slot.writing.clone())
            .ok_or(ArchiveError::Fenced { part: index.0 })
    }

    async fn finish_part(
        self: &Arc<Self>,
        index: PartIndex,
        sealing: Sealing,
        crc64: u64,
    ) -> Result<()> {
        let Sealing {
            buffer,
            at,
            lease,
            writer,
            ..
        } = sealing;
        let (bytes, commitments) = buffer.finish()?;
        let part = PartDone { commitments, crc64 };
        let fenced = ArchiveError::Fenced { part: index.0 };
        let kept = match &self.body {
            Body::Mark => return Err(ArchiveError::Misuse("a mark has no parts")),
            Body::Packed(packed) => {
                self.hold_fence(index, writer)?;
                *packed.lock() = Some(Packed { bytes, part, lease });
                false
            }
            Body::File(staged) => {
                self.write_fenced(index, writer, &bytes, at).await?;
                self.core.budget.recycle(bytes);
                staged.kept_for.is_some()
            }
        };
        {
            let mut parts = self.parts.lock();
            let slot = parts.slots.get_mut(&index.0);
            let slot = slot.filter(|slot| slot.writer == writer).ok_or(fenced)?;
            slot.done = Some(part);
        }
        if kept {
            let part = recorder::Part {
                upload: self.clone(),
                index,
                part,
            };
            hand_over(&self.core.parts, part).await?;
        }
        Ok(())
    }
}
