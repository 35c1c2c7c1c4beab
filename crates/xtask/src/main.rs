//! The project's own commands: `cargo xtask test [--full]`, `cargo xtask simulate`, `cargo xtask soak`,
//! `cargo xtask bench WHAT`, `cargo xtask compare`.

mod bench;
mod compare;
mod install;
mod outcomes;
mod simulate;
mod soak;
mod suite;

use std::process::{Command, ExitCode};

const USAGE: &str = "\
cargo xtask test [--full]            install what the tests need, run all of them
cargo xtask test --only SUITE        one of the suites: build, unit, servers, crash, simulate, fuzz, soak
cargo xtask simulate [--seed N] [--rounds M] [--seeds COUNT --from N]
                                     seeds of the simulation, each twice; see tests/simulate
cargo xtask soak [--minutes N] [--cert-life-secs N]
                                     objects and streams while certificates rotate
cargo xtask bench end-to-end [ARGS]  the whole path beside a hand-written floor (--json, --quick)
cargo xtask bench seal|tunnel|keys   one part of the path by itself
cargo xtask bench front [ARGS]       what the S3 endpoint adds to a store, and a listing (--quick, --objects N)
cargo xtask compare [ARGS]           beside what users would pick instead, as root
                                     (--json, --quick, --pairs N, --only WORK; --help has the works)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["test"] => suite::run_all(suite::Count::Usual),
        ["test", "--full"] => suite::run_all(suite::Count::Full),
        ["test", "--only", name] => suite::run_one(name),
        ["simulate", rest @ ..] => simulate::run(rest),
        // Its last line is its own, whatever came of it.
        ["soak", rest @ ..] => return soak::run(rest),
        ["bench", what, rest @ ..] => bench::run(what, rest),
        ["compare", rest @ ..] => compare::run(rest),
        _ => Err(format!("usage:\n{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

/// A command without what cargo says in the environment of this program itself. Build scripts that
/// ask for it (ring's does) are run again when it changes, and all behind them is built anew: by
/// this program and by hand in turns.
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(variable);
        }
    }
    command
}
