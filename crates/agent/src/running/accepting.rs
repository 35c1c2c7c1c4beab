//! Links that peers make to us.

use std::sync::Arc;

use sealift_ledger::Refusal as RefusedConnection;
use sealift_receiver::Session as Receiving;
use sealift_terms::{AuditKind, AuditUnavailable};
use sealift_tunnel::{Accepted, Cause, Link, LinkKind, Listener, OnRefused, Refused};
use sealift_wire::{Hello, LinkId, Role};
use tokio::sync::mpsc;

use super::{
    Running, forwarding,
    hello::{hello, remembered},
    quota::Permits,
    session::{End, Greeted, JOINING_MAX, Joins},
};
use crate::{Metric, config::Peer, site::Site};

/// What is done with a connection that did not get in: a line in the log, a count,
/// an audit record.
pub(super) fn on_refused(site: &Arc<Site>) -> OnRefused {
    let site = site.clone();
    Arc::new(move |refused: Refused| {
        let (cause, reason) = (refused.word(), refused.reason());
        let identity = refused.identity().map(ToString::to_string);
        tracing::warn!(from = %refused.from, identity, cause, %reason, "connection refused: {}", refused.cause);
        site.metrics
            .series(Metric::ConnectionsRefused, &[cause])
            .add(1);
        let address = refused.from.ip().to_canonical();
        let details = [
            Some(("reason", reason.to_string())),
            Some(("evidence", refused.cause.to_string())),
            Some(("address", address.to_string())),
            identity.map(|identity| ("identity", identity)),
        ];
        let details = details.into_iter().flatten();
        let refusal = RefusedConnection {
            at: site.world.clock.now(),
            kind: AuditKind::SessionRefused,
            cause: cause.to_owned(),
            source: Some(refused.from.ip()),
            details: details
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        };
        if let Err(AuditUnavailable { cause }) = site.audit.refused(refusal) {
            tracing::error!(cause, "a refused connection cannot be put on record");
        }
    })
}

/// Takes links until the agent stops.
pub(super) async fn accept(running: Arc<Running>, mut listener: Listener) {
    let mut stop = running.stop.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let Some(accepted) = accepted else { return };
        let (from, identity) = (
            accepted.link.peer_address(),
            &accepted.link.session().peer.identity,
        );
        let room = match accepted.link.kind() {
            LinkKind::Forward => running.forwarding.room(identity),
            LinkKind::Control | LinkKind::Data => running.quota.take(identity),
        };
        match room {
            Ok(permits) => drop(tokio::spawn(take(running.clone(), accepted, permits))),
            Err(cause) => (running.refused)(Refused { from, cause }),
        }
    }
}

async fn take(running: Arc<Running>, accepted: Accepted, permits: Permits) {
    let Accepted { link, hello } = accepted;
    let from = link.peer_address();
    let identity = link.session().peer.identity.clone();
    if let Err(why) = admit(&running, link, hello, permits).await {
        let cause = Cause::NotAdmitted { identity, why };
        (running.refused)(Refused { from, cause });
    }
}

/// Lets a greeted link begin or join a session, and runs it.
async fn admit(
    running: &Arc<Running>,
    link: Link,
    hello: Hello,
    mut permits: Permits,
) -> Result<(), String> {
    let identity = &link.session().peer.identity;
    let peer = running
        .peer_of(identity)
        .ok_or("its identity is no peer's any more")?;
    if hello.region != *identity.region() {
        return Err(format!(
            "it says region {}, its identity is {identity}",
            hello.region
        ));
    }
    running.heard_clock(&peer.name, &hello);
    match (link.kind(), hello.link) {
        (LinkKind::Control, 0) => begin(running, peer, link, hello, permits).await,
        (LinkKind::Data, number @ 1..) => {
            let (joins, room) = running.join(identity, &hello)?;
            permits.push(room);
            join(running, joins, LinkId(number), link, &hello, permits).await;
            Ok(())
        }
        (LinkKind::Forward, 0) => forwarding::take(running, &peer.name, link, hello, permits).await,
        (kind, number) => Err(format!("it is link {number} of a session, as {kind:?}")),
    }
}

async fn begin(
    running: &Arc<Running>,
    peer: Peer,
    mut link: Link,
    theirs: Hello,
    permits: Permits,
) -> Result<(), String> {
    let role = theirs.role.other();
    let mut ours = hello(&running.site, theirs.session, 0, role);
    if role == Role::Send {
        ours.remembered = remembered(&running.site, &peer.name).await;
    }
    let agreed = ours.agree(&theirs).map_err(|error| error.to_string())?;
    let greeted = Greeted::new(peer, link.session(), theirs, agreed, role);
    let (to_links, links) = mpsc::channel(JOINING_MAX);
    let joins = match role {
        Role::Send => Joins::Sending(to_links.clone()),
        Role::Receive => Joins::Receiving(running.receiving(&greeted)),
    };
    let Some(id) = running.register(&greeted, joins.clone()) else {
        return Err("its identity has too many sessions".to_owned());
    };
    running
        .session_opened(&greeted)
        .map_err(|error| error.to_string())?;
    let end = match link.answer(&ours).await {
        Err(error) => Err((error.reason(), error.to_string())),
        Ok(()) => match joins {
            Joins::Receiving(session) => receive(running, &session, link, permits).await,
            Joins::Sending(_) => {
                let (lost, _nobody_dials_again) = mpsc::channel(JOINING_MAX);
                let control = running.joining(LinkId(0), link, permits);
                // The channel is empty: there is room.
                let _ = to_links.try_send(control);
                drop(to_links);
                running.send_over(&greeted, links, lost).await
            }
        },
    };
    running.unregister(id);
    running.session_closed(&greeted, &end);
    Ok(())
}

/// Runs the control link of a session in which we receive. The session lives as
/// long as that link.
async fn receive(
    running: &Arc<Running>,
    session: &Arc<Receiving>,
    link: Link,
    permits: Permits,
) -> End {
    let drain = running.site.current().limits.drain;
    let draining = async {
        running.reason_to_drain().await;
        session.drain(drain).await;
        std::future::pending::<()>().await;
    };
    let end = tokio::select! {
        end = running.receive_link(session, LinkId(0), link, permits) => end,
        () = draining => Ok(()),
    };
    session.end();
    // What a data link did is why the control link ended.
    session.fault().map_or(end, Err)
}

async fn join(
    running: &Arc<Running>,
    joins: Joins,
    id: LinkId,
    mut link: Link,
    theirs: &Hello,
    permits: Permits,
) {
    let ours = hello(&running.site, theirs.session, id.0, theirs.role.other());
    if let Err(error) = link.answer(&ours).await {
        tracing::info!(link = %id, %error, "a link is gone");
        return;
    }
    match joins {
        Joins::Receiving(session) => {
            // Why it ended is told with every link that is gone.
            let _ = running.receive_link(&session, id, link, permits).await;
        }
        Joins::Sending(to_links) => {
            // A session that has just ended needs no link.
            let _ = to_links.send(running.joining(id, link, permits)).await;
        }
    }
}
