//! Taking links from whoever may make them.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use sealift_identity::TlsContext;
use sealift_terms::{Networks, limits::HANDSHAKE_TIME_MAX};
use sealift_wire::Hello;
use tokio::{sync::mpsc, task::JoinHandle, time};

use crate::{
    entrance::{Entrance, Place},
    error::{Cause, Refused, TunnelError},
    handshake,
    link::Link,
    transport::{Accept, Connection, Transport},
};

/// Is told of every connection that was refused, once.
pub type OnRefused = Arc<dyn Fn(Refused) + Send + Sync>;

/// A peer that has shown who it is and said what it wants.
#[derive(Debug)]
pub struct Accepted {
    /// The link; its HELLO awaits an [answer](Link::answer).
    pub link: Link,
    /// The peer's HELLO.
    pub hello: Hello,
}

/// Links that are made and not yet fetched. Their number is bounded: a peer's
/// connections are counted above, when they are fetched.
const READY_MAX: usize = 16;

/// Listens on one address. Dropping it closes the socket.
pub struct Listener {
    ready: mpsc::Receiver<Accepted>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Listener {
    /// Listens on `address` and shakes hands with whoever comes from one of the networks
    /// `from`, as many at once as the limits allow.
    ///
    /// # Errors
    /// [`TunnelError::Io`] when the address cannot be listened on.
    pub async fn bind(
        transport: &dyn Transport,
        address: &str,
        tls: Arc<TlsContext>,
        from: Networks,
        on_refused: OnRefused,
    ) -> Result<Self, TunnelError> {
        let what = "listening";
        let socket = transport
            .listen(address)
            .await
            .map_err(TunnelError::io(what))?;
        let address = socket.address().map_err(TunnelError::io(what))?;
        let (to, ready) = mpsc::channel(READY_MAX);
        let door = Arc::new(Door {
            tls,
            entrance: Entrance::new(from, "listen.networks"),
            on_refused,
            to,
        });
        let task = tokio::spawn(serve(socket, door));
        Ok(Self {
            ready,
            address,
            task,
        })
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next link. None when the listening task has ended, which it does only
    /// with the process. May be cancelled.
    pub async fn accept(&mut self) -> Option<Accepted> {
        self.ready.recv().await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// What the handshakes of one listener share.
struct Door {
    tls: Arc<TlsContext>,
    entrance: Entrance,
    on_refused: OnRefused,
    to: mpsc::Sender<Accepted>,
}

async fn serve(socket: Box<dyn Accept>, door: Arc<Door>) {
    loop {
        let connection = Entrance::next(&*socket).await;
        let from = connection.peer;
        match door.entrance.enter(from) {
            Ok(place) => drop(tokio::spawn(receive(door.clone(), connection, place))),
            Err(cause) => (door.on_refused)(Refused { from, cause }),
        }
    }
}

async fn receive(door: Arc<Door>, connection: Connection, place: Place<IpAddr>) {
    let from = connection.peer;
    let greeted = async {
        let mut link = handshake::answer(connection, &door.tls).await?;
        let hello = link.hello().await?;
        Ok(Accepted { link, hello })
    };
    let greeted = time::timeout(HANDSHAKE_TIME_MAX, greeted).await;
    match greeted.unwrap_or(Err(TunnelError::TooSlow)) {
        // The place is held until it is fetched: nobody piles up links.
        Ok(accepted) => {
            door.entrance.remember(from);
            drop(door.to.send(accepted).await);
        }
        Err(error) => (door.on_refused)(Refused {
            from,
            cause: Cause::Handshake(error),
        }),
    }
    drop(place);
}
