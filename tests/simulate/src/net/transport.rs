//! The network as the product sees it.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use sealift_tunnel::{Accept, Connection, Transport};
use tokio::{
    sync::{Mutex, mpsc},
    time::sleep,
};

use super::{
    network::{Network, Reach, Site, Wire},
    pipe::{PipeReader, PipeWriter},
};

/// How long a system tries to connect.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// The network of one site.
#[derive(Debug)]
pub(crate) struct SimTransport {
    pub(crate) network: Arc<Network>,
    pub(crate) site: Site,
}

#[async_trait]
impl Transport for SimTransport {
    async fn dial(&self, _address: &str) -> io::Result<Connection> {
        match self.network.reach(self.site) {
            Reach::Nobody => {
                sleep(CONNECT_TIME_MAX).await;
                Err(io::ErrorKind::TimedOut.into())
            }
            Reach::Refused(trip) => {
                sleep(trip).await;
                Err(io::ErrorKind::ConnectionRefused.into())
            }
            Reach::Listener(trip, listener) => {
                sleep(trip).await;
                let wire = self.network.connect(self.site);
                let theirs = self.end(&wire, 1 - self.site);
                let refused = |_| io::Error::from(io::ErrorKind::ConnectionRefused);
                listener.send(theirs).await.map_err(refused)?;
                Ok(self.end(&wire, self.site))
            }
        }
    }

    async fn listen(&self, _address: &str) -> io::Result<Box<dyn Accept>> {
        Ok(Box::new(self.listening()))
    }
}

impl SimTransport {
    /// Listens from now on.
    pub(crate) fn listening(&self) -> Listening {
        let dialled = Mutex::new(self.network.listen(self.site));
        Listening { dialled }
    }

    /// One site's end of a connection.
    fn end(&self, wire: &Wire, site: Site) -> Connection {
        let (ours, theirs) = (wire.from[site].clone(), wire.from[1 - site].clone());
        let reader = PipeReader {
            pipe: theirs.clone(),
            network: self.network.clone(),
            timer: None,
        };
        let writer = PipeWriter {
            pipe: ours,
            other: theirs,
            network: self.network.clone(),
        };
        Connection {
            reader: Box::new(reader),
            writer: Box::new(writer),
            peer: address(1 - site),
            socket: None,
        }
    }
}

fn address(site: Site) -> SocketAddr {
    let last = u8::try_from(site).unwrap_or_default();
    ([192, 0, 2, last], 7443).into()
}

/// Where the other site's connections come in.
pub(crate) struct Listening {
    dialled: Mutex<mpsc::Receiver<Connection>>,
}

impl Listening {
    /// The next connection; none comes once the site has left the network.
    pub(crate) async fn next(&self) -> Connection {
        match self.dialled.lock().await.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Accept for Listening {
    async fn accept(&self) -> io::Result<Connection> {
        Ok(self.next().await)
    }

    fn address(&self) -> io::Result<SocketAddr> {
        Ok(address(0))
    }
}
