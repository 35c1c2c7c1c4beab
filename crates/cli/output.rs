//! What people and programs get to read: results on standard output, the rest on
//! standard error.

use std::{
    fmt::Display,
    io::{self, Write},
};

use sealift_agent::{Error, Exit, Failure};
use serde::Serialize;

/// The outcome of a command. Most know better than done or failed.
pub(crate) type Outcome = Result<Exit, anyhow::Error>;

/// Tells an error and says how the process ends. The typed error decides the
/// code; an untyped one is an error like any other.
pub(crate) fn end(outcome: &Outcome, json: bool) -> Exit {
    let error = match outcome {
        Ok(exit) => return *exit,
        Err(error) => error,
    };
    if let Some(gone @ Error::ReaderGone) = error.downcast_ref() {
        // It has what it wanted: nothing is to be said.
        return gone.exit();
    }
    let (failure, exit) = match error.downcast_ref::<Error>() {
        Some(typed) => (typed.failure(), typed.exit()),
        None => (untyped(error), Exit::Error),
    };
    let text = match json {
        true => serde_json::to_string(&failure).unwrap_or_else(|_| failure.what.clone()),
        false => told(&failure),
    };
    // With standard error gone there is nobody to tell.
    let _ = writeln!(io::stderr(), "{text}");
    exit
}

fn untyped(error: &anyhow::Error) -> Failure {
    Failure {
        what: error.to_string(),
        causes: error.chain().skip(1).map(ToString::to_string).collect(),
        hint: None,
    }
}

fn told(failure: &Failure) -> String {
    let mut text = format!("sealift: {}", failure.what);
    for cause in &failure.causes {
        text.push_str(&format!("\n  cause: {cause}"));
    }
    if let Some(hint) = &failure.hint {
        text.push_str(&format!("\n  hint: {hint}"));
    }
    text
}

/// Writes one result: a row of JSON, or the line for people. A reader that went
/// away, as `head` does, ends the command.
pub(crate) fn row(json: bool, row: &impl Serialize, line: impl Display) -> Result<(), Error> {
    let text = match json {
        true => serde_json::to_string(row).map_err(Error::failed("writing a row"))?,
        false => line.to_string(),
    };
    print(&text)
}

/// Writes one line to standard output.
pub(crate) fn print(line: &str) -> Result<(), Error> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) => Err(unwritten(error)),
        Ok(()) => Ok(()),
    }
}

/// Why standard output did not take something.
pub(crate) fn unwritten(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Error::ReaderGone,
        _ => Error::io("write", "standard output")(error),
    }
}

/// A line on standard error that is no result.
pub(crate) fn note(json: bool, line: impl Display) {
    if !json {
        let _ = writeln!(io::stderr(), "{line}");
    }
}

/// Bytes for people: `1.5 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    match unit {
        0 => format!("{count} {name}"),
        _ => format!("{value:.1} {name}"),
    }
}

/// A count with its noun: `1 object`, `2 objects`.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    }
}

/// A time for people: `2 h 3 min`.
pub(crate) fn seconds(secs: u64) -> String {
    match secs {
        0..60 => format!("{secs} s"),
        60..3600 => format!("{} min {} s", secs / 60, secs % 60),
        3600..86_400 => format!("{} h {} min", secs / 3600, secs % 3600 / 60),
        _ => format!("{} d {} h", secs / 86_400, secs % 86_400 / 3600),
    }
}

/// A name for a terminal: what could steer one is shown, not sent.
pub(crate) fn safe(name: &str) -> String {
    name.chars()
        .flat_map(|c| {
            let escaped: Box<dyn Iterator<Item = char>> = match c.is_control() {
                true => Box::new(c.escape_default()),
                false => Box::new(std::iter::once(c)),
            };
            escaped
        })
        .collect()
}

/// Columns, each as wide as its widest cell; the given ones flush right.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<usize>,
}

impl Table {
    pub(crate) fn new(head: &[&str], right: &[usize]) -> Self {
        Self {
            rows: vec![head.iter().map(|cell| (*cell).to_owned()).collect()],
            right: right.to_vec(),
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether there is nothing below the head.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    pub(crate) fn print(&self) -> Result<(), Error> {
        self.lines().iter().try_for_each(|line| print(line))
    }

    fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).enumerate();
            let padded = cells.map(
                |(column, (cell, width))| match self.right.contains(&column) {
                    true => format!("{cell:>width$}"),
                    false => format!("{cell:<width$}"),
                },
            );
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typed_error_decides_the_exit_code_and_an_untyped_one_is_an_error() {
        let typed = anyhow::Error::from(Error::NotFound {
            what: "object b/k".to_owned(),
        });
        assert_eq!(end(&Err(typed), false), Exit::NotFound);
        let wrapped = anyhow::Error::from(Error::Cancelled).context("while listing");
        assert_eq!(end(&Err(wrapped), true), Exit::Cancelled);
        assert_eq!(end(&Err(anyhow::anyhow!("other")), false), Exit::Error);
        assert_eq!(end(&Ok(Exit::Partly), false), Exit::Partly);
    }

    #[test]
    fn errors_read_what_happened_cause_hint() {
        let failure = Failure {
            what: "cannot read /f".to_owned(),
            causes: vec!["permission denied".to_owned()],
            hint: Some("run as the owner".to_owned()),
        };
        let text = told(&failure);
        assert_eq!(
            text,
            "sealift: cannot read /f\n  cause: permission denied\n  hint: run as the owner"
        );
    }

    #[test]
    fn sizes_and_times_are_for_people() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 << 40), "5.0 TiB");
        assert_eq!(seconds(59), "59 s");
        assert_eq!(seconds(7384), "2 h 3 min");
    }

    #[test]
    fn names_cannot_steer_a_terminal() {
        assert_eq!(safe("ä\x1b[2J\n"), "ä\\u{1b}[2J\\n");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["NAME", "SIZE"], &[1]);
        table.row(["ä".to_owned(), "10 B".to_owned()]);
        table.row(["long name".to_owned(), "5 B".to_owned()]);
        assert_eq!(
            table.lines(),
            ["NAME       SIZE", "ä          10 B", "long name   5 B"]
        );
    }
}
