//! Taking links from whoever may make them.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use sealift_identity::TlsContext;
use sealift_terms::{
    Networks,
    limits::{HANDSHAKE_TIME_MAX, PENDING_HANDSHAKES_MAX, PENDING_HANDSHAKES_PER_SOURCE_MAX},
};
use sealift_wire::Hello;
use tokio::{sync::mpsc, task::JoinHandle, time};

use crate::{
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
/// A wait after an error of the socket, such as no more file descriptors.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

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
            from,
            on_refused,
            pending: Mutex::default(),
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
    from: Networks,
    on_refused: OnRefused,
    pending: Mutex<Pending>,
    to: mpsc::Sender<Accepted>,
}

async fn serve(socket: Box<dyn Accept>, door: Arc<Door>) {
    loop {
        match socket.accept().await {
            Ok(connection) => {
                let from = connection.peer;
                match enter(&door, from) {
                    Ok(slot) => drop(tokio::spawn(receive(door.clone(), connection, slot))),
                    Err(cause) => (door.on_refused)(Refused { from, cause }),
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "the listening socket failed, trying again");
                time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

/// Errors that `accept` reports for a connection that is gone already.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::ConnectionAborted | K::ConnectionReset | K::NotConnected
    )
}

async fn receive(door: Arc<Door>, connection: Connection, slot: Slot) {
    let from = connection.peer;
    let greeted = async {
        let mut link = handshake::answer(connection, &door.tls).await?;
        let hello = link.hello().await?;
        Ok(Accepted { link, hello })
    };
    let greeted = time::timeout(HANDSHAKE_TIME_MAX, greeted).await;
    match greeted.unwrap_or(Err(TunnelError::TooSlow)) {
        // The slot is held until it is fetched: nobody piles up links.
        Ok(accepted) => drop(door.to.send(accepted).await),
        Err(error) => (door.on_refused)(Refused {
            from,
            cause: Cause::Handshake(error),
        }),
    }
    drop(slot);
}

/// Handshakes under way.
#[derive(Debug, Default)]
struct Pending {
    all: usize,
    by_source: BTreeMap<IpAddr, usize>,
}

/// A place among the handshakes under way, given back when dropped.
struct Slot {
    door: Arc<Door>,
    source: IpAddr,
}

fn enter(door: &Arc<Door>, from: SocketAddr) -> Result<Slot, Cause> {
    let source = from.ip().to_canonical();
    if !door.from.allow(source) {
        return Err(Cause::NetworkNotAllowed);
    }
    door.pending.lock().enter(source)?;
    Ok(Slot {
        door: door.clone(),
        source,
    })
}

impl Pending {
    fn enter(&mut self, source: IpAddr) -> Result<(), Cause> {
        if self.all >= PENDING_HANDSHAKES_MAX {
            return Err(Cause::TooMany);
        }
        let of_source = self.by_source.entry(source).or_default();
        if *of_source >= PENDING_HANDSHAKES_PER_SOURCE_MAX {
            return Err(Cause::TooManyFromSource);
        }
        *of_source += 1;
        self.all += 1;
        Ok(())
    }

    fn leave(&mut self, source: IpAddr) {
        self.all -= 1;
        if let Some(of_source) = self.by_source.get_mut(&source) {
            *of_source -= 1;
            if *of_source == 0 {
                self.by_source.remove(&source);
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.door.pending.lock().leave(self.source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_are_bounded_per_source_and_in_all_and_places_are_given_back() {
        let mut pending = Pending::default();
        let source = |i: usize| IpAddr::from([10, 0, 0, i as u8]);
        let per_source = PENDING_HANDSHAKES_PER_SOURCE_MAX;
        for i in 0..PENDING_HANDSHAKES_MAX {
            assert!(pending.enter(source(i / per_source)).is_ok());
        }
        assert!(matches!(pending.enter(source(200)), Err(Cause::TooMany)));
        pending.leave(source(0));
        assert!(matches!(
            pending.enter(source(1)),
            Err(Cause::TooManyFromSource)
        ));
        assert!(pending.enter(source(200)).is_ok());
        for i in 1..PENDING_HANDSHAKES_MAX {
            pending.leave(source(i / per_source));
        }
        pending.leave(source(200));
        assert!(pending.all == 0 && pending.by_source.is_empty());
    }
}
