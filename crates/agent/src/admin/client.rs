//! Asking a running agent through its socket.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request as HttpRequest, Response,
    body::Incoming,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::{
    answer::{Answer, Answers},
    codec::{Decoded, Decoder, Form},
    request::Request,
};
use crate::{
    Error,
    config::{Config, Override},
};

/// A running agent, reached through its socket. Each request has its own connection.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The agent with this socket, if one answers there.
    pub async fn connect(socket: &Path) -> Option<Self> {
        UnixStream::connect(socket).await.ok().map(|_| Self {
            socket: socket.to_owned(),
        })
    }

    /// The running agent of a configuration file, whatever else than the data
    /// directory is wrong in it.
    pub async fn find(path: &Path, flags: &[Override]) -> Option<Self> {
        if let Some(client) = Self::connect(&Config::find_socket(path, flags)?).await {
            return Some(client);
        }
        // Not for this user, perhaps: operators have a socket of their own.
        Self::connect(&Config::find_operators_socket(path, flags)?).await
    }

    /// Asks; the answer comes piece by piece.
    #[must_use]
    pub fn ask(&self, request: Request) -> Answers {
        let socket = self.socket.clone();
        Answers::start(|answer| async move {
            let response = post(&socket, &request).await?;
            receive(response, &answer).await
        })
    }
}

async fn post(socket: &Path, request: &Request) -> Result<Response<Incoming>, Error> {
    let unreachable = Error::io("reach the agent at", socket);
    let stream = UnixStream::connect(socket).await.map_err(unreachable)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(Error::failed("speaking with the agent"))?;
    // It ends with the answer; what went wrong shows there.
    tokio::spawn(connection);
    let http = HttpRequest::builder()
        .method(Method::POST)
        .uri(format!("/v1/{}", request.word()))
        .header(HOST, "localhost")
        .body(Full::new(Bytes::from(request.body()?)))
        .map_err(Error::failed("writing a request"))?;
    sender
        .send_request(http)
        .await
        .map_err(Error::failed("speaking with the agent"))
}

async fn receive(response: Response<Incoming>, answer: &Answer) -> Result<(), Error> {
    let framed = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value == Form::Framed.content_type());
    let mut decoder = Decoder::new(if framed { Form::Framed } else { Form::Lines });
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(Error::failed("reading the agent's answer"))?;
        let Some(bytes) = frame.data_ref() else {
            continue;
        };
        decoder.feed(bytes);
        while let Some(decoded) = decoder.next()? {
            match decoded {
                Decoded::Piece(piece) => answer.send(piece).await?,
                Decoded::End(outcome) => return outcome,
            }
        }
    }
    Err(Error::Answer("it was cut off before its end".to_owned()))
}
