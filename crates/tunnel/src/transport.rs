//! Where bytes come from and go to, below TLS.

use std::{
    fmt,
    io::{self, IoSlice},
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use sealift_host::{TcpFacts, begin_plain, suit_way, tcp_facts};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream, lookup_host, tcp::OwnedWriteHalf},
    runtime::{Handle, Id},
};

/// Connections that wait to be accepted, as tokio has it where nothing is said.
const BACKLOG: u32 = 1024;

/// A connection's two directions, and who is at the other end.
pub struct Connection {
    /// What comes in.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// What goes out.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// The address of the other end.
    pub peer: SocketAddr,
    /// The socket below both, if there is one.
    pub socket: Option<Arc<dyn Socket>>,
}

/// Both directions of a connection.
pub type Halves = (
    Box<dyn AsyncRead + Send + Unpin>,
    Box<dyn AsyncWrite + Send + Unpin>,
);

/// The socket below a connection.
pub trait Socket: Send + Sync + fmt::Debug {
    /// How the connection does, if that can be told.
    fn facts(&self) -> Option<TcpFacts>;

    /// Both directions once more, for the threads of whoever calls, if others wait for them
    /// now. Those of before are of no more use.
    ///
    /// # Errors
    /// What the system says.
    fn here(&self) -> io::Result<Option<Halves>>;
}

/// A TCP socket, kept for as long as both halves of its link.
#[derive(Debug)]
struct Tcp {
    socket: OwnedFd,
    /// Whose threads wait for it, and whether its directions went to others since.
    driven: Mutex<(Id, Arc<AtomicBool>)>,
}

impl Socket for Tcp {
    fn facts(&self) -> Option<TcpFacts> {
        tcp_facts(&self.socket).ok()
    }

    fn here(&self) -> io::Result<Option<Halves>> {
        let here = Handle::current().id();
        let mut driven = self.driven.lock();
        if driven.0 == here {
            return Ok(None);
        }
        let stream = TcpStream::from_std(self.socket.try_clone()?.into())?;
        let went = Arc::<AtomicBool>::default();
        let halves = halves(stream, &went);
        let (_, before) = std::mem::replace(&mut *driven, (here, went));
        before.store(true, Ordering::Release);
        Ok(Some(halves))
    }
}

/// The direction out. Its end is said to the peer when it is dropped, unless it went to
/// other threads before.
struct Outward {
    half: Option<OwnedWriteHalf>,
    went: Arc<AtomicBool>,
}

impl Outward {
    fn half(&mut self) -> io::Result<Pin<&mut OwnedWriteHalf>> {
        let half = self.half.as_mut().map(Pin::new);
        half.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl AsyncWrite for Outward {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.half()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.half()?.poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.half()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.half()?.poll_shutdown(cx)
    }
}

impl Drop for Outward {
    fn drop(&mut self) {
        if self.went.load(Ordering::Acquire)
            && let Some(half) = self.half.take()
        {
            half.forget();
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// A network: TCP, or a simulated one.
#[async_trait]
pub trait Transport: Send + Sync + fmt::Debug {
    /// Connects to `address`, a host or IP address and a port.
    ///
    /// # Errors
    /// What the network says.
    async fn dial(&self, address: &str) -> io::Result<Connection>;

    /// Listens on `address`, an IP address and a port; port 0 takes a free one.
    ///
    /// # Errors
    /// What the network says.
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Accept>>;
}

/// An open listening socket.
#[async_trait]
pub trait Accept: Send + Sync {
    /// The next connection. May be cancelled.
    ///
    /// # Errors
    /// What the network says; the socket can still be used.
    async fn accept(&self) -> io::Result<Connection>;

    /// The address it listens on.
    ///
    /// # Errors
    /// What the network says.
    fn address(&self) -> io::Result<SocketAddr>;
}

/// The operating system's TCP.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpTransport;

#[async_trait]
impl Transport for TcpTransport {
    async fn dial(&self, address: &str) -> io::Result<Connection> {
        let stream = connect(address).await?;
        let peer = stream.peer_addr()?;
        of_tcp(stream, peer)
    }

    async fn listen(&self, address: &str) -> io::Result<Box<dyn Accept>> {
        Ok(Box::new(listen(address).await?))
    }
}

/// The operating system's TCP, for those who come by one network interface.
#[derive(Debug, Clone)]
pub struct OnInterface {
    /// As `ip link` calls it.
    pub name: String,
}

#[async_trait]
impl Transport for OnInterface {
    async fn dial(&self, address: &str) -> io::Result<Connection> {
        TcpTransport.dial(address).await
    }

    async fn listen(&self, address: &str) -> io::Result<Box<dyn Accept>> {
        let address: SocketAddr = address.parse().map_err(io::Error::other)?;
        let socket = socket_for(address)?;
        socket.set_reuseaddr(true)?;
        socket.bind_device(Some(self.name.as_bytes()))?;
        socket.bind(address)?;
        begin_plain(&socket);
        let listener = socket.listen(BACKLOG)?;
        Ok(Box::new(listener))
    }
}

#[async_trait]
impl Accept for TcpListener {
    async fn accept(&self) -> io::Result<Connection> {
        let (stream, peer) = TcpListener::accept(self).await?;
        of_tcp(stream, peer)
    }

    fn address(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }
}

/// Listens on `address`; what is accepted there has no congestion control that paces.
///
/// # Errors
/// What the network says.
pub async fn listen(address: &str) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await?;
    begin_plain(&listener);
    Ok(listener)
}

/// Connects to `address`, a host or IP address and a port, without a congestion control
/// that paces.
///
/// # Errors
/// What the network says of the last address that was tried.
pub async fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in lookup_host(address).await? {
        let socket = socket_for(address)?;
        begin_plain(&socket);
        match socket.connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn socket_for(address: SocketAddr) -> io::Result<TcpSocket> {
    match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
}

fn of_tcp(stream: TcpStream, peer: SocketAddr) -> io::Result<Connection> {
    // Small frames are coalesced by us; what we write shall go.
    stream.set_nodelay(true)?;
    suit_way(&stream);
    let socket = stream.as_fd().try_clone_to_owned()?;
    let went = Arc::<AtomicBool>::default();
    let (reader, writer) = halves(stream, &went);
    let driven = Mutex::new((Handle::current().id(), went));
    Ok(Connection {
        reader,
        writer,
        peer,
        socket: Some(Arc::new(Tcp { socket, driven })),
    })
}

fn halves(stream: TcpStream, went: &Arc<AtomicBool>) -> Halves {
    let (reader, writer) = stream.into_split();
    let writer = Outward {
        half: Some(writer),
        went: went.clone(),
    };
    (Box::new(reader), Box::new(writer))
}
