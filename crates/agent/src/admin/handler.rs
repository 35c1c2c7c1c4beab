//! From an HTTP request to its answer, the same for both doors.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request as HttpRequest, Response, StatusCode,
    body::{Body, Frame},
    header::{CONTENT_TYPE, HOST, HeaderValue},
};
use sealift_terms::limits::ADMIN_BODY_TIME_MAX;
use tokio::{sync::mpsc, time::timeout};

use super::{
    answer::Answers,
    codec::{Form, encode, encode_end},
    operations::{Actor, Operations, dispatch},
    request::{Request, too_long},
};
use crate::Error;

/// Through which door a request came.
#[derive(Debug, Clone)]
pub(super) enum Door {
    /// The socket in the data directory, used by this user.
    Socket(Actor),
    /// A loopback address: anyone on this machine, so nothing but looking.
    Loopback,
}

pub(super) type Reply = Response<Either<Full<Bytes>, Streamed>>;

/// A body that is written while the answer is made.
#[derive(Debug)]
pub(super) struct Streamed(mpsc::Receiver<Bytes>);

impl Body for Streamed {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0
            .poll_recv(context)
            .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Answers one request.
pub(super) async fn handle<B>(
    operations: Arc<dyn Operations>,
    door: Door,
    request: HttpRequest<B>,
) -> Reply
where
    B: Body + Send,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if matches!(door, Door::Loopback) && !names_this_machine(request.headers().get(HOST)) {
        // A page in a browser may have been led here by its name service.
        return text(
            StatusCode::MISDIRECTED_REQUEST,
            "ask by a loopback address\n",
        );
    }
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str(), door) {
        (&Method::GET, "/live", _) => text(StatusCode::OK, "live\n"),
        (&Method::GET, "/ready", _) => ready(&*operations),
        (&Method::GET, "/metrics", _) => metrics(&*operations).await,
        (&Method::GET, "/status", _) => status(&*operations).await,
        (&Method::POST, path, Door::Socket(actor)) => match path.strip_prefix("/v1/") {
            Some(word) => command(operations, word, actor, request).await,
            None => nothing_here(),
        },
        _ => nothing_here(),
    }
}

fn names_this_machine(host: Option<&HeaderValue>) -> bool {
    let Some(host) = host.and_then(|host| host.to_str().ok()) else {
        return false;
    };
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|b| b.is_ascii_digit()) {
            name
        } else {
            host
        }
    });
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost"
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn nothing_here() -> Reply {
    text(
        StatusCode::NOT_FOUND,
        "nothing here: GET /live, /ready, /status or /metrics\n",
    )
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    reply(status, "text/plain; charset=utf-8", body)
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Either::Left(Full::new(body.into())));
    *reply.status_mut() = status;
    let value = HeaderValue::from_static(content_type);
    reply.headers_mut().insert(CONTENT_TYPE, value);
    reply
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(body) => reply(status, "application/json", body),
        Err(_) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "cannot be written as JSON\n",
        ),
    }
}

fn ready(operations: &dyn Operations) -> Reply {
    let readiness = operations.readiness();
    let status = match readiness.ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    json(status, &readiness)
}

async fn metrics(operations: &dyn Operations) -> Reply {
    let version = "text/plain; version=0.0.4; charset=utf-8";
    reply(StatusCode::OK, version, operations.metrics().await)
}

async fn status(operations: &dyn Operations) -> Reply {
    match operations.status().await {
        Ok(report) => json(StatusCode::OK, &report),
        Err(error) => json(StatusCode::INTERNAL_SERVER_ERROR, &error.failure()),
    }
}

async fn command<B>(
    operations: Arc<dyn Operations>,
    word: &str,
    actor: Actor,
    request: HttpRequest<B>,
) -> Reply
where
    B: Body + Send,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let bytes_max = Request::body_bytes_max(word);
    let body = Limited::new(request.into_body(), bytes_max);
    let parsed = match timeout(ADMIN_BODY_TIME_MAX, body.collect()).await {
        Ok(Ok(body)) => Request::parse(word, &body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long(bytes_max)),
        Ok(Err(_)) | Err(_) => Err(Error::Cancelled),
    };
    match parsed {
        Ok(request) => stream(operations, request, actor),
        Err(error) => refusal(error),
    }
}

/// A request that is not begun is answered by its trailer alone.
fn refusal(error: Error) -> Reply {
    let status = match error {
        Error::NotFound { .. } => StatusCode::NOT_FOUND,
        _ => StatusCode::BAD_REQUEST,
    };
    let end = encode_end(Form::Lines, &Err(error));
    reply(status, Form::Lines.content_type(), end)
}

fn stream(operations: Arc<dyn Operations>, request: Request, actor: Actor) -> Reply {
    let form = match request.wants_bytes() {
        true => Form::Framed,
        false => Form::Lines,
    };
    let (sender, body) = mpsc::channel(4);
    tracing::debug!(command = request.word(), %actor, "command");
    tokio::spawn(async move {
        let mut answers = Answers::start(|answer| async move {
            dispatch(&*operations, request, &actor, &answer).await
        });
        while let Some(piece) = answers.next().await {
            if sender.send(encode(form, piece)).await.is_err() {
                return; // Dropping the answers stops the work.
            }
        }
        let outcome = answers.finish().await;
        // Whoever asked may be gone: nothing is lost by that.
        let _ = sender.send(encode_end(form, &outcome)).await;
    });
    let mut reply = Response::new(Either::Right(Streamed(body)));
    let value = HeaderValue::from_static(form.content_type());
    reply.headers_mut().insert(CONTENT_TYPE, value);
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_answered_on_loopback() {
        for good in [
            "localhost",
            "localhost:7480",
            "127.0.0.1:7480",
            "[::1]:7480",
            "[::1]",
        ] {
            let value = HeaderValue::from_static(good);
            assert!(names_this_machine(Some(&value)), "{good}");
        }
        for bad in ["evil.example:7480", "10.0.0.1", ""] {
            let value = HeaderValue::from_static(bad);
            assert!(!names_this_machine(Some(&value)), "{bad}");
        }
        assert!(!names_this_machine(None));
    }
}
