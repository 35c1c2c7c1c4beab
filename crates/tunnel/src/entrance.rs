//! Who may come in at a listening address: from which networks, and how many at once.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use sealift_terms::{
    Networks,
    limits::{PENDING_HANDSHAKES_MAX, PENDING_HANDSHAKES_PER_SOURCE_MAX},
};
use tokio::time;

use crate::{
    error::Cause,
    transport::{Accept, Connection},
};

/// A wait after an error of the socket, such as no more file descriptors.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// The networks that connections may come from, and the handshakes under way.
#[derive(Debug)]
pub struct Entrance {
    from: Networks,
    /// The setting that names the networks.
    setting: &'static str,
    handshakes: Arc<Places<IpAddr>>,
}

impl Entrance {
    /// For whoever comes from these networks, which that setting names.
    #[must_use]
    pub fn new(from: Networks, setting: &'static str) -> Self {
        Self {
            from,
            setting,
            handshakes: Places::new(PENDING_HANDSHAKES_MAX, PENDING_HANDSHAKES_PER_SOURCE_MAX),
        }
    }

    /// A place for the handshake of whoever comes from an address.
    ///
    /// # Errors
    /// [`Cause`] says why there is none.
    pub fn enter(&self, from: SocketAddr) -> Result<Place<IpAddr>, Cause> {
        let source = from.ip().to_canonical();
        if !self.from.allow(source) {
            let setting = self.setting;
            return Err(Cause::NetworkNotAllowed { setting });
        }
        let place = self.handshakes.take(source);
        place.map_err(|full| full.of_source("handshakes"))
    }

    /// The next connection of a socket. What goes wrong with the socket is tried again.
    pub async fn next(socket: &dyn Accept) -> Connection {
        loop {
            match socket.accept().await {
                Ok(connection) => return connection,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "the listening socket failed, trying again");
                    time::sleep(PAUSE_AFTER_ERROR).await;
                }
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

/// Places, so many in all and so many for each of those who take them.
#[derive(Debug)]
pub struct Places<K> {
    all_max: usize,
    each_max: usize,
    taken: Mutex<Taken<K>>,
}

#[derive(Debug)]
struct Taken<K> {
    all: usize,
    by: BTreeMap<K, usize>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// So many are taken.
    All(usize),
    /// So many are taken by the one who asks.
    OfOne(usize),
}

/// A place, given back when dropped.
#[derive(Debug)]
pub struct Place<K: Ord> {
    places: Arc<Places<K>>,
    whose: K,
}

impl<K: Ord + Clone> Places<K> {
    /// So many in all, and so many for each.
    #[must_use]
    pub fn new(all_max: usize, each_max: usize) -> Arc<Self> {
        let by = BTreeMap::new();
        Arc::new(Self {
            all_max,
            each_max,
            taken: Mutex::new(Taken { all: 0, by }),
        })
    }

    /// Takes one.
    ///
    /// # Errors
    /// When there is none.
    pub fn take(self: &Arc<Self>, whose: K) -> Result<Place<K>, Full> {
        let mut taken = self.taken.lock();
        if taken.all >= self.all_max {
            return Err(Full::All(self.all_max));
        }
        let own = taken.by.get(&whose).copied().unwrap_or_default();
        if own >= self.each_max {
            return Err(Full::OfOne(self.each_max));
        }
        taken.by.insert(whose.clone(), own + 1);
        taken.all += 1;
        let places = self.clone();
        Ok(Place { places, whose })
    }
}

impl<K: Ord> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.all -= 1;
        if let Some(own) = taken.by.get_mut(&self.whose) {
            *own -= 1;
            if *own == 0 {
                taken.by.remove(&self.whose);
            }
        }
    }
}

impl Full {
    /// The cause of a refusal, where places are for addresses and taken for `what`.
    #[must_use]
    pub fn of_source(self, what: &'static str) -> Cause {
        match self {
            Self::All(max) => Cause::TooMany { max, what },
            Self::OfOne(max) => Cause::TooManyFromSource { max, what },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_are_bounded_per_source_and_in_all_and_places_are_given_back() {
        let entrance = Entrance::new(Networks::default(), "listen.networks");
        let enter = |i: usize| entrance.enter(SocketAddr::from(([10, 0, 0, i as u8], 1)));
        let per_source = PENDING_HANDSHAKES_PER_SOURCE_MAX;
        let mut places: Vec<_> = (0..PENDING_HANDSHAKES_MAX)
            .map(|i| enter(i / per_source).unwrap())
            .collect();
        assert!(matches!(enter(200), Err(Cause::TooMany { .. })));
        places.remove(0);
        assert!(matches!(enter(1), Err(Cause::TooManyFromSource { .. })));
        let last = enter(200).unwrap();
        drop((places, last));
        let taken = entrance.handshakes.taken.lock();
        assert!(taken.all == 0 && taken.by.is_empty());
    }
}
