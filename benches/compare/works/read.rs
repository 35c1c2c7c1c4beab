//! Getting sealed objects back.

use std::{
    fs::{self, File},
    io,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::Setting;
use crate::{
    data::Work,
    hosts::{self, Hosts, Of, Server},
    race::Ready,
    report::{
        Figure, Line, Table,
        Wanted::{AtLeast, Below},
    },
    sites::{self, PROGRAM, Sites, ask},
};

const RANGE_BYTES: u64 = 4 << 10;
const RANGES: u64 = 500;

pub fn read(setting: &Setting<'_>) -> io::Result<Vec<Table>> {
    Ok(vec![whole(setting)?, ranges(setting)?])
}

/// A whole object to /dev/null: by the clock, and by the processor time it took.
fn whole(setting: &Setting<'_>) -> io::Result<Table> {
    let place = setting.memory.join("whole");
    let bytes = setting.scale.pick(2_usize << 30, 256 << 20);
    let work = Work {
        name: "",
        count: 1,
        bytes,
    };
    let ready = Ready::make(&work, &place)?;
    let sites =
        setting
            .tools
            .authority
            .sites(&place.join("sites"), &ready.source, &Hosts::loopback());
    sites.replicate(&ready.folder, 1);
    let agent = sites.start_one("b");
    let (mut rates, mut per_core) = (Vec::new(), Vec::new());
    for _ in 0..setting.pairs {
        let (taken, busy) = get(&sites, &agent, &key(&ready)?)?;
        rates.push(bytes as f64 / 1e9 / taken.as_secs_f64());
        per_core.push(bytes as f64 / 1e9 / busy.as_secs_f64());
    }
    agent.stop();
    let line =
        |name: &str, values: &[f64], wanted| Some(Line::plain(name, Figure::of(values)?, wanted));
    let lines = [
        line("get, by the clock", &rates, None),
        line("get, a core that is busy", &per_core, Some(AtLeast(2.0))),
    ];
    Ok(Table {
        work: "read",
        title: format!(
            "Getting a sealed object of {} MiB to /dev/null",
            bytes >> 20
        ),
        unit: "GB/s",
        lines: lines.into_iter().flatten().collect(),
        notes: vec!["busy: the agent's processor time and the command's together".to_owned()],
    })
}

/// Gets the object once; the time, and the processor time of both processes.
fn get(sites: &Sites, agent: &Server, key: &str) -> io::Result<(Duration, Duration)> {
    let busy_so_far = || agent.busy() + hosts::busy("self", Of::Children);
    let before = busy_so_far();
    let started = Instant::now();
    let status = Command::new(PROGRAM)
        .args(["get", key, "-c", &sites.config("b")])
        .stdout(Stdio::from(File::create("/dev/null")?))
        .status()?;
    let taken = started.elapsed();
    if !status.success() {
        return Err(io::Error::other(format!("get ended with {status}")));
    }
    // Never nothing: processor time is counted in hundredths of a second.
    let busy = busy_so_far() - before;
    Ok((taken, busy.max(Duration::from_millis(10))))
}

/// A few bytes of a very large object, wherever they lie.
fn ranges(setting: &Setting<'_>) -> io::Result<Table> {
    let place = setting.memory.join("ranges");
    let bytes: u64 = setting.scale.pick(5 << 30, 1 << 30);
    let (folder, source) = (place.join("ready"), place.join("source"));
    fs::create_dir_all(&folder)?;
    fs::create_dir_all(&source)?;
    // Holes: it is what is sealed that has to be there.
    let file = folder.join("large.bin");
    File::create(&file)?.set_len(bytes)?;
    let sites = setting
        .tools
        .authority
        .sites(&place.join("sites"), &source, &Hosts::loopback());
    std::thread::sleep(Duration::from_millis(1500)); // A file this young is left to settle.
    sites.replicate(&folder, 1);
    let agent = sites.start_one("b");
    let socket = sites.socket("b");
    let mut times = Vec::new();
    for round in 0..RANGES {
        // Spread over the object, and never the same one twice.
        let first = (round * 0x9e37_79b9_7f4a_7c15) % (bytes - RANGE_BYTES);
        let body = format!(
            r#"{{"bucket":"{}","key":"work/large.bin","range":[{first},{}]}}"#,
            sites::BUCKET,
            first + RANGE_BYTES - 1
        );
        let started = Instant::now();
        let answer = ask(&socket, "POST", "/v1/get", &body)?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        if answer.len() < RANGE_BYTES as usize || !contains(&answer, br#""exit":0"#) {
            let said = String::from_utf8_lossy(&answer[..answer.len().min(200)]).into_owned();
            return Err(io::Error::other(format!("a range was not got: {said}")));
        }
    }
    agent.stop();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let line =
        |name: &str, values: &[f64], wanted| Some(Line::plain(name, Figure::of(values)?, wanted));
    let lines = [
        line("from the agent's socket", &times, Some(Below(1.0))),
        line("the slowest of a hundred", &[at(0.99)], None),
    ];
    Ok(Table {
        work: "ranges",
        title: format!(
            "A range of 4 KiB of a sealed object of {} GiB, {RANGES} of them",
            bytes >> 30
        ),
        unit: "ms",
        lines: lines.into_iter().flatten().collect(),
        notes: vec!["each on a connection of its own".to_owned()],
    })
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// The object's name in the bucket.
fn key(ready: &Ready) -> io::Result<String> {
    let name = ready.files[0].strip_prefix(&ready.folder);
    let name = name.map_err(io::Error::other)?;
    Ok(format!("{}/work/{}", sites::BUCKET, name.display()))
}
