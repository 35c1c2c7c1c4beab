//! From a connection to an authenticated link.

use std::{io, pin::Pin, task::ready, time::Duration};

use rustls::{
    ClientConnection, ServerConnection,
    client::UnbufferedClientConnection,
    server::{Acceptor, UnbufferedServerConnection},
};
use sealift_identity::{ALPN_CONTROL, ALPN_DATA, ALPN_FORWARD, Refusal, Session, TlsContext};
use sealift_terms::Identity;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf},
    time::timeout,
};

use crate::{
    error::TunnelError,
    link::{Link, LinkKind},
    records::{Core, Opened, Records, begin},
    transport::Connection,
};

/// A ClientHello with post-quantum key share and our extensions has about 1.5 KiB.
const CLIENT_HELLO_BYTES_MAX: usize = 16 * 1024;
const READ_BYTES: usize = 16 * 1024;
/// How long, and for how many bytes, a refused peer is listened to.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES_MAX: u64 = 64 * 1024;

/// Shakes hands with the peer that was dialled.
pub(crate) async fn dial(
    mut connection: Connection,
    tls: &TlsContext,
    peer: &Identity,
    kind: LinkKind,
) -> Result<Link, TunnelError> {
    let prepared = tls
        .client(peer, &[kind.alpn()])
        .map_err(TunnelError::NotConfigured)?;
    let name = TlsContext::server_name();
    let records = match kind {
        LinkKind::Control => Records::Buffered(Box::new(
            ClientConnection::new(prepared.config, name)
                .map_err(begin)?
                .into(),
        )),
        LinkKind::Data | LinkKind::Forward => Records::Client(Box::new(
            UnbufferedClientConnection::new(prepared.config, name).map_err(begin)?,
        )),
    };
    let (mut core, mut opened) = (Core::new(records), Opened::default());
    shake(&mut connection, &mut core, &mut opened).await?;
    finish(connection, (core, opened), kind, &prepared.own)
}

/// Shakes hands with whoever dialled.
pub(crate) async fn answer(
    mut connection: Connection,
    tls: &TlsContext,
) -> Result<Link, TunnelError> {
    let (kind, hello) = client_hello(&mut connection).await?;
    // Without a name of ours all are offered, for rustls to send its alert.
    let all: &[&[u8]] = &[ALPN_CONTROL, ALPN_DATA, ALPN_FORWARD];
    let prepared = match kind {
        Some(kind) => tls.server(&[kind.alpn()]),
        None => tls.server(all),
    };
    let kind = kind.unwrap_or(LinkKind::Control);
    let records = match kind {
        LinkKind::Control => Records::Buffered(Box::new(
            ServerConnection::new(prepared.config)
                .map_err(begin)?
                .into(),
        )),
        LinkKind::Data | LinkKind::Forward => Records::Server(Box::new(
            UnbufferedServerConnection::new(prepared.config).map_err(begin)?,
        )),
    };
    let (mut core, mut opened) = (Core::new(records), Opened::default());
    opened.came(&hello);
    shake(&mut connection, &mut core, &mut opened).await?;
    finish(connection, (core, opened), kind, &prepared.own)
}

/// Reads a ClientHello, and which of our protocols it names. The bytes are
/// read again by the connection that is made for it.
async fn client_hello(
    connection: &mut Connection,
) -> Result<(Option<LinkKind>, Vec<u8>), TunnelError> {
    let mut acceptor = Acceptor::default();
    let mut bytes = Vec::new();
    loop {
        let from = bytes.len();
        read_some(connection, &mut bytes).await?;
        let mut new = bytes.get(from..).unwrap_or_default();
        while !new.is_empty() {
            acceptor
                .read_tls(&mut new)
                .map_err(TunnelError::io("reading a ClientHello"))?;
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let kind = hello
                    .alpn()
                    .and_then(|names| names.filter_map(LinkKind::of_alpn).next());
                return Ok((kind, bytes));
            }
            Ok(None) if bytes.len() < CLIENT_HELLO_BYTES_MAX => {}
            Ok(None) => return Err(TunnelError::Refused(Refusal::NotTls)),
            Err((error, mut alert)) => {
                let mut out = Vec::new();
                // The alert is a courtesy: the refusal is what counts.
                let _ = alert.write_all(&mut out);
                let _ = connection.writer.write_all(&out).await;
                let _ = timeout(LINGER, part(connection)).await;
                return Err(error.into());
            }
        }
    }
}

/// Closes our direction and reads the rest of what the peer had sent: a socket
/// closed with bytes unread resets the connection, and takes our alert with it.
async fn part(connection: &mut Connection) -> io::Result<()> {
    connection.writer.shutdown().await?;
    let mut rest = (&mut connection.reader).take(LINGER_BYTES_MAX);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
    Ok(())
}

async fn read_some(connection: &mut Connection, to: &mut Vec<u8>) -> Result<(), TunnelError> {
    let mut room = [0; 4096];
    let read = connection.reader.read(&mut room).await;
    match read.map_err(TunnelError::io("reading from the peer"))? {
        0 => Err(TunnelError::CutOff),
        count => {
            to.extend_from_slice(room.get(..count).unwrap_or_default());
            Ok(())
        }
    }
}

async fn shake(
    connection: &mut Connection,
    core: &mut Core,
    opened: &mut Opened,
) -> Result<(), TunnelError> {
    loop {
        let shaken = core.shake(opened);
        let sent = send(connection, core).await;
        let done = match shaken {
            Ok(done) => done,
            Err(error) => {
                // Why it failed matters more than whether the alert arrives.
                let _ = timeout(LINGER, part(connection)).await;
                return Err(error);
            }
        };
        sent?;
        if done {
            return Ok(());
        }
        let mut reader = Pin::new(&mut connection.reader);
        let count = std::future::poll_fn(|cx| {
            let mut room = ReadBuf::new(opened.room(READ_BYTES));
            ready!(reader.as_mut().poll_read(cx, &mut room))?;
            let count = room.filled().len();
            opened.fill(count);
            std::task::Poll::Ready(Ok::<_, io::Error>(count))
        })
        .await
        .map_err(TunnelError::io("reading from the peer"))?;
        if count == 0 {
            return Err(TunnelError::CutOff);
        }
    }
}

async fn send(connection: &mut Connection, core: &mut Core) -> Result<(), TunnelError> {
    let count = core.out.len();
    if count > 0 {
        let what = "writing to the peer";
        connection
            .writer
            .write_all(core.out.filled())
            .await
            .map_err(TunnelError::io(what))?;
        connection
            .writer
            .flush()
            .await
            .map_err(TunnelError::io(what))?;
        core.out.consume(count);
    }
    Ok(())
}

fn finish(
    connection: Connection,
    (core, opened): (Core, Opened),
    kind: LinkKind,
    own: &sealift_identity::Own,
) -> Result<Link, TunnelError> {
    let state = core.state().ok_or(TunnelError::CutOff)?;
    let session = Session::of(state, own).map_err(TunnelError::Refused)?;
    if session.alpn != kind.alpn() {
        return Err(TunnelError::Refused(Refusal::NoCommonProtocol));
    }
    Ok(Link::new(connection, (core.over()?, opened), kind, session))
}
