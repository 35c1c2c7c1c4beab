//! The floor: the same bytes through a hand-written blocking loop and nothing else.
//!
//! Two connections. Each sending thread reads a file in pieces, checksums them
//! (CRC-64/NVME, as the agents do) and encrypts them straight into its outgoing
//! buffer (TLS 1.3 through rustls's unbuffered API); each receiving thread decrypts
//! in place in a buffer that it walks by an offset, checksums, seals every 16 KiB
//! with AES-256-GCM, writes in pieces at their offsets, and compares the checksums at
//! the end of a part. There is no journal, no catalog, no acknowledgement and no
//! durability: what a replicator that does all of that takes longer, is its price.
//!
//! What raised it, measured on two cores by turns, is in `docs/performance.md`.

mod receive;
mod seal;
mod send;
mod tls;

use std::{
    fs::File,
    io,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicUsize},
    thread,
    time::{Duration, Instant},
};

pub use seal::open;

const PART_BYTES: u64 = 8 << 20;
const CHUNK_BYTES: usize = 16 << 10;
const TAG_BYTES: usize = 16;
const HEADER_BYTES: usize = 24;
const CHECKSUM_BYTES: usize = 8;

/// What can be turned; [`Tuning::BEST`] is what measured best.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    pub connections: usize,
    /// Read, encrypted and given to the socket at once.
    pub send_bytes: usize,
    /// Room for what is read from the socket at once.
    pub receive_bytes: usize,
    /// Sealed bytes written at once.
    pub write_bytes: usize,
    /// The kernel's default without it.
    pub congestion: Option<&'static str>,
    /// SO_SNDBUF and SO_RCVBUF; the kernel's own tuning without it.
    pub socket_bytes: Option<usize>,
    pub pinned: bool,
}

impl Tuning {
    pub const BEST: Self = Self {
        connections: 2,
        send_bytes: 256 << 10,
        receive_bytes: 256 << 10,
        write_bytes: 256 << 10,
        congestion: None,
        socket_bytes: None,
        pinned: false,
    };
}

/// A part of one file.
#[derive(Clone, Copy)]
struct Part {
    file: usize,
    offset: u64,
    bytes: u64,
}

/// Moves `files` into `target`, sealed, and says how long it took.
pub fn run(files: &[PathBuf], target: &Path, tuning: Tuning) -> io::Result<Duration> {
    let (client, server) = tls::configurations();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let parts = cut(files)?;
    let next = AtomicUsize::new(0);
    let outputs: Vec<File> = (0..files.len())
        .map(|index| File::create(target.join(format!("{index:07}"))))
        .collect::<io::Result<_>>()?;

    let started = Instant::now();
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for connection in 0..tuning.connections {
            let stream = TcpStream::connect(address)?;
            let (accepted, _) = listener.accept()?;
            tune(&stream, tuning)?;
            tune(&accepted, tuning)?;
            let (client, server) = (Arc::clone(&client), Arc::clone(&server));
            let (next, parts, outputs) = (&next, &parts, &outputs);
            threads.push(scope.spawn(move || {
                pin(tuning, connection)?;
                send::send(stream, client, files, parts, next, tuning.send_bytes)
            }));
            threads.push(scope.spawn(move || {
                pin(tuning, connection + 1)?;
                receive::receive(accepted, server, outputs, tuning)
            }));
        }
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| broken("a thread"))?)
    })?;
    Ok(started.elapsed())
}

fn cut(files: &[PathBuf]) -> io::Result<Vec<Part>> {
    let mut parts = Vec::new();
    for (file, path) in files.iter().enumerate() {
        let size = path.metadata()?.len();
        let mut offset = 0;
        while offset < size {
            let bytes = PART_BYTES.min(size - offset);
            parts.push(Part {
                file,
                offset,
                bytes,
            });
            offset += bytes;
        }
    }
    Ok(parts)
}

fn tune(stream: &TcpStream, tuning: Tuning) -> io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    if let Some(congestion) = tuning.congestion {
        sockopt::set_tcp_congestion(stream, congestion)?;
    }
    if let Some(bytes) = tuning.socket_bytes {
        sockopt::set_socket_send_buffer_size(stream, bytes)?;
        sockopt::set_socket_recv_buffer_size(stream, bytes)?;
    }
    Ok(())
}

fn pin(tuning: Tuning, at: usize) -> io::Result<()> {
    if tuning.pinned {
        let cores = thread::available_parallelism()?.get();
        let mut set = rustix::thread::CpuSet::new();
        set.set(at % cores);
        rustix::thread::sched_setaffinity(None, &set)?;
    }
    Ok(())
}

/// Where sealed bytes stand in the output: every chunk before them has a tag.
fn sealed_offset(offset: u64) -> u64 {
    offset + offset / CHUNK_BYTES as u64 * TAG_BYTES as u64
}

fn broken(what: &str) -> io::Error {
    io::Error::other(format!("the floor's {what} failed"))
}
