//! Small objects are read on a few threads of their own. A file system that hangs holds
//! up these and nobody else, and while there is much to read they never sleep, so that
//! a small object costs no wake-up.

use std::{
    collections::VecDeque,
    fmt, io,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use rustix::fs::OFlags;
use sealift_terms::ObjectKey;
use tokio::sync::oneshot;

use super::root::Root;
use crate::StoreError;

/// Threads of one source.
pub(super) const THREADS_MAX: usize = 4;
/// A thread without work for this long ends.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// Files opened below a root that is held: then it is looked at again.
const HELD_USES_MAX: usize = 64;

type Work = Box<dyn FnOnce(&mut HeldRoot) + Send>;

/// The root of the source, open while a thread has one file after the other to read: to
/// open it for each costs as much as the file. Let go of as soon as nothing waits, for it
/// keeps a file system from being unmounted.
#[derive(Debug, Default)]
pub(super) struct HeldRoot(Option<(OwnedFd, usize)>);

impl HeldRoot {
    /// Opens a file below the root, following no link on the way.
    pub(super) fn open_beneath(
        &mut self,
        root: &Root,
        key: &ObjectKey,
        how: OFlags,
    ) -> Result<OwnedFd, StoreError> {
        if let Some((held, uses)) = &mut self.0
            && *uses < HELD_USES_MAX
            && let Ok(file) = root.open_below(held, key, how)
        {
            *uses += 1;
            return Ok(file);
        }
        // What is not there may be beneath a root that is away: that is another thing.
        self.0 = None;
        let opened = root.open()?;
        let file = root.open_below(&opened, key, how);
        self.0 = Some((opened, 1));
        file
    }
}

/// The threads, begun when there is work for them.
#[derive(Debug, Default)]
pub(super) struct Readers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Work>,
    idle: usize,
    threads: usize,
    closed: bool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let State { idle, threads, .. } = &*self.state.lock();
        write!(f, "{threads} threads, {idle} idle")
    }
}

impl Readers {
    /// Runs `work` on one of the threads.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut HeldRoot) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let work = Box::new(move |held: &mut HeldRoot| {
            // Who asked may be gone.
            let _gone = answer.send(work(held));
        });
        self.push(work).map_err(broken)?;
        answered
            .await
            .map_err(|_| broken(io::Error::other("a reading thread ended")))?
    }

    fn push(&self, work: Work) -> io::Result<()> {
        let mut state = self.0.state.lock();
        if state.idle <= state.waiting.len() && state.threads < THREADS_MAX {
            let shared = Arc::clone(&self.0);
            let begun = std::thread::Builder::new()
                .name("source reader".to_owned())
                .spawn(move || shared.serve());
            match begun {
                Ok(_detached) => state.threads += 1,
                // Those that there are do it.
                Err(_) if state.threads > 0 => {}
                Err(error) => return Err(error),
            }
        }
        state.waiting.push_back(work);
        drop(state);
        self.0.work.notify_one();
        Ok(())
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.0.state.lock().closed = true;
        self.0.work.notify_all();
    }
}

impl Shared {
    fn serve(&self) {
        let (mut state, mut held) = (self.state.lock(), HeldRoot::default());
        loop {
            if let Some(work) = state.waiting.pop_front() {
                drop(state);
                work(&mut held);
                state = self.state.lock();
                continue;
            }
            if held.0.is_some() {
                // Closing it is not done under the lock: something may have come meanwhile.
                drop(state);
                held = HeldRoot::default();
                state = self.state.lock();
                continue;
            }
            if state.closed {
                break;
            }
            let deadline = Instant::now() + IDLE_MAX;
            state.idle += 1;
            let late = self.work.wait_until(&mut state, deadline).timed_out();
            state.idle -= 1;
            if late && state.waiting.is_empty() {
                break;
            }
        }
        state.threads -= 1;
    }
}

fn broken(source: io::Error) -> StoreError {
    StoreError::SourceUnavailable {
        path: "reading".to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_goes_on_while_all_threads_but_one_hang_and_ends_with_the_source() {
        let readers = Readers::default();
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let hang = || {
            let held = Arc::clone(&held);
            readers.run(move |_| {
                let _ends_with_the_sender = held.lock().recv();
                Ok(())
            })
        };
        let hanging = futures(THREADS_MAX - 1, hang);
        let working = async {
            for n in 0..1000 {
                assert_eq!(readers.run(move |_| Ok(n)).await.unwrap(), n);
            }
            drop(hold);
        };
        tokio::time::timeout(Duration::from_secs(30), async {
            tokio::join!(hanging, working);
        })
        .await
        .unwrap();
        let shared = Arc::clone(&readers.0);
        drop(readers);
        while Arc::strong_count(&shared) > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(shared.state.lock().threads, 0);
    }

    async fn futures<F: Future<Output = Result<(), StoreError>>>(
        count: usize,
        make: impl Fn() -> F,
    ) {
        let mut all: Vec<_> = (0..count).map(|_| Box::pin(make())).collect();
        std::future::poll_fn(|context| {
            all.retain_mut(|one| one.as_mut().poll(context).is_pending());
            match all.is_empty() {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        })
        .await;
    }

    #[test]
    fn a_root_that_is_held_hides_neither_a_file_that_is_gone_nor_a_root_that_is() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("root");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("file"), b"x").unwrap();
        let root = Root::new(&path, Arc::new(sealift_host::OsClock));
        let mut held = HeldRoot::default();
        let mut open = |key: &str| {
            let key = ObjectKey::new(key).unwrap();
            held.open_beneath(&root, &key, OFlags::RDONLY).map(drop)
        };
        for _ in 0..2 * HELD_USES_MAX {
            open("file").unwrap();
        }
        assert!(matches!(open("none"), Err(StoreError::SourceGone)));
        open("file").unwrap();
        std::fs::rename(&path, temp.path().join("aside")).unwrap();
        let away = open("none");
        assert!(
            matches!(away, Err(StoreError::SourceUnavailable { .. })),
            "{away:?}"
        );
        std::fs::create_dir(&path).unwrap();
        let another = open("file");
        assert!(
            matches!(another, Err(StoreError::SourceUnavailable { .. })),
            "{another:?}"
        );
    }
}
