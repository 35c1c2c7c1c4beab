//! One stream of the side that listens: opened, carried over one link after the other,
//! moved before certificates end, and ended.

use std::{sync::Arc, time::Duration};

use sealift_terms::{
    Reason, Timestamp,
    limits::{FORWARD_RESUME_TIME_MAX, HANDSHAKE_TIME_MAX},
};
use sealift_wire::{
    FrameType, Refusal,
    forward::{self, Open, Position, Token},
};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep, timeout},
};

use crate::{
    application::Application,
    drive::drive,
    ended::{Ended, Lost},
    link::{ForwardLink, NoLink},
    near::{Forward, Near},
    running::Running,
    state::Shared,
    tally::Side,
};

/// Between two looks whether that time has come: a machine may have been asleep.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Between two tries to go on.
const RETRY: Duration = Duration::from_millis(200);
/// How many links a new stream is tried on: one that a peer kept waiting may be dead.
const TRIES_MAX: usize = 3;

/// One stream, known under its token until it is dropped.
pub(crate) struct One {
    near: Arc<Near>,
    pub(crate) forward: Forward,
    token: Token,
    shared: Arc<Shared>,
}

/// Why a stream is not opened on a link.
enum NotOpened {
    /// The peer does not want it.
    Refused(Refusal),
    /// The link is of no use.
    Failed(NoLink),
}

impl From<NotOpened> for NoLink {
    fn from(not: NotOpened) -> Self {
        match not {
            NotOpened::Failed(no_link) => no_link,
            NotOpened::Refused(Refusal {
                reason, evidence, ..
            }) => Self {
                reason,
                evidence: format!("the peer refused: {evidence}"),
            },
        }
    }
}

impl One {
    pub(crate) fn new(near: Arc<Near>, forward: Forward, shared: Arc<Shared>) -> Self {
        let mut token = [0; 16];
        near.world.rng.fill(&mut token);
        let token = Token(token);
        near.know(token, &forward, &shared);
        Self {
            near,
            forward,
            token,
            shared,
        }
    }

    /// Opens the stream for `application`, which comes back with why there is none.
    pub(crate) async fn begin(
        &self,
        application: Application,
        slot: [OwnedSemaphorePermit; 2],
    ) -> Result<(Running, ForwardLink), (Application, NoLink)> {
        let opened = async {
            for _ in 1..TRIES_MAX {
                let link = self.near.links.link(&self.forward.peer).await?;
                match self.open(link, true).await {
                    Err(NotOpened::Failed(_)) => {}
                    other => return other.map_err(NoLink::from),
                }
            }
            let link = self.near.links.link(&self.forward.peer).await?;
            self.open(link, true).await.map_err(NoLink::from)
        };
        let (link, theirs) = match opened.await {
            Ok(opened) => opened,
            Err(no_link) => return Err((application, no_link)),
        };
        if let Err(error) = self.shared.attach(theirs) {
            let (reason, evidence) = (error.reason(), error.to_string());
            return Err((application, NoLink { reason, evidence }));
        }
        let what = (Side::Forward, &self.forward.name);
        let (world, shared) = (&self.near.world, self.shared.clone());
        match Running::begin(world, what, shared, application, &link, slot) {
            Ok(running) => Ok((running, link)),
            Err((application, error)) => {
                let (reason, evidence) = (Reason::AuditUnavailable, error.to_string());
                Err((application, NoLink { reason, evidence }))
            }
        }
    }

    /// Opens the stream, or goes on with it, on this link.
    async fn open(
        &self,
        mut link: ForwardLink,
        is_new: bool,
    ) -> Result<(ForwardLink, Position), NotOpened> {
        let failed = |reason, evidence| NotOpened::Failed(NoLink { reason, evidence });
        let broken = |error: sealift_wire::WireError| failed(error.reason(), error.to_string());
        let open = Open {
            target: self.forward.target.clone(),
            token: self.token,
            is_new,
            position: self.shared.position(),
        };
        let mut frame = Vec::new();
        open.append_to(&mut frame);
        let answered = async {
            link.drive_here()?;
            link.say(&frame).await?;
            link.first(HANDSHAKE_TIME_MAX).await
        };
        let (header, payload) = answered
            .await
            .map_err(|error| failed(error.reason(), error.to_string()))?;
        match header.frame {
            FrameType::Opened => {
                let theirs = forward::read_opened(&payload).map_err(broken)?;
                Ok((link, theirs))
            }
            FrameType::Refuse => Err(NotOpened::Refused(
                forward::refused(&payload).map_err(broken)?,
            )),
            found => {
                let evidence = format!("{found} came where OPENED was awaited");
                Err(failed(Reason::PeerProtocolMismatch, evidence))
            }
        }
    }

    /// Carries the stream over one link after the other.
    pub(crate) async fn run(&self, mut running: Running, mut link: ForwardLink) {
        let ended = loop {
            let now = self.near.world.clock.now();
            let (ends, before) = (link.ends(), link.moves_before_end(now));
            let lost = tokio::select! {
                end = drive(&mut running.application, &mut link, &self.shared) => match end {
                    Ok(()) => {
                        link.part().await;
                        break Ended::InOrder;
                    }
                    Err(lost) => lost,
                },
                fresh = self.fresher(ends, before) => {
                    drop(std::mem::replace(&mut link, fresh));
                    match self.go_on(link).await {
                        Ok(opened) => {
                            link = opened;
                            running.moved();
                            continue;
                        }
                        Err(lost) => match self.resume(lost).await {
                            Ok(opened) => {
                                link = opened;
                                running.moved();
                                continue;
                            }
                            Err(ended) => break ended,
                        },
                    }
                }
            };
            match running.ended_by(lost).await {
                Ok(ended) => {
                    link.part().await;
                    break ended;
                }
                Err(lost) => {
                    // Let go of, so that the other end does not wait for it.
                    drop(link);
                    match self.resume(lost).await {
                        Ok(opened) => {
                            link = opened;
                            running.moved();
                        }
                        Err(ended) => break ended,
                    }
                }
            }
        };
        running.end(&ended);
    }

    /// Goes on over this link.
    async fn go_on(&self, link: ForwardLink) -> Result<ForwardLink, Lost> {
        match self.open(link, false).await {
            Ok((link, theirs)) => match self.shared.attach(theirs) {
                Ok(()) => Ok(link),
                Err(error) => Err(Lost::Stream(Ended::Misbehaved(error))),
            },
            Err(NotOpened::Refused(refusal)) => Err(Lost::Stream(Ended::NotResumed {
                reason: refusal.reason,
                evidence: format!("the peer refused: {}", refusal.evidence),
            })),
            Err(NotOpened::Failed(NoLink { reason, evidence })) => {
                Err(Lost::Seen(reason, evidence))
            }
        }
    }

    /// Goes on over another link, within the time there is for that.
    async fn resume(&self, lost: Lost) -> Result<ForwardLink, Ended> {
        let deadline = Instant::now() + FORWARD_RESUME_TIME_MAX;
        let mut seen = lost;
        loop {
            if let Some(ended) = self.shared.ending() {
                return Err(ended);
            }
            if let Lost::Stream(ended) = seen {
                return Err(self.unless_done(ended));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let (reason, evidence) = seen.seen();
                return Err(self.unless_done(Ended::NotResumed { reason, evidence }));
            }
            let tried = timeout(left, async {
                let link = self.near.links.link(&self.forward.peer).await;
                let link = link.map_err(|no| Lost::Seen(no.reason, no.evidence))?;
                self.go_on(link).await
            });
            match tried.await {
                Ok(Ok(link)) => return Ok(link),
                Ok(Err(lost)) => seen = lost,
                // What was seen before says why.
                Err(_late) => {}
            }
            sleep(RETRY).await;
        }
    }

    /// Of a stream that had come to its end nothing is missing.
    fn unless_done(&self, ended: Ended) -> Ended {
        match self.shared.is_done() {
            true => Ended::InOrder,
            false => ended,
        }
    }

    /// A link that lives longer than one that ends at `ends`, made that long before.
    async fn fresher(&self, ends: Timestamp, before: Duration) -> ForwardLink {
        let now = || self.near.world.clock.now();
        loop {
            let left = ends.since(now());
            if left > before {
                sleep((left - before).min(LOOK_EVERY)).await;
                continue;
            }
            match self.near.links.link(&self.forward.peer).await {
                Ok(link) if link.ends() > ends => return link,
                Ok(_) => {}
                Err(NoLink { reason, evidence }) => {
                    let forward = &self.forward.name;
                    tracing::debug!(%forward, %reason, evidence, "no link to move to");
                }
            }
            sleep((left / 8).max(Duration::from_secs(1))).await;
        }
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.near.forget(&self.token);
    }
}
