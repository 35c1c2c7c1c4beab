//! What an agent can do when it is asked, running or not.

use async_trait::async_trait;

use super::{
    answer::Answer,
    report::{Readiness, StatusReport},
    request::Request,
};
use crate::Error;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The user's number.
    pub uid: u32,
    /// Whether the agent is stopped and the command works on the data directory itself.
    pub offline: bool,
    /// The group of an operator, who may do what a row allows. The agent's own user and
    /// the superuser are none: they may do everything.
    pub operator: Option<u32>,
}

impl Actor {
    /// Whoever runs this process, on the data directory itself.
    #[must_use]
    pub fn offline() -> Self {
        Self {
            uid: rustix::process::getuid().as_raw(),
            offline: true,
            operator: None,
        }
    }
}

impl std::fmt::Display for Actor {
    /// As it stands in the audit log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let offline = if self.offline { " offline" } else { "" };
        write!(f, "uid:{}{offline}", self.uid)
    }
}

/// The operations of a site.
#[async_trait]
pub trait Operations: Send + Sync {
    /// Whether the agent can do its work.
    fn readiness(&self) -> Readiness;

    /// The metrics, as a scrape gets them.
    async fn metrics(&self) -> String;

    /// How the site stands.
    ///
    /// # Errors
    /// When journal or catalog cannot be read.
    async fn status(&self) -> Result<StatusReport, Error>;

    /// Carries out any request but [`Request::Status`].
    ///
    /// # Errors
    /// What the operation failed with; what was sent before stands.
    async fn carry_out(
        &self,
        request: Request,
        actor: &Actor,
        answer: &Answer,
    ) -> Result<(), Error>;
}

/// Carries out any request.
pub(super) async fn dispatch(
    operations: &dyn Operations,
    request: Request,
    actor: &Actor,
    answer: &Answer,
) -> Result<(), Error> {
    match request {
        Request::Status if actor.operator.is_none() => {
            answer.row(&operations.status().await?).await
        }
        other => operations.carry_out(other, actor, answer).await,
    }
}
