//! How high the floor can be raised: its variants by turns on the same work.

use std::{fs, path::Path};

use crate::{
    data,
    data::Work,
    floor,
    floor::Tuning,
    hosts::{self, Of},
    median, round,
};

/// Runs every variant `rounds` times, by turns, and prints what each came to beside
/// [`Tuning::BEST`] of the same round.
pub fn run(work: &Work, folder: &Path, rounds: usize) {
    let source = folder.join("source");
    fs::create_dir_all(&source).unwrap();
    let files = data::make(work, &source).unwrap();
    let variants = variants();
    let mut taken = vec![Vec::new(); variants.len()];
    let mut busy = vec![0.0; variants.len()];
    for _ in 0..rounds {
        for (at, (_, tuning)) in variants.iter().enumerate() {
            let target = folder.join("floor");
            fs::create_dir_all(&target).unwrap();
            let before = hosts::busy("self", Of::Itself);
            taken[at].push(floor::run(&files, &target, *tuning).unwrap().as_secs_f64());
            busy[at] += (hosts::busy("self", Of::Itself) - before).as_secs_f64();
            fs::remove_dir_all(&target).unwrap();
        }
    }
    let megabytes = (work.count * work.bytes) as f64 / 1e6;
    let best = taken[0].clone();
    println!("{}: {rounds} rounds, medians", work.name);
    for (((name, _), taken), busy) in variants.iter().zip(&mut taken).zip(busy) {
        let mut ratios: Vec<f64> = best
            .iter()
            .zip(&*taken)
            .map(|(best, taken)| best / taken)
            .collect();
        let ratio = median(&mut ratios);
        println!(
            "{name:>24}  {:>6.0} MB/s  {:.3} ns a byte of processor time  {:>5} of as it is ({} to {})",
            megabytes / median(taken),
            busy * 1e3 / megabytes / rounds as f64,
            round(ratio),
            round(ratios[0]),
            round(ratios[ratios.len() - 1]),
        );
    }
    fs::remove_dir_all(folder).unwrap();
}

fn variants() -> Vec<(String, Tuning)> {
    let best = Tuning::BEST;
    let mut variants = vec![("as it is".to_owned(), best)];
    for connections in [1, 2, 3, 4] {
        variants.push((
            format!("{connections} connections"),
            Tuning {
                connections,
                ..best
            },
        ));
    }
    for kib in [64, 128, 256, 512, 1024] {
        let bytes = kib << 10;
        variants.push((
            format!("sends {kib} KiB"),
            Tuning {
                send_bytes: bytes,
                ..best
            },
        ));
        variants.push((
            format!("receives {kib} KiB"),
            Tuning {
                receive_bytes: bytes,
                ..best
            },
        ));
        variants.push((
            format!("writes {kib} KiB"),
            Tuning {
                write_bytes: bytes,
                ..best
            },
        ));
    }
    for congestion in ["cubic", "reno", "bbr"] {
        variants.push((
            congestion.to_owned(),
            Tuning {
                congestion: Some(congestion),
                ..best
            },
        ));
    }
    for kib in [256, 1024, 4096] {
        variants.push((
            format!("sockets of {kib} KiB"),
            Tuning {
                socket_bytes: Some(kib << 10),
                ..best
            },
        ));
    }
    variants.push((
        "pinned".to_owned(),
        Tuning {
            pinned: true,
            ..best
        },
    ));
    variants
}
