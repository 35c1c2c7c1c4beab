//! How long an application may take to take its answer.

use std::{
    future::pending,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use sealift_terms::limits::{ENDPOINT_PROGRESS_BYTES_MIN, ENDPOINT_PROGRESS_TIME_MAX};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::sleep,
};

/// What is known of the writes to one connection.
#[derive(Debug, Default)]
struct Writes {
    bytes: AtomicU64,
    /// Whether the last one found no room.
    waits: AtomicBool,
}

/// A connection whose writes are counted.
pub(crate) struct Watched<S> {
    stream: S,
    writes: Arc<Writes>,
}

/// Looks at a [`Watched`].
pub(crate) struct Patience(Arc<Writes>);

impl<S> Watched<S> {
    pub(crate) fn new(stream: S) -> (Self, Patience) {
        let writes = Arc::new(Writes::default());
        let watched = Self {
            stream,
            writes: writes.clone(),
        };
        (watched, Patience(writes))
    }
}

impl Patience {
    /// Returns when the application has taken too little for too long of what is there for
    /// it.
    pub(crate) async fn ends(self) {
        self.ends_after(ENDPOINT_PROGRESS_TIME_MAX).await;
    }

    async fn ends_after(self, time: Duration) {
        let Self(writes) = self;
        let mut before = 0;
        while Arc::strong_count(&writes) > 1 {
            sleep(time).await;
            let now = writes.bytes.load(Ordering::Relaxed);
            let waits = writes.waits.load(Ordering::Relaxed);
            if waits && now - before < ENDPOINT_PROGRESS_BYTES_MIN {
                return;
            }
            before = now;
        }
        pending::<()>().await;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    fn noted(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let writes = &self.writes;
        writes.waits.store(written.is_pending(), Ordering::Relaxed);
        if let Poll::Ready(Ok(bytes)) = written {
            writes.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        written
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.noted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::timeout,
    };

    use super::*;

    const TIME: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_waited_for_so_long_and_no_longer() {
        let (near, _far) = duplex(1024);
        let (mut watched, patience) = Watched::new(near);
        let writing = async { watched.write_all(&[0; 4096]).await };
        tokio::select! {
            _ = writing => panic!("there was room"),
            () = patience.ends_after(TIME) => {}
            () = sleep(LONG) => panic!("endless patience"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_enough_or_asks_for_nothing_is_waited_for() {
        let (near, mut far) = duplex(256 << 10);
        let (mut watched, patience) = Watched::new(near);
        let idle = timeout(4 * TIME, patience.ends_after(TIME)).await;
        assert!(idle.is_err(), "nothing is there for it");
        let (near, patience) = Watched::new(watched.stream);
        watched = near;
        let reading = tokio::spawn(async move {
            let mut taken = vec![0; 128 << 10];
            while far.read_exact(&mut taken).await.is_ok() {
                sleep(TIME / 4).await;
            }
        });
        let writing = async {
            for _ in 0..24 {
                watched.write_all(&[0; 128 << 10]).await.unwrap();
            }
        };
        tokio::select! {
            () = writing => {}
            () = patience.ends_after(TIME) => panic!("it took 128 KiB a quarter of the time"),
        }
        reading.abort();
    }
}
