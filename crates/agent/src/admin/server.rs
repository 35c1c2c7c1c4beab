//! The two doors: a Unix socket in the data directory for everything, a loopback
//! address for looking.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use sealift_terms::limits;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener, UnixStream},
    sync::Semaphore,
};

use super::{
    handler::{Door, handle},
    operations::{Actor, Operations},
};
use crate::{Error, Lifecycle, Phase};

/// The doors of a running agent; open until dropped.
#[derive(Debug)]
pub struct AdminServer {
    sockets: Vec<PathBuf>,
    loopback: Option<SocketAddr>,
    tasks: tokio::task::JoinSet<()>,
}

impl AdminServer {
    /// Opens the socket at `socket`, mode 0600, and those for operators (mode 0666: the
    /// kernel says who comes, and rows what they may) and at `loopback` if there are. The
    /// caller holds the lock of the data directory: a socket found there is a dead one's.
    ///
    /// # Errors
    /// [`Error::Io`] when a door cannot be opened.
    pub async fn open(
        socket: &Path,
        operators: Option<&Path>,
        loopback: Option<SocketAddr>,
        operations: Arc<dyn Operations>,
        lifecycle: &Lifecycle,
    ) -> Result<Self, Error> {
        let mut tasks = tokio::task::JoinSet::new();
        let owners = bind_socket(socket, Who::Owner).map_err(Error::io("listen on", socket))?;
        // Of its own for each door: whoever looks does not keep the owner waiting.
        let permits = || Arc::new(Semaphore::new(limits::ADMIN_CONNECTIONS_MAX));
        tasks.spawn(serve_socket(
            owners,
            Who::Owner,
            Arc::clone(&operations),
            permits(),
            lifecycle.clone(),
        ));
        if let Some(path) = operators {
            let listener = bind_socket(path, Who::Operators);
            tasks.spawn(serve_socket(
                listener.map_err(Error::io("listen on", path))?,
                Who::Operators,
                Arc::clone(&operations),
                permits(),
                lifecycle.clone(),
            ));
        }
        let mut bound = None;
        if let Some(address) = loopback {
            let failed = || Error::io("listen on", address.to_string());
            let listener = TcpListener::bind(address).await.map_err(failed())?;
            bound = Some(listener.local_addr().map_err(failed())?);
            tasks.spawn(serve_loopback(
                listener,
                operations,
                permits(),
                lifecycle.clone(),
            ));
        }
        Ok(Self {
            sockets: [Some(socket), operators]
                .into_iter()
                .flatten()
                .map(Path::to_owned)
                .collect(),
            loopback: bound,
            tasks,
        })
    }

    /// The loopback address, with the port that was given if 0 was asked for.
    #[must_use]
    pub fn loopback(&self) -> Option<SocketAddr> {
        self.loopback
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.tasks.abort_all();
        // A socket left behind is removed by the next agent.
        for socket in &self.sockets {
            let _ = fs::remove_file(socket);
        }
    }
}

fn bind_socket(path: &Path, who: Who) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // The data directory is 0700, so nobody comes in before the mode is set; to the
    // operators' socket everybody may come.
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(who.mode()))?;
    Ok(listener)
}

async fn serve_socket(
    listener: UnixListener,
    who: Who,
    operations: Arc<dyn Operations>,
    permits: Arc<Semaphore>,
    lifecycle: Lifecycle,
) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                pause(&error).await;
                continue;
            }
        };
        match actor(&stream, who) {
            Ok(actor) => {
                serve(
                    stream,
                    Door::Socket(actor),
                    &operations,
                    &permits,
                    &lifecycle,
                )
                .await
            }
            Err(error) => tracing::warn!(%error, "refused on the socket"),
        }
    }
}

/// Whom a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// The agent's own user and the superuser; the mode of the socket says so, too.
    Owner,
    /// Every user of this machine, who may do what a row for operators allows.
    Operators,
}

impl Who {
    const fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Operators => 0o666,
        }
    }
}

fn actor(stream: &UnixStream, who: Who) -> Result<Actor, Error> {
    let credentials = stream
        .peer_cred()
        .map_err(Error::failed("asking who is there"))?;
    let uid = credentials.uid();
    let is_owner = uid == 0 || uid == rustix::process::geteuid().as_raw();
    match (is_owner, who) {
        (true, _) => Ok(Actor {
            uid,
            offline: false,
            operator: None,
        }),
        (false, Who::Operators) => Ok(Actor {
            uid,
            offline: false,
            operator: Some(credentials.gid()),
        }),
        (false, Who::Owner) => Err(Error::Forbidden {
            who: format!("user {uid}"),
        }),
    }
}

async fn serve_loopback(
    listener: TcpListener,
    operations: Arc<dyn Operations>,
    permits: Arc<Semaphore>,
    lifecycle: Lifecycle,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                serve(stream, Door::Loopback, &operations, &permits, &lifecycle).await;
            }
            Err(error) => pause(&error).await,
        }
    }
}

/// Accepting fails when descriptors run out: they come back.
async fn pause(error: &io::Error) {
    tracing::warn!(%error, "cannot accept a connection to the admin endpoint");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn serve<S>(
    stream: S,
    door: Door,
    operations: &Arc<dyn Operations>,
    permits: &Arc<Semaphore>,
    lifecycle: &Lifecycle,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Ok(permit) = Arc::clone(permits).acquire_owned().await else {
        return;
    };
    let (operations, mut lifecycle) = (Arc::clone(operations), lifecycle.clone());
    tokio::spawn(async move {
        let service = service_fn(move |request| {
            let (operations, door) = (Arc::clone(&operations), door.clone());
            async move { Ok::<_, std::convert::Infallible>(handle(operations, door, request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits::ADMIN_HEAD_TIME_MAX)
            .serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            outcome = connection => if let Err(error) = outcome {
                tracing::debug!(%error, "admin connection");
            },
            () = lifecycle.reached(Phase::Stopping) => {}
        }
        drop(permit);
    });
}
