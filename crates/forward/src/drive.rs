//! A stream on one link: both directions, until the link or the stream ends.
//!
//! ```text
//!   application ─▶ kept ─▶ sealed where it lies ─▶ link      one task, woken by whichever of
//!   application ◀─ opened, or what waits for it ◀─ link      the two sockets has something
//! ```
//!
//! Both directions are one piece of work: between two sockets nobody is woken, and of
//! what is small nothing waits for a timer or for company.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::atomic::Ordering,
    task::{Context, Poll, ready},
    time::Duration,
};

use sealift_terms::{
    Identity,
    limits::{FORWARD_HEARTBEAT, WRITE_TIME_MAX},
};
use sealift_tunnel::{Incoming, LinkReader, LinkWriter, Pace, Pieces, TunnelError};
use sealift_wire::{FrameType, Header, Misbehaviour, forward};
use tokio::{
    io::ReadBuf,
    time::{Instant, Sleep, sleep},
};

use crate::{
    application::{Application, Bytes},
    attention::Attention,
    ended::{Ended, Lost},
    link::ForwardLink,
    state::{Next, Shared},
};

/// Taken from an application at a time.
const READ_BYTES_MAX: usize = 128 * 1024;
/// Slices given to an application at a time: those of one read from the link.
const GIVEN_AT_ONCE: usize = 32;
/// Between two looks at the time.
const LOOK_EVERY: Duration = Duration::from_millis(FORWARD_HEARTBEAT.as_millis() as u64 / 2);

/// Carries the stream until it is over, in order, or has to do without this link. May be
/// cancelled; the link is of no more use then.
pub(crate) async fn drive(
    application: &mut Application,
    link: &mut ForwardLink,
    shared: &Shared,
) -> Result<(), Lost> {
    let peer = link.peer().clone();
    let attention = Attention::new();
    let mut pump = Pump {
        application: &mut *application.stream,
        reader: &mut link.reader,
        writer: &mut link.writer,
        shared,
        peer: &peer,
        pace: &link.pace,
        turn: None,
        blocked: None,
        closes: false,
        is_deaf: false,
        attention: &attention,
    };
    let mut awake = pin!(attention.keep());
    let mut look = pin!(sleep(LOOK_EVERY));
    let mut news = pin!(shared.news.notified());
    loop {
        tokio::select! {
            biased;
            end = poll_fn(|cx| pump.poll(cx)) => return end,
            () = news.as_mut() => news.set(shared.news.notified()),
            () = look.as_mut() => {
                pump.look()?;
                look.as_mut().reset(Instant::now() + LOOK_EVERY);
            }
            never = awake.as_mut() => match never {},
        }
    }
}

/// Gives the application what still waits for it, without any link.
pub(crate) async fn finish(application: &mut Application, shared: &Shared) -> Result<(), Lost> {
    let stream = &mut *application.stream;
    poll_fn(|cx| {
        while !shared.is_done() && ready!(deliver(stream, shared, cx))? {}
        Poll::Ready(Ok(()))
    })
    .await
}

/// One stream on one link.
struct Pump<'a> {
    application: &'a mut dyn Bytes,
    reader: &'a mut LinkReader,
    writer: &'a mut LinkWriter,
    shared: &'a Shared,
    peer: &'a Identity,
    pace: &'a Pace,
    /// Under a limit: the bytes that go next, once this has passed.
    turn: Option<(usize, Pin<Box<Sleep>>)>,
    /// Since when the link takes nothing, and how much it was to take.
    blocked: Option<(Duration, usize)>,
    /// What ends the stream was said.
    closes: bool,
    /// Nothing is heard any more, as what was heard last ends the stream.
    is_deaf: bool,
    attention: &'a Attention,
}

impl Pump<'_> {
    /// Does what can be done now.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        let mut has_moved = false;
        loop {
            let inward = self.inward(cx)?;
            match self.outward(cx)? {
                Poll::Ready(true) => return Poll::Ready(Ok(())),
                Poll::Pending if inward.is_pending() => {
                    if has_moved {
                        self.attention.rests();
                    }
                    return Poll::Pending;
                }
                _ => has_moved = true,
            }
        }
    }

    /// What only passing time tells.
    fn look(&mut self) -> Result<(), Lost> {
        if self.shared.is_silent() {
            return Err(Lost::Silent);
        }
        let (now, unwritten) = (self.shared.now(), self.writer.unwritten());
        match self.blocked {
            Some((since, before)) if unwritten == before => {
                if now.saturating_sub(since) >= WRITE_TIME_MAX {
                    return Err(self.lost(TunnelError::Stalled));
                }
            }
            _ => self.blocked = (unwritten > 0).then_some((now, unwritten)),
        }
        Ok(())
    }

    fn lost(&self, error: TunnelError) -> Lost {
        Lost::of(error, self.peer)
    }

    /// A step from our application to the link; whether the stream is over with it.
    fn outward(&mut self, cx: &mut Context<'_>) -> Result<Poll<bool>, Lost> {
        match self.writer.poll_flush(cx) {
            Poll::Ready(written) => written.map_err(|error| self.lost(error))?,
            Poll::Pending => return Ok(Poll::Pending),
        }
        self.blocked = None;
        if self.closes {
            return Err(Lost::Stream(
                self.shared.ending().unwrap_or(Ended::Stopping),
            ));
        }
        let bytes_max = self.allowed(cx);
        let next = self.shared.next(self.writer, bytes_max);
        match next.map_err(|error| self.lost(error))? {
            Next::Data => {
                self.turn = None;
                return Ok(Poll::Ready(false));
            }
            Next::Small => {
                self.pace.frames(self.writer.queued());
                return Ok(Poll::Ready(false));
            }
            Next::Close => {
                self.closes = true;
                return Ok(Poll::Ready(false));
            }
            Next::Nothing if self.shared.is_over() => return Ok(Poll::Ready(true)),
            Next::Nothing => {}
        }
        Ok(match take(self.application, self.shared, cx) {
            Poll::Ready(Ok(())) => Poll::Ready(false),
            Poll::Ready(Err(error)) => {
                self.shared.end(Ended::Application(error));
                Poll::Ready(false)
            }
            Poll::Pending => Poll::Pending,
        })
    }

    /// Bytes that may leave now under the limit of the peer. Those that have to wait keep
    /// nothing else waiting.
    fn allowed(&mut self, cx: &mut Context<'_>) -> u32 {
        let Some(slice) = self.pace.slice() else {
            self.turn = None;
            return u32::MAX;
        };
        let bytes = self.shared.sayable().min(slice);
        if bytes == 0 {
            return 0;
        }
        let pace = self.pace;
        let wait = || (bytes, Box::pin(sleep(pace.data(bytes))));
        let (bytes, wait) = self.turn.get_or_insert_with(wait);
        match wait.as_mut().poll(cx) {
            Poll::Ready(()) => u32::try_from(*bytes).unwrap_or(u32::MAX),
            Poll::Pending => 0,
        }
    }

    /// A step from the link to our application. What ends the stream from this direction
    /// is said by the other one, between its frames; and so is the end of a stream whose
    /// link was ended with it, as long as the link still takes bytes.
    fn inward(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Lost> {
        if self.is_deaf {
            return Ok(Poll::Pending);
        }
        match self.hear(cx) {
            Err(Lost::Stream(
                ended @ (Ended::Application(_) | Ended::Misbehaved(_) | Ended::NotAllowed { .. }),
            )) => self.shared.end(ended),
            Err(Lost::Link(TunnelError::Refused(_))) if self.shared.is_ending() => {}
            heard => return heard,
        }
        self.is_deaf = true;
        Ok(Poll::Ready(()))
    }

    fn hear(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Lost> {
        let delivered = deliver(self.application, self.shared, cx)?;
        if self.shared.lock().peer_done {
            return Ok(match delivered {
                Poll::Ready(true) => Poll::Ready(()),
                _ => Poll::Pending,
            });
        }
        let incoming = match self.reader.poll_next(cx) {
            Poll::Ready(incoming) => incoming.map_err(|error| Lost::of(error, self.peer))?,
            Poll::Pending if delivered == Poll::Ready(true) => return Ok(Poll::Ready(())),
            Poll::Pending => return Ok(Poll::Pending),
        };
        match incoming {
            Some(Incoming::Data {
                header,
                done,
                bytes,
            }) => data((&header, done, bytes), self.application, self.shared, cx)?,
            Some(Incoming::Frame { header, payload }) => frame(&header, payload, self.shared)?,
            None => return Err(Lost::Link(TunnelError::CutOff)),
        }
        Ok(Poll::Ready(()))
    }
}

/// Takes bytes from our application, if there is room for any.
fn take(
    application: &mut dyn Bytes,
    shared: &Shared,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    let mut inner = shared.lock();
    let wanted = inner.stream.room().min(READ_BYTES_MAX);
    if wanted == 0 {
        return Poll::Pending;
    }
    let mut room = ReadBuf::new(inner.kept.room(wanted));
    ready!(Pin::new(application).poll_read(cx, &mut room))?;
    let count = room.filled().len();
    inner.kept.fill(count);
    match count {
        0 => inner.stream.ended(),
        _ => inner.stream.took(count),
    }
    inner.moved = shared.now();
    let counted = &shared.tally.bytes_out;
    counted.fetch_add(count as u64, Ordering::Relaxed);
    Poll::Ready(Ok(()))
}

/// A frame that is no DATA.
fn frame(header: &Header, payload: &[u8], shared: &Shared) -> Result<(), Lost> {
    let broken = |error| Lost::Stream(Ended::Misbehaved(error));
    let out_of_order = |what| {
        let found = header.frame;
        Err(broken(
            Misbehaviour::StreamOutOfOrder { found, what }.into(),
        ))
    };
    if header.frame != FrameType::Close {
        return match shared.heard(header).map_err(broken)? {
            true => Ok(()),
            false => out_of_order("it is not said within a stream"),
        };
    }
    let close = forward::closed(payload).map_err(broken)?;
    if let Some(ended) = Ended::of(close) {
        return Err(Lost::Stream(ended));
    }
    let mut inner = shared.lock();
    if !inner.stream.other_may_be_done() {
        return out_of_order("it says that all is done, which is not");
    }
    inner.peer_done = true;
    Ok(())
}

/// Bytes go straight to an application that takes them, from where they lie, and wait for
/// one that does not.
fn data(
    (header, done, bytes): (&Header, u32, Pieces<'_>),
    application: &mut dyn Bytes,
    shared: &Shared,
    cx: &mut Context<'_>,
) -> Result<(), Lost> {
    let now = shared.now();
    let mut inner = shared.lock();
    let counted = inner.stream.data(header, done, bytes.len());
    counted.map_err(|error| Lost::Stream(Ended::Misbehaved(error)))?;
    inner.pulse.heard(now);
    let mut given = 0;
    while inner.waiting.is_empty() && given < bytes.len() {
        let mut slices = [IoSlice::new(&[]); GIVEN_AT_ONCE];
        let count = bytes.fill(given, &mut slices);
        let slices = slices.get(..count).unwrap_or_default();
        let Poll::Ready(written) = give(application, slices, cx)? else {
            break;
        };
        shared.delivered(&mut inner, written);
        given += written;
    }
    bytes.after(given).for_each(|left| inner.waiting.push(left));
    Ok(())
}

fn give(
    application: &mut dyn Bytes,
    bytes: &[IoSlice<'_>],
    cx: &mut Context<'_>,
) -> Poll<Result<usize, Lost>> {
    let written = ready!(Pin::new(application).poll_write_vectored(cx, bytes));
    Poll::Ready(match written {
        Ok(0) => Err(application_gone(io::ErrorKind::WriteZero.into())),
        written => written.map_err(application_gone),
    })
}

fn application_gone(error: io::Error) -> Lost {
    Lost::Stream(Ended::Application(error))
}

/// Gives our application some of what waits for it, and tells it that there is no more
/// once it has everything. Whether there was anything to do.
fn deliver(
    application: &mut dyn Bytes,
    shared: &Shared,
    cx: &mut Context<'_>,
) -> Poll<Result<bool, Lost>> {
    let mut inner = shared.lock();
    if !inner.waiting.is_empty() {
        let front = [IoSlice::new(inner.waiting.front())];
        let count = ready!(give(application, &front, cx))?;
        inner.waiting.drop_front(count);
        shared.delivered(&mut inner, count);
        return Poll::Ready(Ok(true));
    }
    if !inner.stream.owes_end() {
        return Poll::Ready(Ok(false));
    }
    match ready!(Pin::new(application).poll_shutdown(cx)) {
        // It is closed already: it did not wait for our end.
        Err(error) if error.kind() != io::ErrorKind::NotConnected => {
            return Poll::Ready(Err(application_gone(error)));
        }
        _ => inner.stream.end_delivered(),
    }
    Poll::Ready(Ok(true))
}
