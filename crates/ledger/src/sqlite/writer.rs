//! The one thread that writes a database.

use std::{
    collections::VecDeque,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::{LedgerError, Result};

/// Requests in one transaction.
const JOBS_PER_COMMIT_MAX: usize = 256;
/// How long notes that nobody waits for may wait for company.
const NOTES_WAIT: Duration = Duration::from_millis(20);
/// How long notes wait after a commit failed before they are tried alone.
const NOTES_RETRY: Duration = Duration::from_secs(1);

/// What the writer keeps in memory beside the database. A clone of it is taken
/// before every request, and put back when the request or the commit fails.
pub(super) trait State: Clone + Send + 'static {
    /// What can be written without anybody waiting.
    type Note: Send + Clone;

    /// Writes notes, within a transaction.
    fn write_notes(&mut self, db: &Connection, notes: &[Self::Note]) -> Result<()>;

    /// Writes what requests have left in memory, before the commit.
    fn before_commit(&mut self, db: &Connection) -> Result<()>;

    /// Publishes what is now durable.
    fn after_commit(&mut self);
}

/// What goes into one transaction.
type Batch<S> = (Vec<Box<dyn Job<S>>>, Vec<<S as State>::Note>);

trait Job<S>: Send {
    /// Whether it did what it should; if not, its changes are undone.
    fn run(&mut self, db: &Connection, state: &mut S) -> bool;
    fn reply(self: Box<Self>, commit_failed: Option<LedgerError>);
}

struct Call<T, F> {
    work: Option<F>,
    result: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<S, T, F> Job<S> for Call<T, F>
where
    T: Send,
    F: FnOnce(&Connection, &mut S) -> Result<T> + Send,
{
    fn run(&mut self, db: &Connection, state: &mut S) -> bool {
        self.result = self.work.take().map(|work| work(db, state));
        matches!(self.result, Some(Ok(_)))
    }

    fn reply(self: Box<Self>, commit_failed: Option<LedgerError>) {
        let result = match (self.result, commit_failed) {
            // A request's own error tells more than that of the commit it was not in.
            (Some(Err(own)), _) => Err(own),
            (_, Some(failed)) => Err(failed),
            (Some(done), None) => done,
            (None, None) => Err(LedgerError::Closed),
        };
        // Whoever no longer waits does not want to know.
        let _ = self.reply.send(result);
    }
}

struct Queue<S: State> {
    jobs: VecDeque<Box<dyn Job<S>>>,
    notes: Vec<S::Note>,
    /// Since when the first of them waits, or failed to be written.
    notes_since: Option<Instant>,
    /// What the last commit failed with; cleared by the next good one.
    failed: Option<String>,
    closed: bool,
}

struct Shared<S: State> {
    queue: Mutex<Queue<S>>,
    wake: Condvar,
}

/// A handle to the writer thread. Dropping the last writes what waits and ends it.
pub(super) struct Writer<S: State> {
    shared: Arc<Shared<S>>,
    thread: Option<JoinHandle<()>>,
}

impl<S: State> Writer<S> {
    pub(super) fn start(name: &str, db: Connection, state: S) -> Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                jobs: VecDeque::new(),
                notes: Vec::new(),
                notes_since: None,
                failed: None,
                closed: false,
            }),
            wake: Condvar::new(),
        });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(format!("{name} writer"))
            .spawn(move || run(&of_thread, &db, state))
            .map_err(|_| LedgerError::Closed)?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Runs `work` in the next transaction; returns after its commit.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, &mut S) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, result) = oneshot::channel();
        self.shared.queue.lock().jobs.push_back(Box::new(Call {
            work: Some(work),
            result: None,
            reply,
        }));
        self.shared.wake.notify_one();
        result.await.map_err(|_| LedgerError::Closed)?
    }

    /// Whether [`note`](Self::note) would take one; if not, with the cause.
    pub(super) fn takes_notes(&self, notes_max: usize) -> std::result::Result<(), String> {
        self.shared.queue.lock().takes_notes(notes_max)
    }

    /// Leaves a note for the next transaction; refuses with the cause when the last
    /// one failed, or when `notes_max` wait already.
    pub(super) fn note(&self, note: S::Note, notes_max: usize) -> std::result::Result<(), String> {
        let mut queue = self.shared.queue.lock();
        queue.takes_notes(notes_max)?;
        queue.notes.push(note);
        queue.notes_since.get_or_insert_with(Instant::now);
        drop(queue);
        self.shared.wake.notify_one();
        Ok(())
    }
}

impl<S: State> Queue<S> {
    fn takes_notes(&self, notes_max: usize) -> std::result::Result<(), String> {
        match &self.failed {
            Some(cause) => Err(cause.clone()),
            None if self.notes.len() >= notes_max => {
                Err(format!("{notes_max} records wait to be written"))
            }
            None => Ok(()),
        }
    }
}

impl<S: State> Drop for Writer<S> {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has dropped its requests: they were told.
            let _ = thread.join();
        }
    }
}

fn run<S: State>(shared: &Shared<S>, db: &Connection, mut state: S) {
    while let Some((mut jobs, notes)) = next_batch(shared) {
        let before = state.clone();
        let outcome = transact(db, &mut state, &mut jobs, &notes);
        let mut queue = shared.queue.lock();
        let failed = match outcome {
            Ok(()) => {
                state.after_commit();
                queue.failed = None;
                None
            }
            Err(error) => {
                // May fail because SQLite has rolled back already.
                let _ = db.execute_batch("ROLLBACK");
                state = before;
                let later = std::mem::replace(&mut queue.notes, notes);
                queue.notes.extend(later);
                queue.notes_since = Some(Instant::now());
                queue.failed = Some(chain(&error));
                Some(error)
            }
        };
        drop(queue);
        for job in jobs {
            job.reply(failed.as_ref().map(again));
        }
    }
}

/// Waits for work; `None` when there is none and will be none.
fn next_batch<S: State>(shared: &Shared<S>) -> Option<Batch<S>> {
    let mut queue = shared.queue.lock();
    loop {
        if !queue.jobs.is_empty() || (queue.closed && queue.failed.is_none()) {
            break;
        }
        if queue.closed {
            // Notes that could not be written before will not be now.
            return None;
        }
        if queue.notes.is_empty() {
            shared.wake.wait(&mut queue);
            continue;
        }
        let patience = if queue.failed.is_some() {
            NOTES_RETRY
        } else {
            NOTES_WAIT
        };
        // Counted from the first: a steady stream of notes is written all the same.
        let deadline = queue.notes_since.unwrap_or_else(Instant::now) + patience;
        if shared.wake.wait_until(&mut queue, deadline).timed_out() {
            break;
        }
    }
    if queue.jobs.is_empty() && queue.notes.is_empty() && queue.closed {
        return None;
    }
    let count = queue.jobs.len().min(JOBS_PER_COMMIT_MAX);
    let jobs = queue.jobs.drain(..count).collect();
    queue.notes_since = None;
    Some((jobs, std::mem::take(&mut queue.notes)))
}

fn transact<S: State>(
    db: &Connection,
    state: &mut S,
    jobs: &mut [Box<dyn Job<S>>],
    notes: &[S::Note],
) -> Result<()> {
    execute(db, "BEGIN IMMEDIATE")?;
    for job in jobs {
        let before = state.clone();
        execute(db, "SAVEPOINT job")?;
        if !job.run(db, state) {
            *state = before;
            // Fails when SQLite has given up the whole transaction (disk full): then
            // everyone of this batch is told.
            execute(db, "ROLLBACK TO job")?;
        }
        execute(db, "RELEASE job")?;
    }
    state.write_notes(db, notes)?;
    state.before_commit(db)?;
    execute(db, "COMMIT")
}

fn execute(db: &Connection, sql: &'static str) -> Result<()> {
    db.prepare_cached(sql)
        .and_then(|mut statement| statement.execute([]))
        .map(drop)
        .map_err(LedgerError::at(sql))
}

fn chain(error: &LedgerError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// The same failure, for one more of those who wait.
fn again(error: &LedgerError) -> LedgerError {
    match error {
        LedgerError::Database { doing, source } => LedgerError::Database {
            doing,
            source: Arc::clone(source),
        },
        LedgerError::BadRow { table, finding } => LedgerError::BadRow {
            table,
            finding: finding.clone(),
        },
        LedgerError::TooLarge { what, number } => LedgerError::TooLarge {
            what,
            number: *number,
        },
        _ => LedgerError::Closed,
    }
}
