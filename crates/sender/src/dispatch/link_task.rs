//! The task of one link: writes what the session gives it, reads what comes.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use sealift_terms::PartIndex;
use sealift_tunnel::{Incoming, Link, LinkReader, LinkWriter, TunnelError};
use sealift_wire::{LinkId, Misbehaviour, OfferId, WireError, Work, checksum::CRC64_EMPTY};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};

use super::{
    reader::{PIECES_AHEAD_MAX, Piece, Pipe, Read, read_part},
    shared::{LinkSignals, Shared},
};

/// Small objects are gathered until they come to this much.
const GATHERED_BYTES: usize = 256 * 1024;
/// A small object above this size is sealed from where it lies.
const COPIED_BYTES_MAX: usize = 32 * 1024;

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
struct LinkTask {
    id: LinkId,
    writer: LinkWriter,
    shared: Arc<Shared>,
    signals: Arc<LinkSignals>,
    /// Frames on their way from the session to the writer.
    out: Vec<u8>,
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
        };
        let (out, readers) = (Vec::new(), JoinSet::new());
        Self {
            id,
            writer,
            shared,
            signals,
            out,
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
        while self.begin().await? {}
        match self.pieces.try_recv() {
            Ok(read) => self.take(read).await,
            Err(_) => {
                while self.readers.try_join_next().is_some() {}
                // It wakes once a second at the least.
                if self.readers.is_empty() && self.last_piece.elapsed() >= BUFFERS_KEPT {
                    self.pipe.used.lock().clear();
                }
                self.writer.flush().await?;
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
        self.queue();
        match work {
            Some(Work::Inline { offer, .. }) => self.inline(offer).await?,
            Some(Work::Part { offer, part, range }) => self.part(offer, part, range),
            None => return Ok(false),
        }
        Ok(true)
    }

    fn queue(&mut self) {
        self.writer.queue(&self.out);
        self.out.clear();
    }

    /// A small object, behind its offer and header, which were queued.
    async fn inline(&mut self, offer: OfferId) -> Result<(), TunnelError> {
        // The offer said that bytes follow: without them the link is of no use.
        let sending = self.shared.sending(offer).ok_or(TunnelError::CutOff)?;
        let content = sending.whole().ok_or(TunnelError::CutOff)?;
        self.shared
            .bytes_written
            .fetch_add(content.len() as u64, Ordering::Relaxed);
        if content.len() > COPIED_BYTES_MAX {
            return self.writer.payload(content).await;
        }
        self.writer.queue(content);
        if self.writer.queued() >= GATHERED_BYTES {
            self.writer.flush().await?;
        }
        Ok(())
    }

    /// Begins to read a part; its pieces come by the pipe.
    fn part(&mut self, offer: OfferId, part: PartIndex, range: Range<u64>) {
        // If it is gone, its offer was withdrawn, and the peer is told.
        let Some(sending) = self.shared.sending(offer) else {
            return;
        };
        if range.is_empty() {
            return self.part_end(offer, part, CRC64_EMPTY);
        }
        self.readers
            .spawn(read_part(sending, offer, part, range, self.pipe.clone()));
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
            crc64,
            memory: _until_written,
        } = piece;
        self.last_piece = Instant::now();
        let (offer, part) = (header.offer(), header.part);
        let is_wanted = self.shared.machine.lock().wants(self.id, offer, part);
        if is_wanted {
            self.writer.data(&header, &bytes).await?;
            self.shared
                .bytes_written
                .fetch_add(bytes.len() as u64, Ordering::Relaxed);
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
