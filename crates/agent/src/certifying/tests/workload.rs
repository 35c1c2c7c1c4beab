//! A Workload API in this process: gRPC by hand, as it is one call with one answer.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, Response, body::Incoming, server::conn::http2, service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use sealift_host::OsClock;
use tokio::net::UnixListener;

use super::{
    conformance::{DIALS, Rig, conforms},
    stage::{AGENT, Given as Offered, Stage},
};
use crate::config::Config;

/// Chain and key, PEM, as they are given next.
type Document = Arc<Mutex<(String, String)>>;

struct Workload {
    stage: Arc<Stage>,
    document: Document,
}

impl Workload {
    fn start() -> Self {
        let stage = Arc::new(Stage::new(Arc::new(OsClock)));
        let document: Document = Arc::default();
        let listener = UnixListener::bind(stage.path("api.sock")).unwrap();
        let given = document.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let given = given.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(request, given.clone()));
                    let _ = http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { stage, document }
    }
}

async fn answer(
    request: Request<Incoming>,
    given: Document,
) -> Result<
    Response<impl hyper::body::Body<Data = Bytes, Error = std::convert::Infallible>>,
    hyper::Error,
> {
    assert_eq!(request.uri().path(), "/SpiffeWorkloadAPI/FetchX509SVID");
    assert_eq!(request.headers()["workload.spiffe.io"], "true");
    request.into_body().collect().await?;
    let (chain, key) = given.lock().clone();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let message = message(&chain, &key);
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap());
    framed.extend_from_slice(&message);
    let body = Full::new(framed.freeze()).with_trailers(async { Some(Ok(trailers)) });
    let response = Response::builder().header("content-type", "application/grpc");
    Ok(response.body(body).unwrap())
}

/// `X509SVIDResponse` with one `X509SVID`.
fn message(chain: &str, key: &str) -> Vec<u8> {
    let ders = CertificateDer::pem_slice_iter(chain.as_bytes());
    let der: Vec<u8> = ders
        .filter_map(Result::ok)
        .flat_map(|der| der.to_vec())
        .collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let mut document = Vec::new();
    field(&mut document, 1, AGENT.as_bytes());
    field(&mut document, 2, &der);
    field(&mut document, 3, key.secret_der());
    field(&mut document, 4, &der);
    let mut response = Vec::new();
    field(&mut response, 1, &document);
    response
}

/// A length-delimited field of protocol buffers.
fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
}

#[async_trait]
impl Rig for Workload {
    fn stage(&self) -> &Arc<Stage> {
        &self.stage
    }

    fn config(&self) -> Config {
        self.stage
            .config("[identity.spiffe]\nsocket = \"api.sock\"\n", DIALS)
    }

    async fn give(&mut self, given: Offered) {
        *self.document.lock() = self.stage.pair(given);
    }

    fn keeps_what_is_bad(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_workload_api_conforms() {
    conforms(&mut Workload::start()).await;
}
