//! Where bytes come from and go to, below TLS.

use std::{fmt, io, net::SocketAddr};

use async_trait::async_trait;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};

/// A connection's two directions, and who is at the other end.
pub struct Connection {
    /// What comes in.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// What goes out.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// The address of the other end.
    pub peer: SocketAddr,
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
        let stream = TcpStream::connect(address).await?;
        let peer = stream.peer_addr()?;
        of_tcp(stream, peer)
    }

    async fn listen(&self, address: &str) -> io::Result<Box<dyn Accept>> {
        Ok(Box::new(TcpListener::bind(address).await?))
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

fn of_tcp(stream: TcpStream, peer: SocketAddr) -> io::Result<Connection> {
    // Small frames are coalesced by us; what we write shall go.
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    Ok(Connection {
        reader: Box::new(reader),
        writer: Box::new(writer),
        peer,
    })
}
