//! How high the floor can be raised: its variants by turns on the same work.

use std::{fs, path::Path};

use crate::{data, data::Work, floor, floor::Tuning, median, round};

/// Runs every variant `rounds` times, by turns, and prints what each came to beside
/// [`Tuning::BEST`] of the same round.
pub fn run(work: &Work, folder: &Path, rounds: usize) {
    let source = folder.join("source");
    fs::create_dir_all(&source).unwrap();
    let files = data::make(work, &source).unwrap();
    let variants = variants();
    let mut taken = vec![Vec::new(); variants.len()];
    for _ in 0..rounds {
        for ((_, tuning), taken) in variants.iter().zip(&mut taken) {
            let target = folder.join("floor");
            fs::create_dir_all(&target).unwrap();
            taken.push(floor::run(&files, &target, *tuning).unwrap().as_secs_f64());
            fs::remove_dir_all(&target).unwrap();
        }
    }
    let megabytes = (work.count * work.bytes) as f64 / 1e6;
    let best = taken[0].clone();
    println!("{}: {rounds} rounds, medians", work.name);
    for ((name, _), taken) in variants.iter().zip(&mut taken) {
        let mut ratios: Vec<f64> = best
            .iter()
            .zip(&*taken)
            .map(|(best, taken)| best / taken)
            .collect();
        let ratio = median(&mut ratios);
        println!(
            "{name:>24}  {:>6.0} MB/s  {:>5} of the best ({} to {})",
            megabytes / median(taken),
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
