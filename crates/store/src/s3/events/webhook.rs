//! Where a store posts its events: an address on loopback, and a token that it shows.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{AUTHORIZATION, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use sealift_host::read_secret_file;
use sealift_terms::{
    limits::{
        EVENTS_BODY_BYTES_MAX, EVENTS_CONNECTIONS_MAX, EVENTS_TIME_MAX, EVENTS_TOKEN_BYTES_MAX,
    },
    percent::decode,
};
use subtle::ConstantTimeEq;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::timeout,
};

use super::Wanted;
use crate::{Hint, Recorded, s3::settings::Webhook};

/// An address that is taken is tried again after this.
const BOUND_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Listens until nobody takes the hints any more.
pub(in crate::s3) async fn listen(webhook: Webhook, wanted: Wanted, hints: mpsc::Sender<Hint>) {
    let gone = hints.clone();
    tokio::select! {
        () = gone.closed() => {}
        () = accept(Arc::new(webhook), wanted, hints) => {}
    }
}

async fn accept(webhook: Arc<Webhook>, wanted: Wanted, hints: mpsc::Sender<Hint>) {
    let listener = bound(&webhook).await;
    // What came before is not told again.
    let _full = hints.try_send(Hint::Rescan);
    let at_once = Arc::new(Semaphore::new(EVENTS_CONNECTIONS_MAX));
    loop {
        let Ok(permit) = at_once.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of files, or a peer that is gone already.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (webhook, wanted, hints) = (webhook.clone(), wanted.clone(), hints.clone());
        tokio::spawn(async move {
            let gone = hints.clone();
            tokio::select! {
                () = gone.closed() => {}
                () = speak(stream, &webhook, &wanted, &hints) => {}
            }
            drop(permit);
        });
    }
}

/// Its listener; one that cannot be had is told once and tried again.
async fn bound(webhook: &Webhook) -> TcpListener {
    let mut is_told = false;
    loop {
        match TcpListener::bind(webhook.listen).await {
            Ok(listener) => return listener,
            Err(error) if !is_told => {
                tracing::warn!(address = %webhook.listen, %error, "events cannot be awaited: scans alone find changes");
                is_told = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(BOUND_AGAIN_AFTER).await;
    }
}

async fn speak(stream: TcpStream, webhook: &Webhook, wanted: &Wanted, hints: &mpsc::Sender<Hint>) {
    let answering = service_fn(|request| async {
        let status = timeout(EVENTS_TIME_MAX, answer(request, webhook, wanted, hints)).await;
        let mut response = Response::new(Empty::<Bytes>::new());
        *response.status_mut() = status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        if response.status() == StatusCode::UNAUTHORIZED {
            let how = HeaderValue::from_static("Bearer");
            response.headers_mut().insert("www-authenticate", how);
        }
        Ok::<_, Infallible>(response)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(EVENTS_TIME_MAX)
        .serve_connection(TokioIo::new(stream), answering);
    // A sender that breaks off has told nothing.
    let _ = served.await;
}

async fn answer(
    request: Request<Incoming>,
    webhook: &Webhook,
    wanted: &Wanted,
    hints: &mpsc::Sender<Hint>,
) -> StatusCode {
    if !is_allowed(&request, webhook) {
        return StatusCode::UNAUTHORIZED;
    }
    if *request.method() != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED;
    }
    let body = Limited::new(request.into_body(), EVENTS_BODY_BYTES_MAX);
    let Ok(body) = body.collect().await else {
        return StatusCode::PAYLOAD_TOO_LARGE;
    };
    let Some(found) = wanted.hints(&body.to_bytes()) else {
        return StatusCode::BAD_REQUEST;
    };
    // Of tags nothing else tells: they are not taken before they are recorded.
    let is_of_tags = found.iter().any(|hint| matches!(hint, Hint::Tagged(..)));
    for hint in found {
        // A full queue keeps the store waiting; it posts again what was not taken in time.
        if hints.send(hint).await.is_err() {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
    }
    if is_of_tags {
        let (recorded, told) = Recorded::new();
        let _closed = hints.send(Hint::Recorded(recorded)).await;
        if !told.is_told().await {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
    }
    StatusCode::NO_CONTENT
}

/// Whether a request shows the token: as a bearer, or as its path, for stores that show nothing
/// else (Ceph). Its file is read each time: one that is replaced is in force at once, and one
/// that cannot be read lets nobody in.
fn is_allowed(request: &Request<Incoming>, webhook: &Webhook) -> bool {
    let Ok(token) = read_secret_file(&webhook.token_file, EVENTS_TOKEN_BYTES_MAX) else {
        return false;
    };
    let token = token.trim_ascii();
    let is_token = |shown: &[u8]| !token.is_empty() && bool::from(shown.ct_eq(token));
    let bearer = request.headers().get(AUTHORIZATION);
    let bearer = bearer.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let path = request.uri().path().strip_prefix('/').and_then(decode);
    bearer.is_some_and(is_token) || path.is_some_and(|path| is_token(path.as_bytes()))
}
