//! Links that we make to peers: one session for each role, made again whenever it
//! ends.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sealift_receiver::Session as Receiving;
use sealift_sender::Joining;
use sealift_terms::{Reason, SessionId};
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
        dialling.session().await;
        if *stop.borrow() {
            return;
        }
        wait = match begun.elapsed() > GOOD_SESSION {
            true => RETRY_MIN,
            false => (wait * 2).min(RETRY_MAX),
        };
        tokio::select! {
            () = tokio::time::sleep(jittered(wait, &dialling.running)) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
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
    /// Opens one session and runs it to its end.
    async fn session(&self) {
        let running = &self.running;
        let id = SessionId::random(&*running.site.world.rng);
        let (link, permits, greeted) = match self.control(id).await {
            Ok(opened) => opened,
            Err((reason, evidence)) => {
                let peer = &self.peer.name;
                if running.peers.failed(peer, reason, &evidence) {
                    tracing::warn!(%peer, address = self.address, %reason, evidence, "no session");
                }
                return;
            }
        };
        if let Err(error) = running.session_opened(&greeted) {
            tracing::error!(%error, "no session without an audit record of it");
            return;
        }
        let end = match self.role {
            Role::Send => self.send(&greeted, link, permits).await,
            Role::Receive => self.receive(&greeted, link, permits).await,
        };
        running.session_closed(&greeted, &end);
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
        let greeted = Greeted::new(self.peer.clone(), link.session(), theirs, agreed, self.role);
        Ok((link, permits, greeted))
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
        Ok(link)
    }

    /// One more link for a session, within the number that may stand, or a wait.
    async fn try_data_link(&self, greeted: &Greeted, number: u32) -> Option<(Link, Permits)> {
        let made = async {
            let permits = self.running.quota.take(&self.peer.identity);
            let permits = permits.map_err(|cause| cause.to_string())?;
            let link = self.data_link(&greeted.theirs, number).await;
            Ok::<_, String>((link.map_err(|error| error.to_string())?, permits))
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
        let (to_links, links) = mpsc::channel(JOINING_MAX);
        let (lost, gone) = mpsc::channel(JOINING_MAX);
        // The channel is empty: there is room.
        let _ = to_links.try_send(self.running.joining(LinkId(0), control, permits));
        tokio::select! {
            end = self.running.send_over(greeted, links, lost) => end,
            () = self.keep_links(greeted, to_links, gone) => Ok(()),
        }
    }

    /// Makes the data links of a session in which we send, and makes them again
    /// when they are lost. Ends with the session it belongs to.
    async fn keep_links(
        &self,
        greeted: &Greeted,
        to_links: mpsc::Sender<Joining>,
        mut gone: mpsc::Receiver<LinkId>,
    ) {
        let wanted = self.running.site.current().limits.connections_per_peer;
        let mut open = 0;
        for number in 1.. {
            let dialled = async {
                match open < wanted {
                    true => self.try_data_link(greeted, number).await,
                    false => std::future::pending().await,
                }
            };
            // A peer that is gone takes the control link with it and no new one: what
            // is lost is heard while dialling, too.
            tokio::select! {
                link = dialled => if let Some((link, permits)) = link {
                    open += 1;
                    let joining = self.running.joining(LinkId(number), link, permits);
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
        let session = self.running.receiving(greeted);
        let draining = async {
            self.running.reason_to_drain().await;
            session
                .drain(self.running.site.current().limits.drain)
                .await;
        };
        let end = tokio::select! {
            end = self.running.receive_link(&session, LinkId(0), control, permits) => end,
            () = self.receive_data(greeted, &session) => Ok(()),
            () = draining => Ok(()),
        };
        session.end();
        session.fault().map_or(end, Err)
    }

    /// Keeps the data links of a session in which we receive.
    async fn receive_data(&self, greeted: &Greeted, session: &Arc<Receiving>) {
        let wanted = self.running.site.current().limits.connections_per_peer;
        let mut links = JoinSet::new();
        let mut number = 0;
        loop {
            while links.len() < wanted {
                number += 1;
                if let Some((link, permits)) = self.try_data_link(greeted, number).await {
                    let (running, session) = (self.running.clone(), session.clone());
                    let id = LinkId(number);
                    links.spawn(
                        async move { running.receive_link(&session, id, link, permits).await },
                    );
                }
            }
            let _ = links.join_next().await;
            tokio::time::sleep(LINK_RETRY).await;
        }
    }
}
