//! Sessions with peers: the parts that are the same whoever dialled.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use sealift_identity::{Direction, Session as TlsSession};
use sealift_receiver::Session as Receiving;
use sealift_sender::{Joining, Session as Sending};
use sealift_terms::{
    AuditKind, Identity, Reason, SessionFacts, SessionId,
    limits::{CONNECTIONS_PER_PEER_MAX, SESSIONS_PER_PEER_MAX},
};
use sealift_tunnel::Link;
use sealift_wire::{Agreed, Carries, Hello, KEY_EXCHANGE, LinkId, Role};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{Running, quota::Permits};
use crate::{Error, Metric, config::Peer, operations};

/// Links that may wait to join a session, and notices of links that are gone.
pub(super) const JOINING_MAX: usize = 64;
/// Links that a session may have had: it is begun anew when more are lost.
const LINKS_PER_SESSION_MAX: usize = 4096;
/// How long a session waits for the one before it to the same peer.
const FREE_WITHIN: Duration = Duration::from_secs(6);

/// The sessions that peers have begun here, by their number.
pub(super) type Registry = HashMap<SessionId, Entry>;

/// A session that a peer began.
pub(super) struct Entry {
    pub(super) identity: Identity,
    pub(super) first: Hello,
    pub(super) joins: Joins,
    /// The numbers that its links have had; none comes twice.
    numbers: BTreeSet<u32>,
    /// Room for data links.
    room: Arc<Semaphore>,
}

/// How a further link joins a session.
#[derive(Clone)]
pub(super) enum Joins {
    /// We receive.
    Receiving(Arc<Receiving>),
    /// We send.
    Sending(mpsc::Sender<Joining>),
}

/// A greeted session: who, what was said, and which way objects go.
pub(super) struct Greeted {
    pub(super) peer: Peer,
    pub(super) theirs: Hello,
    pub(super) agreed: Agreed,
    /// What this side does.
    pub(super) role: Role,
    pub(super) facts: SessionFacts,
}

impl Greeted {
    pub(super) fn new(
        peer: Peer,
        tls: &TlsSession,
        theirs: Hello,
        agreed: Agreed,
        role: Role,
    ) -> Self {
        let direction = match role {
            Role::Send => Direction::Sending,
            Role::Receive => Direction::Receiving,
        };
        Self {
            peer,
            theirs,
            agreed,
            role,
            facts: tls.facts(direction),
        }
    }
}

/// Why a session ended.
pub(super) type End = Result<(), (Reason, String)>;

impl Running {
    /// Begins an entry for a session whose control link came in. None when there
    /// is one of this number, or the peer has too many.
    pub(super) fn register(&self, greeted: &Greeted, joins: Joins) -> Option<SessionId> {
        let mut sessions = self.sessions.lock();
        let id = greeted.theirs.session;
        let identity = &greeted.peer.identity;
        let of_peer = sessions
            .values()
            .filter(|entry| entry.identity == *identity)
            .count();
        if of_peer >= SESSIONS_PER_PEER_MAX || sessions.contains_key(&id) {
            return None;
        }
        let (identity, first) = (identity.clone(), greeted.theirs.clone());
        let (numbers, room) = (
            BTreeSet::from([0]),
            Semaphore::new(CONNECTIONS_PER_PEER_MAX),
        );
        sessions.insert(
            id,
            Entry {
                identity,
                first,
                joins,
                numbers,
                room: Arc::new(room),
            },
        );
        Some(id)
    }

    pub(super) fn unregister(&self, session: SessionId) {
        self.sessions.lock().remove(&session);
    }

    /// The session that a further link wants to join, if it may.
    pub(super) fn join(
        &self,
        identity: &Identity,
        hello: &Hello,
    ) -> Result<(Joins, OwnedSemaphorePermit), String> {
        let mut sessions = self.sessions.lock();
        let entry = sessions.get_mut(&hello.session);
        let entry = entry
            .filter(|entry| entry.identity == *identity)
            .ok_or("it joins a session that is not open")?;
        hello
            .check_joins(&entry.first)
            .map_err(|error| error.to_string())?;
        let room = entry.room.clone().try_acquire_owned();
        let room = room.map_err(|_| format!("{CONNECTIONS_PER_PEER_MAX} links are open"))?;
        if entry.numbers.len() > LINKS_PER_SESSION_MAX {
            return Err("the session had too many links".to_owned());
        }
        if !entry.numbers.insert(hello.link) {
            return Err(format!("link {} was there before", hello.link));
        }
        Ok((entry.joins.clone(), room))
    }

    /// Puts a session on record and shows it.
    pub(super) fn session_opened(&self, greeted: &Greeted) -> Result<(), Error> {
        let Greeted {
            peer,
            theirs,
            facts,
            role,
            ..
        } = greeted;
        self.record(AuditKind::SessionOpened, &details(greeted))?;
        self.notice_rollback(greeted)?;
        self.peers.opened(&peer.name, direction(*role), facts);
        let labels = [peer.name.as_str(), direction(*role).as_str()];
        self.site
            .metrics
            .series(Metric::SessionsOpened, &labels)
            .add(1);
        tracing::info!(
            peer = %peer.name, role = ?role, tls = %facts.tls_version, suite = %facts.cipher_suite,
            group = %facts.group, software = %theirs.software, "session opened"
        );
        Ok(())
    }

    /// A sender that has seen more of this site than there is: it was set back to an older
    /// copy of its data, or its catalog was made anew.
    fn notice_rollback(&self, greeted: &Greeted) -> Result<(), Error> {
        let Some(seen) = greeted
            .theirs
            .remembered
            .filter(|_| greeted.role == Role::Receive)
        else {
            return Ok(());
        };
        let here = self.site.row();
        if seen.epoch == here.epoch && seen.commit_sequence <= here.sequence {
            return Ok(());
        }
        tracing::error!(
            peer = %greeted.peer.name, sequence = here.sequence, seen = seen.commit_sequence,
            "this site came back with an older copy of its data: the peer sends again what was lost"
        );
        let details = [
            ("peer", greeted.peer.name.to_string()),
            ("epoch_known", seen.epoch.to_string()),
            ("epoch", here.epoch.to_string()),
            ("sequence_known", seen.commit_sequence.to_string()),
            ("sequence", here.sequence.to_string()),
        ];
        self.record(AuditKind::ReplicaRolledBack, &details)
    }

    /// Puts the end of a session on record and shows it.
    pub(super) fn session_closed(&self, greeted: &Greeted, end: &End) {
        let mut details = details(greeted);
        if let Err((reason, evidence)) = end {
            details.push(("reason", reason.to_string()));
            details.push(("evidence", evidence.clone()));
        }
        if let Err(error) = self.record(AuditKind::SessionClosed, &details) {
            tracing::error!(%error, "the end of a session cannot be put on record");
        }
        let peer = &greeted.peer.name;
        self.peers.closed(peer, direction(greeted.role), end);
        match end {
            Ok(()) => tracing::info!(%peer, "session closed"),
            Err((reason, evidence)) => tracing::warn!(%peer, %reason, evidence, "session ended"),
        }
    }

    /// Sends over a greeted session until it ends or the agent stops.
    pub(super) async fn send_over(
        &self,
        greeted: &Greeted,
        links: mpsc::Receiver<Joining>,
        lost: mpsc::Sender<LinkId>,
    ) -> End {
        let Some(one) = self.senders.get(&greeted.peer.name) else {
            return Err((
                Reason::PolicyDenied,
                "no rule sends to this peer".to_owned(),
            ));
        };
        // One that moves to fresh links is still writing down what it was told.
        let Ok(_free) = tokio::time::timeout(FREE_WITHIN, one.free.lock()).await else {
            let evidence = "another session to this peer is still open";
            return Err((Reason::PeerUnreachable, evidence.to_owned()));
        };
        let theirs = &greeted.theirs;
        let (hello, agreed) = (theirs.clone(), greeted.agreed);
        let session = Sending {
            hello,
            agreed,
            links,
            lost,
        };
        let remembered = self.remembered(&greeted.peer.name, theirs).await;
        let reminder = self.remind(&one.sender, remembered);
        let end = tokio::select! {
            end = one.sender.run(session, self.stop.subscribe()) => end,
            never = reminder => match never {},
        };
        end.map_err(|error| (error.reason(), error.evidence()))
    }

    /// Waits until a session in which we receive is to end in order: the agent stops, or
    /// peers have to be told, in the HELLO of another one, that something else is allowed.
    pub(super) async fn reason_to_drain(&self) {
        let (mut stop, mut policy) = (self.stop.subscribe(), self.policy.subscribe());
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            // Its sender lives as long as this.
            _ = policy.changed() => {}
        }
    }

    /// The receiving side of a greeted session.
    pub(super) fn receiving(&self, greeted: &Greeted) -> Arc<Receiving> {
        let peer = sealift_receiver::Peer {
            identity: greeted.peer.identity.clone(),
            facts: greeted.facts.clone().into(),
        };
        let session = Receiving::new(self.door.clone(), peer, greeted.agreed.limits);
        // As our HELLO said.
        session.let_pack(self.site.config.limits.compression.is_on());
        // As theirs did.
        session.let_cut(greeted.theirs.cuts.is_some());
        session.let_exchange_keys(greeted.theirs.key_exchange == Some(KEY_EXCHANGE));
        session
    }

    /// Runs one link of a session in which we receive.
    pub(super) async fn receive_link(
        &self,
        session: &Arc<Receiving>,
        id: LinkId,
        mut link: Link,
        permits: Permits,
    ) -> End {
        self.adopt(id, &mut link, permits);
        let end = session.run_link(id, carries(id), link).await;
        end.map_err(|error| (error.reason(), error.to_string()))
    }

    /// A link of a session in which we send, ready to join it.
    pub(super) fn joining(&self, id: LinkId, mut link: Link, permits: Permits) -> Joining {
        self.adopt(id, &mut link, permits);
        Joining {
            id,
            carries: carries(id),
            link,
        }
    }
}

fn direction(role: Role) -> operations::Direction {
    match role {
        Role::Send => operations::Direction::Send,
        Role::Receive => operations::Direction::Receive,
    }
}

/// The control link carries no bytes of objects.
fn carries(id: LinkId) -> Carries {
    if id.0 == 0 {
        Carries::Control
    } else {
        Carries::Data
    }
}

fn details(greeted: &Greeted) -> Vec<(&'static str, String)> {
    let facts = &greeted.facts;
    vec![
        ("session", greeted.theirs.session.to_string()),
        ("peer", greeted.peer.name.to_string()),
        ("tls_version", facts.tls_version.clone()),
        ("cipher_suite", facts.cipher_suite.clone()),
        ("group", facts.group.clone()),
        ("sender", facts.sender.to_string()),
        ("sender_serial", facts.sender_serial.clone()),
        ("receiver", facts.receiver.to_string()),
        ("receiver_serial", facts.receiver_serial.clone()),
    ]
}
