//! What an ACME server asks to see whether a name is ours: a listener that answers one
//! challenge and is gone with it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use sealift_identity::challenge_server;
use sealift_terms::Clock;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use crate::Error;

/// Who asks, at once: servers look from several places.
const CONNECTIONS_MAX: usize = 16;
/// A whole question.
const TIME_MAX: Duration = Duration::from_secs(10);
/// After a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);
/// Where it is asked for (RFC 8555, section 8.3).
const WELL_KNOWN: &str = "/.well-known/acme-challenge/";

/// How one question is answered.
#[derive(Clone)]
enum Answer {
    Http { path: Arc<str>, proof: Bytes },
    Tls(Arc<ServerConfig>),
}

/// Answers until it is dropped.
pub(super) struct Responder(JoinHandle<()>);

impl Drop for Responder {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Responder {
    /// Answers `http-01`.
    pub(super) async fn http(listen: SocketAddr, token: &str, proof: &str) -> Result<Self, Error> {
        let answer = Answer::Http {
            path: format!("{WELL_KNOWN}{token}").into(),
            proof: Bytes::copy_from_slice(proof.as_bytes()),
        };
        Self::start(listen, answer).await
    }

    /// Answers `tls-alpn-01`.
    pub(super) async fn tls(
        listen: SocketAddr,
        name: &str,
        digest: &[u8],
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let digest = digest
            .try_into()
            .map_err(Error::failed("hashing a challenge"))?;
        let config = challenge_server(name, &digest, clock)?;
        Self::start(listen, Answer::Tls(config)).await
    }

    async fn start(listen: SocketAddr, answer: Answer) -> Result<Self, Error> {
        let bound = TcpListener::bind(listen).await;
        let listener = bound.map_err(Error::io("listen on", listen.to_string()))?;
        Ok(Self(tokio::spawn(serve(listener, answer))))
    }
}

async fn serve(listener: TcpListener, answer: Answer) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Those under way end with the listener.
    let mut asked = tokio::task::JoinSet::new();
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        while asked.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let answer = answer.clone();
                asked.spawn(async move {
                    let _ = timeout(TIME_MAX, answer.give(stream)).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a question of an ACME server was not accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

impl Answer {
    async fn give(self, stream: TcpStream) {
        match self {
            Self::Tls(config) => {
                // The handshake is the answer.
                if let Ok(mut stream) = TlsAcceptor::from(config).accept(stream).await {
                    let _ = stream.shutdown().await;
                }
            }
            Self::Http { path, proof } => {
                let service = service_fn(move |request: Request<Incoming>| {
                    let answered = match (request.method(), request.uri().path() == &*path) {
                        (&Method::GET, true) => Response::new(Full::new(proof.clone())),
                        _ => {
                            let mut nothing = Response::new(Full::new(Bytes::new()));
                            *nothing.status_mut() = StatusCode::NOT_FOUND;
                            nothing
                        }
                    };
                    async move { Ok::<_, std::convert::Infallible>(answered) }
                });
                let _ = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(TIME_MAX)
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        }
    }
}
