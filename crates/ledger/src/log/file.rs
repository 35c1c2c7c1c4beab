//! A file that records are appended to, each durable before the next is written.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use sealift_terms::{
    Disk, DiskFile,
    world::{Calls, Open, read_file, replace_file},
};

use crate::{LedgerError, Result, merkle::leaf_hash};

/// The first bytes of a log.
const MAGIC: [u8; 8] = *b"SLLOG\x00\x00\x01";
/// Length and hash before each record.
const PREFIX_BYTES: usize = 4 + 32;
/// The largest log that is opened: it is read whole.
const LOG_BYTES_MAX: usize = 1 << 30;

pub(super) struct LogFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// None after a failed write or sync: what that file holds is not known.
    file: Option<Arc<dyn DiskFile>>,
    /// What is known to be durable.
    good: Vec<u8>,
}

impl LogFile {
    /// Opens the log, or makes one that begins with `first`; gives the records that
    /// are whole.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        path: &Path,
        first: Option<Vec<u8>>,
    ) -> Result<(Self, Vec<Vec<u8>>)> {
        let mut log = Self {
            disk,
            path: path.to_owned(),
            file: None,
            good: MAGIC.to_vec(),
        };
        let bytes = match read_file(&*log.disk, path, LOG_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => MAGIC.to_vec(),
            Err(error) => return Err(log.failed("read")(error)),
        };
        let Some(mut rest) = bytes.strip_prefix(MAGIC.as_slice()) else {
            return Err(LedgerError::Damaged {
                path: log.path,
                finding: "it does not begin as a log does".to_owned(),
            });
        };
        let mut records = Vec::new();
        while let Some((record, behind)) = next_record(rest) {
            records.push(record.to_vec());
            rest = behind;
        }
        log.good = bytes
            .get(..bytes.len() - rest.len())
            .unwrap_or_default()
            .to_vec();
        if records.is_empty()
            && let Some(first) = first
        {
            log.good.extend(encode(&first)?);
            records.push(first);
        }
        // Even a whole file may not have been synced to its end: a new one is.
        log.file = Some(log.renew()?);
        Ok((log, records))
    }

    /// Appends a record; it is durable when this returns.
    pub(super) async fn append(&mut self, record: &[u8]) -> Result<()> {
        if self.file.is_none() {
            self.file = Some(self.renew()?);
        }
        let Some(file) = self.file.take() else {
            return Err(LedgerError::Closed);
        };
        let bytes = encode(record)?;
        let (at, calls) = (self.good.len() as u64, self.disk.calls());
        let (target, written) = (file.clone(), bytes.clone());
        let append = move || {
            target
                .write_all_at(&written, at)
                .and_then(|()| target.sync())
        };
        patiently(calls, append)
            .await
            .map_err(self.failed("append"))?;
        self.good.extend_from_slice(&bytes);
        self.file = Some(file);
        Ok(())
    }

    /// Writes what is good to a new file in the place of the old.
    fn renew(&self) -> Result<Arc<dyn DiskFile>> {
        replace_file(&*self.disk, &self.path, &self.good).map_err(self.failed("write anew"))?;
        self.disk
            .open(&self.path, Open::ReadWrite)
            .map_err(self.failed("open"))
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(io::Error) -> LedgerError + use<> {
        let path = self.path.clone();
        move |error| LedgerError::Log {
            path,
            doing,
            source: Arc::new(error),
        }
    }
}

fn encode(record: &[u8]) -> Result<Vec<u8>> {
    let length = u32::try_from(record.len()).map_err(|_| LedgerError::TooLarge {
        what: "a record of",
        number: record.len() as u64,
    })?;
    Ok([&length.to_be_bytes(), &leaf_hash(record)[..], record].concat())
}

/// The record at the start of `bytes` and what lies behind it, if it is whole.
fn next_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (prefix, rest) = bytes.split_at_checked(PREFIX_BYTES)?;
    let (length, hash) = prefix.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (record, behind) = rest.split_at_checked(length)?;
    (leaf_hash(record) == *hash).then_some((record, behind))
}

async fn patiently<T: Send + 'static>(
    calls: Calls,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match calls {
        Calls::OnThread => match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(error) => Err(io::Error::other(error)),
        },
        Calls::Here { before, after } => {
            tokio::time::sleep(before).await;
            let done = work();
            tokio::time::sleep(after).await;
            done
        }
    }
}
