//! `get`: plaintext leaves as soon as its tag is good, and an answer that met damage
//! never ends as a whole one.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use sealift_archive::{ArchiveError, ObjectReader};
use sealift_terms::{AuditKind, AuditRecord};
use tokio::runtime::Handle;

use super::{SiteOperations, answers, failing};
use crate::{
    Error,
    admin::{Actor, Answer, Get},
    error::SENT_FROM_HERE,
    site::Site,
};

/// Bytes in a piece of an answer.
const PIECE_BYTES: usize = 256 << 10;
/// What one reading may hold: pieces on their way, and the run being opened.
const READING_BYTES: usize = 8 << 20;

impl SiteOperations {
    pub(super) async fn get(&self, get: &Get, actor: &Actor, answer: &Answer) -> Result<(), Error> {
        let turn = self.readings.acquire().await;
        let _turn = turn.map_err(Error::failed("waiting for a turn"))?;
        let _lease = self.site.budget.take(READING_BYTES).await;
        let archive = &self.site.archive;
        let version = get.version.as_ref();
        let reader = archive
            .open_object(&actor.to_string(), &get.bucket, &get.key, version)
            .await;
        let reader = match reader {
            Ok(reader) => reader,
            Err(error) => {
                let refused = refused(&self.site, error, get);
                return Err(self.or_sent(refused, get).await);
            }
        };
        let range = held(get.range, reader.size())?;
        let row = answers::replica(reader.row(), version.is_none());
        answer.row(&row).await?;
        let (site, get, answer) = (Arc::clone(&self.site), get.clone(), answer.clone());
        let reading = tokio::task::spawn_blocking(move || {
            send(&reader, range, &answer).map_err(|error| match error {
                Stopped::Archive(error) => refused(&site, error, &get),
                Stopped::Answer(error) => error,
            })
        });
        reading.await.map_err(Error::failed("reading"))?
    }
}

impl SiteOperations {
    /// What is not archived here may be in a source of this site.
    async fn or_sent(&self, refused: Error, get: &Get) -> Error {
        let known = self.site.journal.known(&get.bucket, &get.key).await;
        match (refused, known) {
            (Error::NotFound { .. }, Ok(Some(_))) => Error::NotFound {
                what: format!(
                    "archived object {}/{} at this site: {SENT_FROM_HERE}",
                    get.bucket, get.key
                ),
            },
            (refused, _) => refused,
        }
    }
}

/// Why bytes are sent no longer.
enum Stopped {
    Archive(ArchiveError),
    Answer(Error),
}

/// Blocks: for a thread that may.
fn send(reader: &ObjectReader, range: Range<u64>, answer: &Answer) -> Result<(), Stopped> {
    let mut runs = reader.range(range).map_err(Stopped::Archive)?;
    let runtime = Handle::current();
    while let Some(run) = runs.next_run().map_err(Stopped::Archive)? {
        for piece in run.chunks(PIECE_BYTES) {
            let sent = runtime.block_on(answer.bytes(Bytes::copy_from_slice(piece)));
            sent.map_err(Stopped::Answer)?;
        }
    }
    Ok(())
}

/// Bytes from the first to the last, the last one held to the end.
fn held(range: Option<(u64, Option<u64>)>, size: u64) -> Result<Range<u64>, Error> {
    let Some((first, last)) = range else {
        return Ok(0..size);
    };
    if first > 0 && first >= size {
        return Err(Error::Request {
            what: "range",
            found: format!("from byte {first}"),
            allowed: format!("bytes of an object of {size} bytes"),
        });
    }
    let end = last.map_or(size, |last| last.saturating_add(1).min(size));
    Ok(first..end.max(first))
}

/// Damage goes on record wherever it is met.
fn refused(site: &Site, error: ArchiveError, get: &Get) -> Error {
    if !error.is_damage() {
        return error.into();
    }
    let what = format!("{}/{}: {}", get.bucket, get.key, failing::in_words(&error));
    tracing::error!(object = %what, "an archived object is damaged");
    let record = AuditRecord::new(site.world.clock.now(), AuditKind::ObjectDamaged, "agent")
        .with("bucket", &get.bucket)
        .with("key", &get.key)
        .with("finding", failing::in_words(&error));
    match site.record(record) {
        Ok(()) => Error::Verification { what },
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_held_to_the_object() {
        assert_eq!(held(None, 7).unwrap(), 0..7);
        assert_eq!(held(Some((2, None)), 7).unwrap(), 2..7);
        assert_eq!(held(Some((2, Some(3))), 7).unwrap(), 2..4);
        assert_eq!(held(Some((0, Some(u64::MAX))), 7).unwrap(), 0..7);
        assert_eq!(held(Some((0, Some(9))), 0).unwrap(), 0..0);
        assert!(held(Some((7, None)), 7).is_err());
    }
}
