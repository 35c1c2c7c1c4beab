//! A stream on one link: both directions, until the link or the stream ends.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Poll, ready},
};

use sealift_terms::Identity;
use sealift_tunnel::{Incoming, LinkReader, LinkWriter};
use sealift_wire::{FrameType, Header, Misbehaviour, forward};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::{
    application::Application,
    ended::{Ended, Lost},
    link::ForwardLink,
    state::{Next, Shared},
};

/// Taken from an application at a time.
const READ_BYTES_MAX: usize = 128 * 1024;

/// Carries the stream until it is over, in order, or has to do without this link. May be
/// cancelled; the link is of no more use then.
pub(crate) async fn drive(
    application: &mut Application,
    link: &mut ForwardLink,
    shared: &Shared,
) -> Result<(), Lost> {
    let peer = link.peer().clone();
    let (reader, writer) = (&mut link.reader, &mut link.writer);
    tokio::select! {
        end = outward(&mut application.reader, writer, shared, &peer) => end,
        end = inward_or_end(&mut application.writer, reader, shared, &peer) => end,
    }
}

/// What ends the stream from this direction is said by the other one, between its
/// frames.
async fn inward_or_end(
    application: &mut (dyn AsyncWrite + Send + Unpin),
    reader: &mut LinkReader,
    shared: &Shared,
    peer: &Identity,
) -> Result<(), Lost> {
    match inward(application, reader, shared, peer).await {
        Err(Lost::Stream(ended @ (Ended::Application(_) | Ended::Misbehaved(_)))) => {
            shared.end(ended);
            std::future::pending().await
        }
        end => end,
    }
}

/// Gives the application what still waits for it, without any link.
pub(crate) async fn finish(application: &mut Application, shared: &Shared) -> Result<(), Lost> {
    let writer = &mut application.writer;
    while !shared.is_done() {
        settle(writer, shared).await?;
        if shared.lock().waiting.is_empty() {
            break;
        }
        deliver(writer, shared).await?;
    }
    settle(writer, shared).await
}

/// From our application to the link.
async fn outward(
    application: &mut (dyn AsyncRead + Send + Unpin),
    writer: &mut LinkWriter,
    shared: &Shared,
    peer: &Identity,
) -> Result<(), Lost> {
    let lost = |error| Lost::of(error, peer);
    let (mut small, mut piece) = (Vec::new(), Vec::new());
    loop {
        small.clear();
        let wait = match shared.next(&mut small, &mut piece) {
            Next::Data(header) => {
                writer.queue(&small);
                writer.data(&header, &piece).await.map_err(lost)?;
                // More of it may be there.
                if !shared.lock().stream.has_data() {
                    writer.flush().await.map_err(lost)?;
                }
                continue;
            }
            Next::Small => {
                writer.queue(&small);
                writer.flush().await.map_err(lost)?;
                continue;
            }
            Next::Close => {
                writer.queue(&small);
                writer.flush().await.map_err(lost)?;
                return Err(Lost::Stream(shared.ending().unwrap_or(Ended::Stopping)));
            }
            Next::Silent => return Err(Lost::Silent),
            Next::Nothing(wait) => wait,
        };
        if shared.is_over() {
            return Ok(());
        }
        let has_room = shared.lock().stream.room() > 0;
        tokio::select! {
            took = take(application, shared), if has_room => {
                if let Err(error) = took {
                    shared.end(Ended::Application(error));
                }
            }
            () = shared.news.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Takes bytes from our application.
async fn take(application: &mut (dyn AsyncRead + Send + Unpin), shared: &Shared) -> io::Result<()> {
    use std::sync::atomic::Ordering;
    let count = poll_fn(|cx| {
        let mut inner = shared.lock();
        let wanted = inner.stream.room().min(READ_BYTES_MAX);
        let mut room = ReadBuf::new(inner.kept.room(wanted));
        ready!(Pin::new(&mut *application).poll_read(cx, &mut room))?;
        let count = room.filled().len();
        inner.kept.fill(count);
        match count {
            0 => inner.stream.ended(),
            _ => inner.stream.took(count),
        }
        inner.moved = shared.now();
        Poll::Ready(Ok::<_, io::Error>(count))
    })
    .await?;
    shared
        .tally
        .bytes_out
        .fetch_add(count as u64, Ordering::Relaxed);
    Ok(())
}

/// From the link to our application.
async fn inward(
    application: &mut (dyn AsyncWrite + Send + Unpin),
    reader: &mut LinkReader,
    shared: &Shared,
    peer: &Identity,
) -> Result<(), Lost> {
    loop {
        settle(application, shared).await?;
        let (waits, done) = {
            let inner = shared.lock();
            (!inner.waiting.is_empty(), inner.peer_done)
        };
        tokio::select! {
            incoming = reader.next(), if !done => {
                match incoming.map_err(|error| Lost::of(error, peer))? {
                    Some(incoming) => hear(incoming, application, shared).await?,
                    None => return Err(Lost::Link(sealift_tunnel::TunnelError::CutOff)),
                }
            }
            delivered = deliver(application, shared), if waits => delivered?,
            else => std::future::pending::<()>().await,
        }
    }
}

async fn hear(
    incoming: Incoming<'_>,
    application: &mut (dyn AsyncWrite + Send + Unpin),
    shared: &Shared,
) -> Result<(), Lost> {
    let broken = |error| Lost::Stream(Ended::Misbehaved(error));
    match incoming {
        Incoming::Data {
            header,
            done,
            bytes,
        } => data(&header, done, bytes, application, shared).await,
        Incoming::Frame { header, payload } if header.frame == FrameType::Close => {
            let close = forward::closed(payload).map_err(broken)?;
            if let Some(ended) = Ended::of(close) {
                return Err(Lost::Stream(ended));
            }
            let mut inner = shared.lock();
            if !inner.stream.other_may_be_done() {
                let (found, what) = (FrameType::Close, "it says that all is done, which is not");
                return Err(broken(
                    Misbehaviour::StreamOutOfOrder { found, what }.into(),
                ));
            }
            inner.peer_done = true;
            drop(inner);
            shared.news.notify_one();
            Ok(())
        }
        Incoming::Frame { header, .. } => match shared.heard(&header).map_err(broken)? {
            true => {
                shared.news.notify_one();
                Ok(())
            }
            false => {
                let (found, what) = (header.frame, "it is not said within a stream");
                Err(broken(
                    Misbehaviour::StreamOutOfOrder { found, what }.into(),
                ))
            }
        },
    }
}

/// Bytes go straight to an application that takes them, and wait for one that does not.
async fn data(
    header: &Header,
    done: u32,
    bytes: &[u8],
    application: &mut (dyn AsyncWrite + Send + Unpin),
    shared: &Shared,
) -> Result<(), Lost> {
    let none_waits = {
        let now = shared.now();
        let mut inner = shared.lock();
        let counted = inner.stream.data(header, done, bytes.len());
        counted.map_err(|error| Lost::Stream(Ended::Misbehaved(error)))?;
        inner.pulse.heard(now);
        inner.waiting.is_empty()
    };
    let written = match none_waits {
        true => write_now(application, bytes)
            .await
            .map_err(application_gone)?,
        false => 0,
    };
    let mut inner = shared.lock();
    shared.delivered(&mut inner, written);
    inner.waiting.push(bytes.get(written..).unwrap_or_default());
    tell_if_due(shared, &inner.stream);
    Ok(())
}

/// Wakes the other direction when the peer should hear how far we are.
fn tell_if_due(shared: &Shared, stream: &forward::Stream) {
    if stream.ack_is_due() {
        shared.news.notify_one();
    }
}

fn application_gone(error: io::Error) -> Lost {
    Lost::Stream(Ended::Application(error))
}

/// Writes what goes without waiting.
async fn write_now(
    application: &mut (dyn AsyncWrite + Send + Unpin),
    bytes: &[u8],
) -> io::Result<usize> {
    poll_fn(|cx| {
        Poll::Ready(match Pin::new(&mut *application).poll_write(cx, bytes) {
            Poll::Ready(written) => written,
            Poll::Pending => Ok(0),
        })
    })
    .await
}

/// Gives our application some of what waits for it.
async fn deliver(
    application: &mut (dyn AsyncWrite + Send + Unpin),
    shared: &Shared,
) -> Result<(), Lost> {
    poll_fn(|cx| {
        let mut inner = shared.lock();
        let written = Pin::new(&mut *application).poll_write(cx, inner.waiting.front());
        let count = ready!(written)?;
        inner.waiting.drop_front(count);
        shared.delivered(&mut inner, count);
        tell_if_due(shared, &inner.stream);
        Poll::Ready(Ok::<_, io::Error>(()))
    })
    .await
    .map_err(application_gone)
}

/// Tells our application that there is no more, once it has everything.
async fn settle(
    application: &mut (dyn AsyncWrite + Send + Unpin),
    shared: &Shared,
) -> Result<(), Lost> {
    if !shared.lock().stream.owes_end() {
        return Ok(());
    }
    match application.shutdown().await {
        // It is closed already: it did not wait for our end.
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
        Err(error) => return Err(application_gone(error)),
    }
    shared.lock().stream.end_delivered();
    shared.news.notify_one();
    Ok(())
}
