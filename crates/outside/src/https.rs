//! HTTP to a service outside: TLS 1.3 under given roots, in the clear on loopback alone,
//! bounded in time and bytes.

use std::{fmt, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    header::{HOST, HeaderValue},
    http::response::Parts,
};
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use sealift_terms::limits::{
    KEY_SERVICE_ANSWER_BYTES_MAX, KEY_SERVICE_CONNECTIONS_IDLE_MAX, KEY_SERVICE_TIME_MAX,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, ClientConnection},
};

use crate::{Endpoint, Payload, line::Line};

/// An answer without more than this is told; what is longer is cut.
const TOLD_BYTES_MAX: usize = 512;

/// What a service may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// From connecting to the end of an answer; of one that is taken piece by piece, to its
    /// head and for each piece.
    pub time: Duration,
    /// Bytes of an answer that is taken whole.
    pub answer_bytes: usize,
    /// Connections that are kept for the next call.
    pub idle: usize,
}

impl Bounds {
    /// Of key services.
    pub const USUAL: Self = Self {
        time: KEY_SERVICE_TIME_MAX,
        answer_bytes: KEY_SERVICE_ANSWER_BYTES_MAX,
        idle: KEY_SERVICE_CONNECTIONS_IDLE_MAX,
    };
}

/// Why a service gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// There is no connection.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where.
        address: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// It is not who it should be, or speaks no TLS that we do.
    #[error("the TLS handshake with {address} failed")]
    Handshake {
        /// Where.
        address: String,
        /// What was wrong.
        #[source]
        source: io::Error,
    },
    /// It would be asked in the clear over a network.
    #[error("{address} is not loopback, and it is to be asked in the clear")]
    InTheClear {
        /// Where.
        address: String,
    },
    /// The connection was lost, or it does not speak HTTP.
    #[error("HTTP with {address} failed")]
    Http {
        /// Where.
        address: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What was to be sent could not be read.
    #[error("what was to be sent could not be read")]
    Body {
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// It takes too long.
    #[error("{address} did not answer within {} s", time.as_secs())]
    Late {
        /// Where.
        address: String,
        /// What it may take.
        time: Duration,
    },
    /// It answered with an error.
    #[error("it answered {status}{told}", told = behind(told))]
    Answered {
        /// The HTTP status.
        status: u16,
        /// What it said, in one bounded line.
        told: String,
    },
    /// It answered something that was not asked for.
    #[error("its answer has another shape: {what}")]
    Shape {
        /// What is wrong with it.
        what: &'static str,
    },
}

/// What a service said behind a status, which may be nothing: a HEAD has no body.
#[must_use]
pub fn behind(told: &str) -> String {
    match told {
        "" => String::new(),
        told => format!(": {told}"),
    }
}

impl HttpError {
    /// An answer that nothing more is known of.
    #[must_use]
    pub fn answered(status: u16, body: &[u8]) -> Self {
        Self::Answered {
            status,
            told: told(body),
        }
    }
}

/// Text of a service that is told to a person: bounded and of one line.
#[must_use]
pub fn told(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..TOLD_BYTES_MAX).unwrap_or(body));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A client of one service. Connections are used again while the service keeps them.
#[derive(Clone)]
pub struct HttpClient(Arc<Shared>);

struct Shared {
    endpoint: Endpoint,
    /// Whom to trust; nothing where it is asked in the clear.
    tls: Option<Arc<ClientConfig>>,
    bounds: Bounds,
    idle: Mutex<Vec<Line>>,
    /// What the last handshake gave.
    negotiated: Mutex<Option<String>>,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpClient({})", self.0.endpoint)
    }
}

/// An answer whose head came; its body is still to be taken.
pub struct Answer {
    /// Status and headers.
    pub head: Parts,
    body: Incoming,
    /// The connection; kept, and none here, once there is no more of the body.
    line: Option<Line>,
    of: Arc<Shared>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({}, {})", self.of.endpoint, self.head.status)
    }
}

impl Answer {
    /// The next bytes of the body; none at its end.
    ///
    /// # Errors
    /// [`HttpError::Http`] when the connection is lost before its end, [`HttpError::Late`].
    pub async fn piece(&mut self) -> Result<Option<Bytes>, HttpError> {
        loop {
            let Some(line) = &mut self.line else {
                return Ok(None);
            };
            let frame = timeout(self.of.bounds.time, line.drive(self.body.frame())).await;
            match frame.map_err(|_| self.of.late())? {
                None => {
                    self.of.keep(self.line.take());
                    return Ok(None);
                }
                Some(Err(error)) => return Err(self.of.http(error)),
                // Trailers say nothing that is asked for.
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// Its head, and the first bytes of its body, so many at most: all of them within `time`.
    ///
    /// # Errors
    /// As [`Self::piece`].
    pub async fn first(
        mut self,
        count: usize,
        time: Duration,
    ) -> Result<(Parts, Vec<u8>), HttpError> {
        let of = Arc::clone(&self.of);
        let read = async {
            let mut bytes = Vec::with_capacity(count);
            while bytes.len() < count
                && let Some(piece) = self.piece().await?
            {
                let taken = (count - bytes.len()).min(piece.len());
                bytes.extend_from_slice(piece.get(..taken).unwrap_or_default());
            }
            Ok((self.head, bytes))
        };
        let read = timeout(time, read).await;
        read.unwrap_or_else(|_| Err(of.late_after(time)))
    }

    /// All of it, if it is no longer than an answer may be.
    ///
    /// # Errors
    /// As [`Self::piece`].
    pub async fn whole(self) -> Result<Response<Bytes>, HttpError> {
        let Self {
            head,
            body,
            mut line,
            of,
        } = self;
        let Some(under_way) = &mut line else {
            return Ok(Response::from_parts(head, Bytes::new()));
        };
        let body = Limited::new(body, of.bounds.answer_bytes).collect();
        let body = timeout(of.bounds.time, under_way.drive(body)).await;
        let body = body.map_err(|_| of.late())?;
        let body = body.map_err(|error| of.http(error))?.to_bytes();
        of.keep(line);
        Ok(Response::from_parts(head, body))
    }
}

impl HttpClient {
    /// A client that has no connection yet.
    #[must_use]
    pub fn new(endpoint: Endpoint, tls: Option<Arc<ClientConfig>>, bounds: Bounds) -> Self {
        Self(Arc::new(Shared {
            endpoint,
            tls,
            bounds,
            idle: Mutex::default(),
            negotiated: Mutex::default(),
        }))
    }

    /// Where it asks.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// Its address, and version and suite of the last handshake.
    #[must_use]
    pub fn reached(&self) -> String {
        match &*self.0.negotiated.lock() {
            Some(negotiated) => format!("{}, {negotiated}", self.0.endpoint),
            None => format!("{}, in the clear on this machine", self.0.endpoint),
        }
    }

    /// Asks, within the time that the service may take.
    ///
    /// # Errors
    /// [`HttpError`], but for answers of any status.
    pub async fn ask(
        &self,
        request: Request<impl Into<Payload>>,
    ) -> Result<Response<Bytes>, HttpError> {
        let asked = async { self.begin(request).await?.whole().await };
        let asked = timeout(self.0.bounds.time, asked).await;
        asked.unwrap_or_else(|_| Err(self.0.late()))
    }

    /// Asks, and waits for the head of the answer. A connection that was kept and turns
    /// out to be gone is replaced by a new one, once: what is asked here can be asked twice.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn begin(&self, request: Request<impl Into<Payload>>) -> Result<Answer, HttpError> {
        self.begin_within(request, self.0.bounds.time).await
    }

    /// As [`Self::begin`], where sending what is asked takes time of its own.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn begin_within(
        &self,
        request: Request<impl Into<Payload>>,
        time: Duration,
    ) -> Result<Answer, HttpError> {
        let request = self.0.addressed(request.map(Into::into))?;
        let begun = timeout(time, self.0.begin(request)).await;
        Ok(self.answer(begun.map_err(|_| self.0.late_after(time))??))
    }

    /// As [`Self::begin_within`], of what may not be asked twice: another connection is tried
    /// only where nothing of it was sent.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn begin_once(
        &self,
        request: Request<Payload>,
        time: Duration,
    ) -> Result<Answer, HttpError> {
        let request = self.0.addressed(request)?;
        let begun = timeout(time, self.0.begin_once(request)).await;
        Ok(self.answer(begun.map_err(|_| self.0.late_after(time))??))
    }

    fn answer(&self, (head, body, line): Begun) -> Answer {
        let mut line = Some(line);
        if body.is_end_stream() {
            self.0.keep(line.take());
        }
        Answer {
            head,
            body,
            line,
            of: Arc::clone(&self.0),
        }
    }
}

type Begun = (Parts, Incoming, Line);

impl Shared {
    fn addressed(&self, mut request: Request<Payload>) -> Result<Request<Payload>, HttpError> {
        let host = HeaderValue::try_from(self.endpoint.authority());
        let host = host.map_err(|error| self.http(error))?;
        request.headers_mut().insert(HOST, host);
        Ok(request)
    }

    async fn begin_once(&self, mut request: Request<Payload>) -> Result<Begun, HttpError> {
        if let Some(mut kept) = self.kept().await
            && kept.ready().await.is_ok()
        {
            match kept.try_send(request).await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    return Ok((head, body, kept));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(self.http(error.into_error())),
                },
            }
        }
        let fresh = self.connect().await?;
        self.begin_over(fresh, request).await
    }

    async fn begin(&self, request: Request<Payload>) -> Result<Begun, HttpError> {
        if let Some(kept) = self.kept().await {
            match self.begin_over(kept, request.clone()).await {
                Err(HttpError::Http { .. }) => {}
                answered => return answered,
            }
        }
        let fresh = self.connect().await?;
        self.begin_over(fresh, request).await
    }

    async fn begin_over(
        &self,
        mut line: Line,
        request: Request<Payload>,
    ) -> Result<Begun, HttpError> {
        line.ready().await.map_err(|error| self.http(error))?;
        let response = line.try_send(request).await;
        let response = response.map_err(|error| self.http(error.into_error()))?;
        let (head, body) = response.into_parts();
        Ok((head, body, line))
    }

    /// A connection that was kept, and that the service keeps as well.
    async fn kept(&self) -> Option<Line> {
        loop {
            let mut kept = self.idle.lock().pop()?;
            if kept.is_open().await {
                return Some(kept);
            }
        }
    }

    /// Keeps a connection whose last answer was taken to its end.
    fn keep(&self, line: Option<Line>) {
        let mut idle = self.idle.lock();
        if idle.len() < self.bounds.idle {
            idle.extend(line);
        }
    }

    fn late(&self) -> HttpError {
        self.late_after(self.bounds.time)
    }

    fn late_after(&self, time: Duration) -> HttpError {
        HttpError::Late {
            address: self.endpoint.address(),
            time,
        }
    }

    async fn connect(&self) -> Result<Line, HttpError> {
        let address = self.endpoint.address();
        let connecting = TcpStream::connect((self.endpoint.host(), self.endpoint.port));
        let connecting = async {
            let stream = connecting.await?;
            stream.set_nodelay(true)?;
            Ok((stream.peer_addr()?, stream))
        };
        let (peer, stream) = connecting.await.map_err(|source| HttpError::Connect {
            address: address.clone(),
            source,
        })?;
        let Some(tls) = self.tls.clone().filter(|_| self.endpoint.is_tls) else {
            let is_clear = !self.endpoint.is_tls;
            let is_near = peer.ip().is_loopback() || self.endpoint.is_link_local;
            return match is_clear && is_near {
                true => self.speak(stream).await,
                false => Err(HttpError::InTheClear { address }),
            };
        };
        let handshake = |source| HttpError::Handshake {
            address: address.clone(),
            source,
        };
        let name = ServerName::try_from(self.endpoint.host().to_owned());
        let name = name.map_err(|error| handshake(io::Error::other(error)))?;
        let stream = TlsConnector::from(tls).connect(name, stream);
        let stream = stream.await.map_err(handshake)?;
        *self.negotiated.lock() = negotiated(stream.get_ref().1);
        self.speak(stream).await
    }

    async fn speak<S>(&self, stream: S) -> Result<Line, HttpError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Line::begin(stream).await.map_err(|error| self.http(error))
    }

    fn http(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> HttpError {
        HttpError::Http {
            address: self.endpoint.address(),
            source: error.into(),
        }
    }
}

fn negotiated(connection: &ClientConnection) -> Option<String> {
    let version = match connection.protocol_version()? {
        tokio_rustls::rustls::ProtocolVersion::TLSv1_3 => "TLS 1.3",
        _ => "another TLS",
    };
    let suite = connection.negotiated_cipher_suite()?.suite();
    let group = connection.negotiated_key_exchange_group()?.name();
    let suite = suite.as_str().unwrap_or_default();
    Some(format!(
        "{version}, {suite}, {}",
        group.as_str().unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        sync::mpsc,
    };

    use super::*;

    #[test]
    fn services_are_asked_over_tls_and_in_the_clear_on_loopback_alone() {
        for (url, address) in [
            ("https://vault.example.org", "vault.example.org:443"),
            ("https://vault.example.org:8200/", "vault.example.org:8200"),
            ("https://[::1]:8200", "[::1]:8200"),
            ("http://127.0.0.1:8200", "127.0.0.1:8200"),
            ("http://localhost", "localhost:80"),
        ] {
            let endpoint = Endpoint::parse(url).unwrap();
            assert_eq!(endpoint.address(), address);
            assert_eq!(endpoint.to_string(), url.trim_end_matches('/'));
        }
        for url in [
            "http://vault.example.org",
            "http://10.0.0.1:8200",
            "https://vault.example.org/v1",
            "https://me@vault.example.org",
            "ftp://localhost",
            "vault.example.org:8200",
            "",
        ] {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_bucket_may_have_a_host_of_its_own_where_hosts_have_names() {
        let endpoint = Endpoint::parse("https://s3.example.org:9000").unwrap();
        let below = endpoint.below("photos").unwrap();
        assert_eq!(below.address(), "photos.s3.example.org:9000");
        assert_eq!(below.authority(), "photos.s3.example.org:9000");
        for url in ["http://127.0.0.1:9000", "https://[::1]:9000"] {
            assert!(Endpoint::parse(url).unwrap().below("photos").is_err());
        }
    }

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

    /// A service that takes connections one after the other, and answers so many requests on
    /// each before it closes it; tells that it did.
    async fn service(answers: &'static [usize]) -> (HttpClient, mpsc::Receiver<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (closed, told) = mpsc::channel(answers.len());
        tokio::spawn(async move {
            for count in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                for _ in 0..*count {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(stream.read_u8().await.unwrap());
                    }
                    // In two pieces, of which the second is waited for.
                    stream.write_all(&ANSWER[..ANSWER.len() - 3]).await.unwrap();
                    stream.flush().await.unwrap();
                    tokio::task::yield_now().await;
                    stream.write_all(&ANSWER[ANSWER.len() - 3..]).await.unwrap();
                }
                drop(stream);
                closed.send(()).await.unwrap();
            }
        });
        let endpoint = Endpoint::parse(&url).unwrap();
        (HttpClient::new(endpoint, None, Bounds::USUAL), told)
    }

    fn request() -> Request<Payload> {
        Request::new(Payload::default())
    }

    #[tokio::test]
    async fn a_connection_is_used_again_until_the_service_closes_it_while_nobody_asks() {
        let (http, mut closed) = service(&[3, 1]).await;
        for _ in 0..2 {
            assert_eq!(http.ask(request()).await.unwrap().body(), "hello");
        }
        // Piece by piece, to its end.
        let mut answer = http.begin(request()).await.unwrap();
        let mut came = Vec::new();
        while let Some(piece) = answer.piece().await.unwrap() {
            came.extend_from_slice(&piece);
        }
        assert_eq!(came, b"hello");
        assert!(answer.piece().await.unwrap().is_none(), "behind its end");
        closed.recv().await.unwrap();
        let mut is_open = true;
        while is_open {
            // What the system knows of it has to come to light.
            tokio::task::yield_now().await;
            let mut kept = http.0.idle.lock().pop().unwrap();
            is_open = kept.is_open().await;
            http.0.idle.lock().push(kept);
        }
        // It is not there any more, and what may be asked once is asked over the next.
        let time = Duration::from_secs(10);
        let answer = http.begin_once(request(), time).await.unwrap();
        assert_eq!(answer.whole().await.unwrap().body(), "hello");
    }

    #[tokio::test]
    async fn an_answer_that_is_not_taken_to_its_end_keeps_no_connection() {
        let (http, mut closed) = service(&[1, 1]).await;
        drop(http.begin(request()).await.unwrap());
        assert!(http.0.idle.lock().is_empty());
        closed.recv().await.unwrap();
        assert_eq!(http.ask(request()).await.unwrap().body(), "hello");
        assert_eq!(http.0.idle.lock().len(), 1);
    }

    #[test]
    fn what_a_service_says_is_told_in_one_bounded_line() {
        let answered = |body: &[u8]| HttpError::answered(400, body).to_string();
        assert_eq!(answered(b"no"), "it answered 400: no");
        assert_eq!(answered(b""), "it answered 400");
        assert_eq!(told(b"one\r\n two"), "one two");
        assert_eq!(told(&[b'x'; 4096]).len(), TOLD_BYTES_MAX);
    }
}
