//! The door of an issuer: who is let in, for how long, and how many of them at once.
//!
//! ```text
//!   connection ──▶ Entrance ──▶ handshake ──┬─ a certificate ─▶ places by identity ─┬─▶ one request
//!                  networks,    10 s        └─ none ──────────▶ places by address ──┘   10 s to come,
//!                  128, 16 from an address,                                             30 s in all
//!                  32 kept for known ones
//! ```
//!
//! Whoever shows no certificate takes no place from those who do. Each who is turned away is
//! told in the log, counted, and on record with others of a minute.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use sealift_identity::{Authority, Leaf, issuing_server};
use sealift_terms::{
    Identity,
    limits::{
        ENROLLING_MAX, ENROLLING_PER_SOURCE_MAX, HANDSHAKE_TIME_MAX, ISSUER_TIME_MAX, RENEWING_MAX,
        RENEWING_PER_IDENTITY_MAX,
    },
};
use sealift_tunnel::{Accept, Cause, Connection, Entrance, Full, Place, Places, TunnelError};
use tokio::{io::Join, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{Asker, Issuing, Shown};
use crate::{Error, config::Listen};

type Both = Join<
    Box<dyn tokio::io::AsyncRead + Send + Unpin>,
    Box<dyn tokio::io::AsyncWrite + Send + Unpin>,
>;

/// Who is inside, and how many more may be.
#[derive(Debug)]
pub(super) struct Door {
    entrance: Entrance,
    enrolling: Arc<Places<IpAddr>>,
    renewing: Arc<Places<Identity>>,
}

/// A place behind the handshake.
#[derive(Debug)]
enum Inside {
    Enrolling { _place: Place<IpAddr> },
    Renewing { _place: Place<Identity> },
}

impl Door {
    pub(super) fn new(listen: &Listen) -> Self {
        Self {
            entrance: Entrance::new(listen.networks.clone(), "ca.networks"),
            enrolling: Places::new(ENROLLING_MAX, ENROLLING_PER_SOURCE_MAX),
            renewing: Places::new(RENEWING_MAX, RENEWING_PER_IDENTITY_MAX),
        }
    }

    fn let_in(&self, asker: &Asker) -> Result<Inside, Cause> {
        let Some(shown) = &asker.shown else {
            let what = "connections without a certificate";
            let place = self.enrolling.take(asker.from.ip().to_canonical());
            let place = place.map_err(|full| full.of_source(what))?;
            return Ok(Inside::Enrolling { _place: place });
        };
        let (identity, what) = (shown.leaf.identity.clone(), "connections to the issuer");
        let place = self.renewing.take(identity.clone());
        let place = place.map_err(|full| match full {
            Full::All(max) => Cause::TooMany { max, what },
            Full::OfOne(max) => Cause::TooManyOfIdentity {
                max,
                what,
                identity,
            },
        })?;
        Ok(Inside::Renewing { _place: place })
    }
}

/// Takes connections until the agent ends.
pub(super) async fn serve(issuing: Arc<Issuing>, socket: Box<dyn Accept>) {
    loop {
        let connection = Entrance::next(&*socket).await;
        let from = connection.peer;
        match issuing.door.entrance.enter(from) {
            Ok(place) => drop(tokio::spawn(issuing.clone().connection(connection, place))),
            Err(cause) => issuing.turn_away(from, cause),
        }
    }
}

impl Issuing {
    async fn connection(self: Arc<Self>, connection: Connection, place: Place<IpAddr>) {
        let from = connection.peer;
        let shaken = timeout(HANDSHAKE_TIME_MAX, self.handshake(connection)).await;
        let (stream, asker) = match shaken.unwrap_or(Ok(Err(TunnelError::TooSlow))) {
            Ok(Ok(shaken)) => shaken,
            Ok(Err(error)) => return self.turn_away(from, Cause::Handshake(error)),
            Err(error) => {
                let error = error.in_one_line();
                return tracing::error!(error, "nobody can ask for a certificate");
            }
        };
        let inside = match self.door.let_in(&asker) {
            Ok(inside) => inside,
            Err(cause) => return self.turn_away(from, cause),
        };
        drop(place);
        if asker.shown.is_some() {
            self.door.entrance.remember(from);
        }
        let identity = asker.identity().cloned();
        let is_over = match timeout(ISSUER_TIME_MAX, self.clone().request(stream, asker)).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::debug!(%error, %from, "a request for a certificate ended");
                !error.is_timeout()
            }
            Err(_late) => false,
        };
        if !is_over {
            let (what, within) = ("request", ISSUER_TIME_MAX);
            let cause = Cause::Unfinished {
                what,
                within,
                identity,
            };
            self.turn_away(from, cause);
        }
        drop(inside);
    }

    async fn handshake(
        &self,
        connection: Connection,
    ) -> Result<Result<(TlsStream<Both>, Asker), TunnelError>, Error> {
        let site = &self.running.site;
        let config = site.current();
        // Commands change it.
        let roots = Authority::open(&self.ca.directory)?.bundle().clone();
        let credentials = self.running.tls.credentials();
        let clock = site.world.clock.clone();
        let tls = issuing_server(&config.tls, &credentials, &roots, clock)?;
        let from = connection.peer;
        // Whatever is below is kept until both directions are done.
        let both = tokio::io::join(connection.reader, connection.writer);
        let stream = match TlsAcceptor::from(tls).accept(both).await {
            Ok(stream) => stream,
            Err(error) => return Ok(Err(not_shaken(error))),
        };
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let shown = chain.first().and_then(|leaf| Leaf::parse(leaf).ok());
        let shown = shown.map(|leaf| Shown {
            leaf,
            root: roots.root_behind(chain, site.world.clock.now()),
        });
        Ok(Ok((stream, Asker { from, shown })))
    }

    async fn request(
        self: Arc<Self>,
        stream: TlsStream<Both>,
        asker: Asker,
    ) -> Result<(), hyper::Error> {
        let service = service_fn(|request: Request<Incoming>| {
            let (issuing, asker) = (self.clone(), asker.clone());
            async move { Ok::<_, Infallible>(issuing.answer(request, asker).await) }
        });
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HANDSHAKE_TIME_MAX)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service)
            .await
    }

    /// As at the agent's own door.
    pub(super) fn turn_away(&self, from: SocketAddr, cause: Cause) {
        (self.running.refused)(sealift_tunnel::Refused { from, cause });
    }
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

#[cfg(test)]
mod tests {
    use sealift_terms::{Networks, Timestamp};

    use super::*;

    fn asker(address: u8, name: Option<&str>) -> Asker {
        let leaf = |name: &str| Leaf {
            identity: format!("spiffe://example.org/region/r/agent/{name}")
                .parse()
                .unwrap(),
            serial: "01".to_owned(),
            not_before: Timestamp::from_secs(0),
            not_after: Timestamp::from_secs(1),
            client_auth: true,
            server_auth: true,
        };
        let shown = name.map(|name| Shown {
            leaf: leaf(name),
            root: None,
        });
        let from = SocketAddr::from(([192, 0, 2, address], 1));
        Asker { from, shown }
    }

    #[test]
    fn who_shows_no_certificate_takes_no_place_from_those_who_do_and_none_takes_all() {
        let door = Door::new(&Listen {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            interface: None,
            networks: Networks::default(),
        });
        let mut inside = Vec::new();
        for n in 0..ENROLLING_MAX {
            let address = (n / ENROLLING_PER_SOURCE_MAX) as u8;
            inside.push(door.let_in(&asker(address, None)).unwrap());
        }
        let refused = |address, name| door.let_in(&asker(address, name)).unwrap_err();
        assert!(matches!(refused(200, None), Cause::TooMany { .. }));
        inside.remove(0);
        assert!(matches!(refused(1, None), Cause::TooManyFromSource { .. }));
        // From one address, each with a certificate of its own.
        for n in 0..RENEWING_MAX {
            let name = format!("a{}", n / RENEWING_PER_IDENTITY_MAX);
            inside.push(door.let_in(&asker(1, Some(&name))).unwrap());
        }
        assert!(matches!(refused(1, Some("b")), Cause::TooMany { .. }));
        inside.pop();
        let cause = refused(1, Some("a0"));
        assert!(matches!(cause, Cause::TooManyOfIdentity { .. }), "{cause}");
        assert!(cause.to_string().contains("agent/a0"), "{cause}");
        inside.push(door.let_in(&asker(1, Some("b"))).unwrap());
    }
}
