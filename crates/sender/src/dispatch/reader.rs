//! Reads one part ahead of the link that sends it.
//!
//! A link never waits for a source: what is read elsewhere comes to it piece by
//! piece, from whichever part has one.

use std::{ops::Range, sync::Arc};

use sealift_store::StoreError;
use sealift_terms::PartIndex;
use sealift_tunnel::Pace;
use sealift_wire::{Header, OfferId, Refusal, checksum::Crc64};
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
    let mut crc = Crc64::new();
    let mut at = (range.start + u64::from(there)).min(range.end);
    if let Err(error) = read_again(&sending, range.start..at, &pipe, &mut crc).await {
        let _ = pipe.pieces.send(Read::Failed(offer, refusal(&error))).await;
        return;
    }
    let mut packer = None;
    while at < range.end {
        // Under a limit other parts of the link take turns with this one more often.
        let frame = pipe
            .pace
            .slice()
            .map_or(PIECE_BYTES.into(), |slice| slice as u64);
        let left = (range.end - at).min(PIECE_BYTES.into());
        let length = u32::try_from(left.min(frame)).unwrap_or(PIECE_BYTES);
        let offset = u32::try_from(at - range.start).unwrap_or(u32::MAX);
        // Not before it can be taken: it would be out of the cache by then. The place is not
        // kept while it is read: a source that hangs would keep it from the other parts.
        match pipe.pieces.reserve().await {
            Ok(place) => drop(place),
            Err(_) => return,
        }
        let mut bytes = pipe.used.lock().pop().unwrap_or_default();
        bytes.resize(usize::try_from(length).unwrap_or_default(), 0);
        if let Err(error) = sending.read(at, &mut bytes).await {
            let _ = pipe.pieces.send(Read::Failed(offer, refusal(&error))).await;
            return;
        }
        crc.update(&bytes);
        at += u64::from(length);
        pipe.turns.went_on();
        let crc64 = (at >= range.end).then(|| crc.value());
        let mut header = Header::data(offer, part, offset, length);
        if pipe.press.is_on(pipe.pace.rate()) && sending.taste.lock().wants() {
            let mut packed = pipe.used.lock().pop().unwrap_or_default();
            let shorter = pipe.press.pack(&mut packer, &bytes, &mut packed);
            sending.taste.lock().found(shorter);
            if shorter {
                std::mem::swap(&mut bytes, &mut packed);
                header = header.packed(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
            }
            pipe.used.lock().push(packed);
        }
        let piece = Piece {
            header,
            bytes,
            plain: length,
            crc64,
            memory: memory.clone(),
        };
        if pipe.pieces.send(Read::Piece(piece)).await.is_err() {
            return;
        }
    }
}

/// Reads what the peer has already. The checksum of the part is of what the source has now:
/// if that is something else, the part is not taken.
async fn read_again(
    sending: &Sending,
    range: Range<u64>,
    pipe: &Pipe,
    crc: &mut Crc64,
) -> Result<(), StoreError> {
    let mut at = range.start;
    let mut bytes = pipe.used.lock().pop().unwrap_or_default();
    while at < range.end {
        let length = (range.end - at).min(PIECE_BYTES.into());
        bytes.resize(usize::try_from(length).unwrap_or_default(), 0);
        sending.read(at, &mut bytes).await?;
        crc.update(&bytes);
        pipe.turns.went_on();
        at += length;
    }
    pipe.used.lock().push(bytes);
    Ok(())
}
