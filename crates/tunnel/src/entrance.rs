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
    limits::{
        PENDING_HANDSHAKES_KEPT, PENDING_HANDSHAKES_MAX, PENDING_HANDSHAKES_PER_SOURCE_MAX,
        SOURCE_KNOWN_TIME, SOURCES_KNOWN_MAX,
    },
};
use tokio::time::{self, Instant};

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
    known: Mutex<Known>,
}

impl Entrance {
    /// For whoever comes from these networks, which that setting names.
    #[must_use]
    pub fn new(from: Networks, setting: &'static str) -> Self {
        Self {
            from,
            setting,
            handshakes: Places::new(PENDING_HANDSHAKES_MAX, PENDING_HANDSHAKES_PER_SOURCE_MAX),
            known: Mutex::default(),
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
        let is_known = self.known.lock().has(source);
        let kept = if is_known { 0 } else { PENDING_HANDSHAKES_KEPT };
        let place = self.handshakes.take_but(kept, source);
        place.map_err(|full| match full {
            Full::All(max) if !is_known => Cause::TooManyStrangers { max },
            full => full.of_source("handshakes"),
        })
    }

    /// Somebody who may come in has shown a certificate from that address: it is known.
    pub fn remember(&self, from: SocketAddr) {
        self.known.lock().add(from.ip().to_canonical());
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

/// When somebody last showed a certificate from an address.
#[derive(Debug, Default)]
struct Known(BTreeMap<IpAddr, Instant>);

impl Known {
    fn has(&self, source: IpAddr) -> bool {
        let last = self.0.get(&source);
        last.is_some_and(|last| last.elapsed() < SOURCE_KNOWN_TIME)
    }

    fn add(&mut self, source: IpAddr) {
        self.0.insert(source, Instant::now());
        if self.0.len() > SOURCES_KNOWN_MAX {
            let oldest = self.0.iter().min_by_key(|(_, last)| **last);
            let oldest = oldest.map(|(source, _)| *source);
            oldest.and_then(|source| self.0.remove(&source));
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
        self.take_but(0, whose)
    }

    /// The same for one who is not to have the last places, so many, which are kept for
    /// others.
    fn take_but(self: &Arc<Self>, kept: usize, whose: K) -> Result<Place<K>, Full> {
        let mut taken = self.taken.lock();
        let all_max = self.all_max.saturating_sub(kept);
        if taken.all >= all_max {
            return Err(Full::All(all_max));
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

    const STRANGERS_MAX: usize = PENDING_HANDSHAKES_MAX - PENDING_HANDSHAKES_KEPT;
    const PER_SOURCE: usize = PENDING_HANDSHAKES_PER_SOURCE_MAX;

    fn entrance() -> Entrance {
        Entrance::new(Networks::default(), "listen.networks")
    }

    fn source(number: usize) -> SocketAddr {
        let [.., high, low] = number.to_be_bytes();
        SocketAddr::from(([10, 0, high, low], 1))
    }

    /// As many places as strangers may have, of addresses from 0 on.
    fn strangers(entrance: &Entrance) -> Vec<Place<IpAddr>> {
        let enter = |i| entrance.enter(source(i / PER_SOURCE)).unwrap();
        (0..STRANGERS_MAX).map(enter).collect()
    }

    #[test]
    fn handshakes_are_bounded_per_source_and_in_all_and_places_are_given_back() {
        let entrance = entrance();
        let enter = |number| entrance.enter(source(number));
        let mut places = strangers(&entrance);
        assert!(matches!(enter(200), Err(Cause::TooManyStrangers { .. })));
        places.remove(0);
        assert!(matches!(enter(1), Err(Cause::TooManyFromSource { .. })));
        let last = enter(200).unwrap();
        drop((places, last));
        let taken = entrance.handshakes.taken.lock();
        assert!(taken.all == 0 && taken.by.is_empty());
    }

    #[test]
    fn the_last_places_are_for_addresses_that_are_known_and_are_bounded_too() {
        let entrance = entrance();
        let enter = |number| entrance.enter(source(number));
        let mut places = strangers(&entrance);
        for number in 200..200 + PENDING_HANDSHAKES_KEPT / PER_SOURCE {
            assert!(matches!(enter(number), Err(Cause::TooManyStrangers { .. })));
            entrance.remember(source(number));
            places.extend((0..PER_SOURCE).map(|_| enter(number).unwrap()));
        }
        entrance.remember(source(300));
        assert!(matches!(enter(300), Err(Cause::TooMany { .. })));
        // A place of a stranger's is no stranger's again while too many are inside.
        places.remove(0);
        assert!(matches!(enter(400), Err(Cause::TooManyStrangers { .. })));
        enter(300).unwrap();
        assert!(matches!(enter(201), Err(Cause::TooManyFromSource { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_is_known_for_a_day_and_no_more_than_so_many_are() {
        let entrance = entrance();
        let _places = strangers(&entrance);
        let is_let_in = |number| entrance.enter(source(number)).is_ok();
        for number in 0..SOURCES_KNOWN_MAX {
            entrance.remember(source(1000 + number));
            time::advance(Duration::from_secs(1)).await;
        }
        entrance.remember(source(1000));
        entrance.remember(source(5000));
        assert!(is_let_in(5000) && is_let_in(1000));
        assert!(!is_let_in(1001), "it was there longest ago");
        assert_eq!(entrance.known.lock().0.len(), SOURCES_KNOWN_MAX);
        time::advance(SOURCE_KNOWN_TIME).await;
        assert!(!is_let_in(5000));
    }
}
