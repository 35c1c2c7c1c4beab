//! The test suites, each with a budget of minutes, printed beside the time taken.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use crate::install;

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

/// Optimised throughout, as the integration tests move gigabytes: a release but for what is
/// long to compile and never hot (`[profile.tested]`). Always the whole workspace: another
/// selection has other features, and is built again.
const SUITES: &[Suite] = &[
    Suite {
        name: "build",
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
    let taken = suite.run(Count::Usual, &install_all()?)?;
    println!("{}", suite.report(taken));
    Ok(())
}

/// Installs what the suites need; variables that say where it lies.
fn install_all() -> Result<Vec<(&'static str, PathBuf)>, String> {
    install::debian_packages(install::TESTED)?;
    let mut tools = install::python_packages()?;
    tools.push(install::azurite()?);
    install::cargo_fuzz()?;
    Ok(tools)
}

/// Installs what the suites need and runs them in order; the first failure ends it.
pub(crate) fn run_all(count: Count) -> Result<(), String> {
    let tools = install_all()?;
    let mut lines = Vec::new();
    for suite in SUITES {
        let taken = suite.run(count, &tools)?;
        lines.push(suite.report(taken));
        println!("{}", lines.last().map_or("", String::as_str));
    }
    println!("\nall suites passed");
    lines.iter().for_each(|line| println!("  {line}"));
    Ok(())
}

impl Suite {
    fn run(&self, count: Count, tools: &[(&str, PathBuf)]) -> Result<Duration, String> {
        println!(
            "== suite {} (budget {} min)",
            self.name, self.budget_minutes
        );
        let started = Instant::now();
        let full = if count == Count::Full { "1" } else { "0" };
        for command in self.commands {
            let status = Command::new("sh")
                .args(["-c", command])
                .env("SEALIFT_TEST_FULL", full)
                .envs(tools.iter().map(|(variable, folder)| (variable, folder)))
                .status()
                .map_err(|error| format!("no shell: {error}"))?;
            if !status.success() {
                return Err(format!("suite {} failed: {command}", self.name));
            }
        }
        Ok(started.elapsed())
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
