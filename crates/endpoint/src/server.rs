//! The listener: connections bounded in number and patience, ended in order.

use sealift_terms::{Boxed, Timestamp};
use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::service::{S3Service, S3ServiceBuilder};
use sealift_terms::limits::{
    ENDPOINT_CONNECTIONS_MAX, ENDPOINT_HEAD_BYTES_MAX, ENDPOINT_HEAD_TIME_MAX,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};

use crate::{
    Endpoint,
    access::{Rights, Secrets},
    core::Core,
    front::Fronted,
    patience::Watched,
    replica::Replica,
    service::answer,
};

/// After a connection could not be accepted: descriptors come back.
const PAUSE: Duration = Duration::from_millis(100);

impl Endpoint {
    /// Answers what comes in on `listener` until `stop` turns true, and then finishes what is
    /// under way. Dropping it ends all connections.
    pub fn serve(self, listener: TcpListener, stop: watch::Receiver<bool>) -> Boxed<'static, ()> {
        Box::pin(async move {
            let service = service(&self.0);
            let room = Arc::new(Semaphore::new(ENDPOINT_CONNECTIONS_MAX));
            let mut connections = JoinSet::new();
            let mut stopping = stop.clone();
            loop {
                let accepted = tokio::select! {
                    _ = stopping.wait_for(|stop| *stop) => break,
                    Some(_ended) = connections.join_next() => continue,
                    accepted = accept(&listener, &room) => accepted,
                };
                let Some((stream, from, permit)) = accepted else {
                    continue;
                };
                let (core, service, stop) = (self.0.clone(), service.clone(), stop.clone());
                connections.spawn(async move {
                    let _open = core.tally.connection();
                    connection(core.clone(), service, stream, from, stop).await;
                    drop(permit);
                });
            }
            drop(listener);
            while connections.join_next().await.is_some() {}
            // None comes that could still be counted.
            self.0.settle_reads(Timestamp::from_millis(i64::MAX));
        })
    }
}

type Permit = tokio::sync::OwnedSemaphorePermit;

/// The next connection that there is room for. More of them wait in the system's queue.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, Permit)> {
    let permit = room.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, from)) => Some((stream, from, permit)),
        Err(error) => {
            tracing::warn!(%error, "a connection to the S3 endpoint was not accepted");
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}

/// What says which call a request is, and of whom.
fn service(core: &Arc<Core>) -> S3Service {
    let mut builder = S3ServiceBuilder::new(Replica(core.clone()));
    builder.set_auth(Secrets(core.clone()));
    builder.set_access(Rights(core.clone()));
    builder.set_route(Fronted(core.clone()));
    builder.build()
}

async fn connection(
    core: Arc<Core>,
    service: S3Service,
    stream: TcpStream,
    from: SocketAddr,
    mut stop: watch::Receiver<bool>,
) {
    // Heads and the ends of answers are small, and waited for.
    let _ = stream.set_nodelay(true);
    let (stream, patience) = Watched::new(stream);
    let answering = service_fn(move |request| {
        let (core, service) = (core.clone(), service.clone());
        async move { Ok::<_, Infallible>(answer(core, service, from, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ENDPOINT_HEAD_TIME_MAX)
        .max_buf_size(ENDPOINT_HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answering);
    let mut connection = pin!(connection);
    let mut patience = pin!(patience.ends());
    let mut is_stopping = false;
    loop {
        tokio::select! {
            outcome = connection.as_mut() => {
                if let Err(error) = outcome {
                    tracing::debug!(%from, %error, "a connection to the S3 endpoint ended");
                }
                return;
            }
            _ = stop.wait_for(|stop| *stop), if !is_stopping => {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = patience.as_mut() => {
                tracing::info!(%from, "an application takes nothing of its answer: closed");
                return;
            }
        }
    }
}
