//! Something between two agents: it may be slow, and it may swallow what is sent.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// Read and passed on at once.
const PIECE_BYTES: usize = 4096;

/// A way to `to` over an address of its own.
pub(crate) struct Proxy {
    pub(crate) address: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Bytes a second and direction of each connection; 0 for as many as will go.
    rate: AtomicU64,
    /// Bytes passed on, from those who dial.
    passed: AtomicU64,
    /// A connection is cut when it passed so many of them; 0 for never.
    cut_after: AtomicU64,
    /// How often that was done.
    cuts: AtomicU64,
    /// One for each connection: whether it swallows what comes.
    swallows: Mutex<Vec<Arc<AtomicBool>>>,
    /// Both ends of each connection.
    standing: Mutex<Vec<[TcpStream; 2]>>,
    /// Whether nobody gets through.
    is_shut: AtomicBool,
    over: AtomicBool,
}

impl Proxy {
    pub(crate) fn to(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::<Shared>::default();
        let (of_thread, to) = (shared.clone(), to.to_owned());
        thread::spawn(move || {
            for from in listener.incoming() {
                if of_thread.over.load(Ordering::Relaxed) {
                    return;
                }
                if of_thread.is_shut.load(Ordering::Relaxed) {
                    continue;
                }
                if let (Ok(from), Ok(to)) = (from, TcpStream::connect(&to)) {
                    of_thread.clone().connect(&from, &to);
                    if of_thread.is_shut.load(Ordering::Relaxed) {
                        of_thread.cut();
                    }
                }
            }
        });
        Self { address, shared }
    }

    /// Lets only so many bytes a second pass.
    pub(crate) fn slow_down(&self, bytes_per_sec: u64) {
        self.shared.rate.store(bytes_per_sec, Ordering::Relaxed);
    }

    /// Cuts each connection, as soon as so many bytes passed over it from who dialled.
    pub(crate) fn cut_each_after(&self, bytes: u64) {
        self.shared.cut_after.store(bytes, Ordering::Relaxed);
    }

    /// How many connections were cut for that.
    pub(crate) fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::Relaxed)
    }

    /// Bytes that it has passed on, from those who dial.
    pub(crate) fn passed(&self) -> u64 {
        self.shared.passed.load(Ordering::Relaxed)
    }

    /// Cuts the connections that stand; how many were made since the last time.
    pub(crate) fn cut(&self) -> usize {
        self.shared.cut()
    }

    /// Cuts the connections that stand and lets nobody through, or lets all through again.
    pub(crate) fn shut(&self, is_shut: bool) {
        self.shared.is_shut.store(is_shut, Ordering::Relaxed);
        if is_shut {
            self.cut();
        }
    }

    /// From now on the connections that stand pass nothing on, and stay open.
    pub(crate) fn swallow(&self) -> usize {
        let swallows = self.shared.swallows.lock().unwrap();
        let open = |swallows: &&Arc<AtomicBool>| Arc::strong_count(swallows) > 1;
        let standing: Vec<_> = swallows.iter().filter(open).collect();
        standing
            .iter()
            .for_each(|swallows| swallows.store(true, Ordering::Relaxed));
        standing.len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(&self.address);
    }
}

impl Shared {
    fn cut(&self) -> usize {
        let standing = std::mem::take(&mut *self.standing.lock().unwrap());
        for end in standing.iter().flatten() {
            let _ = end.shutdown(std::net::Shutdown::Both);
        }
        standing.len()
    }

    fn connect(self: Arc<Self>, one: &TcpStream, other: &TcpStream) {
        let swallows = Arc::new(AtomicBool::new(false));
        self.swallows.lock().unwrap().push(swallows.clone());
        let ends = [one, other].map(|end| end.try_clone().unwrap());
        self.standing.lock().unwrap().push(ends);
        for (from, to, dials) in [(one, other, true), (other, one, false)] {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let (shared, swallows) = (self.clone(), swallows.clone());
            thread::spawn(move || shared.pass(from, to, dials, &swallows));
        }
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream, dials: bool, swallows: &AtomicBool) {
        let (mut piece, mut passed) = ([0; PIECE_BYTES], 0);
        while let Ok(length @ 1..) = from.read(&mut piece) {
            // What is swallowed is neither passed on nor read: as a line that is cut.
            while swallows.load(Ordering::Relaxed) {
                if self.over.load(Ordering::Relaxed) {
                    return;
                }
                thread::sleep(Duration::from_millis(50));
            }
            if to.write_all(&piece[..length]).is_err() {
                break;
            }
            if dials {
                passed += length as u64;
                self.passed.fetch_add(length as u64, Ordering::Relaxed);
                let cut_after = self.cut_after.load(Ordering::Relaxed);
                if cut_after > 0 && passed >= cut_after {
                    self.cuts.fetch_add(1, Ordering::Relaxed);
                    break;
                }
            }
            let rate = self.rate.load(Ordering::Relaxed);
            if rate > 0 {
                thread::sleep(Duration::from_secs_f64(length as f64 / rate as f64));
            }
        }
        let _ = from.shutdown(std::net::Shutdown::Both);
        let _ = to.shutdown(std::net::Shutdown::Both);
    }
}
