//! Sessions between the two sites: clear links whose peers are known beforehand.
//!
//! What `agent::running` does over TLS: whoever is to dial does so again whenever a
//! session ends, links join sessions by their number, roles are in HELLO.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sealift_identity::Direction;
use sealift_receiver::{Peer, Session as Receiving};
use sealift_sender::{Joining, Session as Sending};
use sealift_terms::{Clock, Rng, SessionId, SiteName};
use sealift_tunnel::{Connection, Link, LinkKind, Transport};
use sealift_wire::{
    Agreed, Carries, Cuts, DECOMPRESSES_ZSTD, Hello, Limits, LinkId, PROTOCOL_MAX, PROTOCOL_MIN,
    Role, TAKES_PURGES,
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    net::{Listening, SimTransport},
    site::{Running, facts_at, region},
};

const JOINING_MAX: usize = 64;
const GREETING_TIME_MAX: Duration = Duration::from_secs(10);
const LINK_RETRY: Duration = Duration::from_secs(1);

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Running {
    fn hello(&self, session: SessionId, link: u32, sends: bool) -> Hello {
        let here = self.archive.site();
        Hello {
            protocol_min: PROTOCOL_MIN,
            protocol_max: PROTOCOL_MAX,
            session,
            link,
            role: match sends {
                true => Role::Send,
                false => Role::Receive,
            },
            site: here.site,
            site_name: SiteName::new(["near", "far"][self.site]).unwrap(),
            region: region(self.site),
            epoch: here.epoch,
            commit_sequence: here.sequence,
            clock: self.clock.now(),
            software: String::new(),
            limits: Limits::default(),
            policy: None,
            remembered: None,
            decompresses: Some(DECOMPRESSES_ZSTD),
            cuts: Some(Cuts::default()),
            key_exchange: None,
            takes: Some(TAKES_PURGES),
        }
    }

    fn link(&self, connection: Connection) -> Link {
        Link::clear(connection, LinkKind::Data, facts_at(self.site))
    }

    fn receiving(&self, agreed: Agreed) -> Arc<Receiving> {
        let facts = facts_at(self.site);
        let peer = Peer {
            identity: facts.peer.identity.clone(),
            facts: facts.facts(Direction::Receiving).into(),
        };
        let session = Receiving::new(self.door.clone(), peer, agreed.limits);
        session.let_pack(true);
        session.let_cut(true);
        session
    }

    /// Sends until the session ends.
    async fn send(
        &self,
        hello: Hello,
        agreed: Agreed,
        links: mpsc::Receiver<Joining>,
        lost: mpsc::Sender<LinkId>,
    ) {
        let Some(sending) = &self.sending else { return };
        let Ok(_free) = sending.free.try_lock() else {
            tracing::info!("a sending session is open already");
            return;
        };
        let session = Sending {
            hello,
            agreed,
            links,
            lost,
        };
        match sending.sender.run(session, self.stop.subscribe()).await {
            Ok(()) => tracing::info!("the sending session ended"),
            Err(error) => tracing::info!(%error, "the sending session failed"),
        }
    }

    /// Receives over one link until it ends.
    async fn receive(&self, session: &Arc<Receiving>, id: LinkId, link: Link) {
        if let Err(error) = session.run_link(id, carries(id), link).await {
            tracing::info!(%error, link = %id, "a receiving link ended");
        }
    }

    async fn until_stopped(&self) {
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// The control link of a session in which this site receives.
    async fn receive_control(&self, session: &Arc<Receiving>, link: Link) {
        let draining = async {
            self.until_stopped().await;
            session.drain(Duration::from_secs(10)).await;
        };
        tokio::select! {
            () = self.receive(session, LinkId(0), link) => {}
            () = draining => {}
        }
        session.end();
    }
}

fn carries(id: LinkId) -> Carries {
    match id.0 {
        0 => Carries::Control,
        _ => Carries::Data,
    }
}

fn joining(id: LinkId, link: Link) -> Joining {
    let carries = carries(id);
    Joining { id, carries, link }
}

/// Keeps a session open until the process ends.
pub(crate) async fn keep_session(running: Arc<Running>, transport: SimTransport, links: usize) {
    let mut wait = 250;
    while !*running.stop.borrow() {
        let begun = tokio::time::Instant::now();
        if let Err(error) = session(&running, &transport, links).await {
            tracing::info!(%error, "no session");
        }
        wait = match begun.elapsed() > Duration::from_secs(10) {
            true => 250,
            false => (wait * 2).min(30_000),
        };
        let wait = Duration::from_millis(wait / 2 + running.rng.0.below(wait / 2));
        tokio::select! {
            () = sleep(wait) => {}
            () = running.until_stopped() => {}
        }
    }
}

async fn dial(
    running: &Running,
    transport: &SimTransport,
    session: SessionId,
    number: u32,
) -> Result<(Link, Hello, Agreed), Failure> {
    let sends = running.plan.sends(running.site, true);
    let dialled = async {
        let mut link = running.link(transport.dial("").await?);
        let (theirs, agreed) = link.greet(&running.hello(session, number, sends)).await?;
        Ok((link, theirs, agreed))
    };
    timeout(GREETING_TIME_MAX, dialled).await?
}

async fn session(
    running: &Arc<Running>,
    transport: &SimTransport,
    wanted: usize,
) -> Result<(), Failure> {
    let mut id = SessionId([0; 16]);
    running.rng.fill(&mut id.0);
    let (control, theirs, agreed) = dial(running, transport, id, 0).await?;
    if running.plan.sends(running.site, true) {
        let (to_links, links) = mpsc::channel(JOINING_MAX);
        let (lost, gone) = mpsc::channel(JOINING_MAX);
        let _ = to_links.try_send(joining(LinkId(0), control));
        tokio::select! {
            () = running.send(theirs.clone(), agreed, links, lost) => {}
            () = keep_links(running, transport, &theirs, wanted, to_links, gone) => {}
        }
    } else {
        let session = running.receiving(agreed);
        tokio::select! {
            () = running.receive_control(&session, control) => {}
            () = receive_data(running, transport, &theirs, wanted, &session) => {}
        }
        session.end();
    }
    Ok(())
}

/// One more link of a session, or a wait.
async fn another(
    running: &Running,
    transport: &SimTransport,
    first: &Hello,
    number: u32,
) -> Option<Link> {
    let dialled = dial(running, transport, first.session, number).await;
    let joined = dialled.and_then(|(link, theirs, _)| {
        theirs.check_joins(first)?;
        Ok(link)
    });
    match joined {
        Ok(link) => Some(link),
        Err(error) => {
            tracing::info!(%error, number, "no link");
            sleep(LINK_RETRY).await;
            None
        }
    }
}

async fn keep_links(
    running: &Running,
    transport: &SimTransport,
    first: &Hello,
    wanted: usize,
    to_links: mpsc::Sender<Joining>,
    mut gone: mpsc::Receiver<LinkId>,
) {
    let mut open = 0;
    for number in 1.. {
        let dialled = async {
            match open < wanted {
                true => another(running, transport, first, number).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            link = dialled => if let Some(link) = link {
                open += 1;
                if to_links.send(joining(LinkId(number), link)).await.is_err() {
                    break;
                }
            },
            lost = gone.recv() => match lost {
                None | Some(LinkId(0)) => break,
                Some(_) => open -= 1,
            },
        }
    }
    drop(to_links);
    std::future::pending().await
}

async fn receive_data(
    running: &Arc<Running>,
    transport: &SimTransport,
    first: &Hello,
    wanted: usize,
    session: &Arc<Receiving>,
) {
    let mut links = JoinSet::new();
    let mut number = 0;
    loop {
        while links.len() < wanted {
            number += 1;
            if let Some(link) = another(running, transport, first, number).await {
                let (running, session) = (running.clone(), session.clone());
                links.spawn(async move { running.receive(&session, LinkId(number), link).await });
            }
        }
        let _ = links.join_next().await;
        sleep(LINK_RETRY).await;
    }
}

/// How a further link joins a session that the peer began.
enum Joins {
    Receiving(Arc<Receiving>),
    Sending(mpsc::Sender<Joining>),
}

type Sessions = Arc<Mutex<BTreeMap<SessionId, (Hello, Joins)>>>;

/// Takes links until the process ends.
pub(crate) async fn accept(running: Arc<Running>, listening: Listening) {
    let sessions = Sessions::default();
    let mut links = JoinSet::new();
    loop {
        let connection = tokio::select! {
            connection = listening.next() => connection,
            () = running.until_stopped() => break,
        };
        while links.try_join_next().is_some() {}
        let (running, sessions) = (running.clone(), sessions.clone());
        links.spawn(async move {
            if let Err(error) = admit(&running, &sessions, connection).await {
                tracing::info!(%error, "a link was refused");
            }
        });
    }
    while links.join_next().await.is_some() {}
}

async fn admit(
    running: &Arc<Running>,
    sessions: &Sessions,
    connection: Connection,
) -> Result<(), Failure> {
    let mut link = running.link(connection);
    let theirs = timeout(GREETING_TIME_MAX, link.hello()).await??;
    let sends = running.plan.sends(running.site, false);
    let ours = running.hello(theirs.session, theirs.link, sends);
    if theirs.link == 0 {
        return begin(running, sessions, link, &ours, theirs).await;
    }
    let id = LinkId(theirs.link);
    let joins = {
        let sessions = sessions.lock();
        let (first, joins) = sessions.get(&theirs.session).ok_or("no such session")?;
        theirs.check_joins(first)?;
        match joins {
            Joins::Receiving(session) => Joins::Receiving(session.clone()),
            Joins::Sending(links) => Joins::Sending(links.clone()),
        }
    };
    link.answer(&ours).await?;
    match joins {
        Joins::Receiving(session) => running.receive(&session, id, link).await,
        Joins::Sending(links) => drop(links.send(joining(id, link)).await),
    }
    Ok(())
}

async fn begin(
    running: &Arc<Running>,
    sessions: &Sessions,
    mut link: Link,
    ours: &Hello,
    theirs: Hello,
) -> Result<(), Failure> {
    let agreed = ours.agree(&theirs)?;
    let id = theirs.session;
    if running.plan.sends(running.site, false) {
        let (to_links, links) = mpsc::channel(JOINING_MAX);
        let (lost, _nobody_dials_again) = mpsc::channel(JOINING_MAX);
        let joins = Joins::Sending(to_links.clone());
        sessions.lock().insert(id, (theirs.clone(), joins));
        if link.answer(ours).await.is_ok() {
            let _ = to_links.try_send(joining(LinkId(0), link));
            drop(to_links);
            running.send(theirs, agreed, links, lost).await;
        }
    } else {
        let session = running.receiving(agreed);
        let joins = Joins::Receiving(session.clone());
        sessions.lock().insert(id, (theirs, joins));
        if link.answer(ours).await.is_ok() {
            running.receive_control(&session, link).await;
        }
    }
    sessions.lock().remove(&id);
    Ok(())
}
