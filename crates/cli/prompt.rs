//! What is asked on a terminal when a flag did not say it.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    path::Path,
};

use sealift_agent::Error;
use zeroize::Zeroizing;

/// The answer of the flag, or of the person at the terminal, or the default.
pub(crate) fn ask(
    given: Option<&String>,
    question: &str,
    default: Option<&str>,
    flag: &'static str,
) -> Result<String, Error> {
    if let Some(given) = given {
        return Ok(given.clone());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return default.map(str::to_owned).ok_or_else(|| missing(flag));
    }
    let shown = default.map(|d| format!(" [{d}]")).unwrap_or_default();
    let mut answer = String::new();
    let asked = write!(io::stderr(), "{question}{shown}: ")
        .and_then(|()| io::stdin().lock().read_line(&mut answer));
    asked.map_err(Error::io("read", "standard input"))?;
    match (answer.trim(), default) {
        ("", Some(default)) => Ok(default.to_owned()),
        ("", None) => Err(missing(flag)),
        (answer, _) => Ok(answer.to_owned()),
    }
}

/// A passphrase from its file, or twice from the terminal.
pub(crate) fn passphrase(
    file: Option<&Path>,
    question: &str,
    twice: bool,
) -> Result<Zeroizing<String>, Error> {
    const FILE_BYTES_MAX: usize = 1024;
    if let Some(path) = file {
        let bytes = sealift_host::read_secret_file(path, FILE_BYTES_MAX)
            .map_err(Error::refused("the passphrase file"))?;
        let line = bytes
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        let line = std::str::from_utf8(line).map_err(Error::failed("reading the passphrase"))?;
        return Ok(Zeroizing::new(line.trim_end_matches('\r').to_owned()));
    }
    if !io::stdin().is_terminal() {
        return Err(missing("--passphrase-file"));
    }
    let first = hidden(question)?;
    if twice && *hidden("the same again")? != *first {
        return Err(Error::Request {
            what: "passphrase",
            found: "two different ones".to_owned(),
            allowed: "the same twice".to_owned(),
        });
    }
    Ok(first)
}

/// Reads a line that the terminal does not show.
fn hidden(question: &str) -> Result<Zeroizing<String>, Error> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let failed = || Error::io("read", "standard input");
    let stdin = io::stdin();
    let shown = tcgetattr(&stdin)
        .map_err(io::Error::from)
        .map_err(failed())?;
    let mut silent = shown.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    let mut line = Zeroizing::new(String::new());
    write!(io::stderr(), "{question}: ").map_err(failed())?;
    tcsetattr(&stdin, OptionalActions::Flush, &silent)
        .map_err(io::Error::from)
        .map_err(failed())?;
    let read = stdin.lock().read_line(&mut line);
    // The terminal shows again what is typed, whatever became of the reading.
    let restored = tcsetattr(&stdin, OptionalActions::Flush, &shown);
    read.map_err(failed())?;
    restored.map_err(io::Error::from).map_err(failed())?;
    let _ = writeln!(io::stderr());
    Ok(Zeroizing::new(
        line.trim_end_matches(['\r', '\n']).to_owned(),
    ))
}

fn missing(flag: &'static str) -> Error {
    Error::Request {
        what: flag,
        found: "nothing, and no terminal to ask on".to_owned(),
        allowed: "the flag, or a terminal".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_wins_and_without_a_terminal_the_default_or_nothing() {
        let given = "x".to_owned();
        assert_eq!(ask(Some(&given), "q", Some("d"), "--f").unwrap(), "x");
        if !io::stdin().is_terminal() {
            assert_eq!(ask(None, "q", Some("d"), "--f").unwrap(), "d");
            assert!(ask(None, "q", None, "--f").is_err());
        }
    }
}
