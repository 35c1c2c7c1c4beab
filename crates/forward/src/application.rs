//! The connection of an application.

use std::{
    fmt, io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::net::sockopt::set_socket_linger;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

/// What bytes of an application come from and go to.
pub(crate) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Bytes for S {}

/// The connection of an application that no thread drives yet.
pub enum Accepted {
    /// Over TCP.
    Tcp(std::net::TcpStream),
    /// Over a Unix socket.
    Unix(std::os::unix::net::UnixStream),
}

impl Accepted {
    /// Driven by the thread of whoever calls.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn drive_here(self) -> io::Result<Application> {
        match self {
            Self::Tcp(stream) => Application::of_tcp(TcpStream::from_std(stream)?),
            Self::Unix(stream) => Application::of_unix(UnixStream::from_std(stream)?),
        }
    }

    /// As [`Application::reset`].
    pub(crate) fn reset(self) {
        // Where that cannot be, it sees an end.
        let _closed = self.drive_here().map(Application::reset);
    }
}

/// The connection of an application.
pub struct Application {
    /// Its end does not shut the socket: one that is reset must not look as if it had
    /// come to its end first.
    pub(crate) stream: Box<dyn Bytes>,
    /// The same socket.
    socket: Option<OwnedFd>,
}

impl Application {
    pub(crate) fn of_tcp(stream: TcpStream) -> io::Result<Self> {
        // What came in one piece goes on in one.
        stream.set_nodelay(true)?;
        sealift_host::suit_way(&stream);
        let socket = stream.as_fd().try_clone_to_owned()?;
        Ok(Self::of(stream, Some(socket)))
    }

    pub(crate) fn of_unix(stream: UnixStream) -> io::Result<Self> {
        Ok(Self::of(stream, None))
    }

    fn of(stream: impl Bytes + 'static, socket: Option<OwnedFd>) -> Self {
        Self {
            stream: Box::new(stream),
            socket,
        }
    }

    /// Closes it so that the application knows that it is not whole: TCP resets it. A
    /// Unix socket has no such way.
    pub(crate) fn reset(self) {
        if let Some(socket) = &self.socket {
            // Without it the application sees an end, as it would over a Unix socket.
            let _ = set_socket_linger(socket, Some(Duration::ZERO));
        }
    }
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}
