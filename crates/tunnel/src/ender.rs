//! Ending a link from outside: a certificate is over, an identity is denied.

use std::{any::Any, fmt};

use sealift_identity::Refusal;
use tokio::sync::watch;

use crate::error::TunnelError;

/// Ends the link it was taken from: whatever waits to read or write there fails.
pub struct LinkEnder(watch::Sender<Option<Refusal>>);

impl LinkEnder {
    /// Ends the link for this cause.
    pub fn end(&self, refusal: Refusal) {
        self.0.send_replace(Some(refusal));
    }

    /// Whether both halves of the link are gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.0.is_closed()
    }
}

impl fmt::Debug for LinkEnder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkEnder")
            .field("is_gone", &self.is_gone())
            .finish()
    }
}

/// What each half of a link listens to while it waits.
#[derive(Clone)]
pub(crate) struct Ended {
    cause: watch::Receiver<Option<Refusal>>,
    /// Dropped with the link.
    _held: Option<std::sync::Arc<dyn Any + Send + Sync>>,
}

impl Ended {
    /// Never ended from outside.
    pub(crate) fn never() -> Self {
        Self {
            cause: watch::channel(None).1,
            _held: None,
        }
    }

    pub(crate) fn with_ender(held: impl Any + Send + Sync) -> (Self, LinkEnder) {
        let (end, cause) = watch::channel(None);
        (
            Self {
                cause,
                _held: Some(std::sync::Arc::new(held)),
            },
            LinkEnder(end),
        )
    }

    /// Waits until the link is ended.
    pub(crate) async fn over(&mut self) -> TunnelError {
        let cause = match self.cause.wait_for(Option::is_some).await {
            Ok(cause) => cause.clone(),
            // Nobody is left who could.
            Err(_) => None,
        };
        match cause {
            Some(refusal) => TunnelError::Refused(refusal),
            None => std::future::pending().await,
        }
    }
}
