//! HTTP/2 on a Unix socket, in a thread of its own.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    thread,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Request, Response,
    body::{Body, Frame, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::UnixListener,
    sync::{mpsc, oneshot, watch},
};

use crate::Answer;

/// The one call there is.
const CALL: &str = "/SpiffeWorkloadAPI/FetchX509SVID";
/// Whoever does not send it may be a browser that was led astray.
const SECURITY_HEADER: &str = "workload.spiffe.io";
/// gRPC's codes.
const INVALID_ARGUMENT: &str = "3";
const PERMISSION_DENIED: &str = "7";

/// What there is now; none for a process that nobody registered.
type Now = watch::Receiver<Option<Answer>>;

/// A Workload API that runs until it is dropped.
pub struct FakeWorkload {
    socket: PathBuf,
    now: watch::Sender<Option<Answer>>,
    asked: Arc<AtomicU64>,
    running: Option<(oneshot::Sender<()>, thread::JoinHandle<()>)>,
}

impl Drop for FakeWorkload {
    fn drop(&mut self) {
        self.stop();
    }
}

impl FakeWorkload {
    /// Starts on a socket.
    #[must_use]
    pub fn start(socket: &Path, answer: impl Into<Answer>) -> Self {
        let mut fake = Self {
            socket: socket.to_owned(),
            now: watch::channel(Some(answer.into())).0,
            asked: Arc::default(),
            running: None,
        };
        fake.go_on();
        fake
    }

    /// There is something else now: whoever watches is told.
    pub fn give(&self, answer: impl Into<Answer>) {
        self.now.send_replace(Some(answer.into()));
    }

    /// Nobody is registered any more.
    pub fn deny(&self) {
        self.now.send_replace(None);
    }

    /// How often it was called.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// The socket goes away, and every stream with it.
    pub fn stop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            let _ = thread.join();
            let _ = std::fs::remove_file(&self.socket);
        }
    }

    /// It is there again.
    pub fn go_on(&mut self) {
        let (stop, stopped) = oneshot::channel();
        let (socket, now, asked) = (
            self.socket.clone(),
            self.now.subscribe(),
            self.asked.clone(),
        );
        let (listening, listens) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = UnixListener::bind(socket).unwrap();
                listening.send(()).unwrap();
                tokio::select! {
                    () = serve(listener, now, asked) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_timeout(Duration::from_millis(100));
        });
        listens.recv().unwrap();
        self.running = Some((stop, thread));
    }
}

async fn serve(listener: UnixListener, now: Now, asked: Arc<AtomicU64>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (now, asked) = (now.clone(), asked.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                asked.fetch_add(1, Ordering::SeqCst);
                let now = now.clone();
                async move { Ok::<_, Infallible>(answer(request, now).await) }
            });
            // One that goes away in the middle is none of the test's.
            let _ = http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(request: Request<Incoming>, now: Now) -> Response<Told> {
    let is_known = request.uri().path() == CALL;
    let is_meant = request.headers().get(SECURITY_HEADER);
    let is_meant = is_meant.is_some_and(|value| value == "true");
    let _ = request.into_body().collect().await;
    let (to_send, told) = mpsc::channel(1);
    if is_known && is_meant {
        tokio::spawn(tell(now, to_send));
    } else {
        let _ = to_send.try_send(end(
            INVALID_ARGUMENT,
            "security header missing from request",
        ));
    }
    let response = Response::builder().header("content-type", "application/grpc");
    response.body(Told(told)).unwrap()
}

/// What there is, and what there is after that, until nobody listens.
async fn tell(mut now: Now, to_send: mpsc::Sender<Frame<Bytes>>) {
    loop {
        let frame = match &*now.borrow_and_update() {
            Some(answer) => Frame::data(answer.frame()),
            None => end(PERMISSION_DENIED, "no identity issued"),
        };
        let is_last = frame.is_trailers();
        if to_send.send(frame).await.is_err() || is_last {
            return;
        }
        tokio::select! {
            changed = now.changed() => if changed.is_err() { return },
            () = to_send.closed() => return,
        }
    }
}

fn end(status: &str, message: &str) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().unwrap());
    trailers.insert("grpc-message", message.parse().unwrap());
    Frame::trailers(trailers)
}

/// The frames of an answer as they come.
struct Told(mpsc::Receiver<Frame<Bytes>>);

impl Body for Told {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}
