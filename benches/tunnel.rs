//! How fast one link moves bytes over loopback, both ends in this process.
//!
//! `cargo bench -p sealift-tunnel` prints GB/s for a data link, a control link,
//! and raw TCP, which is what is left when TLS costs nothing. Beside it stands
//! the processor time of both ends together, in ns a byte: on a busy machine the
//! rate falls and this does not.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../crates/tunnel/tests/stage/mod.rs"]
mod stage;

use std::time::Instant;

use sealift_terms::PartIndex;
use sealift_tunnel::{Incoming, Link, LinkKind};
use sealift_wire::{Header, OfferId};
use stage::Pair;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const PART: usize = 8 << 20;
const FRAME: usize = 1 << 20;
const PARTS: usize = 384;
const ROUNDS: usize = 3;

#[tokio::main(flavor = "multi_thread")]
async fn main() {
    // `cargo test --all-targets` starts this as well; only `cargo bench` says so.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let pair = Pair::new();
    for (name, kind) in [
        ("data link", LinkKind::Data),
        ("control link", LinkKind::Control),
    ] {
        let mut rates = Vec::new();
        let busy = processor_secs();
        for _ in 0..ROUNDS {
            let (dialled, answered) = pair.linked(kind).await;
            rates.push(link(dialled, answered).await);
        }
        print(name, rates, busy);
    }
    let mut rates = Vec::new();
    let busy = processor_secs();
    for _ in 0..ROUNDS {
        rates.push(tcp().await);
    }
    print("raw TCP", rates, busy);
}

fn print(name: &str, mut rates: Vec<f64>, busy_before: f64) {
    rates.sort_by(f64::total_cmp);
    let bytes = (rates.len() * PARTS * PART) as f64;
    let ns = (processor_secs() - busy_before) / bytes * 1e9;
    let rate = rates[rates.len() / 2];
    println!("{name:>14}: {rate:.2} GB/s (of {rates:.2?}), {ns:.2} ns of processor time a byte");
}

/// User and system time of this process so far (proc(5), `stat`, fields 14 and 15, in 10 ms).
fn processor_secs() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks = |field: usize| fields[field - 3].parse::<f64>().unwrap();
    (ticks(14) + ticks(15)) / 100.0
}

fn rate(started: Instant) -> f64 {
    (PARTS * PART) as f64 / started.elapsed().as_secs_f64() / 1e9
}

async fn link(dialled: Link, answered: Link) -> f64 {
    let part = vec![0x5a; PART];
    let started = Instant::now();
    let writing = tokio::spawn(async move {
        let (_reader, mut writer) = dialled.split();
        for index in 0..PARTS {
            for (i, piece) in part.chunks(FRAME).enumerate() {
                let offset = (i * FRAME) as u32;
                let header =
                    Header::data(OfferId(1), PartIndex(index as u32), offset, FRAME as u32);
                writer.data(&header, piece).await.unwrap();
            }
        }
        writer.flush().await.unwrap();
        writer
    });
    let (mut reader, _writer) = answered.split();
    let mut left = PARTS * PART;
    while left > 0 {
        match reader.next().await.unwrap() {
            Some(Incoming::Data { bytes, .. }) => left -= bytes.len(),
            _ => panic!("the link ended early"),
        }
    }
    let rate = rate(started);
    drop(writing.await);
    rate
}

async fn tcp() -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut sender = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (mut receiver, _) = listener.accept().await.unwrap();
    let started = Instant::now();
    let writing = tokio::spawn(async move {
        let piece = vec![0x5a; FRAME];
        for _ in 0..PARTS * PART / FRAME {
            sender.write_all(&piece).await.unwrap();
        }
    });
    let mut room = vec![0; FRAME];
    let mut left = PARTS * PART;
    while left > 0 {
        left -= receiver.read(&mut room).await.unwrap();
    }
    let rate = rate(started);
    drop(writing.await);
    rate
}
