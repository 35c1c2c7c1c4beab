//! A stored file, read in windows: a small one where a reading begins, growing ones while it
//! goes on where the last one ended.

use std::{
    fmt, io,
    sync::{Arc, mpsc},
};

use bytes::Bytes;
use parking_lot::Mutex;
use sealift_terms::limits::{S3_READ_BYTES_MAX, S3_READ_BYTES_MIN};
use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};

use super::place::Place;
use crate::{StoreError, StoreName, StoreObject};

/// Windows that one reader keeps: of the content, and of what is at the end.
const WINDOWS_KEPT: usize = 2;

/// Readings wait on the thread that asks, whichever that is: the requests run on a thread of
/// their own, with connections of their own, so that a thread that waits never is the one
/// that has to go on.
pub(super) struct Reads {
    place: Arc<dyn Place>,
    runtime: Option<Runtime>,
}

impl fmt::Debug for Reads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reads({:?})", self.place)
    }
}

impl Reads {
    pub(super) fn new(place: Arc<dyn Place>) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("bucket-reads")
            .enable_all()
            .build()?;
        Ok(Self {
            place,
            runtime: Some(runtime),
        })
    }

    fn range(&self, name: &StoreName, from: u64, len: u64) -> Result<Bytes, StoreError> {
        let (sender, answer) = mpsc::sync_channel(1);
        let (place, asked) = (self.place.clone(), name.clone());
        let gone = || StoreError::StoreFailed {
            name: name.to_string(),
            source: io::Error::other("the store is closed"),
        };
        let runtime = self.runtime.as_ref().ok_or_else(gone)?;
        runtime.spawn(async move {
            // Nobody waits for it where this fails.
            let _nobody = sender.send(place.range(&asked, from, len).await);
        });
        waited(|| answer.recv()).map_err(|_| gone())?
    }
}

/// Waits on this thread. Where that is a worker of a runtime, another one takes its place.
fn waited<T>(wait: impl FnOnce() -> T) -> T {
    let current = Handle::try_current().map(|handle| handle.runtime_flavor());
    match current {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(wait),
        _ => wait(),
    }
}

impl Drop for Reads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not waited for: this may be a thread that must not.
            runtime.shutdown_background();
        }
    }
}

#[derive(Debug)]
struct Window {
    from: u64,
    bytes: Bytes,
}

impl Window {
    fn end(&self) -> u64 {
        self.from + self.bytes.len() as u64
    }

    /// What it has from `offset` on.
    fn behind(&self, offset: u64) -> Option<&[u8]> {
        let at = usize::try_from(offset.checked_sub(self.from)?).ok()?;
        self.bytes.get(at..).filter(|rest| !rest.is_empty())
    }
}

/// A file of the bucket, open for reading.
#[derive(Debug)]
pub(super) struct StoredFile {
    name: StoreName,
    len: u64,
    reads: Arc<Reads>,
    /// The one used last at the end.
    windows: Mutex<Vec<Window>>,
}

impl StoredFile {
    pub(super) fn new(name: &StoreName, len: u64, reads: Arc<Reads>) -> Self {
        Self {
            name: name.clone(),
            len,
            reads,
            windows: Mutex::default(),
        }
    }

    /// Copies what a window has from `offset` on; how much that was.
    fn take_known(&self, bytes: &mut [u8], offset: u64) -> usize {
        let mut windows = self.windows.lock();
        let found = windows
            .iter()
            .position(|window| window.behind(offset).is_some());
        let Some(found) = found else { return 0 };
        let window = windows.remove(found);
        let rest = window.behind(offset).unwrap_or_default();
        let copied = rest.len().min(bytes.len());
        if let (Some(to), Some(from)) = (bytes.get_mut(..copied), rest.get(..copied)) {
            to.copy_from_slice(from);
        }
        windows.push(window);
        copied
    }

    /// Asks for a window from `offset` on, in which at least `wanted` bytes are.
    fn fetch(&self, offset: u64, wanted: u64) -> Result<(), StoreError> {
        let ended = {
            let mut windows = self.windows.lock();
            let ended = windows.iter().position(|window| window.end() == offset);
            // It is read through: its room is the next one's.
            ended.map(|at| windows.remove(at).bytes.len() as u64)
        };
        let size = match ended {
            Some(last) => last
                .saturating_mul(4)
                .clamp(S3_READ_BYTES_MIN, S3_READ_BYTES_MAX),
            None => S3_READ_BYTES_MIN,
        };
        let size = size
            .max(wanted.min(S3_READ_BYTES_MAX))
            .min(self.len - offset);
        let bytes = self.reads.range(&self.name, offset, size)?;
        if bytes.len() as u64 != size {
            return Err(self.short());
        }
        let mut windows = self.windows.lock();
        if windows.len() >= WINDOWS_KEPT {
            windows.remove(0);
        }
        windows.push(Window {
            from: offset,
            bytes,
        });
        Ok(())
    }

    fn short(&self) -> StoreError {
        StoreError::StoreFailed {
            name: self.name.to_string(),
            source: io::ErrorKind::UnexpectedEof.into(),
        }
    }
}

impl StoreObject for StoredFile {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), StoreError> {
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(self.short());
        }
        let (mut rest, mut offset) = (bytes, offset);
        while !rest.is_empty() {
            let copied = self.take_known(rest, offset);
            if copied == 0 {
                self.fetch(offset, rest.len() as u64)?;
                continue;
            }
            offset += copied as u64;
            rest = rest.get_mut(copied..).unwrap_or_default();
        }
        Ok(())
    }

    fn len(&self) -> Result<u64, StoreError> {
        Ok(self.len)
    }
}
