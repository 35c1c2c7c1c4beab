//! What one end of a stream knows and holds, shared by the two directions.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use sealift_terms::Clock;
use sealift_tunnel::{LinkWriter, TunnelError};
use sealift_wire::{
    Header, WireError,
    forward::{self, Beat, Position, Pulse, Say, Stream},
};
use tokio::sync::Notify;

use crate::{
    ended::Ended,
    memory::{Lease, Memory},
    ring::Ring,
    tally::Tally,
};

/// A window holds at least what comes in this time: more than is under way on any line.
const WINDOW_TIME: Duration = Duration::from_millis(500);

/// One end of a stream.
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    /// There may be something to say.
    pub(crate) news: Notify,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tally: Arc<Tally>,
    idle: Duration,
}

pub(crate) struct Inner {
    pub(crate) stream: Stream,
    /// From our application, for the other end.
    pub(crate) kept: Ring,
    /// From the other end, for our application.
    pub(crate) waiting: Ring,
    pub(crate) pulse: Pulse,
    /// When a byte moved last.
    pub(crate) moved: Duration,
    /// Why the stream is to be closed, once that was decided here.
    ending: Option<Ended>,
    close_said: bool,
    /// The other end has everything, and said so.
    pub(crate) peer_done: bool,
    kept_lease: Lease,
    waiting_lease: Lease,
    /// A moment, and how much had come by then.
    came: (Duration, u64),
}

/// What goes out next.
pub(crate) enum Next {
    /// The small frames that the link has got.
    Small,
    /// The DATA frame that it has got.
    Data,
    /// Nothing now.
    Nothing,
    /// The CLOSE that ends the stream, which the link has got.
    Close,
}

impl Shared {
    /// A new stream, if there is memory for one.
    pub(crate) fn new(
        memory: &Memory,
        clock: Arc<dyn Clock>,
        tally: Arc<Tally>,
        idle: Duration,
    ) -> Option<Self> {
        let (kept_lease, waiting_lease) = (memory.begin()?, memory.begin()?);
        let now = clock.monotonic();
        Some(Self {
            inner: Mutex::new(Inner {
                stream: Stream::new(sealift_terms::limits::FORWARD_WINDOW_BYTES_MIN),
                kept: Ring::default(),
                waiting: Ring::default(),
                pulse: Pulse::new(now),
                moved: now,
                ending: None,
                close_said: false,
                peer_done: false,
                kept_lease,
                waiting_lease,
                came: (now, 0),
            }),
            news: Notify::new(),
            clock,
            tally,
            idle,
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    pub(crate) fn position(&self) -> Position {
        self.lock().stream.position()
    }

    /// Goes on over a new link.
    pub(crate) fn attach(&self, theirs: Position) -> Result<(), WireError> {
        let now = self.now();
        let mut inner = self.lock();
        inner.stream.attach(theirs)?;
        inner.forget();
        inner.pulse = Pulse::new(now);
        // Neither may have come through.
        inner.close_said = false;
        inner.peer_done = false;
        Ok(())
    }

    /// Asks for the stream to be closed.
    pub(crate) fn end(&self, ended: Ended) {
        self.lock().ending.get_or_insert(ended);
        self.news.notify_one();
    }

    /// Why it is to be closed, if that was decided here.
    pub(crate) fn ending(&self) -> Option<Ended> {
        self.lock().ending.take()
    }

    /// Whether that was decided here, and is to be said yet.
    pub(crate) fn is_ending(&self) -> bool {
        self.lock().ending.is_some()
    }

    /// Whether the other end has everything and said so.
    pub(crate) fn peer_done(&self) -> bool {
        self.lock().peer_done
    }

    /// Whether everything is where it belongs.
    pub(crate) fn is_done(&self) -> bool {
        self.lock().stream.is_done()
    }

    /// Whether both ends have said that.
    pub(crate) fn is_over(&self) -> bool {
        let inner = self.lock();
        inner.peer_done && inner.close_said && inner.stream.is_done()
    }

    /// Whether nothing came over the link for too long.
    pub(crate) fn is_silent(&self) -> bool {
        let now = self.now();
        self.lock().pulse.beat(now) == Beat::Lost
    }

    /// Bytes that may be said now.
    pub(crate) fn sayable(&self) -> usize {
        usize::try_from(self.lock().stream.sayable()).unwrap_or(usize::MAX)
    }

    /// Gives the link what goes out next, of bytes at most so many. They are sealed where
    /// they are kept.
    pub(crate) fn next(&self, link: &mut LinkWriter, bytes_max: u32) -> Result<Next, TunnelError> {
        let now = self.now();
        let mut inner = self.lock();
        let quiet = now.saturating_sub(inner.moved);
        if quiet >= self.idle && inner.ending.is_none() {
            let secs = quiet.as_secs();
            inner.ending = Some(Ended::Idle { secs });
        }
        if let Some(ended) = &inner.ending {
            let mut frame = Vec::new();
            forward::close(&ended.close(), &mut frame);
            link.queue(&frame);
            return Ok(Next::Close);
        }
        let must = inner.pulse.beat(now) == Beat::Say;
        inner.grow(now);
        let next = inner.say(must, link, bytes_max)?;
        if matches!(next, Next::Small | Next::Data) {
            inner.pulse.said(now);
        }
        Ok(next)
    }

    /// Lets go of what the other end has.
    pub(crate) fn heard(&self, header: &Header) -> Result<bool, WireError> {
        let now = self.now();
        let mut inner = self.lock();
        let belongs = inner.stream.frame(header)?;
        inner.forget();
        inner.pulse.heard(now);
        Ok(belongs)
    }

    /// Counts bytes that went to our application.
    pub(crate) fn delivered(&self, inner: &mut Inner, count: usize) {
        inner.stream.delivered(count);
        inner.moved = self.now();
        self.tally
            .bytes_in
            .fetch_add(count as u64, Ordering::Relaxed);
    }
}

impl Inner {
    fn say(
        &mut self,
        must: bool,
        link: &mut LinkWriter,
        bytes_max: u32,
    ) -> Result<Next, TunnelError> {
        let from = self.stream.kept_from();
        let said = self.stream.say(bytes_max);
        // What goes out anyway takes the news with it.
        let with_it = said.is_some() && self.stream.has_news();
        if let Some(ack) = self.stream.ack(must || with_it) {
            link.queue(&ack.encode());
        }
        match said {
            Some(data @ Say::Data { position, length }) => {
                let offset = usize::try_from(position - from).unwrap_or(usize::MAX);
                let bytes = self.kept.pieces(offset, length as usize);
                link.seal(&data.header(), bytes)?;
                return Ok(Next::Data);
            }
            Some(end) => link.queue(&end.header().encode()),
            None => {}
        }
        if self.stream.is_done() && !self.close_said {
            self.close_said = true;
            let mut frame = Vec::new();
            forward::close(&Ended::InOrder.close(), &mut frame);
            link.queue(&frame);
        }
        Ok(match link.queued() {
            0 => Next::Nothing,
            _ => Next::Small,
        })
    }

    /// Takes more memory where that makes a stream faster.
    fn grow(&mut self, now: Duration) {
        if (self.comes_fast(now) || self.stream.wants_larger_window())
            && let Some(bytes) = self.waiting_lease.double()
        {
            self.stream.enlarge_window(bytes);
        }
        if self.stream.wants_to_keep_more()
            && let Some(bytes) = self.kept_lease.double()
        {
            self.stream.keep_more(bytes);
        }
    }

    /// Whether a whole window came in a short time, and our application took it.
    fn comes_fast(&mut self, now: Duration) -> bool {
        let (since, before) = self.came;
        let (received, window) = (self.stream.moved().1, self.stream.sizes().1);
        let is_whole = received.saturating_sub(before) >= u64::from(window);
        let is_over = now.saturating_sub(since) >= WINDOW_TIME;
        if is_whole || is_over {
            self.came = (now, received);
        }
        is_whole && !is_over && self.stream.waiting() < window as usize / 2
    }

    fn forget(&mut self) {
        let over = self.kept.len().saturating_sub(self.stream.kept());
        self.kept.drop_front(over);
    }
}
