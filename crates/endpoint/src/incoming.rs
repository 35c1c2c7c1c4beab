//! Content on its way in: from the connection to the seal, without a stop between.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    HeaderMap,
    body::{Body as HttpBody, Frame, SizeHint},
};
use s3s::{
    S3Error, S3ErrorCode, S3Result,
    dto::{Checksum, StreamingBlob},
};
use sealift_archive::{ArchiveError, Lease, ObjectWriter};
use sealift_terms::limits::{
    ENDPOINT_CHUNK_BYTES_MAX, ENDPOINT_PROGRESS_BYTES_MIN, ENDPOINT_PROGRESS_TIME_MAX,
    LEASE_TIME_MAX,
};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    core::Core,
    errors::{of_archive, slow_down},
    markup::Markup,
    sums::Sums,
};

/// How far a body was read.
#[derive(Debug, Default, Clone)]
pub(crate) struct Held(Arc<Reading>);

#[derive(Debug, Default)]
struct Reading {
    /// Bytes since anything left what decodes it: what stands between chunks is read, too,
    /// and never leaves.
    held: AtomicU64,
    /// Whether that was all of it.
    is_over: AtomicBool,
    /// Whether it is XML that readers differ about.
    is_odd: AtomicBool,
}

impl Held {
    pub(crate) fn left(&self) {
        self.0.held.store(0, Ordering::Relaxed);
    }

    /// Whether all of the body was read. What was not would be taken for the next request,
    /// or that for the rest of this one.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_over.load(Ordering::Relaxed)
    }
}

impl Held {
    /// Whether it is XML that readers differ about, and was read no further for that.
    pub(crate) fn is_odd(&self) -> bool {
        self.0.is_odd.load(Ordering::Relaxed)
    }
}

/// Why a body is read no further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CutOff {
    #[error("a chunk of the body is longer than {ENDPOINT_CHUNK_BYTES_MAX} bytes")]
    LongChunk,
    #[error("the body has marked sections, comments or prefixes, which are not read here")]
    Odd,
    #[error(transparent)]
    Connection(#[from] hyper::Error),
}

/// A body that is watched, and content does not come faster than it is taken: a chunk that is
/// signed is kept until its signature was looked at, so it must not be long.
pub(crate) struct Metered<B> {
    body: B,
    held: Held,
    held_max: u64,
    markup: Option<Markup>,
}

impl<B: HttpBody> Metered<B> {
    /// Content.
    pub(crate) fn new(body: B, held: Held) -> Self {
        Self::with(body, held, ENDPOINT_CHUNK_BYTES_MAX)
    }

    /// A body that is read as a whole, and bounded by others.
    pub(crate) fn whole(body: B, held: Held) -> Self {
        Self::with(body, held, u64::MAX)
    }

    /// The same of one that is XML.
    pub(crate) fn markup(body: B, held: Held) -> Self {
        let mut whole = Self::whole(body, held);
        whole.markup = Some(Markup::default());
        whole
    }

    fn with(body: B, held: Held, held_max: u64) -> Self {
        let is_over = body.is_end_stream();
        held.0.is_over.store(is_over, Ordering::Relaxed);
        Self {
            body,
            held,
            held_max,
            markup: None,
        }
    }
}

impl<B> HttpBody for Metered<B>
where
    B: HttpBody<Data = Bytes, Error = hyper::Error> + Unpin,
{
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        if self.held.0.held.load(Ordering::Relaxed) > self.held_max {
            return Poll::Ready(Some(Err(CutOff::LongChunk)));
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            let held = self.held.clone();
            held.0.held.fetch_add(data.len() as u64, Ordering::Relaxed);
            let is_odd = |markup: &mut Markup| !markup.takes(data);
            if self.markup.as_mut().is_some_and(is_odd) {
                held.0.is_odd.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err(CutOff::Odd)));
            }
        }
        let is_over = matches!(polled, Poll::Ready(None)) || self.body.is_end_stream();
        self.held.0.is_over.store(is_over, Ordering::Relaxed);
        polled.map_err(CutOff::Connection)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Room for a chunk that is kept until its signature was looked at, where content comes in
/// such.
pub(crate) async fn room(core: &Core, headers: &HeaderMap) -> S3Result<Option<Lease>> {
    let kind = headers.get("x-amz-content-sha256");
    let comes_in_chunks = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"STREAMING-"));
    if !comes_in_chunks {
        return Ok(None);
    }
    let bytes = usize::try_from(ENDPOINT_CHUNK_BYTES_MAX).unwrap_or(usize::MAX);
    core.lease(bytes).await.map(Some)
}

/// How fast content comes. Time in which it waits for the store is not counted.
pub(crate) struct Progress {
    since: Instant,
    gained: u64,
    time: Duration,
}

impl Progress {
    pub(crate) fn new(time: Duration) -> Self {
        Self {
            since: Instant::now(),
            gained: 0,
            time,
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.since + self.time
    }

    pub(crate) fn came(&mut self, bytes: usize) {
        self.gained += bytes as u64;
        if self.gained >= ENDPOINT_PROGRESS_BYTES_MIN {
            (self.since, self.gained) = (Instant::now(), 0);
        }
    }

    pub(crate) fn waited(&mut self, time: Duration) {
        self.since += time;
    }
}

/// Takes all of `content` into `writer`, and holds it against its checksums.
///
/// # Errors
/// What came is not what was announced, in length or content; it came too slowly; what
/// writing says.
pub(crate) async fn take(
    content: Option<StreamingBlob>,
    held: &Held,
    writer: &mut ObjectWriter,
    mut sums: Sums,
) -> S3Result<Checksum> {
    let mut progress = Progress::new(ENDPOINT_PROGRESS_TIME_MAX);
    let mut content = content;
    while let Some(stream) = &mut content {
        let next = timeout_at(progress.deadline(), next(stream)).await;
        let bytes = match next.map_err(|_late| S3Error::from(S3ErrorCode::RequestTimeout))? {
            None => break,
            Some(bytes) => bytes.map_err(|error| of_stream(&*error))?,
        };
        progress.came(bytes.len());
        held.left();
        let before = Instant::now();
        sums.update(&bytes);
        write(writer, &bytes).await?;
        progress.waited(before.elapsed());
    }
    sums.hold()
}

/// Writes, and does not wait for memory for ever.
pub(crate) async fn write(writer: &mut ObjectWriter, bytes: &[u8]) -> S3Result<()> {
    match timeout(LEASE_TIME_MAX, writer.write(bytes)).await {
        Err(_late) => Err(slow_down()),
        Ok(Err(ArchiveError::Misuse(_))) => Err(S3ErrorCode::IncompleteBody.into()),
        Ok(written) => written.map_err(|error| of_archive(&error)),
    }
}

type Next = Option<Result<Bytes, Box<dyn std::error::Error + Send + Sync>>>;

async fn next(stream: &mut StreamingBlob) -> Next {
    std::future::poll_fn(|context| futures_core::Stream::poll_next(Pin::new(&mut *stream), context))
        .await
}

/// What `s3s` found wrong with a body, by its words: its types are its own.
pub(crate) fn of_stream(error: &(dyn std::error::Error + 'static)) -> S3Error {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    let code = match words.as_str() {
        words if words.contains("Sha256Mismatch") => {
            S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into())
        }
        words if words.contains("SignatureMismatch") => S3ErrorCode::SignatureDoesNotMatch,
        words if words.contains("a chunk of the body is longer") => S3ErrorCode::EntityTooLarge,
        _ => S3ErrorCode::IncompleteBody,
    };
    let mut told = S3Error::with_message(code, format!("the content cannot be taken: {words}"));
    told.set_status_code(hyper::StatusCode::BAD_REQUEST);
    told
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::advance;

    use super::*;

    const LAST: u64 = 1_000;

    #[derive(Debug)]
    struct Pieces(u64);

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = hyper::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
            self.0 += 1;
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[1; 65_536])))))
        }

        fn is_end_stream(&self) -> bool {
            self.0 >= LAST
        }
    }

    #[tokio::test]
    async fn whether_all_of_a_body_was_read_is_known() {
        let held = Held::default();
        let mut body = Metered::whole(Pieces(0), held.clone());
        assert!(!held.is_over());
        for piece in 1..=LAST {
            poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
            assert_eq!(held.is_over(), piece == LAST, "{piece}");
        }
        Metered::new(Pieces(LAST), held.clone());
        assert!(held.is_over(), "there is nothing to be read");
    }

    #[tokio::test]
    async fn a_chunk_is_not_kept_beyond_its_limit_and_many_may_come() {
        let held = Held::default();
        let mut body = Metered::new(Pieces(0), held.clone());
        let most = ENDPOINT_CHUNK_BYTES_MAX / 65_536;
        for _ in 0..3 {
            for _ in 0..=most {
                let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
                assert!(frame.unwrap().is_ok());
            }
            // What decodes it gives something out.
            held.left();
        }
        for _ in 0..=most {
            let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
            assert!(frame.unwrap().is_ok());
        }
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        assert!(matches!(frame, Some(Err(CutOff::LongChunk))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_no_progress_and_the_wait_for_the_store_is_not_counted() {
        let time = Duration::from_secs(60);
        let mut progress = Progress::new(time);
        let late = |progress: &Progress| progress.deadline() <= Instant::now();
        for _ in 0..59 {
            advance(Duration::from_secs(1)).await;
            progress.came(100);
        }
        assert!(!late(&progress));
        advance(Duration::from_secs(1)).await;
        assert!(late(&progress));
        progress.waited(Duration::from_secs(5));
        assert!(!late(&progress));
        progress.came(65_536);
        advance(Duration::from_secs(59)).await;
        assert!(!late(&progress));
    }

    #[test]
    fn what_is_wrong_with_content_is_told_by_its_code() {
        let code = |words: &str| {
            let error = std::io::Error::other(words.to_owned());
            of_stream(&error).code().as_str().to_owned()
        };
        assert_eq!(
            code("UploadStreamError: Sha256Mismatch"),
            "XAmzContentSHA256Mismatch"
        );
        assert_eq!(
            code("AwsChunkedStreamError: SignatureMismatch"),
            "SignatureDoesNotMatch"
        );
        assert_eq!(code(&CutOff::LongChunk.to_string()), "EntityTooLarge");
        assert_eq!(code("UploadStreamError: Incomplete"), "IncompleteBody");
    }
}
