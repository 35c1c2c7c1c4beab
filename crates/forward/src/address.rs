//! Where applications are: a TCP address or a Unix socket.

use std::{
    fmt, fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    str::FromStr,
};

use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::application::{Accepted, Application};

/// The longest path that a Unix socket can have.
const UNIX_PATH_BYTES_MAX: usize = 107;

/// Where an application listens, or is awaited.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// `HOST:PORT`.
    Tcp(String),
    /// `unix:PATH`.
    Unix(PathBuf),
}

/// Text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is neither HOST:PORT nor unix:PATH with an absolute path of at most 107 bytes")]
pub struct AddressError {
    /// What it was.
    pub found: String,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let bad = || AddressError {
            found: text.chars().take(200).collect(),
        };
        if let Some(path) = text.strip_prefix("unix:") {
            let fits =
                path.starts_with('/') && path.len() <= UNIX_PATH_BYTES_MAX && !path.contains('\0');
            return fits.then(|| Self::Unix(path.into())).ok_or_else(bad);
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
        match !host.is_empty() && is_port {
            true => Ok(Self::Tcp(text.to_owned())),
            false => Err(bad()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Address {
    /// Whether what goes over it stays on this machine, as far as its text tells: a name
    /// is no address.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(address) => address
                .parse::<std::net::SocketAddr>()
                .is_ok_and(|address| address.ip().is_loopback()),
        }
    }

    /// Connects.
    ///
    /// # Errors
    /// What the network says.
    pub async fn connect(&self) -> io::Result<Application> {
        match self {
            Self::Tcp(address) => Application::of_tcp(sealift_tunnel::connect(address).await?),
            Self::Unix(path) => Application::of_unix(UnixStream::connect(path).await?),
        }
    }

    /// Listens. A Unix socket gets `mode`; one that an agent left behind gives way.
    ///
    /// # Errors
    /// What the system says.
    pub async fn listen(&self, mode: u32) -> io::Result<Listening> {
        match self {
            Self::Tcp(address) => Ok(Listening::Tcp(sealift_tunnel::listen(address).await?)),
            Self::Unix(path) => {
                make_way(path).await?;
                let socket = UnixListener::bind(path)?;
                fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
                Ok(Listening::Unix(socket, Named(path.clone())))
            }
        }
    }
}

/// Removes a socket that nobody listens on.
async fn make_way(path: &Path) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::other("something else than a socket is there"));
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(_) => fs::remove_file(path),
    }
}

/// An open listening socket.
#[derive(Debug)]
pub enum Listening {
    /// On a TCP address.
    Tcp(TcpListener),
    /// On a Unix socket, which goes with it.
    Unix(UnixListener, Named),
}

/// The name of a socket; removed when dropped.
#[derive(Debug)]
pub struct Named(PathBuf);

impl Drop for Named {
    fn drop(&mut self) {
        // One that cannot be removed gives way to the next.
        let _ = fs::remove_file(&self.0);
    }
}

impl Listening {
    /// The next application that connects. May be cancelled.
    ///
    /// # Errors
    /// What the system says; the socket can still be used.
    pub async fn accept(&self) -> io::Result<Accepted> {
        Ok(match self {
            Self::Tcp(socket) => Accepted::Tcp(socket.accept().await?.0.into_std()?),
            Self::Unix(socket, _) => Accepted::Unix(socket.accept().await?.0.into_std()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart_and_only_loopback_is_local() {
        for (text, local) in [
            ("127.0.0.1:5432", true),
            ("[::1]:5432", true),
            ("unix:/run/sealift/pg.sock", true),
            ("10.0.0.1:5432", false),
            ("0.0.0.0:5432", false),
            ("localhost:5432", false),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.is_local(), local, "{text}");
            assert_eq!(address.to_string(), text);
        }
        let long = format!("unix:/{}", "x".repeat(UNIX_PATH_BYTES_MAX));
        for text in [
            "",
            ":1",
            "host",
            "host:0",
            "host:65536",
            "unix:run/s",
            &long,
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_socket_left_behind_gives_way_and_a_live_one_or_a_file_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let address = Address::Unix(path.clone());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let live = address.listen(0o600).await.unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(address.listen(0o600).await.is_err());
        drop(live);
        assert!(!path.exists());
        fs::write(&path, "a file").unwrap();
        assert!(address.listen(0o600).await.is_err());
        assert!(path.exists());
    }
}
