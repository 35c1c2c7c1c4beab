//! Finding who can carry out a command: the running agent, or this process.

use sealift_terms::Boxed;
use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use sealift_host::{DataDirLock, LockError};

use super::{
    answer::Answers,
    client::Client,
    operations::{Actor, Operations, dispatch},
    request::Request,
};
use crate::{
    Error,
    config::{Config, Override},
};

/// Makes the operations of a stopped site. It keeps the lock as long as they live.
#[async_trait]
pub trait OpenSite: Send + Sync {
    /// Opens the site that `config` describes.
    ///
    /// # Errors
    /// When something of it cannot be opened.
    async fn open(&self, config: &Config, lock: DataDirLock) -> Result<Arc<dyn Operations>, Error>;
}

/// Who carries out commands.
pub enum Reached {
    /// The running agent.
    Running(Client),
    /// This process, on the data directory itself.
    Stopped(Arc<dyn Operations>),
}

impl std::fmt::Debug for Reached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Running(_) => "Running",
            Self::Stopped(_) => "Stopped",
        })
    }
}

impl Reached {
    /// Finds the running agent of a configuration file by no more of it than its
    /// data directory, or checks all of it and opens the site here.
    ///
    /// # Errors
    /// As [`find`](Self::find), and [`Error::Config`] when no agent answers and the
    /// configuration cannot work.
    pub async fn by_file(
        path: &Path,
        flags: &[Override],
        site: &dyn OpenSite,
    ) -> Result<Self, Error> {
        if let Some(client) = Client::find(path, flags).await {
            return Ok(Self::Running(client));
        }
        let config = Config::load(path, flags.to_vec())?;
        Self::find(&config, site).await
    }

    /// Finds the agent's socket, or takes the lock and opens the site here.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has the data directory and has no
    /// socket (yet): try again later.
    pub fn find<'a>(config: &'a Config, site: &'a dyn OpenSite) -> Boxed<'a, Result<Self, Error>> {
        Box::pin(async move {
            if let Some(client) = Client::connect(&config.socket()).await {
                return Ok(Self::Running(client));
            }
            config.look_at(&["site."])?;
            match DataDirLock::acquire(&config.site.data_dir) {
                Ok(lock) => Ok(Self::Stopped(site.open(config, lock).await?)),
                // An agent may have opened its socket just now.
                Err(held @ LockError::Held { .. }) => match Client::connect(&config.socket()).await
                {
                    Some(client) => Ok(Self::Running(client)),
                    None => Err(Error::Locked(held)),
                },
                Err(error) => Err(Error::Locked(error)),
            }
        })
    }

    /// Whether a running agent was found.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running(_))
    }

    /// Asks; the answer comes piece by piece.
    #[must_use]
    pub fn ask(&self, request: Request) -> Answers {
        match self {
            Self::Running(client) => client.ask(request),
            Self::Stopped(operations) => {
                let operations = Arc::clone(operations);
                let actor = Actor::offline();
                Answers::start(|answer| async move {
                    dispatch(&*operations, request, &actor, &answer).await
                })
            }
        }
    }
}
