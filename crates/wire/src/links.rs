//! What both roles do with their links: frames waiting to be written, signs of
//! life, and the frames that belong to no offer.

use std::{collections::BTreeMap, fmt, time::Duration};

use sealift_terms::limits::{
    IDLE_TIME_MAX, LINK_QUEUE_BYTES_MAX, PING_AFTER, QUESTIONS_OUTSTANDING_MAX,
};

use crate::{
    body::{Close, CloseBody},
    cbor,
    error::{Misbehaviour, WireError},
    header::{FrameType, Header},
};

/// A link of a session, numbered by the dialer; 0 is the control link. A number
/// is not used again within the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What is to be sent over a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// Frames only.
    Control,
    /// Frames and the bytes of objects.
    Data,
}

/// What happened on a link besides offers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkEvent {
    /// The peer wants nothing new begun on it: finish, then close it.
    Drain(LinkId),
    /// The peer closes it: nothing more will come.
    Closed(LinkId, Close),
    /// The peer asks something outside of any offer.
    Asked {
        /// The link; the answer goes back on it.
        link: LinkId,
        /// The question's number; the answer carries it.
        number: u64,
        /// The question.
        body: Vec<u8>,
    },
    /// The peer answers a question.
    Answered {
        /// The question's number.
        number: u64,
        /// The answer.
        body: Vec<u8>,
    },
    /// Nothing was heard for [`IDLE_TIME_MAX`]: close it and call it lost.
    Silent(LinkId),
    /// More than [`LINK_QUEUE_BYTES_MAX`] wait for a peer that does not read, and
    /// frames were dropped: close it and call it lost.
    Jammed(LinkId),
}

#[derive(Debug)]
struct Link {
    carries: Carries,
    out: Vec<u8>,
    /// When something was last heard; nothing while no time is known.
    heard: Option<Duration>,
    pinged: bool,
    draining: bool,
    closed: bool,
    /// Too much waited on it: what should have been said since was not.
    jammed: bool,
    /// Questions of the peer without an answer.
    questions: usize,
}

impl Link {
    /// Where frames wait, as long as they do not pile up.
    fn room(&mut self) -> Option<&mut Vec<u8>> {
        self.jammed |= self.out.len() > LINK_QUEUE_BYTES_MAX;
        (!self.jammed).then_some(&mut self.out)
    }
}

/// The links of one session.
#[derive(Debug, Default)]
pub(crate) struct Links {
    links: BTreeMap<LinkId, Link>,
    /// The time of the last tick. It counts from any start, so that before the
    /// first one no time is known.
    now: Option<Duration>,
    questions: u64,
}

impl Links {
    pub(crate) fn add(&mut self, link: LinkId, carries: Carries) {
        let heard = self.now;
        let new = Link {
            carries,
            out: Vec::new(),
            heard,
            pinged: false,
            draining: false,
            closed: false,
            jammed: false,
            questions: 0,
        };
        self.links.insert(link, new);
    }

    pub(crate) fn remove(&mut self, link: LinkId) -> bool {
        self.links.remove(&link).is_some()
    }

    pub(crate) fn contains(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    /// Whether new work may be begun on it.
    pub(crate) fn takes_work(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|l| !l.draining)
    }

    pub(crate) fn carries_data(&self, link: LinkId) -> bool {
        self.links
            .get(&link)
            .is_some_and(|l| l.carries == Carries::Data)
    }

    /// Where a reply goes: to `link`, or to any other when that one is gone.
    /// Without any link there is nobody to hear it: it goes nowhere.
    pub(crate) fn reply(&mut self, link: Option<LinkId>) -> Option<(LinkId, &mut Vec<u8>)> {
        let wanted = link.filter(|link| self.links.contains_key(link));
        let id = wanted.or_else(|| self.links.keys().next().copied())?;
        Some((id, self.links.get_mut(&id)?.room()?))
    }

    /// Queues a frame on exactly this link, if it is still there.
    pub(crate) fn send(&mut self, link: LinkId, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(out) = self.links.get_mut(&link).and_then(Link::room) {
            write(out);
        }
    }

    /// Says that what waits for a link elsewhere is too much.
    pub(crate) fn jam(&mut self, link: LinkId) {
        if let Some(l) = self.links.get_mut(&link) {
            l.jammed = true;
        }
    }

    /// Moves what waits for `link` to `out`.
    pub(crate) fn take(&mut self, link: LinkId, out: &mut Vec<u8>) {
        if let Some(l) = self.links.get_mut(&link) {
            out.append(&mut l.out);
        }
    }

    pub(crate) fn waiting(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|l| !l.out.is_empty())
    }

    /// Notes a sign of life.
    pub(crate) fn heard(&mut self, link: LinkId) -> Result<(), WireError> {
        let now = self.now;
        let known = self
            .links
            .get_mut(&link)
            .ok_or(Misbehaviour::UnknownLink { link: link.0 })?;
        if known.jammed {
            let allowed = LINK_QUEUE_BYTES_MAX;
            return Err(Misbehaviour::NotReading { allowed }.into());
        }
        known.heard = now;
        known.pinged = false;
        Ok(())
    }

    /// Passes time: asks silent links for a sign of life, and names the dead.
    pub(crate) fn tick(&mut self, now: Duration, mut event: impl FnMut(LinkEvent)) {
        self.now = Some(now);
        for (id, link) in &mut self.links {
            let silent = now.saturating_sub(*link.heard.get_or_insert(now));
            if link.jammed {
                event(LinkEvent::Jammed(*id));
            } else if silent >= IDLE_TIME_MAX {
                event(LinkEvent::Silent(*id));
            } else if silent >= PING_AFTER && !link.pinged {
                link.pinged = true;
                link.out
                    .extend_from_slice(&Header::of(FrameType::Ping, 0, 0).encode());
            }
        }
    }

    pub(crate) fn drain(&mut self, link: LinkId) {
        if let Some(l) = self.links.get_mut(&link) {
            l.draining = true;
            l.out
                .extend_from_slice(&Header::of(FrameType::Drain, 0, 0).encode());
        }
    }

    pub(crate) fn close(&mut self, link: LinkId, close: &Close) {
        let header = Header::of(FrameType::Close, 0, 0);
        self.send(link, |out| {
            cbor::append(out, header, &CloseBody::from(close))
        });
    }

    /// Asks the peer something; the number comes back with the answer.
    pub(crate) fn ask(&mut self, link: LinkId, body: &[u8]) -> u64 {
        self.questions += 1;
        let number = self.questions;
        self.send(link, |out| append_raw(out, FrameType::Ask, number, body));
        number
    }

    pub(crate) fn answer(&mut self, link: LinkId, number: u64, body: &[u8]) {
        if let Some(l) = self.links.get_mut(&link) {
            l.questions = l.questions.saturating_sub(1);
        }
        self.send(link, |out| append_raw(out, FrameType::Answer, number, body));
    }

    /// Takes the frames that belong to no offer; whether it was one.
    pub(crate) fn frame(
        &mut self,
        link: LinkId,
        header: &Header,
        payload: &[u8],
    ) -> Result<Frame, WireError> {
        let number = header.number;
        Ok(match header.frame {
            FrameType::Ping => {
                self.send(link, |out| {
                    out.extend(Header::of(FrameType::Pong, number, 0).encode())
                });
                Frame::Done
            }
            FrameType::Pong => Frame::Done,
            FrameType::Drain => {
                let said = |l: &mut Link| std::mem::replace(&mut l.draining, true);
                match self.links.get_mut(&link).map(said) {
                    Some(false) => Frame::Event(LinkEvent::Drain(link)),
                    Some(true) | None => Frame::Done,
                }
            }
            FrameType::Close => {
                let body: CloseBody = cbor::read(header.frame, payload)?;
                let said = |l: &mut Link| std::mem::replace(&mut l.closed, true);
                match self.links.get_mut(&link).map(said) {
                    Some(false) => Frame::Event(LinkEvent::Closed(link, body.into())),
                    Some(true) | None => Frame::Done,
                }
            }
            FrameType::Ask => {
                if let Some(l) = self.links.get_mut(&link) {
                    l.questions += 1;
                    if l.questions > QUESTIONS_OUTSTANDING_MAX {
                        let allowed = QUESTIONS_OUTSTANDING_MAX;
                        return Err(Misbehaviour::TooManyQuestions { allowed }.into());
                    }
                }
                Frame::Event(LinkEvent::Asked {
                    link,
                    number,
                    body: payload.to_vec(),
                })
            }
            FrameType::Answer => Frame::Event(LinkEvent::Answered {
                number,
                body: payload.to_vec(),
            }),
            FrameType::Hello => {
                return Err(Misbehaviour::HelloMisplaced {
                    found: header.frame,
                }
                .into());
            }
            _ => Frame::OfAnOffer,
        })
    }
}

/// What became of a frame.
pub(crate) enum Frame {
    Done,
    Event(LinkEvent),
    OfAnOffer,
}

fn append_raw(out: &mut Vec<u8>, frame: FrameType, number: u64, body: &[u8]) {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    debug_assert!(length <= frame.payload_bytes_max());
    out.extend_from_slice(&Header::of(frame, number, length).encode());
    out.extend_from_slice(body);
}
