//! One part on its way in: sealed chunk by chunk, written when a buffer is full.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use sealift_seal::PartBuffer;
use sealift_terms::PartIndex;
use sealift_wire::checksum::Crc64;

use crate::{
    ArchiveError, Lease, Result,
    archive::hand_over,
    layers::commitments_of,
    limits::{SEALED_CHUNK_BYTES, SEALED_WRITE_BYTES, WRITE_BYTES_MAX},
    recorder,
    reserve::{Claim, Flight},
    upload::{Body, Packed, PartDone, UploadState},
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
    writer: u64,
    crc: Crc64,
    mode: Mode,
}

#[allow(
    clippy::large_enum_variant,
    reason = "one per part in flight, almost always the large one"
)]
enum Mode {
    /// Seals what comes. `at` is where the next write goes in the file.
    Seal {
        buffer: PartBuffer,
        at: u64,
        lease: Lease,
        /// Room in the store.
        flight: Flight,
    },
    /// The part is here: nobody touches its bytes, what comes is only compared.
    Compare { left: u64, known: PartDone },
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
        if let Some(staged) = upload.body.staged() {
            if staged.has_ended() {
                return Err(ArchiveError::Abandoned);
            }
            // A key that was disabled since stops this upload too. Cached for 5 s.
            upload.core.hold_usable(&upload.open).await?;
        }
        let writer = WRITERS.fetch_add(1, Ordering::Relaxed);
        let mode = match upload.known_part(index).await? {
            Some(known) => Mode::Compare {
                left: plain_len.into(),
                known,
            },
            None => {
                upload.parts.lock().slots.entry(index.0).or_default().writer = writer;
                Self::seal(&upload, index, plain_len).await?
            }
        };
        Ok(Self {
            upload,
            claim,
            plain_len,
            index,
            writer,
            crc: Crc64::new(),
            mode,
        })
    }

    async fn seal(upload: &UploadState, index: PartIndex, plain_len: u32) -> Result<Mode> {
        let sealed = upload.sealer.layout().sealed_part_len(plain_len);
        let sealed = usize::try_from(sealed).unwrap_or(usize::MAX);
        let core = &upload.core;
        let flight = core.fly(sealed as u64).await?;
        let sealer = upload.sealer.part(index, plain_len, upload.salts())?;
        let (out, at, lease) = match &upload.body {
            Body::Packed(_) => {
                // Room for META too: the buffer becomes the whole object.
                let bytes = upload.sealer.header_bytes().len() + sealed + 2048;
                let lease = core.budget.take_of(&upload.share.memory, bytes).await;
                let mut out = Vec::with_capacity(bytes);
                out.extend_from_slice(upload.sealer.header_bytes());
                (out, 0, lease)
            }
            Body::File(_) => {
                let bytes = sealed.min(SEALED_WRITE_BYTES);
                let lease = core.budget.take_of(&upload.share.memory, bytes).await;
                let at = upload.sealer.layout().part_offset(index);
                (core.budget.buffer(bytes), at, lease)
            }
            Body::Mark => return Err(ArchiveError::Misuse("a mark has no parts")),
        };
        let buffer = PartBuffer::new(sealer, out);
        Ok(Mode::Seal {
            buffer,
            at,
            lease,
            flight,
        })
    }

    /// Takes the next bytes of plaintext.
    ///
    /// # Errors
    /// [`ArchiveError::Fenced`] when another writer began this part since; what
    /// the store says. The part is then to be begun again.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.crc.update(bytes);
        let (buffer, at) = match &mut self.mode {
            Mode::Seal { buffer, at, .. } => (buffer, at),
            Mode::Compare { left, .. } => {
                *left = left
                    .checked_sub(bytes.len() as u64)
                    .ok_or(ArchiveError::Misuse("more bytes than the part has"))?;
                return Ok(());
            }
        };
        for piece in bytes.chunks(PIECE_BYTES) {
            buffer.push(piece)?;
            let full = buffer.sealed().len() + SEALED_CHUNK_BYTES > SEALED_WRITE_BYTES;
            if full && self.upload.body.staged().is_some() {
                self.upload
                    .write_fenced(self.index, self.writer, buffer.sealed(), *at)
                    .await?;
                *at += buffer.sealed().len() as u64;
                buffer.clear_sealed();
            }
        }
        Ok(())
    }

    /// Ends the part. `crc64` is the sender's CRC-64/NVME of its plaintext.
    ///
    /// # Errors
    /// [`ArchiveError::ChecksumMismatch`] when something else arrived, and as
    /// [`Self::write`]. The part is then to be begun again.
    pub async fn finish(self, crc64: u64) -> Result<()> {
        let arrived = self.crc.value();
        let known = match &self.mode {
            Mode::Compare { known, .. } => known.crc64,
            Mode::Seal { .. } => crc64,
        };
        if arrived != crc64 || crc64 != known {
            return Err(ArchiveError::ChecksumMismatch {
                what: format!("part {}", self.index.0),
                announced: format!("{crc64:016x}"),
                arrived: format!("{arrived:016x}"),
            });
        }
        let Mode::Seal {
            buffer,
            at,
            lease,
            flight: _flight,
        } = self.mode
        else {
            return Ok(());
        };
        let (bytes, commitments) = buffer.finish()?;
        let part = PartDone { commitments, crc64 };
        self.upload
            .finish_part(self.index, self.writer, bytes, at, part, lease)
            .await?;
        self.claim.wrote(self.plain_len.into());
        Ok(())
    }
}

impl UploadState {
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
        writer: u64,
        bytes: Vec<u8>,
        at: u64,
        part: PartDone,
        lease: Lease,
    ) -> Result<()> {
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
