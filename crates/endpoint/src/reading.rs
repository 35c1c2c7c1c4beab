//! The content of an object on its way out: opened piece by piece, one ahead of what the
//! application takes, so that one that takes nothing holds no more than that.

use std::{
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use sealift_archive::{ArchiveError, Lease, ObjectReader};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::core::Core;

/// Plaintext in a piece; a divisor of every part size.
pub(crate) const PIECE_BYTES: u64 = 256 << 10;
/// What a reading holds beside its pieces: a small object is read whole, a large one by its
/// table.
const BESIDE_BYTES: u64 = 128 << 10;

/// What is to be taken of the budget for `range`: a piece that is opened, one that waits and
/// one that leaves.
pub(crate) fn bytes_held(range: &Range<u64>) -> usize {
    let piece = (range.end - range.start).clamp(1, PIECE_BYTES);
    usize::try_from(3 * piece + BESIDE_BYTES).unwrap_or(usize::MAX)
}

/// A range of an object as the body of an answer.
pub(crate) struct Reading {
    core: Arc<Core>,
    reader: Arc<ObjectReader>,
    /// What was not begun yet.
    rest: Range<u64>,
    /// Bytes that were not given out.
    left: u64,
    next: Option<JoinHandle<Result<Bytes, ArchiveError>>>,
    _lease: Lease,
}

impl Reading {
    pub(crate) fn new(
        core: Arc<Core>,
        reader: ObjectReader,
        range: Range<u64>,
        lease: Lease,
    ) -> Self {
        let mut reading = Self {
            core,
            reader: Arc::new(reader),
            left: range.end - range.start,
            rest: range,
            next: None,
            _lease: lease,
        };
        reading.begin();
        reading
    }

    /// Begins to open the next piece, if there is one.
    fn begin(&mut self) {
        if self.rest.is_empty() {
            return;
        }
        let end = (self.rest.start / PIECE_BYTES + 1).saturating_mul(PIECE_BYTES);
        let piece = self.rest.start..end.min(self.rest.end);
        self.rest.start = piece.end;
        let reader = self.reader.clone();
        self.next = Some(spawn_blocking(move || open(&reader, piece)));
    }
}

/// Blocks: for a thread that may.
pub(crate) fn open(reader: &ObjectReader, piece: Range<u64>) -> Result<Bytes, ArchiveError> {
    let len = usize::try_from(piece.end - piece.start).unwrap_or(0);
    let mut bytes = BytesMut::with_capacity(len);
    let mut runs = reader.range(piece)?;
    while let Some(run) = runs.next_run()? {
        bytes.extend_from_slice(run);
    }
    Ok(bytes.freeze())
}

/// Why an answer breaks off.
#[derive(Debug, thiserror::Error)]
#[error("the content cannot be read to its end")]
pub(crate) struct BrokenOff;

impl Body for Reading {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let Some(task) = &mut self.next else {
            return Poll::Ready(None);
        };
        let opened = ready!(Pin::new(task).poll(context));
        self.next = None;
        let piece = match opened {
            Ok(Ok(piece)) => piece,
            Ok(Err(error)) => {
                self.rest = 0..0;
                self.core.tell_trouble(&self.reader.row().name, &error);
                return Poll::Ready(Some(Err(BrokenOff)));
            }
            Err(_) => return Poll::Ready(Some(Err(BrokenOff))),
        };
        self.begin();
        self.left = self.left.saturating_sub(piece.len() as u64);
        self.core.tally.bytes(piece.len());
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_holds_little_of_an_object_however_large() {
        assert_eq!(bytes_held(&(0..1)), 3 + (128 << 10));
        assert_eq!(bytes_held(&(0..5 << 40)), (3 * 256 + 128) << 10);
    }
}
