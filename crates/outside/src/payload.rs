//! Bodies of requests: bytes, a stretch of a file that is read as it is sent, or what comes
//! from somebody else and is sent once.

use std::{
    collections::VecDeque,
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use ring::digest;

/// Bytes that are read at once. What is on its way to a socket at the same time stays in the
/// processor's cache.
const PIECE_BYTES: usize = 128 << 10;
/// Pieces that are kept to be filled again: with [`PIECE_BYTES`], what a body from a file takes
/// of memory. hyper takes four before it writes them.
const PIECES_KEPT_MAX: usize = 5;
/// Bytes that are hashed at once.
const HASHED_BYTES: usize = 64 << 10;

/// Something long to send that does not change while it is sent.
pub trait Pieces: Send + Sync + fmt::Debug {
    /// Fills `bytes` from `offset`. From a disk of this machine: it may be called inline.
    ///
    /// # Errors
    /// What the operating system says.
    fn fill(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
}

/// The SHA-256 of bytes that come one after the other.
#[derive(Clone)]
pub struct Sum(digest::Context);

impl Default for Sum {
    fn default() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sum")
    }
}

impl Sum {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Of what came so far, as a signature has it.
    #[must_use]
    pub fn hex(&self) -> String {
        hex::encode(self.0.clone().finish())
    }
}

/// What comes from somebody else, as it comes.
pub type Passing = Pin<Box<dyn Body<Data = Bytes, Error = io::Error> + Send>>;

/// The body of a request. A clone begins again where this one is, unless it is passed on.
#[derive(Debug, Clone)]
pub struct Payload {
    of: Inner,
    /// Its SHA-256 in hex, where whoever made it knows that.
    hash: Option<Arc<str>>,
}

#[derive(Clone)]
enum Inner {
    Whole(Bytes),
    Pieces {
        of: Arc<dyn Pieces>,
        at: u64,
        left: u64,
        given: Given,
    },
    /// Shared by all clones: what one of them sent another cannot send.
    Passing {
        of: Arc<Mutex<Passing>>,
        left: u64,
    },
}

/// Pieces that were given out, the oldest first: each is filled again once nobody else has it,
/// and none is zeroed for that.
#[derive(Default)]
struct Given(VecDeque<Bytes>);

impl Clone for Given {
    /// What begins again has its own.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Given {
    fn room(&mut self, len: usize) -> BytesMut {
        match self.0.pop_front().map(Bytes::try_into_mut) {
            Some(Ok(mut free)) => {
                free.resize(len, 0);
                free
            }
            // It is on its way still.
            Some(Err(given)) => {
                self.0.push_front(given);
                BytesMut::zeroed(len)
            }
            None => BytesMut::zeroed(len),
        }
    }

    fn give(&mut self, piece: BytesMut) -> Bytes {
        let piece = piece.freeze();
        if self.0.len() >= PIECES_KEPT_MAX {
            self.0.pop_front();
        }
        self.0.push_back(piece.clone());
        piece
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Pieces { of, at, left, .. } => write!(f, "{left} bytes from {at} of {of:?}"),
            Self::Passing { left, .. } => write!(f, "{left} bytes of somebody else"),
        }
    }
}

impl Payload {
    /// `len` bytes of something long, from `at` on.
    #[must_use]
    pub fn pieces(of: Arc<dyn Pieces>, at: u64, len: u64) -> Self {
        let (left, given) = (len, Given::default());
        let of = Inner::Pieces {
            of,
            at,
            left,
            given,
        };
        Self { of, hash: None }
    }

    /// `len` bytes that come from somebody else and are sent once.
    #[must_use]
    pub fn passing(of: Passing, len: u64) -> Self {
        let of = Inner::Passing {
            of: Arc::new(Mutex::new(of)),
            left: len,
        };
        Self { of, hash: None }
    }

    /// With its SHA-256 in hex, or the word that a protocol has in place of it, so that it need
    /// not be read for that.
    #[must_use]
    pub fn hashed(self, hash: &str) -> Self {
        let hash = Some(hash.into());
        Self { hash, ..self }
    }

    /// How many bytes it has.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.of {
            Inner::Whole(bytes) => bytes.len() as u64,
            Inner::Pieces { left, .. } | Inner::Passing { left, .. } => *left,
        }
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its SHA-256 in hex, as a signature has it. Reads all of it unless it is known.
    ///
    /// # Errors
    /// What reading it says; of what is passed on it has to be known.
    pub fn sha256(&self) -> io::Result<String> {
        if let Some(hash) = &self.hash {
            return Ok(hash.to_string());
        }
        let mut sum = Sum::default();
        match &self.of {
            Inner::Whole(bytes) => sum.update(bytes),
            Inner::Pieces { of, at, left, .. } => {
                // The same memory for all of it, which stays in the processor's cache.
                let mut piece = vec![0; at_once(*left, HASHED_BYTES)];
                let (mut at, mut left) = (*at, *left);
                while left > 0 {
                    piece.truncate(at_once(left, HASHED_BYTES));
                    of.fill(&mut piece, at)?;
                    sum.update(&piece);
                    at += piece.len() as u64;
                    left -= piece.len() as u64;
                }
            }
            Inner::Passing { .. } => return Err(read_once()),
        }
        Ok(sum.hex())
    }

    /// The next bytes; none at its end.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        match &mut self.of {
            Inner::Whole(bytes) if bytes.is_empty() => Ok(None),
            Inner::Whole(bytes) => Ok(Some(std::mem::take(bytes))),
            Inner::Pieces { left: 0, .. } => Ok(None),
            Inner::Pieces {
                of,
                at,
                left,
                given,
            } => {
                let mut piece = given.room(at_once(*left, PIECE_BYTES));
                of.fill(&mut piece, *at)?;
                *at += piece.len() as u64;
                *left -= piece.len() as u64;
                Ok(Some(given.give(piece)))
            }
            Inner::Passing { .. } => Err(read_once()),
        }
    }
}

/// How much of what is left is read at once.
fn at_once(left: u64, most: usize) -> usize {
    usize::try_from(left).map_or(most, |left| left.min(most))
}

fn read_once() -> io::Error {
    io::Error::other("what is passed on is read once")
}

impl Default for Payload {
    fn default() -> Self {
        Bytes::new().into()
    }
}

impl<T: Into<Bytes>> From<T> for Payload {
    fn from(bytes: T) -> Self {
        let of = Inner::Whole(bytes.into());
        Self { of, hash: None }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if let Inner::Passing { of, left } = &mut this.of {
            let polled = of.lock().as_mut().poll_frame(context);
            if let Poll::Ready(Some(Ok(frame))) = &polled {
                let came = frame.data_ref().map_or(0, Bytes::len);
                *left = left.saturating_sub(came as u64);
            }
            return polled;
        }
        let next = this.next().transpose();
        Poll::Ready(next.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        // What is passed on says at its end whether it was what it should be.
        self.is_empty() && !matches!(self.of, Inner::Passing { .. })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http_body_util::BodyExt;

    use super::*;

    #[derive(Debug)]
    struct Counted;

    impl Pieces for Counted {
        fn fill(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
            for (at, byte) in (offset..).zip(bytes) {
                *byte = (at % 251) as u8;
            }
            Ok(())
        }
    }

    #[test]
    fn a_long_body_is_read_piece_by_piece_and_again() {
        let (at, len) = (7, 2 * PIECE_BYTES as u64 + 5);
        let mut payload = Payload::pieces(Arc::new(Counted), at, len);
        let whole: Vec<u8> = (at..at + len).map(|at| (at % 251) as u8).collect();
        let sum = payload.sha256().unwrap();
        assert_eq!(sum, Payload::from(whole.clone()).sha256().unwrap());
        let mut read = Vec::new();
        while let Some(piece) = payload.next().unwrap() {
            assert!(piece.len() <= PIECE_BYTES);
            read.extend_from_slice(&piece);
        }
        assert!(read == whole && payload.is_end_stream());
        assert_eq!(
            Payload::default().sha256().unwrap(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn pieces_that_nobody_has_any_more_are_filled_again() {
        let len = 20 * PIECE_BYTES as u64;
        let mut payload = Payload::pieces(Arc::new(Counted), 0, len);
        let (mut held, mut places) = (VecDeque::new(), BTreeSet::new());
        while let Some(piece) = payload.next().unwrap() {
            places.insert(piece.as_ptr());
            held.push_back(piece);
            if held.len() == PIECES_KEPT_MAX - 1 {
                held.pop_front();
            }
        }
        assert!(places.len() < PIECES_KEPT_MAX, "{}", places.len());
        // None that somebody has is written to, however many that are.
        let mut payload = Payload::pieces(Arc::new(Counted), 0, len);
        let whole: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        let all: Vec<_> = std::iter::from_fn(|| payload.next().unwrap()).collect();
        assert!(all.concat() == whole);
    }

    #[test]
    fn what_is_passed_on_is_sent_once_and_is_as_long_as_it_is_said_to_be() {
        let whole = Bytes::from_static(b"passed on");
        let of = http_body_util::Full::new(whole.clone()).map_err(|never| match never {});
        let payload = Payload::passing(Box::pin(of), whole.len() as u64).hashed("UNSIGNED");
        assert_eq!(payload.sha256().unwrap(), "UNSIGNED");
        assert_eq!(payload.size_hint().exact(), Some(9));
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut take = |mut of: Payload| match Pin::new(&mut of).poll_frame(&mut context) {
            Poll::Ready(Some(frame)) => frame.unwrap().into_data().ok(),
            _ => None,
        };
        assert_eq!(take(payload.clone()), Some(whole));
        assert_eq!(take(payload), None, "another clone took it");
    }
}
