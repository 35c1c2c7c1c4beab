//! `[ca]`: this agent gives certificates to others, against tokens and renewals.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header::CONTENT_TYPE,
    server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use sealift_identity::{
    Enrolled, EnrolmentRefusal, Enrolments, IdentityError, Leaf, issuing_server,
};
use sealift_terms::{AuditKind, AuditRecord};
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
    enrolling::{Asked, BODY_BYTES_MAX, Call, Given, Refused},
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
    /// One change at a time.
    enrolments: parking_lot::Mutex<Enrolments>,
}

/// The authority of `[ca]`, and where it is asked.
pub(super) struct Listening {
    ca: Ca,
    enrolments: Enrolments,
    listener: TcpListener,
}

/// Opens what `[ca]` names, if there is that section.
pub(super) async fn listen(config: &Config) -> Result<Option<Listening>, Error> {
    let Some(ca) = config.ca.clone() else {
        return Ok(None);
    };
    let enrolments = Enrolments::open(&ca.directory)?;
    let bound = TcpListener::bind(ca.listen).await;
    let listener = bound.map_err(Error::io("listen on", ca.listen.to_string()))?;
    Ok(Some(Listening {
        ca,
        enrolments,
        listener,
    }))
}

/// Issues until the agent ends.
pub(super) async fn serve(running: Arc<Running>, listening: Listening) {
    let Listening {
        ca,
        enrolments,
        listener,
    } = listening;
    let enrolments = parking_lot::Mutex::new(enrolments);
    let issuing = Arc::new(Issuing {
        running,
        ca,
        enrolments,
    });
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // More of them wait in the system's queue.
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let issuing = issuing.clone();
                tokio::spawn(async move {
                    let served = timeout(CONNECTION_TIME_MAX, issuing.connection(stream)).await;
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
    async fn connection(self: Arc<Self>, stream: TcpStream) -> Result<(), Error> {
        let site = &self.running.site;
        let config = site.current();
        let roots = self.enrolments.lock().authority().bundle().clone();
        let credentials = self.running.tls.credentials();
        let clock = site.world.clock.clone();
        let tls = issuing_server(&config.tls, &credentials, &roots, clock)?;
        let handshake = timeout(HANDSHAKE_TIME_MAX, TlsAcceptor::from(tls).accept(stream)).await;
        let stream = handshake
            .map_err(Error::failed("the handshake"))?
            .map_err(Error::failed("the handshake"))?;
        let shown = stream.get_ref().1.peer_certificates();
        let shown = shown.and_then(|chain| chain.first());
        let shown = shown.and_then(|leaf| Leaf::parse(leaf).ok());
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
        shown: Option<Leaf>,
    ) -> Response<Full<Bytes>> {
        let calls = [Call::Enrol, Call::Renew];
        let call = calls
            .into_iter()
            .find(|call| call.path() == request.uri().path());
        let (Some(call), &Method::POST) = (call, request.method()) else {
            return refused(StatusCode::NOT_FOUND, "there is no such thing here");
        };
        let body = Limited::new(request.into_body(), BODY_BYTES_MAX)
            .collect()
            .await;
        let asked: Option<Asked> = body
            .ok()
            .and_then(|body| serde_json::from_slice(&body.to_bytes()).ok());
        let Some(asked) = asked else {
            return refused(StatusCode::BAD_REQUEST, "the request cannot be read");
        };
        let issued = tokio::task::spawn_blocking(move || self.issue(call, &asked, shown.as_ref()));
        match issued.await {
            Ok(Ok(given)) => json(StatusCode::OK, &given),
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
        let enrolments = self.enrolments.lock();
        let issued = match (call, &asked.secret, shown) {
            (Call::Enrol, Some(secret), _) => enrolments.enrol(secret, csr, life, clock, rng),
            (Call::Renew, None, Some(shown)) if site.denied.has(&shown.identity) => {
                Err(EnrolmentRefusal::Denied.into())
            }
            (Call::Renew, None, Some(shown)) => enrolments.renew(shown, csr, life, clock, rng),
            (Call::Enrol | Call::Renew, ..) => Err(EnrolmentRefusal::UnknownToken.into()),
        };
        let issued = match issued {
            Err(IdentityError::Enrolment(refusal)) => {
                return Err(self.refuse(call, refusal, shown));
            }
            issued => issued?,
        };
        self.record(call, &issued)?;
        Ok(Given {
            certificate: issued.chain_pem,
            bundle: enrolments.authority().bundle().to_json(),
        })
    }

    fn record(&self, call: Call, issued: &Enrolled) -> Result<(), Error> {
        let site = &self.running.site;
        let leaf = &issued.leaf;
        let against = match call {
            Call::Enrol => "token",
            Call::Renew => "certificate",
        };
        let record = AuditRecord::new(
            site.world.clock.now(),
            AuditKind::CertificateIssued,
            "agent",
        )
        .with("identity", &leaf.identity)
        .with("serial", &leaf.serial)
        .with("not_after", leaf.not_after)
        .with("against", against);
        site.record(record)?;
        tracing::info!(identity = %leaf.identity, serial = leaf.serial, against, "a certificate was issued");
        Ok(())
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
