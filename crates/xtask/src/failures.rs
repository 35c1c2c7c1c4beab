//! What failed in a run of tests, and what each said: told once more, briefly, at the end, where
//! it is looked for. Read from what `cargo test` prints.

use std::{
    collections::BTreeMap,
    fmt,
    io::{BufRead, BufReader, Read, Write},
};

/// Lines that are kept of what a test said when it failed.
const LINES_MAX: usize = 8;
/// Characters that are kept of a line.
const LINE_MAX: usize = 300;

/// The tests that failed, by their names, and what each said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Failures(BTreeMap<String, Vec<String>>);

/// Whose output is being read.
#[derive(Default)]
enum Section {
    #[default]
    Nobody,
    /// What it printed before it failed.
    Of(String),
    /// Its message.
    Message(String),
}

impl Failures {
    /// Writes everything through as it comes, and keeps what tells of failures.
    pub(crate) fn pass_on(said: impl Read, out: &mut impl Write) -> Self {
        let (mut failures, mut section) = (Self::default(), Section::default());
        for line in BufReader::new(said).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line);
            let _ = writeln!(out, "{line}");
            let _ = out.flush();
            section = failures.read(&line, section);
        }
        failures
    }

    fn read(&mut self, line: &str, section: Section) -> Section {
        let failed = line.strip_prefix("test ").and_then(|line| {
            let (name, outcome) = line.split_once(" ... ")?;
            outcome.ends_with("FAILED").then_some(name)
        });
        if let Some(name) = failed {
            self.0.entry(name.to_owned()).or_default();
            return Section::Nobody;
        }
        let begun = line.strip_prefix("---- ");
        if let Some(name) = begun.and_then(|line| line.strip_suffix(" stdout ----")) {
            return Section::Of(name.to_owned());
        }
        match section {
            Section::Of(name) if line.contains(" panicked at ") => {
                let at = line.split_once(" panicked at ").map_or(line, |(_, at)| at);
                self.keep(&name, at);
                Section::Message(name)
            }
            // What comes behind it is the same for all.
            Section::Message(_) if line.is_empty() || line.starts_with("note: run with") => {
                Section::Nobody
            }
            Section::Message(name) => {
                self.keep(&name, line);
                Section::Message(name)
            }
            section => section,
        }
    }

    fn keep(&mut self, name: &str, line: &str) {
        let said = self.0.entry(name.to_owned()).or_default();
        if said.len() < LINES_MAX {
            said.push(line.chars().take(LINE_MAX).collect());
        }
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, said) in &self.0 {
            writeln!(f, "  {name}")?;
            said.iter().try_for_each(|line| writeln!(f, "    {line}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
running 3 tests
test a::fine ... ok
test a::waits has been running for over 60 seconds
test a::waits ... FAILED
test b::ends ... FAILED

failures:

---- a::waits stdout ----
3 bytes passed

thread 'a::waits' (17) panicked at tests/a.rs:7:5:
waited 60s in vain until it is there
the log of a:
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
the log of a: ready


failures:
    a::waits
    b::ends

test result: FAILED. 1 passed; 2 failed
";

    #[test]
    fn each_test_that_failed_is_told_with_what_it_said_and_everything_is_written_through() {
        let mut out = Vec::new();
        let failures = Failures::pass_on(SAID.as_bytes(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), SAID);
        let told = [
            "  a::waits",
            "    tests/a.rs:7:5:",
            "    waited 60s in vain until it is there",
            "    the log of a:",
            "  b::ends",
            "",
        ];
        assert_eq!(failures.to_string(), told.join("\n"));
    }

    #[test]
    fn what_does_not_end_is_cut() {
        let long = "x".repeat(LINE_MAX * 2);
        let lines = format!("{long}\n").repeat(LINES_MAX * 2);
        let said = format!("---- a stdout ----\nthread 'a' panicked at b.rs:1:1:\n{lines}");
        let failures = Failures::pass_on(said.as_bytes(), &mut std::io::sink());
        let told = failures.to_string();
        assert_eq!(told.lines().count(), 1 + LINES_MAX);
        assert!(told.lines().all(|line| line.len() <= LINE_MAX + 4));
    }

    #[test]
    fn a_run_that_passes_has_none() {
        let said = "test a::fine ... ok\ntest result: ok. 1 passed\n";
        let failures = Failures::pass_on(said.as_bytes(), &mut std::io::sink());
        assert_eq!(failures, Failures::default());
    }
}
