//! HTTP/1.1 on loopback, in a thread of its own, over TLS or in the clear.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::oneshot,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, version::TLS13},
};

use crate::Trouble;

/// A call, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What was wanted, as in `Decrypt` or `POST transit/decrypt`.
    pub call: String,
    /// Of which key.
    pub key: String,
}

/// What answers requests.
pub(crate) trait Service: Send + Sync + 'static {
    /// Answers one.
    fn answer(&self, parts: &hyper::http::request::Parts, body: &[u8]) -> Response<Full<Bytes>>;
    /// Answers one whose body came in these pieces.
    fn answer_pieces(
        &self,
        parts: &hyper::http::request::Parts,
        body: Vec<Bytes>,
    ) -> Response<Full<Bytes>> {
        self.answer(parts, &body.concat())
    }
    /// The service throttles.
    fn throttled(&self) -> Response<Full<Bytes>>;
    /// The service denies.
    fn denied(&self) -> Response<Full<Bytes>>;
    /// The service is broken.
    fn broken(&self) -> Response<Full<Bytes>>;
}

/// A service that runs until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) trouble: Arc<Mutex<Trouble>>,
    calls: Arc<AtomicU32>,
    unanswered: Arc<AtomicU32>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Server {
    /// Starts on a port of its own; over TLS when there is a file to write its root to.
    pub(crate) fn start(service: Arc<dyn Service>, roots: Option<&Path>) -> Self {
        let acceptor = roots.map(acceptor);
        let trouble: Arc<Mutex<Trouble>> = Arc::default();
        let (stop, stopped) = oneshot::channel();
        let (told, address) = std::sync::mpsc::channel();
        let (calls, unanswered): (Arc<AtomicU32>, Arc<AtomicU32>) = Default::default();
        let given = (trouble.clone(), calls.clone(), unanswered.clone());
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    () = serve(listener, acceptor, service, given) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_timeout(Duration::from_millis(100));
        });
        Self {
            address: address.recv().unwrap(),
            trouble,
            calls,
            unanswered,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Calls that came while one of so many was throttled.
    pub(crate) fn calls_in_share(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Calls that were taken and are never answered.
    pub(crate) fn unanswered(&self) -> u32 {
        self.unanswered.load(Ordering::Relaxed)
    }
}

fn acceptor(roots: &Path) -> TlsAcceptor {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    std::fs::write(roots, certificate.pem()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    service: Arc<dyn Service>,
    trouble: Given,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        // What is answered does not wait for what was answered before to be acknowledged.
        let _ = stream.set_nodelay(true);
        let (acceptor, service, trouble) = (acceptor.clone(), service.clone(), trouble.clone());
        tokio::spawn(async move {
            match acceptor {
                None => speak(stream, service, trouble).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        speak(stream, service, trouble).await;
                    }
                }
            }
        });
    }
}

/// What is wrong, the calls of which only some are throttled, and those that are not answered.
type Given = (Arc<Mutex<Trouble>>, Arc<AtomicU32>, Arc<AtomicU32>);

async fn speak<S>(stream: S, service: Arc<dyn Service>, trouble: Given)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answering = service_fn(move |request| {
        let (service, trouble) = (service.clone(), trouble.clone());
        async move {
            match answer(&*service, &trouble, request).await {
                Some(response) => Ok(response),
                // Gone without a word.
                None => Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
            }
        }
    });
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), answering)
        .await;
}

async fn answer(
    service: &dyn Service,
    (trouble, calls, unanswered): &Given,
    request: Request<Incoming>,
) -> Option<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let body = pieces(body).await?;
    let now = {
        let mut trouble = trouble.lock();
        let now = *trouble;
        if let Trouble::ThrottledFor(left) = now {
            *trouble = match left {
                0 | 1 => Trouble::None,
                _ => Trouble::ThrottledFor(left - 1),
            };
        }
        now
    };
    Some(match now {
        Trouble::None => service.answer_pieces(&parts, body),
        Trouble::Throttled => service.throttled(),
        Trouble::ThrottledFor(0) => service.answer_pieces(&parts, body),
        Trouble::ThrottledFor(_) => service.throttled(),
        Trouble::ThrottledEach(share) => {
            match calls.fetch_add(1, Ordering::Relaxed) % share.max(1) {
                0 => service.throttled(),
                _ => service.answer_pieces(&parts, body),
            }
        }
        Trouble::Silent => {
            unanswered.fetch_add(1, Ordering::Relaxed);
            std::future::pending().await
        }
        Trouble::Denied => service.denied(),
        Trouble::Broken => service.broken(),
        Trouble::Unreachable => return None,
        Trouble::Slow(time) => {
            tokio::time::sleep(time).await;
            service.answer_pieces(&parts, body)
        }
        Trouble::Late(time) => {
            let answered = service.answer_pieces(&parts, body);
            tokio::time::sleep(time).await;
            answered
        }
    })
}

/// A body as it came, which is copied no more.
async fn pieces(mut body: Incoming) -> Option<Vec<Bytes>> {
    let mut pieces = Vec::new();
    while let Some(frame) = body.frame().await {
        pieces.extend(frame.ok()?.into_data());
    }
    Some(pieces)
}

/// An answer as a test wants it.
pub(crate) fn scripted(status: u16, headers: &[(&str, &str)], body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .unwrap()
}

/// An answer with this status and body.
pub(crate) fn respond(status: u16, content_type: &str, body: String) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(Full::new(Bytes::from(body)))
        .unwrap_or_else(|_: hyper::http::Error| Response::new(Full::default()))
}
