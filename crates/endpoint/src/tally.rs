//! What the endpoint counts.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    requests: Mutex<BTreeMap<(String, u16), u64>>,
    refused: Mutex<BTreeMap<&'static str, u64>>,
    bytes: AtomicU64,
    written: AtomicU64,
    connections: AtomicU64,
}

/// What was counted since the start, and what is open now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointCounts {
    /// Requests answered, by call of S3 and status of HTTP.
    pub requests: BTreeMap<(String, u16), u64>,
    /// Requests refused before they were a call, by cause.
    pub refused: BTreeMap<&'static str, u64>,
    /// Plaintext bytes of objects that were given out.
    pub bytes: u64,
    /// Plaintext bytes of objects that were taken.
    pub written: u64,
    /// Connections that are open.
    pub connections: u64,
}

impl Tally {
    pub(crate) fn request(&self, call: &str, status: u16) {
        let mut requests = self.requests.lock();
        *requests.entry((call.to_owned(), status)).or_default() += 1;
    }

    pub(crate) fn refused(&self, cause: &'static str) {
        *self.refused.lock().entry(cause).or_default() += 1;
    }

    pub(crate) fn bytes(&self, more: usize) {
        self.bytes.fetch_add(more as u64, Ordering::Relaxed);
    }

    pub(crate) fn written(&self, more: u64) {
        self.written.fetch_add(more, Ordering::Relaxed);
    }

    /// Counts a connection for as long as what it gives back lives.
    pub(crate) fn connection(&self) -> impl Drop + '_ {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Open(&self.connections)
    }

    pub(crate) fn counts(&self) -> EndpointCounts {
        EndpointCounts {
            requests: self.requests.lock().clone(),
            refused: self.refused.lock().clone(),
            bytes: self.bytes.load(Ordering::Relaxed),
            written: self.written.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::Relaxed),
        }
    }
}

struct Open<'a>(&'a AtomicU64);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_and_connections_are_those_that_are_open() {
        let tally = Tally::default();
        tally.request("GetObject", 200);
        tally.request("GetObject", 200);
        tally.request("GetObject", 404);
        tally.refused("unsigned");
        tally.bytes(7);
        let (first, second) = (tally.connection(), tally.connection());
        assert_eq!(tally.counts().connections, 2);
        drop((first, second));
        let counts = tally.counts();
        assert_eq!(counts.requests[&("GetObject".to_owned(), 200)], 2);
        assert_eq!(counts.requests[&("GetObject".to_owned(), 404)], 1);
        assert_eq!((counts.refused["unsigned"], counts.bytes), (1, 7));
        assert_eq!(counts.connections, 0);
    }
}
