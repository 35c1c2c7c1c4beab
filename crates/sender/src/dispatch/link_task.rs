//! The task of one link: writes what the session gives it, reads what comes.

use std::{
    io,
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

use sealift_terms::PartIndex;
use sealift_wire::{
    FRAME_HEADER_BYTES, Header, LinkId, OfferId, WireError, Work, checksum::CRC64_EMPTY,
};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    link::SessionLink,
    reader::{PIECES_AHEAD_MAX, Piece, Pipe, Read, read_part},
    shared::{LinkSignals, Shared},
};

/// Small objects are gathered into writes of about this size.
const GATHERED_BYTES: usize = 256 * 1024;
/// A small object above this size is written from where it lies.
const COPIED_BYTES_MAX: usize = 32 * 1024;

/// Why a link ended.
#[derive(Debug)]
pub(super) enum LinkEnd {
    /// It was lost, or closed by the peer.
    Lost(io::Error),
    /// The peer broke the protocol: the session ends with it.
    Broken(WireError),
    /// It was told to end.
    Told,
}

pub(super) struct LinkTask {
    id: LinkId,
    link: Box<dyn SessionLink>,
    shared: Arc<Shared>,
    signals: Arc<LinkSignals>,
    /// Frames that wait to be written.
    out: Vec<u8>,
    /// The payload of the last frame that came.
    payload: Vec<u8>,
    /// Pieces of parts, as they are read.
    pieces: mpsc::Receiver<Read>,
    pipe: Pipe,
    readers: JoinSet<()>,
}

/// What a link woke up for.
enum Woken {
    Frame(Header),
    Read(Read),
    Work,
}

impl LinkTask {
    pub(super) fn new(id: LinkId, link: Box<dyn SessionLink>, shared: Arc<Shared>) -> Self {
        let signals = shared.join(id);
        let (sender, pieces) = mpsc::channel(PIECES_AHEAD_MAX);
        let pipe = Pipe {
            pieces: sender,
            used: Arc::default(),
        };
        let (out, payload, readers) = (Vec::new(), Vec::new(), JoinSet::new());
        Self {
            id,
            link,
            shared,
            signals,
            out,
            payload,
            pieces,
            pipe,
            readers,
        }
    }

    pub(super) async fn run(mut self) -> LinkEnd {
        let signals = self.signals.clone();
        tokio::select! {
            biased;
            () = signals.end.notified() => LinkEnd::Told,
            end = self.serve() => end,
        }
    }

    async fn serve(&mut self) -> LinkEnd {
        loop {
            if let Err(end) = self.turn().await {
                return end;
            }
        }
    }

    /// Writes all there is to write, then waits for something to happen.
    async fn turn(&mut self) -> Result<(), LinkEnd> {
        while self.begin().await? {
            self.read_waiting().await?;
        }
        self.write_out().await?;
        let woken = match self.pieces.try_recv() {
            Ok(read) => Woken::Read(read),
            Err(_) => self.wait().await?,
        };
        match woken {
            Woken::Frame(header) => self.take(&header),
            Woken::Read(Read::Piece(piece)) => self.piece(piece).await,
            Woken::Read(Read::Failed(offer, refusal)) => {
                self.shared.withdraw(offer, &refusal);
                Ok(())
            }
            Woken::Work => Ok(()),
        }
    }

    async fn wait(&mut self) -> Result<Woken, LinkEnd> {
        while self.readers.try_join_next().is_some() {}
        self.link.flush().await.map_err(LinkEnd::Lost)?;
        tokio::select! {
            header = self.link.read(&mut self.payload) => {
                header.map(Woken::Frame).map_err(LinkEnd::Lost)
            }
            // The pipe keeps a sending end: there is always one.
            Some(read) = self.pieces.recv() => Ok(Woken::Read(read)),
            () = self.signals.wake.notified() => Ok(Woken::Work),
        }
    }

    /// Begins what the session has for this link. Says whether there was anything.
    async fn begin(&mut self) -> Result<bool, LinkEnd> {
        let work = self.shared.machine.lock().next(self.id, &mut self.out);
        match work {
            Some(Work::Inline { offer, .. }) => self.inline(offer).await?,
            Some(Work::Part { offer, part, range }) => self.part(offer, part, range),
            None => return Ok(false),
        }
        Ok(true)
    }

    async fn write_out(&mut self) -> Result<(), LinkEnd> {
        if !self.out.is_empty() {
            self.link.write(&self.out).await.map_err(LinkEnd::Lost)?;
            self.out.clear();
        }
        Ok(())
    }

    /// Takes the frames that have come already.
    async fn read_waiting(&mut self) -> Result<(), LinkEnd> {
        loop {
            let header = tokio::select! {
                biased;
                header = self.link.read(&mut self.payload) => header.map_err(LinkEnd::Lost)?,
                () = std::future::ready(()) => return Ok(()),
            };
            self.take(&header)?;
        }
    }

    fn take(&mut self, header: &Header) -> Result<(), LinkEnd> {
        let taken = self
            .shared
            .machine
            .lock()
            .frame(self.id, header, &self.payload);
        self.shared.hand_on_events();
        // An answer may let another link begin something.
        self.shared.wake_links();
        taken.map_err(LinkEnd::Broken)
    }

    /// A small object, behind its offer and header, which are in `out`.
    async fn inline(&mut self, offer: OfferId) -> Result<(), LinkEnd> {
        let sending = self.shared.sending(offer).ok_or_else(|| promised(offer))?;
        let content = sending.whole().ok_or_else(|| promised(offer))?;
        let bytes = content.len();
        self.shared
            .bytes_written
            .fetch_add(bytes as u64, Ordering::Relaxed);
        if bytes <= COPIED_BYTES_MAX {
            self.out.extend_from_slice(content);
            if self.out.len() >= GATHERED_BYTES {
                self.write_out().await?;
            }
            return Ok(());
        }
        // The header is the last thing in `out`: header and payload go together.
        let at = self.out.len().saturating_sub(FRAME_HEADER_BYTES);
        let header = Header::decode(self.out.get(at..).unwrap_or_default());
        let header = header.map_err(LinkEnd::Broken)?;
        self.out.truncate(at);
        self.write_out().await?;
        self.link
            .write_data(&header, content)
            .await
            .map_err(LinkEnd::Lost)
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

    /// Writes a piece of a part, if it is still wanted here.
    async fn piece(&mut self, piece: Piece) -> Result<(), LinkEnd> {
        let Piece {
            header,
            bytes,
            crc64,
        } = piece;
        let (offer, part) = (header.offer(), header.part);
        if self.shared.machine.lock().wants(self.id, offer, part) {
            self.link
                .write_data(&header, &bytes)
                .await
                .map_err(LinkEnd::Lost)?;
            self.shared
                .bytes_written
                .fetch_add(bytes.len() as u64, Ordering::Relaxed);
            if let Some(crc64) = crc64 {
                self.part_end(offer, part, crc64);
            }
        }
        self.pipe.used.lock().push(bytes);
        self.read_waiting().await
    }

    fn part_end(&mut self, offer: OfferId, part: PartIndex, crc64: u64) {
        self.shared
            .machine
            .lock()
            .part_sent(self.id, offer, part, crc64, &mut self.out);
        self.shared.hand_on_events();
    }
}

/// The offer says that bytes follow, and there are none: only an end of the link
/// is an honest way out.
fn promised(offer: OfferId) -> LinkEnd {
    LinkEnd::Lost(io::Error::other(format!(
        "offer {offer} was withdrawn while it was written"
    )))
}
