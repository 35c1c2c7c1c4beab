//! What the figures were measured on and with.

use std::{fs, process::Command, thread};

/// The others, each with what prints its version.
const PROGRAMS: &[(&str, &str)] = &[
    ("rsync", "--version"),
    ("stunnel", "-version"),
    ("haproxy", "-v"),
    ("gocryptfs", "-version"),
    ("restic", "version"),
    ("nginx", "-v"),
    ("curl", "--version"),
    ("iperf3", "--version"),
];

/// A line each: the machine, the kernel, ours, the others.
pub fn facts(rclone: &str) -> Vec<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model
        .unwrap_or_default()
        .trim_start_matches(['\t', ' ', ':']);
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<u64>().ok());
    let gib = kib.unwrap_or_default().div_ceil(1 << 20);
    let kernel = read("/proc/sys/kernel/osrelease");
    let control = read("/proc/sys/net/ipv4/tcp_congestion_control");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    let ours = format!("sealift {}", env!("CARGO_PKG_VERSION"));
    let versions = PROGRAMS
        .iter()
        .map(|(program, flag)| version(program, flag));
    let versions: Vec<String> = [ours, version(rclone, "version")]
        .into_iter()
        .chain(versions)
        .collect();
    vec![
        format!("{model}, {cores} cores, {gib} GiB, Linux {kernel}, TCP {control}"),
        format!("load when it began: {load}"),
        versions.join(" · "),
    ]
}

fn read(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// The first words that a program says of itself, up to its number.
fn version(program: &str, flag: &str) -> String {
    let output = Command::new(program).arg(flag).output();
    let Ok(output) = output else {
        return format!("{program} missing");
    };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let number = said
        .split(|c: char| c.is_whitespace() || c == '/' || c == ';')
        .map(|word| word.trim_start_matches('v'))
        .find(|word| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit()));
    let name = program.rsplit('/').next().unwrap_or(program);
    format!("{name} {}", number.unwrap_or("?"))
}
