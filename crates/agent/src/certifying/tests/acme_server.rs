//! An ACME server in this process, which does what pebble does not: short lives, renewal
//! information, profiles, usages, and mistakes.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rcgen::{CertificateSigningRequestParams, KeyPair};
use rustls_pki_types::{CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, version::TLS13},
};

use super::stage::{Given, NAME, Stage};

/// What it says of renewal.
#[derive(Debug, Clone)]
pub(super) struct Info {
    pub(super) body: String,
    pub(super) retry_after: Option<&'static str>,
}

/// How it behaves; to be changed at any time.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    pub(super) given: Given,
    /// It answers everything with 503.
    pub(super) is_down: bool,
    pub(super) profiles: Vec<&'static str>,
    /// It takes orders with a profile, and leaves that out.
    pub(super) ignores_profiles: bool,
    pub(super) info: Option<Info>,
    /// It forgot every account.
    pub(super) knows_nobody: bool,
    /// Key id and key of accounts that it lets in.
    pub(super) external: Option<(&'static str, Vec<u8>)>,
}

#[derive(Default)]
struct Remembered {
    challenge_valid: bool,
    profile: Option<String>,
    chain: Option<String>,
    /// Requests by path, without what follows the last slash of some.
    asked: BTreeMap<String, u32>,
    replaced: Vec<String>,
}

pub(super) struct AcmeServer {
    stage: Arc<Stage>,
    pub(super) address: SocketAddr,
    pub(super) manner: Mutex<Manner>,
    /// Where the name that is proven is answered.
    answers: SocketAddr,
    remembered: Mutex<Remembered>,
}

impl AcmeServer {
    /// One that proves `NAME` at `answers`; its root is in `acme-roots.pem`.
    pub(super) async fn start(stage: &Arc<Stage>, answers: SocketAddr) -> Arc<Self> {
        let key = KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned()];
        let certificate = rcgen::CertificateParams::new(names).unwrap();
        let certificate = certificate.self_signed(&key).unwrap();
        std::fs::write(stage.path("acme-roots.pem"), certificate.pem()).unwrap();
        let provider = tokio_rustls::rustls::crypto::ring::default_provider();
        let config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Arc::new(Self {
            stage: stage.clone(),
            address: listener.local_addr().unwrap(),
            manner: Mutex::new(Manner {
                given: Given::Good,
                is_down: false,
                profiles: Vec::new(),
                ignores_profiles: false,
                info: None,
                knows_nobody: false,
                external: None,
            }),
            answers,
            remembered: Mutex::default(),
        });
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(server.clone().serve(listener, acceptor));
        server
    }

    async fn serve(self: Arc<Self>, listener: TcpListener, acceptor: TlsAcceptor) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (server, acceptor) = (self.clone(), acceptor.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let service = service_fn(move |request| {
                    let server = server.clone();
                    async move { Ok::<_, std::convert::Infallible>(server.answer(request).await) }
                });
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    }

    /// `[identity.acme]` for it.
    pub(super) fn section(&self, more: &str) -> String {
        format!(
            "dns_name = \"{NAME}\"\n[identity.acme]\ndirectory = \"{}\"\n\
             roots_file = \"acme-roots.pem\"\nlisten = \"{}\"\nuri_in_request = true\n{more}",
            self.url("directory"),
            self.answers
        )
    }

    /// How often something was asked for.
    pub(super) fn asked(&self, what: &str) -> u32 {
        self.remembered
            .lock()
            .asked
            .get(what)
            .copied()
            .unwrap_or_default()
    }

    /// What orders said that they replace.
    pub(super) fn replaced(&self) -> Vec<String> {
        self.remembered.lock().replaced.clone()
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}/{path}", self.address)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().trim_start_matches('/').to_owned();
        let first = path.split('/').next().unwrap().to_owned();
        *self
            .remembered
            .lock()
            .asked
            .entry(first.clone())
            .or_default() += 1;
        let manner = self.manner.lock().clone();
        if manner.is_down {
            return problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "serverInternal",
                "it is down",
            );
        }
        if request.method() == Method::HEAD {
            return with_nonce(Response::new(Full::default()));
        }
        let is_post = request.method() == Method::POST;
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let payload = if is_post { payload(&body) } else { Value::Null };
        match first.as_str() {
            "directory" => self.directory(&manner),
            "renewal-info" => renewal_info(manner.info.as_ref()),
            "new-account" => self.new_account(&manner, &payload),
            "new-order" if manner.knows_nobody => problem(
                StatusCode::BAD_REQUEST,
                "accountDoesNotExist",
                "there is no such account",
            ),
            "new-order" => self.new_order(&manner, &payload),
            "order" => self.order(),
            "authorization" => self.authorization(),
            "challenge" => self.challenge().await,
            "finalize" => self.finalize(&manner, &payload),
            "certificate" => {
                let chain = self.remembered.lock().chain.clone().unwrap();
                with_nonce(Response::new(Full::from(chain)))
            }
            _ => problem(StatusCode::NOT_FOUND, "malformed", "there is no such thing"),
        }
    }

    fn directory(&self, manner: &Manner) -> Response<Full<Bytes>> {
        let profiles: BTreeMap<_, _> = manner.profiles.iter().map(|name| (name, "one")).collect();
        let mut directory = json!({
            "newNonce": self.url("new-nonce"),
            "newAccount": self.url("new-account"),
            "newOrder": self.url("new-order"),
            "meta": {"profiles": profiles, "externalAccountRequired": manner.external.is_some()},
        });
        if manner.info.is_some() {
            directory["renewalInfo"] = self.url("renewal-info").into();
        }
        reply(StatusCode::OK, &directory)
    }

    /// Accounts are let in with a binding that the key of it signed, where one is asked for.
    fn new_account(&self, manner: &Manner, payload: &Value) -> Response<Full<Bytes>> {
        if let Some((id, key)) = &manner.external {
            let binding = &payload["externalAccountBinding"];
            let text = |name: &str| binding[name].as_str().unwrap_or_default().to_owned();
            let signed = format!("{}.{}", text("protected"), text("payload"));
            let head = URL_SAFE_NO_PAD
                .decode(text("protected"))
                .unwrap_or_default();
            let head: Value = serde_json::from_slice(&head).unwrap_or_default();
            let tag = URL_SAFE_NO_PAD
                .decode(text("signature"))
                .unwrap_or_default();
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
            let is_good = ring::hmac::verify(&key, signed.as_bytes(), &tag).is_ok();
            if head["kid"] != *id || !is_good {
                let (kind, told) = ("externalAccountRequired", "the binding is not good");
                return problem(StatusCode::FORBIDDEN, kind, told);
            }
        }
        self.manner.lock().knows_nobody = false;
        let mut response = reply(StatusCode::CREATED, &json!({"status": "valid"}));
        let location = self.url("account/1").parse().unwrap();
        response.headers_mut().insert("location", location);
        response
    }

    fn new_order(&self, manner: &Manner, payload: &Value) -> Response<Full<Bytes>> {
        assert_eq!(
            payload["identifiers"],
            json!([{"type": "dns", "value": NAME}])
        );
        let mut remembered = self.remembered.lock();
        remembered.challenge_valid = false;
        remembered.chain = None;
        remembered.profile = match manner.ignores_profiles {
            true => None,
            false => payload["profile"].as_str().map(str::to_owned),
        };
        let replaced = payload["replaces"].as_str().map(str::to_owned);
        remembered.replaced.extend(replaced.clone());
        drop(remembered);
        let mut order = self.order_value();
        if let Some(replaced) = replaced.filter(|_| manner.info.is_some()) {
            order["replaces"] = replaced.into();
        }
        let mut response = reply(StatusCode::CREATED, &order);
        let location = self.url("order/1").parse().unwrap();
        response.headers_mut().insert("location", location);
        response
    }

    fn order_value(&self) -> Value {
        let remembered = self.remembered.lock();
        let status = match (remembered.chain.is_some(), remembered.challenge_valid) {
            (true, _) => "valid",
            (false, true) => "ready",
            (false, false) => "pending",
        };
        let mut order = json!({
            "status": status,
            "authorizations": [self.url("authorization/1")],
            "finalize": self.url("finalize/1"),
        });
        if let Some(profile) = &remembered.profile {
            order["profile"] = profile.as_str().into();
        }
        if remembered.chain.is_some() {
            order["certificate"] = self.url("certificate/1").into();
        }
        order
    }

    fn order(&self) -> Response<Full<Bytes>> {
        reply(StatusCode::OK, &self.order_value())
    }

    fn challenge_value(&self) -> Value {
        let status = if self.remembered.lock().challenge_valid {
            "valid"
        } else {
            "pending"
        };
        json!({"type": "http-01", "url": self.url("challenge/1"), "token": "token-1", "status": status})
    }

    fn authorization(&self) -> Response<Full<Bytes>> {
        let challenge = self.challenge_value();
        let status = challenge["status"].clone();
        let identifier = json!({"type": "dns", "value": NAME});
        let value = json!({"status": status, "identifier": identifier, "challenges": [challenge]});
        reply(StatusCode::OK, &value)
    }

    /// Asks at the name, as a server does; here there is one address for it.
    async fn challenge(&self) -> Response<Full<Bytes>> {
        let mut stream = TcpStream::connect(self.answers).await.unwrap();
        let request = "GET /.well-known/acme-challenge/token-1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains("\r\n\r\ntoken-1."),
            "{answer}"
        );
        self.remembered.lock().challenge_valid = true;
        reply(StatusCode::OK, &self.challenge_value())
    }

    fn finalize(&self, manner: &Manner, payload: &Value) -> Response<Full<Bytes>> {
        let csr = URL_SAFE_NO_PAD
            .decode(payload["csr"].as_str().unwrap())
            .unwrap();
        let csr = CertificateSigningRequestDer::from(csr);
        let csr = CertificateSigningRequestParams::from_der(&csr).unwrap();
        assert_eq!(csr.params.subject_alt_names.len(), 2);
        let chain = self.stage.issue(&csr.public_key, manner.given);
        self.remembered.lock().chain = Some(chain);
        reply(StatusCode::OK, &self.order_value())
    }
}

fn renewal_info(info: Option<&Info>) -> Response<Full<Bytes>> {
    let Some(info) = info else {
        return problem(StatusCode::NOT_FOUND, "malformed", "there is none");
    };
    let mut response = Response::new(Full::from(info.body.clone()));
    if let Some(after) = info.retry_after {
        let after = after.parse().unwrap();
        response.headers_mut().insert("retry-after", after);
    }
    response
}

/// What a signed request says. That it is signed pebble looks at.
fn payload(body: &Bytes) -> Value {
    let signed: Value = serde_json::from_slice(body).unwrap();
    let payload = URL_SAFE_NO_PAD
        .decode(signed["payload"].as_str().unwrap())
        .unwrap();
    serde_json::from_slice(&payload).unwrap_or(Value::Null)
}

fn problem(status: StatusCode, kind: &str, detail: &str) -> Response<Full<Bytes>> {
    let kind = format!("urn:ietf:params:acme:error:{kind}");
    reply(
        status,
        &json!({"type": kind, "detail": detail, "status": status.as_u16()}),
    )
}

fn reply(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(value.to_string()));
    *response.status_mut() = status;
    with_nonce(response)
}

fn with_nonce(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    response
        .headers_mut()
        .insert("replay-nonce", "bm9uY2U".parse().unwrap());
    response
}
