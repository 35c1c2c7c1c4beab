//! The service behind a tunnel and its clients.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// Written and read at a time.
const PIECE: usize = 256 << 10;
/// A question and its answer.
const MESSAGE: usize = 64;
/// A tunnel that says nothing for so long has hung.
const PATIENCE: Duration = Duration::from_secs(60);

/// Serves each connection on a thread of its own, for as long as the process lives.
fn serve(with: fn(TcpStream) -> io::Result<()>) -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || with(stream));
        }
    });
    Ok(port)
}

/// Takes as many bytes as it is told, and answers with one.
pub struct Sink;

impl Sink {
    /// Where it listens.
    pub fn open() -> io::Result<u16> {
        serve(|mut stream| {
            let mut length = [0; 8];
            stream.read_exact(&mut length)?;
            let (mut left, mut piece) = (u64::from_be_bytes(length), vec![0; PIECE]);
            while left > 0 {
                match stream.read(&mut piece)? {
                    0 => return Ok(()),
                    read => left = left.saturating_sub(read as u64),
                }
            }
            stream.write_all(&[1])
        })
    }
}

/// Gives back every message.
pub struct Echo;

impl Echo {
    /// Where it listens.
    pub fn open() -> io::Result<u16> {
        serve(|mut stream| {
            stream.set_nodelay(true)?;
            let mut message = [0; MESSAGE];
            loop {
                stream.read_exact(&mut message)?;
                stream.write_all(&message)?;
            }
        })
    }
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The time until a [`Sink`] behind `port` has `bytes` on each of `streams` connections,
/// which stand when the clock starts.
pub fn moved(port: u16, streams: usize, bytes: u64) -> io::Result<Duration> {
    let open: io::Result<Vec<_>> = (0..streams).map(|_| connect(port)).collect();
    let open = open?;
    // Long enough for the far ends to be connected as well.
    thread::sleep(Duration::from_millis(200));
    let started = Instant::now();
    let writers = open.into_iter().map(|mut stream| {
        thread::spawn(move || {
            let piece = vec![7; PIECE];
            stream.write_all(&bytes.to_be_bytes())?;
            let mut left = bytes;
            while left > 0 {
                let now = left.min(PIECE as u64);
                stream.write_all(&piece[..now as usize])?;
                left -= now;
            }
            stream.read_exact(&mut [0])
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.join().expect("no panic")?;
    }
    Ok(started.elapsed())
}

/// The time of each of `count` messages to an [`Echo`] behind `port` and back, in µs.
pub fn round_trips(port: u16, count: usize) -> io::Result<Vec<f64>> {
    let mut stream = connect(port)?;
    let (said, mut heard) = ([7; MESSAGE], [0; MESSAGE]);
    let mut times = Vec::with_capacity(count);
    for turn in 0..count + count / 10 {
        let started = Instant::now();
        stream.write_all(&said)?;
        stream.read_exact(&mut heard)?;
        // The first ones find everything cold.
        if turn >= count / 10 {
            times.push(started.elapsed().as_secs_f64() * 1e6);
        }
    }
    Ok(times)
}
