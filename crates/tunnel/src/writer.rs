//! The writing half of a link.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use parking_lot::Mutex;
use sealift_terms::limits::WRITE_TIME_MAX;
use sealift_wire::Header;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time::sleep,
};

use crate::{
    ender::{Ended, Over},
    error::TunnelError,
    records::{Core, Outgoing, RECORD_BYTES},
};

/// Bytes sealed before they are written: a few system calls a mebibyte, and no
/// more than this waits for a peer that reads slowly.
const SEALED_BYTES: usize = 256 * 1024;

/// The writing half of a link.
pub struct LinkWriter {
    core: Arc<Mutex<Core>>,
    stream: Box<dyn AsyncWrite + Send + Unpin>,
    /// Frames that wait for company.
    small: Vec<u8>,
    sealed: Outgoing,
    ended: Ended,
    over: Over,
}

impl LinkWriter {
    pub(crate) fn new(core: Arc<Mutex<Core>>, stream: Box<dyn AsyncWrite + Send + Unpin>) -> Self {
        let ended = Ended::never();
        Self {
            core,
            stream,
            small: Vec::new(),
            sealed: Outgoing::default(),
            over: ended.waiting(),
            ended,
        }
    }

    /// Goes on writing there.
    pub(crate) fn write_to(&mut self, stream: Box<dyn AsyncWrite + Send + Unpin>) {
        self.stream = stream;
    }

    pub(crate) fn listen_to(&mut self, ended: Ended) {
        self.over = ended.waiting();
        self.ended = ended;
    }

    /// Takes whole frames as bytes. They go out together, with the next
    /// [`flush`](Self::flush) or [`data`](Self::data).
    pub fn queue(&mut self, frames: &[u8]) {
        self.small.extend_from_slice(frames);
    }

    /// Bytes of frames that wait for a flush.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.small.len()
    }

    /// Writes a DATA frame: its header, in a record with the frames queued before,
    /// and its payload in records of 16 KiB. Waits while the peer reads slowly.
    /// Not to be cancelled: the frame would be cut, and the link of no more use.
    ///
    /// # Errors
    /// [`TunnelError`]: the link is of no more use.
    pub async fn data(&mut self, header: &Header, payload: &[u8]) -> Result<(), TunnelError> {
        debug_assert_eq!(header.length as usize, payload.len());
        self.small.extend_from_slice(&header.encode());
        self.seal_small()?;
        self.payload(payload).await
    }

    /// Writes the payload of a DATA frame whose header was [queued](Self::queue)
    /// last, in the same way.
    ///
    /// # Errors
    /// [`TunnelError`]: the link is of no more use.
    pub async fn payload(&mut self, payload: &[u8]) -> Result<(), TunnelError> {
        self.seal_small()?;
        let mut rest = payload;
        while !rest.is_empty() {
            if self.sealed.len() >= SEALED_BYTES {
                self.write().await?;
            }
            let room = SEALED_BYTES.saturating_sub(self.sealed.len());
            let records = (room / RECORD_BYTES).max(1);
            let count = rest.len().min(records * RECORD_BYTES);
            let (now, later) = rest.split_at(count);
            self.core.lock().seal(&[now], &mut self.sealed)?;
            rest = later;
        }
        Ok(())
    }

    /// Seals a DATA frame whose payload lies in two pieces, in the records of what was
    /// queued before. It goes with the next
    /// [`poll_flush`](Self::poll_flush), and has all its room until then.
    ///
    /// # Errors
    /// [`TunnelError`]: the link is of no more use.
    pub fn seal(&mut self, header: &Header, payload: [&[u8]; 2]) -> Result<(), TunnelError> {
        debug_assert_eq!(header.length as usize, payload[0].len() + payload[1].len());
        self.small.extend_from_slice(&header.encode());
        let [one, other] = payload;
        let mut core = self.core.lock();
        core.seal(&[&self.small, one, other], &mut self.sealed)?;
        self.small.clear();
        Ok(())
    }

    /// [`flush`](Self::flush), for one who waits for other things in the same place,
    /// and who looks how long that takes.
    ///
    /// # Errors
    /// [`TunnelError`]: the link is of no more use.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TunnelError>> {
        self.seal_small()?;
        let written = match self.poll_write(cx) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(ready!(self.over.poll(cx))),
        };
        if let Err(error) = &written {
            self.ended.lost(error);
        }
        Poll::Ready(written)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TunnelError>> {
        while !self.sealed.is_empty() {
            ready!(poll_some(&mut self.sealed, &mut self.stream, cx))?;
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        flushed.map_err(TunnelError::io("writing to the peer"))
    }

    /// Bytes that are sealed and not written yet.
    #[must_use]
    pub fn unwritten(&self) -> usize {
        self.sealed.len()
    }

    /// Writes everything that was queued.
    ///
    /// # Errors
    /// [`TunnelError`]: the link is of no more use.
    /// [`TunnelError::Stalled`] when the peer did not take a byte for a minute.
    pub async fn flush(&mut self) -> Result<(), TunnelError> {
        self.seal_small()?;
        self.write().await?;
        self.stream
            .flush()
            .await
            .map_err(TunnelError::io("writing to the peer"))
    }

    /// Writes everything that was queued and closes this direction in order.
    ///
    /// # Errors
    /// [`TunnelError`]: the peer may think that the link was cut off.
    pub async fn close(mut self) -> Result<(), TunnelError> {
        self.seal_small()?;
        self.core.lock().seal_close(&mut self.sealed)?;
        self.write().await?;
        self.stream
            .shutdown()
            .await
            .map_err(TunnelError::io("closing the connection"))
    }

    fn seal_small(&mut self) -> Result<(), TunnelError> {
        if !self.small.is_empty() {
            let mut core = self.core.lock();
            core.seal(&[&self.small], &mut self.sealed)?;
            self.small.clear();
        }
        Ok(())
    }

    /// Writes what is sealed. What a cancelled call wrote stays written. A peer that
    /// takes nothing for a minute is given up.
    async fn write(&mut self) -> Result<(), TunnelError> {
        let written = self.write_all().await;
        if let Err(error) = &written {
            self.ended.lost(error);
        }
        written
    }

    async fn write_all(&mut self) -> Result<(), TunnelError> {
        let Self {
            sealed,
            stream,
            ended,
            ..
        } = self;
        while !sealed.is_empty() {
            tokio::select! {
                biased;
                written = poll_fn(|cx| poll_some(sealed, stream, cx)) => written?,
                error = ended.over() => return Err(error),
                () = sleep(WRITE_TIME_MAX) => return Err(TunnelError::Stalled),
            }
        }
        Ok(())
    }
}

/// Writes some of what is sealed.
fn poll_some(
    sealed: &mut Outgoing,
    stream: &mut (dyn AsyncWrite + Send + Unpin),
    cx: &mut Context<'_>,
) -> Poll<Result<(), TunnelError>> {
    let (slices, count) = sealed.front();
    let slices = slices.get(..count).unwrap_or_default();
    let written = ready!(Pin::new(stream).poll_write_vectored(cx, slices));
    let count = written.map_err(TunnelError::io("writing to the peer"))?;
    sealed.consume(count);
    Poll::Ready(match count {
        0 => Err(TunnelError::CutOff),
        _ => Ok(()),
    })
}

impl fmt::Debug for LinkWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkWriter")
            .field("queued", &self.small.len())
            .field("sealed", &self.sealed.len())
            .finish_non_exhaustive()
    }
}
