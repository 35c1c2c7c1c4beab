//! `[ca]`: this agent gives certificates to others, against tokens and renewals.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header::CONTENT_TYPE,
    server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use sealift_identity::{
    Acknowledgement, Authority, Enrolled, EnrolmentRefusal, Enrolments, IdentityError, Leaf,
    issuing_server,
};
use sealift_terms::{AuditKind, AuditRecord, Timestamp};
use sealift_tunnel::{self as tunnel, Cause, TunnelError};
use serde::Serialize;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::Running;
use crate::{
    Error,
    config::{Ca, Config},
    enrolling::{Asked, AskedBundle, BODY_BYTES_MAX, Call, Given, GivenBundle, Refused},
    site::Site,
};

/// Who asks for certificates, at once.
const CONNECTIONS_MAX: usize = 64;
/// A handshake.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// A whole connection.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(60);
/// After a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// What issues.
struct Issuing {
    running: Arc<Running>,
    ca: Ca,
}

/// The authority of `[ca]`, and where it is asked.
pub(super) struct Listening {
    ca: Ca,
    listener: TcpListener,
}

/// The certificate of whoever asks, which was verified, and the root behind it.
#[derive(Debug, Clone)]
struct Shown {
    leaf: Leaf,
    root: Option<String>,
}

/// Opens what `[ca]` names, if there is that section.
pub(super) async fn listen(config: &Config) -> Result<Option<Listening>, Error> {
    let Some(ca) = config.ca.clone() else {
        return Ok(None);
    };
    // What cannot be opened is told now, not when somebody asks.
    Enrolments::open(&ca.directory)?;
    let bound = TcpListener::bind(ca.listen).await;
    let listener = bound.map_err(Error::io("listen on", ca.listen.to_string()))?;
    Ok(Some(Listening { ca, listener }))
}

/// Issues until the agent ends.
pub(super) async fn serve(running: Arc<Running>, listening: Listening) {
    let Listening { ca, listener } = listening;
    let issuing = Arc::new(Issuing { running, ca });
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // More of them wait in the system's queue.
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, from)) => {
                let issuing = issuing.clone();
                tokio::spawn(async move {
                    let serving = issuing.connection(stream, from);
                    let served = timeout(CONNECTION_TIME_MAX, serving).await;
                    if let Ok(Err(error)) = served {
                        tracing::debug!(
                            error = error.in_one_line(),
                            "a request for a certificate ended"
                        );
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a request for a certificate was not accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

impl Issuing {
    async fn connection(self: Arc<Self>, stream: TcpStream, from: SocketAddr) -> Result<(), Error> {
        let site = &self.running.site;
        let config = site.current();
        // Commands change it.
        let roots = Authority::open(&self.ca.directory)?.bundle().clone();
        let credentials = self.running.tls.credentials();
        let clock = site.world.clock.clone();
        let tls = issuing_server(&config.tls, &credentials, &roots, clock)?;
        let handshake = timeout(HANDSHAKE_TIME_MAX, TlsAcceptor::from(tls).accept(stream)).await;
        let handshake = handshake.map_err(|_late| TunnelError::TooSlow);
        let stream = match handshake.and_then(|shaken| shaken.map_err(not_shaken)) {
            Ok(stream) => stream,
            Err(error) => {
                let cause = Cause::Handshake(error);
                (self.running.refused)(tunnel::Refused { from, cause });
                return Ok(());
            }
        };
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let shown = chain.first().and_then(|leaf| Leaf::parse(leaf).ok());
        let shown = shown.map(|leaf| Shown {
            leaf,
            root: roots.root_behind(chain, site.world.clock.now()),
        });
        let service = service_fn(|request| {
            let (issuing, shown) = (self.clone(), shown.clone());
            async move { Ok::<_, std::convert::Infallible>(issuing.answer(request, shown).await) }
        });
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HANDSHAKE_TIME_MAX)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service)
            .await
            .map_err(Error::failed("answering"))
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        shown: Option<Shown>,
    ) -> Response<Full<Bytes>> {
        let calls = [Call::Enrol, Call::Renew, Call::Bundle];
        let call = calls
            .into_iter()
            .find(|call| call.path() == request.uri().path());
        let (Some(call), &Method::POST) = (call, request.method()) else {
            return refused(StatusCode::NOT_FOUND, "there is no such thing here");
        };
        let body = Limited::new(request.into_body(), BODY_BYTES_MAX)
            .collect()
            .await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        let answering = tokio::task::spawn_blocking(move || match call {
            Call::Enrol | Call::Renew => {
                let asked = serde_json::from_slice(&body).map_err(unreadable)?;
                let shown = shown.map(|shown| shown.leaf);
                let given = self.issue(call, &asked, shown.as_ref())?;
                Ok(json(StatusCode::OK, &given))
            }
            Call::Bundle => {
                let asked = serde_json::from_slice(&body).map_err(unreadable)?;
                Ok(json(StatusCode::OK, &self.bundle(&asked, shown.as_ref())?))
            }
        });
        match answering.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error @ Error::Request { .. })) => {
                refused(StatusCode::BAD_REQUEST, &error.to_string())
            }
            Ok(Err(Error::Identity(error @ IdentityError::Enrolment(_)))) => {
                refused(StatusCode::FORBIDDEN, &error.to_string())
            }
            Ok(Err(Error::Identity(error @ IdentityError::SigningRequest { .. }))) => {
                refused(StatusCode::BAD_REQUEST, &error.to_string())
            }
            Ok(Err(error)) => {
                tracing::error!(
                    error = error.in_one_line(),
                    "a certificate cannot be issued"
                );
                refused(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the issuer cannot issue now",
                )
            }
            Err(_) => refused(
                StatusCode::SERVICE_UNAVAILABLE,
                "the issuer cannot issue now",
            ),
        }
    }

    fn issue(&self, call: Call, asked: &Asked, shown: Option<&Leaf>) -> Result<Given, Error> {
        let site = &self.running.site;
        let (clock, rng) = (&*site.world.clock, &*site.world.rng);
        let (life, csr) = (self.ca.life, asked.csr.as_bytes());
        let _one_at_a_time = site.authority.lock();
        let enrolments = Enrolments::open(&self.ca.directory)?;
        let issued = match (call, &asked.secret, shown) {
            (Call::Enrol, Some(secret), _) => enrolments.enrol(secret, csr, life, clock, rng),
            (Call::Renew, None, Some(shown)) if site.denied.has(&shown.identity) => {
                Err(EnrolmentRefusal::Denied.into())
            }
            (Call::Renew, None, Some(shown)) => enrolments.renew(shown, csr, life, clock, rng),
            (Call::Enrol | Call::Renew | Call::Bundle, ..) => {
                Err(EnrolmentRefusal::UnknownToken.into())
            }
        };
        let issued = match issued {
            Err(IdentityError::Enrolment(refusal)) => {
                return Err(self.refuse(call, refusal, shown));
            }
            issued => issued?,
        };
        let against = match (call, shown) {
            (Call::Renew, Some(shown)) => shown_word(shown, clock.now()),
            (Call::Enrol | Call::Renew | Call::Bundle, _) => "token",
        };
        record_issued(site, &issued, against)?;
        Ok(given(issued, &enrolments))
    }

    /// The bundle for whoever has another one, and its number is remembered.
    fn bundle(&self, asked: &AskedBundle, shown: Option<&Shown>) -> Result<GivenBundle, Error> {
        let site = &self.running.site;
        let Some(Shown { leaf, root }) = shown else {
            let refusal = EnrolmentRefusal::UnknownToken;
            return Err(self.refuse(Call::Bundle, refusal, None));
        };
        if site.denied.has(&leaf.identity) {
            return Err(self.refuse(Call::Bundle, EnrolmentRefusal::Denied, Some(leaf)));
        }
        if leaf.is_over(site.world.clock.now()) {
            return Err(self.refuse(Call::Bundle, EnrolmentRefusal::Expired, Some(leaf)));
        }
        let _one_at_a_time = site.authority.lock();
        let enrolments = Enrolments::open(&self.ca.directory)?;
        let bundle = enrolments.authority().bundle();
        // A number that was never given out is nobody's.
        if asked.in_force <= bundle.sequence() {
            let row = Acknowledgement {
                identity: leaf.identity.clone(),
                sequence: asked.in_force,
                root: root.clone(),
                at: site.world.clock.now(),
                by: None,
            };
            self.running.acknowledge(&enrolments, &row)?;
        }
        let differs = asked.in_force != bundle.sequence();
        Ok(GivenBundle {
            bundle: differs.then(|| bundle.to_json()),
        })
    }

    fn refuse(&self, call: Call, refusal: EnrolmentRefusal, shown: Option<&Leaf>) -> Error {
        let site = &self.running.site;
        let mut record =
            AuditRecord::new(site.world.clock.now(), AuditKind::EnrolmentRefused, "agent")
                .with("call", call.path())
                .with("reason", refusal);
        if let Some(shown) = shown {
            record = record
                .with("identity", &shown.identity)
                .with("serial", &shown.serial);
        }
        let identity = shown.map(|shown| shown.identity.to_string());
        match refusal.is_alarm() {
            true => {
                tracing::error!(identity, %refusal, "a certificate was refused: two may hold what one should")
            }
            false => tracing::warn!(identity, %refusal, "a certificate was refused"),
        }
        match site.record(record) {
            Ok(()) => IdentityError::Enrolment(refusal).into(),
            Err(error) => error,
        }
    }
}

/// Renews the certificate of the issuing agent itself.
pub(super) fn issue_own(site: &Site, ca: &Ca, shown: &Leaf, csr: &str) -> Result<Given, Error> {
    let (clock, rng) = (&*site.world.clock, &*site.world.rng);
    if site.denied.has(&shown.identity) {
        return Err(IdentityError::Enrolment(EnrolmentRefusal::Denied).into());
    }
    let _one_at_a_time = site.authority.lock();
    let enrolments = Enrolments::open(&ca.directory)?;
    let issued = enrolments.renew_own(shown, csr.as_bytes(), ca.life, clock, rng)?;
    record_issued(site, &issued, shown_word(shown, clock.now()))?;
    Ok(given(issued, &enrolments))
}

fn given(issued: Enrolled, enrolments: &Enrolments) -> Given {
    Given {
        certificate: issued.chain_pem,
        bundle: enrolments.authority().bundle().to_json(),
    }
}

/// What a certificate was issued against.
fn shown_word(shown: &Leaf, now: Timestamp) -> &'static str {
    match shown.is_over(now) {
        true => "expired certificate",
        false => "certificate",
    }
}

fn record_issued(site: &Site, issued: &Enrolled, against: &str) -> Result<(), Error> {
    let (leaf, now) = (&issued.leaf, site.world.clock.now());
    let record = AuditRecord::new(now, AuditKind::CertificateIssued, "agent")
        .with("identity", &leaf.identity)
        .with("serial", &leaf.serial)
        .with("not_after", leaf.not_after)
        .with("roles", &issued.roles)
        .with("against", against);
    site.record(record)?;
    tracing::info!(identity = %leaf.identity, serial = leaf.serial, against, "a certificate was issued");
    Ok(())
}

/// Why a handshake came to nothing: in TLS, or below it.
fn not_shaken(error: io::Error) -> TunnelError {
    match error.downcast::<tokio_rustls::rustls::Error>() {
        Ok(error) => error.into(),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => TunnelError::CutOff,
        Err(source) => TunnelError::Io {
            what: "the handshake",
            source,
        },
    }
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::Request {
        what: "request",
        found: error.to_string(),
        allowed: "the JSON of this call".to_owned(),
    }
}

fn refused(status: StatusCode, why: &str) -> Response<Full<Bytes>> {
    let refused = Refused {
        refused: why.to_owned(),
    };
    json(status, &refused)
}

fn json(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
