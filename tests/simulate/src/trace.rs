//! What happened, as one hash: two runs of a seed must have the same.

use std::{fmt, io::Write, sync::Arc};

use parking_lot::Mutex;
use ring::digest::{Context, SHA256};
use tokio::time::Instant;

/// Takes what happens, in order.
#[derive(Clone)]
pub(crate) struct Trace(Arc<Inner>);

struct Inner {
    start: Instant,
    state: Mutex<State>,
}

struct State {
    hash: Context,
    events: u64,
    /// Where it is written out as well, for people.
    out: Option<Box<dyn Write + Send>>,
}

impl Trace {
    pub(crate) fn new(out: Option<Box<dyn Write + Send>>) -> Self {
        let hash = Context::new(&SHA256);
        let (start, events) = (Instant::now(), 0);
        let state = Mutex::new(State { hash, events, out });
        Self(Arc::new(Inner { start, state }))
    }

    /// Notes an event.
    pub(crate) fn note(&self, what: fmt::Arguments<'_>) {
        self.note_bytes(what, &[]);
    }

    /// Notes an event and the bytes that belong to it.
    pub(crate) fn note_bytes(&self, what: fmt::Arguments<'_>, bytes: &[u8]) {
        let micros = self.0.start.elapsed().as_micros();
        let line = format!("{micros:>12} {what}\n");
        let mut state = self.0.state.lock();
        state.events += 1;
        state.hash.update(line.as_bytes());
        state.hash.update(bytes);
        if let Some(out) = &mut state.out {
            // Nobody may be reading; the run goes on.
            let _ = out.write_all(line.as_bytes());
        }
    }

    /// The hash of all so far, and how many events they were.
    pub(crate) fn hash(&self) -> (String, u64) {
        let state = self.0.state.lock();
        let hash = state.hash.clone().finish();
        let hex = hash.as_ref().iter().take(16);
        (
            hex.map(|byte| format!("{byte:02x}")).collect(),
            state.events,
        )
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trace")
    }
}
