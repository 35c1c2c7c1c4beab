//! Links that we make to peers: one session for each role, made again whenever it
//! ends.

use std::{
    future::poll_fn,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use sealift_receiver::Session as Receiving;
use sealift_sender::Joining;
use sealift_terms::{
    Boxed, Reason, SessionId,
    limits::{CONNECTIONS_PER_PEER_DEFAULT, CONNECTIONS_PER_PEER_MAX},
};
use sealift_tunnel::{Cause, Dialer, Link, LinkKind, TunnelError};
use sealift_wire::{Hello, LinkId, Role};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    Running,
    hello::{hello, remembered},
    quota::Permits,
    session::{End, Greeted, JOINING_MAX},
};
use crate::config::Peer;

/// Between two tries to open a session.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// A session that lived this long was a good one: the next is tried at once.
const GOOD_SESSION: Duration = Duration::from_secs(10);
/// One that lived this long and ended in order moves to fresh links: the next is begun
/// without a pause.
const MOVED_SESSION: Duration = Duration::from_secs(1);
/// What one connection has in flight for sure: the kernel lets it have 4 MiB in its buffer
/// (`tcp_wmem`), and counts what it needs itself into that.
const IN_FLIGHT_BYTES: f64 = 1_572_864.0;
/// The line that is to be filled, whatever its length: 1 Gbit/s.
const FILLED_BYTES_PER_SEC: f64 = 125e6;
/// How long the links of a session that ends have to close.
const CLOSED_WITHIN: Duration = Duration::from_secs(2);
/// Before a data link is made again.
const LINK_RETRY: Duration = Duration::from_secs(1);

/// Keeps a session with one peer open until the agent stops.
pub(super) async fn keep_session(
    running: Arc<Running>,
    dialer: Dialer,
    peer: Peer,
    address: String,
    role: Role,
) {
    let dialling = Dialling {
        running,
        dialer,
        peer,
        address,
        role,
    };
    let mut stop = dialling.running.stop.subscribe();
    let mut wait = RETRY_MIN;
    loop {
        let begun = Instant::now();
        let in_order = dialling.session().await;
        if *stop.borrow() {
            return;
        }
        let lived = begun.elapsed();
        if in_order && lived > MOVED_SESSION {
            wait = RETRY_MIN;
            continue;
        }
        wait = match lived > GOOD_SESSION {
            true => RETRY_MIN,
            false => (wait * 2).min(RETRY_MAX),
        };
        tokio::select! {
            () = tokio::time::sleep(jittered(wait, &dialling.running)) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Data links that fill a way with this round-trip time: two where it is short, as one core
/// each keeps busy, and one more for each [`IN_FLIGHT_BYTES`] that [`FILLED_BYTES_PER_SEC`]
/// have on their way.
fn connections_over(rtt: Duration) -> usize {
    let in_flight = rtt.as_secs_f64() * FILLED_BYTES_PER_SEC;
    let more = (in_flight / IN_FLIGHT_BYTES) as usize;
    more.saturating_add(CONNECTIONS_PER_PEER_DEFAULT)
        .min(CONNECTIONS_PER_PEER_MAX)
}

/// Half of `wait`, and a random part of the other half.
fn jittered(wait: Duration, running: &Running) -> Duration {
    let mut random = [0];
    running.site.world.rng.fill(&mut random);
    wait / 2 + wait / 2 * u32::from(u8::from_be_bytes(random)) / 255
}

struct Dialling {
    running: Arc<Running>,
    dialer: Dialer,
    peer: Peer,
    address: String,
    role: Role,
}

impl Dialling {
    /// Opens one session and runs it to its end; whether it had one in order.
    async fn session(&self) -> bool {
        let running = &self.running;
        let id = SessionId::random(&*running.site.world.rng);
        let (link, permits, greeted) = match self.control(id).await {
            Ok(opened) => opened,
            Err((reason, evidence)) => {
                let peer = &self.peer.name;
                if running.peers.failed(peer, reason, &evidence) {
                    tracing::warn!(%peer, address = self.address, %reason, evidence, "no session");
                }
                return false;
            }
        };
        if let Err(error) = running.session_opened(&greeted) {
            tracing::error!(%error, "no session without an audit record of it");
            return false;
        }
        let end = match self.role {
            Role::Send => self.send(&greeted, link, permits).await,
            Role::Receive => self.receive(&greeted, link, permits).await,
        };
        running.session_closed(&greeted, &end);
        end.is_ok()
    }

    /// The control link of a session, within the number of links that may stand.
    async fn control(&self, id: SessionId) -> Result<(Link, Permits, Greeted), (Reason, String)> {
        let full = |cause: Cause| (Reason::PeerUnreachable, cause.to_string());
        let permits = self.running.quota.take(&self.peer.identity).map_err(full)?;
        let seen = |error: TunnelError| (error.reason(), error.to_string());
        let identity = &self.peer.identity;
        let dialled = self
            .dialer
            .dial(&self.address, identity, LinkKind::Control)
            .await;
        let mut link = dialled.map_err(seen)?;
        let mut ours = hello(&self.running.site, id, 0, self.role);
        if self.role == Role::Send {
            ours.remembered = remembered(&self.running.site, &self.peer.name).await;
        }
        let (theirs, agreed) = link.greet(&ours).await.map_err(seen)?;
        if theirs.region != *identity.region() {
            let evidence = format!(
                "it says region {}, its identity is {identity}",
                theirs.region
            );
            return Err((Reason::PeerIdentityRefused, evidence));
        }
        self.running.heard_clock(&self.peer.name, &theirs);
        let greeted = Greeted::new(self.peer.clone(), link.session(), theirs, agreed, self.role);
        Ok((link, permits, greeted))
    }

    /// How many data links the session is to have: as many as the configuration says, or
    /// as the way to the peer is long.
    fn connections(&self, control: &Link) -> usize {
        let rtt = control.facts().map(|facts| facts.rtt);
        let configured = self.running.site.current().limits.connections_per_peer;
        let wanted = configured.unwrap_or_else(|| connections_over(rtt.unwrap_or_default()));
        tracing::debug!(peer = %self.peer.name, ?rtt, wanted, "data links");
        wanted
    }

    /// One more link for a session.
    async fn data_link(&self, first: &Hello, number: u32) -> Result<Link, TunnelError> {
        let identity = &self.peer.identity;
        let mut link = self
            .dialer
            .dial(&self.address, identity, LinkKind::Data)
            .await?;
        let ours = hello(&self.running.site, first.session, number, self.role);
        let (theirs, _) = link.greet(&ours).await?;
        theirs.check_joins(first)?;
        self.running.heard_clock(&self.peer.name, &theirs);
        Ok(link)
    }

    /// One more link for a session, within the number that may stand, or a wait.
    async fn try_data_link(&self, greeted: &Greeted, number: u32) -> Option<Made> {
        let made = async {
            let permits = self.running.quota.take(&self.peer.identity);
            let permits = permits.map_err(|cause| cause.to_string())?;
            let link = self.data_link(&greeted.theirs, number).await;
            let link = link.map_err(|error| error.to_string())?;
            Ok::<_, String>(Made {
                id: LinkId(number),
                link,
                permits,
            })
        };
        match made.await {
            Ok(made) => Some(made),
            Err(error) => {
                tracing::info!(peer = %self.peer.name, link = number, error, "no link");
                tokio::time::sleep(LINK_RETRY).await;
                None
            }
        }
    }

    async fn send(&self, greeted: &Greeted, control: Link, permits: Permits) -> End {
        let wanted = self.connections(&control);
        let (to_links, links) = mpsc::channel(JOINING_MAX);
        let (lost, gone) = mpsc::channel(JOINING_MAX);
        // The channel is empty: there is room.
        let _ = to_links.try_send(self.running.joining(LinkId(0), control, permits));
        tokio::select! {
            end = self.running.send_over(greeted, links, lost) => end,
            () = self.keep_links(greeted, wanted, to_links, gone) => Ok(()),
        }
    }

    /// Makes the data links of a session in which we send, and makes them again
    /// when they are lost. Ends with the session it belongs to.
    async fn keep_links(
        &self,
        greeted: &Greeted,
        wanted: usize,
        to_links: mpsc::Sender<Joining>,
        mut gone: mpsc::Receiver<LinkId>,
    ) {
        let (mut open, mut dials) = (0, Dials::of(self, greeted));
        loop {
            dials.fill(wanted.saturating_sub(open));
            // A peer that is gone takes the control link with it and no new one: what
            // is lost is heard while dialling, too.
            tokio::select! {
                made = dials.next() => if let Some(Made { id, link, permits }) = made {
                    open += 1;
                    let joining = self.running.joining(id, link, permits);
                    if to_links.send(joining).await.is_err() {
                        break;
                    }
                },
                lost = gone.recv() => match lost {
                    // Without its control link a session only finishes what is under way.
                    None | Some(LinkId(0)) => break,
                    Some(_) => open -= 1,
                },
            }
        }
        drop(to_links);
        std::future::pending().await
    }

    async fn receive(&self, greeted: &Greeted, control: Link, permits: Permits) -> End {
        let wanted = self.connections(&control);
        let session = self.running.receiving(greeted);
        let draining = async {
            self.running.reason_to_drain().await;
            session
                .drain(self.running.site.current().limits.drain)
                .await;
            std::future::pending::<()>().await;
        };
        let mut links = JoinSet::new();
        let end = tokio::select! {
            end = self.running.receive_link(&session, LinkId(0), control, permits) => end,
            () = self.receive_data(greeted, wanted, &session, &mut links) => Ok(()),
            () = draining => Ok(()),
        };
        session.end();
        // Each closes in order.
        let closed = async { while links.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(CLOSED_WITHIN, closed).await;
        session.fault().map_or(end, Err)
    }

    /// Keeps the data links of a session in which we receive.
    async fn receive_data(
        &self,
        greeted: &Greeted,
        wanted: usize,
        session: &Arc<Receiving>,
        links: &mut JoinSet<End>,
    ) {
        let mut dials = Dials::of(self, greeted);
        loop {
            dials.fill(wanted.saturating_sub(links.len()));
            tokio::select! {
                made = dials.next() => if let Some(Made { id, link, permits }) = made {
                    let (running, session) = (self.running.clone(), session.clone());
                    links.spawn(
                        async move { running.receive_link(&session, id, link, permits).await },
                    );
                },
                Some(_ended) = links.join_next() => tokio::time::sleep(LINK_RETRY).await,
            }
        }
    }
}

/// A data link that was made.
struct Made {
    id: LinkId,
    link: Link,
    permits: Permits,
}

/// The data links of a session that are being made, side by side: over a long way each takes
/// several round trips.
struct Dials<'a> {
    dialling: &'a Dialling,
    greeted: &'a Greeted,
    under_way: Vec<Boxed<'a, Option<Made>>>,
    numbers: u32,
}

impl<'a> Dials<'a> {
    fn of(dialling: &'a Dialling, greeted: &'a Greeted) -> Self {
        Self {
            dialling,
            greeted,
            under_way: Vec::new(),
            numbers: 0,
        }
    }

    /// Begins as many as are missing to `wanted`.
    fn fill(&mut self, wanted: usize) {
        while self.under_way.len() < wanted {
            self.numbers += 1;
            let dial = self.dialling.try_data_link(self.greeted, self.numbers);
            self.under_way.push(Box::pin(dial));
        }
    }

    /// What came of the first that ended; never anything if none is under way. May be
    /// cancelled and called again.
    async fn next(&mut self) -> Option<Made> {
        poll_fn(|cx| {
            for at in 0..self.under_way.len() {
                if let Some(dial) = self.under_way.get_mut(at)
                    && let Poll::Ready(made) = dial.as_mut().poll(cx)
                {
                    drop(self.under_way.swap_remove(at));
                    return Poll::Ready(made);
                }
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_way_has_more_connections_than_a_short_one() {
        let over = |millis| connections_over(Duration::from_millis(millis));
        assert_eq!(
            connections_over(Duration::ZERO),
            CONNECTIONS_PER_PEER_DEFAULT
        );
        assert_eq!([0, 1, 10, 20, 40, 80, 100].map(over), [2, 2, 2, 3, 5, 8, 8]);
        assert_eq!(over(10_000), CONNECTIONS_PER_PEER_MAX);
        assert_eq!(connections_over(Duration::MAX), CONNECTIONS_PER_PEER_MAX);
    }
}
