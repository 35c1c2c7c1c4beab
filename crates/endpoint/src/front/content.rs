//! Content on its way through: what an application sends goes on as it comes. The last of it is
//! held back until it is known that all of it is what it is said to be, so that a store gets a
//! whole body only of what is whole.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body as HttpBody, Frame};
use s3s::{Body, S3Error, S3ErrorCode};
use sealift_terms::limits::ENDPOINT_PROGRESS_TIME_MAX;
use tokio::time::{Instant, Sleep, sleep};

use crate::{
    incoming::{Held, Progress, of_stream},
    sums::{Kind, Sums},
};

/// Content in a chunk of `aws-chunked`, where checksums go behind it.
const CHUNK_BYTES: usize = 64 << 10;

/// Why content did not go on to its end, for whoever sent it.
#[derive(Debug, Clone, Default)]
pub(super) struct Spoilt(Arc<OnceLock<S3Error>>);

impl Spoilt {
    /// What was wrong with it, if something was.
    pub(super) fn take(&self) -> Option<S3Error> {
        let error = self.0.get()?;
        let mut told = S3Error::new(error.code().clone());
        if let Some(message) = error.message() {
            told.set_message(message.to_owned());
        }
        if let Some(status) = error.status_code() {
            told.set_status_code(status);
        }
        Some(told)
    }
}

/// Content that goes on.
pub(super) struct Content {
    from: Body,
    held: Held,
    sums: Option<Sums>,
    /// What is announced and did not come yet.
    left: u64,
    progress: Progress,
    patience: Pin<Box<Sleep>>,
    /// When something was given to the store, which has not asked for more.
    given: Option<Instant>,
    /// The last that came.
    last: Option<Bytes>,
    is_over: bool,
    /// Set where checksums go on behind the content.
    chunked: Option<Chunked>,
    out: VecDeque<Bytes>,
    spoilt: Spoilt,
}

impl Content {
    /// `length` bytes of content, held against `sums`; those of `behind` are told behind it.
    pub(super) fn new(from: Body, held: Held, sums: Sums, length: u64, behind: Vec<Kind>) -> Self {
        let time = ENDPOINT_PROGRESS_TIME_MAX;
        Self {
            from,
            held,
            sums: Some(sums),
            left: length,
            progress: Progress::new(time),
            patience: Box::pin(sleep(time)),
            given: None,
            last: None,
            is_over: false,
            chunked: (!behind.is_empty()).then(|| Chunked::new(behind)),
            out: VecDeque::new(),
            spoilt: Spoilt::default(),
        }
    }

    pub(super) fn spoilt(&self) -> Spoilt {
        self.spoilt.clone()
    }

    /// The checksums that go on behind it, if some do.
    pub(super) fn trailer(&self) -> Option<String> {
        let kinds = self.chunked.as_ref()?.kinds.iter();
        let names = kinds.map(|kind| format!("x-amz-checksum-{}", kind.word()));
        Some(names.collect::<Vec<_>>().join(","))
    }

    /// How many bytes go on of so much content.
    pub(super) fn length(&self) -> u64 {
        match &self.chunked {
            None => self.left,
            Some(chunked) => chunked.length(self.left),
        }
    }

    fn spoils(&self, error: S3Error) -> io::Error {
        let told = io::Error::other(error.to_string());
        let _ = self.spoilt.0.set(error);
        told
    }

    /// What came: the piece before it may go on.
    fn came(&mut self, bytes: Bytes) -> Result<(), S3Error> {
        self.held.left();
        let long = bytes.len() as u64 > self.left;
        if long {
            return Err(S3ErrorCode::IncompleteBody.into());
        }
        self.left -= bytes.len() as u64;
        self.progress.came(bytes.len());
        self.patience.as_mut().reset(self.progress.deadline());
        if let Some(sums) = &mut self.sums {
            sums.update(&bytes);
        }
        let before = self.last.replace(bytes);
        self.goes_on(before);
        Ok(())
    }

    fn goes_on(&mut self, bytes: Option<Bytes>) {
        let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else {
            return;
        };
        match &mut self.chunked {
            None => self.out.push_back(bytes),
            Some(chunked) => chunked.add(&bytes, &mut self.out),
        }
    }

    /// All of it came: it is what it should be, or nothing more goes on.
    fn ends(&mut self) -> Result<(), S3Error> {
        if self.left > 0 {
            return Err(S3ErrorCode::IncompleteBody.into());
        }
        let found = match self.sums.take() {
            Some(sums) => sums.hold()?,
            None => return Ok(()),
        };
        let last = self.last.take();
        self.goes_on(last);
        if let Some(chunked) = &mut self.chunked {
            chunked.end(&found, &mut self.out);
        }
        self.is_over = true;
        Ok(())
    }
}

impl HttpBody for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if let Some(given) = this.given.take() {
            // The store took its time, not the application.
            this.progress.waited(given.elapsed());
            this.patience.as_mut().reset(this.progress.deadline());
        }
        loop {
            if let Some(bytes) = this.out.pop_front() {
                this.given = Some(Instant::now());
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if this.is_over {
                return Poll::Ready(None);
            }
            let polled = Pin::new(&mut this.from).poll_frame(context);
            if polled.is_pending() {
                ready!(this.patience.as_mut().poll(context));
                let late = this.spoils(S3ErrorCode::RequestTimeout.into());
                return Poll::Ready(Some(Err(late)));
            }
            let done = match ready!(polled) {
                None => this.ends(),
                Some(Err(error)) => Err(of_stream(&*error)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => this.came(bytes),
                    Err(_trailers) => Ok(()),
                },
            };
            if let Err(error) = done {
                return Poll::Ready(Some(Err(this.spoils(error))));
            }
        }
    }
}

/// Content as `aws-chunked`, unsigned and with checksums behind it (S3: "Uploading objects
/// with trailing checksums"): chunks of one size, so that the length is known before.
struct Chunked {
    kinds: Vec<Kind>,
    pending: BytesMut,
}

impl Chunked {
    fn new(kinds: Vec<Kind>) -> Self {
        Self {
            kinds,
            pending: BytesMut::new(),
        }
    }

    /// Bytes of `content` in chunks, with what stands between and behind.
    fn length(&self, content: u64) -> u64 {
        let whole = CHUNK_BYTES as u64;
        let frame = |bytes: u64| format!("{bytes:x}\r\n\r\n").len() as u64;
        let (chunks, rest) = (content / whole, content % whole);
        let of_rest = match rest {
            0 => 0,
            rest => rest + frame(rest),
        };
        let behind = |kind: &Kind| {
            let line = format!("x-amz-checksum-{}:\r\n", kind.word());
            (line.len() + kind.text_len()) as u64
        };
        let behind: u64 = self.kinds.iter().map(behind).sum();
        chunks * (whole + frame(whole)) + of_rest + "0\r\n\r\n".len() as u64 + behind
    }

    fn add(&mut self, bytes: &[u8], out: &mut VecDeque<Bytes>) {
        self.pending.extend_from_slice(bytes);
        while self.pending.len() >= CHUNK_BYTES {
            let chunk = self.pending.split_to(CHUNK_BYTES).freeze();
            Self::frame(chunk, out);
        }
    }

    fn frame(chunk: Bytes, out: &mut VecDeque<Bytes>) {
        out.push_back(format!("{:x}\r\n", chunk.len()).into());
        out.push_back(chunk);
        out.push_back(Bytes::from_static(b"\r\n"));
    }

    fn end(&mut self, found: &s3s::dto::Checksum, out: &mut VecDeque<Bytes>) {
        let rest = self.pending.split().freeze();
        if !rest.is_empty() {
            Self::frame(rest, out);
        }
        let mut end = String::from("0\r\n");
        for kind in &self.kinds {
            let value = kind.of_sums(found).map_or("", String::as_str);
            end.push_str(&format!("x-amz-checksum-{}:{value}\r\n", kind.word()));
        }
        end.push_str("\r\n");
        out.push_back(end.into());
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};
    use hyper::HeaderMap;

    use super::*;

    fn content(bytes: &[u8], said: u64, headers: &[(&'static str, &str)]) -> Content {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let sums = Sums::of(&map, None).unwrap();
        let from = Body::http_body_unsync(Full::new(Bytes::copy_from_slice(bytes)));
        Content::new(from, Held::default(), sums, said, Vec::new())
    }

    async fn whole(content: Content) -> Result<Bytes, String> {
        let spoilt = content.spoilt();
        match content.collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(_) => Err(spoilt.take().unwrap().code().as_str().to_owned()),
        }
    }

    #[tokio::test]
    async fn content_goes_on_whole_or_not_to_its_end() {
        let good = [("x-amz-checksum-crc32", "y/Q5Jg==")];
        let came = whole(content(b"123456789", 9, &good)).await;
        assert_eq!(came.unwrap(), "123456789");
        assert_eq!(whole(content(b"", 0, &[])).await.unwrap(), "");
        let code = async |bytes: &[u8], said| whole(content(bytes, said, &good)).await.unwrap_err();
        assert_eq!(code(b"123456780", 9).await, "BadDigest");
        assert_eq!(code(b"12345678", 9).await, "IncompleteBody");
        assert_eq!(code(b"1234567890", 9).await, "IncompleteBody");
    }

    #[tokio::test]
    async fn nothing_of_the_last_piece_goes_on_before_it_was_looked_at() {
        let mut spoilt = content(b"123456780", 9, &[("x-amz-checksum-crc32", "y/Q5Jg==")]);
        let first = spoilt.frame().await.unwrap();
        assert!(first.is_err(), "{first:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn content_that_stops_is_given_up() {
        let from = Body::http_body_unsync(Silent);
        let sums = Sums::default();
        let content = Content::new(from, Held::default(), sums, 9, Vec::new());
        assert_eq!(whole(content).await.unwrap_err(), "RequestTimeout");
    }

    struct Silent;

    impl HttpBody for Silent {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn checksums_behind_content_go_on_behind_it_and_the_length_is_known_before() {
        for size in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 17] {
            let bytes = vec![7; size];
            let from = Body::http_body_unsync(Full::new(Bytes::from(bytes.clone())));
            let mut sums = Sums::default();
            let kinds = vec![Kind::Crc32, Kind::Sha256];
            kinds.iter().for_each(|kind| sums.count(*kind));
            let content = Content::new(from, Held::default(), sums, size as u64, kinds);
            let said = content.length();
            let came = whole(content).await.unwrap();
            assert_eq!(came.len() as u64, said, "{size}");
            let (mut rest, mut found) = (&came[..], Vec::new());
            loop {
                let at = rest.windows(2).position(|two| two == b"\r\n").unwrap();
                let chunk = usize::from_str_radix(str::from_utf8(&rest[..at]).unwrap(), 16);
                rest = &rest[at + 2..];
                match chunk.unwrap() {
                    0 => break,
                    chunk => {
                        found.extend_from_slice(&rest[..chunk]);
                        rest = &rest[chunk + 2..];
                    }
                }
            }
            assert!(found == bytes);
            let behind = str::from_utf8(rest).unwrap();
            assert!(behind.starts_with("x-amz-checksum-crc32:"), "{behind}");
            assert!(behind.contains("\r\nx-amz-checksum-sha256:"), "{behind}");
            assert!(behind.ends_with("\r\n\r\n"), "{behind}");
        }
    }
}
