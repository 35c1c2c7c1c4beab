//! What one end of a stream knows and holds, shared by the two directions.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use sealift_terms::Clock;
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
}

/// What goes out next.
pub(crate) enum Next {
    /// The small frames that were appended.
    Small,
    /// Those, and a DATA frame with the bytes that were copied.
    Data(Header),
    /// Nothing now; look again after this.
    Nothing(Duration),
    /// The CLOSE that ends the stream was appended.
    Close,
    /// The link is lost.
    Silent,
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

    /// What goes out next: small frames are appended to `small`, bytes of a DATA frame
    /// copied to `piece`.
    pub(crate) fn next(&self, small: &mut Vec<u8>, piece: &mut Vec<u8>) -> Next {
        let now = self.now();
        let mut inner = self.lock();
        let beat = inner.pulse.beat(now);
        if beat == Beat::Lost {
            return Next::Silent;
        }
        let quiet = now.saturating_sub(inner.moved);
        if quiet >= self.idle && inner.ending.is_none() {
            let secs = quiet.as_secs();
            inner.ending = Some(Ended::Idle { secs });
        }
        if let Some(ended) = &inner.ending {
            forward::close(&ended.close(), small);
            return Next::Close;
        }
        let next = inner.frames(beat == Beat::Say, small, piece);
        if !matches!(next, Next::Nothing(_)) {
            inner.pulse.said(now);
        }
        next
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
    fn frames(&mut self, must: bool, small: &mut Vec<u8>, piece: &mut Vec<u8>) -> Next {
        self.grow();
        let from = self.stream.kept_from();
        let said = self.stream.say();
        // What goes out anyway takes the news with it.
        let with_it = said.is_some() && self.stream.has_news();
        if let Some(ack) = self.stream.ack(must || with_it) {
            small.extend(ack.encode());
        }
        match said {
            Some(Say::Data { position, length }) => {
                let offset = usize::try_from(position - from).unwrap_or(usize::MAX);
                piece.clear();
                self.kept.copy(offset, length as usize, piece);
                return Next::Data(Say::Data { position, length }.header());
            }
            Some(end) => small.extend(end.header().encode()),
            None => {}
        }
        if self.stream.is_done() && !self.close_said {
            self.close_said = true;
            forward::close(&Ended::InOrder.close(), small);
        }
        match small.is_empty() {
            true => Next::Nothing(sealift_terms::limits::FORWARD_HEARTBEAT / 2),
            false => Next::Small,
        }
    }

    /// Takes more memory where that makes a stream faster.
    fn grow(&mut self) {
        if self.stream.wants_larger_window()
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

    fn forget(&mut self) {
        let over = self.kept.len().saturating_sub(self.stream.kept());
        self.kept.drop_front(over);
    }
}
