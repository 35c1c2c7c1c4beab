//! One request over TLS, and its answer, bounded.

use std::{error::Error as StdError, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::{Request, Response, body::Body, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, rustls::ClientConfig};

use crate::Error;

/// Whom is asked, and how much it may say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// As in an error: `the issuer`.
    pub(crate) server: &'static str,
    pub(crate) answer_bytes_max: usize,
}

/// Asks once, over a connection of its own.
pub(crate) async fn exchange<B>(
    address: &str,
    tls: Arc<ClientConfig>,
    name: ServerName<'static>,
    request: Request<B>,
    bounds: Bounds,
) -> Result<Response<Bytes>, Error>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(Error::io(
        "reach",
        format!("{} at {address}", bounds.server),
    ))?;
    let stream = TlsConnector::from(tls).connect(name, stream).await;
    let stream = stream.map_err(Error::failed("the handshake with the issuer"))?;
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(Error::failed("speaking with the issuer"))?;
    let answering = async {
        let response = sender.send_request(request).await;
        let response = response.map_err(Error::failed("speaking with the issuer"))?;
        let (parts, body) = response.into_parts();
        let read = Limited::new(body, bounds.answer_bytes_max).collect().await;
        let read = read.map_err(|source| Error::Refused {
            what: format!("the answer of {}", bounds.server),
            source,
        })?;
        Ok::<_, Error>(Response::from_parts(parts, read.to_bytes()))
    };
    tokio::pin!(answering);
    tokio::select! {
        answered = &mut answering => answered,
        // It ends before the answer when the other side refuses the certificate.
        ended = connection => match ended {
            Ok(()) => answering.await,
            Err(error) => Err(Error::failed("speaking with the issuer")(error)),
        },
    }
}
