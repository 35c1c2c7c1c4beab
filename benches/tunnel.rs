//! How fast one link moves bytes over loopback, both ends in this process.
//!
//! `cargo bench -p sealift-tunnel` prints GB/s for a data link, a control link,
//! and raw TCP, which is what is left when TLS costs nothing.

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
    let pair = Pair::new();
    for (name, kind) in [
        ("data link", LinkKind::Data),
        ("control link", LinkKind::Control),
    ] {
        let mut rates = Vec::new();
        for _ in 0..ROUNDS {
            let (dialled, answered) = pair.linked(kind).await;
            rates.push(link(dialled, answered).await);
        }
        print(name, rates);
    }
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        rates.push(tcp().await);
    }
    print("raw TCP", rates);
}

fn print(name: &str, mut rates: Vec<f64>) {
    rates.sort_by(f64::total_cmp);
    println!(
        "{name:>14}: {:.2} GB/s (of {rates:.2?})",
        rates[rates.len() / 2]
    );
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
