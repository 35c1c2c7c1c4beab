//! One question to an issuing agent.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, StatusCode,
    header::{CONTENT_TYPE, HOST},
};
use sealift_identity::{Credentials, PeerTrust, Peers, TlsContext, TrustBundle};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;

use super::{
    Asked, AskedBundle, BODY_BYTES_MAX, Call, Given, GivenBundle, Refused,
    exchange::{Bounds, exchange},
};
use crate::{
    Error, World,
    bundles::own_bundle,
    config::{Config, Issuer},
};

/// Connecting, asking and being answered.
const TIME_MAX: Duration = Duration::from_secs(30);

/// The certificate after the one in force, for the key in the signing request.
///
/// # Errors
/// [`Error::Refused`] when the issuer gives none, otherwise what kept it from answering.
pub(crate) async fn renew(
    config: &Config,
    issuer: &Issuer,
    credentials: Credentials,
    world: &World,
    csr: String,
) -> Result<Given, Error> {
    let tls = issuer_client(config, issuer, credentials, world)?;
    let asked = Asked { secret: None, csr };
    ask(&issuer.address, tls, Call::Renew, &asked).await
}

/// The trust bundle, if the issuer has another one than the one in force, of which it is told.
///
/// # Errors
/// What kept it from answering.
pub(crate) async fn bundle(
    config: &Config,
    issuer: &Issuer,
    credentials: Credentials,
    world: &World,
    in_force: u64,
) -> Result<Option<TrustBundle>, Error> {
    let tls = issuer_client(config, issuer, credentials, world)?;
    let asked = AskedBundle { in_force };
    let given: GivenBundle = ask(&issuer.address, tls, Call::Bundle, &asked).await?;
    let given = given.bundle.map(|text| TrustBundle::parse(text.as_bytes()));
    Ok(given.transpose()?)
}

/// What the issuing agent is dialled with by one that has a certificate.
fn issuer_client(
    config: &Config,
    issuer: &Issuer,
    credentials: Credentials,
    world: &World,
) -> Result<Arc<ClientConfig>, Error> {
    let roots = own_bundle(config, world)?;
    let name = "issuer"
        .parse()
        .map_err(Error::failed("naming the issuer"))?;
    let identity = issuer.identity.clone();
    let peers = Peers::new(
        [PeerTrust {
            name,
            identity,
            roots,
            demands: Default::default(),
            dns: None,
        }],
        [],
    )?;
    let clock = world.clock.clone();
    let tls = TlsContext::new(config.tls.clone(), credentials, peers, clock)?;
    Ok(tls.client(&issuer.identity, &[b"http/1.1"])?.config)
}

/// Asks, within a time.
pub(super) async fn ask<A: DeserializeOwned>(
    address: &str,
    tls: Arc<ClientConfig>,
    call: Call,
    asked: &impl Serialize,
) -> Result<A, Error> {
    let answered = timeout(TIME_MAX, question(address, tls, call, asked)).await;
    answered.map_err(|_| Error::TryAgain {
        what: format!("{address} did not answer within {} s", TIME_MAX.as_secs()),
        reason: None,
    })?
}

async fn question<A: DeserializeOwned>(
    address: &str,
    tls: Arc<ClientConfig>,
    call: Call,
    asked: &impl Serialize,
) -> Result<A, Error> {
    let body = serde_json::to_vec(asked).map_err(Error::failed("writing a request"))?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(call.path())
        .header(HOST, "issuer")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(Error::failed("writing a request"))?;
    let bounds = Bounds {
        server: "the issuer",
        answer_bytes_max: BODY_BYTES_MAX,
    };
    let name = TlsContext::server_name();
    let response = exchange(address, tls, name, request, bounds).await?;
    let (status, body) = (response.status(), response.body());
    if status == StatusCode::OK {
        return serde_json::from_slice(body).map_err(Error::failed("reading the issuer's answer"));
    }
    let refused: Result<Refused, _> = serde_json::from_slice(body);
    let why = refused.map_or_else(|_| status.to_string(), |it| it.refused);
    Err(Error::Refused {
        what: "the certificate".to_owned(),
        source: why.into(),
    })
}
