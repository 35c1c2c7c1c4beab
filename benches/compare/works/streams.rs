//! Connections of others, carried over mutual TLS 1.3 on loopback.

use std::{fs, io};

use super::Setting;
use crate::{
    report::{Figure, Line, Table, Wanted},
    streams::{
        Carrier, Echo, Haproxy, Nothing, Opening, Sealift, Sink, Stunnel, Tunnel, moved,
        round_trips,
    },
};

/// Ours first.
const CARRIERS: [&dyn Carrier; 4] = [&Sealift, &Stunnel, &Haproxy, &Nothing];
/// How many times what the others move is wanted of ours.
const WANTED: f64 = 1.5;

pub fn streams(setting: &Setting<'_>) -> io::Result<Vec<Table>> {
    let mut tables = Vec::new();
    for count in [1, 4] {
        tables.push(throughput(setting, count)?);
    }
    tables.extend(latency(setting)?);
    Ok(tables)
}

/// Values of each carrier, round by round, another one first in each.
fn by_turns<T>(
    setting: &Setting<'_>,
    service: u16,
    mut run: impl FnMut(&Tunnel) -> io::Result<T>,
) -> io::Result<Vec<Vec<T>>> {
    let mut values: Vec<Vec<T>> = CARRIERS.iter().map(|_| Vec::new()).collect();
    for round in 0..setting.pairs {
        for turn in 0..CARRIERS.len() {
            let at = (round + turn) % CARRIERS.len();
            let place = setting.memory.join("run");
            fs::create_dir_all(&place)?;
            let tunnel = CARRIERS[at].open(&Opening {
                tools: setting.tools,
                place: &place,
                service,
            })?;
            eprint!("\r\x1b[Kstreams {}: {}", round + 1, CARRIERS[at].name());
            values[at].push(run(&tunnel)?);
            drop(tunnel);
            fs::remove_dir_all(&place)?;
        }
    }
    eprint!("\r\x1b[K");
    Ok(values)
}

fn wanted(carrier: &dyn Carrier, least: f64) -> Option<Wanted> {
    let is_other = ["stunnel", "haproxy"].contains(&carrier.name());
    is_other.then_some(Wanted::AtLeast(least))
}

fn lines(values: &[Vec<f64>], least: f64, ratio: impl Fn(f64, f64) -> f64) -> Vec<Line> {
    let line = |(at, own): (usize, &Vec<f64>)| {
        let pairs = values[0].iter().zip(own);
        let ratios: Vec<f64> = pairs.map(|(ours, own)| ratio(*ours, *own)).collect();
        let mut line = Line::plain(CARRIERS[at].name(), Figure::of(own)?, None);
        if at > 0 {
            line.ratio = Figure::of(&ratios);
            line.wanted = wanted(CARRIERS[at], least);
        }
        Some(line)
    };
    values.iter().enumerate().filter_map(line).collect()
}

fn throughput(setting: &Setting<'_>, count: usize) -> io::Result<Table> {
    let bytes: u64 = setting.scale.pick(2 << 30, 256 << 20) / count as u64;
    let service = Sink::open()?;
    let total = bytes * count as u64;
    let runs = by_turns(setting, service, |tunnel| {
        let busy = tunnel.busy();
        let taken = moved(tunnel.port, count, bytes)?;
        let busy = (tunnel.busy() - busy).as_secs_f64();
        Ok([
            total as f64 / 1e6 / taken.as_secs_f64(),
            busy * 1e9 / total as f64,
        ])
    })?;
    let of = |which: usize| -> Vec<Vec<f64>> {
        let of_one = |runs: &Vec<[f64; 2]>| runs.iter().map(|both| both[which]).collect();
        runs.iter().map(of_one).collect()
    };
    let costs = of(1);
    let cost = |(carrier, own): (&&dyn Carrier, &Vec<f64>)| {
        let median = Figure::of(own)?.median;
        Some(format!("{} {median:.2}", carrier.name()))
    };
    let costs: Vec<_> = CARRIERS
        .iter()
        .zip(&costs)
        .take(3)
        .filter_map(cost)
        .collect();
    Ok(Table {
        work: "streams",
        title: format!(
            "{} MiB through {count} forwarded connection(s)",
            total >> 20
        ),
        unit: "MB/s",
        lines: lines(&of(0), WANTED, |ours, own| ours / own),
        notes: vec![format!(
            "processor time of both ends, ns a byte: {}",
            costs.join(", ")
        )],
    })
}

fn latency(setting: &Setting<'_>) -> io::Result<Vec<Table>> {
    let count = setting.scale.pick(20_000, 2000);
    let service = Echo::open()?;
    let times = by_turns(setting, service, |tunnel| {
        let mut times = round_trips(tunnel.port, count)?;
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        Ok([at(0.5), at(0.99)])
    })?;
    let table = |which: usize, title: &str| {
        let of_one = |rounds: &Vec<[f64; 2]>| rounds.iter().map(|both| both[which]).collect();
        let values: Vec<Vec<f64>> = times.iter().map(of_one).collect();
        Table {
            work: "streams-latency",
            title: format!("64 bytes there and back, forwarded: {title}"),
            unit: "µs",
            lines: lines(&values, 1.0, |ours, own| own / ours),
            notes: vec![format!("{count} messages a round, one after the other")],
        }
    };
    Ok(vec![table(0, "the median"), table(1, "99th percentile")])
}
