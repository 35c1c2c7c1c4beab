//! Threads of their own for streams: what waits for a disk elsewhere in the agent holds up
//! none of them, and a message passes through as few wake-ups as there are sockets.

use std::{
    fmt, io,
    num::NonZero,
    sync::Arc,
    thread::{self, available_parallelism},
};

use tokio::{
    runtime::{Builder, Handle},
    sync::Notify,
    task::{JoinHandle, JoinSet},
};

/// As many threads as the machine has processors, each with what it drives to itself. They
/// end with this.
pub struct Threads(Vec<Thread>);

/// One of them.
struct Thread {
    handle: Handle,
    stop: Arc<Notify>,
    /// Held by each task that it drives.
    streams: Arc<()>,
}

impl Threads {
    /// # Errors
    /// What the system says.
    pub fn start() -> io::Result<Self> {
        let processors = available_parallelism().map_or(1, NonZero::get);
        let threads: io::Result<_> = (0..processors).map(|_| Thread::start()).collect();
        Ok(Self(threads?))
    }

    /// The one that has the least to do.
    fn idlest(&self) -> Option<&Thread> {
        let all = self.0.iter();
        all.min_by_key(|thread| Arc::strong_count(&thread.streams))
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        match self.idlest() {
            Some(thread) => thread.handle.spawn(thread.counted(task)),
            None => tokio::spawn(task),
        }
    }

    pub(crate) async fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        let Some(thread) = self.idlest() else {
            return task.await;
        };
        // Dropped with this call, and the task with it.
        let mut running = JoinSet::new();
        running.spawn_on(thread.counted(task), &thread.handle);
        running.join_next().await;
    }
}

impl Thread {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (handle, stop) = (runtime.handle().clone(), Arc::new(Notify::new()));
        let stopped = stop.clone();
        let run = move || runtime.block_on(stopped.notified());
        thread::Builder::new()
            .name("streams".to_owned())
            .spawn(run)?;
        Ok(Self {
            handle,
            stop,
            streams: Arc::new(()),
        })
    }

    fn counted(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let counted = self.streams.clone();
        async move {
            task.await;
            drop(counted);
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Threads")
    }
}
