//! What a store answers, on its way back: content as it comes, the rest whole, with the name of
//! its bucket made that of ours.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use hyper::{
    HeaderMap, StatusCode,
    body::{Body as HttpBody, Frame, SizeHint},
    header::{CONTENT_LENGTH, HeaderValue},
};
use s3s::{Body, S3Error, S3ErrorCode, S3Response, S3Result};
use sealift_archive::Lease;
use sealift_outside::{Answer, HttpError};
use sealift_store::{Made, S3Error as StoreFault};
use sealift_terms::{Boxed, BucketName, Reason, limits::FRONT_RENAMED_BYTES_MAX};

use super::{Call, Front, content::Spoilt, headers::back, passing::PASSING_BYTES};
use crate::core::Core;

/// An answer that was taken whole.
pub(super) struct Whole {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Bytes,
}

impl Whole {
    /// Whether it is an error although its status says otherwise: what takes long is answered
    /// before its end.
    pub(super) fn is_error(&self) -> bool {
        let start = self.body.get(..512).unwrap_or(&self.body);
        let start = String::from_utf8_lossy(start);
        start.contains("<Error>") || start.contains("<Error ")
    }

    /// What it says.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(super) fn answered(self) -> S3Response<Body> {
        let mut response = S3Response::with_status(Body::from(self.body), self.status);
        response.headers = self.headers;
        response
    }
}

/// What is said where the store gives no answer.
pub(super) fn unreached(bucket: &BucketName, error: &StoreFault, spoilt: &Spoilt) -> S3Error {
    // It was our own request that was broken off.
    if let Some(error) = spoilt.take() {
        return error;
    }
    let mut told = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        told = format!("{told}: {source}");
        cause = source.source();
    }
    tracing::warn!(%bucket, "the source's store gives no answer: {told}");
    let reason = match error {
        StoreFault::Answered { .. } | StoreFault::Credentials(_) => Reason::SrcGetDenied,
        _ => Reason::SrcUnavailable,
    };
    S3Error::with_message(
        S3ErrorCode::ServiceUnavailable,
        format!("{reason}: the store behind bucket {bucket} gives no answer: {told}"),
    )
}

/// An answer that goes back as it comes, or whole where it is no content.
pub(super) async fn given(
    core: &Arc<Core>,
    front: &Front,
    bucket: &BucketName,
    call: Call,
    made: Made,
    leases: Vec<Lease>,
) -> S3Result<S3Response<Body>> {
    let is_content = call.name() == "GetObject";
    match made {
        Made::Answered(answer) if is_content => {
            let mut leases = leases;
            leases.push(core.lease(PASSING_BYTES).await?);
            let (status, headers) = (answer.head.status, back(&answer.head.headers));
            let left = length(&headers);
            let going = Going {
                core: core.clone(),
                next: next(answer),
                left,
                is_over: false,
                _leases: leases,
            };
            let mut response = S3Response::with_status(Body::http_body_unsync(going), status);
            response.headers = headers;
            Ok(response)
        }
        Made::Answered(mut answer) if call.name().starts_with("Head") => {
            // It has no body: its connection serves the next request.
            let ended = answer.piece().await;
            ended
                .map_err(|error| unreached(bucket, &StoreFault::Http(error), &Spoilt::default()))?;
            let mut response = S3Response::with_status(Body::empty(), answer.head.status);
            response.headers = back(&answer.head.headers);
            Ok(response)
        }
        made => Ok(whole(front, bucket, made).await?.answered()),
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The whole of an answer.
pub(super) async fn whole(front: &Front, bucket: &BucketName, made: Made) -> S3Result<Whole> {
    let (status, headers, body) = match made {
        Made::Answered(answer) => {
            let (status, headers) = (answer.head.status, answer.head.headers.clone());
            let body = collected(answer).await;
            let body = body
                .map_err(|error| unreached(bucket, &StoreFault::Http(error), &Spoilt::default()))?;
            (status, headers, body)
        }
        Made::Refused { code, told, .. } if code == "AccessDenied" => {
            return Err(S3Error::with_message(
                S3ErrorCode::AccessDenied,
                format!("the store behind bucket {bucket} does not allow it to the agent: {told}"),
            ));
        }
        Made::Refused {
            status,
            headers,
            body,
            ..
        } => (status, headers, body),
    };
    let mut headers = back(&headers);
    let renamed = renamed(body, front.store.bucket(), bucket.as_str());
    // Of an answer without a body the length is not ours to say.
    if !renamed.is_empty() {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(renamed.len()));
    }
    Ok(Whole {
        status,
        headers,
        body: renamed,
    })
}

/// All of an answer; what is put together meanwhile sends something now and then.
async fn collected(mut answer: Answer) -> Result<Bytes, HttpError> {
    let mut whole = BytesMut::new();
    while let Some(piece) = answer.piece().await? {
        add(&mut whole, &piece)?;
    }
    Ok(whole.freeze())
}

fn add(whole: &mut BytesMut, piece: &[u8]) -> Result<(), HttpError> {
    if whole.len() + piece.len() > FRONT_RENAMED_BYTES_MAX {
        let what = "an answer that is no object is longer than 8 MiB";
        return Err(HttpError::Shape { what });
    }
    whole.extend_from_slice(piece);
    Ok(())
}

/// With the bucket's name here where its store has its own.
fn renamed(body: Bytes, there: &str, here: &str) -> Bytes {
    if there == here || body.is_empty() {
        return body;
    }
    let Ok(text) = str::from_utf8(&body) else {
        return body;
    };
    let mut text = text.to_owned();
    for tag in ["Name", "Bucket", "BucketName"] {
        let of = |name: &str| format!("<{tag}>{name}</{tag}>");
        text = text.replace(&of(there), &of(here));
    }
    text.into()
}

type Next = Boxed<'static, (Answer, Result<Option<Bytes>, HttpError>)>;

fn next(mut answer: Answer) -> Next {
    Box::pin(async move {
        let piece = answer.piece().await;
        (answer, piece)
    })
}

/// Content on its way to an application. One that breaks off before its end is not whole, and
/// the connection says so.
struct Going {
    core: Arc<Core>,
    next: Next,
    left: Option<u64>,
    is_over: bool,
    _leases: Vec<Lease>,
}

impl HttpBody for Going {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let (answer, piece) = ready!(self.next.as_mut().poll(context));
        match piece {
            Ok(Some(bytes)) => {
                self.core.tally.bytes(bytes.len());
                if let Some(left) = &mut self.left {
                    *left = left.saturating_sub(bytes.len() as u64);
                }
                self.next = next(answer);
                // Nobody asks for more than was announced: taken to its end, the connection
                // to the store serves the next request.
                if self.left == Some(0) {
                    self.is_over = self.next.as_mut().poll(context).is_ready();
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Ok(None) => {
                self.is_over = true;
                Poll::Ready(None)
            }
            Err(error) => {
                self.is_over = true;
                tracing::warn!("what the source's store gave breaks off: {error}");
                Poll::Ready(Some(Err(io::Error::other(error))))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_the_bucket_as_it_is_called_here() {
        let body = "<R><Name>theirs</Name><Key>theirs</Key><Bucket>theirs</Bucket></R>";
        let renamed = renamed(Bytes::from(body), "theirs", "ours");
        assert_eq!(
            renamed,
            "<R><Name>ours</Name><Key>theirs</Key><Bucket>ours</Bucket></R>"
        );
    }

    #[test]
    fn an_answer_that_is_no_object_is_taken_up_to_its_limit_and_no_further() {
        let mut whole = BytesMut::new();
        let half = vec![b'x'; FRONT_RENAMED_BYTES_MAX / 2];
        add(&mut whole, &half).unwrap();
        add(&mut whole, &half).unwrap();
        assert_eq!(whole.len(), FRONT_RENAMED_BYTES_MAX);
        let refused = add(&mut whole, b"x").unwrap_err();
        assert!(refused.to_string().contains("8 MiB"), "{refused}");
        assert_eq!(whole.len(), 8 << 20);
    }

    #[test]
    fn an_error_in_an_answer_that_was_begun_as_good_is_one() {
        let of = |body: &'static str| Whole {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::from(body),
        };
        assert!(of("<?xml version=\"1.0\"?>\n   <Error><Code>InternalError</Code>").is_error());
        assert!(!of("<CopyObjectResult><ETag>x</ETag></CopyObjectResult>").is_error());
    }
}
