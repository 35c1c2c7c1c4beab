//! The thread that turns inotify's events into hints.

use std::{mem::MaybeUninit, sync::Arc, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify::{CreateFlags, Reader, init},
    io::Errno,
};
use tokio::sync::mpsc::{Sender, error::TrySendError};

use super::{
    root::{Root, unavailable},
    settling::Settling,
    tree::{Event, Tree, Unwatched},
};
use crate::{Hint, StoreError};

/// The longest the thread sleeps: it looks then whether anyone still listens.
const TICK: Duration = Duration::from_millis(200);
/// How often a root that went away is looked for.
const ROOT_SOUGHT_EVERY: Duration = Duration::from_secs(1);
/// Room for some two thousand events.
const EVENT_BUFFER_BYTES: usize = 64 * 1024;

pub(super) fn start(
    root: Arc<Root>,
    settling: Arc<Settling>,
    watches_max: usize,
    hints: Sender<Hint>,
) -> Result<(), StoreError> {
    let path = root.path().to_owned();
    let (tree, poll_instead) = match init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) {
        Ok(inotify) => (
            Some(Tree::new(
                inotify,
                root.clone(),
                settling.clone(),
                watches_max,
            )),
            None,
        ),
        Err(errno) => (None, Some(std::io::Error::from(errno).to_string())),
    };
    let watcher = Watcher {
        root,
        settling,
        tree,
        hints: Hints {
            hints,
            missed: false,
            poll: None,
        },
        trouble: None,
    };
    std::thread::Builder::new()
        .name("source-watch".to_owned())
        .spawn(move || watcher.run(poll_instead))
        .map(drop)
        .map_err(|error| unavailable(&path, error))
}

/// The sending end: what does not fit becomes one rescan, later.
struct Hints {
    hints: Sender<Hint>,
    missed: bool,
    poll: Option<String>,
}

impl Hints {
    fn send(&mut self, hint: Hint) {
        if self.missed && matches!(hint, Hint::Changed(_) | Hint::Beneath(_)) {
            return;
        }
        if let Err(TrySendError::Full(hint)) = self.hints.try_send(hint) {
            self.missed = true;
            if let Hint::Poll(why) = hint {
                self.poll = Some(why);
            }
        }
    }

    fn catch_up(&mut self) {
        if let Some(why) = self.poll.take() {
            self.send(Hint::Poll(why));
        }
        if self.missed && self.hints.try_send(Hint::Rescan).is_ok() {
            self.missed = false;
        }
    }
}

struct Watcher {
    root: Arc<Root>,
    settling: Arc<Settling>,
    /// None when watching does not work and only settling is left to do.
    tree: Option<Tree>,
    hints: Hints,
    /// Why the root is not watched now, as it was told.
    trouble: Option<String>,
}

impl Watcher {
    fn run(mut self, poll_instead: Option<String>) {
        if let Some(why) = poll_instead {
            self.give_up(why);
        }
        let mut is_armed = false;
        while !self.hints.hints.is_closed() {
            if !is_armed {
                is_armed = self.arm();
            }
            self.wait(is_armed);
            is_armed &= self.read_events();
            for key in self.settling.due(&self.root) {
                self.hints.send(Hint::Changed(key));
            }
            self.hints.catch_up();
        }
    }

    /// Watches the whole tree. What changed before it stood, a scan finds.
    fn arm(&mut self) -> bool {
        let Some(tree) = &mut self.tree else {
            return true;
        };
        let added = tree.add(Vec::new());
        self.hints.send(Hint::Rescan);
        match added {
            Ok(()) => {
                if self.trouble.take().is_some() {
                    tracing::info!(root = %self.root.path().display(), "the source is watched again");
                }
                true
            }
            Err(unwatched) => self.unwatched(unwatched),
        }
    }

    /// Says whether watching goes on.
    fn unwatched(&mut self, unwatched: Unwatched) -> bool {
        match unwatched {
            Unwatched::Limit(why) => {
                self.give_up(format!("watching ends at {why}"));
                true
            }
            Unwatched::Root(error) => {
                let told = error.to_string();
                // Once, and not at every look for it.
                if self.trouble.as_ref() != Some(&told) {
                    tracing::warn!(error = told, "the source cannot be watched");
                    self.trouble = Some(told);
                }
                if let Some(tree) = &mut self.tree {
                    tree.forget(&[]);
                }
                false
            }
        }
    }

    /// Gives up watching; the thread goes on for what has to settle.
    fn give_up(&mut self, why: String) {
        tracing::warn!(root = %self.root.path().display(), %why, "the source is scanned every 10 s instead of watched");
        self.tree = None;
        self.hints.send(Hint::Poll(why));
    }

    fn wait(&self, is_armed: bool) {
        let longest = if is_armed { TICK } else { ROOT_SOUGHT_EVERY };
        let time = self
            .settling
            .next()
            .map_or(longest, |next| next.min(longest));
        let Some(tree) = self.tree.as_ref().filter(|_| is_armed) else {
            return std::thread::sleep(time);
        };
        let timeout = Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        };
        // An error means no more than an early look.
        let _ = poll(
            &mut [PollFd::new(tree.inotify(), PollFlags::IN)],
            Some(&timeout),
        );
    }

    /// Takes the events that wait. False when the root is away.
    fn read_events(&mut self) -> bool {
        let Some(tree) = &mut self.tree else {
            return true;
        };
        let mut events = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); EVENT_BUFFER_BYTES];
        let mut reader = Reader::new(tree.inotify(), &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => events.push(Event {
                    watch: event.wd(),
                    what: event.events(),
                    name: event
                        .file_name()
                        .map(|name| name.to_bytes().to_vec())
                        .unwrap_or_default(),
                }),
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
            if reader.is_buffer_empty() {
                break;
            }
        }
        for event in events {
            let Some(tree) = &mut self.tree else {
                return true;
            };
            match tree.handle(&event) {
                Ok(hint) => hint.into_iter().for_each(|hint| self.hints.send(hint)),
                Err(unwatched) => {
                    self.hints.send(Hint::Rescan);
                    if !self.unwatched(unwatched) {
                        return false;
                    }
                }
            }
        }
        true
    }
}
