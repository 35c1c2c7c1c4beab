//! One version of a bucket, of S3 or of another service, open for reading.
//!
//! A part is read from its beginning to its end in many small steps, and several parts at
//! once. So an answer that was not read to its end is kept, and who asks for the next byte
//! of it goes on reading there: an object costs a request for each window, and none for
//! each step.

use std::{collections::VecDeque, sync::Arc};

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use hyper::{StatusCode, header::CONTENT_RANGE};
use parking_lot::Mutex;
use sealift_outside::Answer;
use sealift_terms::{
    Checksum, ObjectFacts, ObjectKey, VersionId,
    limits::{S3_STREAMS_KEPT_MAX, S3_TRIES_MAX, S3_WINDOW_BYTES},
};

use super::error::S3Error;
use crate::{SourceObject, StoreError};

/// Who is asked for windows of a version.
#[async_trait]
pub(crate) trait Windows: Send + Sync + std::fmt::Debug {
    /// Asks for a range of a version that has this entity tag.
    async fn window(
        &self,
        key: &ObjectKey,
        version: &VersionId,
        etag: Option<&str>,
        range: (u64, u64),
    ) -> Result<Answer, S3Error>;

    /// Waits between two tries.
    async fn wait(&self, tries: u32);

    /// Whether the version is there still, where another may take its place.
    async fn is_still(&self, key: &ObjectKey, version: &VersionId) -> Result<(), StoreError> {
        let _ = (key, version);
        Ok(())
    }
}

/// An answer that is read on later.
struct Stream {
    /// The object that it is of.
    of: u64,
    /// The next byte of it.
    at: u64,
    /// The end of its window.
    end: u64,
    answer: Answer,
    /// What came and was not taken yet.
    rest: Bytes,
}

impl Stream {
    /// To its very end, so that its connection is used again.
    async fn end(mut self) -> Result<(), S3Error> {
        let mut rest = Some(self.rest);
        while let Some(piece) = rest {
            if !piece.is_empty() {
                let what = "it goes on behind its window";
                return Err(S3Error::Shape { what });
            }
            rest = self.answer.piece().await?;
        }
        Ok(())
    }
}

/// The answers of one bucket that are kept; the one that waits longest goes first.
#[derive(Default)]
pub(crate) struct Streams(Mutex<VecDeque<Stream>>);

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} streams", self.0.lock().len())
    }
}

impl Streams {
    fn take(&self, of: u64, at: u64) -> Option<Stream> {
        let mut kept = self.0.lock();
        let found = kept
            .iter()
            .position(|stream| (stream.of, stream.at) == (of, at))?;
        kept.remove(found)
    }

    fn keep(&self, stream: Stream) {
        let mut kept = self.0.lock();
        while kept.len() >= S3_STREAMS_KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(stream);
    }

    fn forget(&self, of: u64) {
        self.0.lock().retain(|stream| stream.of != of);
    }
}

#[derive(Debug)]
pub(crate) struct BucketObject {
    client: Arc<dyn Windows>,
    streams: Arc<Streams>,
    number: u64,
    key: ObjectKey,
    version: VersionId,
    facts: ObjectFacts,
    checksum: Option<Checksum>,
}

impl Drop for BucketObject {
    fn drop(&mut self) {
        self.streams.forget(self.number);
    }
}

impl BucketObject {
    pub(crate) fn new(
        client: Arc<dyn Windows>,
        streams: Arc<Streams>,
        number: u64,
        (key, version): (&ObjectKey, &VersionId),
        (facts, checksum): (ObjectFacts, Option<Checksum>),
    ) -> Self {
        Self {
            client,
            streams,
            number,
            key: key.clone(),
            version: version.clone(),
            checksum,
            facts,
        }
    }

    /// Asks for the window that a byte lies in, from there on.
    async fn stream(&self, at: u64) -> Result<Stream, S3Error> {
        let end = (at / S3_WINDOW_BYTES + 1) * S3_WINDOW_BYTES;
        let end = end.min(self.facts.size);
        let etag = self.facts.etag.as_deref();
        let answer = self
            .client
            .window(&self.key, &self.version, etag, (at, end))
            .await?;
        let expected = format!("bytes {at}-{}/{}", end - 1, self.facts.size);
        let range = answer.head.headers.get(CONTENT_RANGE);
        let is_expected = match answer.head.status {
            StatusCode::PARTIAL_CONTENT => range.is_some_and(|range| *range == *expected),
            // All of it, from a store that does not see the range in "all of it".
            _ => at == 0 && end == self.facts.size && range.is_none(),
        };
        let what = "another range than was asked for";
        match is_expected {
            true => Ok(Stream {
                of: self.number,
                at,
                end,
                answer,
                rest: Bytes::new(),
            }),
            false => Err(S3Error::Shape { what }),
        }
    }

    /// Reads from a window, at most to its end; how many bytes that were.
    async fn read_some(&self, bytes: &mut [u8], mut stream: Stream) -> Result<usize, S3Error> {
        let mut done = 0;
        while stream.at < stream.end
            && let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty())
        {
            if stream.rest.is_empty() {
                let piece = stream.answer.piece().await?;
                let what = "it ends before its window";
                stream.rest = piece.ok_or(S3Error::Shape { what })?;
                continue;
            }
            let left = usize::try_from(stream.end - stream.at).unwrap_or(usize::MAX);
            let count = rest.len().min(stream.rest.len()).min(left);
            if let (Some(to), Some(from)) = (rest.get_mut(..count), stream.rest.get(..count)) {
                to.copy_from_slice(from);
            }
            stream.rest.advance(count);
            stream.at += count as u64;
            done += count;
        }
        match stream.at < stream.end {
            true => self.streams.keep(stream),
            false => stream.end().await?,
        }
        Ok(done)
    }
}

#[async_trait]
impl SourceObject for BucketObject {
    fn facts(&self) -> &ObjectFacts {
        &self.facts
    }

    fn checksum(&self) -> Option<Checksum> {
        self.checksum.clone()
    }

    async fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), StoreError> {
        let end = offset.saturating_add(bytes.len() as u64);
        if end > self.facts.size {
            let evidence = format!("it ends at byte {}, {end} were expected", self.facts.size);
            return Err(StoreError::SourceChanged { evidence });
        }
        let of_source = |error: S3Error| error.of_source(self.key.as_str());
        let (mut done, mut tries) = (0, 0);
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = offset + done as u64;
            let stream = match self.streams.take(self.number, at) {
                Some(stream) => stream,
                // It is tried as often as any request is, and that is all.
                None => self.stream(at).await.map_err(of_source)?,
            };
            match self.read_some(rest, stream).await {
                Ok(count) => (done, tries) = (done + count, 0),
                // What came before the connection was lost is not believed to be what it
                // was: it is asked for again.
                Err(S3Error::Http(_)) if tries < S3_TRIES_MAX => {
                    tries += 1;
                    self.client.wait(tries).await;
                }
                Err(error) => return Err(of_source(error)),
            }
        }
        Ok(())
    }

    /// Every answer was of the version that was opened: it has its id and its entity tag.
    async fn finish(&self) -> Result<(), StoreError> {
        self.client.is_still(&self.key, &self.version).await
    }
}
