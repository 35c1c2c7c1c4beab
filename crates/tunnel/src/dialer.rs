//! Making links to peers.

use std::sync::Arc;

use sealift_identity::TlsContext;
use sealift_terms::{Identity, limits::HANDSHAKE_TIME_MAX};
use tokio::time::timeout;

use crate::{
    error::TunnelError,
    handshake,
    link::{Link, LinkKind},
    transport::Transport,
};

/// Dials peers with the credentials and trust in force at the moment.
#[derive(Debug, Clone)]
pub struct Dialer {
    transport: Arc<dyn Transport>,
    tls: Arc<TlsContext>,
}

impl Dialer {
    /// A dialer over `transport`.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, tls: Arc<TlsContext>) -> Self {
        Self { transport, tls }
    }

    /// Makes a link to the peer known as `peer` at `address`. Nobody else may answer.
    ///
    /// # Errors
    /// [`TunnelError`] says why there is none, within 10 seconds.
    pub async fn dial(
        &self,
        address: &str,
        peer: &Identity,
        kind: LinkKind,
    ) -> Result<Link, TunnelError> {
        let made = async {
            let dialled = self.transport.dial(address).await;
            let connection = dialled.map_err(TunnelError::io("connecting to the peer"))?;
            handshake::dial(connection, &self.tls, peer, kind).await
        };
        timeout(HANDSHAKE_TIME_MAX, made)
            .await
            .unwrap_or(Err(TunnelError::TooSlow))
    }
}
