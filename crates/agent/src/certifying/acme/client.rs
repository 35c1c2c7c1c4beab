//! HTTPS to an ACME server, for instant-acme: bounded in time and bytes, TLS 1.3 alone.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    header::{HOST, HeaderValue, RETRY_AFTER},
    http::uri::PathAndQuery,
};
use instant_acme::{BodyWrapper, BytesResponse, Error as AcmeError, HttpClient};
use rustls_pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;

use crate::{
    Error,
    enrolling::{Bounds, exchange},
};

/// Connecting, asking and being answered.
const TIME_MAX: Duration = Duration::from_secs(30);
/// A chain is the longest answer.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// When a server that gives advice does not say when to ask again (RFC 9773, section
/// 4.3.3): six hours. The library takes no advice without it.
const AGAIN: HeaderValue = HeaderValue::from_static("21600");

pub(super) struct Client {
    tls: Arc<ClientConfig>,
}

impl Client {
    pub(super) fn new(tls: Arc<ClientConfig>) -> Self {
        Self { tls }
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, AcmeError>> + Send>> {
        let tls = self.tls.clone();
        Box::pin(async move {
            let asked = timeout(TIME_MAX, ask(tls, request)).await;
            let late = || Error::TryAgain {
                what: format!("no answer within {} s", TIME_MAX.as_secs()),
                reason: None,
            };
            let answered = asked.unwrap_or_else(|_| Err(late()));
            match answered {
                Ok(response) => Ok(BytesResponse::from(response.map(Full::new))),
                Err(error) => Err(AcmeError::Other(error.in_one_line().into())),
            }
        })
    }
}

async fn ask(
    tls: Arc<ClientConfig>,
    mut request: Request<BodyWrapper<Bytes>>,
) -> Result<Response<Bytes>, Error> {
    let is_get = request.method() == Method::GET;
    let (address, name) = endpoint(request.uri())?;
    let authority = request.uri().authority().map(ToString::to_string);
    let host = HeaderValue::try_from(authority.unwrap_or_default());
    let host = host.map_err(Error::failed("writing a request"))?;
    request.headers_mut().insert(HOST, host);
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(path.unwrap_or(PathAndQuery::from_static("/")));
    let bounds = Bounds {
        server: "the ACME server",
        answer_bytes_max: ANSWER_BYTES_MAX,
    };
    let mut response = exchange(&address, tls, name, request, bounds).await?;
    if is_get && response.status() == StatusCode::OK && !says_when(&response) {
        response.headers_mut().insert(RETRY_AFTER, AGAIN);
    }
    Ok(response)
}

/// Whether a server says when it is to be asked again, in a way that can be read.
fn says_when(response: &Response<Bytes>) -> bool {
    let said = response.headers().get(RETRY_AFTER);
    let said = said.and_then(|said| said.to_str().ok()).map(str::trim);
    said.is_some_and(|said| said.parse::<u32>().is_ok() || said.ends_with("GMT"))
}

fn endpoint(uri: &Uri) -> Result<(String, ServerName<'static>), Error> {
    let refused = |why: &str| Error::Refused {
        what: format!("the address {uri}"),
        source: why.into(),
    };
    if uri.scheme_str() != Some("https") {
        return Err(refused("an ACME server is asked over https alone"));
    }
    let host = uri.host().ok_or_else(|| refused("it has no host"))?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(bare.to_owned());
    let name = name.map_err(|_| refused("its host is no name"))?;
    let port = uri.port_u16().unwrap_or(443);
    Ok((format!("{host}:{port}"), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_asked_over_https_alone() {
        let of = |uri: &str| endpoint(&uri.parse().unwrap());
        assert_eq!(
            of("https://ca.example.org/dir").unwrap().0,
            "ca.example.org:443"
        );
        assert_eq!(of("https://[::1]:14000/").unwrap().0, "[::1]:14000");
        for bad in ["http://ca.example.org/", "/dir", "ftp://a/"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_that_cannot_be_read_is_as_none() {
        let response = |said: &'static str| {
            let mut response = Response::new(Bytes::new());
            let said = HeaderValue::from_static(said);
            response.headers_mut().insert(RETRY_AFTER, said);
            response
        };
        assert!(says_when(&response("60")));
        assert!(says_when(&response("Fri, 31 Dec 1999 23:59:59 GMT")));
        for bad in ["", "soon", "-1", "99999999999999999999"] {
            assert!(!says_when(&response(bad)), "{bad}");
        }
        assert!(!says_when(&Response::new(Bytes::new())));
    }
}
