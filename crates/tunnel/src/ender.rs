//! A link as others see it: ended from outside, because a certificate is over or an
//! identity is denied; how it does; why it is gone.

use std::{
    any::Any,
    fmt,
    pin::Pin,
    sync::{Arc, OnceLock, Weak},
    task::{Context, Poll},
};

use sealift_host::TcpFacts;
use sealift_identity::Refusal;
use sealift_terms::Reason;
use tokio::sync::watch;

use crate::{error::TunnelError, transport::Socket};

/// Why a link is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The peer closed it in order.
    Closed,
    /// It was lost, or ended for a cause.
    Lost {
        /// The reason code.
        reason: Reason,
        /// What was seen.
        evidence: String,
    },
}

/// Ends the link it was taken from: whatever waits to read or write there fails.
pub struct LinkEnder {
    end: watch::Sender<Option<Refusal>>,
    fate: Arc<OnceLock<Fate>>,
    socket: Option<Weak<dyn Socket>>,
}

impl LinkEnder {
    /// Ends the link for this cause.
    pub fn end(&self, refusal: Refusal) {
        self.end.send_replace(Some(refusal));
    }

    /// Whether both halves of the link are gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.end.is_closed()
    }

    /// Why the link is gone. None while it is there, and when this side ended it.
    #[must_use]
    pub fn fate(&self) -> Option<&Fate> {
        self.fate.get()
    }

    /// How the link does, if that can be told.
    #[must_use]
    pub fn facts(&self) -> Option<TcpFacts> {
        self.socket.as_ref()?.upgrade()?.facts()
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
    fate: Arc<OnceLock<Fate>>,
    /// Dropped with the link.
    _held: Option<Arc<dyn Any + Send + Sync>>,
}

impl Ended {
    /// Never ended from outside.
    pub(crate) fn never() -> Self {
        Self {
            cause: watch::channel(None).1,
            fate: Arc::default(),
            _held: None,
        }
    }

    pub(crate) fn with_ender(
        held: impl Any + Send + Sync,
        socket: Option<Arc<dyn Socket>>,
    ) -> (Self, LinkEnder) {
        let (end, cause) = watch::channel(None);
        let fate = Arc::<OnceLock<Fate>>::default();
        let ender = LinkEnder {
            end,
            fate: fate.clone(),
            socket: socket.as_ref().map(Arc::downgrade),
        };
        let ended = Self {
            cause,
            fate,
            _held: Some(Arc::new((held, socket))),
        };
        (ended, ender)
    }

    /// Notes that the peer closed the link.
    pub(crate) fn closed(&self) {
        let _ = self.fate.set(Fate::Closed);
    }

    /// Notes why the link is of no more use; the first cause counts.
    pub(crate) fn lost(&self, error: &TunnelError) {
        self.fate.get_or_init(|| Fate::Lost {
            reason: error.reason(),
            evidence: error.to_string(),
        });
    }

    /// Waits until the link is ended.
    pub(crate) async fn over(&mut self) -> TunnelError {
        until_ended(&mut self.cause).await
    }

    /// The same, to be asked again and again by one who waits for other things too.
    pub(crate) fn waiting(&self) -> Over {
        Over {
            cause: self.cause.clone(),
            waits: wait(self.cause.clone()),
        }
    }
}

async fn until_ended(cause: &mut watch::Receiver<Option<Refusal>>) -> TunnelError {
    let cause = match cause.wait_for(Option::is_some).await {
        Ok(cause) => cause.clone(),
        // Nobody is left who could.
        Err(_) => None,
    };
    match cause {
        Some(refusal) => TunnelError::Refused(refusal),
        None => std::future::pending().await,
    }
}

type Waits = Pin<Box<dyn Future<Output = TunnelError> + Send>>;

fn wait(mut cause: watch::Receiver<Option<Refusal>>) -> Waits {
    Box::pin(async move { until_ended(&mut cause).await })
}

/// Waits for the end of a link. It is registered once, however often it is asked.
pub(crate) struct Over {
    cause: watch::Receiver<Option<Refusal>>,
    waits: Waits,
}

impl Over {
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<TunnelError> {
        let polled = self.waits.as_mut().poll(cx);
        if polled.is_ready() {
            // Whoever asks again hears the same.
            self.waits = wait(self.cause.clone());
        }
        polled
    }
}
