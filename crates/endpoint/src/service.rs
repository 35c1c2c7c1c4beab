//! From a request to its answer.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::Limited;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body as HttpBody, Incoming},
    header::{CONNECTION, CONTENT_RANGE, HeaderValue},
    http::request::Parts,
};
use s3s::{Body, S3Error, S3ErrorCode, service::S3Service};
use sealift_terms::{
    AccessKeyId,
    limits::{ENDPOINT_ANSWER_TIME_MAX, ENDPOINT_BODY_BYTES_MAX, ENDPOINT_LIST_BYTES_MAX},
};
use tokio::time::timeout;

use crate::{
    access::Noted,
    core::Core,
    errors::Refused,
    gate,
    incoming::{CutOff, Held, Metered},
};

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
    let carries = Carries::of(&head);
    if is_long(&head.method, &body, carries) {
        core.refuse(from.ip(), &Refused::LongBody, Some(&claimed));
        return last(of_error(Refused::LongBody.told()));
    }
    let (held, is_head) = (Held::default(), head.method == Method::HEAD);
    let _ = noted.memory.set(carries.memory(&body));
    head.extensions.insert(noted.clone());
    head.extensions.insert(held.clone());
    let body = match carries {
        Carries::Content => Body::http_body_unsync(Metered::new(body, held.clone())),
        Carries::List | Carries::Tags => {
            let body = Metered::markup(body, held.clone());
            Body::http_body_unsync(Limited::new(body, carries.bytes_max()))
        }
        Carries::Little => {
            let body = Metered::whole(body, held.clone());
            Body::http_body_unsync(Limited::new(body, carries.bytes_max()))
        }
    };
    let calling = service.call(Request::from_parts(head, body));
    let answered = match timeout(carries.time_max(), calling).await {
        Ok(Ok(_)) if held.is_odd() => of_error(odd()),
        Ok(Ok(answered)) if is_head => of_range(answered),
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
    match held.is_over() {
        true => answered,
        false => last(answered),
    }
}

/// `s3s` answers HEAD with 200 whatever is asked for; of a range it is 206.
fn of_range(mut answered: Response<Body>) -> Response<Body> {
    if answered.status() == StatusCode::OK && answered.headers().contains_key(CONTENT_RANGE) {
        *answered.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    answered
}

/// What is told of XML that readers differ about.
fn odd() -> S3Error {
    let told = CutOff::Odd.to_string();
    S3Error::with_message(S3ErrorCode::MalformedXML, told)
}

/// What a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carries {
    /// The content of an object, or of a part of one.
    Content,
    /// Many keys, or the parts of an object.
    List,
    /// Tags of an object.
    Tags,
    /// Less than that.
    Little,
}

impl Carries {
    fn of(head: &Parts) -> Self {
        let query = head.uri.query().unwrap_or_default();
        let names = || {
            let names = query.split('&').filter(|pair| !pair.is_empty());
            names.map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name))
        };
        let has = |wanted: &str| names().any(|name| name == wanted);
        let is_key = head
            .uri
            .path()
            .trim_start_matches('/')
            .split_once('/')
            .is_some_and(|(_, key)| !key.is_empty());
        match head.method {
            // Other calls with a key and a body name what they are about in the query.
            Method::PUT if is_key && has("tagging") => Self::Tags,
            Method::PUT if is_key => {
                let of_content = |name: &str| {
                    matches!(name, "partNumber" | "uploadId" | "x-id") || name.starts_with("X-Amz-")
                };
                match names().all(of_content) {
                    true => Self::Content,
                    false => Self::Little,
                }
            }
            Method::POST if has("delete") || has("uploadId") => Self::List,
            _ => Self::Little,
        }
    }

    /// Bytes that are taken. Of content the call says so itself, by what it announces.
    fn bytes_max(self) -> usize {
        match self {
            Self::Content => usize::MAX,
            Self::List => ENDPOINT_LIST_BYTES_MAX,
            Self::Tags | Self::Little => ENDPOINT_BODY_BYTES_MAX,
        }
    }

    /// Bytes of memory that it takes to read such a body. Content takes its own when it is
    /// known whose it is.
    fn memory(self, body: &Incoming) -> usize {
        let announced = body.size_hint().upper().unwrap_or(u64::MAX);
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        match self {
            // As text, and as what it says.
            Self::List => announced.min(self.bytes_max()) * 2,
            Self::Content | Self::Tags | Self::Little => 0,
        }
    }

    /// From the head to the answer. Content has a time of its own, which begins anew with
    /// what comes of it.
    fn time_max(self) -> Duration {
        match self {
            Self::Content => Duration::MAX,
            Self::List | Self::Tags | Self::Little => ENDPOINT_ANSWER_TIME_MAX,
        }
    }
}

/// Whether a body is longer than its call takes. Whoever waits with it for a word of ours
/// never sends it.
fn is_long(method: &Method, body: &Incoming, carries: Carries) -> bool {
    let bytes = body.size_hint();
    let is_short = |bytes: u64| bytes <= carries.bytes_max() as u64;
    let has_none = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    let is_content = carries == Carries::Content;
    !(has_none || is_content || bytes.upper().is_some_and(is_short))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_alone_may_be_long() {
        let of = |method: &str, uri: &str| {
            let request = Request::builder().method(method).uri(uri).body(());
            Carries::of(&request.unwrap().into_parts().0)
        };
        let presigned = "/photos/a?X-Amz-Algorithm=x&X-Amz-Signature=y";
        for content in [
            "/photos/a/b",
            "/photos/a?partNumber=1&uploadId=x",
            presigned,
        ] {
            assert_eq!(of("PUT", content), Carries::Content, "{content}");
        }
        for little in ["/photos", "/photos/", "/photos/a?acl=", "/"] {
            assert_eq!(of("PUT", little), Carries::Little, "{little}");
        }
        assert_eq!(of("PUT", "/photos/a?tagging"), Carries::Tags);
        assert_eq!(of("POST", "/photos?delete"), Carries::List);
        assert_eq!(of("POST", "/photos/a?uploadId=x"), Carries::List);
        assert_eq!(of("POST", "/photos/a?uploads"), Carries::Little);
        assert_eq!(of("GET", "/photos/a"), Carries::Little);
    }
}
