//! HTTP to a key service: TLS 1.3 under given roots, in the clear on loopback alone,
//! bounded in time and bytes.

use std::{fmt, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response,
    client::conn::http1::{self, SendRequest},
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
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

/// An answer without more than this is told; what is longer is cut.
const TOLD_BYTES_MAX: usize = 512;

/// Why a key service gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("cannot connect to {address}")]
    Connect {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("the TLS handshake with {address} failed")]
    Handshake {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("{address} is not loopback, and it is to be asked in the clear")]
    InTheClear { address: String },
    #[error("HTTP with {address} failed")]
    Http {
        address: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{address} did not answer within {} s", KEY_SERVICE_TIME_MAX.as_secs())]
    Late { address: String },
    #[error("it answered {status}: {told}")]
    Answered { status: u16, told: String },
    #[error("its answer has another shape: {what}")]
    Shape { what: &'static str },
}

impl HttpError {
    /// An answer that nothing more is known of.
    pub(crate) fn answered(status: u16, body: &[u8]) -> Self {
        Self::Answered {
            status,
            told: told(body),
        }
    }
}

/// Text of a service that is told to a person: bounded and of one line.
pub(crate) fn told(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..TOLD_BYTES_MAX).unwrap_or(body));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Where a service is, as its URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    is_tls: bool,
    /// As in a URL: brackets around an IPv6 address.
    host: String,
    port: u16,
    authority: String,
    is_link_local: bool,
}

impl Endpoint {
    /// Reads `https://HOST[:PORT]`, or `http://` with a loopback host.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        const ALLOWED: &str = "https://HOST or https://HOST:PORT without a path; http:// only with a \
                               loopback address";
        let uri: hyper::Uri = url.trim_end_matches('/').parse().map_err(|_| ALLOWED)?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(ALLOWED),
        };
        let authority = uri.authority().ok_or(ALLOWED)?;
        let host = authority.host().to_owned();
        let bare = bare(&host);
        let is_loopback = bare == "localhost"
            || bare
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback());
        let has_path = uri
            .path_and_query()
            .is_some_and(|path| path.as_str() != "/");
        if host.is_empty() || has_path || authority.as_str().contains('@') {
            return Err(ALLOWED);
        }
        if !is_tls && !is_loopback {
            return Err(ALLOWED);
        }
        Ok(Self {
            is_tls,
            port: authority
                .port_u16()
                .unwrap_or(if is_tls { 443 } else { 80 }),
            authority: authority.to_string(),
            host,
            is_link_local: false,
        })
    }

    /// Where AWS tells a machine or a container who it is: in the clear, on addresses that
    /// the machine's own hypervisor or host answers and no network carries.
    pub(crate) fn of_credentials(url: &str) -> Result<Self, &'static str> {
        const LOCAL: [&str; 3] = ["169.254.169.254", "169.254.170.2", "169.254.170.23"];
        let host = url.strip_prefix("http://").unwrap_or_default();
        match LOCAL.contains(&host) {
            true => Ok(Self {
                is_tls: false,
                host: host.to_owned(),
                port: 80,
                authority: host.to_owned(),
                is_link_local: true,
            }),
            false => Self::parse(url),
        }
    }

    /// Host and port as in its URL.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Whether it is asked over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// A client of one service. Connections are used again while the service keeps them.
pub(crate) struct HttpClient {
    endpoint: Endpoint,
    /// Whom to trust; nothing where it is asked in the clear.
    tls: Option<Arc<ClientConfig>>,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
    /// What the last handshake gave.
    negotiated: Mutex<Option<String>>,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpClient({})", self.endpoint)
    }
}

impl HttpClient {
    pub(crate) fn new(endpoint: Endpoint, tls: Option<Arc<ClientConfig>>) -> Self {
        Self {
            endpoint,
            tls,
            idle: Mutex::default(),
            negotiated: Mutex::default(),
        }
    }

    /// Its address, and version and suite of the last handshake.
    pub(crate) fn reached(&self) -> String {
        match &*self.negotiated.lock() {
            Some(negotiated) => format!("{}, {negotiated}", self.endpoint),
            None => format!("{}, in the clear on this machine", self.endpoint),
        }
    }

    /// Asks, within the time that a key service may take. A connection that was kept and
    /// turns out to be gone is replaced by a new one, once: what is asked here can be
    /// asked twice.
    pub(crate) async fn ask(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, HttpError> {
        let host = HeaderValue::try_from(&self.endpoint.authority);
        let host = host.map_err(|error| self.http(error))?;
        request.headers_mut().insert(HOST, host);
        let asked = timeout(KEY_SERVICE_TIME_MAX, self.ask_once_or_twice(request)).await;
        let address = self.endpoint.address();
        asked.unwrap_or(Err(HttpError::Late { address }))
    }

    async fn ask_once_or_twice(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, HttpError> {
        let kept = self.idle.lock().pop();
        if let Some(kept) = kept
            && !kept.is_closed()
        {
            match self.ask_over(kept, request.clone()).await {
                Err(HttpError::Http { .. }) => {}
                answered => return answered,
            }
        }
        let fresh = self.connect().await?;
        self.ask_over(fresh, request).await
    }

    async fn ask_over(
        &self,
        mut sender: SendRequest<Full<Bytes>>,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, HttpError> {
        sender.ready().await.map_err(|error| self.http(error))?;
        let response = sender.send_request(request).await;
        let (parts, body) = response.map_err(|error| self.http(error))?.into_parts();
        let body = Limited::new(body, KEY_SERVICE_ANSWER_BYTES_MAX).collect();
        let body = body.await.map_err(|error| self.http(error))?.to_bytes();
        let mut idle = self.idle.lock();
        if idle.len() < KEY_SERVICE_CONNECTIONS_IDLE_MAX {
            idle.push(sender);
        }
        Ok(Response::from_parts(parts, body))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, HttpError> {
        let address = self.endpoint.address();
        let connecting = TcpStream::connect((bare(&self.endpoint.host), self.endpoint.port));
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
        let name = ServerName::try_from(bare(&self.endpoint.host).to_owned());
        let name = name.map_err(|error| handshake(io::Error::other(error)))?;
        let stream = TlsConnector::from(tls).connect(name, stream);
        let stream = stream.await.map_err(handshake)?;
        *self.negotiated.lock() = negotiated(stream.get_ref().1);
        self.speak(stream).await
    }

    async fn speak<S>(&self, stream: S) -> Result<SendRequest<Full<Bytes>>, HttpError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let spoken = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = spoken.map_err(|error| self.http(error))?;
        // It ends when its sender is dropped or the service closes it.
        tokio::spawn(connection);
        Ok(sender)
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

/// How long a service that is asked again and again is waited for between two tries.
pub(crate) const RETRY_AFTER_MIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
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
    fn what_a_service_says_is_told_in_one_bounded_line() {
        assert_eq!(told(b"one\r\n two"), "one two");
        assert_eq!(told(&[b'x'; 4096]).len(), TOLD_BYTES_MAX);
    }
}
