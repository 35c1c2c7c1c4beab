//! The test suites, each with a budget of minutes, printed beside the time taken.

use std::{
    io,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{failures::Failures, install};

/// How many rounds the randomised suites run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    Usual,
    Full,
}

/// One suite: a name, its budget, the commands that are it.
struct Suite {
    name: &'static str,
    budget_minutes: u64,
    /// Each is given to a shell.
    commands: &'static [&'static str],
}

/// The soak, for a minute where the environment does not say otherwise.
pub(crate) const SOAK: &str = "cargo test --profile tested --locked --workspace --test sealift -- \
                     --include-ignored --nocapture soak::";

/// The suite without which there are no others.
const BUILD: &str = "build";

/// Optimised throughout, as the integration tests move gigabytes: a release but for what is
/// long to compile and never hot (`[profile.tested]`). Always the whole workspace: another
/// selection has other features, and is built again.
const SUITES: &[Suite] = &[
    Suite {
        name: BUILD,
        budget_minutes: 15,
        commands: &["cargo test --profile tested --locked --workspace --no-run"],
    },
    Suite {
        name: "unit and conformance",
        budget_minutes: 8,
        commands: &["cargo test --profile tested --locked --workspace -- \
                     --skip scenario:: --skip crash::"],
    },
    Suite {
        name: "servers",
        budget_minutes: 10,
        commands: &[
            // They wait more than they compute.
            "cargo test --profile tested --locked --workspace --test sealift -- \
                     --include-ignored --test-threads=4 cli:: scenario::",
        ],
    },
    Suite {
        name: "crash",
        budget_minutes: 8,
        commands: &[
            "cargo test --profile tested --locked --workspace --test sealift -- \
                     --include-ignored --test-threads=1 crash::",
        ],
    },
    // 100 seeds and 20 of --both, 500 of each with --full. A night's worth: cargo xtask simulate --seeds 20000.
    Suite {
        name: "simulate",
        budget_minutes: 6,
        commands: &[
            "cargo test --profile tested --locked --workspace --test seeds -- \
                     --include-ignored --nocapture",
        ],
    },
    // What is found goes on from the inputs below tests/fuzz/corpus and is kept
    // below target. Without sanitiser: the code is safe Rust, a panic is what is
    // looked for. Building is most of the time, so the targets run side by side.
    Suite {
        name: "fuzz",
        budget_minutes: 4,
        commands: &[
            "RUSTC_BOOTSTRAP=1 cargo fuzz build --fuzz-dir=tests/fuzz \
             --target-dir=target/fuzz --sanitizer=none",
            "cargo fuzz list --fuzz-dir=tests/fuzz | xargs -P 4 -I TARGET sh -c '\
             mkdir -p target/fuzz/corpus/TARGET target/fuzz/found && \
             target/fuzz/*/release/TARGET -max_total_time=20 \
             -artifact_prefix=target/fuzz/found/TARGET- \
             target/fuzz/corpus/TARGET tests/fuzz/corpus/TARGET'",
        ],
    },
    Suite {
        name: "soak",
        budget_minutes: 2,
        commands: &[SOAK],
    },
];

/// Installs what the suites need, and runs the one whose name begins so.
pub(crate) fn run_one(name: &str) -> Result<(), String> {
    let found = SUITES.iter().find(|suite| suite.name.starts_with(name));
    let suite = found.ok_or_else(|| {
        let names: Vec<_> = SUITES.iter().map(|suite| suite.name).collect();
        format!("no suite {name:?}: allowed is one of {}", names.join(", "))
    })?;
    let ran = suite.run(Count::Usual, &install_all()?);
    println!("{}", suite.report(ran.taken));
    ran.outcome
}

/// Installs what the suites need; variables that say where it lies.
fn install_all() -> Result<Vec<(&'static str, PathBuf)>, String> {
    install::debian_packages(install::TESTED)?;
    let mut tools = install::python_packages()?;
    tools.push(install::azurite()?);
    install::cargo_fuzz()?;
    Ok(tools)
}

/// Installs what the suites need and runs them in order. Without a build there is nothing to run;
/// else each is run whatever became of the others, and what failed is told once more at the end.
pub(crate) fn run_all(count: Count) -> Result<(), String> {
    let tools = install_all()?;
    let (mut lines, mut failed) = (Vec::new(), Vec::new());
    for suite in SUITES {
        let ran = suite.run(count, &tools);
        lines.push(suite.report(ran.taken));
        println!("{}", lines.last().map_or("", String::as_str));
        match ran.outcome {
            Ok(()) => {}
            Err(why) if suite.name == BUILD => return Err(why),
            Err(why) => failed.push(why),
        }
    }
    println!();
    lines.iter().for_each(|line| println!("  {line}"));
    match failed.as_slice() {
        [] => {
            println!("\nall suites passed");
            Ok(())
        }
        failed => Err(failed.join("\n")),
    }
}

/// What became of a suite, and how long it took.
struct Ran {
    outcome: Result<(), String>,
    taken: Duration,
}

impl Suite {
    fn run(&self, count: Count, tools: &[(&str, PathBuf)]) -> Ran {
        println!(
            "== suite {} (budget {} min)",
            self.name, self.budget_minutes
        );
        let started = Instant::now();
        let full = if count == Count::Full { "1" } else { "0" };
        let outcome = self.commands.iter().try_for_each(|command| {
            let mut shell = Command::new("sh");
            shell
                .args(["-c", command])
                .env("SEALIFT_TEST_FULL", full)
                .envs(tools.iter().map(|(variable, folder)| (variable, folder)));
            let (success, failures) =
                run_to_end(shell).map_err(|error| format!("no shell: {error}"))?;
            match success {
                true => Ok(()),
                false => Err(format!("suite {} failed: {command}\n{failures}", self.name)),
            }
        });
        Ran {
            outcome,
            taken: started.elapsed(),
        }
    }

    fn report(&self, taken: Duration) -> String {
        let over = taken > Duration::from_secs(self.budget_minutes * 60);
        let (name, secs, budget) = (self.name, taken.as_secs(), self.budget_minutes);
        let verdict = if over { " OVER ITS BUDGET" } else { "" };
        format!(
            "suite {name}: {}:{:02} of {budget}:00 minutes{verdict}",
            secs / 60,
            secs % 60
        )
    }
}

/// Runs a command, its output passed on as it comes; whether it ended well, and the tests that
/// failed.
fn run_to_end(mut command: Command) -> io::Result<(bool, Failures)> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let said = child.stdout.take();
    let failures = said.map(|said| Failures::pass_on(said, &mut io::stdout()));
    let success = child.wait()?.success();
    Ok((success, failures.unwrap_or_default()))
}
