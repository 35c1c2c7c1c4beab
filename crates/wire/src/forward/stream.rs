//! One end of a forwarded stream, in numbers.

use sealift_terms::limits::{FORWARD_FRAME_BYTES_MAX, FORWARD_WINDOW_BYTES_MAX};

use super::frames::Position;
use crate::{
    error::{Misbehaviour, WireError},
    header::{FrameType, Header},
};

/// What is to be said next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say {
    /// These bytes.
    Data {
        /// The position of the first.
        position: u64,
        /// How many.
        length: u32,
    },
    /// That there are no more.
    End {
        /// How many there were.
        position: u64,
    },
}

impl Say {
    /// The header of the frame that says it.
    #[must_use]
    pub fn header(self) -> Header {
        match self {
            Self::Data { position, length } => Header::of(FrameType::Data, position, length),
            Self::End { position } => Header::of(FrameType::End, position, 0),
        }
    }
}

/// One end of a forwarded stream: how far each of its directions has come.
#[derive(Debug, Clone)]
pub struct Stream {
    out: Outward,
    inn: Inward,
}

/// From our application to the other end. Positions count bytes; `acked` and `sent`
/// are one beyond `taken` when they cover the END.
#[derive(Debug, Clone)]
struct Outward {
    acked: u64,
    sent: u64,
    /// The furthest that was ever sent, on any link.
    sent_ever: u64,
    taken: u64,
    /// How far the other end lets us go.
    limit: u64,
    ended: bool,
    kept_max: u32,
}

/// From the other end to our application.
#[derive(Debug, Clone)]
struct Inward {
    received: u64,
    delivered: u64,
    /// Where its END stood.
    end: Option<u64>,
    end_delivered: bool,
    window: u32,
    /// What the other end was told last.
    told_received: u64,
    told_limit: u64,
}

impl Stream {
    /// A new stream. `window` bytes may wait for our application, and as many be kept
    /// to be sent again.
    #[must_use]
    pub fn new(window: u32) -> Self {
        let window = window.min(FORWARD_WINDOW_BYTES_MAX);
        Self {
            out: Outward {
                acked: 0,
                sent: 0,
                sent_ever: 0,
                taken: 0,
                limit: 0,
                ended: false,
                kept_max: window,
            },
            inn: Inward {
                received: 0,
                delivered: 0,
                end: None,
                end_delivered: false,
                window,
                told_received: 0,
                told_limit: 0,
            },
        }
    }

    // Our application.

    /// How many bytes may be taken from our application now.
    #[must_use]
    pub fn room(&self) -> usize {
        match self.out.ended {
            true => 0,
            false => (self.out.kept_max as usize).saturating_sub(self.kept()),
        }
    }

    /// Bytes that are kept to be sent, or sent again.
    #[must_use]
    pub fn kept(&self) -> usize {
        usize::try_from(self.out.taken.saturating_sub(self.out.acked)).unwrap_or(usize::MAX)
    }

    /// The position of the first of them.
    #[must_use]
    pub fn kept_from(&self) -> u64 {
        self.out.acked.min(self.out.taken)
    }

    /// Counts bytes that were taken from our application, no more than there was
    /// [room](Self::room) for.
    pub fn took(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.room());
        self.out.taken += bytes as u64;
    }

    /// Our application has no more bytes.
    pub fn ended(&mut self) {
        self.out.ended = true;
    }

    /// Counts bytes that were given to our application.
    pub fn delivered(&mut self, bytes: usize) {
        self.inn.delivered = (self.inn.delivered + bytes as u64).min(self.inn.received);
    }

    /// Bytes that wait to be given to our application.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let end = self.inn.end.unwrap_or(self.inn.received);
        usize::try_from(end.saturating_sub(self.inn.delivered)).unwrap_or(usize::MAX)
    }

    /// Whether our application has all the bytes there are and has to be told so.
    #[must_use]
    pub fn owes_end(&self) -> bool {
        self.inn.end == Some(self.inn.delivered) && !self.inn.end_delivered
    }

    /// Our application was told.
    pub fn end_delivered(&mut self) {
        self.inn.end_delivered = true;
    }

    /// Whether the other end may have everything: it has our END, and has sent its own.
    #[must_use]
    pub fn other_may_be_done(&self) -> bool {
        self.inn.end.is_some() && self.out.ended && self.out.acked > self.out.taken
    }

    /// Whether both directions have ended, everything of ours is at the other end, and
    /// everything of the other end at our application.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.inn.end_delivered && self.other_may_be_done()
    }

    /// Bytes that went out, and that came in.
    #[must_use]
    pub fn moved(&self) -> (u64, u64) {
        (self.out.taken, self.inn.end.unwrap_or(self.inn.received))
    }

    // Room that may grow.

    /// Whether all that may be kept is kept, and the other end would take more.
    #[must_use]
    pub fn wants_to_keep_more(&self) -> bool {
        self.room() == 0 && !self.out.ended && self.out.limit > self.out.taken
    }

    /// Whether the other end used up its window although our application keeps up.
    #[must_use]
    pub fn wants_larger_window(&self) -> bool {
        self.inn.received == self.inn.told_limit
            && self.inn.told_limit > 0
            && self.waiting() < self.inn.window as usize / 2
    }

    /// How much may be kept, and how much may wait.
    #[must_use]
    pub fn sizes(&self) -> (u32, u32) {
        (self.out.kept_max, self.inn.window)
    }

    /// Lets more be kept.
    pub fn keep_more(&mut self, bytes: u32) {
        self.out.kept_max = bytes.clamp(self.out.kept_max, FORWARD_WINDOW_BYTES_MAX);
    }

    /// Lets more wait.
    pub fn enlarge_window(&mut self, bytes: u32) {
        self.inn.window = bytes.clamp(self.inn.window, FORWARD_WINDOW_BYTES_MAX);
    }

    // The link.

    /// How far we are, to be said in the first frame on a link.
    pub fn position(&mut self) -> Position {
        let (received, window) = self.tell();
        Position { received, window }
    }

    /// Goes on over a new link, at whose other end is the same stream, so far.
    ///
    /// # Errors
    /// [`WireError`]: it cannot be so far.
    pub fn attach(&mut self, theirs: Position) -> Result<(), WireError> {
        let out = &mut self.out;
        if theirs.received < out.acked || theirs.received > out.sent_ever {
            let what = "the other end has bytes that were never sent, or lost some it had";
            return Err(out_of_order(FrameType::Open, what));
        }
        out.acked = theirs.received;
        out.sent = theirs.received;
        out.limit = theirs.received + u64::from(theirs.window);
        Ok(())
    }

    /// What is to be said next on the link, of bytes at most so many; it counts as said.
    pub fn say(&mut self, bytes_max: u32) -> Option<Say> {
        let out = &mut self.out;
        let position = out.sent;
        if position < out.taken {
            let until = out.taken.min(out.limit);
            let length = u32::try_from(until.saturating_sub(position)).unwrap_or(u32::MAX);
            let length = length.min(bytes_max).min(FORWARD_FRAME_BYTES_MAX);
            out.sent += u64::from(length);
            out.sent_ever = out.sent_ever.max(out.sent);
            return (length > 0).then_some(Say::Data { position, length });
        }
        if out.ended && position == out.taken {
            out.sent += 1;
            out.sent_ever = out.sent_ever.max(out.sent);
            return Some(Say::End { position });
        }
        None
    }

    /// Bytes that may be said now.
    #[must_use]
    pub fn sayable(&self) -> u64 {
        let until = self.out.taken.min(self.out.limit);
        until.saturating_sub(self.out.sent)
    }

    /// Whether the other end should know by now how far we are.
    #[must_use]
    pub fn ack_is_due(&self) -> bool {
        let inn = &self.inn;
        let step = u64::from(inn.window / 4).max(1);
        inn.received - inn.told_received >= step
            || inn.limit().saturating_sub(inn.told_limit) >= step
            || (inn.end.is_some() && inn.told_received < inn.received)
    }

    /// The ACK to send, if one is due, or in any case.
    pub fn ack(&mut self, in_any_case: bool) -> Option<Header> {
        (self.ack_is_due() || in_any_case).then(|| {
            let (received, window) = self.tell();
            Header {
                offset: window,
                ..Header::of(FrameType::Ack, received, 0)
            }
        })
    }

    /// Whether there is anything that the other end does not know yet.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.inn.received > self.inn.told_received || self.inn.limit() > self.inn.told_limit
    }

    fn tell(&mut self) -> (u64, u32) {
        let inn = &mut self.inn;
        inn.told_limit = inn.limit();
        inn.told_received = inn.received;
        let window = inn.told_limit.saturating_sub(inn.received);
        (inn.received, u32::try_from(window).unwrap_or(u32::MAX))
    }

    /// Takes a frame that is no DATA. Whether it belongs to what a stream says on its
    /// way; OPEN, OPENED, REFUSE and CLOSE do not.
    ///
    /// # Errors
    /// [`WireError`]: the peer's fault.
    pub fn frame(&mut self, header: &Header) -> Result<bool, WireError> {
        match header.frame {
            FrameType::Ack => self.acked(header).map(|()| true),
            FrameType::End => self.end(header).map(|()| true),
            _ => Ok(false),
        }
    }

    fn acked(&mut self, header: &Header) -> Result<(), WireError> {
        let out = &mut self.out;
        if header.part.0 != 0 || header.offset > FORWARD_WINDOW_BYTES_MAX {
            return Err(out_of_order(
                FrameType::Ack,
                "a window larger than any stream's",
            ));
        }
        if header.number < out.acked || header.number > out.sent {
            return Err(out_of_order(FrameType::Ack, "for bytes that were not sent"));
        }
        out.acked = header.number;
        out.limit = header.number + u64::from(header.offset);
        Ok(())
    }

    fn end(&mut self, header: &Header) -> Result<(), WireError> {
        let inn = &mut self.inn;
        if inn.end.is_some() || header.number != inn.received {
            return Err(out_of_order(FrameType::End, "it ended elsewhere"));
        }
        inn.end = Some(inn.received);
        inn.received += 1;
        Ok(())
    }

    /// Takes `length` bytes of a DATA frame, `done` bytes of which came before.
    ///
    /// # Errors
    /// [`WireError`]: the peer's fault; the bytes are not to be used.
    pub fn data(&mut self, header: &Header, done: u32, length: usize) -> Result<(), WireError> {
        let inn = &mut self.inn;
        let wrong = |what| Err(out_of_order(FrameType::Data, what));
        if header.part.0 != 0 || header.offset != 0 {
            return wrong("it names a part");
        }
        if inn.end.is_some() {
            return wrong("behind the END");
        }
        if header.number.checked_add(u64::from(done)) != Some(inn.received) {
            return wrong("it is not what follows");
        }
        let after = inn.received + length as u64;
        if after > inn.told_limit {
            return wrong("beyond the window");
        }
        inn.received = after;
        Ok(())
    }
}

impl Inward {
    /// How far the other end may go. What it was told stands.
    fn limit(&self) -> u64 {
        (self.delivered + u64::from(self.window)).max(self.told_limit)
    }
}

fn out_of_order(found: FrameType, what: &'static str) -> WireError {
    Misbehaviour::StreamOutOfOrder { found, what }.into()
}
