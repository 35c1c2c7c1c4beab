//! `sealift up`: the agent itself.

use clap::Args;
use sealift_agent::{Error, Exit};

use crate::{cli::Global, output::Outcome};

/// The agent never has fewer workers, whatever the machine has of processors: a
/// disk that is slow for a moment must not hold up connections.
const WORKERS_MIN: usize = 4;

#[derive(Debug, Args)]
pub(crate) struct Up {}

impl Up {
    pub(crate) fn run(&self, global: &Global) -> Outcome {
        // Before any key is read.
        sealift_agent::forbid_dumps().map_err(Error::failed("forbidding core dumps"))?;
        sealift_agent::raise_file_limit().map_err(Error::failed("raising the limit of files"))?;
        let config = global.load()?;
        sealift_agent::start_logging(&config.log);
        sealift_agent::lock_memory().map_err(Error::failed("locking memory"))?;
        // Before there are threads: each is held to what its maker was.
        let confined = sealift_agent::confine(&config)?;
        let workers = std::thread::available_parallelism().map_or(WORKERS_MIN, usize::from);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers.max(WORKERS_MIN))
            .enable_all()
            .build()
            .map_err(Error::failed("starting"))?;
        runtime.block_on(sealift_agent::up(config, global.set.clone(), confined))?;
        Ok(Exit::Done)
    }
}
