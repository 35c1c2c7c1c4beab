//! The task of one link: writes what the session gives it, reads what comes.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use sealift_terms::PartIndex;
use sealift_tunnel::{Incoming, Link, LinkReader, LinkWriter, TunnelError};
use sealift_wire::{
    FrameType, LinkId, Misbehaviour, OfferId, WireError, Work, checksum::CRC64_EMPTY,
};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};

use super::{
    reader::{PIECES_AHEAD_MAX, Piece, Pipe, Read, read_part},
    shared::{LinkSignals, Shared},
    small::Small,
};

/// Small objects are gathered until they come to this much.
const GATHERED_BYTES: usize = 256 * 1024;
/// A small object above this size is sealed from where it lies.
const COPIED_BYTES_MAX: usize = 32 * 1024;

/// A smaller object is not worth compressing.
const PACKED_BYTES_MIN: usize = 512;
/// How long a link without parts keeps the buffers of the last: between two parts they
/// are wanted again at once, and fresh ones are zeroed page by page by the kernel.
const BUFFERS_KEPT: Duration = Duration::from_secs(1);

/// Why a link ended.
#[derive(Debug)]
pub(super) enum LinkEnd {
    /// It was lost.
    Lost(TunnelError),
    /// The peer closed it in order.
    Closed,
    /// The peer broke the protocol: the session ends with it.
    Broken(WireError),
    /// It was told to end.
    Told,
}

/// Runs a link until it ends: two halves, so that neither end of it can wait for
/// the other to read.
pub(super) async fn run(id: LinkId, link: Link, shared: Arc<Shared>) -> LinkEnd {
    let signals = shared.join(id);
    let (reader, writer) = link.split();
    tokio::select! {
        biased;
        () = signals.end.notified() => LinkEnd::Told,
        end = take_frames(id, reader, &shared) => end,
        end = LinkTask::new(id, writer, shared.clone(), signals.clone()).serve() => end,
    }
}

/// Takes the frames that come.
async fn take_frames(id: LinkId, mut reader: LinkReader, shared: &Arc<Shared>) -> LinkEnd {
    loop {
        let taken = match reader.next().await {
            Ok(Some(Incoming::Frame { header, payload })) => {
                shared.machine.lock().frame(id, &header, payload)
            }
            Ok(Some(Incoming::Data { header, .. })) => {
                let found = header.frame;
                Err(WireError::PeerMisbehaved(Misbehaviour::WrongRole { found }))
            }
            Ok(None) => return LinkEnd::Closed,
            Err(TunnelError::Wire(error)) => return LinkEnd::Broken(error),
            Err(error) => return LinkEnd::Lost(error),
        };
        shared.hand_on_events();
        // An answer may let any link begin something.
        shared.wake_links();
        if let Err(error) = taken {
            return LinkEnd::Broken(error);
        }
    }
}

/// The writing half.
pub(super) struct LinkTask {
    pub(super) id: LinkId,
    pub(super) writer: LinkWriter,
    pub(super) shared: Arc<Shared>,
    pub(super) signals: Arc<LinkSignals>,
    /// Frames on their way from the session to the writer.
    pub(super) out: Vec<u8>,
    /// Under a limit: bytes of small objects that were written while parts waited.
    pub(super) owed: usize,
    /// What compresses small objects, once one is, and whether that was worth it.
    small: Small,
    /// Bytes given to the writer and not flushed.
    unflushed: usize,
    /// Pieces of parts, as they are read.
    pieces: mpsc::Receiver<Read>,
    pipe: Pipe,
    readers: JoinSet<()>,
    /// When the last piece was taken.
    last_piece: Instant,
}

impl LinkTask {
    fn new(id: LinkId, writer: LinkWriter, shared: Arc<Shared>, signals: Arc<LinkSignals>) -> Self {
        let (sender, pieces) = mpsc::channel(PIECES_AHEAD_MAX);
        let pipe = Pipe {
            pieces: sender,
            used: Arc::default(),
            room: shared.room.clone(),
            pace: shared.pace.clone(),
            press: shared.press.clone(),
            turns: Arc::default(),
        };
        let (out, readers) = (Vec::new(), JoinSet::new());
        Self {
            id,
            writer,
            shared,
            signals,
            out,
            owed: 0,
            small: Small::default(),
            unflushed: 0,
            pieces,
            pipe,
            readers,
            last_piece: Instant::now(),
        }
    }

    async fn serve(mut self) -> LinkEnd {
        loop {
            if let Err(error) = self.turn().await {
                return LinkEnd::Lost(error);
            }
        }
    }

    /// Writes all there is to write, then waits for something to happen.
    async fn turn(&mut self) -> Result<(), TunnelError> {
        while self.begin().await? {
            // Small objects that wait for the limit do not keep parts waiting.
            while self.owed > 0
                && let Ok(read) = self.pieces.try_recv()
            {
                self.take(read).await?;
            }
        }
        match self.pieces.try_recv() {
            Ok(read) => self.take(read).await,
            Err(_) => {
                while self.readers.try_join_next().is_some() {}
                // It wakes once a second at the least.
                if self.readers.is_empty() && self.last_piece.elapsed() >= BUFFERS_KEPT {
                    self.pipe.used.lock().clear();
                }
                self.flush().await?;
                tokio::select! {
                    // The pipe keeps a sending end: there is always one.
                    Some(read) = self.pieces.recv() => self.take(read).await,
                    () = self.signals.wake.notified() => Ok(()),
                }
            }
        }
    }

    /// Begins what the session has for this link. Says whether there was anything.
    async fn begin(&mut self) -> Result<bool, TunnelError> {
        let work = self.shared.machine.lock().next(self.id, &mut self.out);
        if let Some(Work::Inline { offer, .. }) = work {
            self.inline(offer).await?;
            return Ok(true);
        }
        self.queue();
        match work {
            Some(Work::Part {
                offer,
                part,
                range,
                there,
            }) => self.part(offer, part, range, there),
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(super) fn queue(&mut self) {
        self.unflushed += self.out.len();
        self.shared.pace.frames(self.out.len());
        self.writer.queue(&self.out);
        self.out.clear();
    }

    /// Writes what was queued, and tells how long the line took.
    pub(super) async fn flush(&mut self) -> Result<(), TunnelError> {
        let bytes = std::mem::take(&mut self.unflushed);
        let begun = self.shared.press.begun();
        self.writer.flush().await?;
        self.shared.press.wrote(begun, bytes);
        Ok(())
    }

    /// A small object, behind its offer and header, which are in `out`.
    async fn inline(&mut self, offer: OfferId) -> Result<(), TunnelError> {
        // The offer said that bytes follow: without them the link is of no use.
        let sending = self.shared.sending(offer).ok_or(TunnelError::CutOff)?;
        let content = sending.whole().ok_or(TunnelError::CutOff)?;
        let shared = self.shared.clone();
        let packed = (content.len() >= PACKED_BYTES_MIN && shared.press.is_on(shared.pace.rate()))
            .then(|| self.small.pack(&shared.press, content, &mut self.out))
            .flatten();
        self.queue();
        self.shared
            .bytes_written
            .fetch_add(content.len() as u64, Ordering::Relaxed);
        let content = packed.as_deref().unwrap_or(content);
        if self.shared.pace.slice().is_some() {
            return self.paced_inline(content).await;
        }
        self.unflushed += content.len();
        if content.len() > COPIED_BYTES_MAX {
            return self.writer.payload(content).await;
        }
        self.writer.queue(content);
        if self.writer.queued() >= GATHERED_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    /// Begins to read a part; its pieces, behind those that are there, come by the pipe.
    fn part(&mut self, offer: OfferId, part: PartIndex, range: Range<u64>, there: u32) {
        // If it is gone, its offer was withdrawn, and the peer is told.
        let Some(sending) = self.shared.sending(offer) else {
            return;
        };
        if range.is_empty() {
            return self.part_end(offer, part, CRC64_EMPTY);
        }
        self.readers.spawn(read_part(
            sending,
            offer,
            part,
            (range, there),
            self.pipe.clone(),
        ));
    }

    async fn take(&mut self, read: Read) -> Result<(), TunnelError> {
        match read {
            Read::Piece(piece) => self.piece(piece).await,
            Read::Failed(offer, refusal) => {
                self.shared.withdraw(offer, &refusal);
                Ok(())
            }
        }
    }

    /// Writes a piece of a part, if it is still wanted here.
    async fn piece(&mut self, piece: Piece) -> Result<(), TunnelError> {
        let Piece {
            header,
            bytes,
            plain,
            crc64,
            memory: _until_written,
        } = piece;
        self.last_piece = Instant::now();
        let (offer, part) = (header.offer(), header.part);
        let is_wanted = self.shared.machine.lock().wants(self.id, offer, part);
        if is_wanted {
            match self.shared.pace.slice() {
                None => {
                    let begun = self.shared.press.begun();
                    self.writer.data(&header, &bytes).await?;
                    self.shared.press.wrote(begun, bytes.len());
                }
                Some(_) if header.frame == FrameType::Packed => {
                    self.paced_whole(&header, &bytes).await?;
                }
                Some(_) => self.paced_piece(&header, &bytes).await?,
            }
            self.shared
                .bytes_written
                .fetch_add(plain.into(), Ordering::Relaxed);
            if let Some(crc64) = crc64 {
                self.part_end(offer, part, crc64);
            }
        }
        self.pipe.used.lock().push(bytes);
        Ok(())
    }

    fn part_end(&mut self, offer: OfferId, part: PartIndex, crc64: u64) {
        self.shared
            .machine
            .lock()
            .part_sent(self.id, offer, part, crc64, &mut self.out);
        self.queue();
        self.shared.hand_on_events();
    }
}
