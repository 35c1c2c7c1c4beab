//! The reading half of a link.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use parking_lot::Mutex;
use sealift_wire::{FRAME_HEADER_BYTES, FrameType, Header};
use tokio::io::{AsyncRead, ReadBuf};

use crate::{
    ender::{Ended, Over},
    error::TunnelError,
    records::{Core, Opened, Pieces},
};

/// Plaintext opened at a time: small enough to stay in the processor's cache
/// until it is sealed, large enough for several chunks.
const OPENED_BYTES: usize = 256 * 1024;
/// Room for one read, at first and at most. It grows while reads fill it.
const READ_BYTES_MIN: usize = 64 * 1024;
const READ_BYTES_MAX: usize = 256 * 1024;

/// What comes over a link.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A whole frame, DATA aside.
    Frame {
        /// Its header.
        header: Header,
        /// Its payload.
        payload: &'a [u8],
    },
    /// A piece of a DATA frame, as it came.
    Data {
        /// The frame's header.
        header: Header,
        /// Bytes of its payload that came before.
        done: u32,
        /// The bytes that follow those.
        bytes: Pieces<'a>,
    },
}

/// Where in a frame the reader is.
#[derive(Debug, Clone, Copy)]
enum Place {
    BetweenFrames,
    InFrame(Header),
    InData { header: Header, done: u32 },
}

/// What can be handed out, by length.
enum Piece {
    Frame(Header),
    Data {
        header: Header,
        done: u32,
        bytes: usize,
    },
}

/// The reading half of a link.
pub struct LinkReader {
    core: Arc<Mutex<Core>>,
    stream: Box<dyn AsyncRead + Send + Unpin>,
    opened: Opened,
    /// Bytes at the front of those that are handed out.
    handed_out: usize,
    place: Place,
    read_bytes: usize,
    ended: Ended,
    over: Over,
}

impl LinkReader {
    /// `opened` has what came behind the handshake.
    pub(crate) fn new(
        core: Arc<Mutex<Core>>,
        stream: Box<dyn AsyncRead + Send + Unpin>,
        opened: Opened,
    ) -> Self {
        let ended = Ended::never();
        Self {
            core,
            stream,
            opened,
            handed_out: 0,
            place: Place::BetweenFrames,
            read_bytes: READ_BYTES_MIN,
            over: ended.waiting(),
            ended,
        }
    }

    /// Goes on reading here.
    pub(crate) fn read_from(&mut self, stream: Box<dyn AsyncRead + Send + Unpin>) {
        self.stream = stream;
    }

    pub(crate) fn listen_to(&mut self, ended: Ended) {
        self.over = ended.waiting();
        self.ended = ended;
    }

    /// The next frame or piece of one; none when the peer has closed the link in
    /// order. May be cancelled and called again. What it returned is gone from
    /// the link: nothing is read ahead of it but a bounded number of bytes.
    ///
    /// # Errors
    /// [`TunnelError`]: the link is of no more use.
    pub async fn next(&mut self) -> Result<Option<Incoming<'_>>, TunnelError> {
        let piece = poll_fn(|cx| self.poll_piece(cx)).await?;
        Ok(piece.map(|piece| self.hand_out(piece)))
    }

    /// [`next`](Self::next), for one who waits for other things in the same place.
    ///
    /// # Errors
    /// [`TunnelError`]: the link is of no more use.
    pub fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Incoming<'_>>, TunnelError>> {
        let piece = ready!(self.poll_piece(cx))?;
        Poll::Ready(Ok(piece.map(|piece| self.hand_out(piece))))
    }

    /// What comes next, or why nothing will.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Piece>, TunnelError>> {
        let advanced = match self.poll_advance(cx) {
            Poll::Ready(advanced) => advanced,
            Poll::Pending => Err(ready!(self.over.poll(cx))),
        };
        match &advanced {
            Ok(Some(_)) => {}
            Ok(None) => self.ended.closed(),
            Err(error) => self.ended.lost(error),
        }
        Poll::Ready(advanced)
    }

    /// The next frame or piece of one, if it is opened already: nothing is read for it.
    ///
    /// # Errors
    /// [`TunnelError`]: the link is of no more use.
    pub fn ready(&mut self) -> Result<Option<Incoming<'_>>, TunnelError> {
        match self.piece() {
            Ok(piece) => Ok(piece.map(|piece| self.hand_out(piece))),
            Err(error) => {
                self.ended.lost(&error);
                Err(error)
            }
        }
    }

    /// It stays where it lies until something else is asked for.
    fn hand_out(&mut self, piece: Piece) -> Incoming<'_> {
        match piece {
            Piece::Frame(header) => {
                let length = header.length as usize;
                self.handed_out = length;
                let front = self.opened.front(length);
                let payload = front.get(..length).unwrap_or_default();
                Incoming::Frame { header, payload }
            }
            Piece::Data {
                header,
                done,
                bytes,
            } => {
                self.handed_out = bytes;
                let bytes = Pieces::new(&self.opened, bytes);
                Incoming::Data {
                    header,
                    done,
                    bytes,
                }
            }
        }
    }

    /// Reads until something can be handed out.
    fn poll_advance(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Piece>, TunnelError>> {
        loop {
            if let Some(piece) = self.piece()? {
                return Poll::Ready(Ok(Some(piece)));
            }
            if self.open()? {
                continue;
            }
            let closed = self.core.lock().closed;
            if closed || ready!(self.poll_read(cx))? == 0 {
                let whole = self.opened.is_empty() && matches!(self.place, Place::BetweenFrames);
                return Poll::Ready(match closed && whole {
                    true => Ok(None),
                    false => Err(TunnelError::CutOff),
                });
            }
        }
    }

    /// What can be handed out of what is opened.
    fn piece(&mut self) -> Result<Option<Piece>, TunnelError> {
        self.opened.consume(std::mem::take(&mut self.handed_out));
        loop {
            match self.place {
                Place::BetweenFrames => {
                    if self.opened.len() < FRAME_HEADER_BYTES {
                        return Ok(None);
                    }
                    let header = Header::decode(self.opened.front(FRAME_HEADER_BYTES))?;
                    self.opened.consume(FRAME_HEADER_BYTES);
                    self.place = match header.frame {
                        FrameType::Data => Place::InData { header, done: 0 },
                        _ => Place::InFrame(header),
                    };
                }
                Place::InFrame(header) => {
                    if self.opened.len() < header.length as usize {
                        return Ok(None);
                    }
                    self.place = Place::BetweenFrames;
                    return Ok(Some(Piece::Frame(header)));
                }
                Place::InData { header, done } => {
                    let left = header.length - done;
                    let bytes = u32::try_from(self.opened.len())
                        .unwrap_or(u32::MAX)
                        .min(left);
                    if bytes == 0 {
                        return Ok(None);
                    }
                    self.place = match bytes == left {
                        true => Place::BetweenFrames,
                        false => Place::InData {
                            header,
                            done: done + bytes,
                        },
                    };
                    return Ok(Some(Piece::Data {
                        header,
                        done,
                        bytes: bytes as usize,
                    }));
                }
            }
        }
    }

    /// Opens more of what has come; whether there was any.
    fn open(&mut self) -> Result<bool, TunnelError> {
        let before = self.opened.len();
        let wanted = match self.place {
            Place::InFrame(header) => OPENED_BYTES.max(header.length as usize),
            _ => OPENED_BYTES,
        };
        self.core.lock().open(&mut self.opened, wanted)?;
        Ok(self.opened.len() > before)
    }

    /// Reads from the peer; 0 at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, TunnelError>> {
        let room = self.opened.room(self.read_bytes);
        let whole = room.len();
        let mut room = ReadBuf::new(room);
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room));
        read.map_err(TunnelError::io("reading from the peer"))?;
        let count = room.filled().len();
        self.opened.fill(count);
        if count == whole {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        }
        Poll::Ready(Ok(count))
    }
}

impl fmt::Debug for LinkReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkReader")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}
