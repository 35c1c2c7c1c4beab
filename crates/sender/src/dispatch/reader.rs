//! Reads one part ahead of the link that sends it.
//!
//! A link never waits for a source: what is read elsewhere comes to it piece by
//! piece, from whichever part has one.

use std::{ops::Range, sync::Arc};

use sealift_store::StoreError;
use sealift_terms::PartIndex;
use sealift_tunnel::Pace;
use sealift_wire::{Header, OfferId, Packer, Refusal, checksum::Crc64};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::press::Press;

use super::{
    prepare::{Room, refusal},
    sending::Sending,
    turn::Turns,
};

/// Pieces read and not yet written, for one link.
pub(super) const PIECES_AHEAD_MAX: usize = 2;
/// Read, checksummed and written at once: all pieces of a link together stay in the
/// cache of the processor that reads them until they are sealed.
const PIECE_BYTES: u32 = 256 * 1024;

/// One DATA frame's worth of a part.
pub(super) struct Piece {
    pub(super) header: Header,
    /// Its payload: compressed, if the header says so.
    pub(super) bytes: Vec<u8>,
    /// The bytes of the object in it.
    pub(super) plain: u32,
    /// With the last piece: the checksum of the part.
    pub(super) crc64: Option<u64>,
    /// The memory that its part was given; given back with its last piece.
    pub(super) memory: Option<Arc<OwnedSemaphorePermit>>,
}

/// What a reader says.
pub(super) enum Read {
    Piece(Piece),
    /// The source failed: the offer is to be withdrawn.
    Failed(OfferId, Refusal),
}

/// Where a reader puts pieces, and takes used buffers from.
#[derive(Clone)]
pub(super) struct Pipe {
    pub(super) pieces: mpsc::Sender<Read>,
    pub(super) used: Arc<parking_lot::Mutex<Vec<Vec<u8>>>>,
    pub(super) room: Room,
    pub(super) pace: Arc<Pace>,
    pub(super) press: Arc<Press>,
    pub(super) turns: Arc<Turns>,
}

/// Reads a part that is not empty, of which the peer has the first bytes.
pub(super) async fn read_part(
    sending: Arc<Sending>,
    offer: OfferId,
    part: PartIndex,
    (range, there): (Range<u64>, u32),
    pipe: Pipe,
) {
    // Under a limit parts take turns piece by piece.
    let _turn = match pipe.pace.slice() {
        None => Some(pipe.turns.wait().await),
        Some(_) => None,
    };
    // One being read, one being compressed, those in the pipe, and one being written.
    let ahead = (PIECES_AHEAD_MAX as u64 + 3) * u64::from(PIECE_BYTES);
    let wanted = usize::try_from(ahead.min(range.end - range.start)).unwrap_or(usize::MAX);
    let memory = pipe.room.pieces(wanted).await;
    let mut reading = Reading {
        sending: &sending,
        pipe: &pipe,
        of: (offer, part),
        at: range.start,
        range,
        crc: Crc64::new(),
        packer: None,
        memory,
    };
    if let Err(error) = reading.all(there).await {
        let _ = pipe.pieces.send(Read::Failed(offer, refusal(&error))).await;
    }
}

/// A part that is being read.
struct Reading<'a> {
    sending: &'a Sending,
    pipe: &'a Pipe,
    of: (OfferId, PartIndex),
    range: Range<u64>,
    /// The next byte of it.
    at: u64,
    /// Of all bytes before that.
    crc: Crc64,
    packer: Option<Packer>,
    memory: Option<Arc<OwnedSemaphorePermit>>,
}

impl Reading<'_> {
    /// All of it, of which the peer has the first bytes; to the end of the link, if that is
    /// sooner.
    async fn all(&mut self, there: u32) -> Result<(), StoreError> {
        self.again(there).await?;
        while self.at < self.range.end {
            // Not before it can be taken: it would be out of the cache by then. The place is not
            // kept while it is read: a source that hangs would keep it from the other parts.
            match self.pipe.pieces.reserve().await {
                Ok(place) => drop(place),
                Err(_) => return Ok(()),
            }
            let piece = self.piece().await?;
            if self.pipe.pieces.send(Read::Piece(piece)).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads what the peer has already. The checksum of the part is of what the source has now:
    /// if that is something else, the part is not taken.
    async fn again(&mut self, there: u32) -> Result<(), StoreError> {
        let end = (self.range.start + u64::from(there)).min(self.range.end);
        let mut bytes = self.pipe.used.lock().pop().unwrap_or_default();
        while self.at < end {
            self.read((end - self.at).min(PIECE_BYTES.into()), &mut bytes)
                .await?;
        }
        self.pipe.used.lock().push(bytes);
        Ok(())
    }

    /// The next piece, compressed where that is worth it.
    async fn piece(&mut self) -> Result<Piece, StoreError> {
        let (offer, part) = self.of;
        let offset = u32::try_from(self.at - self.range.start).unwrap_or(u32::MAX);
        // Under a limit other parts of the link take turns with this one more often.
        let slice = self.pipe.pace.slice().map(|slice| slice as u64);
        let frame = slice.unwrap_or(u64::MAX).min(PIECE_BYTES.into());
        let length = (self.range.end - self.at).min(frame);
        let mut bytes = self.pipe.used.lock().pop().unwrap_or_default();
        self.read(length, &mut bytes).await?;
        let plain = u32::try_from(length).unwrap_or(PIECE_BYTES);
        let header = Header::data(offer, part, offset, plain);
        Ok(Piece {
            header: self.packed(header, &mut bytes),
            bytes,
            plain,
            crc64: (self.at >= self.range.end).then(|| self.crc.value()),
            memory: self.memory.clone(),
        })
    }

    /// Reads the next bytes, so many.
    async fn read(&mut self, length: u64, bytes: &mut Vec<u8>) -> Result<(), StoreError> {
        bytes.resize(usize::try_from(length).unwrap_or_default(), 0);
        self.sending.read(self.at, bytes).await?;
        self.crc.update(bytes);
        self.at += length;
        self.pipe.turns.went_on();
        Ok(())
    }

    /// Compresses what was read, if that makes it shorter and is wanted.
    fn packed(&mut self, header: Header, bytes: &mut Vec<u8>) -> Header {
        let (pipe, taste) = (self.pipe, &self.sending.taste);
        if !pipe.press.is_on(pipe.pace.rate()) || !taste.lock().wants() {
            return header;
        }
        let mut packed = pipe.used.lock().pop().unwrap_or_default();
        let shorter = pipe.press.pack(&mut self.packer, bytes, &mut packed);
        taste.lock().found(shorter);
        if shorter {
            std::mem::swap(bytes, &mut packed);
        }
        pipe.used.lock().push(packed);
        match shorter {
            true => header.packed(u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
            false => header,
        }
    }
}
