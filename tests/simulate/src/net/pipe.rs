//! One direction of a connection.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::network::{Network, Site};

/// Bytes that were sent and not read.
const WINDOW_BYTES: usize = 256 * 1024;
/// Bytes that arrive together at most.
const SEGMENT_BYTES_MAX: u64 = 64 * 1024;

pub(super) struct Pipe {
    pub(super) from: Site,
    queue: VecDeque<Segment>,
    queued: usize,
    /// When the last byte that was sent arrives.
    last_at: Instant,
    /// Nothing more will be sent.
    is_ended: bool,
    /// The reading end is gone.
    is_unread: bool,
    /// Both ends find this out at once.
    failed: Option<io::ErrorKind>,
    /// What is sent goes nowhere, and nothing comes.
    pub(super) is_silent: bool,
    /// The next who writes is told that there is no such connection.
    pub(super) resets_on_write: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

struct Segment {
    at: Instant,
    bytes: VecDeque<u8>,
}

pub(super) type Shared = Arc<Mutex<Pipe>>;

impl Pipe {
    pub(super) fn new(from: Site) -> Shared {
        Arc::new(Mutex::new(Self {
            from,
            queue: VecDeque::new(),
            queued: 0,
            last_at: Instant::now(),
            is_ended: false,
            is_unread: false,
            failed: None,
            is_silent: false,
            resets_on_write: false,
            reader: None,
            writer: None,
        }))
    }

    pub(super) fn fail(&mut self, kind: io::ErrorKind) {
        self.failed.get_or_insert(kind);
        self.wake();
    }

    pub(super) fn silence(&mut self) {
        self.is_silent = true;
        self.queue.clear();
    }

    pub(super) fn is_stuck(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(super) fn is_over(&self) -> bool {
        self.failed.is_some() || (self.is_unread && self.is_ended)
    }

    pub(super) fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()]
            .into_iter()
            .flatten()
        {
            waker.wake();
        }
    }
}

pub(super) struct PipeReader {
    pub(super) pipe: Shared,
    pub(super) network: Arc<Network>,
    pub(super) timer: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for PipeReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let shared = self.pipe.clone();
            let mut pipe = shared.lock();
            if let Some(kind) = pipe.failed {
                return Poll::Ready(Err(kind.into()));
            }
            pipe.reader = Some(cx.waker().clone());
            if pipe.is_silent || self.network.is_blocked(pipe.from) {
                return Poll::Pending;
            }
            let Some(at) = pipe.queue.front().map(|segment| segment.at) else {
                return match pipe.is_ended {
                    true => Poll::Ready(Ok(())),
                    false => Poll::Pending,
                };
            };
            if at <= Instant::now() {
                self.network.deliver(&mut pipe, to);
                return Poll::Ready(Ok(()));
            }
            drop(pipe);
            let timer = self.timer.insert(Box::pin(sleep_until(at)));
            std::task::ready!(timer.as_mut().poll(cx));
        }
    }
}

impl Pipe {
    /// Hands out at most `most` bytes of what has arrived.
    pub(super) fn take(&mut self, most: usize, to: &mut ReadBuf<'_>) -> usize {
        let Some(segment) = self.queue.front_mut() else {
            return 0;
        };
        let count = most.min(to.remaining()).min(segment.bytes.len());
        let (first, second) = segment.bytes.as_slices();
        let from_first = count.min(first.len());
        to.put_slice(&first[..from_first]);
        to.put_slice(&second[..count - from_first]);
        segment.bytes.drain(..count);
        if segment.bytes.is_empty() {
            self.queue.pop_front();
        }
        self.queued -= count;
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
        count
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        let mut pipe = self.pipe.lock();
        pipe.is_unread = true;
        if !pipe.is_silent {
            pipe.wake();
        }
    }
}

pub(super) struct PipeWriter {
    pub(super) pipe: Shared,
    pub(super) other: Shared,
    pub(super) network: Arc<Network>,
}

impl AsyncWrite for PipeWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = self.pipe.lock();
        if pipe.resets_on_write {
            pipe.fail(io::ErrorKind::ConnectionReset);
            self.other.lock().fail(io::ErrorKind::ConnectionReset);
        }
        if let Some(kind) = pipe.failed {
            return Poll::Ready(Err(kind.into()));
        }
        if pipe.is_unread && !pipe.is_silent {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = WINDOW_BYTES - pipe.queued;
        if room == 0 {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let cut = self.network.cut(SEGMENT_BYTES_MAX);
        let count = bytes.len().min(room).min(cut);
        pipe.queued += count;
        if !pipe.is_silent {
            pipe.last_at = self.network.arrival(pipe.from, pipe.last_at, count);
            let at = pipe.last_at;
            let bytes = VecDeque::from(bytes[..count].to_vec());
            pipe.queue.push_back(Segment { at, bytes });
            if let Some(reader) = pipe.reader.take() {
                reader.wake();
            }
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe.lock().end();
        Poll::Ready(Ok(()))
    }
}

impl Pipe {
    fn end(&mut self) {
        self.is_ended = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        self.pipe.lock().end();
    }
}
