//! Threads of their own for streams: what waits for a disk elsewhere in the agent holds up
//! none of them, and a message passes through as few wake-ups as there are sockets.

use std::{fmt, io, num::NonZero, thread::available_parallelism};

use tokio::{
    runtime::{Builder, Runtime},
    task::{JoinHandle, JoinSet},
};

/// As many threads as the machine has processors. They end with this.
pub struct Threads(Option<Runtime>);

impl Threads {
    /// # Errors
    /// What the system says.
    pub fn start() -> io::Result<Self> {
        let processors = available_parallelism().map_or(1, NonZero::get);
        let runtime = Builder::new_multi_thread()
            .worker_threads(processors)
            .thread_name("streams")
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        match &self.0 {
            Some(runtime) => runtime.spawn(task),
            None => tokio::spawn(task),
        }
    }

    pub(crate) async fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        let Some(runtime) = &self.0 else {
            return task.await;
        };
        // Dropped with this call, and the task with it.
        let mut running = JoinSet::new();
        running.spawn_on(task, runtime.handle());
        running.join_next().await;
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // It may be dropped by a task, which is not to wait for others.
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Threads")
    }
}
