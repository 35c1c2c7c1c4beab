//! The test suites, each with a budget of minutes, printed beside the time taken.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use crate::{command, install, outcomes::Outcomes};

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
    /// Runs one of its tests, the name behind it.
    alone: Option<&'static str>,
}

/// The soak, for a minute where the environment does not say otherwise.
pub(crate) const SOAK: &str = "cargo test --profile tested --locked --workspace --test sealift -- \
                     --include-ignored --nocapture soak::";

/// The suite without which there are no others.
const BUILD: &str = "build";

/// One test of the running program.
const ALONE: &str = "cargo test --profile tested --locked --workspace --test sealift -- \
                     --include-ignored --exact";

/// So many tests that failed beside others are tried once more, each alone: they wait for
/// processes and for time, and a machine that others use may hold them up. One that passes alone
/// is told as unsteady at the end. More than that are no accident.
const UNSTEADY_MAX: usize = 3;

/// Optimised throughout, as the integration tests move gigabytes: a release but for what is
/// long to compile and never hot (`[profile.tested]`). Always the whole workspace: another
/// selection has other features, and is built again.
const SUITES: &[Suite] = &[
    Suite {
        name: BUILD,
        budget_minutes: 15,
        commands: &["cargo test --profile tested --locked --workspace --no-run"],
        alone: None,
    },
    Suite {
        name: "unit and conformance",
        budget_minutes: 8,
        commands: &["cargo test --profile tested --locked --workspace -- \
                     --skip scenario:: --skip crash::"],
        alone: None,
    },
    Suite {
        name: "servers",
        budget_minutes: 10,
        commands: &[
            // They wait more than they compute.
            "cargo test --profile tested --locked --workspace --test sealift -- \
                     --include-ignored --test-threads=5 cli:: scenario::",
        ],
        alone: Some(ALONE),
    },
    Suite {
        name: "crash",
        budget_minutes: 8,
        commands: &[
            "cargo test --profile tested --locked --workspace --test sealift -- \
                     --include-ignored --test-threads=1 crash::",
        ],
        alone: Some(ALONE),
    },
    // 100 seeds and 20 of --both, 500 of each with --full. A night's worth: cargo xtask simulate --seeds 20000.
    Suite {
        name: "simulate",
        budget_minutes: 6,
        commands: &[
            "cargo test --profile tested --locked --workspace --test seeds -- \
                     --include-ignored --nocapture",
        ],
        alone: None,
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
        alone: None,
    },
    Suite {
        name: "soak",
        budget_minutes: 2,
        commands: &[SOAK],
        alone: None,
    },
];

/// Installs what the suites need, and runs the one whose name begins so.
pub(crate) fn run_one(name: &str) -> Result<(), String> {
    let found = SUITES.iter().find(|suite| suite.name.starts_with(name));
    let suite = found.ok_or_else(|| {
        let names: Vec<_> = SUITES.iter().map(|suite| suite.name).collect();
        format!("no suite {name:?}: allowed is one of {}", names.join(", "))
    })?;
    let ran = suite.run(&Setting::install(Count::Usual)?);
    println!("{}{}", suite.report(ran.taken), ran.unsteady);
    ran.outcome
}

/// Installs what the suites need and runs them in order. Without a build there is nothing to run;
/// else each is run whatever became of the others, and what failed is told once more at the end.
pub(crate) fn run_all(count: Count) -> Result<(), String> {
    let setting = Setting::install(count)?;
    let (mut lines, mut failed) = (Vec::new(), Vec::new());
    for suite in SUITES {
        let ran = suite.run(&setting);
        let report = suite.report(ran.taken);
        println!("{report}");
        lines.push(format!("  {report}{}", ran.unsteady));
        match ran.outcome {
            Ok(()) => {}
            Err(why) if suite.name == BUILD => return Err(why),
            Err(why) => failed.push(why),
        }
    }
    println!("\n{}", lines.join("\n"));
    match failed.as_slice() {
        [] => {
            println!("\nall suites passed");
            Ok(())
        }
        failed => Err(failed.join("\n")),
    }
}

/// What suites are run with.
struct Setting {
    count: Count,
    /// Variables that say where the tools lie.
    tools: Vec<(&'static str, PathBuf)>,
}

/// What became of a suite.
struct Ran {
    outcome: Result<(), String>,
    /// A line of each test that passed only alone, and of what it said before.
    unsteady: String,
    taken: Duration,
}

impl Suite {
    fn run(&self, setting: &Setting) -> Ran {
        let (name, budget) = (self.name, self.budget_minutes);
        println!("== suite {name} (budget {budget} min)");
        let started = Instant::now();
        let mut unsteady = String::new();
        let outcome = self.commands.iter().try_for_each(|command| {
            let (success, outcomes) = setting.run(command)?;
            if success {
                return Ok(());
            }
            if !self.pass_alone(&outcomes, setting)? {
                return Err(format!("suite {name} failed: {command}\n{outcomes}"));
            }
            unsteady = format!("\n  UNSTEADY, passed alone only:\n{outcomes}");
            Ok(())
        });
        Ran {
            outcome,
            unsteady,
            taken: started.elapsed(),
        }
    }

    /// Whether the tests that failed are few, and pass if each is run alone.
    fn pass_alone(&self, outcomes: &Outcomes, setting: &Setting) -> Result<bool, String> {
        let (Some(alone), 1..=UNSTEADY_MAX) = (self.alone, outcomes.failed().len()) else {
            return Ok(false);
        };
        for name in outcomes.failed() {
            println!("== once more, alone: {name}");
            let (success, outcomes) = setting.run(&format!("{alone} {name}"))?;
            if !success || !outcomes.has_passed(name) {
                return Ok(false);
            }
        }
        Ok(true)
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

impl Setting {
    fn install(count: Count) -> Result<Self, String> {
        install::debian_packages(install::TESTED)?;
        let mut tools = install::python_packages()?;
        tools.push(install::azurite()?);
        install::cargo_fuzz()?;
        Ok(Self { count, tools })
    }

    /// Runs a command, its output passed on as it comes; whether it ended well, and what came of
    /// its tests.
    fn run(&self, line: &str) -> Result<(bool, Outcomes), String> {
        let full = if self.count == Count::Full { "1" } else { "0" };
        let mut shell = command("sh");
        shell.args(["-c", line]).stdout(Stdio::piped());
        shell.env("SEALIFT_TEST_FULL", full);
        shell.envs(
            self.tools
                .iter()
                .map(|(variable, folder)| (variable, folder)),
        );
        let failed = |error: io::Error| format!("no shell: {error}");
        let mut child = shell.spawn().map_err(failed)?;
        let said = child.stdout.take();
        let outcomes = said.map(|said| Outcomes::pass_on(said, &mut Printed));
        let success = child.wait().map_err(failed)?.success();
        Ok((success, outcomes.unwrap_or_default()))
    }
}

/// Standard output, kept back by a test that passes as all that is printed.
struct Printed;

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        print!("{}", String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A suite of two tests, of which one fails as `script` says.
    fn run(script: &'static str, alone: Option<&'static str>) -> Ran {
        let commands: &'static [&'static str] = Box::leak(Box::new([script]));
        let suite = Suite {
            name: "suite",
            budget_minutes: 1,
            commands,
            alone,
        };
        suite.run(&Setting {
            count: Count::Usual,
            tools: Vec::new(),
        })
    }

    const FAILS: &str = "echo 'test a ... ok'; echo 'test b ... FAILED'; exit 101";

    #[test]
    fn a_test_that_passes_alone_is_told_as_unsteady_and_one_that_does_not_fails_its_suite() {
        let ran = run(FAILS, Some("printf 'test %s ... ok\\n'"));
        assert_eq!(ran.outcome, Ok(()));
        assert!(ran.unsteady.contains("UNSTEADY") && ran.unsteady.contains("  b\n"));
        // Not run is not passed, and neither is what says so and fails.
        for alone in [
            None,
            Some("true"),
            Some("false"),
            Some("printf 'test %s ... ok\\n'; false"),
        ] {
            let ran = run(FAILS, alone);
            assert!(ran.outcome.unwrap_err().contains("  b\n"), "{alone:?}");
            assert_eq!(ran.unsteady, "");
        }
    }

    #[test]
    fn what_fails_without_a_test_that_failed_and_many_that_did_are_not_tried_again() {
        let passes = Some("printf 'test %s ... ok\\n'");
        assert!(
            run("echo 'error: could not compile'; exit 101", passes)
                .outcome
                .is_err()
        );
        let many = "for i in 1 2 3 4; do echo \"test t$i ... FAILED\"; done; exit 101";
        assert!(run(many, passes).outcome.is_err());
        assert!(run("echo 'test a ... ok'", passes).outcome.is_ok());
    }
}
