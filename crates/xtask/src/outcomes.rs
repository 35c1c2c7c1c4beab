//! What came of a run of tests, read from what `cargo test` prints: those that failed are told
//! once more at the end, where they are looked for, briefly and with what each said.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    io::{BufRead, BufReader, Read, Write},
};

/// Lines that are kept of what a test said when it failed.
const LINES_MAX: usize = 8;
/// Characters that are kept of a line.
const LINE_MAX: usize = 300;

/// The tests that passed and those that failed, by their names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcomes {
    passed: BTreeSet<String>,
    /// And what each said.
    failed: BTreeMap<String, Vec<String>>,
}

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

impl Outcomes {
    /// Writes everything through as it comes, and keeps what tells of outcomes.
    pub(crate) fn pass_on(said: impl Read, out: &mut impl Write) -> Self {
        let (mut outcomes, mut section) = (Self::default(), Section::default());
        for line in BufReader::new(said).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line);
            let _ = writeln!(out, "{line}");
            let _ = out.flush();
            section = outcomes.read(&line, section);
        }
        outcomes
    }

    /// The names of those that failed.
    pub(crate) fn failed(&self) -> impl ExactSizeIterator<Item = &str> {
        self.failed.keys().map(String::as_str)
    }

    /// Whether this test was run and passed.
    pub(crate) fn has_passed(&self, name: &str) -> bool {
        self.passed.contains(name)
    }

    fn read(&mut self, line: &str, section: Section) -> Section {
        let told = line.strip_prefix("test ");
        match told.and_then(|told| told.split_once(" ... ")) {
            Some((name, "ok")) => {
                self.passed.insert(name.to_owned());
                return Section::Nobody;
            }
            Some((name, "FAILED")) => {
                self.failed.entry(name.to_owned()).or_default();
                return Section::Nobody;
            }
            _ => {}
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
        let said = self.failed.entry(name.to_owned()).or_default();
        if said.len() < LINES_MAX {
            said.push(line.chars().take(LINE_MAX).collect());
        }
    }
}

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, said) in &self.failed {
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
        let outcomes = Outcomes::pass_on(SAID.as_bytes(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), SAID);
        assert!(outcomes.has_passed("a::fine") && !outcomes.has_passed("a::waits"));
        assert_eq!(
            outcomes.failed().collect::<Vec<_>>(),
            ["a::waits", "b::ends"]
        );
        let told = [
            "  a::waits",
            "    tests/a.rs:7:5:",
            "    waited 60s in vain until it is there",
            "    the log of a:",
            "  b::ends",
            "",
        ];
        assert_eq!(outcomes.to_string(), told.join("\n"));
    }

    #[test]
    fn what_does_not_end_is_cut() {
        let long = "x".repeat(LINE_MAX * 2);
        let lines = format!("{long}\n").repeat(LINES_MAX * 2);
        let said = format!("---- a stdout ----\nthread 'a' panicked at b.rs:1:1:\n{lines}");
        let told = Outcomes::pass_on(said.as_bytes(), &mut std::io::sink()).to_string();
        assert_eq!(told.lines().count(), 1 + LINES_MAX);
        assert!(told.lines().all(|line| line.len() <= LINE_MAX + 4));
    }
}
