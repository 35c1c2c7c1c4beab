//! `[ca]`: this agent gives certificates to others, against tokens and renewals.

mod door;

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header::CONTENT_TYPE};
use sealift_identity::{
    Acknowledgement, Enrolled, EnrolmentRefusal, Enrolments, IdentityError, Leaf,
};
use sealift_ledger::Refusal;
use sealift_terms::{
    AuditKind, AuditRecord, AuditUnavailable, Identity, Timestamp, limits::ISSUER_BODY_TIME_MAX,
};
use sealift_tunnel::{Accept, Cause};
use serde::Serialize;
use tokio::time::timeout;

use super::{Running, transport};
use crate::{
    Error, Metric,
    config::{Ca, Config},
    enrolling::{Asked, AskedBundle, BODY_BYTES_MAX, Call, Given, GivenBundle, Refused},
    site::Site,
};

use door::Door;

/// What issues.
struct Issuing {
    running: Arc<Running>,
    ca: Ca,
    door: Door,
}

/// The authority of `[ca]`, and where it is asked.
pub(super) struct Listening {
    ca: Ca,
    socket: Box<dyn Accept>,
}

/// The certificate of whoever asks, which was verified, and the root behind it.
#[derive(Debug, Clone)]
struct Shown {
    leaf: Leaf,
    root: Option<String>,
}

/// Who asks: from where, and with which certificate.
#[derive(Debug, Clone)]
struct Asker {
    from: SocketAddr,
    shown: Option<Shown>,
}

impl Asker {
    fn leaf(&self) -> Option<&Leaf> {
        self.shown.as_ref().map(|shown| &shown.leaf)
    }

    fn identity(&self) -> Option<&Identity> {
        self.leaf().map(|leaf| &leaf.identity)
    }
}

/// Opens what `[ca]` names, if there is that section.
pub(super) async fn listen(config: &Config) -> Result<Option<Listening>, Error> {
    let Some(ca) = config.ca.clone() else {
        return Ok(None);
    };
    // What cannot be opened is told now, not when somebody asks.
    let enrolments = Enrolments::open(&ca.directory)?;
    // Commands that change the authority are put on record here.
    enrolments.note_site(&config.path, &config.socket())?;
    let address = ca.listen.address.to_string();
    let listening = transport::of(&ca.listen).listen(&address).await;
    let socket = listening.map_err(Error::io("listen on", address))?;
    Ok(Some(Listening { ca, socket }))
}

/// Issues until the agent ends.
pub(super) async fn serve(running: Arc<Running>, listening: Listening) {
    let Listening { ca, socket } = listening;
    let door = Door::new(&ca.listen);
    let issuing = Issuing { running, ca, door };
    door::serve(Arc::new(issuing), socket).await;
}

impl Issuing {
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        asker: Asker,
    ) -> Response<Full<Bytes>> {
        let calls = [Call::Enrol, Call::Renew, Call::Bundle];
        let call = calls
            .into_iter()
            .find(|call| call.path() == request.uri().path());
        let (Some(call), &Method::POST) = (call, request.method()) else {
            let why = "there is no such thing here";
            self.tell("other", "unknown_call", why, &asker, None);
            return refused(StatusCode::NOT_FOUND, why);
        };
        let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
        let body = match timeout(ISSUER_BODY_TIME_MAX, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) => {
                let why = format!("the request cannot be read: {error}");
                self.tell(call.word(), "unreadable", &why, &asker, None);
                return refused(StatusCode::BAD_REQUEST, &why);
            }
            Err(_late) => {
                let cause = Cause::Unfinished {
                    what: "request's body",
                    within: ISSUER_BODY_TIME_MAX,
                    identity: asker.identity().cloned(),
                };
                let why = cause.to_string();
                self.turn_away(asker.from, cause);
                return refused(StatusCode::REQUEST_TIMEOUT, &why);
            }
        };
        let (issuing, from_whom) = (self.clone(), asker.clone());
        let answering =
            tokio::task::spawn_blocking(move || issuing.carry_out(call, &body, &from_whom));
        let answered = answering.await.map_err(Error::failed("answering"));
        match answered.and_then(|answered| answered) {
            Ok(answer) => answer,
            Err(Error::Identity(error @ IdentityError::Enrolment(_))) => {
                refused(StatusCode::FORBIDDEN, &error.to_string())
            }
            Err(
                error @ (Error::Request { .. }
                | Error::Identity(IdentityError::SigningRequest { .. })),
            ) => {
                let why = match &error {
                    Error::Identity(error) => error.to_string(),
                    error => error.to_string(),
                };
                self.tell(call.word(), "unreadable", &why, &asker, None);
                refused(StatusCode::BAD_REQUEST, &why)
            }
            Err(error) => {
                let error = error.in_one_line();
                tracing::error!(error, "a certificate cannot be issued");
                let why = "the issuer cannot issue now";
                refused(StatusCode::SERVICE_UNAVAILABLE, why)
            }
        }
    }

    fn carry_out(
        &self,
        call: Call,
        body: &[u8],
        asker: &Asker,
    ) -> Result<Response<Full<Bytes>>, Error> {
        Ok(match call {
            Call::Enrol | Call::Renew => {
                let asked = serde_json::from_slice(body).map_err(unreadable)?;
                json(StatusCode::OK, &self.issue(call, &asked, asker)?)
            }
            Call::Bundle => {
                let asked = serde_json::from_slice(body).map_err(unreadable)?;
                json(StatusCode::OK, &self.bundle(&asked, asker)?)
            }
        })
    }

    fn issue(&self, call: Call, asked: &Asked, asker: &Asker) -> Result<Given, Error> {
        let site = &self.running.site;
        let (clock, rng) = (&*site.world.clock, &*site.world.rng);
        let (life, csr) = (self.ca.life, asked.csr.as_bytes());
        let _one_at_a_time = site.authority.lock();
        let enrolments = Enrolments::open(&self.ca.directory)?.asked_from(asker.from.ip());
        let issued = match (call, &asked.secret, asker.leaf()) {
            (Call::Enrol, Some(secret), _) => {
                let whose = enrolments.whose(secret)?;
                match whose.is_some_and(|whose| site.denied.has(&whose)) {
                    true => Err(EnrolmentRefusal::Denied.into()),
                    false => enrolments.enrol(secret, csr, life, clock, rng),
                }
            }
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
                let whose = match &asked.secret {
                    Some(secret) => enrolments.whose(secret)?,
                    None => asker.identity().cloned(),
                };
                return Err(self.refuse(call, refusal, asker, whose));
            }
            issued => issued?,
        };
        let against = match (call, asker.leaf()) {
            (Call::Renew, Some(shown)) => shown_word(shown, clock.now()),
            (Call::Enrol | Call::Renew | Call::Bundle, _) => "token",
        };
        record_issued(site, &issued, against)?;
        Ok(given(issued, &enrolments))
    }

    /// The bundle for whoever has another one, and its number is remembered.
    fn bundle(&self, asked: &AskedBundle, asker: &Asker) -> Result<GivenBundle, Error> {
        let site = &self.running.site;
        let Some(Shown { leaf, root }) = &asker.shown else {
            let refusal = EnrolmentRefusal::UnknownToken;
            return Err(self.refuse(Call::Bundle, refusal, asker, None));
        };
        if site.denied.has(&leaf.identity) {
            let (refusal, whose) = (EnrolmentRefusal::Denied, leaf.identity.clone());
            return Err(self.refuse(Call::Bundle, refusal, asker, Some(whose)));
        }
        if leaf.is_over(site.world.clock.now()) {
            let (refusal, whose) = (EnrolmentRefusal::Expired, leaf.identity.clone());
            return Err(self.refuse(Call::Bundle, refusal, asker, Some(whose)));
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

    /// Refuses, on record. What locks an identity happens once for each token or certificate
    /// that an operator gives, and has a record of its own; the rest may come as often as
    /// somebody likes.
    fn refuse(
        &self,
        call: Call,
        refusal: EnrolmentRefusal,
        asker: &Asker,
        whose: Option<Identity>,
    ) -> Error {
        let (site, why) = (&self.running.site, refusal.to_string());
        if !refusal.locks() {
            self.tell(call.word(), refusal.word(), &why, asker, whose);
            return IdentityError::Enrolment(refusal).into();
        }
        self.count(call.word(), refusal.word());
        let (from, whom) = (asker.from, whose.as_ref().map(Identity::as_str));
        tracing::error!(identity = whom, %from, %refusal, "a certificate was refused: two may hold what one should");
        let now = site.world.clock.now();
        let mut record = AuditRecord::new(now, AuditKind::EnrolmentRefused, "agent");
        for (name, value) in about(call.word(), &why, asker, whose) {
            record = record.with(name, value);
        }
        match site.record(record) {
            Ok(()) => IdentityError::Enrolment(refusal).into(),
            Err(error) => error,
        }
    }

    /// Tells of what was refused: in the log, counted, and on record with those like it.
    fn tell(&self, call: &str, cause: &str, why: &str, asker: &Asker, whose: Option<Identity>) {
        let (site, from) = (&self.running.site, asker.from);
        self.count(call, cause);
        let whose = whose.or_else(|| asker.identity().cloned());
        let identity = whose.as_ref().map(Identity::as_str);
        tracing::warn!(identity, %from, call, "a certificate was refused: {why}");
        let refusal = Refusal {
            at: site.world.clock.now(),
            kind: AuditKind::EnrolmentRefused,
            cause: cause.to_owned(),
            source: Some(from.ip()),
            details: about(call, why, asker, whose)
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        };
        if let Err(AuditUnavailable { cause }) = site.audit.refused(refusal) {
            tracing::error!(cause, "a refused request cannot be put on record");
        }
    }

    fn count(&self, call: &str, cause: &str) {
        let metrics = &self.running.site.metrics;
        let series = metrics.series(Metric::EnrolmentsRefused, &[call, cause]);
        series.add(1);
    }
}

/// What is to be known of a request that was refused.
fn about(
    call: &str,
    why: &str,
    asker: &Asker,
    whose: Option<Identity>,
) -> impl Iterator<Item = (&'static str, String)> {
    let known = [
        Some(("call", call.to_owned())),
        Some(("reason", why.to_owned())),
        Some(("address", asker.from.ip().to_canonical().to_string())),
        whose.map(|identity| ("identity", identity.to_string())),
        asker.leaf().map(|leaf| ("serial", leaf.serial.clone())),
    ];
    known.into_iter().flatten()
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
