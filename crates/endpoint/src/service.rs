//! From a request to its answer.

use std::{net::SocketAddr, sync::Arc};

use http_body_util::Limited;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body as HttpBody, Incoming},
    header::{CONNECTION, HeaderValue},
};
use s3s::{Body, S3Error, S3ErrorCode, service::S3Service};
use sealift_terms::{
    AccessKeyId,
    limits::{ENDPOINT_ANSWER_TIME_MAX, ENDPOINT_BODY_BYTES_MAX},
};
use tokio::time::timeout;

use crate::{access::Noted, core::Core, errors::Refused, gate};

/// Counts a request that was no call, or one that is not known.
const NO_CALL: &str = "none";

/// Answers one request.
pub(crate) async fn answer(
    core: Arc<Core>,
    service: S3Service,
    from: SocketAddr,
    request: Request<Incoming>,
) -> Response<Body> {
    let noted = Arc::new(Noted::default());
    let answered = answered(&core, &service, from, request, &noted).await;
    let call = noted.call.get().map_or(NO_CALL, String::as_str);
    core.tally.request(call, answered.status().as_u16());
    answered
}

async fn answered(
    core: &Core,
    service: &S3Service,
    from: SocketAddr,
    request: Request<Incoming>,
    noted: &Arc<Noted>,
) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let claimed = match gate::claimed(&head, core.clock.now()) {
        Ok(claimed) => claimed,
        Err(refused) => {
            core.refuse(from.ip(), &refused, None);
            return last(of_error(refused.told()));
        }
    };
    if is_long(&head.method, &body) {
        core.refuse(from.ip(), &Refused::LongBody, Some(&claimed));
        return last(of_error(Refused::LongBody.told()));
    }
    head.extensions.insert(noted.clone());
    let body = Body::http_body_unsync(Limited::new(body, ENDPOINT_BODY_BYTES_MAX));
    let calling = service.call(Request::from_parts(head, body));
    let answered = match timeout(ENDPOINT_ANSWER_TIME_MAX, calling).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(error)) => {
            let error: Box<dyn std::error::Error + Send + Sync> = error.into();
            tracing::error!(%error, "an answer of the S3 endpoint cannot be written");
            return last(of_error(S3ErrorCode::InternalError.into()));
        }
        Err(_late) => return last(of_error(S3ErrorCode::RequestTimeout.into())),
    };
    if noted.call.get().is_none() {
        tell_refused(core, from, &claimed, &answered);
    }
    answered
}

/// Whether a body is longer than any call that is answered here has. Whoever waits with it
/// for a word of ours never sends it.
fn is_long(method: &Method, body: &Incoming) -> bool {
    let bytes = body.size_hint();
    let is_short = |bytes: u64| bytes <= ENDPOINT_BODY_BYTES_MAX as u64;
    let has_none = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    !(has_none || bytes.upper().is_some_and(is_short))
}

/// What `s3s` refused before it was a call is counted with what was refused before that.
fn tell_refused(core: &Core, from: SocketAddr, claimed: &AccessKeyId, answered: &Response<Body>) {
    let text = answered.body().bytes().unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let code = text
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"));
    let refused = match code.map(|(code, _)| code) {
        Some("SignatureDoesNotMatch") => Refused::WrongSignature,
        Some("InvalidAccessKeyId") => Refused::UnknownKey,
        Some("NotImplemented" | "MethodNotAllowed") => return,
        _ => Refused::Malformed("a header or its path"),
    };
    core.refuse(from.ip(), &refused, Some(claimed));
}

fn of_error(error: S3Error) -> Response<Body> {
    let told = error.to_http_response();
    told.unwrap_or_else(|_| {
        let mut bare = Response::new(Body::empty());
        *bare.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        bare
    })
}

/// The last answer on its connection: what else comes on it may be the body of what was
/// refused.
fn last(mut answered: Response<Body>) -> Response<Body> {
    let close = HeaderValue::from_static("close");
    answered.headers_mut().insert(CONNECTION, close);
    answered
}
